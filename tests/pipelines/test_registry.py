"""Every registered pipeline is whole: typed parameters, no leak of held-out rows, no missing dataset."""

import inspect
import typing
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest
from kedro.framework.context import KedroContext
from kedro.framework.project import pipelines
from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project
from kedro.io import CatalogProtocol
from kedro.pipeline import Pipeline
from pydantic import BaseModel

from pipelines import requested
from pipelines.arms import ARMS, PARETO, of_full_size
from pipelines.configured import Configured
from winnow.errors import BadSetting
from winnow.pipeline_registry import register_pipelines
from winnow.recipes import check_params
from winnow.registration import parameters

PROJECT = Path(__file__).resolve().parents[2]
ENVIRONMENTS = sorted(path.name for path in (PROJECT / "conf").iterdir() if path.is_dir())
BASELINES = ("rds", "bm25", "ifd", "embedding_diversity")
MAY_READ_HELD_OUT = {"evaluate", "verify_contamination"}


@pytest.fixture(params=ENVIRONMENTS)
def context(request: pytest.FixtureRequest) -> Iterator[KedroContext]:
    bootstrap_project(PROJECT)
    with KedroSession.create(PROJECT, env=request.param) as session:
        yield session.load_context()


def all_nodes() -> dict[str, object]:
    return {node.name: node for pipeline in register_pipelines().values() for node in pipeline.nodes}


def test_every_params_input_arrives_as_its_model(context: KedroContext):
    catalog = context.catalog
    checked = 0
    for node in all_nodes().values():
        bound = inspect.signature(node.func).bind(*_positional(node), **_keyword(node))
        hints = typing.get_type_hints(node.func)
        for name, value in bound.arguments.items():
            dataset = value if isinstance(value, str) else ""
            if dataset.startswith("params:"):
                model = hints[name]
                assert issubclass(model, BaseModel), f"{node.name}: {name} is not a parameter model"
                assert isinstance(catalog.load(dataset), model), f"{node.name}: {dataset} arrives untyped"
                checked += 1
    assert checked > len(ARMS)


def _positional(node: object) -> list[str]:
    return [] if isinstance(node._inputs, dict) else list(node.inputs)


def _keyword(node: object) -> dict[str, str]:
    return dict(node._inputs) if isinstance(node._inputs, dict) else {}


def test_held_out_feeds_only_the_stages_that_may_read_it():
    readers = {node.name.rsplit(".", 1)[-1] for node in all_nodes().values() if "held_out" in node.inputs}
    assert readers
    assert readers <= MAY_READ_HELD_OUT


def test_every_dataset_of_every_environment_is_declared(context: KedroContext):
    catalog = context.catalog
    names = {name for node in all_nodes().values() for name in (*node.inputs, *node.outputs)}
    for name in sorted(names):
        assert catalog.get(name) is not None, f"{name} is in no catalog file"
        assert type(catalog.get(name)).__name__ != "MemoryDataset" or name.startswith("param"), name


def test_the_layers_have_an_order(context: KedroContext):
    """Kedro-Viz draws no layers at all where data goes back to an earlier one."""
    catalog = context.catalog  # made anew each time it is asked for
    before: dict[str, set[str]] = {}
    for node in all_nodes().values():
        for name in node.outputs:
            layers = {_layer(catalog, source) for source in node.inputs if not source.startswith("param")}
            before.setdefault(_layer(catalog, name), set()).update(layers - {_layer(catalog, name)})
    assert next(TopologicalSorter(before).static_order()) == "raw"


def test_the_layers_have_an_order_where_arms_are_drawn_as_one_box(context: KedroContext):
    """Seen from outside, whatever goes into an arm leads to all that comes out of it."""
    catalog = context.catalog
    shown = (
        "__default__",
        "less",
        "pareto_knee",
        "pareto_reweighting",
        "select_moe",
        "compare_parallelism",
        "datamodels",
        "assistant",
        "verify",
        *BASELINES,
    )
    for name in shown:
        pipeline = register_pipelines()[name]
        box_of = {node: f"box {node.namespace or node.name}" for node in pipeline.nodes}
        makers = {dataset: box for node, box in box_of.items() for dataset in node.outputs}
        takers: dict[str, set[str]] = {}
        for node, box in box_of.items():
            for dataset in node.inputs:
                takers.setdefault(dataset, set()).add(box)
        # What an arm makes and only it uses is not seen.
        inner = {dataset for dataset, boxes in takers.items() if boxes == {makers.get(dataset)}}
        seen: dict[str, set[str]] = {}
        for dataset in {*makers, *takers} - inner:
            seen[dataset] = takers.get(dataset, set()) - {makers.get(dataset, "")}
            seen.setdefault(makers.get(dataset, ""), set()).add(dataset)
        del seen[""]
        order = {"raw": set[str]()}
        for dataset in seen:
            if dataset.startswith(("box ", "param")):
                continue
            for end in _reached(dataset, seen):
                if not end.startswith("box ") and _layer(catalog, end) != _layer(catalog, dataset):
                    order.setdefault(_layer(catalog, end), set()).add(_layer(catalog, dataset))
        assert next(TopologicalSorter(order).static_order()) == "raw", name


