"""Which items are taken, and the sentence that each of the others gets."""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from conftest import BOX, stac_item, three_bands, write_catalog
from shapely.geometry import box, mapping
from shapely.geometry import shape as shape_of

from pipeline.catalog import cql2, locate, search
from pipeline.catalog.facts import facts_of
from pipeline.errors import CatalogError
from pipeline.plan import Band, Configs, Search

REGION = box(-117.25, 37.45, -117.2, 37.5)
REAL = Path(__file__).parents[1] / ".." / "shared" / "data" / "stac_items"
needs_real = pytest.mark.skipif(not REAL.is_dir(), reason="../shared/data/stac_items is not here")


def item(name, when="2024-06-01T18:00:00Z", **fields):
    made = stac_item(name, when, bbox=fields.pop("bbox", BOX), cloud=fields.pop("cloud", 1.0))
    made["collection"] = fields.pop("collection", "things")
    made["properties"] |= {key.replace("__", ":"): value for key, value in fields.items()}
    return made


def told(folder, items, sensor=None, region=REGION, **wanted):
    """Return the reason of each item, None for those kept."""
    asked = Search(**wanted)
    place = locate(str(write_catalog(folder, items)), asked, Configs.at())
    found = search(place, asked, sensor or three_bands(), region, "cuprite")
    assert [i.id for i in found.items] == [e["id"] for e in found.lock["items"] if e["kept"]]
    return {e["id"]: e.get("reason") for e in found.lock["items"]}


def test_the_season_is_picked_by_month(tmp_path):
    items = [item("june"), item("january", "2024-01-01T18:00:00Z")]
    found = told(tmp_path, items, months=(5, 6))
    assert found == {"june": None, "january": "month 1 is not wanted"}


def test_a_low_sun_and_an_untold_sun_are_dropped(tmp_path):
    items = [
        item("high", view__sun_elevation=61.0),
        item("zenith", s2__mean_solar_zenith=31.0),
        item("low", view__sun_elevation=22.58),
        item("untold"),
    ]
    found = told(tmp_path, items, min_sun_elevation=30)
    assert found == {
        "high": None,
        "zenith": None,
        "low": "sun elevation 22.6 is under 30 degrees",
        "untold": "its sun elevation is not told",
    }


def test_the_share_of_the_region_is_of_its_area(tmp_path):
    half = (-117.3, 37.4, -117.225, 37.6)
    items = [item("all"), item("half", bbox=half)]
    assert told(tmp_path / "a", items, min_overlap=0.4) == {"all": None, "half": None}
    found = told(tmp_path / "b", items, min_overlap=0.6)
    assert found["half"] == "it covers 50.0% of the region, less than 60.0%"


@pytest.mark.parametrize("name", ["LANDSAT_8", "landsat-8", "Landsat 8"])
def test_platforms_are_known_however_they_are_written(tmp_path, name):
    sensor = three_bands().model_copy(update={"platforms": ("landsat-8",)})
    found = told(tmp_path, [item("a", platform=name), item("b", platform="landsat-7")], sensor)
    assert found == {"a": None, "b": "platform 'landsat-7' is not this sensor's"}


def test_an_item_after_the_end_of_a_band_is_dropped_by_name(tmp_path):
    sensor = three_bands()
    bands = sensor.bands | {
        "swir": Band(assets=("swir",), wavelength=2205, fwhm=40, until="2008-04-01")
    }
    sensor = sensor.model_copy(update={"bands": bands})
    items = [
        item("before", "2008-03-31T23:59:59Z"),
        item("on", "2008-04-01T00:00:00Z"),
    ]
    found = told(tmp_path, items, sensor)
    assert found == {"before": None, "on": "bands swir not valid from 2008-04-01 on"}


def test_of_one_scene_processed_twice_the_newest_baseline_is_kept(tmp_path):
    scene = {"platform": "sentinel-2a", "grid__code": "MGRS-11SMB"}
    items = [
        item("a_old", s2__processing_baseline="02.14", created="2024-01-01T00:00:00Z", **scene),
        item("b_new", "2024-06-01T18:00:40Z", s2__processing_baseline="05.10", **scene),
        item("other_tile", **scene | {"grid__code": "MGRS-11SMA"}),
        item("other_day", "2024-06-02T18:00:00Z", **scene),
        item("other_platform", **scene | {"platform": "sentinel-2b"}),
    ]
    found = told(tmp_path, items)
    assert found.pop("a_old") == "the same scene as b_new of things, baseline 05.10"
    assert set(found.values()) == {None}


def test_of_two_equal_baselines_the_later_made_is_kept(tmp_path):
    scene = {"platform": "landsat-8", "landsat__wrs_path": "044", "landsat__wrs_row": 33}
    items = [
        item("a", created="2020-08-24T00:00:00Z", **scene),
        item("b", created="2020-01-14T00:00:00Z", updated="2021-08-24T00:00:00Z", **scene),
    ]
    assert told(tmp_path, items) == {"a": "the same scene as b of things", "b": None}


