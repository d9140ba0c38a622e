"""The lock: what it keeps out, and how it tells an item that has changed."""

import json
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from conftest import stac_item, three_bands, write_catalog
from shapely.geometry import box
from stac_geoparquet.arrow import parse_stac_items_to_arrow, to_parquet

from pipeline import remote
from pipeline.catalog import compare_stamps, essence, from_lock, locate, search, verify
from pipeline.catalog.canonical import canonical, unsigned
from pipeline.errors import CatalogError
from pipeline.files import digest_of
from pipeline.plan import Configs, Search

REGION = box(-117.25, 37.45, -117.2, 37.5)
REAL = Path(__file__).parents[1] / ".." / "shared" / "data" / "stac_items"


def locked(catalog, **wanted):
    place = locate(str(catalog), Search(**wanted), Configs.at())
    return place, search(place, Search(**wanted), three_bands(), REGION, "cuprite")


@pytest.mark.parametrize(
    ("href", "kept"),
    [
        ("https://a.org/b.tif", "https://a.org/b.tif"),
        ("https://a.org/b.tif?sv=2021&se=2024&sp=rl&sig=abc%3D", "https://a.org/b.tif"),
        (
            "https://a.org/b.tif?version=2&X-Amz-Signature=s&X-Amz-Date=d",
            "https://a.org/b.tif?version=2",
        ),
        ("https://a.org/b.tif?token=t&x=1", "https://a.org/b.tif?x=1"),
        ("https://a.org/b?se=south-east&st=street", "https://a.org/b?se=south-east&st=street"),
        ("https://me:secret@a.org/b.tif", "https://a.org/b.tif"),
        ("./b.tif", "./b.tif"),
    ],
)
def test_a_signature_is_never_written(href, kept):
    assert unsigned(href) == kept


def test_nothing_secret_is_in_a_lock_and_reading_still_has_it(tmp_path):
    signed = "https://a.example.org/red.tif?sig=secret&se=2024"
    item = stac_item("a", href=signed)
    item["assets"]["red"]["alternate"] = {"s3": {"href": "https://b.example.org/r?token=secret"}}
    _, found = locked(write_catalog(tmp_path, [item]))
    assert "secret" not in json.dumps(found.lock)
    assert found.items[0].assets["red"].href == signed
    item["assets"]["red"]["href"] = signed.replace("secret", "renewed")
    _, again = locked(write_catalog(tmp_path, [item]))
    assert again.digest == found.digest


def test_the_digest_is_of_what_is_meant_and_not_of_how_it_is_written():
    one = stac_item("a", "2024-06-01T18:00:00Z", cloud=1)
    two = stac_item("a", "2024-06-01T18:00:00.000000+00:00", cloud=1.0)
    two["properties"]["gsd"] = None
    two |= {"links": [{"rel": "self", "href": "https://a.org/b"}], "stac_extensions": ["x"]}
    assert digest_of(canonical(one)) == digest_of(canonical(two))
    for changed in ({"cloud": 1.5}, {"href": "./blue.tif"}, {"bbox": (-117.3, 37.4, -117.1, 37.7)}):
        assert digest_of(canonical(stac_item("a", **changed))) != digest_of(canonical(one))


def test_a_lock_says_nothing_of_where_the_catalog_lies(tmp_path):
    write_catalog(tmp_path / "one", [stac_item("a")])
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    one, two = (locked(tmp_path / name / "catalog.json")[1] for name in ("one", "two"))
    assert one.lock == two.lock
    assert str(tmp_path) not in json.dumps(one.lock)


def test_only_what_the_sensor_reads_is_kept_of_an_item(tmp_path):
    item = stac_item("a")
    item["assets"]["thumbnail"] = {"href": "./small.jpg"}
    place, found = locked(write_catalog(tmp_path, [item]))
    assert list(found.lock["items"][0]["item"]["assets"]) == ["red"]
    assert sorted(found.items[0].assets) == ["red", "thumbnail"]
    verify(from_lock(found.lock, place, "three-bands"), place)


def test_a_locked_run_needs_only_its_own_items(tmp_path):
    place, found = locked(
        write_catalog(tmp_path, [stac_item("a"), stac_item("b", cloud=90.0)]), max_cloud=50
    )
    (tmp_path / "catalog.json").unlink()
    (tmp_path / "1.json").unlink()
    again = from_lock(found.lock, place, "three-bands")
    verify(again, place)
    assert [i.id for i in again.items] == ["a"]
    assert again.digest == found.digest


def test_the_lock_of_several_sensors_gives_each_its_own(tmp_path):
    place, found = locked(write_catalog(tmp_path, [stac_item("a"), stac_item("b")]))
    entries = [
        entry | {"sensor": name}
        for entry, name in zip(found.lock["items"], ("one", "two"), strict=True)
    ]
    searches = {"one": {"max_cloud": 1}, "two": {"max_cloud": 2}}
    written = {"region": "cuprite", "searches": searches, "items": entries}
    two = from_lock(written, place, "two")
    assert [i.id for i in two.items] == ["b"]
    assert two.lock["search"] == {"max_cloud": 2}
    with pytest.raises(CatalogError, match="lock of items for the sensor three"):
        from_lock(written, place, "three")
    with pytest.raises(CatalogError, match="is not a lock"):
        from_lock({"items": [1]}, place, "two")
    with pytest.raises(CatalogError, match="names no item"):
        from_lock(written | {"items": [entries[0]]}, place, "two")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda i: i["properties"].update({"eo:cloud_cover": 2.0}), "properties.eo:cloud_cover"),
        (lambda i: i["assets"]["red"].update({"href": "./b.tif"}), "assets.red.href"),
        (lambda i: i["assets"].pop("red"), "assets.red"),
        (lambda i: i["properties"].update({"new": 1}), "properties.new"),
        (lambda i: i["assets"].update({"x": {"href": "x"}}), "in what is not read"),
        (lambda i: i.update({"properties": None}), "no longer a usable item"),
    ],
)
def test_an_item_that_has_changed_is_refused_by_name(tmp_path, change, told):
    item = stac_item("a")
    place, found = locked(write_catalog(tmp_path, [item]))
    change(item)
    (tmp_path / "0.json").write_text(json.dumps(item))
    with pytest.raises(CatalogError, match=told) as caught:
        verify(from_lock(found.lock, place, "three-bands"), place)
    assert caught.value.where == "item a"
    assert "run without --locked" in caught.value.remedy