def _reached(place: str, after: dict[str, set[str]]) -> set[str]:
    found: set[str] = set()
    waiting = [place]
    while waiting:
        for end in after.get(waiting.pop(), ()):
            if end not in found:
                found.add(end)
                waiting.append(end)
    return found


def _layer(catalog: CatalogProtocol, dataset: str) -> str:
    return str(catalog.get(dataset).metadata["kedro-viz"]["layer"])


def test_an_arms_pipeline_starts_at_the_raw_files():
    registered = register_pipelines()
    for name in ARMS:
        free = registered[name].inputs()
        assert all(dataset.startswith("params:") for dataset in free), f"{name} needs {free}"


def test_arms_asked_for_are_compared_with_each_other_and_no_others(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(requested, "_requested", ("base", "random"))
    registered = register_pipelines()
    nodes = {node.name: node for node in (registered["base"] + registered["random"]).nodes}
    compared = {arm for arm in ARMS for node in nodes.values() if f"{arm}.evaluation" in node.inputs}
    assert compared == {"base", "random"}
    assert not {node.name for node in registered["all"].nodes} & {"compare"}


def test_an_unknown_arm_is_refused_with_the_known_ones():
    known = (
        "Known arms: all, base, bm25, .*, length, less, pareto_additive, .*, s2l, .*, "
        "and less_<target> and pareto_best_<target>"
    )
    with pytest.raises(BadSetting, match=known):
        Configured(parameters()).known(["random", "randm"])


def test_an_arm_for_one_target_needs_a_declared_target_and_settings():
    given = {"targets": {"sets": {"bbh": {"files": "x"}}}, "arms": {"less_bbh": {}, "less_mmlu": {}}, "influence": {}}
    assert Configured(given).known(["less", "less_bbh"]) == ("less", "less_bbh")
    with pytest.raises(BadSetting, match=r"'less_mmlu' has no target: `targets\.sets` has bbh"):
        Configured(given).known(["less_mmlu"])
    with pytest.raises(BadSetting, match=r"Add `arms\.less_bbh"):
        Configured({**given, "arms": {}}).known(["less_bbh"])
    assert {"less_math", "less_code", "less_science", "pareto_best_math"} <= set(register_pipelines())


def test_a_small_selector_has_tokens_of_its_own_and_the_target_keeps_its(monkeypatch: pytest.MonkeyPatch):
    given = parameters()
    own = {**given["warmup"], "less": {**given["warmup"]["less"], "base": "some/small-model"}}
    monkeypatch.setattr("winnow.pipeline_registry.parameters", lambda: {**given, "warmup": own})
    nodes = {node.name: node for node in register_pipelines()["less"].nodes}
    assert {"less_tokens", "less_base_model"} <= set(nodes["train_gradients"].inputs)
    assert "less_base_model" in nodes["tokenize_targets"].inputs
    assert "tokens" in nodes["less.mix"].inputs
    assert "tokens" in nodes["less.finetune"].inputs


def test_the_direct_mode_has_no_store(monkeypatch: pytest.MonkeyPatch):
    direct = {**parameters(), "influence": {"mode": "direct"}}
    monkeypatch.setattr("winnow.pipeline_registry.parameters", lambda: direct)
    registered = register_pipelines()
    assert not {"pareto", "influence_matrix", "pareto_balanced", "random_beta"} & set(registered)
    with pytest.raises(BadSetting, match=r"'random_beta' needs influence of clusters.* Set `influence\.mode: store`"):
        Configured(direct).known(["random_beta"])
    assert "pareto_balanced" in parameters()["study"]["arms"]
    assert "pareto_balanced.finetune" not in {node.name for node in registered["study"].nodes}
    whitened = {**direct, "influence": {"mode": "direct", "estimator": "ekfac"}}
    assert Configured(whitened).known(["random_beta"]) == ("random_beta",), "curvature has a store of its own"
    assert "gradients" not in registered
    datasets = {name for node in registered["less"].nodes for name in (*node.inputs, *node.outputs)}
    assert "scores" in datasets
    assert not {"train_gradients", "validation_gradients"} & datasets
    assert all(name.startswith("params:") for name in registered["less"].inputs())


@pytest.mark.parametrize(
    ("estimator", "needed", "spared"),
    [
        ("ekfac", {"ekfac_factors", "ekfac_train_features", "less_checkpoints"}, {"train_gradients"}),
        ("retrain", {"base_model", "clusters"}, {"train_gradients", "ekfac_factors", "less_checkpoints"}),
    ],
)
def test_the_matrix_comes_from_the_estimator_that_is_chosen(
    monkeypatch: pytest.MonkeyPatch, estimator: str, needed: set[str], spared: set[str]
):
    given = {**parameters(), "influence": {"estimator": estimator}}
    monkeypatch.setattr("winnow.pipeline_registry.parameters", lambda: given)
    arm = register_pipelines()["influence_matrix"]
    datasets = {name for node in arm.nodes for name in (*node.inputs, *node.outputs)}
    assert needed <= datasets
    assert not spared & datasets
    assert all(name.startswith("params:") for name in arm.inputs())


def test_kedro_sees_the_same_names():
    bootstrap_project(PROJECT)
    assert {"__default__", "study", "baseline", *ARMS} <= set(pipelines)


def test_the_columns_of_the_matrix_decide_what_it_needs(monkeypatch: pytest.MonkeyPatch):
    given = parameters()
    assert "clusters" in {node.name for node in register_pipelines()["pareto_balanced"].nodes}
    by_subset = {**given, "influence": {**given["influence"], "columns": "subset"}}
    monkeypatch.setattr("winnow.pipeline_registry.parameters", lambda: by_subset)
    assert not {"clusters", "losses"} & {node.name for node in register_pipelines()["pareto_balanced"].nodes}


def registered_with(monkeypatch: pytest.MonkeyPatch, **given: dict[str, object]) -> dict[str, Pipeline]:
    changed = {**parameters(), **given}
    monkeypatch.setattr("winnow.pipeline_registry.parameters", lambda: changed)
    return register_pipelines()


def test_each_round_is_a_namespace_that_begins_with_the_mix_of_the_one_before(monkeypatch: pytest.MonkeyPatch):
    study = {"arms": ["random", "pareto_knee"], "rounds": 3, "rounds_by": "pareto_additive"}
    registered = registered_with(monkeypatch, study=study)
    nodes = {node.name: node for node in registered["study"].nodes}
    assert "pareto_additive.training_mix" in nodes["round_2.retrain"].inputs
    assert "pareto_additive_round_2.training_mix" in nodes["round_3.retrain"].inputs
    assert "round_2.less_checkpoints" in nodes["round_2.train_gradients"].inputs
    assert "round_2.influence_matrix" in nodes["pareto_knee_round_2.weigh"].inputs
    assert "params:arms.pareto_knee" in nodes["pareto_knee_round_3.finetune"].inputs
    compared = {name for name in nodes["compare"].inputs if name.endswith(".evaluation")}
    assert compared == {
        f"{arm}.evaluation" for arm in ("random", "pareto_knee", "pareto_knee_round_2", "pareto_knee_round_3")
    }
    assert {"round_2.show_influence_matrix", "round_3.show_mixtures"} <= set(nodes)
    assert all(name.startswith("param") for name in registered["study"].inputs())
    assert "pareto_knee_round_2.finetune" in {node.name for node in registered["pareto_knee"].nodes}


def test_data_of_rounds_are_declared_and_layers_keep_their_order(
    monkeypatch: pytest.MonkeyPatch, context: KedroContext
):
    registered = registered_with(monkeypatch, study={"rounds": 2}, influence={"estimator": "ekfac"})
    catalog = context.catalog
    before: dict[str, set[str]] = {}
    for node in registered["pareto_balanced"].nodes:
        for name in node.outputs:
            assert catalog.get(name) is not None
            assert type(catalog.get(name)).__name__ != "MemoryDataset", name
            layers = {_layer(catalog, source) for source in node.inputs if not source.startswith("param")}
            before.setdefault(_layer(catalog, name), set()).update(layers - {_layer(catalog, name)})
    assert next(TopologicalSorter(before).static_order()) == "raw"
    paths = [str(catalog.get(f"{place}mixtures")._filepath) for place in ("", "round_2.")]
    assert len(set(paths)) == 2


def test_what_cannot_be_repeated_is_refused(monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(BadSetting, match=r"`influence\.estimator: retrain`.* Take gradient"):
        registered_with(monkeypatch, study={"rounds": 2}, influence={"estimator": "retrain"})
    with pytest.raises(BadSetting, match="'less'; it has to be an arm of mixtures"):
        registered_with(monkeypatch, study={"rounds": 2, "rounds_by": "less"})
    with pytest.raises(BadSetting, match="'pareto_knee_round_2' is of a round that the study does not have"):
        Configured(parameters()).known(["pareto_knee_round_2"])
    for name in ("less_round_2", "pareto_knee_round_2_round_2", "pareto_knee_round_1"):
        with pytest.raises(BadSetting, match=f"No arm is called '{name}'"):
            Configured(parameters()).known([name])


def test_mixtures_of_full_size_have_controls_of_full_size(monkeypatch: pytest.MonkeyPatch):
    at_budget = registered_with(monkeypatch)
    nodes = {node.name: node for node in at_budget["pareto_reweighting"].nodes}
    assert "params:budget" in nodes["pareto_knee.weigh"].inputs
    assert "random.target_losses" in nodes["pareto_knee.tell_gains"].inputs
    assert "all.evaluation" not in nodes["compare"].inputs
    full = registered_with(monkeypatch, pareto={"mode": "relative"}, study={"rounds": 2})
    nodes = {node.name: node for node in full["pareto_reweighting"].nodes}
    assert "params:budget" not in nodes["pareto_knee.weigh"].inputs
    assert "all.target_losses" in nodes["pareto_knee.tell_gains"].inputs
    assert {"all.evaluation", "random.evaluation"} <= set(nodes["compare"].inputs)
    assert "pareto_balanced.target_losses" in nodes["pareto_knee_round_2.tell_gains"].inputs
    assert "pareto_balanced.training_mix" in nodes["round_2.pareto"].inputs
    assert of_full_size(ARMS["pareto_knee"]).controls == ("random_beta", "all")
    assert of_full_size(ARMS["random_beta"]).controls == ("all",)


def test_the_method_pipeline_goes_from_raw_files_to_the_comparison():
    method = register_pipelines()["pareto_reweighting"]
    names = {node.name for node in method.nodes}
    assert {"ingest", "compare", "compare_gains", *(f"{arm}.tell_gains" for arm in PARETO)} <= names
    assert all(name.startswith("param") for name in method.inputs())


def test_the_arm_select_moe_alone_is_the_method_from_raw_files_to_the_comparison(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(requested, "_requested", ("select_moe",))
    method = register_pipelines()["select_moe"]
    nodes = {node.name: node for node in method.nodes}
    compared = {name for name in nodes["compare"].inputs if name.endswith(".evaluation")}
    assert compared == {f"{arm}.evaluation" for arm in ("random", "select_moe", "select_moe_diverse")}
    assert {"select_moe_convert", "select_moe_verify", "select_moe_warmup", "select_moe_score", "separate"} <= set(
        nodes
    )
    assert all(name.startswith("param") for name in method.inputs())
    monkeypatch.setattr(requested, "_requested", ("random", "select_moe"))
    nodes = {node.name: node for node in register_pipelines()["select_moe"].nodes}
    assert "select_moe_diverse.evaluation" not in nodes["compare"].inputs


def test_ones_own_selector_and_data_leave_out_what_is_made_for_the_demo(monkeypatch: pytest.MonkeyPatch):
    own = registered_with(monkeypatch, select_moe={"base": "allenai/OLMoE-1B-7B-0125"}, ingest={"folder": "mine"})
    names = {node.name for node in own["select_moe"].nodes}
    assert "selector_base_model" in names
    assert not {"fabricate_selector", "separate"} & names


def test_baselines_need_no_warm_up_and_on_ones_own_data_no_planted_truth(monkeypatch: pytest.MonkeyPatch):
    registered = registered_with(monkeypatch, ingest={"folder": "mine"}, warmup=with_own_base("less"))
    shown = {"rds": {"show_row_scores", "show_rds_scores"}, "bm25": {"show_bm25_scores"}, "ifd": {"show_row_scores"}}
    for arm in (*BASELINES, "perplexity_mid"):
        names = {node.name for node in registered[arm].nodes}
        assert shown.get(arm, {"show_row_scores"}) <= names
        assert not {"less_warmup", "proxy_warmup", "train_gradients"} & names
        assert not [name for name in names if name.startswith("separate")]
    nodes = {node.name: node for node in registered["rds"].nodes}
    assert "base_model" in nodes["tokenize_targets_for_base"].inputs, "not the tokenizer of the gradients' own model"


def with_own_base(name: str) -> dict[str, object]:
    warmups = parameters()["warmup"]
    return {**warmups, name: {**warmups[name], "base": "other/model"}}


def test_without_benchmark_tasks_there_is_nothing_of_them():
    names = {name for node in all_nodes().values() for name in (node.name, *node.inputs, *node.outputs)}
    assert not [name for name in names if "benchmark" in name]


def test_benchmark_tasks_are_asked_of_each_arm_and_of_the_base_model_beside(
    monkeypatch: pytest.MonkeyPatch, context: KedroContext
):
    asking = {**parameters()["evaluate"], "tasks": ["gsm8k"]}
    registered = registered_with(monkeypatch, evaluate=asking, study={"arms": ["random", "length"]})
    nodes = {node.name: node for node in registered["study"].nodes}
    assert set(nodes["compare_benchmarks"].inputs) == {f"{arm}.benchmarks" for arm in ("base", "random", "length")}
    assert "base.evaluate" not in nodes, "the base model is no arm of this study"
    assert "held_out" not in nodes["base.benchmarks"].inputs
    assert all(name.startswith("param") for name in registered["study"].inputs())
    assert {"gather_tasks", "random.benchmarks"} <= {node.name for node in registered["benchmarks"].nodes}
    catalog = context.catalog
    before: dict[str, set[str]] = {}
    for node in registered["study"].nodes:
        for name in node.outputs:
            assert type(catalog.get(name)).__name__ != "MemoryDataset", name
            layers = {_layer(catalog, source) for source in node.inputs if not source.startswith("param")}
            before.setdefault(_layer(catalog, name), set()).update(layers - {_layer(catalog, name)})
    assert next(TopologicalSorter(before).static_order()) == "raw"


def test_benchmark_nodes_get_typed_parameters(monkeypatch: pytest.MonkeyPatch, context: KedroContext):
    registered = registered_with(monkeypatch, evaluate={**parameters()["evaluate"], "tasks": ["gsm8k"]})
    asked = [node for node in registered["study"].nodes if "benchmark" in node.name or node.name == "gather_tasks"]
    checked = 0
    for node in asked:
        hints = typing.get_type_hints(node.func)
        bound = inspect.signature(node.func).bind(*_positional(node))
        for name, value in bound.arguments.items():
            if isinstance(value, str) and value.startswith("params:"):
                assert issubclass(hints[name], BaseModel)
                assert isinstance(context.catalog.load(value), hints[name])
                checked += 1
    assert checked >= 8


def test_arms_that_are_looked_at_while_they_are_trained_tell_their_course(
    monkeypatch: pytest.MonkeyPatch, context: KedroContext
):
    given = parameters()
    watched = {**given["arms"], "length": {"finetune": {"validation_rows": 5}}}
    registered = registered_with(monkeypatch, arms=watched)
    assert "length.tell_course" in {node.name for node in registered["length"].nodes}
    assert "random.tell_course" not in {node.name for node in registered["random"].nodes}
    everywhere = registered_with(monkeypatch, finetune={"samples": {"prompts": ["Who are you?"]}})
    assert {"random.tell_course", "all.tell_course"} <= {node.name for node in everywhere["study"].nodes}
    assert "base.tell_course" not in {node.name for node in everywhere["study"].nodes}


def test_each_cell_of_the_cost_table_is_a_namespace_and_logs_are_cells_too(
    monkeypatch: pytest.MonkeyPatch, context: KedroContext
):
    asked = {"methods": ["lora", "qlora"], "engines": ["single", "zero3"], "logs": {"factory": "trainer_log.jsonl"}}
    registered = registered_with(monkeypatch, compare_parallelism=asked)
    nodes = {node.name: node for node in registered["compare_parallelism"].nodes}
    measured = {"cell_lora_single", "cell_lora_zero3", "cell_qlora_single", "cell_qlora_zero3"}
    assert {name.removesuffix(".measure") for name in nodes if name.endswith(".measure")} == measured
    assert {node.namespace for node in nodes.values() if node.namespace} == {*measured, "cell_log_factory"}
    assert len(nodes["compare_parallelism"].inputs) == 2 * 5
    assert {"ingest", "tokenize"} <= set(nodes)
    assert all(name.startswith("params:") for name in registered["compare_parallelism"].inputs())
    assert not {"compare_parallelism"} & {node.name for node in registered["__default__"].nodes}
    for name in {name for node in nodes.values() for name in node.outputs}:
        assert type(context.catalog.get(name)).__name__ != "MemoryDataset", name


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"steps": 5, "warmup_steps": 5}, "warmup_steps is 5, which leaves none of 5 steps to be timed"),
        ({"engines": ["ddp", "ddp"]}, "name each once"),
        ({"methods": []}, "there is nothing to compare"),
        ({"engines": ["zero4"]}, "zero4"),
        ({"logs": {"a.b": "x"}}, r"a\.b"),
    ],
)
def test_a_cost_table_that_cannot_be_is_refused(wrong: dict[str, object], why: str):
    with pytest.raises(BadSetting, match=why):
        check_params({"compare_parallelism": wrong}, "--params")


