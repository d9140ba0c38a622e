"""What could not be read: named, counted in pixels, and held against what the workflow asks for."""

from types import SimpleNamespace

import pytest
from odc.geo.geobox import GeoBox
from odc.geo.geom import Geometry
from shapely.geometry import box

from pipeline.coverage import Gap, coverage, gaps_at_start, require
from pipeline.errors import ReadError
from pipeline.grid import Block

LEFT, TOP, SIDE = 500000, 4000000, 20  # a grid of 700 x 600 pixels of 20 m
GRID = GeoBox.from_bbox(
    (LEFT, TOP - 600 * SIDE, LEFT + 700 * SIDE, TOP), "EPSG:32611", resolution=SIDE
)


def ground(footprints, unreadable=None, least=0.9):
    """One region, its outline without the rightmost 100 columns."""
    outline = box(LEFT, TOP - 600 * SIDE, LEFT + 600 * SIDE, TOP)
    lonlat = {n: Geometry(f, "EPSG:32611").to_crs("EPSG:4326").geom for n, f in footprints.items()}
    wanted = SimpleNamespace(name="two", search=SimpleNamespace(min_readable=least))
    found = SimpleNamespace(wanted=wanted, footprints=lonlat, unreadable=unreadable or {})
    return SimpleNamespace(
        name="here", found=(found,), grid=GRID, outline=outline, shape=(600, 700)
    )


def columns(first, last):
    """A footprint over some columns; a hair larger, as degrees bend its edges."""
    return box(LEFT + first * SIDE - 3, TOP - 601 * SIDE, LEFT + last * SIDE + 3, TOP + SIDE)


def test_nothing_missing_is_a_share_of_one():
    assert coverage(ground({"a": columns(0, 700)}), []) == {"two": {"share": 1.0, "gaps": []}}


def test_an_item_that_never_opened_takes_its_own_ground_away_and_no_more():
    here = ground({"a": columns(0, 700), "b": columns(500, 700)}, {"b": "asset red: HTTP 404"})
    (gap,) = gaps_at_start(here)
    covered = coverage(here, [gap])["two"]
    # By hand: a has 600 columns inside the outline, b has 100; 600 rows each.
    assert covered["wanted"] == 600 * 600 + 100 * 600
    assert covered["lost"] == 100 * 600
    assert covered["share"] == pytest.approx(6 / 7)
    assert covered["gaps"] == [{"item": "b", "reason": "asset red: HTTP 404", "pixels": 60000}]


def test_a_block_that_could_not_be_read_counts_only_its_pixels_inside_the_region():
    here = ground({"a": columns(0, 700), "b": columns(0, 550)})
    gaps = [
        Gap("two", "a", "damaged", Block(512, 600, 512, 700)),  # 88 rows of columns 512 to 599
        Gap("two", "a", "damaged", Block(0, 512, 512, 700)),
        Gap("two", "b", "cut short", Block(0, 512, 512, 700)),  # 512 rows of columns 512 to 549
    ]
    covered = coverage(here, gaps)["two"]
    assert [g["pixels"] for g in covered["gaps"]] == [600 * 88, 512 * 38]
    assert covered["wanted"] == 600 * 600 + 600 * 550
    assert covered["share"] == pytest.approx(1 - (600 * 88 + 512 * 38) / (600 * 1150))


def test_less_than_is_wanted_stops_and_names_what_is_missing():
    here = ground({"a": columns(0, 700), "b": columns(500, 700)}, {"b": "asset red: HTTP 404"})
    covered = coverage(here, gaps_at_start(here))
    with pytest.raises(ReadError) as caught:
        require(here, covered)
    for told in ("region here, sensor two", "0.8571", "0.9 is wanted", "b: asset red: HTTP 404"):
        assert told in str(caught.value)
    assert caught.value.exit_code == 5
    require(ground({"a": columns(0, 700)}, least=0.85), covered)
