"""Outlines: the right way round, split at the antimeridian, refused where they are no area."""

import numpy as np
import pytest
from odc.geo.geom import Geometry
from pyproj import Geod, Transformer
from shapely.geometry import MultiPolygon, Point, box, mapping

from pipeline.errors import PlanError, RegionError
from pipeline.grid import inside, region_grid
from pipeline.plan import Region
from pipeline.region import in_degrees, outline_of, projected

UTM = "EPSG:32611"
POLAR = "EPSG:3031"  # Antarctic polar stereographic


def of_box(*numbers, crs="EPSG:4326"):
    return outline_of(Region(title="mine", bbox=numbers, crs=crs))


def of_ring(*corners, crs="EPSG:4326", holes=()):
    rings = [[*ring, ring[0]] for ring in (corners, *holes)]
    geometry = {"type": "Polygon", "coordinates": rings}
    return outline_of(Region(title="mine", geometry=geometry, crs=crs))


def halves(west, east, south, north):
    return MultiPolygon([box(west, south, 180, north), box(-180, south, east, north)])


def test_a_bbox_is_west_south_east_north():
    found = of_box(-117.5, 37.2, -117.1, 37.6)
    assert found.geom.equals(box(-117.5, 37.2, -117.1, 37.6))
    assert str(found.crs) == "EPSG:4326"


def test_west_greater_than_east_crosses_the_antimeridian():
    found = of_box(177.0, -19.0, -178.5, -16.0).geom
    assert found.geom_type == "MultiPolygon"
    assert found.equals(halves(177.0, -178.5, -19.0, -16.0))


@pytest.mark.parametrize(
    ("numbers", "told", "remedy"),
    [
        ((3, 2, 1, 4), r"its west \(3\) is not below its east \(1\)", "swap its first and third"),
        ((80, 2, -80, 4), r"its west \(80\)", "at most 180 degrees"),
        ((3, 2, 3, 4), r"its west \(3\)", "first and third"),
        ((1, 4, 3, 2), r"its south \(4\) is not below its north \(2\)", "second and fourth"),
        ((37, -117, 38, -116), "-117 is no latitude", "longitude before latitude"),
        ((100, -95, 101, 20), "-95 is no latitude", "from -90 to 90"),
        ((476540, 45, 488060, 46), "488060 is no longitude", "give the crs"),
        ((476540, 4144620, 488060, 4156140), "4.15614e.06 is no latitude", "give the crs"),
        ((10, 84, 11, 86), "it reaches latitude 86, and maps end at 85", "nearer to the pole"),
        ((10, -85.5, 11, -80), "it reaches latitude -85.5", "nearer to the pole"),
        ((-179, 10, 179, 20), "it spans 358 degrees", "cut it into several"),
    ],
)
def test_a_wrong_bbox_is_refused_with_the_numbers_to_mend(numbers, told, remedy):
    with pytest.raises(RegionError, match=told) as caught:
        of_box(*map(float, numbers))
    assert "region mine" in caught.value.where
    assert remedy in caught.value.remedy


@pytest.mark.parametrize("numbers", [(2.0, 1.0, 1.0, 3.0), (1.0, 3.0, 2.0, 1.0)])
def test_a_projected_bbox_never_crosses(numbers):
    with pytest.raises(RegionError, match="is not below its") as caught:
        of_box(*numbers, crs="EPSG:32611")
    assert "antimeridian" not in caught.value.remedy


def test_longitudes_may_run_on_past_180():
    expected = halves(177.0, -178.5, -19.0, -16.0)
    assert of_box(177.0, -19.0, 181.5, -16.0).geom.equals(expected)
    assert of_box(-183.0, -19.0, -178.5, -16.0).geom.equals(expected)
    assert of_box(185.0, 10.0, 186.0, 11.0).geom.equals(box(-175, 10, -174, 11))
    ring = of_ring((177, -19), (181.5, -19), (181.5, -16), (177, -16))
    assert ring.geom.equals(expected)


def test_a_polygon_crosses_where_its_corners_lie_on_two_sides():
    found = of_ring((177, -19), (-178.5, -19), (-178.5, -16), (177, -16)).geom
    assert found.equals(halves(177.0, -178.5, -19.0, -16.0))
    hole = ((179, -18), (-179.5, -18), (-179.5, -17), (179, -17))
    holed = of_ring((177, -19), (-178.5, -19), (-178.5, -16), (177, -16), holes=[hole]).geom
    assert holed.area == pytest.approx(4.5 * 3 - 1.5 * 1)
    far = ((-179.8, -18), (-179.5, -18), (-179.5, -17), (-179.8, -17))
    assert of_ring((177, -19), (-178.5, -19), (-178.5, -16), (177, -16), holes=[far]).geom.area == (
        pytest.approx(4.5 * 3 - 0.3)
    )


def test_an_outline_that_is_split_already_stays_as_it_is():
    given = halves(177.0, -178.5, -19.0, -16.0)
    found = outline_of(Region(title="mine", geometry=mapping(given)))
    assert found.geom.equals(given)
    apart = MultiPolygon([box(170, 10, 179, 11), box(-179, 10, -170, 11)])
    assert outline_of(Region(title="mine", geometry=mapping(apart))).geom.equals(apart)