def test_verification_looks_at_arms_that_select_and_trains_none(monkeypatch: pytest.MonkeyPatch):
    registered = registered_with(monkeypatch, study={"arms": ["base", "all", "length"]})
    nodes = {node.name: node for node in registered["verify_selections"].nodes}
    placed = {name for name in nodes if name.endswith(".place_rows")}
    assert placed == {"random.place_rows", "length.place_rows"}
    assert "verify_planted" in nodes
    assert not [name for name in nodes if name.endswith((".finetune", ".evaluate"))]
    assert all(name.startswith("params:") for name in registered["verify_selections"].inputs())
    retrained = {node.name for node in registered["leave_out"].nodes}
    assert {*nodes, *retrained, "score_estimators"} <= {node.name for node in registered["verify"].nodes}
    assert {"leave_out", "show_leave_out", "influence_matrix"} <= retrained
    assert not {"leave_out"} & {*nodes, *(node.name for node in registered["study"].nodes)}, "it is costly"
    whole = registered_with(monkeypatch, study={"arms": ["pareto_knee", "length"]}, pareto={"mode": "relative"})
    placed = {node.name for node in whole["verify_selections"].nodes if node.name.endswith(".place_rows")}
    assert placed == {"random.place_rows", "length.place_rows"}, "mixtures of the whole pool select nothing"
    asked = {**parameters()["verify"], "arms": ["less", "all"]}
    own = registered_with(monkeypatch, verify=asked, ingest={"folder": "mine"})
    names = {node.name for node in own["verify_selections"].nodes}
    assert {"random.place_rows", "less.place_rows", "all.place_rows"} <= names
    assert "verify_planted" not in names, "nobody knows what is planted in one's own data"
    with pytest.raises(BadSetting, match=r"'base' selects no rows \(`verify\.arms`\)"):
        registered_with(monkeypatch, verify={**asked, "arms": ["base"]})
    with pytest.raises(BadSetting, match="No arm is called 'randm'"):
        registered_with(monkeypatch, verify={**asked, "arms": ["randm"]})


def test_the_experiment_with_an_identity_asks_validation_rows_alone():
    nodes = {node.name: node for node in register_pipelines()["assistant"].nodes}
    learning = [nodes[f"{mix}.learn"] for mix in ("identity_alone", "identity_diluted")]
    assert all("validation" in node.inputs and "chat_model" in node.inputs for node in learning)
    assert not [node.name for node in nodes.values() if "held_out" in node.inputs]
    assert all(name.startswith("params:") for name in register_pipelines()["assistant"].inputs())


def test_all_estimators_are_held_to_models_of_subsets_from_the_raw_files_on(monkeypatch: pytest.MonkeyPatch):
    for mode, without in (("store", set()), ("direct", {"gradient_products"})):
        registered = registered_with(monkeypatch, influence={"mode": mode})["datamodels"]
        nodes = {node.name: node for node in registered.nodes}
        settings = {"subset_losses", "params:verify.datamodels", "params:influence"}
        scores = {"gradient_products", "ekfac_products", "scores", "row_scores", "bm25_scores", "rds_scores"} - without
        assert set(nodes["score_estimators"].inputs) == {*settings, *scores}
        assert "held_out" not in {name for node in registered.nodes for name in node.inputs}
        assert all(name.startswith("params:") for name in registered.inputs())
