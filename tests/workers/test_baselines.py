"""Scores without training: equal to a plain loop over rows, whatever the batches, processes and kills."""

import signal
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from torch.nn.functional import cross_entropy

from pipelines.baselines import nodes
from support.tiny import Tiny, checksums, kill_workers, when
from winnow.baselines.bm25 import Bm25, count, vocabulary
from winnow.baselines.files import EMBEDDINGS, read_embeddings
from winnow.baselines.words import words_of
from winnow.errors import WorkerFailed
from winnow.params import ArmParams, BaselinesParams, BudgetParams, TokenizeParams
from winnow.progress import listening
from winnow.records.tokenizer import load_tokenizer
from winnow.records.tokens import TokenTable
from winnow.stages import Finished
from winnow.training.model import load_model

PARAMS = BaselinesParams(batch=8, batch_tokens=400, shard_rows=20)


def row_scores_of(tiny: Tiny, root: Path, params: BaselinesParams = PARAMS, **machine: object) -> Finished:
    return nodes.score_rows(tiny.tokens, tiny.base, params, TokenizeParams(), tiny.machine(root, **machine))


@pytest.fixture(scope="session")
def row_scores(tiny: Tiny, root: Path) -> Finished:
    return row_scores_of(tiny, root)


@pytest.fixture(scope="session")
def rds(tiny: Tiny, root: Path, row_scores: Finished, target_tokens: Finished, targets: Finished) -> Finished:
    return nodes.score_by_embeddings(row_scores, target_tokens, targets, tiny.base, PARAMS, tiny.machine(root))


def by_itself(model: torch.nn.Module, ids: np.ndarray, mask: np.ndarray) -> tuple[float, np.ndarray]:
    """One row, all logits; and the embedding token by token."""
    given = torch.from_numpy(ids.astype(np.int64))
    labels = torch.where(torch.from_numpy(mask), given, -100)
    with torch.no_grad():
        out = model(input_ids=given[None], output_hidden_states=True)
    loss = cross_entropy(out.logits[0, :-1].float(), labels[1:]).item()
    hidden = out.hidden_states[-1][0].double().numpy()
    total = sum((place + 1) * hidden[place] for place in range(len(ids)))
    return loss, total / np.linalg.norm(total)


def test_losses_difficulty_and_embeddings_are_those_of_each_row_by_itself(tiny: Tiny, row_scores: Finished):
    table, embeddings = row_scores.scan().collect(), read_embeddings(row_scores.path)
    tokens = TokenTable.open(tiny.tokens.path, "train")
    assert table["example_id"].to_list() == sorted(tokens.ids), "what the tokenizer cannot use has no score"
    model = load_model(tiny.base, "fp32", "cpu")
    header = load_tokenizer(tiny.base)("<|im_start|>assistant\n", add_special_tokens=False)["input_ids"]
    for row in table.sample(25, seed=0).iter_rows(named=True):
        (of,) = tokens.rows([row["example_id"]])
        loss, embedding = by_itself(model, of.input_ids, of.supervised)
        answer = of.input_ids[of.supervised]
        alone, _ = by_itself(
            model, np.concatenate([header, answer]), np.arange(len(header) + len(answer)) >= len(header)
        )
        assert row["loss"] == pytest.approx(loss, abs=1e-5)
        assert row["loss_alone"] == pytest.approx(alone, abs=1e-5)
        assert row["ifd"] == pytest.approx(loss / alone, abs=1e-5)
        assert row["n_tokens"] == len(of.input_ids)
        assert embeddings[row["embedding"]].astype(float) == pytest.approx(embedding, abs=1e-3)


def test_equal_rows_are_computed_once_and_score_alike(tiny: Tiny, row_scores: Finished):
    table = row_scores.scan().collect()
    assert row_scores.summary["embeddings"] == len(read_embeddings(row_scores.path)) < table.height
    alike = table.group_by("embedding").agg(pl.col("loss").n_unique(), pl.col("ifd").n_unique())
    assert alike["loss"].max() == alike["ifd"].max() == 1


def test_two_processes_write_the_same_bytes_and_batches_change_next_to_nothing(
    tiny: Tiny, row_scores: Finished, tmp_path: Path
):
    two = row_scores_of(tiny, tmp_path, processes=2)
    assert checksums(two.path) == checksums(row_scores.path)
    alone = row_scores_of(tiny, tmp_path, PARAMS.model_copy(update={"batch": 1})).scan().collect()
    table = row_scores.scan().collect()
    for name in ("loss", "loss_alone", "ifd"):
        assert alone[name].to_numpy() == pytest.approx(table[name].to_numpy(), abs=1e-5)


