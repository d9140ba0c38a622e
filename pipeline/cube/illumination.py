"""The fit of light on slopes: how strongly each band of each scene follows the sun."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

import numpy as np
import rasterio
from numpy.typing import NDArray
from odc.geo.crs import CRS
from odc.geo.geobox import GeoBox

from pipeline.cube.composite import clear_of
from pipeline.cube.dates import read_dates, reflectance, tolerated
from pipeline.cube.relief import DARK, Relief, incidence
from pipeline.cube.scenes import Imagery, Scene
from pipeline.cube.source import Source
from pipeline.errors import CatalogError
from pipeline.files import Json
from pipeline.grid import Block, blocks, crop
from pipeline.remote import GDAL_SETTINGS

WINDOW = 128
"""Pixels on a side of a window of the sample."""
WINDOWS = 16
"""Most windows of the sample."""
FEWEST = 1000
"""Pixels that a fit needs."""
LEAST_SPREAD = 0.02
"""Standard deviation of the cosine of incidence that a fit needs: plains tell nothing of slopes."""
LEAST_CORRELATION = 0.1
"""Between light and reflectance; below it a band does not follow the sun."""
USABLE = (0.005, 1.0)
"""Reflectance between which a pixel takes part: neither without a logarithm nor saturated."""

_SEED = 20_240_229
_STEP = 1e-3  # degrees: how far north to look for north

Sums = NDArray[np.float64]
"""Of one band of one scene: n, x, y, xx, xy, yy."""


@dataclass(frozen=True)
class _Fit:
    coefficient: float | None
    told: dict[str, Json]


def fit_relief(
    imagery: Imagery,
    elevation: tuple[Source, ...],
    grid: GeoBox,
) -> Relief:
    """Fit how each band of each scene follows the light, on a sample of windows of a region.

    The windows are drawn by a fixed seed over the region's grid, so that neither blocks nor workers
    change the result; clear pixels outside deep shadow take part. C: reflectance = a + b cos i, and
    c = a / b. Minnaert: log reflectance = log flat + k log(cos i / cos z), k at most 1 (Teillet,
    Guindon & Goodenough 1982, Can. J. Remote Sens. 8:84). A band is not corrected, and the notes
    say so, where the sample is small or flat, where it does not follow the sun, or where c would be
    negative. What grows on one side of the hills only is taken for light: the fit knows no better.

    Parameters
    ----------
    imagery : its `composite.illumination` says which of the two; its `relief` is not looked at.
    elevation : in metres.
    grid : of the region.

    Raises
    ------
    CatalogError : a scene does not say where the sun was.
    ReadError : the elevation, or a scene of imagery that is not tolerant, cannot be read.
    """
    method: Literal["c", "minnaert"] = (
        "minnaert" if imagery.composite.illumination == "minnaert" else "c"
    )
    suns = {scene.item: _sun_of(scene) for scene in imagery.scenes}
    relief = Relief(method, elevation, _north(grid), suns, {}, {})
    bands = list(imagery.sensor.bands)
    sums = {item: np.zeros((len(bands), 6)) for item in suns}
    with rasterio.Env(**GDAL_SETTINGS):
        for window in _windows(grid):
            found, _ = tolerated(imagery, partial(_sampled, imagery, relief, window))
            for item, more in found.items():
                sums[item] += more
    fits = {item: [_fit(one, method) for one in found] for item, found in sums.items()}
    return replace(
        relief,
        coefficients={item: tuple(fit.coefficient for fit in fits[item]) for item in fits},
        notes={item: _note(method, bands, found) for item, found in fits.items()},
    )


def _note(method: str, bands: list[str], fits: list[_Fit]) -> dict[str, Json]:
    told: dict[str, Json] = {band: {**fit.told} for band, fit in zip(bands, fits, strict=True)}
    return {"method": method, "bands": told}


def _sun_of(scene: Scene) -> tuple[float, float]:
    if scene.sun is None:
        raise CatalogError(
            "it does not say where the sun was (view:sun_elevation, view:sun_azimuth)",
            where=f"item {scene.item}",
            remedy="leave it out, or set composite.illumination to none",
        )
    return scene.sun


def _north(grid: GeoBox) -> float:
    """Return the direction of true north at a grid's middle, degrees clockwise from its own."""
    crs, degrees = CRS(str(grid.crs)), CRS("EPSG:4326")
    x, y = grid.extent.centroid.coords[0]
    lon, lat = crs.transformer_to_crs(degrees)(x, y)
    step = -_STEP if lat > 0 else _STEP  # towards the equator, so as not to pass the pole
    there_x, there_y = degrees.transformer_to_crs(crs)(lon, lat + step)
    east, north = (there_x - x) / np.sign(step), (there_y - y) / np.sign(step)
    return float(np.degrees(np.arctan2(east, north)))


def _windows(grid: GeoBox) -> Iterator[GeoBox]:
    """Yield the windows of the sample: all of a small region, a draw from a large one."""
    cut: list[Block] = list(blocks(grid.shape.yx, WINDOW))
    count = min(WINDOWS, len(cut))
    drawn = np.random.default_rng(_SEED).choice(len(cut), count, replace=False)
    for number in sorted(drawn.tolist()):
        yield crop(grid, cut[number])


def _sampled(
    imagery: Imagery, relief: Relief, grid: GeoBox, scenes: tuple[Scene, ...]
) -> dict[str, Sums]:
    """Return the sums (band, 6) of a window, by item."""
    seen = clear_of(imagery, scenes, grid)
    items = [scene.item for scene in seen.scenes]
    if not items:
        return {}
    light = incidence(relief, items, grid).reshape(len(items), -1)
    out = {item: np.zeros((len(imagery.sensor.bands), 6)) for item in items}
    values = np.empty(seen.clear.shape, np.float32)
    for band in range(len(imagery.sensor.bands)):
        reflectance(read_dates(seen.scenes, band, grid), seen.clear, values)
        for item, row, cosine in zip(items, values, light, strict=True):
            usable = (cosine >= DARK) & (row > USABLE[0]) & (row < USABLE[1])
            x, y = cosine[usable].astype(float), row[usable].astype(float)
            if relief.method == "minnaert":
                flat = np.sin(np.radians(relief.suns[item][0]))
                x, y = np.log(x / flat), np.log(y)
            out[item][band] = x.size, x.sum(), y.sum(), x @ x, x @ y, y @ y
    return out


def _fit(sums: Sums, method: str) -> _Fit:
    n, x, y, xx, xy, yy = sums.tolist()
    if n < FEWEST:
        return _Fit(None, {"not corrected": f"{n:.0f} clear pixels in the sample"})
    across, along, both = xx / n - (x / n) ** 2, yy / n - (y / n) ** 2, xy / n - x * y / n**2
    if across < LEAST_SPREAD**2 or along <= 0:
        return _Fit(None, {"not corrected": "the ground of the sample is flat"})
    correlation = both / (across * along) ** 0.5
    if correlation < LEAST_CORRELATION:
        told = f"it does not follow the light (correlation {correlation:.2f})"
        return _Fit(None, {"not corrected": told})
    slope = both / across
    how: dict[str, Json] = {"correlation": round(correlation, 3), "pixels": int(n)}
    if method == "minnaert":
        k = min(slope, 1.0)
        return _Fit(k, {"k": round(k, 4), **how})
    c = (y / n) / slope - x / n
    if c < 0:
        return _Fit(None, {"not corrected": f"c would be negative ({c:.2f})"})
    return _Fit(c, {"c": round(c, 4), **how})
