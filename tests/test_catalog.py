"""Catalogs: what is picked and why, and every way a catalog can be wrong."""

import json
from dataclasses import replace

import pytest
from conftest import BOX, Api, stac_item, three_bands, write_catalog
from shapely.geometry import box

from pipeline.catalog import locate, search
from pipeline.errors import CatalogError, ReadError, RegionError
from pipeline.plan import Configs, Search
from pipeline.remote import check

REGION = box(-117.25, 37.45, -117.2, 37.5)
FAR = (10.0, 10.0, 11.0, 11.0)


def find(catalog, region=REGION, sensor=None, **wanted):
    asked = Search(**wanted)
    place = locate(str(catalog), asked, Configs.at())
    place = replace(place, access=replace(place.access, pause=0.0))
    return search(place, asked, sensor or three_bands(), region, "cuprite")


def test_items_come_in_order_of_time_and_id(tmp_path):
    items = [
        stac_item("late", "2024-06-03T10:00:00Z"),
        stac_item("b", "2024-06-01T18:00:00Z"),
        # Ten in the morning, seven hours behind UTC, is an hour before the two at 18:00.
        stac_item("early", "2024-06-01T10:00:00-07:00"),
        stac_item("a", "2024-06-01T18:00:00Z"),
    ]
    found = find(write_catalog(tmp_path, items))
    assert [item.id for item in found.items] == ["early", "a", "b", "late"]
    assert found.start.isoformat() == "2024-06-01T17:00:00+00:00"
    assert found.end.isoformat() == "2024-06-03T10:00:00+00:00"


def test_the_lock_says_what_was_kept_and_why_the_rest_was_not(tmp_path):
    items = [
        stac_item("good", "2024-06-02T18:00:00Z"),
        stac_item("cloudy", "2024-06-03T18:00:00Z", cloud=61.5),
        stac_item("old", "2024-04-30T23:59:59Z"),
        stac_item("far", "2024-06-04T18:00:00Z", bbox=FAR),
    ]
    catalog = write_catalog(tmp_path, items)
    found = find(catalog, datetime="2024-05-01/2024-06-30", max_cloud=60)
    assert [item.id for item in found.items] == ["good"]
    told = {entry["id"]: entry.get("reason") for entry in found.lock["items"]}
    assert told == {
        "good": None,
        "cloudy": "cloud cover 61.5 % is over 60 %",
        "old": "outside the time wanted",
        "far": "outside the region",
    }
    assert [entry["kept"] for entry in found.lock["items"]] == [False, True, False, False]
    assert found.lock["region"] == "cuprite"
    assert found.lock["search"]["max_cloud"] == 60
    json.dumps(found.lock)


@pytest.mark.parametrize(
    ("interval", "kept"),
    [
        (None, "abc"),
        ("2024-06-01/2024-06-02", "ab"),
        ("2024-06-02/..", "bc"),
        ("../2024-06-01", "a"),
        ("/2024-06-01", "a"),
        ("2024-06-01T12:00:00Z/2024-06-02T12:00:00Z", "a"),
        ("2024-06-02T18:00:00+00:00/2024-06-02T18:00:00+00:00", "b"),
    ],
)
def test_time_is_a_closed_interval_of_whole_days(tmp_path, interval, kept):
    items = [stac_item(n, f"2024-06-0{k}T18:00:00Z") for k, n in enumerate("abc", start=1)]
    found = find(write_catalog(tmp_path, items), datetime=interval)
    assert "".join(item.id for item in found.items) == kept


def test_the_digest_is_the_same_whatever_the_order_and_the_folder(tmp_path):
    items = [stac_item("a"), stac_item("b"), stac_item("c", "2024-06-05T18:00:00Z")]
    one = find(write_catalog(tmp_path / "one", items))
    two = find(write_catalog(tmp_path / "two", items[::-1]))
    assert one.digest == two.digest
    changed = [*items[:2], stac_item("c", "2024-06-05T18:00:00Z", href="./other.tif")]
    assert find(write_catalog(tmp_path / "three", changed)).digest != one.digest
    fewer = find(tmp_path / "one" / "catalog.json", datetime="2024-06-01/2024-06-02")
    assert fewer.digest != one.digest


def test_an_item_or_a_collection_is_a_catalog_too(tmp_path):
    write_catalog(tmp_path, [stac_item("a"), stac_item("b")])
    assert [i.id for i in find(tmp_path / "1.json").items] == ["b"]
    assert [i.id for i in find(tmp_path / "collection.json").items] == ["a", "b"]


def test_collections_are_picked_by_name(tmp_path):
    catalog = write_catalog(tmp_path, [stac_item("a"), stac_item("b", collection="others")])
    assert [i.id for i in find(catalog, collections=("others",)).items] == ["b"]
    with pytest.raises(CatalogError, match="it has no collection nothing") as caught:
        find(catalog, collections=("nothing", "things"))
    assert caught.value.remedy.endswith("it offers others, things")


