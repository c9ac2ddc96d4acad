"""The table of costs has a row for each cell, also for those without a number, and the figure shows them all."""

from itertools import pairwise

import pandas as pd
import pytest

from winnow.report.parallelism import draw_parallelism, parallelism_table

ENGINES = ["single", "ddp", "fsdp"]


def cells() -> tuple[list[dict[str, object]], list[dict[str, float]]]:
    settings: list[dict[str, object]] = []
    costs: list[dict[str, float]] = []
    for method in ("lora", "qlora"):
        for number, engine in enumerate(ENGINES, start=1):
            own = {"framework": "winnow", "method": method, "engine": engine, "processes": min(number, 2)}
            settings.append({**own, "status": "measured", "batch": 8, "micro_batch": 4, "device": "a CPU"})
            costs.append({"cost/tokens_per_second": 100.0 * number, "cost/peak_memory_gb": float(number)})
    settings[-1] |= {"status": "impossible", "reason": "4-bit weights cannot be cut"}
    settings[-2] |= {"status": "failed", "reason": "out of memory"}
    costs[-1], costs[-2] = {}, {}
    settings.append({"framework": "ms-swift", "log": "swift_$lora", "status": "imported", "file": "logging.jsonl"})
    costs.append({"cost/peak_memory_gb": 6.25, "cost/trainable_parameters": 4_399_100.0})
    return settings, costs


@pytest.fixture
def table() -> pd.DataFrame:
    return parallelism_table(*cells())


def test_what_was_not_measured_has_a_reason_and_no_number(table: pd.DataFrame):
    assert list(table["status"]) == ["measured"] * 4 + ["failed", "impossible", "imported"]
    missing = table[table["status"].isin(["failed", "impossible"])]
    assert list(missing["reason"]) == ["out of memory", "4-bit weights cannot be cut"]
    assert missing[["tokens_per_second", "peak_memory_gb", "loss"]].isna().all(axis=None)
    assert table["trainable_parameters"].iloc[-1] == 4_399_100


def test_bars_are_as_high_as_the_numbers_and_gaps_say_why(table: pd.DataFrame):
    speed, memory = draw_parallelism(table).axes
    for engine, container in zip(ENGINES, speed.containers[:3], strict=True):
        heights = [bar.get_height() for bar in container if bar.get_height() == bar.get_height()]
        own = table[(table["engine"] == engine) & table["tokens_per_second"].notna()]
        assert heights == list(own["tokens_per_second"])
    assert [text.get_text() for text in speed.texts if text.get_text()] == ["failed", "impossible", "not known"]
    assert [text.get_text() for text in memory.texts if text.get_text()] == ["failed", "impossible"]
    assert memory.containers[3][0].get_height() == 6.25
    labels = [label.get_text() for label in memory.get_xticklabels()]
    assert labels == ["lora", "qlora", "swift_$lora\nms-swift"]
    assert [text.get_text() for text in speed.get_legend().get_texts()] == [*ENGINES, "another trainer"]


def test_no_two_bars_share_a_place(table: pd.DataFrame):
    speed = draw_parallelism(table).axes[0]
    spans = sorted((bar.get_x(), bar.get_x() + bar.get_width()) for bar in speed.patches)
    assert len(spans) == len(table)
    assert all(end <= start for (_, end), (start, _) in pairwise(spans))


def test_logs_alone_and_cells_alone_can_be_drawn(table: pd.DataFrame):
    for part in (table[table["log"].notna()], table[table["log"].isna()]):
        assert len(draw_parallelism(part.reset_index(drop=True)).axes[1].patches) == len(part)
