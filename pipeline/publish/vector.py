"""Zones as GeoPackage and GeoParquet, in the projected CRS of the maps.

Formats: OGC GeoPackage 1.3 (12-128r17), GeoParquet 1.1.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import datetime
from functools import partial
from pathlib import Path

import geopandas as gpd
import pyogrio
from geopandas.testing import assert_geodataframe_equal
from pyogrio.errors import DataLayerError, DataSourceError

from pipeline import files
from pipeline.errors import OutputError

LAYER = "zones"

# The table that QGIS itself makes when a style is saved into a GeoPackage; it reads the row marked
# useAsDefault when the layer is opened.
_STYLES = """
CREATE TABLE layer_styles (
  id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL, f_table_catalog TEXT(256),
  f_table_schema TEXT(256), f_table_name TEXT(256), f_geometry_column TEXT(256),
  styleName TEXT(30), styleQML TEXT, styleSLD TEXT, useAsDefault BOOLEAN, description TEXT,
  owner TEXT(30), ui TEXT(30), update_time DATETIME)
"""
_STYLE_ROW = """
INSERT INTO layer_styles (f_table_catalog, f_table_schema, f_table_name, f_geometry_column,
  styleName, styleQML, styleSLD, useAsDefault, description, owner, ui, update_time)
VALUES ('', '', ?, 'geom', 'zones by class', ?, '', 1, 'zones by class', '', NULL, ?)
"""
_STYLE_ENTRY = """
INSERT INTO gpkg_contents (table_name, data_type, identifier, description, last_change)
VALUES ('layer_styles', 'attributes', 'layer_styles', '', ?)
"""


def write_geopackage(zones: gpd.GeoDataFrame, path: Path, when: datetime, qml: str = "") -> str:
    """Write zones as a GeoPackage that carries its own QGIS style; return its SHA-256.

    Parameters
    ----------
    zones : polygons in a projected CRS; no rows gives a valid layer with every column.
    path : the .gpkg to write; its one layer is called `zones`.
    when : the date the file says it was last changed, UTC.
    qml : a QGIS style of the layer.

    Raises
    ------
    OutputError : the file cannot be written, or does not read back as the same zones.
    """

    def writer(part: Path) -> None:
        with _failures_as_os_errors():
            pyogrio.write_dataframe(
                zones,
                part,
                layer=LAYER,
                driver="GPKG",
                geometry_type="MultiPolygon",
                promote_to_multi=True,
                dataset_options={"VERSION": "1.3"},  # QGIS 3.22 warns of anything newer
                layer_options={"GEOMETRY_NAME": "geom", "FID": "fid"},
            )
            _settle(part, when, qml)

    def check(part: Path) -> None:
        with _failures_as_os_errors():
            found = pyogrio.read_dataframe(part, layer=LAYER, use_arrow=False)
        _same_zones(found, zones, path)

    return files.write(path, writer, check)


def write_geoparquet(zones: gpd.GeoDataFrame, path: Path) -> str:
    """Write zones as GeoParquet 1.1 with a bbox column for row-group filters; return its SHA-256.

    Raises
    ------
    OutputError : the file cannot be written, or does not read back as the same zones.
    """
    writer = partial(
        zones.to_parquet,
        index=False,
        compression="zstd",
        schema_version="1.1.0",
        write_covering_bbox=True,
    )
    return files.write(path, writer, lambda part: _same_zones(gpd.read_parquet(part), zones, path))


@contextmanager
def _failures_as_os_errors() -> Iterator[None]:
    """Let files.writing say in words what GDAL and SQLite report in classes of their own."""
    try:
        yield
    except (DataSourceError, DataLayerError, sqlite3.Error) as error:
        raise OSError(str(error)) from error


def _settle(part: Path, when: datetime, qml: str) -> None:
    """Fix the dates in a GeoPackage, add its style, and lay its pages out afresh."""
    stamp = when.strftime("%Y-%m-%dT%H:%M:%S.000Z")
    with closing(sqlite3.connect(part, isolation_level=None)) as database:
        database.execute("BEGIN")
        if qml:
            database.execute(_STYLES)
            database.execute(_STYLE_ROW, (LAYER, qml, stamp))
            database.execute(_STYLE_ENTRY, (stamp,))
        database.execute("UPDATE gpkg_contents SET last_change = ?", (stamp,))
        database.execute("COMMIT")
        database.execute("VACUUM")


def _same_zones(found: gpd.GeoDataFrame, meant: gpd.GeoDataFrame, path: Path) -> None:
    """Raise unless the zones read back are the zones that were written, in the same order."""
    try:
        assert_geodataframe_equal(
            _plain(found[list(meant.columns)]),
            _plain(meant),
            check_dtype=False,
            check_like=False,
            check_less_precise=False,
        )
    except (AssertionError, KeyError) as error:
        raise OutputError(
            "the zones do not read back as written",
            where=str(path),
            remedy="run again, and look at the disk if it happens twice",
        ) from error


def _plain(zones: gpd.GeoDataFrame) -> gpd.GeoDataFrame:
    # A GeoPackage keeps every zone as a multipolygon; that is the only difference allowed.
    one = zones.explode(index_parts=False, ignore_index=True)
    return one.set_geometry(one.geometry.normalize())
