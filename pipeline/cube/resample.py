"""Pixels of one grid from the pixels of another: nearest, bilinear, or the mean of an area.

Where a pixel of the map falls in a file depends only on the map's pixel, never on the block it is
read with: coordinates are worked out at the nodes of a lattice that is fixed to the CRS, and
interpolated between them. So the size of a block changes no value, not even in its last digit.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

_NODES = 32  # pixels between nodes: 640 m at 20 m, over which a projection bends by millimetres
_SNAP = 4096  # parts of a pixel that positions are rounded to; float32 holds them over 4096 pixels
_PHASE = 1e6  # parts of a metre that the place of the grid is rounded to
_AVERAGE_FROM = 1.5  # from this ratio of pixel sizes on, a mean is taken
_METRES_PER_DEGREE = 111_320.0  # along a meridian


@dataclass(frozen=True, eq=False)
class Positions:
    """Where the pixels of a grid fall in a file: a window of it, and positions in the window."""

    row: int
    column: int
    height: int
    width: int
    u: NDArray[np.float32]
    """(y, x), columns from the window's left edge; pixel centres are at a half."""
    v: NDArray[np.float32]
    """(y, x), rows from the window's top edge."""


@lru_cache(maxsize=32)
def positions(theirs: GeoBox, grid: GeoBox) -> Positions:
    """Return where the centres of a grid's pixels fall in a file with the grid `theirs`."""
    columns, x_nodes, x_part = _axis(grid.affine.c, grid.affine.a, grid.shape[1])
    rows, y_nodes, y_part = _axis(grid.affine.f, grid.affine.e, grid.shape[0])
    x, y = np.meshgrid(x_nodes, y_nodes)
    if grid.crs is not None and theirs.crs is not None and theirs.crs != grid.crs:
        x, y = grid.crs.transformer_to_crs(theirs.crs, always_xy=True)(x, y)
    inverse = ~theirs.affine
    u = _interpolate(inverse.a * x + inverse.b * y + inverse.c, rows, y_part, columns, x_part)
    v = _interpolate(inverse.d * x + inverse.e * y + inverse.f, rows, y_part, columns, x_part)
    top, bottom = _reach(v, theirs.shape[0], ratio(theirs, grid))
    left, right = _reach(u, theirs.shape[1], ratio(theirs, grid))
    return Positions(
        top,
        left,
        bottom - top,
        right - left,
        (u - left).astype(np.float32),
        (v - top).astype(np.float32),
    )


def ratio(theirs: GeoBox, grid: GeoBox) -> float:
    """Return how many pixels of the file lie along a pixel of the grid."""
    return abs(grid.resolution.x) / _metres(theirs)


def resample(
    values: NDArray[np.generic], nodata: float | None, at: Positions, size: float, *, classes: bool
) -> NDArray[np.float32]:
    """Return values (y, x) at positions, float32, NaN where the nearest pixel has none.

    Classes come from the nearest pixel; numbers are interpolated between the four nearest, or are
    the mean over `size` pixels where that is 1.5 or more. Missing pixels carry no weight.

    Parameters
    ----------
    values : the window of `at`.
    size : pixels of the file along a pixel of the grid.
    """
    out = np.empty(at.u.shape, np.float32)
    nothing = np.float32(np.nan if nodata is None else nodata)
    if classes:
        _nearest(values, nothing, at.u, at.v, out)
    elif size >= _AVERAGE_FROM:
        _mean(values, nothing, at.u, at.v, np.float32(size / 2), out)
    else:
        _bilinear(values, nothing, at.u, at.v, out)
    return out


def _metres(grid: GeoBox) -> float:
    step = abs(grid.resolution.x)
    if grid.crs is not None and grid.crs.geographic:
        middle = grid.affine.f + grid.affine.e * grid.shape[0] / 2
        step *= _METRES_PER_DEGREE * np.cos(np.radians(middle))
    return float(step)


def _axis(
    start: float, step: float, size: int
) -> tuple[NDArray[np.intp], NDArray[np.float64], NDArray[np.float64]]:
    """Return, along one axis, each pixel's node, the nodes, and the part of the way to the next."""
    first = int(np.floor(start / step + 0.5 - 1e-9))  # halves fall one way, whatever the block
    phase = round((start - first * step) * _PHASE) / _PHASE
    pixels = first + np.arange(size)
    node = pixels // _NODES
    nodes = np.arange(node[0], node[-1] + 2) * (_NODES * step) + phase
    return node - node[0], nodes, (pixels % _NODES + 0.5) / _NODES


