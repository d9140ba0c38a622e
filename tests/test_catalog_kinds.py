"""Every kind of catalog gives the same items of the same content."""

import json
from dataclasses import replace

import pyarrow.parquet as pq
import pytest
from conftest import Api, stac_item, three_bands, write_catalog
from shapely.geometry import box
from stac_geoparquet.arrow import parse_stac_items_to_arrow, to_parquet

from pipeline.catalog import from_lock, locate, search, verify
from pipeline.errors import CatalogError, PlanError
from pipeline.plan import Configs, Search

REGION = box(-117.25, 37.45, -117.2, 37.5)
FAR = (10.0, 10.0, 11.0, 11.0)
ITEMS = [
    stac_item("c", "2024-06-03T18:00:00Z"),
    stac_item("a", "2024-06-01T18:00:00.250Z", cloud=7),
    stac_item("b", "2024-06-02T18:00:00Z", cloud=3.5),
    stac_item("cloudy", "2024-06-02T18:00:00Z", cloud=90.0),
    stac_item("far", "2024-06-02T18:00:00Z", bbox=FAR),
    stac_item("late", "2024-08-02T18:00:00Z"),
    stac_item("other", "2024-06-02T18:00:00Z", collection="others"),
]
for _number, _item in enumerate(ITEMS):
    _item["properties"]["platform"] = "sentinel-2a" if _number % 2 else "Sentinel-2B"
    _item["properties"]["odd"] = _number if _number % 2 else _number + 0.5
WANTED = {
    "collections": ("things",),
    "datetime": "2024-06-01/2024-06-30",
    "max_cloud": 10,
    "filter": {
        "op": "and",
        "args": [
            {"op": ">=", "args": [{"property": "odd"}, 1]},
            {"op": "<", "args": [{"property": "odd"}, 4]},
        ],
    },
}


def find(catalog, region=REGION, configs=None, **wanted):
    asked = Search(**wanted)
    place = locate(str(catalog), asked, configs or Configs.at())
    place = replace(place, access=replace(place.access, pause=0.0))
    return search(place, asked, three_bands(), region, "cuprite")


def parquet(path, items):
    to_parquet(parse_stac_items_to_arrow(items), path)
    return path


def collection_of(folder, items):
    path = folder / "items.geojson"
    path.write_text(json.dumps({"type": "FeatureCollection", "features": items}))
    return path


def kinds(folder, web, serve):
    """Yield a place of every kind that holds the same items."""
    catalog = write_catalog(folder, ITEMS)
    table, features = parquet(folder / "items.parquet", ITEMS), collection_of(folder, ITEMS)
    yield "static", catalog
    yield "static over http", f"{web}/catalog.json"
    yield "collection", folder / "collection.json"
    yield "features", features
    yield "features over http", f"{web}/items.geojson"
    yield "geoparquet", table
    yield "geoparquet over http", f"{web}/items.parquet"
    with serve(type("ThisApi", (Api,), {"items": ITEMS})) as address:
        yield "api", address


def test_the_same_items_are_kept_whatever_kind_of_catalog_holds_them(tmp_path, web, serve):
    found = {kind: find(place, **WANTED) for kind, place in kinds(tmp_path, web, serve)}
    assert {kind: [i.id for i in items.items] for kind, items in found.items()} == {
        kind: ["a", "b"] for kind in found
    }
    assert len({items.digest for items in found.values()}) == 1
    assert len(found) == 8
    first = found["static"].items[0]
    for items in found.values():
        assert items.items[0].properties["eo:cloud_cover"] == 7
        assert items.items[0].datetime == first.datetime
        assert items.items[0].geometry["coordinates"][0][0][0] == -117.3


