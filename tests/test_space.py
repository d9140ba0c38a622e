"""Where pixels are: ramps that must come out of any file at the places where they went in.

A ramp is linear in the coordinates of the map: 1 a pixel eastwards, 3 a pixel northwards. A file
in any CRS holds its values at the centres of the file's own pixels; on the map's grid it must come
back as the ramp at the centres of the map's pixels.
"""

from dataclasses import replace

import numpy as np
import pystac
import pytest
import rasterio
from affine import Affine
from conftest import stac_item, write_catalog
from odc.geo.geobox import GeoBox
from odc.geo.geom import box as geobox_of
from pyproj import Transformer
from shapely.geometry import MultiPolygon, box, mapping
from worlds import make_small

from pipeline.cube import (
    Imagery,
    Scene,
    Source,
    join,
    join_sensors,
    make_scenes,
    native_grid,
    read_reflectance,
)
from pipeline.cube.resample import common_ground, positions, ratio, resample
from pipeline.errors import RegionError
from pipeline.grid import Block, blocks, crop, region_grid
from pipeline.ground import prepare, wanted_imagery
from pipeline.plan import BUILT_IN, Band, Configs, Mask, Region, Sensor, Workflow
from pipeline.region import outline_of, projected

UTM11, UTM12, DEGREES, SOUTH_POLE = "EPSG:32611", "EPSG:32612", "EPSG:4326", "EPSG:3031"
EAST, NORTH = 1.0, 3.0  # of the ramp, a pixel of the map
CLOSE = 0.005 * (EAST + NORTH)  # a two-hundredth of a pixel
ONE = Sensor(
    title="one band",
    bands={"red": Band(assets=("red",), wavelength=665, fwhm=38)},
    resolution=20,
    source="made for tests",
)


def grid_at(left, top, crs=UTM11, shape=(60, 70), resolution=20.0):
    return GeoBox(shape, Affine(resolution, 0, left, 0, -resolution, top), crs)


def ramp(grid, x, y):
    """The ramp of a map's grid at coordinates of its CRS."""
    step = grid.resolution.x
    return EAST * (x - grid.affine.c) / step + NORTH * (y - grid.affine.f) / step


def centres(grid):
    rows, columns = np.indices(grid.shape) + 0.5
    a, b, c, d, e, f = grid.affine[:6]
    return a * columns + b * rows + c, d * columns + e * rows + f


def written(path, values, theirs):
    profile = {"driver": "GTiff", "count": 1, "dtype": values.dtype, "crs": str(theirs.crs)}
    height, width = theirs.shape
    with rasterio.open(
        path, "w", **profile, height=height, width=width, transform=theirs.affine, tiled=True
    ) as out:
        out.write(values, 1)
    return str(path)


def ramp_file(path, theirs, grid):
    """A file on its own grid whose pixels hold the ramp of another at their centres."""
    x, y = centres(theirs)
    if theirs.crs != grid.crs:
        x, y = Transformer.from_crs(str(theirs.crs), str(grid.crs), always_xy=True).transform(x, y)
    return written(path, ramp(grid, x, y).astype(np.float32), theirs)


def near(theirs, grid):
    """How near a ramp must come: a mean counts whole pixels and parts of pixels, whose centres lie
    up to an eighth of a pixel of the file beside those of the parts."""
    sizes = [max(size, 1.0) for size in ratio(theirs, grid)]
    if max(sizes) < 1.5:
        return CLOSE
    return CLOSE + 0.125 * sum(
        slope / size**2 for slope, size in zip((EAST, NORTH), sizes, strict=True)
    )


def read(grid, *scenes, sensor=ONE):
    return read_reflectance(Imagery("one", sensor, scenes), grid)["reflectance"].values


def scene(*hrefs, mask=None):
    masks = () if mask is None else (Source("mask", mask),)
    return Scene("one", None, tuple(Source("red", href) for href in hrefs), masks)


def around(grid, crs, pixel, off=(0.0, 0.0)):
    """A north-up grid of another CRS and pixel size that holds a map, out of step by `off`."""
    outline = grid.extent.to_crs(crs, resolution=grid.resolution.x).boundingbox
    margin = 4 * pixel
    left, top = outline.left - margin + off[0] * pixel, outline.top + margin + off[1] * pixel
    shape = tuple(
        int(span / pixel) + 9
        for span in (outline.top - outline.bottom, outline.right - outline.left)
    )
    return GeoBox(shape, Affine(pixel, 0, left, 0, -pixel, top), crs)