def _interpolate(
    nodes: NDArray[np.float64],
    rows: NDArray[np.intp],
    y_part: NDArray[np.float64],
    columns: NDArray[np.intp],
    x_part: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Return values at pixels from those at nodes, in one fixed order of operations."""
    across = nodes[:, columns] * (1 - x_part) + nodes[:, columns + 1] * x_part
    down = y_part[:, None]
    values: NDArray[np.float64] = across[rows] * (1 - down) + across[rows + 1] * down
    return np.rint(values * _SNAP) / _SNAP


def _reach(at: NDArray[np.float64], limit: int, size: float) -> tuple[int, int]:
    """Return the first and last (exclusive) pixel that positions along one axis have to do with."""
    known = at[np.isfinite(at)]
    if not known.size:
        return 0, 0
    around = max(size / 2, 1.0) + 1
    first = int(np.clip(np.floor(known.min() - around), 0, limit))
    return first, int(np.clip(np.ceil(known.max() + around), first, limit))


_kernel: Any = numba.njit(cache=True, nogil=True, fastmath=False, error_model="numpy")


@_kernel
def _nearest(values, nodata, u, v, out):  # type: ignore[no-untyped-def]
    height, width = values.shape
    for y in range(out.shape[0]):
        for x in range(out.shape[1]):
            i, j = np.floor(v[y, x]), np.floor(u[y, x])
            out[y, x] = np.nan
            if 0 <= i < height and 0 <= j < width:
                value = np.float32(values[int(i), int(j)])
                if value != nodata:
                    out[y, x] = value


@_kernel
def _bilinear(values, nodata, u, v, out):  # type: ignore[no-untyped-def]
    last_row, last_column = np.float32(values.shape[0] - 1), np.float32(values.shape[1] - 1)
    half, one = np.float32(0.5), np.uint32(1)
    for y in range(out.shape[0]):
        for x in range(out.shape[1]):
            row, column = v[y, x] - half, u[y, x] - half
            if 0 <= row < last_row and 0 <= column < last_column:
                i, j = np.uint32(row), np.uint32(column)  # unsigned: no check for a[-1]
                down, right = row - np.float32(i), column - np.float32(j)
                a, b = np.float32(values[i, j]), np.float32(values[i, j + one])
                c, d = np.float32(values[i + one, j]), np.float32(values[i + one, j + one])
                upper, lower = a + (b - a) * right, c + (d - c) * right
                value = upper + (lower - upper) * down
                missing = (a == nodata) | (b == nodata) | (c == nodata) | (d == nodata)
                if not (missing | (value != value)):
                    out[y, x] = value
                    continue
            out[y, x] = _bilinear_beside_nothing(values, nodata, row, column)


@_kernel
def _bilinear_beside_nothing(values, nodata, row, column):  # type: ignore[no-untyped-def]
    """Return the value where some of the four neighbours are missing or past the edge."""
    height, width = values.shape
    half, total, weights = np.float32(0.5), np.float32(0), np.float32(0)
    there = False
    for down in range(2):
        for right in range(2):
            i, j = np.floor(row) + down, np.floor(column) + right
            if not (0 <= i < height and 0 <= j < width):
                continue
            value = np.float32(values[int(i), int(j)])
            if value == nodata or value != value:
                continue
            there |= i == np.floor(row + half) and j == np.floor(column + half)
            weight = np.float32((1 - abs(row - i)) * (1 - abs(column - j)))
            total += weight * value
            weights += weight
    return total / weights if there and weights > 0 else np.float32(np.nan)


@_kernel
def _mean(values, nodata, u, v, reach, out):  # type: ignore[no-untyped-def]
    """Write the mean over a square of 2 * reach pixels, by area; half of it must be there."""
    height, width = values.shape
    for y in range(out.shape[0]):
        for x in range(out.shape[1]):
            out[y, x] = np.nan
            top, bottom = v[y, x] - reach, v[y, x] + reach
            left, right = u[y, x] - reach, u[y, x] + reach
            if not (bottom > 0 and top < height and right > 0 and left < width):
                continue
            total, area = 0.0, 0.0
            for i in range(max(int(np.floor(top)), 0), min(int(np.ceil(bottom)), height)):
                tall = min(bottom, i + 1) - max(top, i)
                for j in range(max(int(np.floor(left)), 0), min(int(np.ceil(right)), width)):
                    value = np.float32(values[i, j])
                    if value != nodata and value == value:
                        part = tall * (min(right, j + 1) - max(left, j))
                        total += part * value
                        area += part
            if area >= 2 * reach * reach:
                out[y, x] = total / area
