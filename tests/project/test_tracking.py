"""What MLflow holds after a run that went well, failed, or was interrupted."""

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import pandas as pd
import pytest
from kedro.framework.hooks.manager import _create_hook_manager
from kedro.io import DataCatalog, MemoryDataset
from kedro.pipeline import Node, Pipeline, pipeline
from kedro.runner import SequentialRunner
from kedro_datasets.json import JSONDataset
from kedro_datasets.matplotlib import MatplotlibDataset
from matplotlib.figure import Figure
from mlflow import MlflowClient
from mlflow.entities import Run

from winnow.commands.run import INTERRUPTED
from winnow.commands.run import run as run_command
from winnow.errors import BadSetting, MissingResource
from winnow.params import FinetuneParams, IngestParams
from winnow.progress import News, publish
from winnow.stages import Finished, FinishedParts
from winnow.tracking import TrackingHooks, hooks
from winnow.tracking.store import Point, Store, artifact_root, flatten, hide_password, legal

pytestmark = pytest.mark.filterwarnings("ignore:One or more dataset names contain")
PROJECT = Path(__file__).resolve().parents[2]
STEPS = 6


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tracking")


@pytest.fixture(scope="module")
def client(folder: Path) -> MlflowClient:
    return MlflowClient(f"sqlite:///{folder}/mlflow.db")


class Tracked:
    """One experiment in the shared store, and runs of small pipelines in it."""

    def __init__(self, folder: Path, client: MlflowClient, study: str) -> None:
        self.folder, self.client, self.study = folder, client, study
        self.params: dict[str, Any] = {"study": {"name": study}, "finetune": FinetuneParams(lr=0.5)}
        self.hooks = TrackingHooks(folder, f"sqlite:///{folder}/mlflow.db")

    def run(self, nodes: Pipeline, catalog: DataCatalog) -> None:
        """What a Kedro session does, in its order."""
        manager = _create_hook_manager()
        manager.register(self.hooks)
        manager.hook.after_context_created(context=SimpleNamespace(params=self.params))
        told = {"run_params": {"pipeline_names": ["study"]}, "pipeline": nodes, "catalog": catalog}
        manager.hook.before_pipeline_run(**told)
        try:
            SequentialRunner().run(nodes, catalog, hook_manager=manager)
        except Exception as error:
            manager.hook.on_pipeline_error(error=error, **told)
            raise
        manager.hook.after_pipeline_run(run_result={}, **told)

    def runs(self, kind: str) -> list[Run]:
        experiment = self.client.get_experiment_by_name(self.study).experiment_id
        return self.client.search_runs(
            [experiment], f"tags.`winnow.kind` = '{kind}'", order_by=["attributes.start_time ASC"]
        )

    def arm(self, name: str) -> Run:
        return [run for run in self.runs("arm") if run.data.tags["winnow.arm"] == name][-1]

    def curve(self, run: Run, metric: str) -> list[tuple[int, float]]:
        return sorted((point.step, point.value) for point in self.client.get_metric_history(run.info.run_id, metric))


@pytest.fixture
def tracked(folder: Path, client: MlflowClient, request: pytest.FixtureRequest) -> Tracked:
    return Tracked(folder, client, request.node.name)


def one_node(function: Callable[..., Any], arm: str = "random", output: str = "result", name: str = "node") -> Pipeline:
    return pipeline([Node(function, None, f"{arm}.{output}", name=name, namespace=arm)])


def logged_as(kind: str) -> MemoryDataset:
    return MemoryDataset(metadata={"mlflow": {"as": kind}})


def trained(folder: Path, seeds: int = 2) -> FinishedParts:
    parts = {}
    for seed in range(seeds):
        path = folder / f"model{seed}"
        path.mkdir(exist_ok=True)
        steps = range(1, STEPS + 1)
        history = pd.DataFrame({"step": steps, "loss": [10.0 - step + seed for step in steps], "lr": 0.1})
        history.to_parquet(path / "history.parquet")
        parts[str(seed)] = Finished("finetune", f"model{seed}", path)
    return FinishedParts(parts)