def test_hrefs_become_whole(tmp_path, web):
    write_catalog(tmp_path, [stac_item("a")])
    by_path = find(tmp_path / "catalog.json").items[0]
    assert by_path.assets["red"].href == str(tmp_path / "red.tif")
    by_address = find(f"{web}/catalog.json").items[0]
    assert by_address.assets["red"].href == f"{web}/red.tif"


def test_a_catalog_gives_the_same_lock_by_path_and_by_address(tmp_path, web):
    write_catalog(tmp_path, [stac_item("a"), stac_item("b", cloud=99.0)])
    one, two = (
        find(tmp_path / "catalog.json", max_cloud=9),
        find(f"{web}/catalog.json", max_cloud=9),
    )
    assert one.lock == two.lock


def test_an_empty_search_is_told_with_its_reasons(tmp_path):
    items = [stac_item("a", cloud=50.0), stac_item("b", cloud=50.0), stac_item("c", bbox=FAR)]
    catalog = write_catalog(tmp_path, items)
    told = r"no item fits region cuprite \(2 cloud cover 50 % is over 9 %, 1 outside the region\)"
    with pytest.raises(CatalogError, match=told) as caught:
        find(catalog, max_cloud=9)
    assert "widen search.datetime" in caught.value.remedy
    with pytest.raises(CatalogError, match="offers none"):
        find(write_catalog(tmp_path / "empty", []))


def test_imagery_of_elsewhere_is_a_matter_of_the_region(tmp_path):
    catalog = write_catalog(tmp_path, [stac_item("a", bbox=FAR), stac_item("b", bbox=FAR)])
    with pytest.raises(RegionError, match=r"all 2 items of .* lie outside the region") as caught:
        find(catalog)
    assert caught.value.where == "region cuprite"


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("none.json", None, "cannot be read"),
        ("text.json", "not json", "is not a usable STAC catalog"),
        ("list.json", "[1, 2]", "it has no stac_version"),
        ("other.json", '{"type": "FeatureCollection"}', "it has no features"),
        ("half.json", '{"stac_version": "1.0.0"}', "is not a usable STAC catalog"),
        ("odd.json", '{"stac_version": 7, "type": "Catalog"}', "is not a usable STAC catalog"),
        (
            "links.json",
            '{"stac_version": "1.0.0", "type": "Catalog", "id": "a", "description": "a", '
            '"links": [{"rel": "item", "href": "./gone.json"}]}',
            "gone.json",
        ),
    ],
)
def test_what_is_not_a_stac_catalog_is_told(tmp_path, name, content, told):
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(CatalogError, match=told):
        find(tmp_path / name)


@pytest.mark.parametrize(
    "broken",
    [
        {"geometry": {"type": "Polygon", "coordinates": [[[0, 0], [1, 1]]]}},
        {"geometry": {"type": "Blob", "coordinates": []}},
        {"geometry": "here"},
        {"properties": {"datetime": "2024-06-01T18:00:00Z", "eo:cloud_cover": "much"}},
        {"properties": {"datetime": "yesterday"}},
        {"properties": {"datetime": "2024-06-01T18:00:00Z", "gsd": float("nan")}},
        {"assets": {"red": "red.tif"}},
        {"assets": {"red": {"title": "no href"}}},
        {"id": None},
        {"properties": None},
    ],
    ids=str,
)
def test_an_item_that_is_no_item_is_dropped_by_name(tmp_path, broken):
    catalog = write_catalog(tmp_path, [stac_item("a", **broken), stac_item("b")])
    found = find(catalog)
    assert [item.id for item in found.items] == ["b"]
    dropped = next(entry for entry in found.lock["items"] if not entry["kept"])
    assert dropped["reason"].startswith("it is not a usable STAC item (")
    json.dumps(found.lock, allow_nan=False)
    with pytest.raises(CatalogError, match="no item fits region cuprite"):
        find(write_catalog(tmp_path / "alone", [stac_item("a", **broken)]))


@pytest.mark.parametrize(
    ("lacking", "told"),
    [
        ({"geometry": None}, "it has no geometry"),
        ({"properties": {"datetime": None}}, "it has no time"),
        ({"assets": {}}, "it has no assets"),
    ],
)
def test_an_item_that_lacks_what_is_needed_is_dropped_by_name(tmp_path, lacking, told):
    catalog = write_catalog(tmp_path, [stac_item("a", **lacking), stac_item("b")])
    reasons = {entry["id"]: entry.get("reason") for entry in find(catalog).lock["items"]}
    assert reasons["b"] is None
    assert reasons["a"].startswith(told)


def test_an_item_over_a_span_of_time_counts_from_its_start(tmp_path):
    span = {"datetime": None}
    span |= {"start_datetime": "2024-06-01T00:00:00Z", "end_datetime": "2024-06-30T00:00:00Z"}
    found = find(write_catalog(tmp_path, [stac_item("a", properties=span)]))
    assert found.start.isoformat() == "2024-06-01T00:00:00+00:00"


