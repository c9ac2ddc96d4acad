"""The base model's training: what it leaves, and that a killed one goes on to the same bytes."""

import hashlib
import multiprocessing
import os
import signal
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from winnow.errors import WorkerFailed
from winnow.params import FabricatedModel, FabricateParams, Machine
from winnow.progress import News, listening
from winnow.stages import Finished, Place, Work, locate
from winnow.workers.launch import launch

PARAMS = FabricateParams(
    facts=10, model=FabricatedModel(hidden=32, layers=1, heads=2, steps=150, batch=8, length=32, lr=0.01)
)


def train(place: Place) -> list[News]:
    news: list[News] = []
    machine = Machine(data_root=place.folder.parent, device="cpu", threads=1)
    with Work.resume(place), listening(news.append):
        launch("fabricate", {"params": PARAMS.model_dump(mode="json")}, {"base": place}, machine)
    return news


def place_in(root: Path) -> Place:
    return locate(root, "base", 1, PARAMS, {})


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Finished, list[News]]:
    place = place_in(tmp_path_factory.mktemp("trained"))
    news = train(place)
    return Finished.open(place.folder), news


def checksums(folder: Path) -> dict[str, str]:
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != "cost.json"]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_a_training_killed_after_a_checkpoint_resumes_to_the_same_bytes(
    trained: tuple[Finished, list[News]], tmp_path: Path
):
    place = place_in(tmp_path)
    known = set(multiprocessing.active_children())

    def kill(news: News) -> None:
        if (news.done or 0) >= 2 * PARAMS.model.steps // 5:
            for child in set(multiprocessing.active_children()) - known:
                os.kill(child.pid, signal.SIGKILL)

    with listening(kill), pytest.raises(WorkerFailed):
        train(place)
    assert list(place.partial.glob("step-*.safetensors"))
    assert not place.folder.exists()

    resumed = train(place)
    assert resumed[0].done > PARAMS.model.steps // 5
    assert checksums(place.folder) == checksums(trained[0].path)


def test_the_folder_holds_a_model_that_transformers_reads(trained: tuple[Finished, list[News]]):
    finished, _ = trained
    model = AutoModelForCausalLM.from_pretrained(finished.path)
    tokenizer = AutoTokenizer.from_pretrained(finished.path)
    assert model.config.model_type == "qwen2"
    assert model.config.vocab_size == len(tokenizer)
    assert sum(parameter.numel() for parameter in model.parameters()) == finished.summary["parameters"]
    assert finished.summary["pretrained"] is None
    assert model.generation_config.eos_token_id == tokenizer.convert_tokens_to_ids("<|im_end|>")
    question = tokenizer.apply_chat_template(
        [{"role": "user", "content": "Sort 4213."}], add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    with torch.no_grad():
        assert torch.isfinite(model(**question).logits).all()


def test_the_loss_is_reported_and_falls(trained: tuple[Finished, list[News]]):
    losses = [news.metrics["fabricate/loss"] for news in trained[1]]
    assert len(losses) == PARAMS.model.steps // 10
    assert losses[-1] < losses[0] - 1
    assert {news.total for news in trained[1]} == {PARAMS.model.steps}


def test_nothing_but_the_model_is_left(trained: tuple[Finished, list[News]]):
    names = {path.name for path in trained[0].path.iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json", "chat_template.jinja"} <= names
    assert not [name for name in names if name.startswith(("step-", "."))]
