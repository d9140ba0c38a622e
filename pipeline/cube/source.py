"""One raster of one item, and its pixels on a grid.

Files stay open in the thread that opened them: GDAL's handles must not be shared between threads,
and a run visits the same files block after block.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from threading import local
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.enums import Resampling
from rasterio.errors import RasterioError
from rasterio.io import DatasetReader
from rasterio.warp import reproject, transform_bounds
from rasterio.windows import Window

from pipeline.errors import ReadError
from pipeline.remote import is_address, open_raster

_OPEN_FILES = 128  # a thread: stays below the usual limit of 1024 a process with eight threads
_IN_STEP = 1e-3  # pixels: a file this near to the grid's own pixels is read without resampling
_WARP_ERROR = 0.01  # pixels: how far GDAL may interpolate coordinates between exact ones


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


@dataclass(frozen=True, eq=False)
class Opened:
    """An open file with its grid."""

    dataset: DatasetReader
    grid: GeoBox

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of the counts in the file."""
        dtype: np.dtype[Any] = np.dtype(self.dataset.dtypes[0])
        return dtype


def opened(source: Source) -> Opened:
    """Return the open file of a source; this thread opens it once.

    Raises
    ------
    ReadError : it cannot be opened, has no CRS, or holds several bands.
    """
    with _told(source):
        return _THREAD.open(source.href, _version(source.href))


def touches(source: Source, grid: GeoBox) -> bool:
    """Return whether a file and a grid have ground in common (or may have, by their bounds)."""
    here = opened(source).dataset
    box = grid.extent.boundingbox
    left, bottom, right, top = box.left, box.bottom, box.right, box.top
    if opened(source).grid.crs != grid.crs:
        left, bottom, right, top = transform_bounds(str(grid.crs), here.crs, *box)
    theirs = here.bounds
    beside = left >= theirs.right or theirs.left >= right
    return not (beside or bottom >= theirs.top or theirs.bottom >= top)


def window_in_step(source: Source, grid: GeoBox) -> Window | None:
    """Return the window of a file that a grid covers, if their pixels coincide; else None.

    The window may reach past the file's edges.
    """
    theirs = opened(source).grid
    if theirs.crs != grid.crs:
        return None
    rows, columns = grid.shape
    column, row = theirs.wld2pix(*grid.pix2wld(0, 0))
    right, bottom = theirs.wld2pix(*grid.pix2wld(columns, rows))
    drift = (
        column - round(column),
        row - round(row),
        right - column - columns,
        bottom - row - rows,
    )
    if max(map(abs, drift)) > _IN_STEP:
        return None
    return Window(round(column), round(row), columns, rows)


def covers(source: Source, window: Window) -> bool:
    """Return whether a window lies wholly inside a file."""
    here = opened(source).dataset
    rows = _overlap(window.row_off, window.height, here.height)
    columns = _overlap(window.col_off, window.width, here.width)
    return rows == slice(0, window.height) and columns == slice(0, window.width)


def read_window(source: Source, window: Window, out: NDArray[Any]) -> tuple[slice, slice]:
    """Read a window into `out` (y, x) and return the part of it that was read.

    What lies past the edges of the file is left as it was.

    Raises
    ------
    ReadError : the file is cut short or damaged.
    """
    here = opened(source).dataset
    rows = _overlap(window.row_off, window.height, here.height)
    columns = _overlap(window.col_off, window.width, here.width)
    if rows.start < rows.stop and columns.start < columns.stop:
        inside = Window(
            window.col_off + columns.start,
            window.row_off + rows.start,
            columns.stop - columns.start,
            rows.stop - rows.start,
        )
        with _told(source):
            here.read(1, window=inside, out=out[rows, columns])
    return rows, columns


def read_warped(
    source: Source, grid: GeoBox, nodata: float | None, out: NDArray[np.float32], *, classes: bool
) -> None:
    """Read a file of another grid into `out` (y, x), float32, NaN where it has nothing.

    Classes come from the nearest pixel; numbers are interpolated between the four nearest, or
    averaged where the file's pixels are much the smaller.

    Raises
    ------
    ReadError : the file is cut short or damaged.
    """
    here = opened(source)
    resampling = Resampling.nearest if classes else _resampling(here.grid, grid)
    with _told(source):
        reproject(
            rasterio.band(here.dataset, 1),
            out,
            src_nodata=nodata,
            dst_transform=grid.affine,
            dst_crs=str(grid.crs),
            dst_nodata=np.nan,
            init_dest_nodata=True,
            resampling=resampling,
            num_threads=1,
            tolerance=_WARP_ERROR,
            # GDAL widens the kernel of a turned grid, which moves values by 0.07 of a pixel.
            XSCALE=1,
            YSCALE=1,
        )


def _resampling(theirs: GeoBox, grid: GeoBox) -> Resampling:
    if theirs.crs == grid.crs:
        coarser = abs(grid.resolution.x) / abs(theirs.resolution.x)
    else:  # both in pixels of the file, along the grid's first row
        coarser = _pixels_per_pixel(theirs, grid)
    return Resampling.average if coarser > 1.5 else Resampling.bilinear


def _pixels_per_pixel(theirs: GeoBox, grid: GeoBox) -> float:
    left, bottom, right, top = transform_bounds(
        str(grid.crs), str(theirs.crs), *grid.extent.boundingbox
    )
    area = (right - left) * (top - bottom) / abs(theirs.resolution.x * theirs.resolution.y)
    return float(np.sqrt(area / (grid.shape[0] * grid.shape[1])))


def _overlap(start: int, size: int, limit: int) -> slice:
    """Return which of `size` places from `start` lie in 0..limit."""
    return slice(min(max(-start, 0), size), max(min(limit - start, size), 0))


def _open(href: str, _version: object) -> Opened:
    dataset = open_raster(href)
    if dataset.crs is None or dataset.count != 1:
        dataset.close()
        what = f"holds {dataset.count} bands" if dataset.crs else "has no coordinate system"
        raise ReadError(what, where=href, remedy="a georeferenced raster of one band is needed")
    # By its code where it has one: the long text of a CRS is slow to compare, and no name for maps.
    code = dataset.crs.to_epsg()
    crs = f"EPSG:{code}" if code else dataset.crs.to_wkt()
    return Opened(dataset, GeoBox(dataset.shape, dataset.transform, crs))


class _Thread(local):
    """The files that one thread holds open."""

    def __init__(self) -> None:
        self.open: Callable[[str, object], Opened] = lru_cache(_OPEN_FILES)(_open)


_THREAD = _Thread()


def _version(href: str) -> object:
    """Return what changes when a local file is written anew: no thread may keep the old one."""
    if is_address(href):
        return None
    try:
        found = Path(href).stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


@contextmanager
def _told(source: Source) -> Iterator[None]:
    """Say which item and asset could not be read."""
    try:
        yield
    except ReadError as error:
        raise ReadError(
            error.what, where=f"{source.label} ({error.where})", remedy=error.remedy
        ) from error
    except RasterioError as error:
        raise ReadError(
            "is cut short or damaged",
            where=f"{source.label} ({source.href.split('?', 1)[0]})",
            remedy="fetch the asset again, or leave its item out",
        ) from error
