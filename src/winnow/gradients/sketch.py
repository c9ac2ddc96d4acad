"""Projections of the gradient onto few dimensions that keep dot products: linear, seeded, the same on every device.

The default is a balanced sketch. Each tensor of n elements is padded to q k places; a fixed permutation and fixed signs
send them to k cells, q to each; all tensors add into the same cells. E<Px, Py> = <x, y>, and because every cell has the
same number of terms the variance is at most that of hashing, for one addition per element. The k cells are then
rotated (random signs and a Walsh-Hadamard transform), which makes them alike enough to be kept in a bit each.
"""

import hashlib
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import torch

from winnow.errors import BadSetting
from winnow.gradients.blocks import Block
from winnow.gradients.features import Adam, Feature

REVISION = 1
DENSE_BYTES = 256 << 20


class Projection(Protocol):
    """Adds up the blocks of a batch of gradients."""

    kind: str
    dim: int

    def add(self, block: Block, gradient: torch.Tensor, feature: Feature, out: torch.Tensor) -> None:
        """Add the projected features of a block to ``out`` [rows, dim]."""

    def finish(self, out: torch.Tensor) -> torch.Tensor:
        """What has to be done once all blocks are added."""


class Sketch:
    """The balanced, rotated sketch."""

    kind = "sketch"

    def __init__(self, dim: int, seed: int) -> None:
        if dim < 2 or dim & (dim - 1):
            raise BadSetting(f"`gradients.dims` has {dim}: a sketch has a power of two, such as 8192 or 32768.")
        self.dim = dim
        self.seed = seed
        self._codes: dict[str, np.ndarray] = {}
        self._moved: dict[str, tuple[torch.Tensor, torch.Tensor]] = {}
        self._signs = torch.from_numpy(_signs(seed, "rotation", dim) / np.float32(np.sqrt(dim)))

    def add(self, block: Block, gradient: torch.Tensor, feature: Feature, out: torch.Tensor) -> None:
        """One compiled pass over the gradient on a CPU, plain torch elsewhere."""
        fits = all(tensor.device.type == "cpu" and tensor.dtype == torch.float32 for tensor in (gradient, out))
        if not fits:
            self.add_plainly(block, feature.of(block, gradient), out)
            return
        from winnow.gradients.kernels import add_adam, add_plain

        code, cells = self._code(block), out.numpy()
        if isinstance(feature, Adam):
            shift, scale, floor, square, outside = feature.terms(block)
            numbers = (np.float32(scale), floor.numpy(), np.float32(square), np.float32(outside))
            add_adam(gradient.contiguous().numpy(), shift.numpy(), *numbers, code, cells)
        else:
            add_plain(feature.of(block, gradient).contiguous().numpy(), code, cells)

    def add_plainly(self, block: Block, features: torch.Tensor, out: torch.Tensor) -> None:
        """The same in torch: gather by permutation, and sum the q terms of each cell in a fixed order."""
        source, signs = self._gather(block, features.device)
        padded = torch.nn.functional.pad(features, (0, len(source) - features.shape[1]))
        terms = padded[:, source] * signs.to(features.dtype)
        out += terms.view(len(features), -1, self.dim).sum(dim=1)

    def finish(self, out: torch.Tensor) -> torch.Tensor:
        """Rotate."""
        signed = out * self._signs.to(out.device, out.dtype)
        if signed.device.type != "cpu":
            return walsh_hadamard(signed)
        from winnow.gradients.kernels import walsh_hadamard as in_place

        in_place(signed.numpy())
        return signed

    def _code(self, block: Block) -> np.ndarray:
        if block.name not in self._codes:
            order, signs = self._layout(block)
            cell_of = np.empty(len(order), np.uint32)
            cell_of[order] = np.arange(len(order), dtype=np.uint32) & np.uint32(self.dim - 1)
            own = cell_of[: block.size]
            self._codes[block.name] = (own << np.uint32(1)) | (signs[: block.size] < 0).astype(np.uint32)
        return self._codes[block.name]

    def _gather(self, block: Block, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
        if block.name not in self._moved:
            order, signs = self._layout(block)
            moved = torch.from_numpy(order), torch.from_numpy(signs[order])
            self._moved[block.name] = (moved[0].to(device), moved[1].to(device))
        return self._moved[block.name]

    def _layout(self, block: Block) -> tuple[np.ndarray, np.ndarray]:
        """The element at each place, and the sign of each element; those past the tensor's end are zeros."""
        places = -(-block.size // self.dim) * self.dim
        order = np.argsort(_hashes(_key(self.seed, "order", block.name), 0, places))
        return order, _signs(self.seed, f"signs {block.name}", places)


class Dense:
    """Rademacher: every cell is a sum over all elements with random signs. Slow; the reference."""

    kind = "rademacher"

    def __init__(self, dim: int, seed: int) -> None:
        self.dim = dim
        self.seed = seed

    def add(self, block: Block, gradient: torch.Tensor, feature: Feature, out: torch.Tensor) -> None:
        """Multiply with the block's matrix, made anew in slices."""
        features = feature.of(block, gradient)
        key = _key(self.seed, "dense", block.name)
        step = max(1, DENSE_BYTES // (8 * self.dim))
        for start in range(0, block.size, step):
            count = min(step, block.size - start)
            bits = _hashes(key, start * self.dim, count * self.dim) >> np.uint64(63)
            signs = torch.from_numpy(1 - 2 * bits.astype(np.float32)).view(count, self.dim)
            out += features[:, start : start + count] @ (signs / self.dim**0.5).to(features)

    def finish(self, out: torch.Tensor) -> torch.Tensor:
        """Nothing is left to do."""
        return out


class Whole:
    """No projection: the features themselves, block after block."""

    kind = "none"

    def __init__(self, blocks: Sequence[Block]) -> None:
        ends = np.cumsum([block.size for block in blocks]).tolist()
        self.dim = ends[-1]
        self._start = {block.name: end - block.size for block, end in zip(blocks, ends, strict=True)}

    def add(self, block: Block, gradient: torch.Tensor, feature: Feature, out: torch.Tensor) -> None:
        """Put the block where it belongs."""
        start = self._start[block.name]
        out[:, start : start + block.size] = feature.of(block, gradient)

    def finish(self, out: torch.Tensor) -> torch.Tensor:
        """Nothing is left to do."""
        return out


def make_projection(kind: str, dim: int, seed: int, blocks: Sequence[Block]) -> Projection:
    """The projection that is called ``kind``."""
    if kind == "none":
        return Whole(blocks)
    return Sketch(dim, seed) if kind == "sketch" else Dense(dim, seed)


def identity(projection: Projection, blocks: Sequence[Block]) -> dict[str, Any]:
    """What decides a projection: features that differ in it are not comparable."""
    names = ";".join(f"{block.name}{block.shape}" for block in blocks)
    seed = getattr(projection, "seed", None)
    digest = hashlib.sha256(names.encode()).hexdigest()[:16]
    return {"kind": projection.kind, "dim": projection.dim, "seed": seed, "blocks": digest, "revision": REVISION}


def walsh_hadamard(x: torch.Tensor) -> torch.Tensor:
    """The transform of each row [rows, 2^p], without a factor."""
    rows, size = x.shape
    half = 1
    while half < size:
        pair = x.view(rows, size // (2 * half), 2, half)
        x = torch.stack((pair[:, :, 0] + pair[:, :, 1], pair[:, :, 0] - pair[:, :, 1]), dim=2).reshape(rows, size)
        half *= 2
    return x


def _key(seed: int, purpose: str, name: str = "") -> int:
    digest = hashlib.blake2b(f"{seed}\0{purpose}\0{name}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little")


def _hashes(key: int, start: int, count: int) -> np.ndarray:
    """Distinct 64-bit numbers, each a function of the key and its place alone (splitmix64, a bijection)."""
    x = np.arange(start, start + count, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(key)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def _signs(seed: int, purpose: str, count: int) -> np.ndarray:
    bits = _hashes(_key(seed, purpose), 0, count) >> np.uint64(63)
    return (1 - 2 * bits.astype(np.int8)).astype(np.float32)
