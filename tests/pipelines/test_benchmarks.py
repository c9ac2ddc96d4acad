"""Benchmark tasks are checked before anything is trained: their names, and that their files are not trained on."""

from pathlib import Path

import pytest

from pipelines.benchmarks.nodes import gather_tasks
from support.benchmarks import write_bbh, write_gsm8k, write_mmlu, write_tydiqa
from winnow.errors import BadSetting
from winnow.params import EvaluateParams, IngestParams, Machine

WRITERS = {"gsm8k": write_gsm8k, "mmlu": write_mmlu, "bbh_cot_fewshot": write_bbh, "tydiqa_goldp_fi": write_tydiqa}


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(data_root=tmp_path / "data", device="cpu")


@pytest.mark.parametrize("name", WRITERS)
def test_questions_that_are_asked_are_never_trained_on(tmp_path: Path, machine: Machine, name: str):
    folder = WRITERS[name](tmp_path / "data" / "01_raw" / "asked")
    asking = EvaluateParams(tasks=[name], data={name.split("_")[0]: folder})
    gather_tasks(asking, IngestParams(), machine)
    gather_tasks(asking, IngestParams(folder=tmp_path / "data" / "01_raw" / "ask"), machine)
    (tmp_path / "link").symlink_to(folder)
    for raw in (folder, folder.parent, Path("data/01_raw"), tmp_path / "link"):
        with pytest.raises(BadSetting, match=r"`ingest\.folder` is .*, which `evaluate\.tasks` asks"):
            gather_tasks(asking, IngestParams(folder=raw), machine)


def test_examples_that_are_shown_may_be_trained_on(tmp_path: Path, machine: Machine):
    folder = tmp_path / "gsm8k"
    write_gsm8k(folder)
    for split in ("train", "test"):
        (folder / split).mkdir()
        (folder / f"{split}.jsonl").rename(folder / split / f"{split}.jsonl")
    asking = EvaluateParams(tasks=["gsm8k"], data={"gsm8k": folder})
    assert gather_tasks(asking, IngestParams(folder=folder / "train"), machine).summary["rows"]["gsm8k"]["train"] == 12


def test_a_name_that_nobody_knows_is_found_before_anything_is_trained(tmp_path: Path, machine: Machine):
    asking = EvaluateParams(tasks=["gsm8k", "hellaswagg"], data={"gsm8k": write_gsm8k(tmp_path / "gsm8k")})
    with pytest.raises(BadSetting, match=r"names 'hellaswagg', .* Did you mean hellaswag"):
        gather_tasks(asking, IngestParams(), machine)
    own = tmp_path / "own"
    own.mkdir()
    (own / "echo.yaml").write_text("task: hellaswagg\ndataset_path: json\n")
    gather_tasks(asking.model_copy(update={"include_path": own}), IngestParams(), machine)
