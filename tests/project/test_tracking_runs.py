"""Which runs `kedro compare` takes for a name, and what it reads of them."""

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

import pandas as pd
import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from winnow.errors import MissingResource
from winnow.report.compared import EXAMPLES, Compared, were_asked_differently
from winnow.tracking.runs import Runs
from winnow.tracking.store import Point, Store

NONE: Mapping[str, str] = MappingProxyType({})


class Tracker:
    """Writes runs as the hooks do."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.uri = f"sqlite:///{folder}/mlflow.db"

    def study(
        self,
        study: str,
        name: str,
        arms: dict[str, float | None],
        tags: Mapping[str, str] = NONE,
        verdict: Mapping[str, object] = NONE,
        **params: str,
    ) -> dict[str, str]:
        """A run with these arms and their accuracies; its id is under the empty name."""
        store = Store(self.uri, self.folder, study)
        parent = store.start(name, {"winnow.kind": "study", "winnow.study": study, **tags})
        store.params(parent, {"study.name": study, "finetune.lr": "1", "split.seed": "0", **params})
        found = {"": parent}
        table = []
        for arm, accuracy in arms.items():
            own = {"winnow.kind": "arm", "winnow.arm": arm, "winnow.study": study, "mlflow.parentRunId": parent}
            found[arm] = store.start(arm, own)
            store.params(found[arm], {"arm.seeds": 3, "arm.control": "random", "finetune.lr": f"of {study}"})
            store.inputs(found[arm], {"held_out": f"rows of {params.get('split.seed', 0)}"})
            if accuracy is not None:
                store.metrics(found[arm], [Point("evaluate/accuracy", accuracy), Point("cost/seconds", 3.0)])
            table.append({"arm": arm, **(verdict or {"versus_control": f"{arm} is better"})})
        file = self.folder / "comparison.csv"
        pd.DataFrame(table).to_csv(file, index=False)
        store.artifact(parent, file, "report")
        return found

    def runs(self, study: str | None = None) -> Runs:
        return Runs(self.uri, study)


@pytest.fixture(scope="module")
def tracker(tmp_path_factory: pytest.TempPathFactory) -> Tracker:
    return Tracker(tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def ids(tracker: Tracker) -> dict[str, dict[str, str]]:
    return {
        "old": tracker.study("demo", "study", {"random": 0.5, "less": 0.6, "killed": None}),
        "new": tracker.study("demo", "study", {"random": 0.4, "all": 0.7}),
        "other": tracker.study("full", "o'neill's", {"random": 0.3}, **{"split.seed": "1", "study.arms": "x"}),
        "unfinished": tracker.study("demo", "late", {"random": None}),
    }


@pytest.fixture
def find(tracker: Tracker, ids: dict[str, dict[str, str]]) -> Callable[..., list[Compared]]:
    return lambda *names, study=None: tracker.runs(study).find(names).rows


def test_without_a_name_it_is_the_newest_study_that_was_evaluated(find: Callable[..., list[Compared]]):
    assert [row.arm for row in find(study="demo")] == ["random", "all"]
    assert [(row.study, row.arm) for row in find()] == [("full", "random")]


def test_a_run_is_found_by_its_id_its_beginning_and_its_newest_name(
    find: Callable[..., list[Compared]], ids: dict[str, dict[str, str]]
):
    old = [ids["old"]["random"], ids["old"]["less"]]
    assert [row.run for row in find(ids["old"][""])] == old
    assert [row.run for row in find(ids["old"][""][:12])] == old
    assert [row.run for row in find(ids["old"]["less"][:12])] == old[1:]
    assert [row.run for row in find("study")] == [ids["new"]["random"], ids["new"]["all"]]
    assert [row.run for row in find("less")] == [ids["old"]["less"]]
    assert [row.run for row in find("random")] == [ids["other"]["random"]]
    assert [row.run for row in find("random", study="demo")] == [ids["new"]["random"]]
    assert [row.run for row in find("o'neill's")] == [ids["other"]["random"]]
    assert [row.run for row in find("full")] == [ids["other"]["random"]]


def test_a_run_that_is_named_twice_is_one_row_and_arms_of_the_same_name_are_told_apart(
    find: Callable[..., list[Compared]], ids: dict[str, dict[str, str]]
):
    rows = find("study", "random", "full", "less")
    assert len({row.name for row in rows}) == len(rows) == 4
    assert {row.name for row in rows} >= {"less", "all", f"random {ids['new']['random'][:6]}"}


def test_what_an_arm_was_and_reached(find: Callable[..., list[Compared]], ids: dict[str, dict[str, str]]):
    (row,) = find("less")
    assert (row.seeds, row.control, row.parent) == (3, "random", ids["old"][""])
    assert row.metrics == {"evaluate/accuracy": 0.6, "cost/seconds": 3.0}
    assert row.verdict == "less is better"
    assert math.isnan(row.effect)
    assert row.examples.empty


def test_verdicts_and_examples_of_a_newer_run_are_read(tracker: Tracker, ids: dict[str, dict[str, str]]):
    found = tracker.study("newer", "study", {"random": 0.4, "less": 0.5})
    store = Store(tracker.uri, tracker.folder, "newer")
    store.metrics(found["less"], [Point("verdict/effect", 0.1), Point("verdict/p_holm", 0.2)])
    store.tags(found["less"], {"winnow.verdict": "cannot be told"})
    file = tracker.folder / "examples.csv"
    text = 'user: a "quoted"\r\nline, NA\n\nassistant: é'
    pd.DataFrame([("top", 1, 0.5, 2, "NA", text)], columns=EXAMPLES).to_csv(file, index=False)
    store.artifact(found["less"], file, "report")
    (row,) = tracker.runs("newer").find(["less"]).rows
    assert (row.verdict, row.effect, row.p_holm) == ("cannot be told", 0.1, 0.2)
    assert row.seeds_to_tell == "more rows", "the store keeps no infinity"
    assert row.examples.to_dict("records") == [
        {"end": "top", "rank": 1, "score": 0.5, "times": 2, "example_id": "NA", "text": text}
    ]
    MlflowClient(tracker.uri).delete_experiment(store.experiment)


def test_settings_that_studies_share_are_told_from_those_that_differ(tracker: Tracker, ids: dict[str, dict[str, str]]):
    found = tracker.runs().find(["less", "full"])
    assert found.shared == {"finetune.lr": "1"}
    assert [row.params["split.seed"] for row in found.rows] == ["0", "1"]
    assert "study.arms" not in found.rows[1].params
    assert [row.asked for row in found.rows] == [{"rows": "rows of 0"}, {"rows": "rows of 1"}]
    alone = tracker.runs().find(["less"])
    assert alone.shared == {"finetune.lr": "1", "split.seed": "0", "study.name": "demo"}


def test_arms_that_were_evaluated_in_another_way_are_told_apart(tmp_path: Path):
    tracker = Tracker(tmp_path)
    for limit, batch in (("5", "8"), ("5", "16"), ("9", "16")):
        tracker.study("x", f"{limit} {batch}", {"a": 0.5}, **{"evaluate.limit": limit, "evaluate.batch": batch})
    runs = tracker.runs()
    assert not were_asked_differently(runs.find(["5 8", "5 16"]).rows)
    assert were_asked_differently(runs.find(["5 16", "9 16"]).rows)


def test_a_setting_of_a_sweep_is_not_the_newest_study(tmp_path: Path):
    tracker = Tracker(tmp_path)
    own = tracker.study("x", "own", {"random": 0.5, "less": 0.6})
    sweep = Store(tracker.uri, tmp_path, "x").start("sweep", {"winnow.kind": "sweep", "winnow.study": "x"})
    tags = {"winnow.sweep": "abc", "mlflow.parentRunId": sweep}
    settings = [tracker.study("x", f"lr={lr}", {"less": 0.7}, tags)["less"] for lr in (1, 2)]
    for names in ([], ["x"]):
        assert [row.run for row in tracker.runs().find(names).rows] == [own["random"], own["less"]]
    for name in ("sweep", sweep):
        assert [row.run for row in tracker.runs().find([name]).rows] == settings
    assert [row.run for row in tracker.runs().find(["lr=1"]).rows] == settings[:1]


def test_the_verdict_is_that_of_the_study_where_the_run_has_none(tmp_path: Path):
    tracker = Tracker(tmp_path)
    numbers = {"effect": 0.01, "effect_ci": 0.02, "p_value": 0.2, "p_holm": 0.4, "seeds_needed": math.inf}
    tracker.study("x", "own", {"less": 0.5}, verdict={"verdict": "cannot be told", **numbers})
    (row,) = tracker.runs().find(["less"]).rows
    assert (row.verdict, row.effect, row.seeds_needed) == ("cannot be told", 0.01, math.inf)
    assert row.seeds_to_tell == "more rows"


def test_an_arm_outlives_the_run_that_it_was_part_of(tmp_path: Path):
    tracker = Tracker(tmp_path)
    found = tracker.study("x", "own", {"less": 0.5})
    client = MlflowClient(tracker.uri)
    client.delete_run(found[""])
    client._tracking_client.store._hard_delete_run(found[""])
    (row,) = tracker.runs().find(["less"]).rows
    assert (row.run, row.verdict, row.parent) == (found["less"], "", found[""])


def test_a_place_of_files_that_does_not_answer_is_told_with_a_remedy(
    tracker: Tracker, ids: dict[str, dict[str, str]], monkeypatch: pytest.MonkeyPatch
):
    def refused(*_: object) -> None:
        raise MlflowException("the bucket at s3://me:secret@host is gone")

    runs = tracker.runs()
    monkeypatch.setattr(runs.client, "list_artifacts", refused)
    with pytest.raises(MissingResource, match=r"(?s)the bucket .*gone.*MLFLOW_TRACKING_URI") as told:
        runs.find(["less"])
    assert "secret" not in str(told.value)


def test_a_name_that_is_unknown_is_answered_with_the_nearest(find: Callable[..., list[Compared]]):
    with pytest.raises(MissingResource, match=r"'randm'.*Nearest: random"):
        find("randm")
    with pytest.raises(MissingResource, match=r"xyz.*Known: .*less"):
        find("xyz")


def test_a_run_without_evaluated_arms_says_so(find: Callable[..., list[Compared]], ids: dict[str, dict[str, str]]):
    with pytest.raises(MissingResource, match="no arm that was evaluated"):
        find(ids["unfinished"][""])
    with pytest.raises(MissingResource, match=r"no such study\. Known: "):
        find(study="nothing")


def test_an_empty_store_names_the_command_and_is_not_made(tmp_path: Path):
    with pytest.raises(MissingResource, match="kedro run"):
        Runs(f"sqlite:///{tmp_path}/mlflow.db")
    assert list(tmp_path.iterdir()) == []
