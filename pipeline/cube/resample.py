"""Pixels of one grid from the pixels of another: nearest, bilinear, or the mean of an area.

Where a pixel of the map falls in a file depends only on the map's pixel, never on the block it is
read with: coordinates are worked out at the nodes of a lattice that is fixed to the CRS, and
interpolated between them. So the size of a block changes no value, not even in its last digit.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from odc.geo.crs import CRS
from odc.geo.geobox import GeoBox

from pipeline.cube.kernels import bilinear, mean, nearest

_NODES = 32  # pixels between nodes: 640 m at 20 m, over which a projection bends by millimetres
_SNAP = 4096  # parts of a pixel that positions are rounded to
_SINGLE = 4096  # pixels: in a wider window float32 cannot hold such parts, and float64 does
_PHASE = 1e6  # parts of a metre that the place of the grid is rounded to
_AVERAGE_FROM = 1.5  # from this ratio of pixel sizes on, a mean is taken
_METRES_PER_DEGREE = 111_320.0  # along a meridian
_TURN = 360.0  # degrees: a file may write the same meridian as 181 or as -179
_TORN = 1e7  # metres: neighbours farther apart lie on two sides of the edge of a projection
_LATTICE = np.linspace(0.0, 1.0, 17)  # of a grid's sides, when its common ground is looked for

Coordinates = NDArray[np.float64]
Size = tuple[float, float]


@dataclass(frozen=True, eq=False)
class Positions:
    """Where the pixels of a grid fall in a file: a window of it, and positions in the window."""

    row: int
    column: int
    height: int
    width: int
    u: NDArray[np.floating[Any]]
    """(y, x), columns from the window's left edge; pixel centres are at a half."""
    v: NDArray[np.floating[Any]]
    """(y, x), rows from the window's top edge."""


@lru_cache(maxsize=32)
def positions(theirs: GeoBox, grid: GeoBox) -> Positions:
    """Return where the centres of a grid's pixels fall in a file with the grid `theirs`.

    Across the antimeridian too, where the file is in degrees.
    """
    columns, x_nodes, x_part = _axis(grid.affine.c, grid.affine.a, grid.shape[1])
    rows, y_nodes, y_part = _axis(grid.affine.f, grid.affine.e, grid.shape[0])
    x, y = _transformed(theirs, grid.crs, *np.meshgrid(x_nodes, y_nodes))
    turn = _TURN if _in_degrees(theirs) else None
    x = _interpolate(x, (rows, y_part), (columns, x_part), turn)
    y = _interpolate(y, (rows, y_part), (columns, x_part), None)
    u, v = (np.rint(at * _SNAP) / _SNAP for at in _in_pixels(theirs, x, y))
    wide, tall = ratio(theirs, grid)
    top, bottom = _reach(v, theirs.shape[0], tall)
    left, right = _reach(u, theirs.shape[1], wide)
    height, width = bottom - top, right - left
    kind = np.float32 if max(height, width) <= _SINGLE else np.float64
    return Positions(top, left, height, width, (u - left).astype(kind), (v - top).astype(kind))


def pixels_at(
    theirs: GeoBox, crs: CRS | None, x: Coordinates, y: Coordinates
) -> tuple[Coordinates, Coordinates]:
    """Return where points fall in a file: columns and rows from its corner, NaN or inf if nowhere.

    Parameters
    ----------
    crs : of the points.
    """
    return _in_pixels(theirs, *_transformed(theirs, crs, x, y))


def common_ground(theirs: GeoBox, grid: GeoBox) -> bool:
    """Return whether a file and a grid have ground in common; at edges it may err towards yes.

    Points all over the grid are looked up in the file, so that neither the antimeridian, nor a
    pole, nor a file that is turned misleads it.
    """
    rows, columns = grid.shape
    across, down = np.meshgrid(_LATTICE * columns, _LATTICE * rows)
    x, y = _transformed(theirs, grid.crs, *_applied(grid.affine, across, down))
    known = np.isfinite(x) & np.isfinite(y)
    if not known.any():
        return False
    x, y = x[known], y[known]
    turns = [0.0]
    if _in_degrees(theirs):
        x, turns = _around(x, float(x[0])), [-_TURN, 0.0, _TURN]
    bent = theirs.crs != grid.crs
    return any(_overlap(theirs, x + turn, y, bent=bent) for turn in turns)


def _overlap(theirs: GeoBox, x: Coordinates, y: Coordinates, *, bent: bool) -> bool:
    """Return whether the box around points, in a file's pixels, meets the file."""
    for at, size in zip(_applied(~theirs.affine, x, y), theirs.shape[::-1], strict=True):
        first, last = float(at.min()), float(at.max())
        margin = 1 + (last - first) / len(_LATTICE) if bent else 0.0
        if last + margin <= 0 or first - margin >= size:
            return False
    return True


def ratio(theirs: GeoBox, grid: GeoBox) -> Size:
    """Return how many pixels of the file lie along a pixel of the grid, by columns and by rows.

    To a hundredth: the bend of a projection must not decide between a mean and an interpolation.
    """
    a, b, _, d, e, _ = theirs.affine[:6]
    east, north = _metres(theirs, grid.crs)
    wide, tall = np.hypot(a * east, d * north), np.hypot(b * east, e * north)
    found = abs(grid.resolution.x) / wide, abs(grid.resolution.y) / tall
    return round(float(found[0]), 2), round(float(found[1]), 2)


