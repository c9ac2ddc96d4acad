"""The experiment in small: which rows each mix has, what is asked, and that the chat model is a base model again."""

import json
from pathlib import Path

import polars as pl
import pytest

from pipelines.assistant import nodes
from support.tiny import Tiny, make_tiny
from winnow.params import AssistantParams, FinetuneParams, LoraParams, Machine, SamplesParams, TokenizeParams
from winnow.records.identity_texts import OFF_TOPIC, WHO
from winnow.records.tokenizer import load_tokenizer
from winnow.stages import Finished, FinishedParts

PARAMS = AssistantParams(
    name="Zed",
    copies=30,
    times=3,
    seeds=2,
    questions=3,
    chat=FinetuneParams(method="full", steps=2, batch=4),
    finetune=FinetuneParams(
        lora=LoraParams(rank=2), steps=3, batch=4, save_every=2, samples=SamplesParams(every=1, max_new_tokens=2)
    ),
)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    return make_tiny(tmp_path_factory.mktemp("assistant"))


@pytest.fixture(scope="module")
def machine(tiny: Tiny) -> Machine:
    return tiny.machine(tiny.root)


@pytest.fixture(scope="module")
def chat_model(tiny: Tiny, machine: Machine) -> Finished:
    return nodes.make_chat_model(tiny.tokens, tiny.base, PARAMS, machine)


@pytest.fixture(scope="module")
def models(tiny: Tiny, machine: Machine, chat_model: Finished) -> dict[str, FinishedParts]:
    examples = nodes.read_identity(nodes.write_identity(PARAMS, machine), machine)
    tokens = nodes.tokenize_identity(examples, tiny.validation, tiny.base, TokenizeParams(), machine)
    given = (tokens, chat_model, tiny.validation, PARAMS, TokenizeParams(), machine)
    return {name: nodes.learn_identity(name == "diluted")(*given) for name in ("alone", "diluted")}


def test_the_chat_model_has_what_a_base_model_has(tiny: Tiny, machine: Machine, chat_model: Finished):
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= {path.name for path in chat_model.path.iterdir()}
    text = "Sort 5913."
    assert load_tokenizer(chat_model)(text)["input_ids"] == load_tokenizer(tiny.base)(text)["input_ids"]
    assert (chat_model.path / "model.safetensors").read_bytes() != (tiny.base.path / "model.safetensors").read_bytes()
    again = nodes.make_chat_model(tiny.tokens, tiny.base, PARAMS, machine)
    assert again.fingerprint == chat_model.fingerprint


def test_general_pairs_and_nothing_else_are_what_dilutes(models: dict[str, FinishedParts], chat_model: Finished):
    assert models["alone"].summary["rows"] == 30
    assert models["diluted"].summary["rows"] == 30 + 2 * 3, "questions that are only asked are in neither"
    for model in models.values():
        assert {part.inputs["base_model"] for part in model.parts.values()} == {chat_model.fingerprint}
    assert models["alone"].fingerprint != models["diluted"].fingerprint


def test_validation_rows_and_fixed_prompts_are_asked_at_each_step(tiny: Tiny, models: dict[str, FinishedParts]):
    validation = {row[0]["content"] for row in tiny.validation.scan().collect()["messages"].to_list()}
    for model in models.values():
        for part in model.parts.values():
            asked = pl.read_ndjson(part.path / "samples.jsonl")
            assert set(asked["step"]) == {0, 1, 2, 3}
            skills = asked.filter(group="skills", step=0)
            assert skills.height == 3 * PARAMS.questions
            assert set(skills["prompt"]) <= validation
            assert skills["correct"].null_count() == 0
            assert asked.filter(group="off_topic", step=3)["prompt"].to_list() == list(OFF_TOPIC)
            assert asked.filter(group="who", step=3)["prompt"].to_list() == list(WHO)


def test_curves_findings_and_figure_come_from_the_answers(models: dict[str, FinishedParts], tmp_path: Path):
    table, findings, figure = nodes.tell_curves(tuple(models))(*models.values())
    assert set(table["mix"]) == set(models)
    assert len(table) == 2 * 4 * 4
    assert len(findings) == 6
    figure.savefig(tmp_path / "figure.png")
    told = nodes.tell_mix(models["alone"])
    last = table[(table["mix"] == "alone") & (table["step"] == 3) & (table["measure"] == "accuracy")]
    assert told["assistant/accuracy/skills"] == last["rate"].item()
    json.dumps(told)


def test_settings_that_cannot_work_are_refused():
    with pytest.raises(ValueError, match=r"chat\.method is 'lora'"):
        AssistantParams(chat=FinetuneParams())
    with pytest.raises(ValueError, match="asks its own prompts"):
        AssistantParams(finetune=FinetuneParams(samples=SamplesParams(prompts=["Hi"])))
