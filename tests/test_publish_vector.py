import json
import sqlite3
from contextlib import closing
from datetime import UTC, datetime

import geopandas as gpd
import pyarrow.parquet as pq
import pyogrio
import pytest
from finished_maps import CRS, zones
from shapely.geometry import box

from pipeline.errors import OutputError
from pipeline.publish.vector import write_geopackage, write_geoparquet

WHEN = datetime(1995, 6, 20, tzinfo=UTC)


def rows(path, query):
    with closing(sqlite3.connect(path)) as database:
        return database.execute(query).fetchall()


@pytest.mark.parametrize("count", [0, 2])
def test_both_formats_give_the_zones_back(tmp_path, count):
    wanted = zones().iloc[:count]
    write_geopackage(wanted, tmp_path / "z.gpkg", WHEN)
    write_geoparquet(wanted, tmp_path / "z.parquet")
    package = pyogrio.read_dataframe(tmp_path / "z.gpkg")
    parquet = gpd.read_parquet(tmp_path / "z.parquet")
    for found in (package, parquet):
        assert list(found.columns) == list(wanted.columns)
        assert found.crs == CRS
        assert found["class"].tolist() == wanted["class"].tolist()
        assert found["score"].tolist() == wanted["score"].tolist()
        assert found.geometry.area.tolist() == wanted.geometry.area.tolist()


def test_equal_zones_are_equal_bytes(tmp_path):
    for name in "ab":
        write_geopackage(zones(), tmp_path / f"{name}.gpkg", WHEN, "<qgis/>")
        write_geoparquet(zones(), tmp_path / f"{name}.parquet")
    for suffix in ("gpkg", "parquet"):
        first, second = ((tmp_path / f"{name}.{suffix}").read_bytes() for name in "ab")
        assert first == second


def test_the_geopackage_is_1_3_and_carries_its_style_and_date(tmp_path):
    path = tmp_path / "z.gpkg"
    write_geopackage(zones(), path, WHEN, "<qgis>zones</qgis>")
    assert rows(path, "PRAGMA user_version") == [(10300,)]
    assert rows(
        path, "SELECT f_table_name, f_geometry_column, styleQML, useAsDefault FROM layer_styles"
    ) == [("zones", "geom", "<qgis>zones</qgis>", 1)]
    dates = rows(path, "SELECT DISTINCT last_change FROM gpkg_contents")
    assert dates == [("1995-06-20T00:00:00.000Z",)]
    assert not list(tmp_path.glob(".*")), "nothing temporary is left"


def test_the_geoparquet_is_1_1_with_a_covering_box(tmp_path):
    path = tmp_path / "z.parquet"
    write_geoparquet(zones(), path)
    about = json.loads(pq.read_schema(path).metadata[b"geo"])
    assert about["version"] == "1.1.0"
    assert about["columns"]["geometry"]["covering"]["bbox"]["xmin"] == ["bbox", "xmin"]
    assert about["columns"]["geometry"]["crs"]["id"] == {"authority": "EPSG", "code": 32611}


def test_a_zone_that_reads_back_otherwise_is_refused(tmp_path, monkeypatch):
    other = zones()
    other.loc[0, "score"] = 0.5
    monkeypatch.setattr(gpd, "read_parquet", lambda _path: other)
    with pytest.raises(OutputError, match="do not read back"):
        write_geoparquet(zones(), tmp_path / "z.parquet")
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_written_is_one_clear_sentence(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match=r"z\.gpkg.*cannot be written"):
        write_geopackage(zones(), tmp_path / "file" / "z.gpkg", WHEN)


def test_a_zone_with_a_hole_keeps_it(tmp_path):
    holed = zones()
    holed.loc[0, "geometry"] = box(0, 0, 90, 90).difference(box(30, 30, 60, 60))
    write_geopackage(holed, tmp_path / "z.gpkg", WHEN)
    assert pyogrio.read_dataframe(tmp_path / "z.gpkg").geometry[0].area == 90 * 90 - 30 * 30