def test_an_item_that_is_gone_or_is_another_is_refused(tmp_path):
    place, found = locked(write_catalog(tmp_path, [stac_item("a")]))
    (tmp_path / "0.json").write_text("[]")
    with pytest.raises(CatalogError, match="no longer a usable item"):
        verify(found, place)
    (tmp_path / "0.json").unlink()
    with pytest.raises(CatalogError, match="cannot be fetched again"):
        verify(found, place)


def test_items_that_lie_in_one_file_are_verified_there(tmp_path):
    items = [stac_item("a"), stac_item("b")]
    features, table = tmp_path / "items.json", tmp_path / "items.parquet"

    def write():
        features.write_text(json.dumps({"type": "FeatureCollection", "features": items}))
        to_parquet(parse_stac_items_to_arrow(items), table)

    write()
    both = [locked(features), locked(table)]
    for place, found in both:
        verify(found, place)
    items[1]["properties"]["eo:cloud_cover"] = 3.0
    write()
    for place, found in both:
        with pytest.raises(
            CatalogError, match=r"item b: has changed \(properties.eo:cloud_cover\)"
        ):
            verify(found, place)
    del items[1]
    write()
    for place, found in both:
        with pytest.raises(CatalogError, match="item b: is no longer there"):
            verify(found, place)


@pytest.mark.parametrize(
    ("now", "told"),
    [
        ({"red": {"size": 11, "etag": "x"}}, "the size of its asset red was 10, is 11"),
        ({"red": {"size": 10, "etag": "y"}}, "the etag of its asset red was x, is y"),
        ({}, "its asset red is no longer there"),
    ],
)
def test_an_asset_that_has_changed_is_refused_by_name(now, told):
    entry = {"id": "a", "assets": {"red": {"href": "https://a.org/r", "size": 10, "etag": "x"}}}
    compare_stamps(entry, {"red": {"size": 10, "etag": "x"}, "nir": {"size": 1}})
    compare_stamps(entry, {"red": {"size": 10}})
    compare_stamps({"id": "b"}, {})
    with pytest.raises(CatalogError, match=told) as caught:
        compare_stamps(entry, now)
    assert caught.value.where.startswith("item a")


def test_what_decides_the_maps_is_not_where_they_were_read(tmp_path):
    _, found = locked(
        write_catalog(tmp_path, [stac_item("a"), stac_item("b", cloud=90)]), max_cloud=50
    )
    entry = found.lock["items"][0] | {"assets": {"red": {"href": "/here/red.tif", "size": 1}}}
    moved = entry | {"self": "https://a.org/a", "assets": {"red": {"href": "/there", "size": 1}}}
    kept = essence({"items": [entry, found.lock["items"][1]]})
    assert kept == essence({"items": [moved]})
    assert kept != essence({"items": [moved | {"item_sha256": "0"}]})
    assert kept != essence({"items": [moved | {"assets": {"red": {"size": 2}}}]})


@pytest.mark.skipif(not REAL.is_dir(), reason="../shared/data/stac_items is not here")
def test_a_real_item_is_the_same_from_its_file_and_from_a_table(tmp_path):
    content = json.loads((REAL / "S2A_28QCH_20200714_0_L2A.json").read_text())
    path = tmp_path / "real.parquet"
    to_parquet(parse_stac_items_to_arrow([content]), path)
    assert pq.read_metadata(path).num_rows == 1
    region = box(*content["bbox"]).centroid.buffer(0.05)
    sensor = Configs.at().sensor("sentinel2-l2a")
    (tmp_path / "real.json").write_text(json.dumps(content))
    found = []
    for name in ("real.json", "real.parquet"):
        place = locate(str(tmp_path / name), Search(), Configs.at())
        found.append(search(place, Search(), sensor, region, "here"))
    assert found[0].digest == found[1].digest


def test_an_open_bucket_is_read_over_https_where_the_catalog_is_known_for_it():
    place = locate("earth-search", Search(), Configs.at())
    asset = {"href": "s3://copernicus-dem-30m/Copernicus_DSM_N00/tile.tif"}
    href = place.href_of(asset)
    assert href == "https://copernicus-dem-30m.s3.amazonaws.com/Copernicus_DSM_N00/tile.tif"
    assert remote.check(href, place.access, "item") == href
    other = {"href": "s3://another-bucket/tile.tif"}
    assert place.href_of(other) == other["href"]


@pytest.mark.parametrize("content", ["not json", '{"stac_version": "1.0.0", "type": "Catalog"}'])
def test_a_signature_in_the_address_of_a_catalog_is_never_told(web, tmp_path, content):
    (tmp_path / "catalog.json").write_text(content)
    with pytest.raises(CatalogError) as caught:
        locked(f"{web}/catalog.json?sig=SECRET")
    assert "SECRET" not in str(caught.value)
    assert f"{web}/catalog.json" in str(caught.value)