def test_a_lock_rebuilds_the_items_of_every_kind_of_catalog(tmp_path, web, serve):
    for _kind, place in kinds(tmp_path, web, serve):
        wanted = Search(**WANTED)
        there = locate(str(place), wanted, Configs.at())
        found = search(there, wanted, three_bands(), REGION, "cuprite")
        again = from_lock(json.loads(json.dumps(found.lock)), there, "three-bands")
        assert again.lock == found.lock
        assert [i.to_dict()["assets"] for i in again.items] == [
            i.to_dict()["assets"] for i in found.items
        ]
        verify(again, there)


def test_the_lock_says_who_filtered(tmp_path, serve):
    asked = {"filter": WANTED["filter"]}
    static = find(write_catalog(tmp_path, ITEMS), **asked)
    assert static.lock["search"]["filtered_by"] == "client"
    reasons = {e["id"]: e.get("reason") for e in static.lock["items"]}
    assert reasons["late"] == "it does not meet search.filter"
    handler = type("ThisApi", (Api,), {"items": ITEMS, "asked": None, "can_filter": True})
    with serve(handler) as address:
        found = find(address, **asked)
    assert found.lock["search"]["filtered_by"] == "catalog and client"
    assert handler.asked["filter"] == asked["filter"]
    assert "filter-lang" in handler.asked
    assert found.digest == static.digest


def test_a_filter_that_nobody_can_decide_is_refused(tmp_path, serve):
    odd = {"op": "a_contains", "args": [{"property": "odd"}, [1]]}
    with pytest.raises(CatalogError, match=r"search\.filter cannot be decided here"):
        find(write_catalog(tmp_path, ITEMS), filter=odd)
    handler = type("ThisApi", (Api,), {"items": ITEMS, "asked": None, "can_filter": True})
    with serve(handler) as address:
        found = find(address, filter=odd)
    assert found.lock["search"]["filtered_by"] == "catalog"


def test_one_item_is_a_catalog_and_a_collection_of_an_api_too(tmp_path, serve):
    write_catalog(tmp_path, ITEMS)
    assert [i.id for i in find(tmp_path / "2.json").items] == ["b"]
    handler = type("ThisApi", (Api,), {"items": ITEMS, "asked": None})
    with serve(handler) as address:
        find(f"{address}/collections/things")
    assert handler.asked["collections"] == ["things"]


def test_a_server_that_knows_only_get_is_asked_by_get(serve):
    handler = type("ThisApi", (Api,), {"items": ITEMS, "methods": ("GET",), "asked": None})
    with serve(handler) as address:
        found = find(address, **WANTED)
    assert [i.id for i in found.items] == ["a", "b"]
    assert handler.asked["collections"] == "things"
    assert handler.asked["limit"] == "100"


def test_a_collection_that_an_api_lacks_is_told_with_those_it_has(serve):
    handler = type("ThisApi", (Api,), {"items": [], "asked": None})
    with serve(handler) as address, pytest.raises(CatalogError, match="'thing' is not") as caught:
        find(address, collections=("thing",))
    assert "did you mean 'things'?" in caught.value.remedy
    with serve(handler) as address, pytest.raises(CatalogError, match="offers none"):
        find(address, collections=("things",))


def test_a_refused_collection_is_told(serve):
    handler = type("ThisApi", (Api,), {"items": ITEMS, "refuses": True, "asked": None})
    with serve(handler) as address, pytest.raises(CatalogError, match="refused") as caught:
        find(address, collections=("things",))
    assert "403" in caught.value.what


def test_pages_that_repeat_items_give_each_once(serve):
    handler = type("ThisApi", (Api,), {"items": [*ITEMS[:2], *ITEMS[:2]], "asked": None})
    with serve(handler) as address:
        found = find(address)
    assert [i.id for i in found.items] == ["a", "c"]
    told = [e["reason"] for e in found.lock["items"] if not e["kept"]]
    assert told == ["the same id is offered twice"] * 2


