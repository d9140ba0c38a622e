"""Rasters by path or address, opened with a driver that we choose and within sizes that we set."""

import atexit
import os
from contextvars import Context, copy_context
from itertools import count
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary, WeakValueDictionary

import numpy as np
import rasterio
from rasterio.abc import FileContainer
from rasterio.errors import RasterioError
from rasterio.io import DatasetReader

from pipeline.errors import ReadError
from pipeline.remote.address import Access, check, is_address, shown
from pipeline.remote.parts import Parts, Reader, hidden_error, missing

_SIDE = 100_000  # pixels: more on one side is refused
_BANDS = 2_000
_BLOCK = 1 << 28  # bytes of one block of pixels: GDAL holds it whole
# The driver is pinned by how a file begins: what is not on this list (a VRT) is none, whatever its
# name, and some addresses end in no name at all.
_DRIVERS = {
    b"II*\0": "GTiff",
    b"MM\0*": "GTiff",
    b"II+\0": "GTiff",  # BigTIFF
    b"MM\0+": "GTiff",
    b"\0\0\0\x0cjP  \r\n\x87\n": "JP2OpenJPEG",  # the signature box, ISO/IEC 15444-1, I.5.1
    b"\xff\x4f\xff\x51": "JP2OpenJPEG",  # a bare codestream: the markers SOC and SIZ, A.4 and A.5
}
_SIGNATURE = max(map(len, _DRIVERS))  # bytes

GDAL_SETTINGS: dict[str, str | int] = {
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
    "GDAL_VRT_ENABLE_PYTHON": "NO",
    "GDAL_NUM_THREADS": 1,
    "GDAL_CACHEMAX": 128 * 2**20,  # bytes; most blocks are read once, so more only holds memory
    "CPL_VSIL_CURL_ALLOWED_EXTENSIONS": ".none",  # GDAL itself asks no host for anything
}
"""What every thread sets before it reads: one block is one task, so GDAL starts no threads."""


def open_raster(href: str, access: Access) -> DatasetReader:
    """Open a GeoTIFF or a JPEG 2000 file, told apart by how they begin; the caller closes it.

    Its size is judged before a pixel is decoded. An address is read part by part through our own
    reader, never GDAL's.

    Raises
    ------
    ReadError : the address is refused; the file does not exist, is neither, is cut short in its
        header, or declares a size that nobody could hold.
    """
    check(href, access, shown(href))
    dataset = _remote(href, access) if is_address(href) else _local(href)
    try:
        _check_size(dataset, href)
    except ReadError:
        dataset.close()
        raise
    return dataset


def _local(href: str) -> DatasetReader:
    if not Path(href).is_file():
        raise missing(href)
    try:
        with Path(href).open("rb") as file:
            driver = _driver(file.read(_SIGNATURE), href)
        return rasterio.open(href, driver=driver)
    except (RasterioError, OSError) as error:
        raise _not_readable(href) from error


def _remote(href: str, access: Access) -> DatasetReader:
    parts = Parts(href, access)
    driver = _driver(parts.head.start, href)
    hidden_error(href)  # of another time
    name = f"{next(_NUMBERS)}/asset"
    _PARTS[name] = parts
    parts.twice = True
    try:
        dataset = rasterio.open(name, driver=driver, opener=_FILES)
    except RasterioError as error:
        raise hidden_error(href) or _not_readable(href) from error
    finally:
        parts.twice = False
    _OPEN[dataset] = copy_context()
    return dataset


def _driver(start: bytes, href: str) -> str:
    for signature, driver in _DRIVERS.items():
        if start.startswith(signature):
            return driver
    raise _not_readable(href)


def _not_readable(href: str) -> ReadError:
    return ReadError(
        "is not a readable GeoTIFF or JPEG 2000 file",
        where=shown(href),
        remedy="fetch the asset again, or leave its item out",
    )


def _check_size(dataset: DatasetReader, href: str) -> None:
    height, width = dataset.shape
    rows, columns = dataset.block_shapes[0] if dataset.count else (0, 0)
    bands = dataset.count if str(dataset.profile.get("interleave")) == "pixel" else 1
    block = rows * columns * bands * max((_itemsize(t) for t in dataset.dtypes), default=0)
    if max(height, width) >= _SIDE or dataset.count > _BANDS or block > _BLOCK:
        raise ReadError(
            f"declares {width} x {height} pixels in {dataset.count} bands and blocks of "
            f"{columns} x {rows}, which is more than is read",
            where=shown(href),
            remedy=f"fewer than {_SIDE} pixels a side, at most {_BANDS} bands and "
            f"{_BLOCK >> 20} MB a block can be read: cut the file, or leave its item out",
        )


def _itemsize(name: str) -> int:
    return 4 if name == "complex_int16" else np.dtype(name).itemsize


class _Handle(Reader):
    """What GDAL reads through; held from here for as long as GDAL holds it, in whatever thread."""

    def __enter__(self) -> "_Handle":
        _HELD.add(self)
        return self

    def close(self) -> None:
        _HELD.discard(self)
        super().close()


class _Files(FileContainer):  # type: ignore[misc]
    """The files that are open in this process, as a file system for GDAL."""

    def open(self, path: str, _mode: str = "r", **_: Any) -> _Handle:
        return _Handle(_found(path), quiet=True)

    def isfile(self, path: str) -> bool:
        return path in _PARTS

    def isdir(self, _path: str) -> bool:
        return False

    def ls(self, _path: str) -> list[str]:
        return []

    def mtime(self, _path: str) -> int:
        return 0

    def size(self, path: str) -> int:
        return _found(path).head.size

    def rm(self, path: str) -> None:
        raise PermissionError(path)


def _found(path: str) -> Parts:
    parts = _PARTS.get(path)
    if parts is None:
        raise FileNotFoundError(path)  # GDAL looks for files beside the one it was given
    return parts


_FILES = _Files()
_NUMBERS = count()
_PARTS: "WeakValueDictionary[str, Parts]" = WeakValueDictionary()
_HELD: set[_Handle] = set()
_OPEN: "WeakKeyDictionary[DatasetReader, Context]" = WeakKeyDictionary()
"""With the context of its opening: rasterio knows the reader behind a file only there."""


def _close_all() -> None:
    """Close what is still open: GDAL would call back into an interpreter that has gone."""
    with rasterio.Env():
        for dataset, context in list(_OPEN.items()):
            context.run(dataset.close)


atexit.register(_close_all)
os.register_at_fork(after_in_child=_OPEN.clear)
