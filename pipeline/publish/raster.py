"""A map -> a cloud-optimised GeoTIFF, window by window, read back before it gets its name.

GDAL's COG driver copies a finished raster, so the map first goes, uncompressed, into a plain tiled
GeoTIFF beside the target. Deflate, because every reader has it and it notices a flipped bit.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol
from zlib import crc32

import numba
import numpy as np
import rasterio
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.io import DatasetReader, DatasetWriter
from rasterio.shutil import copy

from pipeline import files
from pipeline.grid import Block, blocks

SCALE = 1e-4
"""Value of one count of a quantised map: 0..1 in steps finer than any score is certain."""
NODATA = 65535
"""Count of a quantised map that stands for nothing."""

_ONE = np.float32(round(1 / SCALE))  # the count of 1
_TILE = 512  # pixels on a side of a tile in the file
_WINDOW = 2048  # pixels on a side of what is held at a time
_LEVEL = 1  # of deflate: on noisy maps the higher levels take twice as long and save nothing
_GDAL = {
    "GDAL_PAM_ENABLED": "NO",  # no sidecar files
    "GDAL_NUM_THREADS": "1",
    "COG_TMP_COMPRESSION": "NONE",  # packing the overviews' scratch file would double the cost
}


class Raster(Protocol):
    """Anything (y, x) that gives an array when sliced: numpy, zarr."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Rows and columns."""

    def __getitem__(self, key: tuple[slice, slice], /) -> Any:
        """Return a part of it."""


@dataclass(frozen=True)
class Layer:
    """How a map is written: what its counts mean, and what the file says of itself.

    A value is count * scale + offset.
    """

    dtype: Literal["uint8", "uint16", "float32"]
    nodata: float
    scale: float = 1.0
    offset: float = 0.0
    classes: bool = False
    """Counts are names, not numbers: overviews take the nearest pixel and never a mean."""
    unit: str = ""
    description: str = ""
    colours: Mapping[int, str] = field(default_factory=dict)
    """Colour (#rrggbb) of each class."""
    tags: Mapping[str, str] = field(default_factory=dict)
    """Written into the file, by name."""


QUANTISED = Layer("uint16", NODATA, SCALE)
"""Scores, spread and support, 0..1."""

CLASSES = Layer("uint8", 0, classes=True)
"""Class numbers from 1; 0 is not mapped."""

EVIDENCE = Layer("float32", np.nan)
"""Evidence as it went into the model; its range is not known beforehand, so it is not scaled."""


def quantise(values: NDArray[np.float32]) -> NDArray[np.uint16]:
    """Return values in 0..1 as counts of SCALE, NODATA for NaN.

    Raises
    ------
    ValueError : a value is outside 0..1, where counts would not be what was meant.
    """
    out = np.empty(values.shape, np.uint16)
    if _quantise(np.ascontiguousarray(values).reshape(-1), out.reshape(-1)):
        raise ValueError("a quantised map holds values from 0 to 1")
    return out


def dequantise(counts: NDArray[np.uint16]) -> NDArray[np.float32]:
    """Return the values of counts of SCALE, NaN for NODATA."""
    values = counts.astype(np.float32) * np.float32(SCALE)
    values[counts == NODATA] = np.nan
    return values


def write_cog(path: Path, source: Raster, grid: GeoBox, layer: Layer) -> str:
    """Write a map as a COG, crash-safely, and return its SHA-256.

    Equal maps give equal bytes. Memory does not grow with the map.

    Parameters
    ----------
    source : (y, x) in the layer's dtype.
    grid : of the map.

    Raises
    ------
    OutputError : it cannot be written, or does not read back as it was meant.
    TypeError : the map has another dtype or shape than the layer and the grid.
    """
    _fits(source, grid, layer)
    sums: dict[Block, int] = {}

    def write(part: Path) -> None:
        plain = part.with_name(f"{part.name}.plain")
        try:
            sums.update(_write_plain(plain, source, grid, layer))
            _copy_as_cog(plain, part, layer)
        finally:
            plain.unlink(missing_ok=True)

    def check(part: Path) -> None:
        with rasterio.open(part, driver="GTiff") as found:
            if _meaning(found) != _meant(grid, layer) or dict(_sums(found)) != sums:
                raise OSError("it does not read back as it was written")

    with rasterio.Env(**_GDAL):
        return files.write(path, write, check)