def stream(seed: int, steps: range) -> None:
    for step in steps:
        publish(News(stage="finetune", step=step, metrics={f"finetune/loss/seed_{seed}": 10.0 - step + seed}))


def test_the_parent_has_the_parameters_of_all_stages(tracked: Tracked):
    tracked.params |= {"ingest": IngestParams(shapes={"*/qa*.jsonl": "pair"}), "raw": {"deep": {"value": [1, 2]}}}
    tracked.run(one_node(lambda: 1), DataCatalog({"random.result": MemoryDataset()}))
    (parent,) = tracked.runs("study")
    assert parent.data.params["finetune.lr"] == "0.5"
    assert parent.data.params["finetune.lora.rank"] == "16"
    assert parent.data.params["ingest.shapes"] == '{"*/qa*.jsonl": "pair"}'
    assert parent.data.params["raw.deep.value"] == "[1, 2]"
    assert parent.info.status == "FINISHED"


def test_a_child_run_says_what_makes_it_differ_and_belongs_to_its_parent(tracked: Tracked):
    def describe() -> dict[str, Any]:
        return {"params": {"arm.strategy": "random", "arm.seeds": 2}, "tags": {"winnow.seeds": "0,1"}}

    tracked.run(one_node(describe), DataCatalog({"random.result": logged_as("params")}))
    child, (parent,) = tracked.arm("random"), tracked.runs("study")
    assert child.data.params == {"arm.strategy": "random", "arm.seeds": "2"}
    assert child.data.tags["mlflow.parentRunId"] == parent.info.run_id
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=PROJECT, capture_output=True, text=True, check=False)
    tracked.hooks.project = PROJECT
    tracked.run(one_node(describe), DataCatalog({"random.result": logged_as("params")}))
    tags = tracked.arm("random").data.tags
    expected = {
        "winnow.git_sha": head.stdout.strip() or "unknown",
        "winnow.seeds": "0,1",
        "winnow.study": tracked.study,
    }
    assert {name: tags[name] for name in expected} == expected
    assert tags["winnow.base_model"] == "fabricated"


def test_metrics_of_a_domain_with_an_odd_name_are_logged(tracked: Tracked):
    names = ["evaluate/accuracy/数学", "evaluate/accuracy/a(b)*", "evaluate/accuracy/../x", "evaluate/accuracy"]
    tracked.run(one_node(lambda: dict.fromkeys(names, 0.5)), DataCatalog({"random.result": logged_as("metrics")}))
    found = tracked.arm("random").data.metrics
    assert len(found) == len(names)
    assert {"evaluate/accuracy/数学", "evaluate/accuracy"} <= set(found)


def test_a_cell_of_a_cost_table_is_a_run_with_its_curves(tracked: Tracked):
    table = pd.DataFrame({"step": [5, 10], "curve/loss": [2.0, 1.0], "curve/tokens": [float("nan"), 900.0]})
    nodes = one_node(lambda: table, arm="cell_lora_ddp", output="cost_curve")
    tracked.run(nodes, DataCatalog({"cell_lora_ddp.cost_curve": logged_as("curves")}))
    (cell,), (parent,) = tracked.runs("cell"), tracked.runs("study")
    assert not tracked.runs("arm")
    assert cell.data.tags["winnow.cell"] == "cell_lora_ddp"
    assert cell.data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert tracked.curve(cell, "curve/loss") == [(5, 2.0), (10, 1.0)]
    assert tracked.curve(cell, "curve/tokens") == [(10, 900.0)]


def test_metrics_are_there_while_the_node_still_runs(tracked: Tracked):
    seen: list[float] = []

    def train() -> int:
        stream(0, range(1, 101))
        seen.append(tracked.arm("random").data.metrics["finetune/loss/seed_0"])
        return 1

    tracked.run(one_node(train), DataCatalog({"random.result": MemoryDataset()}))
    assert seen
    assert len(tracked.curve(tracked.arm("random"), "finetune/loss/seed_0")) == 100


