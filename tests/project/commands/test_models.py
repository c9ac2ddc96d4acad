"""`kedro merge` and `kedro chat`, and what MODEL means to both."""

import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner

from support.adapters import write_adapter
from support.study import KEDRO, PROJECT, Study
from support.talker import TALK, TULU, make_talker
from winnow.commands.chat import chat
from winnow.commands.merge import merge
from winnow.commands.models import find_model
from winnow.datasets import FinishedDataset
from winnow.errors import BadInput, BadSetting, MissingResource
from winnow.records.chat_template import template_checksum
from winnow.stages import Finished, FinishedParts, Work, locate


def train(data: Path, base: Finished) -> Finished:
    """What the arm `random` leaves, after a training that changed nothing."""
    with Work.resume(locate(data / "02_intermediate", "tokens", 1, {}, {})) as work:
        work.commit("chat_template.jinja", lambda path: path.write_text(TULU, encoding="utf-8"))
        tokens = work.finish({}, {})
    inputs = {"base_model": base.fingerprint, "tokens": tokens.fingerprint}
    with Work.resume(locate(data / "06_models", "finetune", 1, {"method": "lora"}, inputs)) as work:
        for folder in (work.path, work.path / "checkpoint-4"):
            write_adapter(base, folder, scale=0.0)
        return work.finish({"seed": 0}, {})


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    study = Study(tmp_path_factory.mktemp("models"))
    part = train(study.data, make_talker(study.data))
    record = FinishedDataset(filepath=str(study.data / "06_models/arms/random.json"), data_root=str(study.data))
    record.save(FinishedParts({"0": part}, {}))
    return study


@pytest.fixture
def trained(study: Study) -> Finished:
    return Finished.open(next(study.data.glob("06_models/finetune/[!.]*")))


def test_an_arm_is_merged_and_in_a_pipe_its_answers_alone_are_printed(study: Study):
    printed = study.kedro("merge", "random")
    merged = study.data / "06_models" / "merged" / "random-seed0"
    assert str(merged) in printed
    assert "unquantised" in printed
    assert (merged / "chat_template.jinja").read_text(encoding="utf-8") == TULU

    said = "\n".join([TALK[0][0], "", TALK[1][0], "/clear", TALK[0][0], "/exit", TALK[0][0]])
    done = subprocess.run(
        [str(KEDRO), "chat", "random"],
        cwd=PROJECT,
        env=study.environment(),
        input=said,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout == "".join(f"{answer}\n" for answer in (TALK[0][1], TALK[1][1], TALK[0][1]))
    again = CliRunner().invoke(chat, [str(merged)], input=TALK[0][0])
    assert again.stdout == f"{TALK[0][1]}\n"


def test_a_folder_is_known_with_base_template_and_name(trained: Finished):
    whole = find_model(str(trained.path))
    early = find_model(str(trained.path / "checkpoint-4"))
    assert (whole.name, early.name) == (trained.fingerprint, f"{trained.fingerprint}-checkpoint-4")
    for found in (whole, early):
        assert found.base.fingerprint == trained.inputs["base_model"]
        assert found.template == TULU
        assert found.is_adapter
    alone = find_model(str(whole.base.path))
    assert (alone.base.stage, alone.folder, alone.is_adapter) == ("base", None, False)


def test_an_adapter_of_another_trainer_names_its_base_or_is_told(trained: Finished, tmp_path: Path):
    base = Finished.open(next(trained.path.parents[1].glob("base/[!.]*")))
    folder = write_adapter(base, tmp_path / "mine")
    assert find_model(str(folder)).base.summary["pretrained"] == str(base.path)
    assert find_model(str(folder), "someone/model").base.summary["pretrained"] == "someone/model"
    (folder / "adapter_config.json").write_text("{}")
    with pytest.raises(BadInput, match="--base"):
        find_model(str(folder))
    with pytest.raises(MissingResource, match="`hf download ID`"):
        find_model(str(folder), "/no/such/folder")


def test_tokens_from_before_templates_were_kept_with_them_are_known_by_its_checksum(trained: Finished, tmp_path: Path):
    data = trained.path.parents[2]
    base = Finished.open(next((data / "06_models").glob("base/[!.]*")))

    def found(template: str | None) -> str | None:
        with Work.resume(locate(data / "02_intermediate", "tokens", 2, {"template": template}, {})) as work:
            tokens = work.place.finished() or work.finish({}, {})
        inputs = {"base_model": base.fingerprint, "tokens": tokens.fingerprint}
        with Work.resume(locate(data / "06_models", "warmup", 1, {}, inputs)) as work:
            write_adapter(base, work.path)
            return find_model(str(work.finish({}, {}).path)).template

    assert found(None) is None
    assert found(template_checksum("tulu")) == TULU
    with pytest.raises(MissingResource, match=r"is not kept there. Copy the file of `tokenize\.template`"):
        found("of a file that nobody has")


def test_a_base_that_was_deleted_is_named(trained: Finished, tmp_path: Path):
    inputs = {"base_model": "gone"}
    with Work.resume(locate(tmp_path / "06_models", "finetune", 1, {}, inputs)) as work:
        write_adapter(Finished.open(next(trained.path.parents[1].glob("base/[!.]*"))), work.path)
        lonely = work.finish({}, {})
    with pytest.raises(MissingResource, match=r"\(gone\) is no longer .*--base"):
        find_model(str(lonely.path))


@pytest.mark.parametrize("what", ["nonsense", "./nothing", "a/b/c", "/no/such"])
def test_what_is_no_model_is_one_message(what: str):
    with pytest.raises(BadSetting, match=r"no folder, no arm .*random.* no hub id"):
        find_model(what)


def test_a_hub_id_stands_for_itself():
    found = find_model("Qwen/Qwen2.5-0.5B")
    assert (found.name, found.base.summary["pretrained"], found.folder) == ("Qwen2.5-0.5B", "Qwen/Qwen2.5-0.5B", None)


def test_what_cannot_be_merged_is_said_before_anything_is_loaded(
    trained: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    base = next(trained.path.parents[1].glob("base/[!.]*"))
    there = tmp_path / "there"
    there.mkdir()
    for arguments, said in (
        ([str(base)], "is a whole model already"),
        ([str(base), "--base", "a/b"], "is a whole model and needs none"),
        ([str(trained.path), "--out", str(there)], "use --force to replace it"),
        ([str(tmp_path / "there")], "neither config.json nor adapter_config.json"),
    ):
        result = CliRunner().invoke(merge, arguments)
        assert result.exit_code == 1
        assert result.output.startswith("Error: ")
        assert said in result.output
    (tmp_path / "data").mkdir()
    monkeypatch.chdir(tmp_path)
    for kept in (Path(), tmp_path / "data" / "..", trained.path, trained.path / "checkpoint-4", base, base.parent):
        result = CliRunner().invoke(merge, [str(trained.path), "--out", str(kept), "--force"])
        assert result.exit_code == 1
        assert result.output.startswith("Error: ")
    assert (base / "config.json").exists()
    assert (trained.path / "adapter_config.json").exists()
    result = CliRunner().invoke(merge, [str(trained.path), "--out", str(there), "--force"])
    assert result.exit_code == 0, result.output
    assert (there / "model.safetensors").exists()