def test_a_killed_pass_goes_on_and_ends_with_the_same_bytes(tiny: Tiny, root: Path, tmp_path: Path):
    slow = PARAMS.model_copy(update={"batch": 1, "shard_rows": 1})
    whole = row_scores_of(tiny, root, slow)
    kill = when(lambda news: (news.done or 0) > 3, kill_workers(signal.SIGKILL))
    with listening(kill), pytest.raises(WorkerFailed, match="row_scores"):
        row_scores_of(tiny, tmp_path, slow)
    assert list(tmp_path.glob("03_primary/row_scores/*.partial/.parts/*.safetensors"))
    resumed = row_scores_of(tiny, tmp_path, slow)
    assert checksums(resumed.path) == checksums(whole.path)
    assert {path.name for path in resumed.path.iterdir()} == {
        "record.json", "cost.json", "row_scores.parquet", EMBEDDINGS
    }  # fmt: skip


def test_rds_is_the_cosine_with_the_nearest_row_of_each_subtask(
    tiny: Tiny, row_scores: Finished, target_tokens: Finished, targets: Finished, rds: Finished
):
    scores = rds.scan("scores").collect()
    model = load_model(tiny.base, "fp32", "cpu")
    pool, rows = TokenTable.open(tiny.tokens.path, "train"), TokenTable.open(target_tokens.path, "validation")
    labels = nodes.labels_of(targets)
    assert [name for name in scores.columns if name != "example_id"] == sorted(set(labels.values()))
    queries = {row.example_id: by_itself(model, row.input_ids, row.supervised)[1] for row in rows.rows(rows.ids)}
    for found in scores.sample(10, seed=0).iter_rows(named=True):
        (row,) = pool.rows([found["example_id"]])
        _, mine = by_itself(model, row.input_ids, row.supervised)
        for label in set(labels.values()):
            best = max(float(mine @ queries[name]) for name in rows.ids if labels[name] == label)
            assert found[label] == pytest.approx(best, abs=1e-3)


def test_bm25_is_that_of_all_usable_rows_together(tiny: Tiny, root: Path, targets: Finished, tmp_path: Path):
    one = nodes.score_by_words(tiny.train, tiny.tokens, targets, PARAMS, tiny.machine(root))
    scores = one.scan("scores").collect()
    usable = set(TokenTable.open(tiny.tokens.path, "train").ids)
    assert set(scores["example_id"]) == usable
    texts = {name: words_of(said) for name, said in tiny.train.scan().select("example_id", "messages").collect().rows()}
    texts = {name: text for name, text in texts.items() if name in usable}
    asked = targets.scan().select("example_id", "messages").collect().rows()
    queries = [words_of(messages) for _, messages in asked]
    places = vocabulary(queries)
    counts = count(list(texts.values()), places)
    bm25 = Bm25(count(queries, places), len(texts), counts.texts_with, sum(map(len, texts.values())))
    found = dict(zip(texts, bm25.scores(counts), strict=True))
    labels = nodes.labels_of(targets)
    for row in scores.iter_rows(named=True):
        for label in set(labels.values()):
            mine = [found[row["example_id"]][place] for place, (name, _) in enumerate(asked) if labels[name] == label]
            assert row[label] == pytest.approx(max(mine), abs=1e-6)
    two = nodes.score_by_words(tiny.train, tiny.tokens, targets, PARAMS, tiny.machine(tmp_path, processes=2))
    assert checksums(two.path) == checksums(one.path)


@pytest.mark.parametrize("budget", [BudgetParams(share=0.2), BudgetParams(tokens=500), BudgetParams(rows=7)])
def test_distances_are_ordered_until_the_budget_is_full(
    tiny: Tiny, root: Path, row_scores: Finished, budget: BudgetParams
):
    orders = nodes.order_by_distance(row_scores, budget, ArmParams(seeds=2), tiny.machine(root))
    table = row_scores.scan().collect()
    sizes = dict(table.select("example_id", "n_tokens").rows())
    firsts = set()
    for order in orders.parts.values():
        chosen = order.scan("order").collect()
        assert chosen["example_id"].n_unique() == chosen.height
        assert chosen["distance"][1:].to_list() == sorted(chosen["distance"][1:], reverse=True)
        firsts.add(chosen["example_id"][0])
        if budget.tokens:
            taken = chosen["example_id"].replace_strict(sizes).cum_sum()
            assert taken[-2] < budget.tokens <= taken[-1]
        else:
            assert chosen.height == (budget.rows or int(budget.share * table.height))
    assert len(firsts) == 2
    more = nodes.order_by_distance(row_scores, budget, ArmParams(seeds=3), tiny.machine(root))
    assert [more.parts[seed].path for seed in "01"] == [orders.parts[seed].path for seed in "01"]