@numba.njit(cache=True, nogil=True, fastmath=False, error_model="numpy")
def _quantise(values, out):  # type: ignore[no-untyped-def]
    """Write the counts, and return whether one of them is outside the scale."""
    wrong = False
    for p in range(len(values)):
        count = np.rint(values[p] / np.float32(SCALE))
        wrong |= (count < 0) | (count > _ONE)
        out[p] = np.uint16(count) if count == count else np.uint16(NODATA)
    return wrong


def _fits(source: Raster, grid: GeoBox, layer: Layer) -> None:
    found = source[0:1, 0:1].dtype
    if tuple(source.shape) != tuple(grid.shape) or found != layer.dtype:
        raise TypeError(
            f"a {layer.dtype} map of {tuple(grid.shape)} was wanted, not {found} {source.shape}"
        )


def _write_plain(path: Path, source: Raster, grid: GeoBox, layer: Layer) -> dict[Block, int]:
    """Write the map uncompressed, and return the checksum of each window."""
    rows, columns = grid.shape
    sums = {}
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        width=columns,
        height=rows,
        count=1,
        dtype=layer.dtype,
        nodata=layer.nodata,
        crs=str(grid.crs),
        transform=grid.affine,
        tiled=True,
        blockxsize=_TILE,
        blockysize=_TILE,
        bigtiff="IF_SAFER",
    ) as out:
        for window in blocks((rows, columns), _WINDOW):
            values = np.ascontiguousarray(source[window.slices])
            sums[window] = crc32(values.data)
            out.write(values, 1, window=window.window)
        _describe(out, layer)
    return sums


def _describe(out: DatasetWriter, layer: Layer) -> None:
    if (layer.scale, layer.offset) != (1.0, 0.0):
        out.scales, out.offsets = (layer.scale,), (layer.offset,)
    if layer.unit:
        out.units = (layer.unit,)
    if layer.description:
        out.descriptions = (layer.description,)
    if layer.colours:
        table = {n: (*bytes.fromhex(c[1:]), 255) for n, c in sorted(layer.colours.items())}
        out.write_colormap(1, table)
    out.update_tags(**dict(sorted(layer.tags.items())))


def _copy_as_cog(plain: Path, part: Path, layer: Layer) -> None:
    with rasterio.open(plain, driver="GTiff") as source:
        copy(
            source,
            part,
            driver="COG",
            compress="DEFLATE",
            level=_LEVEL,
            predictor="NO" if layer.classes else "YES",
            blocksize=_TILE,
            overviews="AUTO",
            overview_resampling="NEAREST" if layer.classes else "AVERAGE",
            bigtiff="IF_SAFER",
            num_threads="1",
        )


def _meaning(found: DatasetReader) -> tuple[object, ...]:
    """Return what a file says its counts mean and where they lie."""
    return (
        found.shape,
        found.dtypes,
        tuple(found.transform)[:6],
        found.crs.to_wkt() if found.crs else None,
        repr(found.nodata),
        found.scales,
        found.offsets,
    )


def _meant(grid: GeoBox, layer: Layer) -> tuple[object, ...]:
    return (
        tuple(grid.shape),
        (layer.dtype,),
        tuple(grid.affine)[:6],
        rasterio.crs.CRS.from_user_input(str(grid.crs)).to_wkt(),
        repr(float(layer.nodata)),
        (layer.scale,),
        (layer.offset,),
    )


def _sums(found: DatasetReader) -> Iterator[tuple[Block, int]]:
    for window in blocks(found.shape, _WINDOW):
        yield window, crc32(found.read(1, window=window.window).data)
