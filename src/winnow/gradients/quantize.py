"""Rows of features in 32 bits down to one, with a norm and a scale per row in float32.

A row x of k features is kept as codes q with `x ~ scale q`, where `scale = |x|^2 / <q, x>`. Then `<scale q, x> = |x|^2`
exactly: the cosine `scale <q, v> / (|x| |v|)` has no bias along x, which bare signs would have. Rotated features are
close to normal, so the levels of a few bits are those that lose least on a normal variable: evenly spaced odd numbers.
"""

from dataclasses import dataclass

import numpy as np
import torch

FLOATS = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
BITS = {"int8": 8, "4-bit": 4, "2-bit": 2, "1-bit": 1}
# The best distance between levels in standard deviations (Max, 1960, https://doi.org/10.1109/TIT.1960.1057548).
STEPS = {8: 0.0308, 4: 0.3352, 2: 0.9957, 1: 1.5958}


@dataclass(frozen=True)
class Encoded:
    """Codes [rows, width] as they are stored, and `norm` [rows] and `scale` [rows] in float32."""

    codes: torch.Tensor
    norm: np.ndarray
    scale: np.ndarray


def width(kind: str, dim: int) -> int:
    """Stored elements of a row: bytes for packed kinds, numbers for the others."""
    bits = BITS.get(kind, 8)
    return -(-dim * bits // 8)


def row_bytes(kind: str, dim: int) -> int:
    """Bytes of a row, with its norm and scale."""
    size = FLOATS[kind].itemsize if kind in FLOATS else 1
    return width(kind, dim) * size + 8


def encode(rows: np.ndarray, kind: str) -> Encoded:
    """Encode float32 ``rows`` [n, dim]; a row that is not finite gets a norm of NaN and codes of zero."""
    norm = np.sqrt(np.einsum("nk,nk->n", rows, rows, dtype=np.float64))
    finite = np.isfinite(norm)
    if not finite.all():
        rows = np.where(finite[:, None], rows, np.float32(0))
    spread = np.where(finite & (norm > 0), norm, 1.0) / np.sqrt(rows.shape[1])
    unit = rows / spread[:, None].astype(np.float32)
    if kind in FLOATS:
        codes = torch.from_numpy(unit).to(FLOATS[kind])
        levels = codes.float().numpy()
    else:
        levels = _levels(unit, BITS[kind])
        codes = torch.from_numpy(pack(levels, BITS[kind]))
    along = np.einsum("nk,nk->n", levels, rows, dtype=np.float64)
    scale = np.divide(norm**2, along, out=np.zeros_like(norm), where=finite & (along > 0))
    return Encoded(codes, np.where(finite, norm, np.nan).astype(np.float32), scale.astype(np.float32))


def decode(codes: np.ndarray | torch.Tensor, kind: str, dim: int) -> np.ndarray:
    """The levels [n, dim] in float32, without their scale."""
    if kind in FLOATS:
        return torch.as_tensor(codes).float().numpy()
    return unpack(np.asarray(codes), BITS[kind], dim)


def pack(levels: np.ndarray, bits: int) -> np.ndarray:
    """Odd numbers [n, dim] in bytes; the first of a byte is in its lowest bits. int8 is kept around zero."""
    numbers = ((levels.astype(np.int16) + (1 << bits) - 1) >> 1).astype(np.uint8)
    if bits == 8:
        return (numbers.astype(np.int16) - 128).astype(np.int8)
    if bits == 1:
        return np.packbits(numbers, axis=1, bitorder="little")
    each = 8 // bits
    padded = np.pad(numbers, ((0, 0), (0, -numbers.shape[1] % each)))
    packed = np.zeros((len(levels), padded.shape[1] // each), np.uint8)
    for place in range(each):
        packed |= padded[:, place::each] << np.uint8(bits * place)
    return packed


def unpack(codes: np.ndarray, bits: int, dim: int) -> np.ndarray:
    """Back to the odd numbers, in float32."""
    if bits == 8:
        return codes.astype(np.float32) * 2 + 1
    each = 8 // bits
    numbers = np.empty((len(codes), codes.shape[1] * each), np.float32)
    for place in range(each):
        numbers[:, place::each] = (codes >> np.uint8(bits * place)) & np.uint8((1 << bits) - 1)
    return numbers[:, :dim] * 2 - ((1 << bits) - 1)


def _levels(unit: np.ndarray, bits: int) -> np.ndarray:
    half = 1 << (bits - 1)
    number = np.clip(np.floor(unit / np.float32(STEPS[bits])), -half, half - 1)
    return number * 2 + 1
