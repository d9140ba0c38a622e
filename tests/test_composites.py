"""Many dates, one picture: geomedian, percentile, best pixel, bare earth; and unreadable ones."""

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from stacks import CLASSES, draw_counts, make_grid, make_scene, make_sensor

from pipeline.cube import Imagery, Source, check_composite, read_reflectance
from pipeline.cube import composite as room
from pipeline.cube.geomedian import geomedian
from pipeline.cube.percentile import percentile
from pipeline.cube.pick import bareness, medoid
from pipeline.errors import PlanError, ReadError
from pipeline.grid import Block, crop
from pipeline.plan import Composite, Masking

METHODS = ("median", "geomedian", "percentile", "best-pixel", "bare-earth")
SENSOR = make_sensor(CLASSES)


def compose(scenes, method, grid=None, sensor=SENSOR, *, tolerant=False, **asked):
    composite = Composite(method=method, **asked)
    imagery = Imagery("few", sensor, tuple(scenes), composite, tolerant)
    return read_reflectance(imagery, grid or make_grid())


def stack(tmp_path, dates=5):
    """Scenes with clouds, and their clear reflectance (date, band, y, x)."""
    random = np.random.default_rng(8)
    scenes, seen = [], []
    for n in range(dates):
        counts = draw_counts(n)
        mask = np.where(random.random((96, 80)) < 0.3, 9, 5).astype(np.uint8)
        scenes.append(make_scene(tmp_path, f"d{n}", counts, mask))
        values = counts * np.float32(1e-4) + np.float32(-0.1)
        seen.append(np.where((counts == 0) | (mask == 9), np.nan, values))
    return scenes, np.array(seen)


def whole_dates(seen):
    """Spectra without the dates that lack a band, all missing there."""
    return np.where(np.isnan(seen).any(axis=1, keepdims=True), np.nan, seen)


def slow_geomedian(points, weights=None):
    """The published iteration for one pixel: Weiszfeld, and Vardi & Zhang on a point."""
    points = np.asarray(points, float)
    weights = np.ones(len(points)) if weights is None else np.asarray(weights, float)
    middle = np.average(points, axis=0, weights=weights)
    for _ in range(100_000):
        apart = np.linalg.norm(points - middle, axis=1)
        on = apart < 1e-13
        if on.all():
            return middle
        pull = weights[~on] / apart[~on]
        target = pull @ points[~on] / pull.sum()
        force = np.linalg.norm(pull @ (points[~on] - middle))
        held = min(1.0, weights[on].sum() / force) if force > 0 else 1.0
        step = (1 - held) * (target - middle)
        middle = middle + step
        if np.linalg.norm(step) < 1e-12:
            return middle
    raise AssertionError("it does not converge")


def cost(points, weights, centre):
    return float(weights @ np.linalg.norm(points - centre, axis=1))


def run_geomedian(points, weights=None):
    """The kernel on pixels (pixel, date, band), each with weights (pixel, date)."""
    points = np.asarray(points, np.float32)
    weights = np.ones(points.shape[:2]) if weights is None else weights
    out = np.empty((points.shape[2], points.shape[0]), np.float32)
    spectra = np.ascontiguousarray(points.transpose(1, 2, 0))
    geomedian(spectra, np.ascontiguousarray(np.transpose(weights)).astype(np.float32), out)
    return out.T


# Geometric median


def test_the_geomedian_agrees_with_the_published_iteration(tmp_path):
    scenes, seen = stack(tmp_path)
    found = compose(scenes, "geomedian")
    spectra = whole_dates(seen)
    there = np.isfinite(spectra[:, 0]).sum(axis=0)
    np.testing.assert_array_equal(found["clear_count"].values, there)
    values = found["reflectance"].values
    assert (np.isnan(values) == (there == 0)).all()
    for y, x in itertools.product(range(0, 96, 5), range(0, 80, 7)):
        points = spectra[:, :, y, x]
        points = points[np.isfinite(points[:, 0])]
        if len(points):
            np.testing.assert_allclose(values[:, y, x], slow_geomedian(points), atol=1e-4)


