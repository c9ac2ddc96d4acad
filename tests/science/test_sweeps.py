"""The grid of a sweep: how it is typed, what may be in it, and which combinations it makes."""

import json
from collections.abc import Callable

import pytest

from pipelines.arms import ARMS
from winnow.errors import BadSetting
from winnow.sweeps import check_effect, check_grid, combinations, label, nested, parse_grid, read_grid, sweep_id

GRID = {"finetune.lr": [0.1, 0.2, 0.3], "finetune.lora.rank": [4, 8]}


def typed(*items: str) -> dict[str, list[object]]:
    return read_grid(parse_grid(items))


def test_values_are_read_as_params_are():
    assert typed("finetune.lr=1e-4,0.0003", "finetune.lora.rank=8, 64", "finetune.method=lora,full") == {
        "finetune.lr": [1e-4, 3e-4],
        "finetune.lora.rank": [8, 64],
        "finetune.method": ["lora", "full"],
    }


def test_lists_are_swept_in_brackets():
    grid = typed("finetune.lora.targets=all-linear,[q_proj],[q_proj,v_proj]")
    assert grid == {"finetune.lora.targets": ["all-linear", ["q_proj"], ["q_proj", "v_proj"]]}


def test_what_is_printed_can_be_typed_again():
    values = {"finetune.lr": 1e-5, "finetune.lora.targets": ["q_proj", "v_proj"], "finetune.steps": None}
    assert label(values) == "finetune.lr=1e-05,finetune.lora.targets=[q_proj,v_proj],finetune.steps=null"
    again = {
        key: value
        for key, (value,) in typed(
            *(f"{key}={label({key: value}).partition('=')[2]}" for key, value in values.items())
        ).items()
    }
    assert again == values


def test_a_value_in_two_spellings_is_tried_once():
    assert typed("finetune.lr=1e-3,0.001,1.0e-3")["finetune.lr"] == [0.001]


@pytest.mark.parametrize("item", ["finetune.lr", "finetune.lr=", "=1,2", "finetune.lr=1,,2", "finetune.lr=1,"])
def test_a_key_without_values_is_refused_with_an_example(item: str):
    with pytest.raises(BadSetting, match="KEY=VALUE"):
        parse_grid([item])


def test_a_key_is_given_once():
    with pytest.raises(BadSetting, match="given twice"):
        parse_grid(["finetune.lr=1", "finetune.lr=2"])


@pytest.mark.parametrize(
    ("item", "said"),
    [
        ("finetune.lrr=1", "There is no parameter `finetune.lrr`. Did you mean `lr`?"),
        ("finetun.lr=1", "Did you mean `finetune`?"),
        ("finetune.lr=0.1,-1", "`finetune.lr` is -1"),
        ("finetune.method=lora,lara", "`finetune.method` is 'lara'"),
        ("arms.randm.seeds=3", "There is no arm `randm`"),
        ("evaluate.split=validation,held_out", "cannot be swept"),
        ("split.seed=0,1", "other validation rows"),
        ("study.name=a,b", "another study"),
        ("machine.micro_batch=1,2", "the same result"),
        ("model.base=a,b", "--by accuracy"),
    ],
)
def test_what_cannot_be_swept_is_refused_with_the_reason(item: str, said: str):
    with pytest.raises(BadSetting) as raised:
        check_grid(typed(item), "loss", ARMS)
    assert said in str(raised.value)


@pytest.mark.parametrize(
    ("key", "own"),
    [
        ("finetune.lr", {"lr": 0.1}),
        ("finetune.lora.rank", {"lora": {"rank": 4}}),
        ("finetune.lora", {"lora": {"rank": 4}}),
        ("finetune.lora.rank", {"lora": None}),
        ("finetune.steps", {"epochs": 3, "steps": None}),
    ],
)
def test_what_the_arm_has_a_value_of_its_own_for_is_not_swept_past_it(key: str, own: dict[str, object]):
    with pytest.raises(BadSetting, match=rf"`{key}` cannot be swept: `arms\.less\.finetune\..*Sweep"):
        check_effect([key], "less", own)


def is_refused(check: Callable[..., None], *arguments: object) -> bool:
    try:
        check(*arguments)
    except BadSetting:
        return True
    return False


def test_what_the_arm_says_nothing_of_may_be_swept():
    own = {"lora": {"alpha": 1}}
    assert not is_refused(check_effect, ["finetune.lora.rank", "finetune.lr", "arms.less.finetune.batch"], "less", own)
    assert is_refused(check_effect, ["finetune.lora.alpha"], "less", own)
    assert not is_refused(check_effect, ["finetune.l"], "less", {"lr": 1})


def test_models_may_be_swept_by_accuracy_and_not_by_loss():
    assert not is_refused(check_grid, typed("model.base=a,b"), "accuracy", ARMS)
    assert is_refused(check_grid, typed("model.base=a,b"), "loss", ARMS)


def test_a_section_and_a_part_of_it_are_not_swept_together():
    with pytest.raises(BadSetting, match=r"a part of `finetune\.lora`"):
        check_grid(typed("finetune.lora={rank: 4},{rank: 8}", "finetune.lora.alpha=1,2"), "loss", ARMS)


def test_every_combination_is_there_once():
    full = combinations(GRID)
    assert len(full) == len({json.dumps(one) for one in full}) == 6
    assert {one["finetune.lr"] for one in full} == {0.1, 0.2, 0.3}


def test_a_sample_is_a_part_of_the_grid_and_follows_from_its_seed():
    full = combinations(GRID)
    drawn = combinations(GRID, 3, 0)
    assert len(drawn) == 3
    assert all(one in full for one in drawn)
    assert drawn == combinations(GRID, 3, 0)
    assert len({json.dumps(combinations(GRID, 3, seed)) for seed in range(10)}) > 1
    assert combinations(GRID, 100, 0) == full


def test_the_order_of_typing_decides_neither_the_sample_nor_the_folder():
    turned = {key: values[::-1] for key, values in reversed(GRID.items())}
    assert {label(dict(sorted(one.items()))) for one in combinations(turned, 3, 1)} == {
        label(dict(sorted(one.items()))) for one in combinations(GRID, 3, 1)
    }
    assert sweep_id(turned, {"pipeline": "random"}) == sweep_id(GRID, {"pipeline": "random"})


def test_another_value_or_setting_is_another_folder():
    ids = {
        sweep_id(GRID, {"pipeline": "random"}),
        sweep_id(GRID, {"pipeline": "less"}),
        sweep_id({**GRID, "finetune.lr": [0.1, 0.2]}, {"pipeline": "random"}),
    }
    assert len(ids) == 3


def test_dotted_names_become_sections():
    assert nested({"finetune.lr": 1, "finetune.lora.rank": 2, "budget.share": 3}) == {
        "finetune": {"lr": 1, "lora": {"rank": 2}},
        "budget": {"share": 3},
    }
