"""One raster of one item, and its pixels on a grid.

Files stay open in the thread that opened them: GDAL's handles must not be shared between threads,
and a run visits the same files block after block.
"""

import os
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import Context, copy_context
from dataclasses import dataclass, replace
from threading import local
from typing import Any

import numpy as np
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.enums import Resampling
from rasterio.errors import RasterioError
from rasterio.io import DatasetReader
from rasterio.windows import Window

from pipeline.cube.emit import Cube, is_cube, open_cube
from pipeline.cube.resample import common_ground, positions, ratio, resample
from pipeline.errors import ReadError
from pipeline.grid import blocks, crop
from pipeline.remote import LOCAL, Access, forget, is_address, open_raster, shown, version

_OPEN_FILES = 128  # a thread: stays below the usual limit of 1024 a process with eight threads
_AT_ONCE = 4096 * 4096  # pixels of a file: where its own are far finer, a block is read in parts
_IN_STEP = 1e-3  # pixels: a file this near to the grid's own pixels is read without resampling


@dataclass(frozen=True)
class Source:
    """One raster of one item: where it is, and what its counts mean."""

    label: str
    """Item and asset, for messages."""
    href: str
    """A path or an address, absolute."""
    scale: float = 1.0
    offset: float = 0.0
    nodata: float | None = None
    """The count that stands for nothing; None: whatever the file says."""
    number: int = 1
    """The band of the file, from 1."""
    access: Access = LOCAL


@dataclass(frozen=True, eq=False)
class Opened:
    """An open file, closed when it is let go of."""

    dataset: DatasetReader | Cube
    grid: GeoBox
    shape: tuple[int, int]
    dtype: np.dtype[Any]
    context: Context
    """Where it was opened: the reader behind it is known there, and must be where it is closed."""

    def __del__(self) -> None:
        self.context.run(self.dataset.close)


@dataclass(frozen=True, eq=False)
class Placed:
    """A source, opened and laid against a grid."""

    source: Source
    file: Opened
    grid: GeoBox
    corner: tuple[int, int] | None
    """The pixel (row, column) of the file at the grid's corner, if their pixels coincide."""
    nodata: float | None
    covers: bool
    """Whether the whole grid can be read from the file as it is."""


def opened(source: Source) -> Opened:
    """Return the open file of a source; this thread opens it once.

    Raises
    ------
    ReadError : it cannot be opened, has no CRS, or lacks the band.
    """
    with told(source):
        file = _THREAD.open(source.href, source.access)
        if source.number > file.dataset.count:
            raise ReadError(
                f"has {file.dataset.count} bands, and number {source.number} is wanted",
                where=shown(source.href),
                remedy="mend the band's number in the sensor's YAML, or leave its item out",
            )
        return file


def place(source: Source, grid: GeoBox) -> Placed:
    """Lay a source against a grid; raise ReadError as `opened` does."""
    file = opened(source)
    nodata = file.dataset.nodata if source.nodata is None else source.nodata
    corner = _corner(file.grid, grid)
    covers = corner is not None and _inside(corner, (grid.height, grid.width), file.shape)
    return Placed(source, file, grid, corner, nodata, covers)


def touches(source: Source, grid: GeoBox) -> bool:
    """Return whether a file and a grid have ground in common (or may have, at their edges)."""
    return common_ground(opened(source).grid, grid)


