"""What real catalogs once answered, played back: real pages through the search and the choice.

The questions that were recorded were wider than ours, so the player matches the address and the
method only, and answers in the order of the recording.
"""

import json
from collections import deque
from pathlib import Path

import pystac
import pytest
import yaml
from conftest import three_bands
from shapely.geometry import box, shape

from pipeline import remote
from pipeline.catalog import from_lock, locate, search
from pipeline.cube import offset, sentinel2
from pipeline.cube.assets import bands_of, declared
from pipeline.cube.offset import Rules
from pipeline.plan import Configs, Search

TAPES = Path(__file__).parents[1] / ".." / "shared" / "data" / "stac_cassettes"
pytestmark = pytest.mark.skipif(
    not TAPES.is_dir(), reason="../shared/data/stac_cassettes is not here"
)
WORLD = box(-180.0, -90.0, 180.0, 90.0)


class Player:
    """Answers as the recorded catalog did; after its last page, with a page of nothing."""

    def __init__(self, tape, root=None):
        self.answers, self.asked, self.items = {}, [], []
        for one in yaml.safe_load((TAPES / tape).read_text())["interactions"]:
            key = one["request"]["method"], one["request"]["uri"]
            self.answers.setdefault(key, deque()).append(one["response"]["body"]["string"])
            if key[0] == "POST":
                self.items += json.loads(one["response"]["body"]["string"])["features"]
        if root is not None:
            self.answers["GET", root["links"][0]["href"]] = deque([json.dumps(root)])

    def request_text(self, href, access, method="GET", body=None, _headers=None):
        remote.check(href, access, "catalog")
        self.asked.append((method, href, json.loads(body) if body else None))
        waiting = self.answers.get((method, href), deque())
        return (
            waiting.popleft()
            if waiting
            else json.dumps({"type": "FeatureCollection", "features": []})
        )

    def read_text(self, href, access):
        return self.request_text(href, access)

    def install(self, monkeypatch):
        monkeypatch.setattr(remote, "request_text", self.request_text)
        monkeypatch.setattr(remote, "read_text", self.read_text)
        return self


@pytest.fixture
def earth_search(monkeypatch):
    return Player("earth_search_filter_paging.yaml").install(monkeypatch)


@pytest.fixture
def planetary_computer(monkeypatch):
    """Its tape holds searches only, so the landing page is the least there can be."""
    address = Configs.at().catalog("planetary-computer").address
    root = {
        "type": "Catalog",
        "stac_version": "1.0.0",
        "id": "microsoft-pc",
        "description": "made for this test",
        "conformsTo": ["https://api.stacspec.org/v1.0.0/item-search"],
        "links": [
            {"rel": "self", "href": address},
            {"rel": "search", "href": f"{address}/search", "method": "POST"},
        ],
    }
    return Player("planetary_computer_intersects.yaml", root).install(monkeypatch)


def find(name, region=WORLD, sensor=None, **wanted):
    asked = Search(**wanted)
    place = locate(name, asked, Configs.at())
    return place, search(place, asked, sensor or three_bands(), region, "anywhere")


def test_earth_search_is_paged_to_its_end_and_filtered_here(earth_search):
    """It does not say that it can filter, and what it sent for this filter shows that it cannot."""
    clear = {"op": "lte", "args": [{"property": "eo:cloud_cover"}, 40]}
    _, found = find("earth-search", filter=clear)
    asked = [body for method, _, body in earth_search.asked if method == "POST"]
    assert len(asked) == 3  # two pages with items, and one with none
    assert "filter" not in asked[0]
    assert asked[0]["limit"] == 100
    assert asked[1]["next"].endswith("S2B_T24MVV_20250731T130245_L2A,sentinel-2-c1-l2a")
    assert found.lock["search"]["filtered_by"] == "client"
    told = {entry["id"]: entry.get("reason") for entry in found.lock["items"]}
    assert set(told) == {item["id"] for item in earth_search.items}
    unmet = {name for name, reason in told.items() if reason == "it does not meet search.filter"}
    covers = {i["id"]: i["properties"].get("eo:cloud_cover") for i in earth_search.items}
    # Radar says nothing of clouds, which is not at most forty.
    assert unmet == {name for name, cover in covers.items() if cover is None or cover > 40}
    assert len(unmet) == 8
    assert found.items


