"""What `kedro compare` reads: the runs that were asked for, as arms."""

import difflib
import math
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from winnow.errors import MissingResource
from winnow.report.compared import VERDICT, Compared, no_examples, verdict_of
from winnow.tracking.store import connect, hide_password, is_missing_file

PARENT = "mlflow.parentRunId"
# On the runs of a sweep's settings.
SWEEP = "winnow.sweep"
ABOVE_ARMS = ("study", "sweep")
ACCURACY = "evaluate/accuracy"
# What an arm is evaluated on, among the inputs of its run.
ASKED = ("held_out", "validation")
# And how, among the parameters of its study.
ASKED_SO = ("evaluate.limit", "evaluate.decoding", "evaluate.max_new_tokens")
SHORTEST_ID = 4
SHORT = 6
NEAREST = 5
PAGE = 100
MOST_NAMES = 1000
# Of a study's settings: what the arm's own run says again, and better.
_ARMS_OWN = ("arms.", "study.", "finetune.", "machine.data_root")


@dataclass(frozen=True)
class Found:
    """The arms that were asked for, and the settings that all their studies share."""

    rows: list[Compared]
    shared: dict[str, str]
    title: str


class Runs:
    """The runs of one tracking store; of one study's alone where that is named."""

    def __init__(self, uri: str, study: str | None = None) -> None:
        self.study = study
        self.uri = uri
        if is_missing_file(uri):
            raise self._nothing()
        self.client = connect(uri)
        experiments = self.client.search_experiments(filter_string=f"name = {_quoted(study)}" if study else None)
        self.experiments = [found.experiment_id for found in experiments]
        if study and not experiments:
            known = ", ".join(found.name for found in self.client.search_experiments())
            raise MissingResource(f"--study {study}: the tracking store has no such study. Known: {known}.")
        self.parents: dict[str, Any] = {}

    def find(self, names: Sequence[str]) -> Found:
        """The arms of these runs, each once; of the newest study where none is named."""
        with _readable(self.uri):
            return self._find(names)

    def _find(self, names: Sequence[str]) -> Found:
        runs = [run for name in names for run in self._named(name)] if names else self._newest_study()
        runs = list({run.info.run_id: run for run in runs}.values())
        parents = {run.info.run_id: self._parent(run) for run in runs}
        studies = {parent.info.run_id: parent for parent in parents.values() if parent}
        settings = [parent.data.params for parent in studies.values()]
        shared, apart = _shared(settings)
        labels = _labels(runs)
        with tempfile.TemporaryDirectory() as folder:
            rows = [
                self._compared(run, parents[run.info.run_id], labels[run.info.run_id], apart, Path(folder))
                for run in runs
            ]
        return Found(rows, shared, _title(runs, list(studies.values())))

    def _newest_study(self) -> list[Any]:
        """The arms of the newest run that has any which were evaluated."""
        if arms := self._newest("tags.`winnow.kind` = 'study'", and_settings=False):
            return arms
        raise self._nothing()

    def _newest(self, wanted: str, and_settings: bool) -> list[Any]:
        """The evaluated arms of the newest such run that has any; a sweep's settings, too, or not."""
        found = (run for run in self._search(wanted) if and_settings or SWEEP not in run.data.tags)
        return next(filter(None, map(self._arms_of, found)), [])

    def _named(self, name: str) -> list[Any]:
        """By id or its beginning; else the newest of the arm, the run or the study of this name."""
        text = _quoted(name)
        of_study = f"tags.`winnow.study` = {text} and tags.`winnow.kind` = 'study'"
        ways = {f"tags.`winnow.arm` = {text}": True, f"attributes.run_name = {text}": True, of_study: False}
        if len(name) >= SHORTEST_ID and all(letter in "0123456789abcdef" for letter in name):
            beginning = _quoted(f"{name}%")
            by_id = list(self._search(f"attributes.run_id LIKE {beginning}"))
            if len(by_id) > 1:
                known = ", ".join(f"{run.info.run_id} ({run.info.run_name})" for run in by_id[:NEAREST])
                raise MissingResource(f"Several runs begin with {name!r}: {known}. Write more of the one you mean.")
            if by_id:
                return self._asked_for(by_id[0], name)
        for way, and_settings in ways.items():
            if arms := self._newest(way, and_settings):
                return arms
        raise self._unknown(name)

    def _asked_for(self, run: Any, name: str) -> list[Any]:
        if arms := self._arms_of(run):
            return arms
        raise MissingResource(
            f"The run {name!r} ({run.info.run_name}, {run.info.status}) has no arm that was evaluated. Finish it with "
            "the command that began it, or name another run."
        )

    def _arms_of(self, run: Any) -> list[Any]:
        """The run itself, if it is an evaluated arm; else those below it."""
        kind = run.data.tags.get("winnow.kind")
        if kind == "arm":
            return [run] if ACCURACY in run.data.metrics else []
        if kind not in ABOVE_ARMS:
            return []
        below = self._search(f"tags.`{PARENT}` = '{run.info.run_id}'", "ASC")
        return [arm for child in below for arm in self._arms_of(child)]

    def _search(self, wanted: str, order: str = "DESC") -> Iterator[Any]:
        token = None
        while self.experiments:
            given = {"order_by": [f"attributes.start_time {order}"], "max_results": PAGE, "page_token": token}
            found = self.client.search_runs(self.experiments, wanted, **given)
            yield from found
            token = found.token
            if not token:
                return

    def _parent(self, run: Any) -> Any:
        name = run.data.tags.get(PARENT)
        if name and name not in self.parents:
            self.parents[name] = self._run_or_none(name)
        return self.parents.get(name)

    def _run_or_none(self, name: str) -> Any:
        """A run; none where it was deleted for good, which leaves its children."""
        from mlflow.exceptions import MlflowException

        try:
            return self.client.get_run(name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return None

    def _compared(self, run: Any, parent: Any, label: str, apart: set[str], folder: Path) -> Compared:
        arm, params, metrics = run.data.tags["winnow.arm"], run.data.params, run.data.metrics
        around = parent.data.params if parent else {}
        return Compared(
            name=label,
            arm=arm,
            params={name: around[name] for name in sorted(apart & around.keys())} | params,
            metrics={name: value for name, value in metrics.items() if not math.isnan(value)},
            seeds=int(params.get("arm.seeds", 1)),
            control=params.get("arm.control", ""),
            examples=self._examples(run, folder),
            asked=_asked(run, around),
            run=run.info.run_id,
            parent=run.data.tags.get(PARENT, ""),
            study=run.data.tags.get("winnow.study", ""),
            **self._verdict(run, parent, folder),
        )

    def _verdict(self, run: Any, parent: Any, folder: Path) -> dict[str, Any]:
        """What its own run says, else the comparison of its study: older runs have no more."""
        import pandas as pd

        arm, tags, metrics = run.data.tags["winnow.arm"], run.data.tags, run.data.metrics
        if sentence := tags.get("winnow.verdict"):
            numbers = {name: metrics[f"verdict/{name}"] for name in VERDICT if f"verdict/{name}" in metrics}
            # Only what is finite is logged: after a test, seeds that are not told are without end.
            needed = {"seeds_needed": math.inf} if "p_holm" in numbers else {}
            return verdict_of({"verdict": sentence, **needed, **numbers})
        file = self._artifact(parent, "comparison.csv", folder)
        table = pd.read_csv(file) if file else pd.DataFrame({"arm": []})
        lines = table[table["arm"] == arm].to_dict("records")
        return verdict_of({str(name): value for name, value in lines[-1].items()} if lines else {})

    def _examples(self, run: Any, folder: Path) -> Any:
        import pandas as pd

        file = self._artifact(run, "examples.csv", folder)
        # Whatever an id or a text is, it is meant so: only a score can be missing.
        text: dict[str, Any] = {"keep_default_na": False, "na_values": {"score": [""]}}
        return pd.read_csv(file, dtype={"example_id": str, "text": str}, **text) if file else no_examples()

    def _artifact(self, run: Any, name: str, folder: Path) -> Path | None:
        """A file that a run logged; none where it logged no such file, or its files were moved or deleted."""
        if run is None:
            return None
        place = folder / run.info.run_id
        if (place / "report" / name).exists():
            return place / "report" / name
        place.mkdir(exist_ok=True)
        if f"report/{name}" not in {found.path for found in self.client.list_artifacts(run.info.run_id, "report")}:
            return None
        return Path(self.client.download_artifacts(run.info.run_id, f"report/{name}", str(place)))

    def _nothing(self) -> MissingResource:
        where = f"The study {self.study!r}" if self.study else "The tracking store"
        return MissingResource(
            f"{where} has no study with an arm that was evaluated, so there is nothing to compare. `kedro run` makes "
            "one; a sweep has to be named; MLFLOW_TRACKING_URI names another store."
        )

    def _unknown(self, name: str) -> MissingResource:
        known: dict[str, None] = {}
        for run in self._search(""):
            known |= dict.fromkeys([str(run.info.run_name), *filter(None, [run.data.tags.get("winnow.arm")])])
            if len(known) >= MOST_NAMES:
                break
        if not known:
            return self._nothing()
        near = difflib.get_close_matches(name, known, NEAREST, cutoff=0.4)
        said = f"Nearest: {', '.join(near)}." if near else f"Known: {', '.join(list(known)[: 4 * NEAREST])}."
        return MissingResource(
            f"No evaluated run or arm is called {name!r}, and no run's id begins so. {said} Without a name the newest "
            "study is shown; `mlflow ui` lists all runs."
        )


@contextmanager
def _readable(uri: str) -> Iterator[None]:
    """What the store or that of its files refuses becomes a message."""
    from mlflow.exceptions import MlflowException

    try:
        yield
    except (MlflowException, OSError) as error:
        reason = hide_password((str(error).splitlines() or [type(error).__name__])[0])
        raise MissingResource(
            f"The tracking store {hide_password(uri)} cannot be read: {reason}. See that it and the place of its "
            "artifacts answer (a server, a mounted folder, a bucket), or name another by MLFLOW_TRACKING_URI."
        ) from error


def _asked(run: Any, around: Mapping[str, str]) -> dict[str, str]:
    """What an arm was evaluated on and how, as far as its run and its study's parameters tell."""
    inputs = {given.dataset.name: given.dataset.digest for given in run.inputs.dataset_inputs}
    rows = "/".join(inputs[name] for name in ASKED if name in inputs)
    return ({"rows": rows} if rows else {}) | {name: around[name] for name in ASKED_SO if name in around}


def _shared(settings: Sequence[Mapping[str, str]]) -> tuple[dict[str, str], set[str]]:
    """What all studies' parameters agree on; and the names of those that differ and are not the arms' own."""
    names = {name for one in settings for name in one}
    same = {name for name in names if len({one.get(name) for one in settings}) == 1}
    apart = {name for name in names - same if not name.startswith(_ARMS_OWN)}
    return {name: settings[0][name] for name in sorted(same)}, apart


def _labels(runs: Sequence[Any]) -> dict[str, str]:
    """An arm's name; where several runs have it, with the beginning of the run's id."""
    arms = [run.data.tags["winnow.arm"] for run in runs]
    return {
        run.info.run_id: arm if arms.count(arm) == 1 else f"{arm} {run.info.run_id[:SHORT]}"
        for run, arm in zip(runs, arms, strict=True)
    }


def _title(runs: Sequence[Any], studies: Sequence[Any]) -> str:
    names = list(dict.fromkeys(run.data.tags.get("winnow.study", "") for run in runs))
    title = f"{'Study' if len(names) == 1 else 'Studies'} {', '.join(names)}"
    return f"{title}, run {studies[0].info.run_id[:SHORT]}" if len(studies) == 1 else title


def _quoted(text: str | None) -> str:
    """A string in MLflow's language of filters, which has no escape: what cannot be written is in no run's name."""
    value = str(text)
    if "'" not in value:
        return f"'{value}'"
    return '"' + value.replace('"', "'") + '"'
