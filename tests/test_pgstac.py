"""A real STAC API: searched, paged, filtered, read, and a whole study run through it."""

import copy
import filecmp
import json
import shutil
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from urllib.parse import urljoin

import pytest
import yaml
from conftest import collection_document, three_bands, write_catalog
from faults import faulty
from servers import pgstac
from shapely.geometry import box, shape
from worlds import QUIET, make_small

from pipeline import cube
from pipeline.catalog import from_lock, locate, search, verify
from pipeline.errors import CatalogError
from pipeline.job import Job
from pipeline.plan import Configs, Search
from pipeline.remote import traffic
from pipeline.run import run

pytestmark = [
    pytest.mark.stac,
    pytest.mark.skipif(not pgstac.ready(), reason="make test-stac installs what this needs"),
]

COPIES = 35  # of each item of the small world, elsewhere and at other times
DIFFER = {
    "items.lock.json": "names the address of each item, and what each catalog offered besides",
    "run.json": "repeats the items, with the digest of the lock",
    "report.html": "repeats the items that were offered and dropped",
    "timings.json": "is of the clock",
}


def whole_items(world, address):
    """Return the items of a world with addresses instead of relative paths."""
    root = world.catalog.parent
    for path in sorted(root.rglob("*.json")):
        item = json.loads(path.read_text())
        if item["type"] == "Feature":
            base = f"{address}/{path.relative_to(root).as_posix()}"
            for asset in item["assets"].values():
                asset["href"] = urljoin(base, asset["href"])
            yield item | {"links": []}