@pytest.mark.parametrize("dates", [3, 6, 13])
def test_no_other_point_is_nearer_to_the_dates(dates):
    random = np.random.default_rng(dates)
    points = random.uniform(0.05, 0.5, (40, dates, 6)).astype(np.float32)
    weights = random.uniform(0.1, 1, (40, dates)).astype(np.float32)
    found = run_geomedian(points, weights)
    for one, given, centre in zip(points, weights, found, strict=True):
        least = cost(one, given, centre)
        np.testing.assert_allclose(centre, slow_geomedian(one, given), atol=2e-5)
        for other in (*one, *(centre + random.normal(0, 1e-3, (20, 6)))):
            assert cost(one, given, other) > least - 1e-7


def test_an_estimate_on_a_date_moves_on_if_it_must_and_stays_if_it_may():
    # The mean of both is their fourth date. There it must leave; here it is the median.
    away = [[0.1, 0.1], [0.2, 0.1], [0.9, 0.1], [0.4, 0.1]]
    cross = [[0.3, 0.3], [0.5, 0.3], [0.4, 0.2], [0.4, 0.4], [0.4, 0.3]]
    (found,) = run_geomedian([away])
    assert 0.2 - 1e-5 <= found[0] <= 0.4 + 1e-5
    assert (
        cost(np.array(away), np.ones(4), found)
        < cost(np.array(away), np.ones(4), [0.4, 0.1]) + 1e-6
    )
    (found,) = run_geomedian([cross])
    np.testing.assert_allclose(found, [0.4, 0.3], atol=1e-6)
    # Off the line, a start that is exactly on a date which is not the median.
    corner = np.array([[0.0, 0.0], [0.0, 0.0], [0.5, 0.0], [0.0, 0.5], [0.125, 0.125]])
    (found,) = run_geomedian([corner])
    np.testing.assert_allclose(found, slow_geomedian(corner), atol=1e-5)
    assert cost(corner, np.ones(5), found) < cost(corner, np.ones(5), corner[4]) - 1e-3


def test_of_one_date_it_is_the_date_of_two_their_mean_of_none_nothing():
    points = np.float32([[[0.1, 0.3], [0.3, 0.5]], [[0.1, 0.3], [0.3, 0.5]], [[0.2, 0.2]] * 2])
    weights = np.float32([[1, 0], [1, 1], [0, 0]])
    found = run_geomedian(points, weights)
    np.testing.assert_allclose(found[0], [0.1, 0.3], atol=1e-7)
    np.testing.assert_allclose(found[1], [0.2, 0.4], atol=1e-7)
    assert np.isnan(found[2]).all()


def test_equal_dates_and_missing_ones_do_no_harm():
    points = np.full((1, 4, 3), 0.25, np.float32)
    points[0, 3] = np.nan
    np.testing.assert_array_equal(run_geomedian(points, np.float32([[1, 1, 1, 0]]))[0], [0.25] * 3)


def test_a_pixel_does_not_depend_on_its_neighbours():
    random = np.random.default_rng(2)
    points = random.uniform(0, 1, (100, 5, 4)).astype(np.float32)
    together = run_geomedian(points)
    alone = np.concatenate([run_geomedian(points[n : n + 1]) for n in range(100)])
    np.testing.assert_array_equal(together, alone)


def test_an_outlier_moves_the_geomedian_little_and_keeps_the_spectrum_whole():
    ground = np.random.default_rng(4).normal([0.1, 0.2, 0.3], 0.005, (7, 3))
    ground[0] = [0.9, 0.9, 0.9]
    (found,) = run_geomedian([ground])
    assert np.abs(found - [0.1, 0.2, 0.3]).max() < 0.01


# Percentile


