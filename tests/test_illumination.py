"""Light on slopes: the angle of the sun, the fit, the correction, and when there is none."""

import pickle
from dataclasses import replace

import numpy as np
import pytest
from stacks import CLASSES, make_grid, make_scene, make_sensor, save

from pipeline.cube import Imagery, Source, fit_relief, read_reflectance
from pipeline.cube.relief import Relief, incidence
from pipeline.errors import CatalogError
from pipeline.grid import Block, crop
from pipeline.plan import Composite, Configs
from pipeline.world.ground import make_ground
from pipeline.world.imagery import Scenery, make_surface
from pipeline.world.imagery import make_scene as see
from pipeline.world.places import NEVADA

SHAPE = (96, 80)
SUN = (40.0, 150.0)
SENSOR = make_sensor(CLASSES, bands=2)


def hills(shape=SHAPE, margin=1, seed=1):
    """Heights, metres, on pixels of 20 m and `margin` of them around."""
    rows, columns = (size + 2 * margin for size in shape)
    y, x = np.mgrid[:rows, :columns] - float(margin)
    waves = np.random.default_rng(seed).uniform(0, 6, 4)
    height = 60 * np.sin(x / 9 + waves[0]) + 50 * np.cos(y / 11 + waves[1])
    return (height + 30 * np.sin((x + y) / 5 + waves[2])).astype(np.float32)


def elevation(tmp_path, values=None, margin=1, **where):
    values = hills(margin=margin) if values is None else values
    shift = where.pop("shift", margin * 20.0)
    return (Source("elevation", save(tmp_path / "dem.tif", values, shift=shift, **where)),)


def relief_of(sources, **sun):
    return Relief("c", sources, 0.0, sun, {}, {})


def light(sources, sun=SUN, grid=None):
    return incidence(relief_of(sources, a=sun), ["a"], grid or make_grid())[0]


def lit(cosine, sun=SUN, *, flat=(0.2, 0.35), c=None, k=None):
    """Counts (band, y, x) of flat ground of two reflectances under a model of light."""
    zenith = np.sin(np.radians(sun[0]))
    grain = np.random.default_rng(6).normal(1, 0.02, cosine.shape)
    bands = []
    for n, rho in enumerate(flat):
        model = (cosine + c[n]) / (zenith + c[n]) if c else (cosine / zenith) ** k[n]
        bands.append((rho * grain * model + 0.1) * 1e4)
    return np.rint(bands).clip(1, 65535).astype(np.uint16)


def imagery(tmp_path, counts, method="c", mask=None, sun=SUN, **more):
    clear = np.full(counts.shape[1:], 5, np.uint8) if mask is None else mask
    scene = make_scene(tmp_path, "a", counts, clear, sun=sun)
    return Imagery("few", SENSOR, (scene,), Composite(illumination=method), **more)


def corrected(found, relief, grid=None):
    return read_reflectance(replace(found, relief=relief), grid or make_grid())


# The angle


@pytest.mark.parametrize(
    ("east", "north", "sun", "expected"),
    [
        (0.0, 0.0, (30.0, 77.0), 0.5),  # flat ground: the sine of the elevation
        (0.0, 1.0, (45.0, 180.0), 1.0),  # rising to the north at 45 degrees, sun due south
        (0.0, 1.0, (45.0, 0.0), 0.0),
        (-0.75, 0.0, (30.0, 90.0), 0.5 * 0.8 + np.cos(np.radians(30)) * 0.6),
        (-0.75, 0.0, (30.0, 0.0), 0.5 * 0.8),
    ],
)
def test_the_angle_on_a_plane_by_hand(tmp_path, east, north, sun, expected):
    y, x = np.mgrid[:98, :82] * 20.0
    sources = elevation(tmp_path, (x * east - y * north).astype(np.float32))
    np.testing.assert_allclose(light(sources, sun), expected, atol=2e-5)


