"""Evaluation: one teacher-forced pass equals generation, and kills, batches and processes change nothing."""

import signal
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from transformers import AutoModelForCausalLM

from pipelines.evaluate.nodes import evaluate, evaluate_base
from pipelines.finetune.nodes import finetune
from support.tiny import Tiny, checksums, kill_workers, when
from winnow.errors import WorkerFailed
from winnow.evaluation.questions import ask
from winnow.params import ArmParams, EvaluateParams, FinetuneParams, TokenizeParams
from winnow.progress import News, listening
from winnow.records.tokenizer import load_tokenizer
from winnow.stages import FinishedParts

PARAMS = EvaluateParams(batch=4)


@pytest.fixture(scope="session")
def model(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> FinishedParts:
    """Full fine-tuning on some of the questions, so that some answers are right and some wrong."""
    params = FinetuneParams(method="full", steps=120, batch=16, lr=0.01)
    machine = tiny.machine(tmp_path_factory.mktemp("model"))
    return finetune(tiny.mix(2, rows=60), tiny.tokens, tiny.base, params, TokenizeParams(), ArmParams(seeds=2), machine)


def score(
    tiny: Tiny, model: FinishedParts, root: Path, params: EvaluateParams = PARAMS, **machine: object
) -> FinishedParts:
    machine_params = tiny.machine(root, **machine)
    return evaluate(model, tiny.train, tiny.base, params, TokenizeParams(), machine_params)


@pytest.fixture(scope="session")
def undisturbed(tiny: Tiny, model: FinishedParts, tmp_path_factory: pytest.TempPathFactory) -> FinishedParts:
    return score(tiny, model, tmp_path_factory.mktemp("undisturbed"))


def test_teacher_forcing_gives_exactly_the_answers_that_generation_gives(
    tiny: Tiny, model: FinishedParts, undisturbed: FinishedParts, tmp_path: Path
):
    generated = score(tiny, model, tmp_path, EvaluateParams(decoding="generate", max_new_tokens=24, batch=16))
    correct = [parts.parts["0"].scan("rows").collect()["correct"].to_list() for parts in (generated, undisturbed)]
    assert correct[0] == correct[1]
    assert 0 < sum(correct[0]) < len(correct[0]), "all answers are alike: the comparison shows nothing"


def test_killed_evaluation_resumes_at_its_shard_to_the_same_bytes(
    tiny: Tiny, model: FinishedParts, undisturbed: FinishedParts, tmp_path: Path
):
    shard = int(np.random.default_rng().integers(1, 4))
    kill = when(lambda news: (news.done or 0) >= 16 * shard, kill_workers(signal.SIGKILL))
    written: list[News] = []
    with listening(kill), listening(written.append), pytest.raises(WorkerFailed):
        score(tiny, model, tmp_path)
    with listening(written.append):
        resumed = score(tiny, model, tmp_path)
    answers = [part.scan("rows").collect().height for part in undisturbed.parts.values()]
    assert len(written) <= sum(-(-rows // 16) for rows in answers), "shards were answered twice"
    for seed, part in resumed.parts.items():
        assert checksums(part.path) == checksums(undisturbed.parts[seed].path)


@pytest.mark.parametrize("shared", ["processes", "side_by_side"])
def test_two_processes_write_the_same_bytes_as_one(
    shared: str, tiny: Tiny, model: FinishedParts, undisturbed: FinishedParts, tmp_path: Path
):
    two = score(tiny, model, tmp_path, **{shared: 2})
    for seed, part in two.parts.items():
        assert checksums(part.path) == checksums(undisturbed.parts[seed].path)


def test_the_loss_is_the_mean_over_the_answers_tokens(tiny: Tiny, tmp_path: Path):
    base = evaluate_base(tiny.held_out, tiny.base, PARAMS, TokenizeParams(), tiny.machine(tmp_path))
    rows = base.parts["0"].scan("rows").collect()
    losses = dict(rows.select("example_id", "loss").iter_rows())
    causal = AutoModelForCausalLM.from_pretrained(tiny.base.path)
    for question in ask(tiny.held_out.scan(), load_tokenizer(tiny.base), None, 2048, 5)[0]:
        ids = torch.tensor(question.context + question.answer)
        with torch.no_grad():
            log_probabilities = causal(ids[None]).logits[0].log_softmax(-1)
        places = range(len(question.context), len(ids))
        expected = -np.mean([float(log_probabilities[place - 1, ids[place]]) for place in places])
        assert losses[question.example_id] == pytest.approx(expected, abs=1e-5)


def test_metrics_are_per_domain_and_over_all_rows(undisturbed: FinishedParts):
    part = undisturbed.parts["0"]
    rows = part.scan("rows").collect()
    metrics = part.summary["metrics"]
    assert metrics["evaluate/accuracy"] == pytest.approx(rows["correct"].mean())
    for domain in ("math", "code", "science"):
        own = rows.filter(pl.col("domain") == domain)
        assert metrics[f"evaluate/accuracy/{domain}"] == pytest.approx(own["correct"].mean())
        assert metrics[f"evaluate/loss/{domain}"] == pytest.approx(own["loss"].mean())


def test_a_limit_takes_the_same_rows_of_each_domain(tiny: Tiny):
    tokenizer = load_tokenizer(tiny.base)
    five, seven = (ask(tiny.held_out.scan(), tokenizer, None, 2048, limit)[0] for limit in (5, 7))
    assert {domain: sum(q.domain == domain for q in five) for domain in ("math", "code", "science")} == {
        "math": 5,
        "code": 5,
        "science": 5,
    }
    assert {q.example_id for q in five} < {q.example_id for q in seven}


def test_an_answer_and_its_end_of_turn_are_what_is_asked_for(tiny: Tiny):
    tokenizer = load_tokenizer(tiny.base)
    messages = {row[0]: row[1] for row in tiny.held_out.scan().select("example_id", "messages").collect().iter_rows()}
    for question in ask(tiny.held_out.scan(), tokenizer, None, 2048, None)[0]:
        assert tokenizer.decode(question.answer) == messages[question.example_id][-1]["content"] + "<|im_end|>"
        assert tokenizer.decode(question.context).endswith("<|im_start|>assistant\n")
