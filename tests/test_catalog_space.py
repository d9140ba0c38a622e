"""Footprints and regions: at the antimeridian, near the poles, and in between."""

import pytest
from conftest import stac_item, three_bands, write_catalog
from shapely.geometry import MultiPolygon, Point, Polygon, box, mapping

from pipeline.catalog import locate, search
from pipeline.catalog.footprint import covered, in_order, outline_of
from pipeline.errors import RegionError
from pipeline.plan import Configs, Search

FIJI = MultiPolygon([box(179.0, -18.0, 180.0, -17.0), box(-180.0, -18.0, -179.0, -17.0)])


def share(region, footprint):
    return covered(outline_of(region), footprint)


def crossing(west, south, east, north):
    """A footprint written straight across: its longitudes jump from 179 to -179."""
    return Polygon([(west, south), (east, south), (east, north), (west, north)])


@pytest.mark.parametrize(
    ("footprint", "part"),
    [
        (crossing(178.0, -19.0, -178.0, -16.0), 1.0),
        (crossing(178.0, -19.0, 182.0, -16.0), 1.0),
        (crossing(-182.0, -19.0, -178.0, -16.0), 1.0),
        (MultiPolygon([box(178, -19, 180, -16), box(-180, -19, -178, -16)]), 1.0),
        (box(178.0, -19.0, 180.0, -16.0), 0.5),
        (box(-180.0, -19.0, -179.5, -16.0), 0.25),
        (box(179.0, -18.0, 179.5, -17.0), 0.25),
        (box(-180.0, -90.0, 180.0, 90.0), 1.0),
    ],
)
def test_a_region_across_the_antimeridian_is_met_however_a_footprint_is_written(footprint, part):
    assert share(FIJI, footprint) == pytest.approx(part, abs=1e-4)


@pytest.mark.parametrize(
    "footprint",
    [box(0.0, -19.0, 10.0, -16.0), box(177.0, -19.0, 178.5, -16.0), crossing(178, 10, -178, 12)],
)
def test_what_does_not_meet_it_is_outside(footprint):
    assert share(FIJI, footprint) is None


def test_a_footprint_across_the_antimeridian_does_not_cover_the_rest_of_the_world():
    assert share(box(0.0, -18.0, 1.0, -17.0), crossing(178.0, -19.0, -178.0, -16.0)) is None


def test_shares_are_of_ground_and_not_of_degrees():
    """The southern half in degrees of a region from 40 to 60 N: sin tells its true share."""
    region, southern = box(10.0, 40.0, 12.0, 60.0), box(10.0, 40.0, 12.0, 50.0)
    expected = (0.76604444 - 0.64278761) / (0.86602540 - 0.64278761)
    # On the ellipsoid a little less than on the sphere.
    assert share(region, southern) == pytest.approx(expected, abs=0.002)


def test_a_footprint_whose_sides_cross_is_mended():
    bow = Polygon([(0, 0), (1, 1), (1, 0), (0, 1)])
    assert not bow.is_valid
    assert share(box(0.0, 0.0, 1.0, 1.0), bow) == pytest.approx(0.5, abs=0.01)
    assert in_order(bow).is_valid


def test_a_point_or_a_touch_covers_nothing():
    region = box(0.0, 0.0, 1.0, 1.0)
    assert share(region, Point(0.5, 0.5)) == 0.0
    assert share(region, box(1.0, 0.0, 2.0, 1.0)) == 0.0
    assert share(region, Point(2.0, 2.0)) is None


@pytest.mark.parametrize("sign", [1, -1])
def test_near_a_pole_footprints_are_compared_on_the_ground(sign):
    region = box(30.0, 82.0, 40.0, 83.0) if sign > 0 else box(30.0, -83.0, 40.0, -82.0)
    # A scene around the pole: its corners lie on all sides of it.
    around = Polygon([(lon, sign * 79.0) for lon in (0.0, 60.0, 120.0, 180.0, -120.0, -60.0)])
    assert share(region, around) == pytest.approx(1.0, abs=0.01)
    narrow = Polygon([(20, sign * 81), (36, sign * 81), (36, sign * 84), (20, sign * 84)])
    assert share(region, narrow) == pytest.approx(0.6, abs=0.03)
    assert share(region, box(-160.0, 81.0, -150.0, 84.0)) is None
    assert share(region, box(30.0, -sign * 83.0 - 1, 40.0, -sign * 82.0 + 1)) is None


def test_a_polar_region_across_the_antimeridian():
    region = MultiPolygon([box(178.0, 81.0, 180.0, 82.0), box(-180.0, 81.0, -178.0, 82.0)])
    assert share(region, crossing(176.0, 80.5, -176.0, 82.5)) == pytest.approx(1.0, abs=0.01)
    assert share(region, crossing(176.0, 80.5, 180.0, 82.5)) == pytest.approx(0.5, abs=0.02)


def test_a_footprint_around_the_pole_covers_what_lies_beyond_it():
    around = Polygon([(lon, 60.0) for lon in (0.0, 60.0, 120.0, 180.0, -120.0, -60.0)])
    assert share(box(10.0, 70.0, 20.0, 75.0), around) == pytest.approx(1.0)
    assert share(box(10.0, 50.0, 20.0, 55.0), around) is None


def test_a_search_across_the_antimeridian(tmp_path):
    there = stac_item("there", geometry=mapping(crossing(178.0, -19.0, -178.0, -16.0)))
    east = stac_item("east", bbox=(-180.0, -19.0, -178.0, -16.0))
    half = stac_item("half", bbox=(-180.0, -19.0, -179.5, -16.0))
    away = stac_item("away", bbox=(0.0, -19.0, 2.0, -16.0))
    catalog = write_catalog(tmp_path, [there, east, half, away])
    wanted = Search(min_overlap=0.4)
    place = locate(str(catalog), wanted, Configs.at())
    found = search(place, wanted, three_bands(), FIJI, "fiji")
    told = {e["id"]: e.get("reason") for e in found.lock["items"]}
    assert told == {
        "there": None,
        "east": None,
        "half": "it covers 25.0% of the region, less than 40.0%",
        "away": "outside the region",
    }
    with pytest.raises(RegionError):
        search(place, wanted, three_bands(), box(90.0, 0.0, 91.0, 1.0), "elsewhere")