@pytest.mark.parametrize("percent", [0.0, 10.0, 37.5, 50.0, 90.0, 100.0])
@pytest.mark.parametrize("dates", [1, 2, 5, 8, 17])
@pytest.mark.filterwarnings("ignore:All-NaN")
def test_a_percentile_is_that_of_numpy(dates, percent):
    random = np.random.default_rng(dates)
    counts = random.integers(0, 300, (dates, 3000)).astype(np.uint16)
    clear = random.random(counts.shape) < 0.7
    scaling = np.float32([[1e-3, -0.1, 0]] * dates)
    out, fewest = np.empty(3000, np.float32), np.full(3000, 65535, np.uint16)
    percentile(counts, clear, scaling, percent, out, fewest)
    there = clear & (counts != 0)
    values = counts * np.float32(1e-3) + np.float32(-0.1)
    expected = np.nanpercentile(np.where(there, values, np.nan).astype(float), percent, axis=0)
    np.testing.assert_allclose(out, expected, rtol=0, atol=3e-8)
    np.testing.assert_array_equal(fewest, there.sum(axis=0))


def test_the_fiftieth_percentile_is_the_median(tmp_path):
    scenes, _ = stack(tmp_path)
    half = compose(scenes, "percentile", percentile=50.0)
    middle = compose(scenes, "median")
    np.testing.assert_allclose(half["reflectance"], middle["reflectance"], atol=3e-8)
    np.testing.assert_array_equal(half["clear_count"], middle["clear_count"])


# Best pixel and bare earth


def test_the_best_pixel_is_the_date_nearest_to_all_others(tmp_path):
    scenes, seen = stack(tmp_path)
    values = compose(scenes, "best-pixel")["reflectance"].values
    spectra = whole_dates(seen)
    apart = np.sqrt(((spectra[:, None] - spectra[None]) ** 2).sum(axis=2))  # (date, date, y, x)
    total = np.where(np.isnan(spectra[:, 0]), np.inf, np.nansum(apart, axis=1))
    best = np.take_along_axis(spectra, total.argmin(axis=0)[None, None], axis=0)[0]
    np.testing.assert_array_equal(values, best.astype(np.float32))


def test_of_two_dates_the_first_is_taken_whole():
    spectra = np.float32([[[0.1], [0.2]], [[0.5], [0.6]], [[0.5], [np.nan]]])
    out = np.empty((2, 1), np.float32)
    medoid(spectra, np.array([[True], [True], [False]]), out)
    np.testing.assert_array_equal(out[:, 0], np.float32([0.1, 0.2]))


def test_bare_earth_is_the_geomedian_of_the_bare_dates(tmp_path):
    bare, green = [1900, 3400, 3600, 4600], [1300, 1400, 5400, 2500]
    shape = (4, 96, 80)
    scenes = []
    for n in range(7):
        counts = np.empty(shape, np.uint16)
        counts[:] = np.array(bare if n in (2, 5) else green)[:, None, None] + 10 * n
        scenes.append(make_scene(tmp_path, f"d{n}", counts, np.full(shape[1:], 5, np.uint8)))
    found = compose(scenes, "bare-earth")
    # Two dates are bare, the darker a little more so: of two points, the heavier is the median.
    expected = np.array(bare) * 1e-4 - 0.1 + 0.002
    np.testing.assert_allclose(found["reflectance"].values[:, 50, 50], expected, atol=1e-4)
    assert (found["clear_count"].values == 7).all()
    plain = compose(scenes, "geomedian")["reflectance"].values[:, 50, 50]
    np.testing.assert_allclose(plain, np.array(green) * 1e-4 - 0.1 + 0.003, atol=2e-3)


def test_the_weights_of_bareness_by_hand():
    # blue, red, nir, swir16: bare soil index minus NDVI is 0.2 - 0 and 1/9 - 1/3.
    spectra = np.float32([[0.2, 0.3, 0.3, 0.45], [0.2, 0.1, 0.2, 0.4], [0.2, 0.1, np.nan, 0.4]])
    weights = bareness(spectra[:, :, None], SENSOR)[:, 0]
    first, second = (0.75 - 0.5) / 1.25, (0.5 - 0.4) / 0.9 - 1 / 3
    np.testing.assert_allclose(weights, [1, np.exp((second - first) / 0.1), 0], rtol=1e-5)
    without_swir = bareness(spectra[:2, :3, None], make_sensor(bands=3))[:, 0]
    np.testing.assert_allclose(without_swir, [1, np.exp(-(1 / 3) / 0.1)], rtol=1e-5)


