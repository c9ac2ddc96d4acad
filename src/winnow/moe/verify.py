"""Whether a converted model is its base model with trash rows, and nothing else.

Gates are compared row by row, all other tensors bit by bit as they are read from the files, one in memory at a time.
At last the base model and the converted one without its trash rows have to give the same logits.
"""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass

import polars as pl
import torch
from scipy.stats import chi2, norm

from winnow.errors import WrongConversion
from winnow.moe.checkpoint import (
    INDEX,
    MODEL_CONFIG,
    Checkpoint,
    base_checkpoint,
    companions,
    gate_names,
    read_json,
    same_bits,
)
from winnow.moe.convert import CONFIG, GATES, WEIGHT, Conversion, load_conversion, own_top_k, trash_rows, widen
from winnow.moe.full import cast, dtype_name, full_config, load_full
from winnow.moe.logits import all_logits, compare_logits
from winnow.moe.router import find_routers
from winnow.params import SelectMoeParams
from winnow.stages import Finished, file_checksum
from winnow.training.model import dtype_of, load_model

# So seldom does a faithful draw leave the interval of its mean, or that of its standard deviation.
CHANCE = 1e-6


@dataclass(frozen=True)
class Check:
    """One thing that was looked at."""

    check: str
    name: str
    value: str
    expected: str
    ok: bool
    note: str = ""


@dataclass(frozen=True)
class Report:
    """All that was looked at."""

    checks: list[Check]

    @property
    def failures(self) -> list[Check]:
        """What is not as it should be."""
        return [check for check in self.checks if not check.ok]

    def table(self) -> pl.DataFrame:
        """One row for each check."""
        return pl.DataFrame([asdict(check) for check in self.checks])

    def require(self, converted: Finished) -> None:
        """Raise the first failure, if there is one."""
        if not self.failures:
            return
        first, others = self.failures[0], len(self.failures) - 1
        raise WrongConversion(
            f"The {first.check} of {first.name!r} in {converted.path}: found {first.value}, expected {first.expected}."
            + (f" {others} more checks fail." if others else "")
            + " The files were changed, or belong to another base model or other settings. Delete the folder, and run "
            "`kedro run --pipelines select_moe_convert` again."
        )


def verify(base: Finished, converted: Finished, params: SelectMoeParams, device: str) -> Report:
    """Compare a conversion with its base model and the settings; logits only where all else is right."""
    model = load_model(base, params.dtype, device)
    dtype = dtype_of(params.dtype, device)
    routers = find_routers(model)
    count = params.trash_experts or own_top_k(routers)
    expected = Conversion(count, params.trash_init_std, params.seed, dtype_name(dtype))
    originals = base_checkpoint(base)
    names = gate_names(model, list(routers), originals)
    gates = Checkpoint(converted.path, [GATES])
    checks = [_settings(converted, expected), *_gates(gates, originals, names, expected, dtype)]
    if params.full_checkpoint:
        checks += _files(base, converted, originals, dtype)
        checks += _tensors(Checkpoint(converted.path), originals, gates, names, dtype)
    else:
        checks.append(Check("tensors", "untouched", str(len(originals.headers) - len(names)), "", True, "by the base"))
    if not all(check.ok for check in checks):
        return Report(checks)
    before = all_logits(model)
    if params.full_checkpoint:
        # Two models would take twice the memory.
        del model, routers
        selector, widened = load_full(converted, params.dtype, device)
    else:
        selector, widened = model, widen(model, converted.path)
    compared = compare_logits(before, selector, widened, params.tolerance)
    return Report(checks + [Check("logits", *found) for found in compared])


def _settings(converted: Finished, expected: Conversion) -> Check:
    found = load_conversion(converted.path)
    return Check("settings", CONFIG, str(asdict(found)), str(asdict(expected)), found == expected)


def _names(check: str, found: set[str], expected: set[str]) -> Iterator[Check]:
    """The tensors that are missing, and those that should not be there."""
    for name in sorted(expected - found):
        yield Check(check, name, "missing", "a tensor", False, "missing")
    for name in sorted(found - expected):
        yield Check(check, name, "a tensor", "none", False, "added")


def _gates(
    gates: Checkpoint, originals: Checkpoint, names: Mapping[str, str], expected: Conversion, dtype: torch.dtype
) -> Iterator[Check]:
    """The file of gates beside the base model's own, whose names in its files are given."""
    yield from _names("gates", set(gates.headers), {name + WEIGHT for name in names})
    for name, original in names.items():
        if name + WEIGHT in gates.headers:
            yield from _gate(name, gates.tensor(name + WEIGHT), cast(originals.tensor(original), dtype), expected)


