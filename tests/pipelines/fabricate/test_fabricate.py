"""What decides the generated data and the base model, and what does not."""

from pathlib import Path

import pytest

from pipelines.fabricate.nodes import fabricate_base_model, fabricate_corpus
from winnow.params import FabricatedModel, FabricateParams, Machine
from winnow.stages import WouldRun, planning

PARAMS = FabricateParams(rows=50, verified_rows=10, facts=10)


def planned(params: FabricateParams, machine: Machine) -> str:
    with planning(), pytest.raises(WouldRun) as stop:
        fabricate_base_model(params, machine)
    return stop.value.places[0].fingerprint


def test_a_second_run_reuses_the_rows(tmp_path: Path):
    machine = Machine(data_root=tmp_path)
    fabricated, planted = fabricate_corpus(PARAMS, machine)
    with planning():
        assert fabricate_corpus(PARAMS, machine) == (fabricated, planted)
    assert fabricated.path.parent == tmp_path / "01_raw" / "fabricated"
    assert planted.scan().collect().height == 3 * PARAMS.rows


def test_the_model_does_not_decide_the_rows_nor_the_pool_the_model(tmp_path: Path):
    machine = Machine(data_root=tmp_path)
    other_model = PARAMS.model_copy(update={"model": FabricatedModel(steps=7)})
    other_pool = PARAMS.model_copy(update={"rows": 60, "wrong_share": 0.1})
    other_facts = PARAMS.model_copy(update={"facts": 11})
    fabricated, _ = fabricate_corpus(PARAMS, machine)
    assert fabricate_corpus(other_model, machine)[0].path == fabricated.path
    assert fabricate_corpus(other_pool, machine)[0].path != fabricated.path
    assert planned(other_pool, machine) == planned(PARAMS, machine)
    assert planned(other_model, machine) != planned(PARAMS, machine)
    assert planned(other_facts, machine) != planned(PARAMS, machine)


def test_threads_and_processes_do_not_decide_the_model(tmp_path: Path):
    assert planned(PARAMS, Machine(data_root=tmp_path)) == planned(
        PARAMS, Machine(data_root=tmp_path, threads=1, processes=2)
    )