@pytest.mark.parametrize("streamed", [range(1, STEPS + 1), range(4, STEPS + 1), range(0)])
def test_the_curves_are_the_same_for_new_resumed_and_reused_trainings(
    tracked: Tracked, tmp_path: Path, streamed: range
):
    def train() -> FinishedParts:
        stream(0, streamed)
        return trained(tmp_path)

    tracked.run(one_node(train, output="model"), DataCatalog({"random.model": MemoryDataset()}))
    run = tracked.arm("random")
    assert tracked.curve(run, "finetune/loss/seed_0") == [(step, 10.0 - step) for step in range(1, STEPS + 1)]
    assert tracked.curve(run, "finetune/loss") == [(step, 10.5 - step) for step in range(1, STEPS + 1)]


def test_an_artifact_is_the_file_of_its_own_run(tracked: Tracked, tmp_path: Path):
    figure = JSONDataset(filepath=str(tmp_path / "figure.json"), metadata={"mlflow": {"as": "artifact"}})
    for number in (1, 2):
        nodes = pipeline([Node(lambda number=number: {"run": number}, None, "figure", name="draw")])
        tracked.run(nodes, DataCatalog({"figure": figure}))
    runs = tracked.runs("study")
    logged = [Path(tracked.client.download_artifacts(run.info.run_id, "report/figure.json")) for run in runs]
    assert [json.loads(file.read_text()) for file in logged] == [{"run": 1}, {"run": 2}]
    assert all(run.info.artifact_uri.startswith((tracked.folder / "mlartifacts").as_uri()) for run in runs)


def test_an_artifact_may_be_a_folder_and_holds_what_was_made_last(tracked: Tracked, tmp_path: Path):
    """A figure that is no longer made stays neither in the folder nor in the later run."""
    place = {"filepath": str(tmp_path / "figures"), "overwrite": True, "metadata": {"mlflow": {"as": "artifact"}}}
    catalog = DataCatalog({"figures": MatplotlibDataset(**place)})
    for names in (("one.png", "other.png"), ("one.png",)):
        nodes = pipeline([Node(lambda names=names: {name: Figure() for name in names}, None, "figures", name="draw")])
        tracked.run(nodes, catalog)
    logged = [
        Path(tracked.client.download_artifacts(run.info.run_id, "report/figures")) for run in tracked.runs("study")
    ]
    assert [sorted(file.name for file in folder.iterdir()) for folder in logged] == [
        ["one.png", "other.png"],
        ["one.png"],
    ]


def test_a_child_names_the_data_it_used_by_fingerprint(tracked: Tracked, tmp_path: Path):
    nodes = pipeline([Node(lambda data: 1, "held_out", "random.result", name="evaluate", namespace="random")])
    held_out = MemoryDataset(Finished("split", "f00d", tmp_path))
    tracked.run(nodes, DataCatalog({"held_out": held_out, "random.result": MemoryDataset()}))
    used = [entry.dataset for entry in tracked.arm("random").inputs.dataset_inputs]
    assert [(data.name, data.digest) for data in used] == [("held_out", "f00d")]


def fail() -> int:
    raise ValueError("broken")


def test_a_failure_marks_the_parent_and_the_open_arms_alone(tracked: Tracked):
    good = one_node(lambda: 1, arm="all", name="a")
    bad = pipeline([Node(lambda done: fail(), "all.result", "random.result", name="b", namespace="random")])
    memory = DataCatalog({"all.result": MemoryDataset(), "random.result": MemoryDataset()})
    with pytest.raises(ValueError, match="broken"):
        tracked.run(good + bad, memory)
    assert tracked.runs("study")[0].info.status == "FAILED"
    assert tracked.arm("random").info.status == "FAILED"
    assert tracked.arm("all").info.status == "FINISHED"


