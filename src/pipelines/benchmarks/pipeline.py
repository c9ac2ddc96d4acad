"""benchmark_tasks -> answers of each arm and of the base model -> comparison."""

from kedro.pipeline import Node, Pipeline, pipeline

from pipelines.benchmarks import nodes


def create_pipeline() -> Pipeline:
    """The tasks' own files."""
    inputs = ["params:evaluate", "params:ingest", "params:machine"]
    return pipeline([Node(nodes.gather_tasks, inputs, "benchmark_tasks", name="gather_tasks")], tags=["evaluate"])


def create_arm_pipeline(arm: str) -> Pipeline:
    """Ask an arm's models; the arm `base` has none but the base model itself."""
    shared = ["benchmark_tasks", "base_model", "params:evaluate", "params:tokenize", "params:machine"]
    ask, inputs = (
        (nodes.answer_tasks_base, shared) if arm == "base" else (nodes.answer_tasks, [f"{arm}.model", *shared])
    )
    answers = f"{arm}.benchmarks"
    shown = [f"{arm}.benchmark_metrics", f"{arm}.benchmark_samples"]
    made = [
        Node(ask, inputs, answers, name="benchmarks", namespace=arm),
        Node(nodes.show_answers, answers, shown, name="show_benchmarks", namespace=arm),
    ]
    return pipeline(made, tags=[arm, "evaluate"])


def create_comparison_pipeline(arms: tuple[str, ...]) -> Pipeline:
    """The base model beside these arms."""
    trained = tuple(arm for arm in arms if arm != "base")
    inputs = ["base.benchmarks", *(f"{arm}.benchmarks" for arm in trained)]
    compare = Node(
        nodes.compare_benchmarks(trained), inputs, ["benchmarks", "benchmarks_figure"], name="compare_benchmarks"
    )
    return pipeline([compare], tags=["report"])
