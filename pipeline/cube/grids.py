"""The grid that imagery itself is on: which CRS, which pixels."""

from collections.abc import Sequence

import numpy as np
import rasterio
from numpy.typing import NDArray
from odc.geo.crs import CRS
from odc.geo.geobox import GeoBox
from odc.geo.geom import Geometry
from shapely import contains_xy

from pipeline.cube.resample import pixels_at
from pipeline.cube.scenes import Scene
from pipeline.cube.source import opened
from pipeline.errors import RegionError
from pipeline.plan import Sensor
from pipeline.remote import GDAL_SETTINGS

_LATTICE = 48  # points along a side, with which the ground of a region is counted


def native_grid(
    scenes: Sequence[Scene], sensor: Sensor, outline: Geometry | None = None
) -> tuple[CRS, float, tuple[float, float]]:
    """Return the CRS, the pixel size and a pixel corner (x, y), in metres, of imagery's own pixels.

    Where scenes lie in several CRSs (UTM zones), theirs who cover most of the region decide, and
    of equals the first. The pixels are those of the band nearest to the sensor's resolution, and
    are read from the file: what items say of them is often stale.

    Parameters
    ----------
    scenes : at least one.
    outline : of the region, in any CRS; None: the first scene decides.

    Raises
    ------
    ReadError : a band cannot be opened.
    RegionError : the pixels are not square, or not in metres.
    """
    with rasterio.Env(**GDAL_SETTINGS):
        scene = scenes[0] if outline is None else _widest(scenes, outline)
        grids = [opened(source).grid for source in scene.bands]
    grid = min(grids, key=lambda g: abs(abs(g.resolution.x) - sensor.resolution))
    width, height = abs(grid.resolution.x), abs(grid.resolution.y)
    turned = grid.affine.b or grid.affine.d
    crs = grid.crs
    if crs is None or not crs.projected or turned or abs(width - height) > 1e-6 * width:
        raise RegionError(
            "its pixels are not squares in metres",
            where=f"item {scene.item}",
            remedy="give the maps a projected CRS and a resolution: grid.crs and grid.resolution",
        )
    return crs, width, (grid.affine.c, grid.affine.f)


def _widest(scenes: Sequence[Scene], outline: Geometry) -> Scene:
    """Return the first scene of the CRS whose scenes together cover most of an outline."""
    grids = [opened(scene.bands[0]).grid for scene in scenes]
    firsts: dict[str, int] = {}
    for number, grid in enumerate(grids):
        firsts.setdefault(str(grid.crs), number)
    if len(firsts) == 1:
        return scenes[0]
    x, y = _ground(outline)
    seen = {crs: np.zeros(x.shape, np.bool_) for crs in firsts}
    for grid in grids:
        seen[str(grid.crs)] |= _holds(grid, outline.crs, x, y)
    widest = max(firsts, key=lambda crs: (int(seen[crs].sum()), -firsts[crs]))
    return scenes[firsts[widest]]


def _ground(outline: Geometry) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return points spread over every part of an outline."""
    found = []
    for part in getattr(outline.geom, "geoms", (outline.geom,)):
        left, bottom, right, top = part.bounds
        steps = (np.arange(_LATTICE) + 0.5) / _LATTICE
        x, y = np.meshgrid(left + steps * (right - left), bottom + steps * (top - bottom))
        within = contains_xy(part, x, y)
        found.append(np.array([x[within], y[within]]))
    spread = np.concatenate(found, axis=1)
    return spread[0], spread[1]


def _holds(
    theirs: GeoBox, crs: CRS | None, x: NDArray[np.float64], y: NDArray[np.float64]
) -> NDArray[np.bool_]:
    rows, columns = theirs.shape
    u, v = pixels_at(theirs, crs, x, y)
    return (u >= 0) & (u < columns) & (v >= 0) & (v < rows)