def test_azimuths_are_from_true_north(tmp_path):
    """In the north-east of a UTM zone true north lies west of the grid's."""
    sensor, grid = make_sensor(bands=1), make_grid()
    moved = crop(grid, Block(0, 10, 10_000, 10_010))
    where = Imagery("few", sensor, (replace(make_scene(tmp_path, "a", hills()[None]), sun=SUN),))
    angles = [fit_relief(where, elevation(tmp_path), each).north for each in (grid, moved)]
    assert abs(angles[0]) < 0.01
    # Convergence of meridians: the difference of longitude times the sine of the latitude.
    lon, lat = moved.extent.to_crs("EPSG:4326").centroid.coords[0]
    assert angles[1] == pytest.approx(-(lon + 117) * np.sin(np.radians(lat)), rel=2e-3)
    turned = replace(relief_of(elevation(tmp_path), a=SUN), north=angles[1])
    expected = light(elevation(tmp_path), (SUN[0], SUN[1] + angles[1]))
    np.testing.assert_allclose(incidence(turned, ["a"], grid)[0], expected, atol=1e-6)


def test_the_first_elevation_that_has_a_pixel_gives_it(tmp_path):
    whole = hills(margin=3)
    west = whole.copy()
    west[:, 40:] = -9999
    first = Source("west", save(tmp_path / "w.tif", west, shift=60.0, nodata=-9999.0))
    second = Source("all", save(tmp_path / "e.tif", whole, shift=60.0))
    both, one = light((first, second)), light((second,))
    np.testing.assert_array_equal(both, one)
    alone = light((first,))
    assert np.isnan(alone[:, 40:]).all()
    np.testing.assert_array_equal(alone[:, :35], one[:, :35])


# The fit and the correction


def test_the_constant_of_light_is_found_and_taken_away(tmp_path):
    cosine = light(elevation(tmp_path))
    asked = imagery(tmp_path, lit(cosine, c=(0.3, 0.9)))
    relief = fit_relief(asked, elevation(tmp_path), make_grid())
    np.testing.assert_allclose(relief.coefficients["a"], [0.3, 0.9], atol=0.05)
    found = corrected(asked, relief)
    for band, flat in zip(found["reflectance"].values, (0.2, 0.35), strict=True):
        shaded = cosine < 0.2
        assert shaded.any()
        assert np.isnan(band[shaded]).all()
        np.testing.assert_allclose(band[~shaded].mean(), flat, rtol=0.01)
        assert abs(np.corrcoef(band[~shaded], cosine[~shaded])[0, 1]) < 0.05
    note = relief.notes["a"]
    assert note["method"] == "c"
    assert note["bands"]["blue"]["c"] == pytest.approx(relief.coefficients["a"][0], abs=1e-4)
    assert note["bands"]["red"]["correlation"] > 0.9


def test_the_exponent_of_minnaert_is_found_and_taken_away(tmp_path):
    cosine = light(elevation(tmp_path))
    asked = imagery(tmp_path, lit(np.maximum(cosine, 0.01), k=(0.45, 0.8)), "minnaert")
    relief = fit_relief(asked, elevation(tmp_path), make_grid())
    np.testing.assert_allclose(relief.coefficients["a"], [0.45, 0.8], atol=0.03)
    found = corrected(asked, relief)["reflectance"].values
    np.testing.assert_allclose(np.nanstd(found, axis=(1, 2)), [0.004, 0.007], rtol=0.1)  # grain


def test_a_worked_value(tmp_path):
    """A pixel of 0.30 where the sun stands 30 degrees high and meets the slope at cos i = 0.8."""
    rise = np.tan(np.arccos(0.8) - np.arccos(1.0))
    y = np.mgrid[:98, :82][0] * 20.0
    sources = elevation(tmp_path, (-y * rise).astype(np.float32))
    sun = (30.0, 180.0)
    cosine = float(light(sources, sun)[50, 50])
    assert cosine == pytest.approx(0.5 * 0.8 + np.sqrt(0.75) * 0.6, abs=1e-5)  # 0.9196
    asked = imagery(tmp_path, np.full((2, *SHAPE), 4000, np.uint16), sun=sun)
    c = Relief("c", sources, 0.0, {"a": sun}, {"a": (0.4, None)}, {})
    values = corrected(asked, c)["reflectance"].values[:, 50, 50]
    np.testing.assert_allclose(values, [0.3 * 0.9 / (cosine + 0.4), 0.3], rtol=1e-5)
    minnaert = replace(c, method="minnaert", coefficients={"a": (0.5, 1.0)})
    values = corrected(asked, minnaert)["reflectance"].values[:, 50, 50]
    np.testing.assert_allclose(values, [0.3 * (0.5 / cosine) ** 0.5, 0.15 / cosine], rtol=1e-5)