def resample(
    values: NDArray[np.generic], nodata: float | None, at: Positions, size: Size, *, classes: bool
) -> NDArray[np.float32]:
    """Return values (y, x) at positions, float32, NaN where the nearest pixel has none.

    Classes come from the nearest pixel; numbers are interpolated between the four nearest, or are
    the mean over `size` pixels where that is 1.5 or more. Missing pixels carry no weight.

    Parameters
    ----------
    values : the window of `at`.
    size : pixels of the file along a pixel of the grid, by columns and by rows.
    """
    out = np.empty(at.u.shape, np.float32)
    nothing = np.float32(np.nan if nodata is None else nodata)
    if classes:
        nearest(values, nothing, at.u, at.v, out)
    elif max(size) >= _AVERAGE_FROM:
        wide, tall = (at.u.dtype.type(np.rint(max(s, 1.0) / 2 * _SNAP) / _SNAP) for s in size)
        mean(values, nothing, at.u, at.v, (wide, tall), out)
    else:
        bilinear(values, nothing, at.u, at.v, out)
    return out


def _in_degrees(grid: GeoBox) -> bool:
    return grid.crs is not None and grid.crs.geographic


def _transformed(
    theirs: GeoBox, crs: CRS | None, x: Coordinates, y: Coordinates
) -> tuple[Coordinates, Coordinates]:
    """Return points in the CRS of a file."""
    if crs is None or theirs.crs is None or theirs.crs == crs:
        return x, y
    found: tuple[Coordinates, Coordinates] = crs.transformer_to_crs(theirs.crs)(x, y)
    return found


def _in_pixels(theirs: GeoBox, x: Coordinates, y: Coordinates) -> tuple[Coordinates, Coordinates]:
    """Return columns and rows of points in a file's CRS; longitudes as its own range has them."""
    if _in_degrees(theirs):
        rows, columns = theirs.shape
        x = _around(x, (theirs.affine * (columns / 2, rows / 2))[0])
    return _applied(~theirs.affine, x, y)


def _around(longitudes: Coordinates, middle: float) -> Coordinates:
    """Return longitudes as they are written within half a turn of a meridian."""
    found: Coordinates = longitudes - _TURN * np.floor((longitudes - middle) / _TURN + 0.5)
    return found


def _applied(affine: Affine, x: Coordinates, y: Coordinates) -> tuple[Coordinates, Coordinates]:
    a, b, c, d, e, f = affine[:6]
    return a * x + b * y + c, d * x + e * y + f


def _metres(theirs: GeoBox, crs: CRS | None) -> Size:
    """Return the length on the grid of one unit of a file's CRS, eastwards and northwards.

    In the middle of the file: a length that changed with the block would change what it reads.
    """
    rows, columns = theirs.shape
    x, y = theirs.affine * (columns / 2, rows / 2)
    if _in_degrees(theirs):
        return float(_METRES_PER_DEGREE * np.cos(np.radians(y))), _METRES_PER_DEGREE
    if crs is None or theirs.crs is None or theirs.crs == crs:
        return 1.0, 1.0
    step = abs(theirs.resolution.x)
    there = theirs.crs.transformer_to_crs(crs)(
        np.array([x, x + step, x]), np.array([y, y, y + step])
    )
    (x0, x1, x2), (y0, y1, y2) = there
    east, north = np.hypot(x1 - x0, y1 - y0) / step, np.hypot(x2 - x0, y2 - y0) / step
    return (float(east), float(north)) if np.isfinite(east * north) else (1.0, 1.0)


def _axis(
    start: float, step: float, size: int
) -> tuple[NDArray[np.intp], Coordinates, Coordinates]:
    """Return, along one axis, each pixel's node, the nodes, and the part of the way to the next."""
    first = int(np.floor(start / step + 0.5 - 1e-9))  # halves fall one way, whatever the block
    phase = round((start - first * step) * _PHASE) / _PHASE
    pixels = first + np.arange(size)
    node = pixels // _NODES
    nodes = np.arange(node[0], node[-1] + 2) * (_NODES * step) + phase
    return node - node[0], nodes, (pixels % _NODES + 0.5) / _NODES


def _interpolate(
    nodes: Coordinates,
    down: tuple[NDArray[np.intp], Coordinates],
    across: tuple[NDArray[np.intp], Coordinates],
    turn: float | None,
) -> Coordinates:
    """Return values at pixels from those at nodes, in one fixed order of operations.

    Parameters
    ----------
    down, across : of each row and column its node, and the part of the way to the next.
    turn : what is added on the way round the world; None: there the projection is torn.
    """
    (rows, y_part), (columns, x_part) = down, across
    found = _between(nodes[:, columns], nodes[:, columns + 1], x_part, turn)
    return _between(found[rows], found[rows + 1], y_part[:, None], turn)


def _between(
    low: Coordinates, high: Coordinates, part: Coordinates, turn: float | None
) -> Coordinates:
    apart = low - high
    if turn is None:
        high = np.where(np.abs(apart) > _TORN, np.nan, high)
    else:
        high = high + turn * np.rint(apart / turn)
    found: Coordinates = low * (1 - part) + high * part
    return found


def _reach(at: Coordinates, limit: int, size: float) -> tuple[int, int]:
    """Return the first and last (exclusive) pixel that positions along one axis have to do with."""
    known = at[np.isfinite(at)]
    if not known.size:
        return 0, 0
    around = max(size / 2, 1.0) + 1
    first = int(np.clip(np.floor(known.min() - around), 0, limit))
    return first, int(np.clip(np.ceil(known.max() + around), first, limit))