def _gate(name: str, gate: torch.Tensor, base: torch.Tensor, expected: Conversion) -> Iterator[Check]:
    """The rows of one gate: those of experts, those of trash, and the distribution of the latter."""
    tensor, (experts, hidden) = name + WEIGHT, base.shape
    shape = (experts + expected.trash_experts, hidden)
    right = tuple(gate.shape) == shape and gate.dtype == torch.float32
    yield Check("shape", tensor, f"{tuple(gate.shape)} {gate.dtype}", f"{shape} {torch.float32}", right)
    if not right:
        return
    drawn = expected.trash_init_std * trash_rows(name, expected.seed, expected.trash_experts, hidden)
    yield _rows("rows of experts", tensor, gate[:experts], base.float())
    yield _rows("rows of trash", tensor, gate[experts:], drawn)
    yield from _distribution(tensor, gate[experts:].double(), expected.trash_init_std)


def _rows(check: str, name: str, found: torch.Tensor, expected: torch.Tensor) -> Check:
    differing = [row for row in range(len(found)) if not same_bits(found[row], expected[row])]
    if not differing:
        return Check(check, name, f"{len(found)} rows identical", f"{len(found)} rows identical", True)
    gap = (found.double() - expected.double()).abs().max()
    value = f"row {differing[0]} and {len(differing) - 1} more changed, by {float(gap):.3g} at most"
    return Check(check, name, value, f"{len(found)} rows identical", False)


def _distribution(name: str, trash: torch.Tensor, std: float) -> Iterator[Check]:
    """Mean and standard deviation, with the intervals that normal draws would keep to."""
    count = trash.numel()
    reach = float(norm.isf(CHANCE / 2)) * std / count**0.5
    low, high = (std * (float(chi2.ppf(q, count - 1)) / (count - 1)) ** 0.5 for q in (CHANCE / 2, 1 - CHANCE / 2))
    ends = f"from {float(trash.min()):.4g} to {float(trash.max()):.4g}"
    yield _between("mean of trash rows", name, float(trash.mean()), -reach, reach, ends)
    yield _between("standard deviation of trash rows", name, float(trash.std()), low, high, ends)


def _between(check: str, name: str, value: float, low: float, high: float, note: str) -> Check:
    return Check(check, name, f"{value:.6g}", f"{low:.6g} to {high:.6g}", low <= value <= high, note)


def _files(base: Finished, converted: Finished, originals: Checkpoint, dtype: torch.dtype) -> Iterator[Check]:
    """The configuration, and the files that are copied."""
    found, expected = read_json(converted.path / MODEL_CONFIG), full_config(originals, dtype)
    odd = [key for key in sorted({*found, *expected}) if found.get(key) != expected.get(key)]
    shown, wanted = (str({key: side[key] for key in odd if key in side}) for side in (found, expected))
    yield Check("configuration", MODEL_CONFIG, shown, wanted, not odd)
    for original in companions(base):
        copy = converted.path / original.name
        is_, shall_be = (file_checksum(path) if path.exists() else "missing" for path in (copy, original))
        yield Check("bytes", original.name, is_, shall_be, is_ == shall_be)


def _tensors(
    found: Checkpoint, originals: Checkpoint, gates: Checkpoint, names: Mapping[str, str], dtype: torch.dtype
) -> Iterator[Check]:
    """Each tensor of a full checkpoint beside that of the base, or beside the gate in the gates' own file."""
    odd = list(_names("tensors", set(found.headers), set(originals.headers)))
    wide = {original: name + WEIGHT for name, original in names.items()}
    identical = 0
    for name in sorted(set(found.headers) & set(originals.headers)):
        if wide.get(name, "") in gates.headers:
            expected = gates.tensor(wide[name])
        else:
            expected = cast(originals.tensor(name), dtype)
        tensor = found.tensor(name)
        if same_bits(tensor, expected):
            identical += name not in wide
        else:
            odd.append(_changed(name, tensor, expected))
    yield from odd
    for note in ("missing", "added", "changed"):
        count = sum(check.note == note for check in odd)
        yield Check("tensors", note, str(count), "0", not count)
    yield Check("tensors", "identical", str(identical), str(len(originals.headers) - len(wide)), True, "but the gates")
    yield from _index(found)


def _index(found: Checkpoint) -> Iterator[Check]:
    listed = read_json(found.folder / INDEX).get("weight_map", {})
    for name in sorted(set(listed) ^ set(found.headers)):
        there = name in found.headers
        yield Check(f"entry in {INDEX}", name, "none" if there else "a file", "a file" if there else "none", False)


def _changed(name: str, found: torch.Tensor, expected: torch.Tensor) -> Check:
    values = [f"{tuple(tensor.shape)} {tensor.dtype}" for tensor in (found, expected)]
    if values[0] == values[1]:
        differing = found != expected
        gap = (found.double() - expected.double()).abs().max()
        values = [f"{int(differing.sum())} of {found.numel()} values changed, by {float(gap):.3g} at most", "identical"]
    return Check("values", name, values[0], values[1], False, "changed")
