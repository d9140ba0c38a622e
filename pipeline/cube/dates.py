"""Every date of one band of a block, and which scene is to blame where one cannot be read."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import numba
import numpy as np
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from pipeline.cube.scenes import Imagery, Scene
from pipeline.cube.source import Placed, place, read_into
from pipeline.errors import ReadError

_Found = TypeVar("_Found")

_LINE = 16  # float32 in a line of the cache

Gaps = tuple[tuple[str, str], ...]
"""Item and reason of each scene that could not be read."""


class UnreadableError(Exception):
    """A scene cannot be read in a block; it never leaves the room."""

    def __init__(self, scene: Scene, error: ReadError) -> None:
        super().__init__(scene, error)
        self.scene, self.error = scene, error


@dataclass(frozen=True, eq=False)
class Dates:
    """One band on every date."""

    counts: NDArray[np.generic]
    """(date, y, x)."""
    scaling: NDArray[np.float32]
    """(date, 3): scale, offset, the count that stands for nothing (NaN: there is none)."""


@contextmanager
def reading(scene: Scene) -> Iterator[None]:
    """Say which scene a ReadError comes from."""
    try:
        yield
    except ReadError as error:
        raise UnreadableError(scene, error) from error


def tolerated(imagery: Imagery, work: Callable[[tuple[Scene, ...]], _Found]) -> tuple[_Found, Gaps]:
    """Do work on an imagery's scenes, without those that cannot be read if it is tolerant.

    A scene that fails is left out whole and the work is done anew, so that the result is the one
    without that scene.

    Raises
    ------
    ReadError : a scene cannot be read and the imagery is not tolerant.
    """
    scenes = imagery.scenes
    gaps: list[tuple[str, str]] = []
    while True:
        try:
            return work(scenes), tuple(gaps)
        except UnreadableError as failed:
            if not imagery.tolerant:
                raise failed.error from failed.error.__cause__
            gaps.append((failed.scene.item, f"{failed.error.where}: {failed.error.what}"))
            scenes = tuple(scene for scene in scenes if scene is not failed.scene)


def read_dates(scenes: Sequence[Scene], band: int, grid: GeoBox) -> Dates:
    """Read one band of every scene.

    Parameters
    ----------
    band : its place in the sensor's order.

    Raises
    ------
    UnreadableError : an asset is missing, cut short or damaged.
    """
    placed = [_placed(scene, band, grid) for scene in scenes]
    dtype = _common_dtype(placed)
    counts = np.empty((len(placed), *grid.shape), dtype)
    scaling = np.array([(p.source.scale, p.source.offset, np.nan) for p in placed], np.float32)
    for date, (scene, here) in enumerate(zip(scenes, placed, strict=True)):
        if here.corner is not None and here.nodata is not None:
            scaling[date, 2] = here.nodata
        if not here.covers:
            counts[date] = np.nan if dtype.kind == "f" else here.nodata
        with reading(scene):
            read_into(here, counts[date])
    return Dates(counts, scaling)


def make_spectra(dates: int, bands: int, pixels: int) -> NDArray[np.float32]:
    """Return room for spectra (date, band, pixel), laid out for loops that take them whole.

    Rows lie an odd number of cache lines apart. Were it a power of two, as with blocks of 512
    pixels, a pixel's values would all compete for the same few lines, at thrice the time.
    """
    lines = -(-pixels // _LINE) | 1
    return np.empty((dates, bands, lines * _LINE), np.float32)[..., :pixels]


def reflectance(dates: Dates, clear: NDArray[np.bool_], out: NDArray[np.float32]) -> None:
    """Write what counts mean (date, pixel), float32, NaN where masked or missing.

    Parameters
    ----------
    clear : (date, pixel), what the quality masks let through.
    """
    _scale(dates.counts.reshape(len(clear), -1), clear, dates.scaling, out)


@numba.njit(cache=True, nogil=True, fastmath=False, error_model="numpy")
def _scale(counts, clear, scaling, out):  # type: ignore[no-untyped-def]
    for date in range(len(counts)):
        scale, offset, nothing = scaling[date, 0], scaling[date, 1], scaling[date, 2]
        here, there, row = counts[date], clear[date], out[date]
        for p in range(len(here)):
            count = np.float32(here[p])
            value = count * scale + offset
            seen = there[p] & (count != nothing) & (abs(value) < np.float32(np.inf))
            row[p] = value if seen else np.float32(np.nan)


def _placed(scene: Scene, band: int, grid: GeoBox) -> Placed:
    with reading(scene):
        return place(scene.bands[band], grid)


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
