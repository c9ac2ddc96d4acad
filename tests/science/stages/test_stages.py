"""A result has an address made of all that decides it, appears only when complete, and survives kills."""

import json
import multiprocessing
import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import polars as pl
import pytest

from winnow.errors import StaleOutput
from winnow.params import LoraParams
from winnow.stages import (
    Finished,
    FinishedParts,
    Place,
    Work,
    WouldRun,
    filled,
    fingerprint,
    load_record,
    locate,
    planning,
    require_build,
)

SHARDS = [f"shard-{i:02}.txt" for i in range(6)]


def a_place(root: Path, seed: int = 0) -> Place:
    return locate(root, "toy", 1, {"seed": seed}, {"table": "abc"})


def build(place: Place, kill_in: str | None = None) -> Finished:
    with Work.resume(place) as work:
        for name in SHARDS:
            if not work.is_committed(name):
                work.commit(name, lambda path, name=name: write(path, name, kill_in))
        return work.finish({"shards": len(SHARDS)}, {"seconds": 1.0})


def write(path: Path, name: str, kill_in: str | None) -> None:
    path.write_text(name * 100)
    if name == kill_in:
        os.kill(os.getpid(), signal.SIGKILL)


def content(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_fingerprint_depends_on_parameters_inputs_stage_and_revision_only():
    def of(stage: str = "losses", revision: int = 1, inputs: str = "x", r: int = 16) -> str:
        return fingerprint(stage, revision, {"lora": LoraParams(rank=r), "path": Path("a/b")}, {"tokens": inputs})

    assert of() == of()
    assert len({of(), of(stage="other"), of(revision=2), of(inputs="y"), of(r=8)}) == 5
    assert fingerprint("s", 1, {"a": 1, "b": 2}, {}) == fingerprint("s", 1, {"b": 2, "a": 1}, {})


@pytest.mark.parametrize("kill_in", SHARDS)
def test_killed_stage_keeps_its_shards_and_ends_with_the_same_bytes(tmp_path: Path, kill_in: str):
    undisturbed = build(a_place(tmp_path / "a"))
    place = a_place(tmp_path / "b")
    child = multiprocessing.get_context("fork").Process(target=build, args=(place, kill_in))
    child.start()
    child.join()
    assert child.exitcode == -signal.SIGKILL
    assert place.finished() is None
    committed = [name for name in SHARDS if Work(place).is_committed(name)]
    assert committed == SHARDS[: SHARDS.index(kill_in)]
    assert content(build(place).path) == content(undisturbed.path)


def test_a_damaged_shard_is_written_again(tmp_path: Path):
    place = a_place(tmp_path)
    with Work.resume(place) as work:
        work.commit(SHARDS[0], lambda path: write(path, SHARDS[0], None))
        (work.path / SHARDS[0]).write_text("damaged")
        assert not work.is_committed(SHARDS[0])
    assert (build(place).path / SHARDS[0]).read_text() == SHARDS[0] * 100


def test_a_kill_before_the_record_keeps_the_shards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    place = a_place(tmp_path)

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("winnow.stages.work._write", killed)
    with pytest.raises(KeyboardInterrupt):
        build(place)
    assert all(Work(place).is_committed(name) for name in SHARDS)


def test_a_kill_between_the_record_and_the_rename_loses_nothing(tmp_path: Path):
    place = a_place(tmp_path)
    finished = build(place)
    os.replace(finished.path, place.partial)
    with Work.resume(place):
        assert place.finished() == finished


def test_records_travel_with_the_data_root(tmp_path: Path):
    old, new = tmp_path / "old", tmp_path / "new"
    finished = build(a_place(old / "03_primary"))
    parts = FinishedParts({"0": finished}, {"note": "x"})
    stored = json.loads(json.dumps(parts.record(old)))
    assert str(tmp_path) not in json.dumps(stored)
    old.rename(new)
    loaded = load_record(stored, new)
    assert isinstance(loaded, FinishedParts)
    assert loaded.fingerprint == parts.fingerprint
    assert (loaded.parts["0"].path / SHARDS[0]).exists()


def test_a_deleted_result_is_an_error_that_says_what_to_do(tmp_path: Path):
    record = build(a_place(tmp_path)).record(tmp_path)
    (tmp_path / record["path"]).rename(tmp_path / "elsewhere")
    with pytest.raises(StaleOutput, match="Run the pipeline again"):
        load_record(record, tmp_path)


def test_a_table_of_a_result_has_its_own_fingerprint(tmp_path: Path):
    place = a_place(tmp_path)
    with Work.resume(place) as work:
        work.commit("train.parquet", lambda path: pl.DataFrame({"example_id": ["a", "b"]}).write_parquet(path))
        tables = {"train": {"file": "train.parquet", "rows": 2, "fingerprint": "f" * 16}}
        finished = work.finish({"tables": tables}, {})
    assert finished.only("train").fingerprint == "f" * 16
    assert finished.only("train").scan().collect()["example_id"].to_list() == ["a", "b"]


def test_planning_builds_nothing(tmp_path: Path):
    place = a_place(tmp_path)
    with planning(), pytest.raises(WouldRun) as raised:
        require_build([place])
    assert raised.value.places == (place,)
    require_build([place])


def fill(work: Work) -> dict[str, int]:
    for name in SHARDS:
        work.commit(name, lambda path, name=name: write(path, name, None))
    return {"shards": len(SHARDS)}


def test_what_is_filled_once_is_only_opened_after_that(tmp_path: Path):
    calls = []

    def counted(work: Work) -> dict[str, int]:
        calls.append(work.place)
        return fill(work)

    place = a_place(tmp_path)
    with planning(), pytest.raises(WouldRun):
        filled(place, counted)
    assert calls == []
    first = filled(place, counted)
    with planning():
        again = filled(place, counted)
    assert calls == [place]
    assert first == again == Finished.open(place.folder)
    assert first.summary == {"shards": len(SHARDS)}
    assert list(first.cost) == ["seconds"]


def test_who_waited_for_the_lock_takes_what_the_other_has_filled(tmp_path: Path):
    place = a_place(tmp_path)
    waiting = threading.Event()
    calls = []

    def slow(work: Work) -> dict[str, int]:
        calls.append("slow")
        assert waiting.wait(60)
        # The other has looked, found nothing, and comes to the lock in this time, or after it.
        time.sleep(0.2)
        return fill(work)

    def never(work: Work) -> dict[str, int]:
        calls.append("never")
        return fill(work)

    def second() -> Finished:
        waiting.set()
        return filled(place, never)

    with ThreadPoolExecutor(2) as pool:
        one = pool.submit(filled, place, slow)
        while not calls:
            time.sleep(0.01)
        other = pool.submit(second)
        assert one.result() == other.result()
    assert calls == ["slow"]


def test_a_place_survives_the_way_to_a_worker(tmp_path: Path):
    place = a_place(tmp_path)
    assert Place.from_json(place.to_json()) == place