def test_of_two_collections_with_one_scene_the_first_asked_for_is_kept(earth_search):
    wanted = ("sentinel-2-c1-l2a", "sentinel-2-l2a", "sentinel-2-l1c", "sentinel-1-grd")
    _, found = find("earth-search", collections=wanted)
    told = {entry["id"]: entry.get("reason") for entry in found.lock["items"]}
    assert told["S2B_T20EPT_20250731T131905_L2A"] is None
    twin = "the same scene as S2B_T20EPT_20250731T131905_L2A of sentinel-2-c1-l2a, baseline 05.11"
    assert told["S2B_20EPT_20250731_0_L2A"] == twin
    assert earth_search.asked[1][2]["collections"] == list(wanted)


def test_sentinel_2_of_earth_search_is_picked_and_locked(earth_search):
    real = next(i for i in earth_search.items if i["collection"] == "sentinel-2-c1-l2a")
    sensor = Configs.at().sensor("sentinel2-l2a")
    region = shape(real["geometry"]).centroid.buffer(0.02)
    place, found = find("earth-search", region, sensor, min_overlap=0.5)
    asked = next(body for method, _, body in earth_search.asked if method == "POST")
    assert asked["collections"] == ["sentinel-2-c1-l2a", "sentinel-2-l2a"]
    assert asked["intersects"]["type"] == "Polygon"
    kept = [i.id for i in found.items]
    assert real["id"] in kept
    reasons = {e["reason"] for e in found.lock["items"] if not e["kept"]}
    assert "outside the region" in reasons
    item = next(i for i in found.items if i.id == real["id"])
    for name in ("red", "swir16", "scl"):
        remote.check(item.assets[name].href, place.access, item.id)
    entry = next(e for e in found.lock["items"] if e["id"] == real["id"])
    assert entry["self"].endswith(f"/collections/sentinel-2-c1-l2a/items/{real['id']}")
    assert set(entry["item"]["assets"]) >= {"red", "swir16", "scl"}
    assert "thumbnail" not in entry["item"]["assets"]
    again = from_lock(json.loads(json.dumps(found.lock)), place, "sentinel2-l2a")
    assert [i.id for i in again.items] == kept
    assert again.items[0].assets["red"].href == found.items[0].assets["red"].href
    assert again.items[0].assets["red"].extra_fields == found.items[0].assets["red"].extra_fields


def test_the_flag_of_real_items_tells_that_their_offset_was_taken_out(earth_search):
    """Copies of `sentinel-2-l2a` say `boa_offset_applied` and an offset of -0.1 all the same."""
    sensor, told = Configs.at().sensor("sentinel2-l2a"), {}
    for content in earth_search.items:
        if content["collection"] not in ("sentinel-2-c1-l2a", "sentinel-2-l2a"):
            continue
        item = pystac.Item.from_dict(content, migrate=False)
        version = sentinel2.baseline_of(item)
        bands = bands_of(item, sensor).values()
        said = {key: declared(item.assets[key])["offset"] * 10_000 for key, _ in bands}
        assert {round(word) for word in said.values()} == {-1000}
        words = sentinel2.declared_offset(item, said, version)
        verdict, _ = offset.decide(item, None, Rules(sensor, None, "earth-search"), None)
        told.setdefault(item.collection_id, []).append((version, words, verdict.offset))
    assert told["sentinel-2-l2a"] == [("05.11", (0,), None)] * 6  # the pixels are yet to be asked
    assert told["sentinel-2-c1-l2a"] == [("05.11", (-1000,), -1000)] * 6


def test_planetary_computer_answers_are_understood(planetary_computer):
    region = box(-73.21, 43.99, -73.12, 44.05)
    place, found = find("planetary-computer", region, collections=("naip",))
    assert place.access.scheme == "planetary-computer"
    assert place.documents.scheme == "open"
    asked = planetary_computer.asked
    assert [method for method, _, _ in asked] == ["GET", "POST"]
    assert asked[1][2]["collections"] == ["naip"]
    assert len(found.items) > 4
    assert all(entry["kept"] for entry in found.lock["items"])
    times = [i.datetime for i in found.items]
    assert times == sorted(times)
    for item in found.items:
        assert item.collection_id == "naip"
        remote.check(item.assets["image"].href, place.access, item.id)


@pytest.mark.usefixtures("planetary_computer")
def test_real_items_that_cover_too_little_are_told():
    region = box(-73.21, 43.99, -73.12, 44.05)
    _, found = find("planetary-computer", region, collections=("naip",), min_overlap=0.3)
    reasons = [e["reason"] for e in found.lock["items"] if not e["kept"]]
    assert reasons
    assert all("of the region, less than 30.0%" in reason for reason in reasons)