NEVADA = grid_at(500_000, 4_100_000)
EDGE_OF_ZONE = grid_at(757_000, 4_100_000)
ICE = grid_at(-1_650_000, 1_250_000, SOUTH_POLE)
NEAR_ICE = grid_at(430_000, 2_080_000, "EPSG:32722")

FILES = {
    "the same pixels": (NEVADA, around(NEVADA, UTM11, 20.0)),
    "half a pixel off": (NEVADA, around(NEVADA, UTM11, 20.0, (0.5, 0.5))),
    "a third of a pixel off": (NEVADA, around(NEVADA, UTM11, 20.0, (1 / 3, -1 / 3))),
    "10 m in step": (NEVADA, around(NEVADA, UTM11, 10.0)),
    "10 m out of step": (NEVADA, around(NEVADA, UTM11, 10.0, (0.5, 0.3))),
    "60 m": (NEVADA, around(NEVADA, UTM11, 60.0)),
    "30 m, as Landsat has it": (NEVADA, around(NEVADA, UTM11, 30.0, (0.5, 0.5))),
    "1 m": (NEVADA, around(NEVADA, UTM11, 1.0, (0.2, 0.7))),
    "another zone": (EDGE_OF_ZONE, around(EDGE_OF_ZONE, UTM12, 20.0, (0.3, 0.1))),
    "another zone, 10 m": (EDGE_OF_ZONE, around(EDGE_OF_ZONE, UTM12, 10.0, (0.3, 0.1))),
    "degrees": (NEVADA, around(NEVADA, DEGREES, 1 / 3600, (0.2, 0.4))),
    "fine degrees": (NEVADA, around(NEVADA, DEGREES, 1 / 14400, (0.2, 0.4))),
    "web Mercator": (NEVADA, around(NEVADA, "EPSG:3857", 30.0, (0.2, 0.4))),
    "polar on polar": (ICE, around(ICE, SOUTH_POLE, 30.0, (0.5, 0.5))),
    "UTM on polar": (ICE, around(ICE, "EPSG:32722", 20.0, (0.1, 0.9))),
    "degrees on polar": (ICE, around(ICE, DEGREES, 1 / 3600)),
    "polar on UTM": (NEAR_ICE, around(NEAR_ICE, SOUTH_POLE, 10.0, (0.1, 0.9))),
}


@pytest.mark.parametrize("name", FILES)
def test_a_ramp_comes_back_where_it_was(tmp_path, name):
    grid, theirs = FILES[name]
    found = read(grid, scene(ramp_file(tmp_path / "a.tif", theirs, grid)))[0]
    off = found - ramp(grid, *centres(grid))
    assert np.abs(off).max() <= near(theirs, grid)
    assert np.abs(off.mean()) < CLOSE  # no shift


@pytest.mark.parametrize("pixel", [10.0, 20.0, 33.0])
@pytest.mark.parametrize("kind", ["south up", "turned by 30 degrees", "turned over"])
def test_files_that_are_not_north_up(tmp_path, kind, pixel):
    turned = {
        "south up": Affine(pixel, 0, 498_000, 0, pixel, 4_096_000),
        "turned by 30 degrees": Affine.translation(499_300, 4_100_300)
        @ Affine.rotation(-30.0)
        @ Affine.scale(pixel, -pixel),
        "turned over": Affine(0, pixel, 498_000, pixel, 0, 4_096_000),  # columns run north
    }[kind]
    size = round(4000 / pixel)
    theirs = GeoBox((size, size), turned, UTM11)
    grid = grid_at(499_507, 4_097_970, shape=(40, 50))
    found = read(grid, scene(ramp_file(tmp_path / "a.tif", theirs, grid)))[0]
    off = found - ramp(grid, *centres(grid))
    assert np.abs(off).max() <= near(theirs, grid)
    assert np.abs(off.mean()) < CLOSE  # no shift