def read_into(placed: Placed, out: NDArray[Any], *, classes: bool = False) -> None:
    """Read a source onto its grid; where the file has no pixel, `out` (y, x) is left as it was.

    Raises
    ------
    ReadError : the file is cut short or damaged.
    """
    if placed.corner is not None:
        _read_window(placed, placed.corner, out)
        return
    theirs = placed.file.grid
    at = positions(theirs, placed.grid)
    if at.height * at.width > _AT_ONCE and max(out.shape) > 1:
        for part in blocks(placed.grid.shape.yx, (max(out.shape) + 1) // 2):
            here = replace(placed, grid=crop(placed.grid, part))
            read_into(here, out[part.slices], classes=classes)
    elif at.height and at.width:
        values = np.empty((at.height, at.width), placed.file.dtype)
        _read_window(placed, (at.row, at.column), values)
        out[:] = resample(values, placed.nodata, at, ratio(theirs, placed.grid), classes=classes)


def _corner(theirs: GeoBox, grid: GeoBox) -> tuple[int, int] | None:
    a, b, c, d, e, f = theirs.affine[:6]
    step_x, turn_x, left, turn_y, step_y, top = grid.affine[:6]
    if b or d or turn_x or turn_y or theirs.crs != grid.crs:
        return None
    rows, columns = grid.shape
    row, column = (top - f) / e, (left - c) / a
    stretch = (abs(step_y / e - 1) * rows, abs(step_x / a - 1) * columns)
    if max(abs(row - round(row)), abs(column - round(column)), *stretch) > _IN_STEP:
        return None
    return round(row), round(column)


def _inside(corner: tuple[int, int], size: tuple[int, int], limit: tuple[int, int]) -> bool:
    ends = corner[0] + size[0], corner[1] + size[1]
    return min(corner) >= 0 and ends[0] <= limit[0] and ends[1] <= limit[1]


def _read_window(placed: Placed, corner: tuple[int, int], out: NDArray[Any]) -> None:
    """Read the part of a window that lies inside the file."""
    inside = [
        slice(min(max(-start, 0), size), max(min(limit - start, size), 0))
        for start, size, limit in zip(corner, out.shape, placed.file.shape, strict=True)
    ]
    rows, columns = inside
    height, width = rows.stop - rows.start, columns.stop - columns.start
    if height <= 0 or width <= 0:
        return
    window = Window(corner[1] + columns.start, corner[0] + rows.start, width, height)
    read_pixels(placed.source, window, out[rows, columns])


def read_pixels(source: Source, window: Window, out: NDArray[Any]) -> None:
    """Read a window of a source into `out` (y, x), the nearest pixels where that is smaller.

    What a server sends may be damaged on the way: it is then asked for once more, past what this
    process keeps of it.

    Raises
    ------
    ReadError : the file is cut short or damaged, each time it is read.
    """
    tries = source.access.tries if is_address(source.href) else 1
    for left in reversed(range(tries)):
        try:
            file = opened(source)
            with told(source):
                file.dataset.read(
                    source.number, window=window, out=out, resampling=Resampling.nearest
                )
            return
        except ReadError as error:
            with told(source):
                forget(source.href)  # raises what kept the bytes, if none came
            _THREAD.drop(source.href)
            if not left or not _undecoded(error):
                raise


def _undecoded(error: ReadError) -> bool:
    """Return whether a library could make nothing of the bytes, rather than we of the file."""
    cause = error.__cause__
    if isinstance(cause, ReadError):
        cause = cause.__cause__
    return isinstance(cause, RasterioError | OSError | RuntimeError)


def _open(href: str, access: Access) -> Opened:
    dataset = open_cube(href, access) if is_cube(href) else open_raster(href, access)
    if dataset.crs is None:
        dataset.close()
        raise ReadError(
            "has no coordinate system", where=shown(href), remedy="a georeferenced raster is needed"
        )
    # By its code where it has one: the long text of a CRS is slow to compare, and no name for maps.
    code = dataset.crs.to_epsg()
    crs = f"EPSG:{code}" if code else dataset.crs.to_wkt()
    grid = GeoBox(dataset.shape, dataset.transform, crs)
    return Opened(dataset, grid, dataset.shape, np.dtype(dataset.dtypes[0]), copy_context())


class _Thread(local):
    """The files that one thread holds open, the least used of them given up first."""

    def __init__(self) -> None:
        self._files: OrderedDict[str, tuple[object, Opened]] = OrderedDict()

    def open(self, href: str, access: Access) -> Opened:
        now = access, _version(href, access)
        known, file = self._files.pop(href, (None, None))
        if file is None or known != now:
            file = _open(href, access)
            now = access, _version(href, access)  # of an address, it is learned by opening it
        self._files[href] = now, file
        while len(self._files) > _OPEN_FILES:
            self._files.popitem(last=False)
        return file

    def drop(self, href: str) -> None:
        self._files.pop(href, None)


_THREAD = _Thread()


def _version(href: str, access: Access) -> object:
    """Return what changes when a file is written anew: no thread may keep the old one."""
    if is_address(href):
        return version(href, access)
    try:
        found = os.stat(href)  # noqa: PTH116 (this runs for every file of every block)
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


@contextmanager
def told(source: Source) -> Iterator[None]:
    """Say which item and asset could not be read."""
    try:
        yield
    except ReadError as error:
        where = f"{source.label} ({error.where})"
        raise ReadError(error.what, where=where, remedy=error.remedy) from error
    except RasterioError as error:
        raise ReadError(
            "is cut short or damaged",
            where=f"{source.label} ({shown(source.href)})",
            remedy="fetch the asset again, or leave its item out",
        ) from error
