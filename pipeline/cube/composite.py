"""The composite of one block: every date read, masked, scaled, and the median taken."""

from dataclasses import dataclass

import numpy as np
import rasterio
import xarray as xr
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from odc.geo.xr import xr_coords

from pipeline.contracts import Reflectance, as_reflectance
from pipeline.cube.median import median
from pipeline.cube.scenes import Imagery, Scene
from pipeline.cube.source import Placed, Source, place, read_into, touches
from pipeline.plan import Mask, Sensor
from pipeline.remote import GDAL_SETTINGS

_MOST = np.iinfo(np.uint16).max  # dates that a clear count can hold


def read_reflectance(imagery: Imagery, grid: GeoBox) -> Reflectance:
    """Read a block and return its composite: the median of the clear dates, band by band.

    A file whose pixels are the grid's own is read as it is; any other is resampled: bilinear, or
    the mean where its pixels are the smaller, and the quality mask always by nearest neighbour.
    Negative reflectance is kept. The grid may reach past the files: there is nothing there.

    Parameters
    ----------
    imagery : of one sensor; scenes that do not touch the grid are not read.
    grid : of the block, with its halo.

    Returns
    -------
    Reflectance (band, y, x), float32, unitless, NaN where no date is clear; `clear_count` is the
    number of dates behind the median of the band that has the fewest.

    Raises
    ------
    ReadError : an asset is missing, cut short or damaged; it names the item and the asset.
    """
    sensor = imagery.sensor
    with rasterio.Env(**GDAL_SETTINGS):
        values, fewest = _composite(imagery.scenes, sensor, grid)
    names = list(sensor.bands)
    coords = {
        **xr_coords(grid),
        "band": names,
        "wavelength": ("band", np.array([sensor.bands[n].wavelength for n in names], float)),
        "fwhm": ("band", np.array([sensor.bands[n].fwhm for n in names], float)),
    }
    data = xr.Dataset(
        {"reflectance": (("band", "y", "x"), values), "clear_count": (("y", "x"), fewest)},
        coords,
        {"sensor": imagery.name, "crs": str(grid.crs)},
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
        seen = np.ones(grid.shape, np.bool_)
        for source, mask in zip(scene.masks, sensor.masks, strict=True):
            if source is not None:
                seen &= _kept(source, _clear_classes(mask), grid)
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
    placed = [place(source, grid) for source in sources]
    dtype = _common_dtype(placed)
    counts = np.empty((len(sources), *grid.shape), dtype)
    scaling = np.array([(s.scale, s.offset, np.nan) for s in sources], np.float32)
    for date, here in enumerate(placed):
        if here.corner is not None and here.nodata is not None:
            scaling[date, 2] = here.nodata
        if not here.covers:
            counts[date] = np.nan if dtype.kind == "f" else here.nodata
        read_into(here, counts[date])
    return _Dates(counts, scaling)


def _common_dtype(placed: list[Placed]) -> np.dtype[np.generic]:
    """Return the files' own dtype if it can say "nothing" where it has to, else float32 (NaN)."""
    first = placed[0].file.dtype
    for here in placed:
        as_it_is = here.file.dtype == first and here.corner is not None
        if not as_it_is or not (here.covers or _holds(first, here.nodata)):
            return np.dtype(np.float32)
    return first


def _holds(dtype: np.dtype[np.generic], nodata: float | None) -> bool:
    """Return whether a dtype has a value that says "nothing"."""
    if dtype.kind == "f" or nodata is None or not nodata.is_integer():
        return dtype.kind == "f"
    limits = np.iinfo(dtype.str)
    return bool(limits.min <= nodata <= limits.max)


def _clear_classes(mask: Mask) -> tuple[int, ...]:
    return tuple(c for name, cs in mask.flags.items() if name not in mask.drop for c in cs)


def _kept(mask: Source, keep: tuple[int, ...], grid: GeoBox) -> NDArray[np.bool_]:
    """Return where (y, x) a quality mask has one of the classes of clear ground."""
    placed = place(mask, grid)
    if placed.covers:
        classes = np.empty(grid.shape, placed.file.dtype)
    else:
        classes = np.full(grid.shape, np.nan, np.float32)
    read_into(placed, classes, classes=True)
    out: NDArray[np.bool_] = classes == keep[0]  # a tenth of the cost of numpy.isin
    for number in keep[1:]:
        out |= classes == number
    return out
