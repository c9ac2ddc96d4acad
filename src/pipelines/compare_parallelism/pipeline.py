"""tokens, base_model -> what each cell costs -> one table with the logs of other trainers."""

from kedro.pipeline import Node, Pipeline, pipeline

from pipelines.compare_parallelism import nodes
from winnow.params import CompareParallelismParams, Method, Sharing

PARAMS = "params:compare_parallelism"


def create_pipeline(params: CompareParallelismParams) -> Pipeline:
    """Each cell has a namespace of its own, and with it a run of its own in MLflow."""
    cells = {f"cell_{method}_{engine}": (method, engine) for method in params.methods for engine in params.engines}
    logs = {f"cell_log_{name}": name for name in params.logs}
    made = [_cell(name, *cell) for name, cell in cells.items()]
    made += [
        Node(nodes.read_log(log), PARAMS, _told(name), name="read_log", namespace=name) for name, log in logs.items()
    ]
    told = [f"{name}.cost_{kind}" for kind in ("settings", "metrics") for name in (*cells, *logs)]
    shown = ["parallelism", "parallelism_figure"]
    return pipeline([*made, Node(nodes.compare, told, shown, name="compare_parallelism")], tags=["compare_parallelism"])


def _cell(name: str, method: Method, engine: Sharing) -> Node:
    inputs = ["tokens", "base_model", PARAMS, "params:finetune", "params:machine"]
    outputs = [f"{name}.cost", *_told(name)]
    return Node(nodes.measure(method, engine), inputs, outputs, name="measure", namespace=name)


def _told(name: str) -> list[str]:
    return [f"{name}.cost_{kind}" for kind in ("settings", "metrics", "curve")]
