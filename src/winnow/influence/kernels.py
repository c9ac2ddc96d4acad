"""Compiled dot products of stored rows with a few queries, at the speed of memory; each row is read once, in blocks.

Stored numbers become float32 in registers. Rows of a few bits meet queries of `PLANES` bits: a dot product is then a
count of bits that both have, 512 at a time. Four rows, or four planes, go together, so that what is loaded is used.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, prange, types
from numba.extending import intrinsic

PLANES = 8
_BLOCK = 64
_REASSOCIATE = {"reassoc", "contract", "nsz"}


@intrinsic
def _from_half(_, x):  # type: ignore[no-untyped-def]
    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        return builder.fpext(builder.bitcast(arguments[0], ir.HalfType()), ir.FloatType())

    return types.float32(types.uint16), generate


@intrinsic
def _from_brain(_, x):  # type: ignore[no-untyped-def]
    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        wide = ir.IntType(32)
        shifted = builder.shl(builder.zext(arguments[0], wide), ir.Constant(wide, 16))
        return builder.bitcast(shifted, ir.FloatType())

    return types.float32(types.uint16), generate


@intrinsic
def _count(_, x):  # type: ignore[no-untyped-def]
    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        return builder.ctpop(arguments[0])

    return types.uint64(types.uint64), generate


@njit(inline="always")
def _from_float(x):  # type: ignore[no-untyped-def]
    return x


@njit(inline="always")
def _from_int8(x):  # type: ignore[no-untyped-def]
    return np.float32(2) * np.float32(x) + np.float32(1)


def _make_dots(read: Callable[..., Any]) -> Callable[..., None]:
    @njit(parallel=True, nogil=True, fastmath=_REASSOCIATE, cache=True)
    def dots(rows, queries, out):  # type: ignore[no-untyped-def]
        count, size = rows.shape
        for block in prange((count + _BLOCK - 1) // _BLOCK):
            end = min(count, (block + 1) * _BLOCK)
            for s in range(0, len(queries), 2):
                q0, q1 = queries[s], queries[s + 1]
                for i in range(block * _BLOCK, end, 4):
                    i1, i2, i3 = min(i + 1, end - 1), min(i + 2, end - 1), min(i + 3, end - 1)
                    r0, r1, r2, r3 = rows[i], rows[i1], rows[i2], rows[i3]
                    a0 = a1 = a2 = a3 = b0 = b1 = b2 = b3 = np.float32(0)
                    for j in range(size):
                        x0, x1, x2, x3 = read(r0[j]), read(r1[j]), read(r2[j]), read(r3[j])
                        a0 += x0 * q0[j]
                        a1 += x1 * q0[j]
                        a2 += x2 * q0[j]
                        a3 += x3 * q0[j]
                        b0 += x0 * q1[j]
                        b1 += x1 * q1[j]
                        b2 += x2 * q1[j]
                        b3 += x3 * q1[j]
                    out[i, s], out[i1, s], out[i2, s], out[i3, s] = a0, a1, a2, a3
                    out[i, s + 1], out[i1, s + 1], out[i2, s + 1], out[i3, s + 1] = b0, b1, b2, b3

    return dots


DOTS: dict[str, Callable[..., None]] = {
    "float32": _make_dots(_from_float),
    "float16": _make_dots(_from_half),
    "bfloat16": _make_dots(_from_brain),
    "int8": _make_dots(_from_int8),
}


@njit(parallel=True, nogil=True, cache=True)
def count_common(words, planes, out):  # type: ignore[no-untyped-def]
    """Bits that ``words`` [n, w] and ``planes`` [p, w] (p a multiple of four) have in common [n, p]; all uint64."""
    count, size = words.shape
    for block in prange((count + _BLOCK - 1) // _BLOCK):
        end = min(count, (block + 1) * _BLOCK)
        for p in range(0, len(planes), 4):
            p0, p1, p2, p3 = planes[p], planes[p + 1], planes[p + 2], planes[p + 3]
            for i in range(block * _BLOCK, end, 2):
                other = min(i + 1, end - 1)
                r0, r1 = words[i], words[other]
                a0 = a1 = a2 = a3 = b0 = b1 = b2 = b3 = np.uint64(0)
                for j in range(size):
                    x, y = r0[j], r1[j]
                    a0 += _count(x & p0[j])
                    a1 += _count(x & p1[j])
                    a2 += _count(x & p2[j])
                    a3 += _count(x & p3[j])
                    b0 += _count(y & p0[j])
                    b1 += _count(y & p1[j])
                    b2 += _count(y & p2[j])
                    b3 += _count(y & p3[j])
                out[i, p], out[i, p + 1], out[i, p + 2], out[i, p + 3] = a0, a1, a2, a3
                out[other, p], out[other, p + 1], out[other, p + 2], out[other, p + 3] = b0, b1, b2, b3