def test_a_catalog_that_holds_itself_comes_to_an_end(tmp_path):
    catalog = write_catalog(tmp_path, [stac_item("a")])
    root = json.loads(catalog.read_text())
    root["links"].append({"rel": "child", "href": "./catalog.json"})
    root["links"].append({"rel": "child", "href": "./collection.json"})
    catalog.write_text(json.dumps(root))
    assert len(find(catalog).lock["items"]) == 1


@pytest.mark.parametrize(
    "href",
    [
        "/vsicurl/https://example.org/a.tif",
        "/vsizip/a.zip/a.tif",
        "file:///etc/passwd",
        "http://example.org/a.tif",
        "s3://bucket/a.tif",
        "https://me:secret@example.org/a.tif",
    ],
)
def test_an_asset_at_an_unsafe_address_is_never_read(tmp_path, web, href):
    catalog = write_catalog(tmp_path, [stac_item("a", href=href)])
    for place in (str(catalog), f"{web}/catalog.json"):
        found = find(place).items[0].assets["red"].href
        if found.startswith(web):
            continue  # a path is one of the catalog's own host
        with pytest.raises(ReadError, match="is refused"):
            check(found, locate(place, Search(), Configs.at()).access, "item a")


def test_a_remote_catalog_cannot_point_into_this_machine(tmp_path, web):
    secret = tmp_path / "secret"
    write_catalog(secret, [stac_item("secret")])
    for href in (str(secret / "0.json"), f"file://{secret / '0.json'}"):
        catalog = write_catalog(tmp_path / "public", [])
        root = json.loads(catalog.read_text())
        root["links"] = [{"rel": "item", "href": href}]
        catalog.write_text(json.dumps(root))
        with pytest.raises(CatalogError):
            find(f"{web}/public/catalog.json")
    write_catalog(tmp_path / "public", [stac_item("a", href="/etc/passwd")])
    item = find(f"{web}/public/catalog.json").items[0]
    assert item.assets["red"].href == f"{web}/etc/passwd"


def test_a_plain_address_of_another_host_is_refused_before_it_is_reached():
    with pytest.raises(CatalogError, match="is refused; use https"):
        find("http://example.org/catalog.json")


def api(**fields):
    return type("ThisApi", (Api,), fields)


def test_a_stac_api_is_searched_page_by_page_and_picked_from_here(serve):
    items = [
        stac_item("b", "2024-06-02T18:00:00Z", href="https://example.org/b.tif"),
        stac_item("a", "2024-06-01T18:00:00Z", href="https://example.org/a.tif"),
        stac_item("cloudy", cloud=80.0, href="https://example.org/c.tif"),
        stac_item("far", bbox=FAR, href="https://example.org/d.tif"),
    ]
    handler = api(items=items)
    with serve(handler) as address:
        found = find(
            address, datetime="2024-06-01/2024-06-30", collections=("things",), max_cloud=10
        )
    assert [item.id for item in found.items] == ["a", "b"]
    told = {entry["id"]: entry.get("reason") for entry in found.lock["items"]}
    assert told["cloudy"] == "cloud cover 80 % is over 10 %"
    assert told["far"] == "outside the region"
    assert handler.asked["collections"] == ["things"]
    assert handler.asked["datetime"] == "2024-06-01T00:00:00Z/2024-06-30T23:59:59Z"
    assert handler.asked["intersects"]["type"] == "Polygon"


def test_an_api_and_a_static_catalog_of_the_same_items_give_the_same_digest(tmp_path, serve):
    items = [stac_item("a", href="https://example.org/a.tif"), stac_item("b", cloud=80.0)]
    with serve(api(items=items)) as address:
        one = find(address, max_cloud=10)
    two = find(write_catalog(tmp_path, items), max_cloud=10)
    assert one.digest == two.digest
    assert [e["item_sha256"] for e in one.lock["items"]] == [
        e["item_sha256"] for e in two.lock["items"]
    ]


@pytest.mark.parametrize(
    ("link", "told"),
    [
        ("http://example.org/search", "is refused"),
        ("file:///etc/passwd", "is refused"),
        ("{here}/elsewhere", "is refused"),
        ("{here}/broken", "HTTP 500"),
    ],
)
def test_an_api_that_sends_us_elsewhere_or_fails_is_told(serve, link, told):
    with serve(api(link=link)) as address, pytest.raises(CatalogError, match=told):
        find(address)


@pytest.mark.parametrize("href", ["/etc/passwd", "./red.tif"])
def test_a_path_in_an_api_is_one_of_its_own_host(serve, href):
    with serve(api(items=[stac_item("a", href=href)])) as address:
        found = find(address).items[0].assets["red"].href
    assert found.startswith(f"{address}/")


def test_the_box_of_the_made_items_holds_the_region():
    assert box(*BOX).contains(REGION)