def test_bands_of_several_pixel_sizes_lie_on_each_other(tmp_path):
    bands = {
        name: Band(assets=(name,), wavelength=665, fwhm=38, resolution=pixel)
        for name, pixel in (("fine", 10), ("own", 20), ("coarse", 60))
    }
    sensor = ONE.model_copy(update={"bands": bands})
    hrefs = [
        ramp_file(tmp_path / f"{name}.tif", around(NEVADA, UTM11, float(pixel)), NEVADA)
        for name, pixel in (("fine", 10), ("own", 20), ("coarse", 60))
    ]
    for values in read(NEVADA, scene(*hrefs), sensor=sensor):
        np.testing.assert_allclose(values, ramp(NEVADA, *centres(NEVADA)), atol=CLOSE)


@pytest.mark.parametrize(
    ("crs", "pixel"), [(UTM11, 20.0), (UTM11, 10.0), (UTM12, 60.0), (DEGREES, 1 / 3600)]
)
def test_a_mask_is_read_from_the_nearest_pixel_and_never_mixed(tmp_path, crs, pixel):
    """Classes 4 and 8 alternate at random; anything between them would be bare ground."""
    grid = grid_at(500_010, 4_100_010)
    theirs = around(grid, crs, pixel, (0.37, 0.21))
    classes = np.random.default_rng(1).choice(np.array([4, 8], np.uint8), theirs.shape)
    mask = written(tmp_path / "scl.tif", classes, theirs)
    flags = {"wanted": (4,), "between": (5, 6, 7), "cloud": (8,)}
    masks = (Mask(assets=("scl",), flags=flags, drop=("wanted", "cloud")),)
    href = ramp_file(tmp_path / "a.tif", around(grid, UTM11, 20.0), grid)
    between = read(grid, scene(href, mask=mask), sensor=ONE.model_copy(update={"masks": masks}))
    assert np.isnan(between).all()

    masks = (Mask(assets=("scl",), flags=flags, drop=("between", "cloud")),)
    kept = read(grid, scene(href, mask=mask), sensor=ONE.model_copy(update={"masks": masks}))[0]
    x, y = centres(grid)
    if crs != UTM11:
        x, y = Transformer.from_crs(UTM11, crs, always_xy=True).transform(x, y)
    u, v = ((at / pixel) for at in (x - theirs.affine.c, theirs.affine.f - y))
    sure = (np.abs(u - np.rint(u)) > 1e-3) & (np.abs(v - np.rint(v)) > 1e-3)
    expected = classes[v.astype(int), u.astype(int)] == 4
    assert sure.mean() > 0.9
    np.testing.assert_array_equal(np.isfinite(kept)[sure], expected[sure])


# Blocks


def in_blocks(values, theirs, grid, size, *, classes=False):
    whole = np.empty(grid.shape, np.float32)
    for block in blocks(grid.shape, size):
        part = crop(grid, block)
        at = positions(theirs, part)
        here = values[at.row : at.row + at.height, at.column : at.column + at.width]
        whole[block.slices] = resample(here, 0, at, ratio(theirs, part), classes=classes)
    return whole


BLOCKED = {
    "a file of 1 m on a grid of 20 m": (
        grid_at(500_010.37, 4_100_000, shape=(40, 280)),
        grid_at(500_000.11, 4_100_009.3, shape=(820, 5640), resolution=1.0),
    ),
    "a file of 1 m on a grid of 1 m": (
        grid_at(500_010.37, 4_100_000, shape=(8, 5000), resolution=1.0),
        grid_at(500_000.11, 4_100_009.3, shape=(40, 5040), resolution=1.0),
    ),
    "a file of 17 m on a grid of 30 m": (
        grid_at(500_010.37, 4_100_000, shape=(400, 400), resolution=30.0),
        grid_at(499_900.11, 4_100_109.3, shape=(730, 730), resolution=17.0),
    ),
    "a file of another zone": (
        grid_at(750_010.37, 4_100_000, shape=(300, 300)),
        around(grid_at(750_010.37, 4_100_000, shape=(300, 300)), UTM12, 10.0, (0.3, 0.1)),
    ),
}


