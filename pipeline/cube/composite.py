"""The composite of one block: every date read, masked, scaled, and one picture made of them."""

from dataclasses import dataclass

import numpy as np
import rasterio
import xarray as xr
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from odc.geo.xr import xr_coords

from pipeline.contracts import Reflectance, as_reflectance
from pipeline.cube.dates import Dates, Gaps, make_spectra, read_dates, reflectance, tolerated
from pipeline.cube.geomedian import geomedian
from pipeline.cube.masks import Clear, clear_dates, rule_of
from pipeline.cube.median import median
from pipeline.cube.percentile import percentile
from pipeline.cube.pick import bareness, check_bare, medoid
from pipeline.cube.relief import correct, incidence
from pipeline.cube.scenes import Imagery, Scene
from pipeline.grid import BLOCK, blocks, crop
from pipeline.plan import Composite, Sensor
from pipeline.remote import GDAL_SETTINGS

_MOST = np.iinfo(np.uint16).max  # dates that a clear count can hold
_BY_BAND = ("median", "percentile")
_STACK = 2**28  # bytes of spectra of all dates that are held at a time
_LEAST_SIDE = 64  # pixels
_AS_IT_IS = (1.0, 0.0, np.nan)  # scale, offset and no count for nothing: reflectance already


@dataclass(frozen=True, eq=False)
class _Picture:
    """What is made of a block."""

    values: NDArray[np.float32]
    """(band, y, x)."""
    fewest: NDArray[np.uint16]
    """(y, x)."""
    shares: NDArray[np.float32]
    """(flag, y, x)."""


def read_reflectance(imagery: Imagery, grid: GeoBox) -> Reflectance:
    """Read a block and return its composite, as `imagery.composite` asks for it.

    A file whose pixels are the grid's own is read as it is; any other is resampled: bilinear, or
    the mean where its pixels are the smaller, and the quality masks always by nearest neighbour.
    Negative reflectance is kept. The grid may reach past the files: there is nothing there. The
    methods, with their sources: docs/composites.md.

    Parameters
    ----------
    imagery : of one sensor; scenes that do not touch the grid are not read.
    grid : of the block, with its halo.

    Returns
    -------
    Reflectance (band, y, x), float32, unitless, NaN where no date is clear; `clear_count` is the
    number of dates behind a pixel: behind its band that has the fewest, or, in a method that looks
    at whole spectra, dates that have them all. `flag_share` (flag, y, x) is there if flags are
    published. The attribute `unreadable` holds item and reason of each scene that was left out.

    Raises
    ------
    ReadError : an asset is missing, cut short or damaged, and the imagery is not tolerant; it names
        the item and the asset.
    PlanError : the composite asks for a flag or a band that the sensor has not.
    """
    with rasterio.Env(**GDAL_SETTINGS):
        found, gaps = tolerated(imagery, lambda scenes: _picture(imagery, scenes, grid))
    return _as_reflectance(found, gaps, imagery, grid)


def check_composite(sensor: Sensor, composite: Composite) -> None:
    """Raise PlanError if a composite asks for a flag or a band that the sensor has not."""
    rule_of(sensor, composite.masks)
    if composite.method == "bare-earth":
        check_bare(sensor)


def clear_of(imagery: Imagery, scenes: tuple[Scene, ...], grid: GeoBox) -> Clear:
    """Return which scenes are clear where; raise as `pipeline.cube.masks.clear_dates` does."""
    return clear_dates(scenes, rule_of(imagery.sensor, imagery.composite.masks), grid)


def _as_reflectance(found: _Picture, gaps: Gaps, imagery: Imagery, grid: GeoBox) -> Reflectance:
    bands = imagery.sensor.bands
    coords = {
        **xr_coords(grid),
        "band": list(bands),
        "wavelength": ("band", np.array([band.wavelength for band in bands.values()], float)),
        "fwhm": ("band", np.array([band.fwhm for band in bands.values()], float)),
    }
    data = xr.Dataset(
        {
            "reflectance": (("band", "y", "x"), found.values),
            "clear_count": (("y", "x"), found.fewest),
        },
        coords,
        {"sensor": imagery.name, "crs": str(grid.crs), "unreadable": gaps},
    )
    if published := imagery.composite.masks.publish:
        data = data.assign_coords(flag=list(published))
        data["flag_share"] = (("flag", "y", "x"), found.shares)
    return as_reflectance(data)