@pytest.mark.parametrize("method", ["median", "percentile", "geomedian", "best-pixel"])
def test_every_method_is_fed_corrected_dates(tmp_path, method):
    cosine = light(elevation(tmp_path))
    asked = imagery(tmp_path, lit(cosine, c=(0.3, 0.9)))
    relief = fit_relief(asked, elevation(tmp_path), make_grid())
    expected = corrected(asked, relief)
    changed = replace(asked, composite=Composite(illumination="c", method=method))
    found = corrected(changed, relief)
    np.testing.assert_allclose(found["reflectance"], expected["reflectance"], atol=1e-7)
    np.testing.assert_array_equal(found["clear_count"], expected["clear_count"])
    assert (expected["clear_count"].values == (cosine >= 0.2)).all()


@pytest.mark.parametrize(("resolution", "shift"), [(20.0, 200.0), (33.0, 330.0), (10.0, 200.0)])
def test_blocks_change_nothing(tmp_path, resolution, shift):
    size = (int(2400 / resolution), int(2100 / resolution))
    sources = elevation(tmp_path, hills(size, margin=0), resolution=resolution, shift=shift)
    cosine = light(sources)
    asked = imagery(tmp_path, lit(cosine, c=(0.3, 0.9)))
    relief = fit_relief(asked, sources, make_grid())
    assert None not in relief.coefficients["a"]
    whole = corrected(asked, relief)["reflectance"].values
    for block in (Block(0, 13, 0, 80), Block(13, 96, 37, 61)):
        part = corrected(asked, relief, crop(make_grid(), block))["reflectance"].values
        np.testing.assert_array_equal(part, whole[:, *block.slices])


def test_the_same_fit_every_time_and_it_travels_to_workers(tmp_path):
    asked = imagery(tmp_path, lit(light(elevation(tmp_path)), c=(0.3, 0.9)))
    first, second = (fit_relief(asked, elevation(tmp_path), make_grid()) for _ in range(2))
    assert first.coefficients == second.coefficients
    assert pickle.loads(pickle.dumps(first)) == first  # noqa: S301 (our own bytes)


# When there is no correction


def why_not(tmp_path, counts, sources=None, mask=None):
    sources = sources or elevation(tmp_path)
    relief = fit_relief(imagery(tmp_path, counts, mask=mask), sources, make_grid())
    assert relief.coefficients["a"] == (None, None)
    return relief.notes["a"]["bands"]["red"]["not corrected"]


def test_a_band_that_cannot_be_fitted_is_left_as_it_is_and_named(tmp_path):
    cosine = light(elevation(tmp_path))
    good, flat = lit(cosine, c=(0.3, 0.9)), hills() * np.float32(1e-3)
    few = np.where(np.arange(80) < 8, 5, 9).astype(np.uint8) * np.ones((96, 1), np.uint8)
    assert "clear pixels in the sample" in why_not(tmp_path, good, mask=few)
    assert why_not(tmp_path, good, elevation(tmp_path, flat)) == "the ground of the sample is flat"
    elevation(tmp_path)
    away = lit(1 - cosine, c=(0.3, 0.9))
    assert "does not follow the light" in why_not(tmp_path, away)
    dark = lit(np.maximum(cosine - 0.3, 0.03), c=(0.0, 0.0))
    assert "c would be negative" in why_not(tmp_path, dark)


def test_a_band_without_a_coefficient_keeps_its_values_outside_deep_shadow(tmp_path):
    sources = elevation(tmp_path)
    cosine = light(sources)
    asked = imagery(tmp_path, lit(1 - cosine, c=(0.3, 0.9)))
    found = corrected(asked, fit_relief(asked, sources, make_grid()))["reflectance"].values
    plain = read_reflectance(asked, make_grid())["reflectance"].values
    np.testing.assert_array_equal(found, np.where(cosine >= 0.2, plain, np.nan))


def test_ground_without_elevation_is_missing(tmp_path):
    asked = imagery(tmp_path, lit(light(elevation(tmp_path)), c=(0.3, 0.9)))
    half = elevation(tmp_path, hills()[:50])
    found = corrected(asked, fit_relief(asked, half, make_grid()))
    assert np.isnan(found["reflectance"].values[:, 50:]).all()
    assert (found["clear_count"].values[50:] == 0).all()
    assert np.isfinite(found["reflectance"].values[:, :45]).mean() > 0.8