@pytest.mark.parametrize(
    "geometry",
    [
        {"type": "Point", "coordinates": [1, 2]},
        {"type": "Polygon", "coordinates": []},
        {"type": "Polygon"},
        {"type": "Polygon", "coordinates": [[[0, 0], [2, 2], [2, 0], [0, 2], [0, 0]]]},
        {"type": "Nothing", "coordinates": []},
        {},
    ],
)
def test_what_is_no_polygon_is_refused(geometry):
    with pytest.raises(RegionError, match="not a polygon, is empty, or crosses itself"):
        outline_of(Region(title="mine", geometry=geometry))


def test_an_unknown_crs_is_named():
    with pytest.raises(PlanError, match="'EPSG:99999' is not known"):
        of_box(1.0, 2.0, 3.0, 4.0, crs="EPSG:99999")


def test_a_ring_around_a_pole_is_refused():
    with pytest.raises(RegionError, match="goes round a pole"):
        of_ring((-120, 70), (0, 70), (120, 70))
    with pytest.raises(RegionError, match="goes round a pole"):
        of_box(-2e6, -2e6, 2e6, 2e6, crs=POLAR)


def test_a_polar_region_in_its_own_crs():
    found = of_box(-1.7e6, 1.2e6, -1.6e6, 1.3e6, crs=POLAR)
    west, south, east, north = in_degrees(found).bounds
    assert -55 < west < east < -50
    assert -73 < south < north < -70
    with pytest.raises(RegionError, match=r"it reaches latitude -8[5-9]"):
        of_box(1e5, 1e5, 2e5, 2e5, crs=POLAR)


def test_a_region_where_its_crs_means_nothing_is_refused():
    with pytest.raises(RegionError, match="it has no place in"):
        of_box(1e9, 1e9, 2e9, 2e9, crs="EPSG:32611")


@pytest.mark.parametrize("zone", ["EPSG:32701", "EPSG:32760"])
def test_a_projected_region_across_the_antimeridian_is_split_in_degrees(zone):
    there = projected(of_box(179.0, -18.0, -179.2, -17.0), zone)
    found = in_degrees(Geometry(box(*there.geom.bounds), zone))
    assert found.geom_type == "MultiPolygon"
    parts = sorted(found.geoms, key=lambda part: part.bounds[0])
    assert parts[0].bounds[0] == -180.0
    assert parts[-1].bounds[2] == 180.0
    assert found.area == pytest.approx(1.8 * 1.0, rel=0.05)


@pytest.mark.parametrize("zone", ["EPSG:32701", "EPSG:32760"])
def test_a_grid_across_the_antimeridian_is_in_one_piece(zone):
    outline = of_box(179.4, -17.2, -179.7, -17.0)
    there = projected(outline, zone)
    assert there.geom.geom_type == "Polygon"
    geod = Geod(ellps="WGS84")
    wide = geod.line_length([179.4, 180.3], [-17.1, -17.1])
    grid = region_grid(there, 100.0)
    assert grid.shape[1] * 100 == pytest.approx(wide, rel=0.03)
    area, _ = geod.geometry_area_perimeter(box(179.4, -17.2, 180.3, -17.0).segmentize(0.01))
    scale = 0.9996 * 1.0006  # of UTM, where the region lies
    within = inside(grid, there.geom)
    assert within.sum() * 100**2 == pytest.approx(area * scale**2, rel=2e-3)
    # No seam: every row is inside without a break.
    for row in within[within.any(axis=1)]:
        assert np.count_nonzero(np.diff(row.astype(int))) <= 2


def test_sides_bend_where_they_have_to():
    """The northern side of a box of degrees is a parallel, which no straight line of UTM is."""
    outline = of_box(-118.0, 37.0, -116.0, 39.0)
    found, corners = (g.geom for g in (projected(outline, UTM), outline.to_crs(UTM)))
    to_utm = Transformer.from_crs("EPSG:4326", UTM, always_xy=True)
    middle = Point(to_utm.transform(-117.0, 39.0))
    assert middle.distance(corners.exterior) > 400.0
    assert middle.distance(found.exterior) < 0.1


def test_what_is_in_the_right_crs_already_is_not_touched():
    given = of_box(476540.0, 4144620.0, 488060.0, 4156140.0, crs="EPSG:32611")
    assert projected(given, "EPSG:32611") is given
    assert given.geom.equals_exact(box(476540, 4144620, 488060, 4156140))


def test_a_split_outline_with_corners_of_its_own_on_each_side_is_joined_cleanly():
    """The two sides of 180 rarely share their corners, and would overlap by nanometres."""
    parts = [box(179, -18, 180, -16).segmentize(0.1), box(-180, -18, -179, -16).segmentize(0.13)]
    there = projected(Geometry(MultiPolygon(parts), "EPSG:4326"), "EPSG:32701").geom
    assert there.is_valid
    assert there.geom_type == "Polygon"
