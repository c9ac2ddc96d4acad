"""A conversion gives back the base model's tensors bit for bit, and the same trash rows each time."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from support.converted import converted, saved_base
from support.experts import KINDS, tiny_experts
from support.tiny import checksums
from winnow.errors import BadInput, BadSetting, StaleOutput
from winnow.moe import full
from winnow.moe.convert import CONFIG, GATES, load_conversion, load_gates, load_selector, new_gates, trash_rows, widen
from winnow.moe.router import attach, find_routers
from winnow.moe.verify import verify
from winnow.params import SelectMoeParams

FULL = SelectMoeParams(full_checkpoint=True, dtype="fp32")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
def test_both_forms_load_to_the_same_model_whose_other_tensors_are_those_of_the_base(
    tmp_path: Path, kind: str, dtype: str
):
    base = saved_base(tmp_path, kind)
    params = FULL.model_copy(update={"dtype": dtype})
    result = converted(tmp_path, base, params)
    narrow = AutoModelForCausalLM.from_pretrained(
        base.path, dtype={"fp32": torch.float32, "bf16": torch.bfloat16}[dtype]
    )
    by_base, routers = load_selector(result, base, params.dtype, "cpu")
    alone, _ = load_selector(result, None, params.dtype, "cpu")
    expected, left, right = narrow.state_dict(), by_base.state_dict(), alone.state_dict()
    assert list(left) == list(right) == list(expected)
    for name, tensor in expected.items():
        assert torch.equal(left[name], right[name])
        assert torch.equal(left[name][: len(tensor)], tensor.to(left[name].dtype))
    assert all(router.weight.dtype == torch.float32 and len(router.weight) == 8 for router in routers.values())
    tokens = torch.arange(12)[None]
    assert torch.equal(by_base(tokens).logits, alone(tokens).logits)


def test_a_full_checkpoint_is_written_in_files_of_limited_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(full, "SHARD_BYTES", 20_000)
    base = saved_base(tmp_path, "mixtral")
    result = converted(tmp_path, base, FULL)
    files = sorted(path for path in result.path.glob("model-*.safetensors"))
    assert len(files) > 3
    assert all(path.stat().st_size < 25_000 for path in files)
    load_selector(result, None, "fp32", "cpu")


@pytest.mark.parametrize("kind", KINDS)
def test_a_base_saved_as_it_is_in_memory_converts_too(tmp_path: Path, kind: str):
    """Experts fused, and modules under transformers' own names."""
    base = saved_base(tmp_path, kind)
    model = tiny_experts(kind)
    for file in base.path.glob("model*"):
        file.unlink()
    model.save_pretrained(base.path, save_original_format=False)
    result = converted(tmp_path, base, FULL)
    assert not verify(base, result, FULL, "cpu").failures
    alone, _ = load_selector(result, None, "fp32", "cpu")
    for name, tensor in model.state_dict().items():
        assert torch.equal(alone.state_dict()[name][: len(tensor)], tensor)


def test_layers_without_experts_stay_as_they_are(tmp_path: Path):
    base = saved_base(tmp_path, "qwen3_moe", decoder_sparse_step=2, num_hidden_layers=4)
    result = converted(tmp_path, base, FULL)
    assert list(result.summary["routers"]) == ["model.layers.1.mlp.gate", "model.layers.3.mlp.gate"]
    assert not verify(base, result, FULL, "cpu").failures


HUB = """
import sys
from pathlib import Path
from support.converted import converted
from winnow.moe.verify import verify
from winnow.params import ModelParams, SelectMoeParams
from winnow.pretrained import record_pretrained

root = Path(sys.argv[1])
base = record_pretrained(ModelParams(base="someone/experts"), root)
for full in (False, True):
    params = SelectMoeParams(dtype="fp32", full_checkpoint=full)
    result = converted(root, base, params)
    verify(base, result, params, "cpu").require(result)
    print(full, (result.path / "tokenizer.json").exists())
"""


