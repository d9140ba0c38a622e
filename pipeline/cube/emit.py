"""EMIT level 2A: a NetCDF file in the geometry of the instrument, seen as a raster on the ground.

The file carries a table that names, for every pixel of a grid in longitude and latitude, the row
and column of the instrument that saw it. Source: NASA LP DAAC, EMIT-Data-Resources.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import h5py
import numpy as np
from affine import Affine
from numpy.typing import NDArray
from rasterio.coords import BoundingBox
from rasterio.crs import CRS
from rasterio.errors import CRSError
from rasterio.transform import array_bounds
from rasterio.windows import Window

from pipeline import remote
from pipeline.errors import ReadError
from pipeline.remote import Access

_FILL = -9999.0
_NO_CLASS = 255
_CUBES = ("reflectance", "mask")
_GOOD = "sensor_band_parameters/good_wavelengths"
_CACHE = 128 * 2**20  # bytes of decompressed pieces: neighbouring bands lie in the same ones
_SLOTS = 10_007  # a prime, as the HDF5 documentation advises
_MOST_SIDE = 20_000  # pixels; a granule has about 1300 x 1242
_MOST_PIECE = 256 * 2**20  # bytes of one compressed piece once it is decoded


def is_cube(href: str) -> bool:
    """Return whether an href names a NetCDF file.

    >>> is_cube("https://example.org/a.nc?sig=1"), is_cube("/data/a.tif")
    (True, False)
    """
    return urlsplit(href).path.lower().endswith(".nc")


def open_cube(href: str, access: Access) -> "Cube":
    """Open an EMIT file by path or address.

    Raises
    ------
    ReadError : it cannot be read, is not such a file, or says nothing of where its pixels lie.
    """
    where = href.split("?", 1)[0]
    remote.check(href, access, where)
    if not remote.is_address(href) and not Path(href).is_file():
        raise ReadError("does not exist", where=where, remedy="check the asset's href")
    with _told(where):
        content = remote.open_bytes(href, access) if remote.is_address(href) else href
        file = h5py.File(content, "r", rdcc_nbytes=_CACHE, rdcc_nslots=_SLOTS)
        return Cube(file, where)


class Cube:
    """The bands of an EMIT file on the ground; it is read as an open raster is.

    `reflectance` is float32 with -9999 for nothing, as are bands that the file calls bad; the
    layers of `mask` are uint8 with 255 for nothing.
    """

    def __init__(self, file: h5py.File, where: str) -> None:
        self._file, self._where = file, where
        name = next((name for name in _CUBES if name in file), None)
        if name is None:
            raise ReadError(
                "holds neither reflectance nor mask", where=where, remedy="give an EMIT L2A file"
            )
        self._cube = file[name]
        self._glt = self._geometry()
        self._check_sizes()
        self.count: int = self._cube.shape[2]
        self.shape: tuple[int, int] = self._glt[0].shape
        self.height, self.width = self.shape
        counts = name == "reflectance"
        self.dtypes = (("float32" if counts else "uint8"),) * self.count
        self.nodata = _FILL if counts else float(_NO_CLASS)
        self._good = file[_GOOD][:] if counts and _GOOD in file else None

    def read(
        self, number: int, *, window: Window, out: NDArray[Any], resampling: object = None
    ) -> NDArray[Any]:
        """Read a window of a band, from 1, into `out` (y, x); a smaller one gets every so manieth.

        Raises
        ------
        ReadError : the file is damaged.
        """
        del resampling  # nearest: the table of positions knows no other
        out[:] = self.nodata
        if self._good is None or self._good[number - 1]:
            with _told(self._where):
                self._fill(number, _lattice(window, out.shape), out)
        return out

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _geometry(self) -> tuple[h5py.Dataset, h5py.Dataset]:
        """Return the table of positions, and keep the grid it stands on."""
        attributes = self._file.attrs
        there = "location/glt_x" in self._file and "location/glt_y" in self._file
        if not there or "geotransform" not in attributes or "spatial_ref" not in attributes:
            raise ReadError(
                "is not georeferenced: it has no table of positions (location/glt_x, glt_y)",
                where=self._where,
                remedy="fetch the product as it is distributed",
            )
        wkt = attributes["spatial_ref"]
        try:
            self.crs = CRS.from_wkt(wkt.decode() if isinstance(wkt, bytes) else str(wkt))
        except CRSError as error:
            raise ReadError(
                "has no coordinate system that is understood",
                where=self._where,
                remedy="fetch it again",
            ) from error
        self.transform = Affine.from_gdal(*(float(v) for v in attributes["geotransform"]))
        return self._file["location/glt_x"], self._file["location/glt_y"]

    def _check_sizes(self) -> None:
        columns, rows = self._glt
        cube = self._cube
        piece = np.prod(cube.chunks or cube.shape[1:], dtype=float) * cube.dtype.itemsize
        sides = (*columns.shape, *cube.shape)
        right = columns.ndim == 2 and columns.shape == rows.shape and cube.ndim == 3
        if not right or max(sides) > _MOST_SIDE or piece > _MOST_PIECE:
            raise ReadError(
                f"declares an unusual size ({' x '.join(map(str, cube.shape))} on a grid of "
                f"{' x '.join(map(str, columns.shape))})",
                where=self._where,
                remedy="leave its item out",
            )

    @property
    def bounds(self) -> BoundingBox:
        """Left, bottom, right, top, in the unit of the CRS."""
        return BoundingBox(*array_bounds(self.height, self.width, self.transform))

    def _fill(self, number: int, at: tuple[NDArray[np.intp], ...], out: NDArray[Any]) -> None:
        """Write the pixels that the instrument saw."""
        rows, columns = at
        box = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        pick = np.ix_(rows - rows[0], columns - columns[0])
        # From 1, 0 where nothing was seen; negative where a neighbour was taken instead.
        x, y = (np.abs(table[box][pick].astype(np.int64)) - 1 for table in self._glt)
        seen = (x >= 0) & (y >= 0)
        if not seen.any():
            return
        x, y = x[seen], y[seen]
        if y.max() >= self._cube.shape[0] or x.max() >= self._cube.shape[1]:
            raise ReadError(
                "its table of positions points outside its image",
                where=self._where,
                remedy="fetch it again, or leave its item out",
            )
        top, left = y.min(), x.min()
        values = self._cube[top : y.max() + 1, left : x.max() + 1, number - 1]
        found = values[y - top, x - left]
        known = np.isfinite(found) & (found > _FILL)
        out[seen] = np.where(known, found, self.nodata).astype(out.dtype)


def _lattice(window: Window, shape: tuple[int, ...]) -> tuple[NDArray[np.intp], ...]:
    """Return the rows and the columns to read: the centres of an even lattice."""
    starts = (round(window.row_off), round(window.col_off))
    sizes = (round(window.height), round(window.width))
    return tuple(
        start + ((np.arange(count) + 0.5) * size / count).astype(np.intp)
        for start, size, count in zip(starts, sizes, shape, strict=True)
    )


@contextmanager
def _told(where: str) -> Iterator[None]:
    """Say in one sentence what the HDF5 library says in many."""
    try:
        yield
    except (OSError, RuntimeError, KeyError, ValueError, TypeError, IndexError) as error:
        raise ReadError(
            "is not a readable EMIT file, or is cut short or damaged",
            where=where,
            remedy="fetch the asset again, or leave its item out",
        ) from error