@pytest.mark.parametrize("name", BLOCKED)
@pytest.mark.parametrize("classes", [False, True])
def test_the_size_of_a_block_changes_no_digit(name, classes):
    grid, theirs = BLOCKED[name]
    values = np.random.default_rng(3).integers(0, 9000, theirs.shape).astype(np.uint16)
    whole = in_blocks(values, theirs, grid, 10_000, classes=classes)
    assert np.isfinite(whole).mean() > 0.95
    for size in (17, 64):
        np.testing.assert_array_equal(in_blocks(values, theirs, grid, size, classes=classes), whole)


def test_a_fine_file_is_read_in_parts_that_change_no_digit(tmp_path, monkeypatch):
    grid, theirs = BLOCKED["a file of 1 m on a grid of 20 m"]
    values = np.random.default_rng(4).integers(1, 9000, theirs.shape).astype(np.uint16)
    fine = scene(written(tmp_path / "a.tif", values, theirs))
    whole = read(grid, fine)
    seen = []
    monkeypatch.setattr(
        "pipeline.cube.source.resample",
        lambda values, *rest, **how: (seen.append(values.size), resample(values, *rest, **how))[1],
    )
    monkeypatch.setattr("pipeline.cube.source._AT_ONCE", 10_000)
    np.testing.assert_array_equal(read(grid, fine), whole)
    assert max(seen) <= 10_000
    assert len(seen) > 400


def test_the_ratio_is_measured_on_the_ground():
    assert ratio(around(NEVADA, UTM11, 10.0), NEVADA) == (2.0, 2.0)
    wide, tall = ratio(around(NEVADA, DEGREES, 1 / 3600), NEVADA)
    assert (wide, tall) == pytest.approx((20 / 24.72, 20 / 30.83), abs=0.02)  # at 37 degrees north
    mercator = ratio(around(NEVADA, "EPSG:3857", 30.0), NEVADA)
    assert mercator == pytest.approx((20 / (30 * 0.799),) * 2, abs=0.02)


# The antimeridian


FIJI = outline_of(Region(title="Fiji", bbox=(179.8, -17.1, -179.85, -16.9)))


@pytest.fixture(scope="module")
def fiji():
    return region_grid(projected(FIJI, "EPSG:32701"), 200.0)


def side(west, east, crs, pixel):
    """A file over a box of degrees, in a CRS."""
    x, y = Transformer.from_crs(DEGREES, crs, always_xy=True).transform(
        np.array([west, west, east, east]), np.array([-17.15, -16.85, -17.15, -16.85])
    )
    shape = round((y.max() - y.min()) / pixel), round((x.max() - x.min()) / pixel)
    return GeoBox(shape, Affine(pixel, 0, x.min(), 0, -pixel, y.max()), crs)


def test_two_zones_fill_a_region_across_the_antimeridian_without_a_seam(tmp_path, fiji):
    west = ramp_file(tmp_path / "60.tif", side(179.7, 180.01, "EPSG:32760", 100.0), fiji)
    east = ramp_file(tmp_path / "1.tif", side(179.99, 180.25, "EPSG:32701", 100.0), fiji)
    found = read(fiji, scene(west), scene(east))[0]
    assert fiji.shape[1] * 200 == pytest.approx(0.35 * 106_500, rel=0.05)
    off = np.abs(found - ramp(fiji, *centres(fiji)))
    assert np.mean(off > CLOSE) < 0.01  # the last half pixel of a file leans on one side only
    assert off.max() < 0.25 * EAST
    for alone in (west, east):
        assert 0.4 < np.isfinite(read(fiji, scene(alone))).mean() < 0.7


def test_degrees_are_read_on_both_sides_however_they_are_counted(tmp_path, fiji):
    pixel = 1 / 500

    def tile(name, west, east):
        shape = round(0.3 / pixel), round((east - west) / pixel)
        theirs = GeoBox(shape, Affine(pixel, 0, west, 0, -pixel, -16.85), DEGREES)
        return scene(ramp_file(tmp_path / f"{name}.tif", theirs, fiji))

    expected = ramp(fiji, *centres(fiji))
    for name, west, east in (("on", 179.7, 180.25), ("back", -180.3, -179.75)):
        found = read(fiji, tile(name, west, east))[0]
        np.testing.assert_allclose(found, expected, atol=CLOSE)
    # Two tiles that end at 180: the last half pixel of each leans on one side only.
    two = read(fiji, tile("west", 179.7, 180.0), tile("east", -180.0, -179.75))[0]
    assert np.isfinite(two).all()
    np.testing.assert_allclose(two, expected, atol=0.6 * EAST)