def test_two_halves_of_one_tile_are_no_duplicates(tmp_path):
    scene = {"platform": "sentinel-2a", "s2__mgrs_tile": "06VVN"}
    west, east = (-117.3, 37.4, -117.22, 37.6), (-117.23, 37.4, -117.1, 37.6)
    items = [item("west", bbox=west, **scene), item("east", bbox=east, **scene)]
    assert told(tmp_path, items) == {"west": None, "east": None}


def test_the_data_take_decides_where_it_is_told(tmp_path):
    take = "GS2B_20190629T212529_012081_N02."
    scene = {"platform": "sentinel-2b", "s2__mgrs_tile": "06VVN"}
    items = [
        item("a", s2__datatake_id=f"{take}12", s2__processing_baseline="02.12", **scene),
        item("b", "2024-06-01T18:04:00Z", s2__datatake_id=f"{take}14", **scene),
        item("c", "2024-06-01T18:00:00Z", s2__datatake_id="GS2B_20190630T000000_0_N02.12", **scene),
    ]
    found = told(tmp_path, items)
    assert found == {"a": None, "b": "the same scene as a of things, baseline 02.12", "c": None}


def test_one_id_is_one_item(tmp_path):
    old = item("a", updated="2024-01-01T00:00:00Z")
    new = item("a", updated="2024-02-01T00:00:00Z", note="from the other station")
    place = locate(str(write_catalog(tmp_path, [old, new])), Search(), Configs.at())
    found = search(place, Search(), three_bands(), REGION, "cuprite")
    assert [i.properties.get("note") for i in found.items] == ["from the other station"]
    assert [e.get("reason") for e in found.lock["items"] if not e["kept"]] == [
        "the same id is offered twice"
    ]


def test_each_cell_keeps_its_clearest_then_newest(tmp_path):
    items = [
        item("m1", "2024-06-01T18:00:00Z", cloud=5.0, s2__mgrs_tile="11SMB"),
        item("m2", "2024-06-02T18:00:00Z", cloud=1.0, grid__code="MGRS-11SMB"),
        item("m3", "2024-06-03T18:00:00Z", cloud=5.0, s2__mgrs_tile="T11SMB"),
        item("n1", "2024-06-01T18:00:00Z", cloud=50.0, s2__mgrs_tile="11SMA"),
        item("no_cell_1", "2024-06-04T18:00:00Z"),
        item("no_cell_2", "2024-06-05T18:00:00Z"),
        item("no_cell_3", "2024-06-06T18:00:00Z"),
    ]
    found = told(tmp_path, items, per_cell=2)
    assert found.pop("m1") == "cell MGRS-11SMB has 2 better ones already"
    assert set(found.values()) == {None}


@pytest.mark.parametrize(
    ("fields", "cell"),
    [
        ({"grid:code": "MGRS-06VVN"}, "MGRS-6VVN"),
        ({"s2:mgrs_tile": "06VVN"}, "MGRS-6VVN"),
        (
            {"mgrs:utm_zone": 6, "mgrs:latitude_band": "V", "mgrs:grid_square": "VN"},
            "MGRS-6VVN",
        ),
        ({"landsat:wrs_path": "028", "landsat:wrs_row": "030"}, "WRS2-028030"),
        ({"landsat:wrs_path": 28, "landsat:wrs_row": 30, "landsat:wrs_type": "2"}, "WRS2-028030"),
        ({}, None),
    ],
)
def test_a_cell_is_the_same_however_it_is_written(fields, cell):
    assert facts_of(item("a") | {"properties": fields}).cell == cell


def test_a_tile_in_an_id_is_a_cell():
    assert facts_of(item("HLS.S30.T06VVN.2020126T212529.v2.0")).cell == "MGRS-6VVN"


