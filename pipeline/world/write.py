"""Rasters and points as files, COGs and GeoPackages, with the same bytes every time."""

import sqlite3
from contextlib import closing
from datetime import datetime
from functools import partial
from pathlib import Path

import geopandas as gpd
import numpy as np
import pyogrio
import rasterio
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.windows import Window

from pipeline import files

Spots = NDArray[np.float64]


def to_metres(grid: GeoBox, rows: Spots, columns: Spots) -> tuple[Spots, Spots]:
    """Return east and north, metres, of places on a grid counted in pixels from its corner."""
    a, b, c, d, e, f = grid.affine[:6]
    return a * columns + b * rows + c, d * columns + e * rows + f


def write_raster(
    path: Path,
    values: NDArray[np.uint8] | NDArray[np.uint16] | NDArray[np.float32],
    grid: GeoBox,
    nodata: float,
) -> str:
    """Write one band (y, x) as a COG and return its SHA-256.

    Raises
    ------
    OutputError : the file cannot be written, or does not read back as the same numbers.
    """
    profile = {
        "driver": "COG",
        "height": values.shape[0],
        "width": values.shape[1],
        "count": 1,
        "dtype": values.dtype,
        "crs": str(grid.crs),
        "transform": grid.affine,
        "nodata": nodata,
        "compress": "DEFLATE",
        "predictor": "YES",
        "blocksize": 256,
        "overviews": "AUTO",
        "overview_resampling": "NEAREST",
    }

    def writer(part: Path) -> None:
        with rasterio.open(part, "w", **profile) as target:
            target.write(values, 1)

    def check(part: Path) -> None:
        with rasterio.open(part, driver="GTiff") as found:
            if not np.array_equal(found.read(1, window=Window(0, 0, *values.shape[::-1])), values):
                raise OSError("the raster does not read back as written")

    return files.write(path, writer, check)


def write_points(path: Path, points: gpd.GeoDataFrame, now: datetime) -> str:
    """Write points as a GeoPackage dated `now` (UTC) and return its SHA-256."""
    return files.write(path, partial(_write_points, points=points, layer=path.stem, now=now))


def _write_points(part: Path, points: gpd.GeoDataFrame, layer: str, now: datetime) -> None:
    # Readers of long-term Linux releases warn of GeoPackage 1.4, which GDAL would write.
    pyogrio.write_dataframe(
        points, part, layer=layer, driver="GPKG", dataset_options={"VERSION": "1.3"}
    )
    with closing(sqlite3.connect(part, isolation_level=None)) as database:
        stamp = now.strftime("%Y-%m-%dT%H:%M:%S.000Z")
        database.execute("UPDATE gpkg_contents SET last_change = ?", (stamp,))
        database.execute("VACUUM")