def test_a_file_round_the_world_is_read_across_its_own_edge(tmp_path, fiji):
    pixel = 0.02
    theirs = GeoBox((20, 18_000), Affine(pixel, 0, -180, 0, -pixel, -16.8), DEGREES)
    found = read(fiji, scene(ramp_file(tmp_path / "a.tif", theirs, fiji)))[0]
    expected = ramp(fiji, *centres(fiji))
    assert np.isfinite(found).all()
    lon, _ = Transformer.from_crs("EPSG:32701", DEGREES, always_xy=True).transform(*centres(fiji))
    inner = np.abs(np.abs(lon) - 180) > pixel / 2
    np.testing.assert_allclose(found[inner], expected[inner], atol=CLOSE)
    np.testing.assert_allclose(found, expected, atol=6.0 * EAST)  # half a pixel of the file


def test_a_file_elsewhere_has_no_part_in_it(fiji):
    """Between 179 and -179 lies no Greenwich."""
    theirs = GeoBox((300, 300), Affine(0.1, 0, -15, 0, -0.1, 0.0), DEGREES)
    assert not common_ground(theirs, fiji)
    at = positions(theirs, fiji)
    assert not ((at.u > 0) & (at.u < 300)).any()
    world = GeoBox((100, 400), Affine(100_000, 0, -20_000_000, 0, -100_000, 5_000_000), "EPSG:3857")
    torn = ~np.isfinite(positions(world, fiji).u)
    assert 0 < torn.mean() < 0.3  # where the projection is torn, nothing is read


def prepared(folder, items, bbox, grid):
    """A region's ground, from a catalog of items of one sensor with one band."""
    folder.mkdir(exist_ok=True)
    root = write_catalog(folder / "catalog", items)
    (folder / "sensors").mkdir()
    (folder / "sensors" / "one.yaml").write_text(
        "title: one band\nresolution: 200\nsource: made for tests\nquantity: elevation\n"
        "bands: {red: {assets: [red]}}\n"
    )
    workflow = Workflow(
        name="here",
        title="here",
        sensor="one",
        mapping={"regions": ("here",)},
        evidence=("ndvi",),
        grid=grid,
    )
    wanted = wanted_imagery(workflow, str(root), Configs((folder, BUILT_IN)))
    return prepare("here", Region(title="here", bbox=bbox), wanted, None, workflow)


@pytest.mark.parametrize("wanted", [{}, {"crs": UTM11}, {"resolution": 30.0}])
def test_imagery_in_degrees_needs_a_grid_by_name(tmp_path, wanted):
    pixel = 1 / 3600
    theirs = GeoBox((400, 400), Affine(pixel, 0, -117.05, 0, -pixel, 37.05), DEGREES)
    item = stac_item(
        "one",
        href=ramp_file(tmp_path / "a.tif", theirs, NEVADA),
        geometry=mapping(box(*theirs.boundingbox.bbox)),
    )
    inner = (-117.02, 36.96, -116.97, 37.02)
    with pytest.raises(RegionError, match="not squares in metres") as caught:
        prepared(tmp_path / "wanting", [item], inner, wanted)
    assert "grid.crs and grid.resolution" in caught.value.remedy
    ground = prepared(tmp_path / "whole", [item], inner, {"crs": UTM11, "resolution": 30.0})
    found = read_reflectance(ground.imagery[0], ground.grid)["reflectance"].values[0]
    expected = ramp(NEVADA, *centres(ground.grid))
    np.testing.assert_allclose(found, expected, atol=CLOSE)


