"""evaluations -> results of each arm; comparison and figures of a study."""

from collections.abc import Iterable

from kedro.pipeline import Node, Pipeline, pipeline

from pipelines.arms import ArmSpec, reference_of
from pipelines.report import nodes, page


def create_arm_pipeline(arm: ArmSpec) -> Pipeline:
    """Describe one arm, and sum up what came of it, for the tracker."""
    name = arm.name
    settings = [f"params:arms.{arm.settings}", "params:budget", "params:finetune"]
    describe = Node(nodes.describe_arm(arm), settings, f"{name}.description", name="describe", namespace=name)
    function, inputs = nodes.summarise_trained, [f"{name}.evaluation", f"{name}.model"]
    if arm.size == "none":
        function, inputs = nodes.summarise_base, [f"{name}.evaluation"]
    summarise = Node(function, inputs, f"{name}.result", name="summarise", namespace=name)
    return pipeline([describe, summarise], tags=[name, "report"])


def create_selection_pipeline(arm: str, chosen_with: Iterable[str]) -> Pipeline:
    """What an arm chose, and what choosing cost: ``chosen_with`` are the data that no other kind of arm needs."""
    inputs = [f"{arm}.weights", f"{arm}.training_mix", "train", *chosen_with]
    told = [f"{arm}.selection", f"{arm}.examples"]
    node = Node(page.tell_selection, inputs, told, name="tell_selection", namespace=arm)
    return pipeline([node], tags=[arm, "report"])


def create_page_pipeline(arms: tuple[ArmSpec, ...], with_tasks: bool) -> Pipeline:
    """Show these arms side by side."""
    each = ("description", "result", *(("benchmark_metrics",) if with_tasks else ()))
    told = [f"{arm.name}.{name}" for arm in arms for name in each]
    told += [f"{arm.name}.{name}" for arm in arms if arm.size != "none" for name in ("selection", "examples")]
    shown = ["comparison_page", "gain_cost_figure"]
    node = Node(page.show_study(arms, with_tasks), ["comparison", "parameters", *told], shown, name="show_study")
    return pipeline([node], tags=["report"])


def create_course_pipeline(arm: str) -> Pipeline:
    """What an arm's models answered, and how validation loss went, while they were trained."""
    shown = [f"{arm}.course", f"{arm}.samples", f"{arm}.course_figure"]
    node = Node(nodes.tell_course, f"{arm}.model", shown, name="tell_course", namespace=arm)
    return pipeline([node], tags=[arm, "report"])


def create_gains_pipeline(arm: ArmSpec, reference: str) -> Pipeline:
    """What an arm's mixture really gained over the rows in their own proportions, for the tracker."""
    name = arm.name
    inputs = [f"{arm.before}influence_matrix", f"{name}.target_losses", f"{reference}.target_losses"]
    node = Node(nodes.tell_gains, inputs, f"{name}.gains", name="tell_gains", namespace=name)
    return pipeline([node], tags=[name, "report"])


def create_pipeline(arms: tuple[ArmSpec, ...], rounds_by: str) -> Pipeline:
    """Compare these arms with one another."""
    trained = tuple(arm.name for arm in arms if arm.size != "none")
    models = [f"{name}.model" for name in trained]
    shared = ["params:study", "params:finetune", "params:budget", "train"]
    evaluations = [f"{arm.name}.evaluation" for arm in arms]
    told = ["comparison", "verdicts"]
    compare = Node(nodes.compare_arms(arms), [*shared, *evaluations, *models], told, name="compare")
    drawn = ["accuracy_figure", "accuracy_chart", "cost_figure", "comparison_table"]
    draw = Node(nodes.draw_study, "comparison", drawn, name="draw_study")
    curves = [Node(nodes.draw_curves(trained), models, "loss_figure", name="draw_loss_curves")] if trained else []
    return pipeline([compare, draw, *curves, *_gains(arms, rounds_by)], tags=["report"])


def _gains(arms: tuple[ArmSpec, ...], rounds_by: str) -> list[Node]:
    """Predicted against realised gains, where mixtures are compared."""
    mixed = tuple(arm for arm in arms if arm.strategy == "pareto")
    if not mixed:
        return []
    needed = [
        (
            f"{arm.before}influence_matrix",
            f"{arm.before}mixtures",
            f"{arm.name}.target_losses",
            f"{reference_of(arm, rounds_by)}.target_losses",
        )
        for arm in mixed
    ]
    # Kedro wants each input once.
    inputs = list(dict.fromkeys(name for names in needed for name in names))
    places = [[inputs.index(name) for name in names] for names in needed]
    shown = ["gains_table", "gains_figure", "gains_metrics"]
    return [Node(nodes.compare_gains(mixed, places), inputs, shown, name="compare_gains")]
