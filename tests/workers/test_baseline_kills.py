"""Scores that are made block by block keep the blocks that were made, and end with the same bytes."""

import importlib
import os
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipelines.baselines import nodes
from support.tiny import Tiny, checksums
from winnow.baselines import farthest_first
from winnow.baselines.farthest_first import Order
from winnow.params import ArmParams, BaselinesParams, BudgetParams, Machine, TokenizeParams
from winnow.stages import PARTS, Finished, FinishedParts, Place, Work, locate
from winnow.workers import bm25_scores, diverse_order, rds_scores
from winnow.workers.job import Job
from winnow.workers.runtime import Worker

PARAMS = BaselinesParams(batch=8, batch_tokens=400, shard_rows=20)
NEWS = 3

Score = Callable[[Path], Finished | FinishedParts]


class Stopped(Exception):
    """Comes where a kill may come."""


class Impatient(Worker):
    """It is stopped at its third news."""

    told = 0

    def report(self, **news: Any) -> None:
        self.told += 1
        if self.told == NEWS:
            raise Stopped


def work_here(monkeypatch: pytest.MonkeyPatch, kind: type[Worker], folder: Path) -> None:
    """Workers work in this process."""

    def launch(stage: str, task: Mapping[str, Any], places: Mapping[str, Place], machine: Machine) -> None:
        with ExitStack() as locks:
            for place in places.values():
                locks.enter_context(Work.resume(place))
            job = Job(stage, dict(task), dict(places), machine, os.getpid(), folder)
            importlib.import_module(f"winnow.workers.{stage}").work(kind(job, 0, 1))

    def built(stage: str, task: Mapping[str, Any], place: Place, machine: Machine) -> Finished:
        launch(stage, task, {stage: place}, machine)
        return Finished.open(place.folder)

    monkeypatch.setattr(nodes, "built", built)
    monkeypatch.setattr(nodes, "launch_missing", launch)


@pytest.fixture(scope="module")
def scored(tiny: Tiny, root: Path) -> Finished:
    return nodes.score_rows(tiny.tokens, tiny.base, PARAMS, TokenizeParams(), tiny.machine(root))


@pytest.fixture(params=["rds_scores", "bm25_scores", "diverse_order"])
def score(
    request: pytest.FixtureRequest, tiny: Tiny, scored: Finished, targets: Finished, target_tokens: Finished
) -> Score:
    def run(root: Path) -> Finished | FinishedParts:
        machine = tiny.machine(root)
        if request.param == "rds_scores":
            return nodes.score_by_embeddings(scored, target_tokens, targets, tiny.base, PARAMS, machine)
        if request.param == "bm25_scores":
            return nodes.score_by_words(tiny.train, tiny.tokens, targets, PARAMS, machine)
        return nodes.order_by_distance(scored, BudgetParams(share=0.5), ArmParams(seeds=1), machine)

    return run


def test_what_was_scored_before_a_kill_is_not_scored_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, score: Score
):
    monkeypatch.setattr(rds_scores, "BLOCK_BYTES", 4000)
    monkeypatch.setattr(bm25_scores, "SHARD_ROWS", 50)
    monkeypatch.setattr(farthest_first, "LOOKED_AT", 4)
    monkeypatch.setattr(diverse_order, "KEPT_EVERY", 1)
    work_here(monkeypatch, Worker, tmp_path)
    score(tmp_path / "whole")

    made: list[str] = []
    commit = Work.commit

    def told(work: Work, name: str, write: Callable[[Path], object]) -> None:
        # An order is kept in one of two files in turn.
        if name.startswith(PARTS) and name not in diverse_order.FILES:
            made.append(name)
        commit(work, name, write)

    monkeypatch.setattr(Work, "commit", told)
    work_here(monkeypatch, Impatient, tmp_path)
    with pytest.raises(Stopped):
        score(tmp_path / "killed")
    (partial,) = (tmp_path / "killed").rglob("*.partial")
    assert list((partial / PARTS).iterdir())
    for _ in range(100):
        # As often as it takes: each attempt comes further.
        with suppress(Stopped):
            score(tmp_path / "killed")
            break
    assert len(made) == len(set(made)), "a block was made twice"
    assert checksums(tmp_path / "killed") == checksums(tmp_path / "whole")
    assert not list((tmp_path / "killed").rglob(PARTS))


def test_an_order_is_kept_beside_the_one_before(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr(farthest_first, "LOOKED_AT", 4)
    points = np.random.default_rng(0).standard_normal((40, 4)).astype(np.float32)
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    with Work.resume(locate(tmp_path, "diverse_order", 1, {}, {})) as work:
        order = Order.begun(3, len(points))
        assert diverse_order.resumed(work) is None
        states = []
        for _ in range(3):
            order.take_more(points, "cpu")
            diverse_order.keep(work, order)
            states.append(diverse_order.resumed(work))
            assert np.array_equal(states[-1].places, order.places)
        last = max((work.path / PARTS).iterdir(), key=lambda path: path.stat().st_mtime_ns)
        last.write_bytes(b"cut off")
        assert np.array_equal(diverse_order.resumed(work).places, states[-2].places)