def test_a_study_across_the_antimeridian_finds_both_sides(tmp_path, fiji):
    """From a bbox with west > east to a map without a seam, by way of the catalog."""
    sides = {
        "west": (side(179.7, 180.01, "EPSG:32760", 100.0), [box(179.7, -17.2, 180.0, -16.8)]),
        "east": (
            side(179.99, 180.25, "EPSG:32701", 100.0),
            [box(179.99, -17.2, 180.0, -16.8), box(-180.0, -17.2, -179.75, -16.8)],
        ),
    }
    items = []
    for name, (theirs, outline) in sides.items():
        href = ramp_file(tmp_path / f"{name}.tif", theirs, fiji)
        items.append(stac_item(name, href=href, geometry=mapping(MultiPolygon(outline))))
    far = stac_item("greenwich", bbox=(-1.0, -17.2, 1.0, -16.8))
    own = {"crs": "EPSG:32701", "resolution": 200.0}
    ground = prepared(tmp_path, [*items, far], (179.8, -17.1, -179.85, -16.9), own)
    assert [scene.item for scene in ground.imagery[0].scenes] == ["east", "west"]
    found = read_reflectance(ground.imagery[0], ground.grid)["reflectance"].values[0]
    off = np.abs(found - ramp(fiji, *centres(ground.grid)))
    assert np.isfinite(off).all()
    assert off.max() < 0.25 * EAST
    assert ground.grid.shape == fiji.shape


@pytest.mark.parametrize(
    ("theirs", "meets"),
    [
        (grid_at(501_380, 4_100_000), True),
        (grid_at(501_400, 4_100_000), False),
        (grid_at(498_620, 4_100_000), True),
        (grid_at(498_600, 4_100_000), False),
        (grid_at(500_000, 4_101_200), False),
        (around(NEVADA, UTM12, 20.0), True),
        (around(NEVADA, DEGREES, 1e-3), True),
        (around(NEVADA, DEGREES, 1e-3, (200, 0)), False),
        (GeoBox((10, 10), Affine(0.1, 0, 10, 0, -0.1, 50), DEGREES), False),
        (GeoBox((180, 360), Affine(1, 0, -180, 0, -1, 90), DEGREES), True),
    ],
)
def test_common_ground(theirs, meets):
    assert common_ground(theirs, NEVADA) is meets


def test_common_ground_at_a_pole():
    polar = GeoBox((100, 100), Affine(1000, 0, -1_700_000, 0, -1000, 1_300_000), SOUTH_POLE)
    tile = GeoBox((100, 100), Affine(0.01, 0, -53, 0, -0.01, -71.5), DEGREES)
    across = GeoBox((100, 100), Affine(0.01, 0, 127, 0, -0.01, -71.5), DEGREES)
    assert common_ground(tile, polar)
    assert not common_ground(across, polar)


# The grid that imagery decides


def scene_on(path, theirs):
    return scene(written(path, np.zeros(theirs.shape, np.uint8), theirs))


def test_the_zone_that_covers_most_of_the_region_decides(tmp_path):
    region = GeoBox((100, 100), Affine(20, 0, 757_000, 0, -20, 4_100_000), UTM11)
    outline = geobox_of(*region.boundingbox.bbox, crs=UTM11).to_crs(DEGREES)
    corner = scene_on(tmp_path / "a.tif", grid_at(756_000, 4_100_500, shape=(50, 70)))
    whole = scene_on(tmp_path / "b.tif", around(region, UTM12, 20.0))
    assert native_grid([corner, whole], ONE, outline)[0] == UTM12
    assert native_grid([corner, whole], ONE)[0] == UTM11
    both = scene_on(tmp_path / "c.tif", around(region, UTM11, 20.0))
    assert native_grid([both, whole], ONE, outline)[0] == UTM11
    assert native_grid([whole, both], ONE, outline)[0] == UTM12
    # Several small scenes of one zone count together.
    halves = [
        scene_on(tmp_path / f"{n}.tif", grid_at(756_500, 4_100_500 - 1000 * n, shape=(50, 200)))
        for n in range(3)
    ]
    east = scene_on(tmp_path / "d.tif", around(crop(region, Block(0, 100, 40, 100)), UTM12, 20.0))
    assert native_grid([east, *halves], ONE, outline)[0] == UTM11


def test_the_zone_is_chosen_across_the_antimeridian_too(tmp_path):
    west = scene_on(tmp_path / "60.tif", side(179.7, 180.01, "EPSG:32760", 100.0))
    east = scene_on(tmp_path / "1.tif", side(179.7, 180.25, "EPSG:32701", 100.0))
    assert native_grid([west, east], ONE, FIJI)[0] == "EPSG:32701"


