"""A coarse look at the same ground in several files of an item: what its numbers are like."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rasterio.errors import RasterioError
from rasterio.windows import Window, from_bounds

from pipeline.cube.source import Source, opened, read_pixels
from pipeline.plan import Mask, Sensor

SIDE = 512  # pixels: about four pieces of an overview, and one in 460 of a Sentinel-2 tile


@dataclass(frozen=True)
class Look:
    """A sample of an item."""

    values: Mapping[str, NDArray[Any]]
    """By band, counts (y, x)."""
    masks: tuple[tuple[Mask, NDArray[Any]], ...]
    land: NDArray[np.bool_]
    """(y, x), where no mask drops anything and every band holds a number."""


def sample(sources: Sequence[Source]) -> list[NDArray[Any]] | None:
    """Return the ground that all sources share, (y, x) each, at most 512 pixels a side.

    Pixels are picked, never averaged, so they are counts and classes of the file or of one of its
    overviews. None if the files have no ground in common or not the same CRS.

    Raises
    ------
    ReadError : a file cannot be opened or read.
    """
    files = [opened(source) for source in sources]
    boxes = np.array([file.dataset.bounds for file in files])
    left, bottom = boxes[:, :2].max(axis=0)
    right, top = boxes[:, 2:].min(axis=0)
    crs = {str(file.grid.crs) for file in files}
    if len(crs) > 1 or left >= right or bottom >= top:
        return None
    try:
        windows = [from_bounds(left, bottom, right, top, f.dataset.transform) for f in files]
    except (RasterioError, ValueError):  # a file that is turned, or stands on its head
        return None
    windows = [_whole(window, file.shape) for window, file in zip(windows, files, strict=True)]
    rows = min(SIDE, *(window.height for window in windows))
    columns = min(SIDE, *(window.width for window in windows))
    out = [np.empty((rows, columns), file.dtype) for file in files]
    for source, window, values in zip(sources, windows, out, strict=True):
        read_pixels(source, window, values)
    return out


def known(values: NDArray[Any], source: Source) -> NDArray[np.bool_]:
    """Return where (y, x) a sample holds a number."""
    nodata = opened(source).dataset.nodata if source.nodata is None else source.nodata
    there: NDArray[np.bool_] = np.isfinite(values)
    if nodata is not None:
        there &= values != nodata
    return there


def flagged(values: NDArray[Any], mask: Mask, flags: Sequence[str]) -> NDArray[np.bool_]:
    """Return where (y, x) a quality mask carries any of some flags; those it lacks say nothing."""
    numbers = [n for flag in flags for n in mask.flags.get(flag, ())]
    if mask.encoding == "classes":
        named: NDArray[np.bool_] = np.isin(values, numbers)
        return named
    bits = np.uint32(sum(1 << n for n in set(numbers)))
    raised: NDArray[np.bool_] = (values.astype(np.uint32) & bits) != 0
    return raised


def clear(values: NDArray[Any], mask: Mask) -> NDArray[np.bool_]:
    """Return where (y, x) a quality mask drops nothing; a class that no flag names is dropped."""
    kept = [flag for flag in mask.flags if flag not in mask.drop]
    if mask.encoding == "classes":
        return flagged(values, mask, kept)
    return ~flagged(values, mask, mask.drop)


def look(
    names: Sequence[str],
    bands: Sequence[Source],
    masks: Sequence[Source | None],
    sensor: Sensor,
) -> Look | None:
    """Sample the named bands and the masks; None if they have no ground in common.

    Parameters
    ----------
    bands, masks : all of them, in the sensor's order.

    Raises
    ------
    ReadError : a file cannot be opened or read.
    """
    by_name = dict(zip(sensor.bands, bands, strict=True))
    sources = [by_name[name] for name in names]
    there = [(m, s) for m, s in zip(sensor.masks, masks, strict=True) if s is not None]
    found = sample([*sources, *(source for _, source in there)])
    if found is None:
        return None
    values = dict(zip(names, found, strict=False))
    quality = tuple((m, v) for (m, _), v in zip(there, found[len(names) :], strict=True))
    land = np.logical_and.reduce(
        [known(v, s) for v, s in zip(found, sources, strict=False)]
        + [clear(v, mask) for mask, v in quality]
    )
    return Look(values, quality, land)


def _whole(window: Window, shape: tuple[int, int]) -> Window:
    """Return a window of whole pixels, at least one, inside the file."""
    top = min(max(round(window.row_off), 0), shape[0] - 1)
    left = min(max(round(window.col_off), 0), shape[1] - 1)
    height = min(max(round(window.height), 1), shape[0] - top)
    width = min(max(round(window.width), 1), shape[1] - left)
    return Window(left, top, width, height)