@pytest.fixture
def heeds_ctrl_c() -> Iterator[None]:
    """A shell starts what it runs in the background with this signal ignored, and so are its children."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("heeds_ctrl_c")
def test_ctrl_c_marks_the_runs_as_killed(tracked: Tracked, capsys: pytest.CaptureFixture[str]):
    def interrupted() -> int:
        stream(0, range(1, 4))
        signal.raise_signal(signal.SIGINT)
        return 1

    nodes = one_node(interrupted)
    with pytest.raises(SystemExit) as ending:
        run_command(lambda: tracked.run(nodes, DataCatalog({"random.result": MemoryDataset()})), {})
    assert ending.value.code == INTERRUPTED
    assert "goes on from them" in capsys.readouterr().err
    assert tracked.runs("study")[0].info.status == "KILLED"
    assert tracked.arm("random").info.status == "KILLED"
    assert len(tracked.curve(tracked.arm("random"), "finetune/loss/seed_0")) == 3


def test_thousands_of_points_take_a_few_requests(tracked: Tracked):
    store = Store(f"sqlite:///{tracked.folder}/mlflow.db", tracked.folder, tracked.study)
    run = store.start("long", {})
    store.client = Mock(wraps=store.client)
    store.metrics(run, [Point("finetune/loss", float(step), step) for step in range(3000)])
    assert store.client.log_batch.call_count == 3
    assert len(tracked.client.get_metric_history(run, "finetune/loss")) == 3000


def test_a_deleted_experiment_is_named_with_the_remedy(tracked: Tracked):
    tracked.client.delete_experiment(tracked.client.create_experiment(tracked.study))
    with pytest.raises(BadSetting, match="mlflow experiments restore"):
        Store(f"sqlite:///{tracked.folder}/mlflow.db", tracked.folder, tracked.study)


@pytest.mark.parametrize("uri", ["http://me:secret@127.0.0.1:9", "postgresql://me:secret@127.0.0.1:9/winnow"])
def test_a_store_that_does_not_answer_is_an_error_with_a_remedy_and_no_password(uri: str, tmp_path: Path):
    with pytest.raises(MissingResource, match="WINNOW_TRACKING=off") as error:
        Store(uri, tmp_path, "study")
    assert "secret" not in str(error.value)


def test_artifacts_lie_beside_the_store_and_never_in_the_working_directory(tmp_path: Path):
    assert artifact_root(f"sqlite:///{tmp_path}/mlflow.db", PROJECT) == tmp_path / "mlartifacts"
    assert artifact_root("sqlite:///mlflow.db", PROJECT) == Path.cwd() / "mlartifacts"
    assert artifact_root("postgresql+psycopg://me@db/winnow", PROJECT) == PROJECT / "mlartifacts"
    assert artifact_root("https://mlflow.example", PROJECT) is None


def test_names_stay_different_when_made_legal():
    assert legal("evaluate/accuracy") == "evaluate/accuracy"
    assert legal("a(b") != legal("a)b")
    assert flatten({"a": {"b": 1, "c": {}}}) == {"a.b": 1, "a.c": {}}
    assert hide_password("postgresql://me:secret@db/x") == "postgresql://...@db/x"


def test_tracking_can_be_turned_off_and_moved():
    def tracking(**environment: str) -> list[str]:
        return [hook.uri for hook in hooks(PROJECT, environment) if isinstance(hook, TrackingHooks)]

    assert tracking() == [f"sqlite:///{PROJECT}/mlflow.db"]
    assert tracking(MLFLOW_TRACKING_URI="https://mlflow.example") == ["https://mlflow.example"]
    assert tracking(WINNOW_TRACKING="off") == []


def test_listing_pipelines_imports_neither_mlflow_nor_torch_nor_figures():
    heavy = ("mlflow", "torch", "transformers", "seaborn", "scipy.stats")
    code = f"import sys, winnow.settings, winnow.pipeline_registry; print([n for n in {heavy} if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
