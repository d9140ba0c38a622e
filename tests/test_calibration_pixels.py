"""What the pixels of Sentinel-2 say of its offset: dark ground, and land far below zero."""

import numpy as np
import pytest
from items import raster
from s2_items import S2, SIDE, make, opinions, said, truth

from pipeline.cube import make_scenes, sentinel2
from pipeline.errors import CatalogError

GREEN, WATER = 4, 6


def ground(level: float, share: float = 0.0, low: float = 0.0) -> dict[str, np.ndarray]:
    """Counts of land at one level, and of a share of it, in the blue, at another; and water."""
    counts = {name: np.full((100, 100), level) for name in sentinel2.BANDS}
    counts["blue"].flat[: round(share * 8000)] = low
    for values in counts.values():
        values[80:] = 1050 if level > 1000 else 50
    return counts


def seen(counts, *, land=8000, shade=2000):
    classes = np.zeros(10_000, bool)
    is_land, is_shade = classes.copy(), classes.copy()
    is_land[:land] = True
    is_shade[8000 : 8000 + shade] = True
    square = (100, 100)
    values = [counts[name] for name in sentinel2.BANDS]
    return sentinel2.look(values, is_land.reshape(square), is_shade.reshape(square)).offset


@pytest.mark.parametrize(
    ("share", "low", "offset"),
    [
        (0.0, 0, -1000),
        (0.04, 960, -1000),  # reflectance of -0.004: haze taken for too thick
        (0.2, 810, -1000),
        (0.04, 790, 0),  # of -0.021 after another shift: it was done already
        (0.021, 300, 0),
        (0.015, 300, None),
        (0.004, 300, -1000),
    ],
)
def test_only_deeply_negative_land_tells_that_the_shift_was_done(share, low, offset):
    assert seen(ground(2000, share, low)) == offset


def test_a_few_pixels_say_nothing():
    assert seen(ground(500), land=199, shade=0) is None
    assert seen(ground(500), land=200, shade=0) == 0
    assert seen(ground(500), land=0, shade=199) is None
    assert seen(ground(500), land=0, shade=200) == 0
    assert seen(ground(2000), land=199) is None
    assert seen(ground(2000), shade=199) is None
    assert seen(ground(2000), land=200, shade=200) == -1000


def overwrite(folder, name, band, places, count):
    """Give pixels of a band of an item another count."""
    values, _ = truth(desert=False)
    up = 1000 if name == "raw" else 0
    counts = (np.round(values[band] * 1e4) + up).astype(np.uint16)
    counts[places] = count
    raster(folder / name / f"{band}.tif", counts, nodata=0)


@pytest.mark.parametrize("collection", ["sentinel-2-c1-l2a", "sentinel-2-l2a"])
def test_land_and_water_a_little_below_zero_do_not_stop_a_right_item(tmp_path, collection):
    item = make(tmp_path, "raw", shifted=True, said=said(-0.1), collection=collection)
    _, classes = truth(desert=False)
    forest = classes == GREEN
    forest.flat[np.flatnonzero(forest)[round(0.04 * SIDE * SIDE) :]] = False
    overwrite(tmp_path, "raw", "blue", forest | (classes == WATER), 960)
    made = make_scenes([item], S2, catalog="earth-search")
    assert opinions(made, "raw")["observed"] == opinions(made, "raw")["decided"] == -1000
    assert made.notes["raw"]["counts"]["pixels"]["share_below_800"] == 0


def test_water_is_no_clear_land(tmp_path):
    """Glint and depth take a third of it far below zero; its median stays where it was."""
    item = make(tmp_path, "raw", shifted=True, said=said(-0.1))
    _, classes = truth(desert=False)
    deep = classes == WATER
    deep[:, SIDE // 3 :] = False
    assert deep.sum() > 0.02 * SIDE * SIDE
    overwrite(tmp_path, "raw", "blue", deep, 500)
    assert opinions(make_scenes([item], S2), "raw")["observed"] == -1000


def test_shifted_vegetation_is_found_out_without_any_shade(tmp_path):
    item = make(tmp_path, shifted=False, said=said(-0.1), collection="sentinel-2-c1-l2a")
    _, classes = truth(desert=False)
    classes[classes != GREEN] = 0
    raster(tmp_path / "s2" / "scl.tif", classes, nodata=0)
    with pytest.raises(CatalogError, match="observed: 0"):
        make_scenes([item], S2, catalog="earth-search")
