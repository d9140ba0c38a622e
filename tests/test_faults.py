"""A composite through a faulty network: the same bytes, or a named end."""

from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import pytest
from faults import KINDS, faulty
from items import levels, make_item
from items import raster as save
from stacks import CLASSES, make_grid, make_sensor

from pipeline import remote
from pipeline.cube import Imagery, make_scenes, read_reflectance
from pipeline.errors import ReadError
from pipeline.grid import Block, crop
from pipeline.remote import Access, fetch, patience

SIDE, DATES, BANDS = 512, 6, 3
SENSOR = make_sensor(CLASSES, bands=BANDS)
NAMES = list(SENSOR.bands)


@pytest.fixture(autouse=True)
def hasty(monkeypatch):
    monkeypatch.setattr(fetch, "TIMEOUT", 0.3)
    monkeypatch.setattr(patience, "_LONGEST", 0.02)


@pytest.fixture(scope="module")
def catalog(tmp_path_factory):
    """Files of six dates, three bands and a mask each, in a folder."""
    folder = tmp_path_factory.mktemp("catalog")
    for date in range(DATES):
        for number, name in enumerate(NAMES):
            values = levels((SIDE, SIDE), 1200, 5000, 10 * date + number)
            save(folder / f"{date}-{name}.tif", values, blockxsize=256, blockysize=256)
        classes = np.random.default_rng(date).choice([5, 5, 5, 8], (SIDE, SIDE)).astype(np.uint8)
        save(folder / f"{date}-scl.tif", classes, blockxsize=256, blockysize=256)
    return folder


def composite(address, tolerant=False, **given):
    """Return the composite of a served catalog as bytes, read block by block by four threads."""
    access = Access(hosts=(address[7:],), pause=0.01, **given)
    found = []
    for date in range(DATES):
        hrefs = {name: f"{address}/{date}-{name}.tif" for name in (*NAMES, "scl")}
        found.append(make_item(hrefs, f"date{date}"))
    made = make_scenes(found, SENSOR, access, tolerant=tolerant)
    imagery = Imagery("own", SENSOR, made.scenes, tolerant=tolerant)
    whole = make_grid(SIDE, SIDE)
    corners = [(row, column) for row in range(0, SIDE, 128) for column in range(0, SIDE, 128)]
    grids = [crop(whole, Block(row, row + 128, col, col + 128)) for row, col in corners]
    with ThreadPoolExecutor(4) as pool:
        blocks = list(pool.map(partial(read_reflectance, imagery), grids))
    return made, [block.reflectance.values.tobytes() for block in blocks], blocks


@pytest.fixture(scope="module")
def clean(catalog):
    """The requests and the composite where nothing goes wrong."""
    with faulty(catalog) as (address, script):
        _, found, _ = composite(address)
        return len(script.asked), found


@pytest.mark.parametrize("seed", [1, 2])
def test_with_faults_in_three_of_ten_requests_the_composite_is_the_same(catalog, clean, seed):
    requests, expected = clean
    before = remote.traffic()
    with faulty(catalog, share=0.3, seed=seed) as (address, script):
        _, found, _ = composite(address)
    after = remote.traffic()
    faults = sum(script.faults.values())
    kinds = ", ".join(f"{kind} {count}" for kind, count in sorted(script.faults.items()))
    print(  # noqa: T201 (the figures of docs/network.md)
        f"\nfaults in 30 % of requests, seed {seed}: {requests} requests without faults; with "
        f"{faults} faults ({kinds}) {len(script.asked)} requests, {len(script.asked) - requests} "
        f"extra ({len(script.asked) / requests:.2f} times)"
    )
    assert found == expected
    assert set(script.faults) == set(KINDS)
    assert 0.2 < faults / len(script.asked) < 0.4
    assert len(script.asked) < 2 * requests
    assert after.requests - before.requests >= len(script.asked)


@pytest.mark.parametrize("kind", KINDS)
def test_with_nothing_but_faults_the_end_comes_in_time_and_names_the_item(catalog, kind):
    with faulty(catalog, share=1.0, kinds=(kind,)) as (address, script):
        with pytest.raises(ReadError, match=r"item date\d, asset \w+ \(http://127.*\d-\w+\.tif\)"):
            composite(address, tries=3)
        most = 3 * 2 * DATES * (BANDS + 1)
        assert len(script.asked) <= most


def test_with_nothing_but_faults_patience_ends_for_the_whole_process(catalog):
    with faulty(catalog, share=1.0, kinds=("503",), retry_after="0.1") as (address, script):
        with pytest.raises(ReadError, match="the patience with 127"):
            composite(address, patience=0.05)
        # Each file that is still tried is asked for once, and not a dozen times.
        assert len(script.asked) < 3 * DATES * (BANDS + 1)


def test_what_cannot_be_read_is_left_out_by_name(catalog):
    with faulty(catalog, permanent={"/3-red.tif": "404"}) as (address, _):
        made, _, _ = composite(address, tolerant=True)
        assert list(made.unreadable) == ["date3"]
        assert "asset red" in made.unreadable["date3"]
        assert "HTTP 404" in made.unreadable["date3"]
        assert [scene.item for scene in made.scenes] == [f"date{n}" for n in (0, 1, 2, 4, 5)]
