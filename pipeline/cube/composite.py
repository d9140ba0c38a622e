"""The composite of one block: every date read, masked, scaled, and the median taken."""

from dataclasses import dataclass

import numpy as np
import rasterio
import xarray as xr
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from odc.geo.xr import xr_coords
from rasterio.windows import Window

from pipeline.contracts import Reflectance, as_reflectance
from pipeline.cube.median import median
from pipeline.cube.scenes import Scene
from pipeline.cube.source import (
    Source,
    covers,
    opened,
    read_warped,
    read_window,
    touches,
    window_in_step,
)
from pipeline.plan import Sensor
from pipeline.remote import GDAL_SETTINGS

_MOST = np.iinfo(np.uint16).max  # dates that a clear count can hold


def read_reflectance(
    scenes: tuple[Scene, ...], sensor_name: str, sensor: Sensor, grid: GeoBox
) -> Reflectance:
    """Read a block and return its composite: the median of the clear dates, band by band.

    A file whose pixels are the grid's own is read as it is; any other is warped: bilinear, averaged
    where its pixels are the smaller, the quality mask always by nearest neighbour. Negative
    reflectance is kept. The grid may reach past the files (a halo): there is nothing there.

    Parameters
    ----------
    scenes : one item each; those that do not touch the grid are not read.
    grid : of the block, with its halo.

    Returns
    -------
    Reflectance (band, y, x), float32, unitless, NaN where no date is clear; `clear_count` is the
    number of dates behind the median of the band that has the fewest.

    Raises
    ------
    ReadError : an asset is missing, cut short or damaged; it names the item and the asset.
    """
    with rasterio.Env(**GDAL_SETTINGS):
        values, fewest = _composite(scenes, sensor, grid)
    names = list(sensor.bands)
    coords = {
        **xr_coords(grid),
        "band": names,
        "wavelength": ("band", np.array([sensor.bands[name].wavelength for name in names])),
        "fwhm": ("band", np.array([sensor.bands[name].fwhm for name in names])),
    }
    data = xr.Dataset(
        {"reflectance": (("band", "y", "x"), values), "clear_count": (("y", "x"), fewest)},
        coords,
        {"sensor": sensor_name, "crs": str(grid.crs)},
    )
    return as_reflectance(data)


def _composite(
    scenes: tuple[Scene, ...], sensor: Sensor, grid: GeoBox
) -> tuple[NDArray[np.float32], NDArray[np.uint16]]:
    here, clear = _clear_dates(scenes, sensor, grid)
    shape = (len(sensor.bands), *grid.shape)
    if not here:
        return np.full(shape, np.nan, np.float32), np.zeros(grid.shape, np.uint16)
    values = np.empty(shape, np.float32)
    fewest = np.full(grid.shape, _MOST, np.uint16)
    for band, out in enumerate(values):
        dates = _read_dates([scene.bands[band] for scene in here], grid)
        flat = dates.counts.reshape(len(here), -1)
        median(flat, clear, dates.scaling, out.reshape(-1), fewest.reshape(-1))
    return values, fewest


def _clear_dates(
    scenes: tuple[Scene, ...], sensor: Sensor, grid: GeoBox
) -> tuple[list[Scene], NDArray[np.bool_]]:
    """Return the scenes with anything clear here, and where each is clear (date, pixel)."""
    here, clear = [], []
    for scene in scenes:
        if not touches(scene.bands[0], grid):
            continue
        if scene.mask is None or sensor.mask is None:
            seen = np.ones(grid.shape, np.bool_)
        else:
            seen = _kept(scene.mask, sensor.mask.keep, grid)
        if seen.any():  # a date that is all cloud here is not worth reading
            here.append(scene)
            clear.append(seen.reshape(-1))
    return here, np.array(clear)


@dataclass(frozen=True, eq=False)
class _Dates:
    """One band on every date."""

    counts: NDArray[np.generic]
    """(date, y, x)."""
    scaling: NDArray[np.float32]
    """(date, 3): scale, offset, the count that stands for nothing."""


def _read_dates(sources: list[Source], grid: GeoBox) -> _Dates:
    windows = [window_in_step(source, grid) for source in sources]
    missing = [_nodata(source) for source in sources]
    dtype = _common_dtype(sources, windows, missing)
    counts = np.empty((len(sources), *grid.shape), dtype)
    scaling = np.array([(s.scale, s.offset, np.nan) for s in sources], np.float32)
    for date, (source, window, nodata) in enumerate(zip(sources, windows, missing, strict=True)):
        if window is None:
            read_warped(source, grid, nodata, counts[date], classes=False)
            continue
        scaling[date, 2] = np.nan if nodata is None else nodata
        if not covers(source, window):
            counts[date] = np.nan if dtype.kind == "f" else nodata
        read_window(source, window, counts[date])
    return _Dates(counts, scaling)


def _common_dtype(
    sources: list[Source], windows: list[Window | None], missing: list[float | None]
) -> np.dtype[np.generic]:
    """Return the files' own dtype if it can say "nothing" where it has to, else float32 (NaN)."""
    dtypes = [opened(source).dtype for source in sources]
    for source, window, nodata, dtype in zip(sources, windows, missing, dtypes, strict=True):
        if dtype != dtypes[0] or window is None:
            return np.dtype(np.float32)
        if not (covers(source, window) or _holds(dtype, nodata)):
            return np.dtype(np.float32)
    return dtypes[0]


def _holds(dtype: np.dtype[np.generic], nodata: float | None) -> bool:
    """Return whether a dtype has a value that says "nothing"."""
    if dtype.kind == "f" or nodata is None or not nodata.is_integer():
        return dtype.kind == "f"
    limits = np.iinfo(dtype.str)
    return bool(limits.min <= nodata <= limits.max)


def _kept(mask: Source, keep: tuple[int, ...], grid: GeoBox) -> NDArray[np.bool_]:
    """Return where (y, x) a quality mask has one of the classes of clear ground."""
    window = window_in_step(mask, grid)
    if window is None:
        warped = np.empty(grid.shape, np.float32)
        read_warped(mask, grid, _nodata(mask), warped, classes=True)
        return _is_any(warped, keep)
    classes = np.zeros(grid.shape, opened(mask).dtype)
    read = read_window(mask, window, classes)
    out = np.zeros(grid.shape, np.bool_)
    out[read] = _is_any(classes[read], keep)
    return out


def _is_any(values: NDArray[np.generic], classes: tuple[int, ...]) -> NDArray[np.bool_]:
    """Return where values are one of a few classes (a tenth of the cost of numpy.isin)."""
    out: NDArray[np.bool_] = values == classes[0]
    for number in classes[1:]:
        out |= values == number
    return out


def _nodata(source: Source) -> float | None:
    declared = source.nodata
    return opened(source).dataset.nodata if declared is None else declared