@pytest.mark.parametrize(
    ("expression", "met"),
    [
        ({"op": "=", "args": [{"property": "platform"}, "landsat-8"]}, True),
        ({"op": "<>", "args": [{"property": "platform"}, "landsat-8"]}, False),
        ({"op": ">=", "args": [{"property": "n"}, 3]}, True),
        ({"op": ">", "args": [{"property": "n"}, 3]}, False),
        ({"op": "lte", "args": [{"property": "n"}, 3]}, True),
        ({"op": "<", "args": [{"property": "none"}, 3]}, None),
        ({"op": "<", "args": [{"property": "platform"}, 3]}, None),
        ({"op": "not", "args": [{"op": "<", "args": [{"property": "n"}, 3]}]}, True),
        ({"op": "not", "args": [{"op": "<", "args": [{"property": "none"}, 3]}]}, None),
        ({"op": "isNull", "args": [{"property": "none"}]}, True),
        ({"op": "in", "args": [{"property": "n"}, [1, 3]]}, True),
        ({"op": "in", "args": [{"property": "n"}, [1, 2]]}, False),
        ({"op": "between", "args": [{"property": "n"}, 1, 3]}, True),
        ({"op": "between", "args": [{"property": "n"}, 4, 5]}, False),
        ({"op": "like", "args": [{"property": "platform"}, "land%_8"]}, True),
        ({"op": "like", "args": [{"property": "platform"}, "land.at%"]}, False),
        (
            {"op": "<", "args": [{"property": "datetime"}, {"timestamp": "2024-06-02T00:00:00Z"}]},
            True,
        ),
        ({"op": "=", "args": [{"property": "collection"}, "things"]}, True),
        ({"op": "s_intersects", "args": [{"property": "geometry"}, mapping(REGION)]}, True),
        ({"op": "or", "args": [False, {"op": "=", "args": [{"property": "n"}, 3]}]}, True),
        ({"op": "and", "args": [False, {"op": "=", "args": [{"property": "none"}, 3]}]}, False),
        ({"op": "and", "args": [True, {"op": "=", "args": [{"property": "none"}, 3]}]}, None),
    ],
    ids=str,
)
def test_filters_are_decided_as_cql2_says(expression, met):
    assert cql2.holds(expression, item("a", platform="landsat-8", n=3)) is met


@pytest.mark.parametrize(
    "expression",
    [
        {"op": "a_overlaps", "args": [{"property": "n"}, [1]]},
        {"op": "=", "args": [{"function": "avg"}, 1]},
        {"op": "="},
        {"op": "=", "args": []},
        {"property": "n"},
        "n = 3",
        {"op": "<", "args": [{"property": "n"}, {"timestamp": "yesterday"}]},
    ],
    ids=str,
)
def test_what_cannot_be_decided_is_said(expression):
    with pytest.raises(ValueError, match=r"not known here|no condition|isoformat"):
        cql2.check(expression)


@needs_real
def test_real_items_are_understood():
    known = {}
    for path in sorted(REAL.glob("*.json")):
        content = json.loads(path.read_text())
        if content["type"] == "Feature":
            facts = facts_of(content)
            known[path.name[:12]] = facts.platform, facts.cell, facts.baseline, facts.sun
    assert known["S2A_28QCH_20"] == ("sentinel-2a", None, 2.14, None)
    assert known["S2B_MSIL2A_2"][:3] == ("sentinel-2b", "MGRS-6VVN", 2.12)
    assert known["S2B_MSIL2A_2"][3] == pytest.approx(90 - 37.9128805424161)
    assert known["LC08_L2SP_02"] == ("landsat-8", "WRS2-028030", -1.0, 22.57988462)
    assert known["LC08_L2SR_08"] == ("landsat-8", "WRS2-081119", -1.0, 22.72192082)
    assert known["LE07_L2SP_04"][:2] == ("landsat-7", "WRS2-044033")
    assert known["ga_ls8c_ard_"][:2] == ("landsat-8", "WRS2-088080")


@needs_real
def test_a_real_item_is_picked_from_its_file():
    path = REAL / "LC08_L2SP_028030_20200114_20200824_02_T1_SR.json"
    footprint = shape_of(json.loads(path.read_text())["geometry"])
    sensor = Configs.at().sensor("landsat-oli-c2-l2")
    place = locate(str(path), Search(), Configs.at())
    region = footprint.centroid.buffer(0.2)
    found = search(place, Search(min_overlap=1.0, max_cloud=10), sensor, region, "here")
    assert found.items[0].assets["swir16"].href.startswith("https://landsatlook.usgs.gov/")
    with pytest.raises(CatalogError, match=r"sun elevation 22\.6 is under 30 degrees"):
        search(place, Search(min_sun_elevation=30), sensor, region, "here")


@needs_real
def test_the_real_aster_table_is_searched():
    path = REAL / "aster-l1t-subset.parquet"
    place = locate(str(path), Search(), Configs.at())
    sensor = Configs.at().sensor("aster-l1t")
    rows = pq.read_table(path, columns=["id", "bbox"]).to_pylist()
    assert len(rows) == 5
    west, south, east, north = rows[0]["bbox"]
    middle = box(west, south, east, north).centroid.buffer(0.01)
    found = search(place, Search(), sensor, middle, "here")
    assert rows[0]["id"] in [i.id for i in found.items]
    assets = found.items[0].assets
    assert {"VNIR", "SWIR"} <= set(assets)
    assert "qa-txt" not in assets
    assert assets["VNIR"].href.startswith("https://astersa.blob.core.windows.net/")
    assert found.items[0].collection_id == "aster-l1t"