def test_a_model_in_the_cache_of_a_hub_converts_without_a_network(tmp_path: Path):
    snapshot = tmp_path / "hub/models--someone--experts/snapshots" / ("0" * 40)
    shutil.copytree(saved_base(tmp_path).path, snapshot)
    (snapshot.parents[1] / "refs").mkdir()
    (snapshot.parents[1] / "refs/main").write_text("0" * 40)
    environment = {**os.environ, "HF_HUB_CACHE": str(tmp_path / "hub"), "HF_HUB_OFFLINE": "1"}
    environment["PYTHONPATH"] = os.pathsep.join(sys.path)
    done = subprocess.run(
        [sys.executable, "-c", HUB, str(tmp_path / "data")],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    assert done.stdout.split() == ["False", "False", "True", "True"], done.stderr


def test_transformers_does_not_take_a_full_checkpoint_for_a_plain_model(tmp_path: Path):
    result = converted(tmp_path, saved_base(tmp_path), FULL)
    with pytest.raises(RuntimeError, match="ignore_mismatched_sizes"):
        AutoModelForCausalLM.from_pretrained(result.path)


def test_tied_embeddings_stay_tied(tmp_path: Path):
    base = saved_base(tmp_path, tie_word_embeddings=True)
    model, _ = load_selector(converted(tmp_path, base, FULL), None, "fp32", "cpu")
    assert model.lm_head.weight is model.model.embed_tokens.weight


def test_bits_do_not_depend_on_the_attempt_and_trash_rows_on_nothing_but_seed_and_name(tmp_path: Path):
    base = saved_base(tmp_path / "base")
    first, again = (converted(tmp_path / name, base, FULL) for name in "ab")
    assert checksums(first.path) == checksums(again.path)
    other, _ = load_gates(converted(tmp_path, base, FULL.model_copy(update={"seed": 1})).path)
    gates, conversion = load_gates(first.path)
    for name, gate in gates.items():
        assert torch.equal(gate[6:], conversion.trash_init_std * trash_rows(name, 0, 2, 16))
        assert torch.equal(gate[:6], other[name][:6])
        assert not torch.equal(gate[6:], other[name][6:])
    rows = [gate[6:] for gate in gates.values()]
    assert not torch.equal(rows[0], rows[1])


def test_the_summary_says_what_was_widened(tmp_path: Path):
    params = SelectMoeParams(trash_experts=3, dtype="fp32")
    base = saved_base(tmp_path)
    result = converted(tmp_path, base, params)
    plain = sum(tensor.numel() for tensor in tiny_experts().parameters())
    assert result.summary["routers"] == {f"model.layers.{layer}.mlp.gate": [6, 3, 16] for layer in (0, 1)}
    assert (result.summary["trash_experts"], result.summary["top_k"]) == (3, 2)
    assert result.summary["parameters"] == plain + 2 * 3 * 16
    assert load_conversion(result.path).trash_experts == 3
    assert sorted(path.name for path in result.path.iterdir()) == ["cost.json", "record.json", GATES, CONFIG]


def test_what_is_no_mixture_of_experts_or_no_conversion_is_refused(tmp_path: Path):
    with pytest.raises(BadSetting, match="Linear, which has no router"):
        new_gates(torch.nn.Linear(2, 2), None, 0.02, 0)
    with pytest.raises(StaleOutput, match=f"no {GATES}"):
        load_gates(tmp_path)
    base = saved_base(tmp_path)
    with pytest.raises(BadSetting, match="full_checkpoint: true"):
        load_selector(converted(tmp_path, base, SelectMoeParams()), None, "fp32", "cpu")


def test_gates_of_another_model_are_refused(tmp_path: Path):
    result = converted(tmp_path, saved_base(tmp_path), SelectMoeParams())
    with pytest.raises(BadInput, match=r"'model\.layers\.2\.mlp\.gate' is in one of them alone"):
        widen(tiny_experts(num_hidden_layers=3), result.path)
    (result.path / CONFIG).write_text('{"trash_experts": 1, "trash_init_std": 0.02, "seed": 0}')
    with pytest.raises(BadInput, match=r"8 rows for 6 experts.*says 1 trash experts"):
        widen(tiny_experts(), result.path)


def test_an_incomplete_full_checkpoint_is_refused_with_the_tensor_or_file(tmp_path: Path):
    result = converted(tmp_path, saved_base(tmp_path), FULL)
    (file,) = result.path.glob("model-*.safetensors")
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(StaleOutput):
        load_selector(result, None, "fp32", "cpu")


def test_a_converted_model_is_not_converted_again():
    model = tiny_experts()
    gates, _ = new_gates(model, None, 0.02, 0)
    attach(model, gates)
    assert len(find_routers(model)) == 2
    again, _ = new_gates(model, None, 0.02, 0)
    with pytest.raises(BadInput, match=r"'model\.layers\.0\.mlp\.gate' has trash rows already"):
        attach(model, again)