def _picture(imagery: Imagery, scenes: tuple[Scene, ...], grid: GeoBox) -> _Picture:
    """Make a block, in parts where the spectra of all its dates would not fit in memory."""
    cut = list(blocks(grid.shape.yx, _side(imagery, len(scenes), grid)))
    parts = [_part(imagery, scenes, crop(grid, block)) for block in cut]
    if len(parts) == 1:
        return parts[0]
    first = parts[0]
    whole = _Picture(
        np.empty((len(first.values), *grid.shape), np.float32),
        np.empty(grid.shape, np.uint16),
        np.empty((len(first.shares), *grid.shape), np.float32),
    )
    for block, part in zip(cut, parts, strict=True):
        whole.values[:, *block.slices] = part.values
        whole.fewest[block.slices] = part.fewest
        whole.shares[:, *block.slices] = part.shares
    return whole


def _side(imagery: Imagery, dates: int, grid: GeoBox) -> int:
    """Return the side of the parts a block is made in, pixels."""
    if imagery.composite.method in _BY_BAND:
        return max(grid.shape)
    pixel = max(dates, 1) * len(imagery.sensor.bands) * np.dtype(np.float32).itemsize
    return max(min(BLOCK, int((_STACK / pixel) ** 0.5)), _LEAST_SIDE)


def _part(imagery: Imagery, scenes: tuple[Scene, ...], grid: GeoBox) -> _Picture:
    seen = clear_of(imagery, scenes, grid)
    shape = (len(imagery.sensor.bands), *grid.shape)
    if not seen.scenes:
        nothing = np.full(shape, np.nan, np.float32)
        return _Picture(nothing, np.zeros(grid.shape, np.uint16), seen.shares)
    values = np.empty(shape, np.float32)
    fewest = np.full(grid.shape, _MOST, np.uint16)
    flat, counted = values.reshape(len(values), -1), fewest.reshape(-1)
    light = _light(imagery, seen, grid)
    if imagery.composite.method in _BY_BAND:
        _by_band(imagery, seen, grid, light, flat, counted)
    else:
        _by_spectrum(imagery, seen, grid, light, flat, counted)
    return _Picture(values, fewest, seen.shares)


Light = NDArray[np.float32] | None  # the cosine of incidence (date, pixel), if it is corrected for


def _light(imagery: Imagery, seen: Clear, grid: GeoBox) -> Light:
    if imagery.relief is None:
        return None
    cosine = incidence(imagery.relief, [scene.item for scene in seen.scenes], grid)
    return cosine.reshape(len(seen.scenes), -1)


def _by_band(
    imagery: Imagery,
    seen: Clear,
    grid: GeoBox,
    light: Light,
    out: NDArray[np.float32],
    fewest: NDArray[np.uint16],
) -> None:
    """Write the median or a percentile of each band (band, pixel), from counts if it can be."""
    dates, composite = len(seen.scenes), imagery.composite
    for band, row in enumerate(out):
        read = read_dates(seen.scenes, band, grid)
        counts, scaling = read.counts.reshape(dates, -1), read.scaling
        if light is not None:
            corrected = np.empty(counts.shape, np.float32)
            _lit(imagery, seen, read, light, band, corrected)
            counts, scaling = corrected, np.array([_AS_IT_IS] * dates, np.float32)
        if composite.method == "median":
            median(counts, seen.clear, scaling, row, fewest)
        else:
            percentile(counts, seen.clear, scaling, composite.percentile, row, fewest)


def _by_spectrum(
    imagery: Imagery,
    seen: Clear,
    grid: GeoBox,
    light: Light,
    out: NDArray[np.float32],
    fewest: NDArray[np.uint16],
) -> None:
    """Write one spectrum a pixel (band, pixel), from the dates that have every band there."""
    spectra = make_spectra(len(seen.scenes), *out.shape)
    for band in range(len(out)):
        read = read_dates(seen.scenes, band, grid)
        row = np.empty(seen.clear.shape, np.float32)
        _lit(imagery, seen, read, light, band, row)
        spectra[:, band] = row
    whole = seen.clear.copy()
    for band in range(len(out)):
        whole &= np.isfinite(spectra[:, band])
    fewest[:] = whole.sum(axis=0)
    method = imagery.composite.method
    if method == "best-pixel":
        medoid(spectra, whole, out)
    elif method == "bare-earth":
        geomedian(spectra, bareness(spectra, imagery.sensor), out)
    else:
        geomedian(spectra, whole.astype(np.float32), out)


def _lit(
    imagery: Imagery,
    seen: Clear,
    read: Dates,
    light: Light,
    band: int,
    out: NDArray[np.float32],
) -> None:
    """Write the reflectance of one band (date, pixel), corrected for the slope if asked for."""
    reflectance(read, seen.clear, out)
    if light is not None and imagery.relief is not None:
        correct(out, light, imagery.relief, [scene.item for scene in seen.scenes], band)