def moved(item, number):
    """Return a copy of an item somewhere else (and, for each third, at the same place later)."""
    made = copy.deepcopy(item)
    made["id"] = f"{item['id']}-copy{number:03d}"
    when = datetime.fromisoformat(item["properties"]["datetime"]) + timedelta(days=17 * number)
    made["properties"]["datetime"] = when.strftime("%Y-%m-%dT%H:%M:%SZ")
    made["properties"]["eo:cloud_cover"] = number % 100
    if number % 3:
        shift = 1.5 * number
        west, south, east, north = item["bbox"]
        made["bbox"] = [west + shift, south, east + shift, north]
        made["geometry"] = json.loads(json.dumps(shape(item["geometry"]).__geo_interface__))
        for ring in made["geometry"]["coordinates"]:
            ring[:] = [[x + shift, y] for x, y in ring]
    return made


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A small world behind a server of files, and the same items in an API and in a catalog."""
    folder = tmp_path_factory.mktemp("pgstac")
    small = make_small(folder / "small")
    for sites in small.world.sites.values():
        shutil.copy(sites, small.workflow.parent)
    public = folder / "public"
    shutil.copytree(small.world.catalog.parent, public)
    with faulty(public) as (address, script):
        real = list(whole_items(small.world, address))
        items = real + [moved(item, n) for item in real for n in range(1, COPIES + 1)]
        static = write_catalog(public / "static", items)
        collections = [
            collection_document(name) for name in sorted({i["collection"] for i in real})
        ]
        host = address.removeprefix("http://")
        workflow = yaml.safe_load(small.workflow.read_text())
        workflow["search"] |= {"hosts": [host], "datetime": span(real)}
        small.workflow.write_text(yaml.safe_dump(workflow))
        with pgstac.api(collections, items) as api:
            yield Place(small, api, f"{address}/static/{static.name}", host, items, script)


class Place:
    def __init__(self, small, api, static, host, items, script):
        self.small, self.api, self.static = small, api, static
        self.host, self.items, self.script = host, items, script
        self.first = next(i for i in items if i["collection"] == "sentinel-2-l2a-demo")

    def find(self, catalog, region, **wanted):
        asked = Search(hosts=(self.host,), **wanted)
        return search(locate(catalog, asked, Configs.at()), asked, three_bands(), region, "here")


def span(items):
    days = sorted(item["properties"]["datetime"][:10] for item in items)
    return f"{days[0]}/{days[-1]}"


def test_it_holds_a_few_hundred_items(place):
    assert len(place.items) > 300
    found = place.find(place.api, box(-180, -90, 180, 90))
    assert len(found.lock["items"]) == len(place.items)  # more than two pages of a hundred
    assert [e["id"] for e in found.lock["items"]] == [
        e["id"] for e in place.find(place.static, box(-180, -90, 180, 90)).lock["items"]
    ]


@pytest.mark.parametrize(
    "wanted",
    [
        {},
        {"max_cloud": 5},
        {"months": (5, 6, 7), "min_overlap": 0.5},
        {"datetime": "../2100-01-01"},
        {"datetime": "2022-01-01/.."},
        {"per_cell": 1},
        {"filter": {"op": "<", "args": [{"property": "eo:cloud_cover"}, 6]}},
        {
            "filter": {
                "op": "and",
                "args": [
                    {"op": ">", "args": [{"property": "eo:cloud_cover"}, 2]},
                    {"op": "=", "args": [{"property": "platform"}, "synthetic"]},
                ],
            }
        },
    ],
    ids=str,
)
def test_it_gives_the_items_that_the_static_catalog_gives(place, wanted):
    first = place.first
    region = shape(first["geometry"]).centroid.buffer(0.02)
    wanted = {"collections": (first["collection"],)} | wanted
    one, two = (place.find(where, region, **wanted) for where in (place.api, place.static))
    assert [i.id for i in one.items] == [i.id for i in two.items]
    assert one.digest == two.digest
    assert 0 < len(one.items) < len(place.items)


def test_the_server_filters_and_says_so(place):
    first = place.first
    region = shape(first["geometry"]).centroid.buffer(0.02)
    none = {"op": "=", "args": [{"property": "platform"}, "no such thing"]}
    with pytest.raises(CatalogError, match="the catalog offers none"):
        place.find(place.api, region, filter=none)
    some = {"op": "<", "args": [{"property": "eo:cloud_cover"}, 6]}
    found = place.find(place.api, region, filter=some)
    assert found.lock["search"]["filtered_by"] == "catalog and client"


def test_a_collection_it_lacks_is_told(place):
    with pytest.raises(CatalogError, match="'sentinel-2-l2a-dem' is not there") as caught:
        place.find(place.api, box(0, 0, 1, 1), collections=("sentinel-2-l2a-dem",))
    assert "sentinel-2-l2a-demo" in caught.value.remedy


def test_its_items_are_verified_against_their_lock(place):
    region = shape(place.first["geometry"]).centroid.buffer(0.02)
    found = place.find(place.api, region, max_cloud=5)
    there = locate(place.api, Search(hosts=(place.host,)), Configs.at())
    again = from_lock(json.loads(json.dumps(found.lock)), there, "any")
    verify(again, there)
    entries = again.lock["items"]
    entry = next(e for e in entries if e["kept"])
    entry["item_sha256"], entry["item"]["properties"]["gsd"] = "0" * 64, 5
    with pytest.raises(CatalogError, match=r"has changed \(properties.gsd\)"):
        verify(replace(again, lock=again.lock | {"items": entries}), there)


def test_its_assets_are_read_in_parts(place):
    first = place.first
    region = shape(first["geometry"]).centroid.buffer(0.02)
    wanted = Search(hosts=(place.host,), collections=(first["collection"],), datetime=span([first]))
    there = locate(place.api, wanted, Configs.at())
    sensor = Configs.at().sensor("sentinel2-l2a")
    found = search(there, wanted, sensor, region, "here")
    made = cube.make_scenes(found.items, sensor, there.access, wanted.trust)
    assert [scene.item for scene in made.scenes] == [i.id for i in found.items]
    tried = [request for request in place.script.asked if request.path.endswith(".tif")]
    assert tried
    assert all("Range" in request.headers or "range" in request.headers for request in tried)


def test_a_study_through_it_equals_the_study_through_the_static_catalog(place, tmp_path):
    """Every product is the same, byte for byte; what differs is named, and why."""
    before = traffic().requests
    for name, where in (("api", place.api), ("static", place.static)):
        job = Job(place.small.workflow, tmp_path / name, where, place.small.configs)
        run(job, QUIET)
    assert traffic().requests > before
    one, two = (files_of(tmp_path / name) for name in ("api", "static"))
    assert one == two
    assert any(name.endswith("class.tif") for name in one)
    assert any(name.endswith("zones.gpkg") for name in one)
    _, unlike, broken = filecmp.cmpfiles(
        tmp_path / "api", tmp_path / "static", sorted(one), shallow=False
    )
    assert broken == []
    assert set(unlike) <= set(DIFFER), sorted(set(unlike) - set(DIFFER))
    assert len(one) - len(unlike) > 20
    digests = [
        json.loads((tmp_path / n / "run.json").read_text())["digest"] for n in ("api", "static")
    ]
    assert digests[0] == digests[1]


def files_of(folder):
    """Return the files of a run, without its lock against a second one."""
    paths = (path.relative_to(folder) for path in Path(folder).rglob("*") if path.is_file())
    return {path.as_posix() for path in paths if path.name != ".lock"}