def test_a_table_gives_no_item_the_fields_of_another(tmp_path):
    one, two = stac_item("one"), stac_item("two")
    one["properties"]["note"] = "only here"
    two["assets"]["extra"] = {"href": "./extra.tif"}
    found = find(parquet(tmp_path / "two.parquet", [one, two]))
    assert [sorted(i.assets) for i in found.items] == [["red"], ["extra", "red"]]
    assert "note" not in found.items[1].properties


def test_twenty_thousand_items_are_searched_in_one_file(tmp_path):
    items = [
        stac_item(
            f"i{k}",
            f"2024-{1 + k % 12:02d}-{1 + k % 28:02d}T18:00:00Z",
            bbox=(-180 + k % 350, -80 + k // 350 * 2, -179.5 + k % 350, -79.5 + k // 350 * 2),
        )
        for k in range(20_000)
    ]
    path = parquet(tmp_path / "many.parquet", items)
    assert pq.read_metadata(path).num_rows == 20_000
    found = find(path, region=box(-10.0, -20.0, 10.0, 10.0), datetime="2024-03-01/2024-06-30")
    assert 50 < len(found.items) < 200
    assert all(3 <= i.datetime.month <= 6 for i in found.items)


def test_what_is_no_stac_table_is_told(tmp_path, web):
    (tmp_path / "torn.parquet").write_bytes(b"PAR1 and no more")
    for place in (tmp_path / "torn.parquet", f"{web}/torn.parquet"):
        with pytest.raises(CatalogError, match="is not a readable Parquet file"):
            find(place)
    with pytest.raises(CatalogError, match="cannot be read"):
        find(tmp_path / "gone.parquet")
    other = pq.read_table(parquet(tmp_path / "a.parquet", ITEMS)).drop_columns(["assets"])
    pq.write_table(other, tmp_path / "other.parquet")
    with pytest.raises(CatalogError, match="no column assets"):
        find(tmp_path / "other.parquet")


def test_catalogs_go_by_name_by_address_and_by_path(tmp_path):
    configs = Configs.at()
    known = locate("planetary-computer", Search(hosts=("more.example.org",)), configs)
    assert known.name == "planetary-computer"
    assert known.access.scheme == "planetary-computer"
    assert known.access.hosts[-1] == "more.example.org"
    assert locate(known.href + "/", Search(), configs).name == "planetary-computer"
    assert locate("copernicus", Search(), configs).alternate == "https"
    other = locate("https://example.org/catalog.json", Search(), configs)
    assert (other.name, other.access.hosts) == (None, ("example.org",))
    local = locate(str(tmp_path / "catalog.json"), Search(), configs)
    assert local.access.local
    assert "sentinel-cogs.s3.us-west-2.amazonaws.com" in local.access.hosts
    assert not any("blob.core" in host for host in local.access.hosts)
    with pytest.raises(PlanError, match="'earth-serch' is not known") as caught:
        locate("earth-serch", Search(), configs)
    assert "did you mean 'earth-search'?" in caught.value.remedy


def test_a_search_sends_no_key_unless_the_user_holds_one(monkeypatch):
    place = locate("copernicus", Search(), Configs.at())
    monkeypatch.delenv("CDSE_TOKEN", raising=False)
    assert place.documents.scheme == "open"
    assert place.documents.credentials == ()
    monkeypatch.setenv("CDSE_TOKEN", "secret")
    assert place.documents == place.access
    assert "secret" not in repr(place)


def test_an_alternate_address_is_read_where_the_catalog_wants_it(tmp_path):
    item = stac_item("a", href="s3://bucket/red.tif")
    item["assets"]["red"]["alternate"] = {"https": {"href": "https://a.example.org/red.tif"}}
    catalog = write_catalog(tmp_path, [item])
    place = locate(str(catalog), Search(), Configs.at())
    for alternate, href in (
        (None, "s3://bucket/red.tif"),
        ("https", "https://a.example.org/red.tif"),
    ):
        there = replace(place, alternate=alternate)
        found = search(there, Search(), three_bands(), REGION, "cuprite")
        assert found.items[0].assets["red"].href == href