def test_a_scene_that_does_not_say_where_the_sun_was_is_named(tmp_path):
    asked = imagery(tmp_path, np.full((2, *SHAPE), 4000, np.uint16), sun=None)
    with pytest.raises(CatalogError, match="item a: it does not say where the sun was"):
        fit_relief(asked, elevation(tmp_path), make_grid())


def test_clouds_and_saturated_pixels_take_no_part(tmp_path):
    cosine = light(elevation(tmp_path))
    counts, mask = lit(cosine, c=(0.3, 0.9)), np.full(SHAPE, 5, np.uint8)
    mask[:20], counts[:, :20] = 9, 9000
    counts[:, 20:30] = 60_000
    asked = imagery(tmp_path, counts, mask=mask)
    relief = fit_relief(asked, elevation(tmp_path), make_grid())
    np.testing.assert_allclose(relief.coefficients["a"], [0.3, 0.9], atol=0.06)


# The demo world


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """Its Nevada as it is seen and as it would be seen were it flat, and its elevation."""
    folder = tmp_path_factory.mktemp("demo")
    shape = (300, 300)
    sensor = Configs.at().sensor("sentinel2-l2a")
    ground = make_ground(NEVADA, 2025, shape, {}, 20.0)
    flat = replace(ground, height=np.zeros_like(ground.height))
    surface = make_surface(NEVADA, 2025, ground, sensor.bands)
    seen = {}
    for kind, each in (("hilly", ground), ("flat", flat)):
        scenery = Scenery(NEVADA, 2025, each, surface)
        scenes = []
        for n, look in enumerate(NEVADA.passes):
            view, name = see(scenery, look, sensor.bands), f"{kind}{n}"
            sun = (look.sun_elevation, look.sun_azimuth)
            scene = make_scene(folder, name, view.counts, view.classes, sun=sun)
            held = tuple(replace(band, offset=look.baseline.held) for band in scene.bands)
            scenes.append(replace(scene, bands=held))
        seen[kind] = Imagery(kind, sensor, tuple(scenes))
    return seen, (Source("elevation", save(folder / "dem.tif", ground.height)),)


@pytest.mark.parametrize("method", ["c", "minnaert"])
def test_shading_leaves_the_demo_world(demo, method):
    seen, sources = demo
    grid = make_grid(300, 300)
    asked = replace(seen["hilly"], composite=Composite(illumination=method))
    relief = fit_relief(asked, sources, grid)
    lit_by = incidence(relief, [scene.item for scene in asked.scenes], grid)
    bands = list(asked.sensor.bands)
    for date, scene in enumerate(asked.scenes):
        one = replace(asked, scenes=(scene,))
        plain = read_reflectance(one, grid)["reflectance"].values
        better = corrected(one, relief, grid)["reflectance"].values
        for band in (bands.index("red"), bands.index("swir16"), bands.index("swir22")):
            there = np.isfinite(better[band])
            before = np.corrcoef(plain[band][there], lit_by[date][there])[0, 1]
            after = np.corrcoef(better[band][there], lit_by[date][there])[0, 1]
            assert abs(after) < min(0.1, 0.5 * before), (scene.item, bands[band], before, after)


@pytest.mark.parametrize("method", ["c", "minnaert"])
def test_the_corrected_composite_is_nearer_the_ground_without_shade(demo, method):
    seen, sources = demo
    grid = make_grid(300, 300)
    asked = replace(seen["hilly"], composite=Composite(illumination=method))
    truth = read_reflectance(seen["flat"], grid)["reflectance"].values
    plain = read_reflectance(seen["hilly"], grid)["reflectance"].values
    better = corrected(asked, fit_relief(asked, sources, grid), grid)["reflectance"].values
    there = np.isfinite(better) & np.isfinite(truth) & np.isfinite(plain)
    assert there.mean() > 0.9
    off = [
        np.array([np.abs(v - t)[w].mean() for v, t, w in zip(values, truth, there, strict=True)])
        for values in (plain, better)
    ]
    assert (off[1] < 0.6 * off[0]).all(), off
