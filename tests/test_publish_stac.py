import json
from copy import deepcopy
from dataclasses import replace
from hashlib import sha256

import numpy as np
import pystac
import pytest
from finished_maps import finished, write_cog
from pystac.errors import STACValidationError
from stac_validator import SCHEMAS, offline_validator

from pipeline.publish import Product, write_all, write_collection


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A run folder of two regions, written in full, and its collection."""
    folder = tmp_path_factory.mktemp("run")
    regions = [finished(folder / "north"), replace(finished(folder / "south"), region="south")]
    for region in regions:
        write_all(region)
    return write_collection(folder / "stac", "study", "What a run made.", regions)


@pytest.fixture
def validator():
    """Nothing is fetched."""
    return offline_validator()


def items(paths):
    return [json.loads(path.read_text(encoding="utf-8")) for path in paths[1:]]


def test_everything_validates_offline(made, validator):
    collection = pystac.Collection.from_file(str(made[0]))
    found = list(collection.get_items())
    assert len(found) == len(made) - 1 == 2 * 5
    used = set()
    for thing in (collection, *found):
        used.update(thing.stac_extensions)
        thing.validate(validator=validator)
    assert used == {schema.rstrip("#") for schema in extension_ids()}


def extension_ids():
    return [json.loads(p.read_text(encoding="utf-8"))["$id"] for p in SCHEMAS.glob("*.json")]


@pytest.mark.parametrize(
    ("key", "wrong"),
    [
        ("file:checksum", "not hexadecimal"),
        ("raster:bands", [{"data_type": "uint12"}]),
        ("classification:classes", [{"value": "one", "name": "x"}]),
    ],
)
def test_the_schemas_would_notice(made, validator, key, wrong):
    item = deepcopy(next(i for i in items(made) if i["id"] == "north-class"))
    item["assets"]["data"][key] = wrong
    with pytest.raises(STACValidationError):
        pystac.Item.from_dict(item).validate(validator=validator)


def test_every_asset_exists_and_is_what_its_checksum_says(made):
    seen = set()
    for item in items(made):
        for asset in item["assets"].values():
            path = (made[0].parent / asset["href"]).resolve()
            content = path.read_bytes()
            assert asset["file:checksum"] == "1220" + sha256(content).hexdigest()
            assert asset["file:size"] == len(content)
            seen.add(path.name)
    assert {"class.tif", "class.qml", "class.png", "class.mbtiles", "zones.gpkg"} <= seen


def test_links_are_relative_and_lead_from_the_collection_to_every_item(made):
    collection = json.loads(made[0].read_text(encoding="utf-8"))
    hrefs = [link["href"] for link in collection["links"] if link["rel"] == "item"]
    assert [made[0].parent / href for href in hrefs] == made[1:]
    text = "".join(path.read_text(encoding="utf-8") for path in made)
    assert str(made[0].parents[1]) not in text


def test_an_item_says_what_the_numbers_mean_and_where_they_lie(made):
    score = next(i for i in items(made) if i["id"] == "north-score_alunite")
    band = score["assets"]["data"]["raster:bands"][0]
    assert (band["scale"], band["offset"], band["nodata"]) == (1e-4, 0.0, 65535.0)
    assert score["properties"]["proj:code"] == "EPSG:32611"
    assert score["properties"]["proj:shape"] == [120, 160]
    assert score["properties"]["start_datetime"] == "1995-06-19T18:00:00Z"
    assert score["properties"]["prospectra:release"] == "operator"
    west, south, east, north = score["bbox"]
    assert -117.13 < west < east < -117.08
    assert 37.60 < south < north < 37.64
    classes = next(i for i in items(made) if i["id"] == "north-class")["assets"]["data"]
    mica = classes["classification:classes"][2]
    assert (mica["value"], mica["name"], mica["color_hint"]) == (2, "white_mica", "2F6FB7")


def test_the_same_run_is_the_same_bytes(made):
    before = [path.read_bytes() for path in made]
    folder = made[0].parents[1]
    regions = [finished(folder / "north"), replace(finished(folder / "south"), region="south")]
    again = write_collection(folder / "stac", "study", "What a run made.", regions)
    assert [p.read_bytes() for p in again] == before


def test_a_projection_without_a_code_is_described_in_full(tmp_path, validator):
    crs = "+proj=laea +lat_0=37 +lon_0=-117 +datum=WGS84 +units=m"
    cog = write_cog(tmp_path / "odd.tif", np.ones((4, 5), np.uint8), 0, crs=crs)
    region = finished(tmp_path / "north")
    odd = replace(region, products=(Product("odd", "support", "Odd", cog),))
    paths = write_collection(tmp_path / "stac", "study", "Odd.", [odd])
    item = pystac.Item.from_file(str(paths[1]))
    item.validate(validator=validator)
    assert item.properties["proj:code"] is None
    assert "Lambert Azimuthal" in item.properties["proj:wkt2"]