@pytest.mark.parametrize(
    "affine",
    [
        Affine(20, 0, 500_000, 0, -30, 4_100_000),
        Affine.translation(500_000, 4_100_000) @ Affine.rotation(10) @ Affine.scale(20, -20),
    ],
)
def test_pixels_that_are_no_squares_side_by_side_are_refused(tmp_path, affine):
    with pytest.raises(RegionError, match="not squares in metres") as caught:
        native_grid([scene_on(tmp_path / "a.tif", GeoBox((9, 9), affine, UTM11))], ONE)
    assert "grid.crs and grid.resolution" in caught.value.remedy


def test_polar_imagery_has_a_grid_of_its_own(tmp_path):
    crs, resolution, anchor = native_grid([scene_on(tmp_path / "a.tif", ICE)], ONE)
    assert (crs, resolution, anchor) == (SOUTH_POLE, 20.0, (-1_650_000.0, 1_250_000.0))


# Two sensors on one grid


@pytest.fixture(scope="module")
def two_sensors(tmp_path_factory):
    small = make_small(tmp_path_factory.mktemp("two"))
    root = pystac.Catalog.from_file(str(small.world.catalog))
    items = [i for i in root.get_items(recursive=True) if "nevada" in i.id]
    for item in items:
        item.make_asset_hrefs_absolute()
    found = {}
    for name, collection in (
        ("sentinel2-l2a", "sentinel-2-l2a-demo"),
        ("landsat-oli-c2-l2", "landsat-c2-l2-demo"),
    ):
        sensor = small.configs.sensor(name)
        own = [item for item in items if item.collection_id == collection]
        found[name] = Imagery(name, sensor, make_scenes(own, sensor).scenes)
    outline = outline_of(small.configs.region("demo_nevada"))
    return found, outline


def test_two_sensors_see_the_same_ground_on_one_grid(two_sensors):
    imagery, outline = two_sensors
    first, second = imagery.values()
    crs, resolution, anchor = native_grid(first.scenes, first.sensor, outline)
    assert resolution == 20.0
    grid = region_grid(projected(outline, str(crs)), resolution, anchor)
    parts = [read_reflectance(each, grid) for each in (first, second)]
    sensor = join_sensors({each.name: each.sensor for each in (first, second)})
    both = join(parts, sensor)
    assert both.sizes["band"] == 17
    clear = both["clear_count"].values > 0
    assert clear.mean() > 0.4
    for band in ("red", "nir08", "swir16", "swir22"):
        one = both["reflectance"].sel(band=band).values
        other = both["reflectance"].sel(band=f"landsat_oli_c2_l2_{band}").values
        apart = (one - other)[clear]
        assert abs(np.median(apart)) < 0.02, band
        assert np.percentile(np.abs(apart), 90) < 0.08, band
        # Nowhere do they agree better than where they lie.
        here = likeness(one, other, clear, (0, 0))
        assert here > 0.9, band
        for step in ((0, 1), (1, 0), (0, -1), (-1, 0)):
            assert likeness(one, other, clear, step) < here, (band, step)


def likeness(one, other, clear, step):
    moved = np.roll(other, step, (0, 1))
    kept = clear & np.roll(clear, step, (0, 1))
    kept[[0, -1]] = kept[:, [0, -1]] = False
    return np.corrcoef(one[kept], moved[kept])[0, 1]


def test_either_sensor_may_lay_the_grid(two_sensors):
    imagery, outline = two_sensors
    second = imagery["landsat-oli-c2-l2"]
    crs, resolution, anchor = native_grid(second.scenes, second.sensor, outline)
    assert resolution == 30.0
    assert (anchor[0] % 30, anchor[1] % 30) == (15.0, 15.0)
    grid = region_grid(projected(outline, str(crs)), resolution, anchor)
    for each in imagery.values():
        values = read_reflectance(each, grid)["reflectance"].values
        assert np.isfinite(values).mean() > 0.4
    aligned = replace(second, scenes=second.scenes[:1])
    assert np.isfinite(read_reflectance(aligned, grid)["reflectance"].values).any()
    assert box(*grid.boundingbox.bbox).covers(projected(outline, str(crs)).geom)
