"""Records and the comparison survive crashes, other runs, and being looked at."""

import json
import typing
from multiprocessing import get_context
from pathlib import Path

import pandas as pd
import pytest
from kedro.io import DatasetError
from kedro_datasets._typing import JSONPreview, TablePreview

from winnow.datasets import ComparisonDataset, FinishedDataset
from winnow.errors import StaleOutput
from winnow.stages import Finished, FinishedParts, Work, locate


def finished(data_root: Path, value: int = 1) -> Finished:
    place = locate(data_root / "02_intermediate", "stage", 1, {"value": value}, {})
    with Work.resume(place) as work:
        return work.finish({"名": value}, {"seconds": 1.0})


def dataset(data_root: Path) -> FinishedDataset:
    return FinishedDataset(filepath=str(data_root / "deep" / "record.json"), data_root=str(data_root))


def test_a_handle_comes_back_as_it_was_saved(tmp_path: Path):
    handle = finished(tmp_path)
    dataset(tmp_path).save(handle)
    assert dataset(tmp_path).load() == handle
    parts = FinishedParts({"0": handle, "1": finished(tmp_path, 2)}, {"seeds": 2})
    dataset(tmp_path).save(parts)
    assert dataset(tmp_path).load() == parts


def test_a_moved_project_finds_its_results(tmp_path: Path):
    old, new = tmp_path / "old", tmp_path / "new"
    dataset(old).save(finished(old))
    old.rename(new)
    assert dataset(new).load().path.is_relative_to(new)


@pytest.mark.parametrize("content", [None, "", '{"stage": "st', "[1]"])
def test_a_missing_or_broken_record_is_an_error_with_a_remedy(tmp_path: Path, content: str | None):
    if content is not None:
        (tmp_path / "deep").mkdir()
        (tmp_path / "deep" / "record.json").write_text(content)
    with pytest.raises(StaleOutput, match=r"record\.json.*kedro run"):
        dataset(tmp_path).load()


def test_a_deleted_result_is_an_error_that_kedro_passes_on(tmp_path: Path):
    handle = finished(tmp_path)
    dataset(tmp_path).save(handle)
    (handle.path / "record.json").unlink()
    with pytest.raises(StaleOutput, match="moved or deleted") as error:
        dataset(tmp_path).load()
    assert isinstance(error.value, DatasetError)


def test_the_preview_is_the_record_in_the_type_that_kedro_viz_looks_for(tmp_path: Path):
    dataset(tmp_path).save(finished(tmp_path))
    assert json.loads(dataset(tmp_path).preview())["summary"] == {"名": 1}
    assert "no run has made it" in dataset(tmp_path / "new").preview()
    assert typing.get_type_hints(FinishedDataset.preview)["return"] is JSONPreview
    assert typing.get_type_hints(ComparisonDataset.preview)["return"] is TablePreview


def rows(settings: str, accuracy: float, *arms: str) -> pd.DataFrame:
    return pd.DataFrame({"settings": settings, "arm": list(arms), "accuracy": accuracy})


def test_a_row_replaces_the_one_with_its_settings_and_arm(tmp_path: Path):
    comparison = ComparisonDataset(filepath=str(tmp_path / "comparison.parquet"))
    comparison.save(rows("a", 0.1, "random", "length"))
    comparison.save(rows("b", 0.2, "random").assign(**{"accuracy/math": 0.5}))
    comparison.save(rows("a", 0.3, "random"))
    found = comparison.load()
    assert list(zip(found.settings, found.arm, found.accuracy, strict=True)) == [
        ("a", "length", 0.1),
        ("b", "random", 0.2),
        ("a", "random", 0.3),
    ]
    assert comparison.preview(nrows=1)["data"][0][:3] == ["a", "random", 0.3]
    json.dumps(comparison.preview(), allow_nan=False)


def _save(file: str, number: int) -> None:
    ComparisonDataset(filepath=file).save(rows(f"settings{number}", 0.5, "random"))


def test_runs_at_the_same_time_lose_no_row(tmp_path: Path):
    file = str(tmp_path / "comparison.parquet")
    context = get_context("fork")
    savers = [context.Process(target=_save, args=(file, number)) for number in range(8)]
    for saver in savers:
        saver.start()
    for saver in savers:
        saver.join()
    assert set(pd.read_parquet(file).settings) == {f"settings{number}" for number in range(8)}