def test_bare_earth_needs_red_and_near_infrared():
    with pytest.raises(PlanError, match="red and a near-infrared band"):
        check_composite(make_sensor(bands=2), Composite(method="bare-earth"))
    check_composite(make_sensor(bands=3), Composite(method="bare-earth"))
    with pytest.raises(PlanError, match="'fog' is no flag"):
        check_composite(SENSOR, Composite(masks=Masking(drop=("fog",))))


# All of them


@pytest.mark.parametrize("method", METHODS)
def test_a_block_is_a_part_of_the_whole(tmp_path, method, monkeypatch):
    scenes, _ = stack(tmp_path)
    whole = compose(scenes, method, percentile=30.0)
    monkeypatch.setattr(room, "_STACK", 1)  # in parts of 64 pixels
    cut = [Block(0, 96, 0, 80), Block(3, 40, 11, 80), Block(95, 96, 0, 1), Block(-5, 70, -9, 99)]
    for block in cut:
        part = compose(scenes, method, crop(make_grid(), block), percentile=30.0)
        inner = [slice(max(-low, 0), size - low) for low, size in ((block.y0, 96), (block.x0, 80))]
        y0, x0 = max(block.y0, 0), max(block.x0, 0)
        for name in ("reflectance", "clear_count"):
            found = part[name].values[..., *inner]
            rows, columns = found.shape[-2:]
            expected = whole[name].values[..., y0 : y0 + rows, x0 : x0 + columns]
            np.testing.assert_array_equal(found, expected, err_msg=name)


@pytest.mark.parametrize("method", METHODS)
def test_where_nothing_is_clear_nothing_is_said(tmp_path, method):
    cloudy = make_scene(tmp_path, "a", draw_counts(1), np.full((96, 80), 9, np.uint8))
    found = compose([cloudy], method)
    assert np.isnan(found["reflectance"].values).all()
    assert (found["clear_count"].values == 0).all()


# What cannot be read


def broken(tmp_path, scene, band=None):
    """The scene with one band, or its mask, cut short."""
    path = Path((scene.masks[0] if band is None else scene.bands[band]).href)
    short = tmp_path / f"{path.stem}-short.tif"
    short.write_bytes(path.read_bytes()[: 4000 if band is None else 30_000])
    gone = Source(f"item {scene.item}, asset x", str(short), 1e-4, -0.1, 0.0, (band or 0) + 1)
    if band is None:
        return replace(scene, masks=(gone,))
    bands = tuple(gone if n == band else source for n, source in enumerate(scene.bands))
    return replace(scene, bands=bands)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("band", [None, 3])
def test_an_unreadable_scene_is_left_out_whole_and_named(tmp_path, method, band):
    scenes, _ = stack(tmp_path)
    bad = [*scenes[:2], broken(tmp_path, scenes[2], band), *scenes[3:]]
    with pytest.raises(ReadError, match="item d2, asset x"):
        compose(bad, method)
    found = compose(bad, method, tolerant=True)
    without = compose(scenes[:2] + scenes[3:], method)
    np.testing.assert_array_equal(found["reflectance"], without["reflectance"])
    np.testing.assert_array_equal(found["clear_count"], without["clear_count"])
    ((item, reason),) = found.attrs["unreadable"]
    assert item == "d2"
    assert reason.startswith("item d2, asset x (")
    assert without.attrs["unreadable"] == ()


def test_where_no_scene_can_be_read_all_are_named(tmp_path):
    scenes, _ = stack(tmp_path, 3)
    found = compose([broken(tmp_path, s, 1) for s in scenes], "median", tolerant=True)
    assert [item for item, _ in found.attrs["unreadable"]] == ["d0", "d1", "d2"]
    assert np.isnan(found["reflectance"].values).all()
