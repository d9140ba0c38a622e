"""What quality masks say: classes, bits, growth in metres, bright ground, shares of flags."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
from odc.geo.geobox import GeoBox
from scipy.ndimage import distance_transform_edt
from stacks import CLASSES, draw_counts, make_grid, make_scene, make_sensor

from pipeline.cube import Imagery, Scene, Source, read_reflectance
from pipeline.cube.masks import rule_of
from pipeline.errors import PlanError
from pipeline.grid import Block, crop
from pipeline.plan import Composite, Configs, Mask, Masking

DATA = Path(__file__).parents[2] / "shared" / "data"

SHAPE = (96, 80)
BITS = Mask(
    assets=("qa",),
    encoding="bits",
    flags={"fill": (0,), "cloud": (3,), "cloud_shadow": (4,), "snow": (5,), "water": (7,)},
    drop=("fill", "cloud", "cloud_shadow"),
)


def clear(scenes, sensor, grid=None, **masking):
    composite = Composite(masks=Masking(**masking))
    imagery = Imagery("few", sensor, tuple(scenes), composite)
    return read_reflectance(imagery, grid or make_grid())


def one(tmp_path, mask, sensor, **masking):
    """Where a single date without gaps is clear."""
    scene = make_scene(tmp_path, "a", draw_counts(1, missing=0), mask)
    return clear([scene], sensor, **masking)["clear_count"].values == 1


def full(value, dtype=np.uint8):
    return np.full(SHAPE, value, dtype)


def test_a_class_that_no_flag_names_is_dropped(tmp_path):
    mask = full(5)
    mask[:10], mask[10:20], mask[20:30] = 8, 4, 77
    expected = np.ones(SHAPE, bool)
    expected[:30] = False
    np.testing.assert_array_equal(one(tmp_path, mask, make_sensor(CLASSES)), expected)


def test_a_bit_that_no_flag_names_says_nothing(tmp_path):
    mask = full(1 << 6, np.uint16)
    mask[:10] = 1 << 3
    mask[10:20] = (1 << 3) | (1 << 7)
    mask[20:30] = (1 << 7) | (1 << 15)  # water, which this sensor does not drop
    mask[30:40] = 1
    found = one(tmp_path, mask, make_sensor(BITS))
    assert found[:, 5].tolist() == [False] * 20 + [True] * 10 + [False] * 10 + [True] * 56


def test_the_workflow_says_what_is_dropped(tmp_path):
    mask = full(5)
    mask[:10], mask[10:20], mask[20:30] = 6, 9, 0
    found = one(tmp_path, mask, make_sensor(CLASSES), drop=("water",))
    assert found[:, 0].tolist() == [False] * 10 + [True] * 10 + [False] * 10 + [True] * 66
    found = one(tmp_path, mask, make_sensor(CLASSES), drop=("bare",))
    assert found[:, 0].tolist() == [True] * 20 + [False] * 76


def test_the_number_that_means_nothing_is_dropped_among_bits(tmp_path):
    mask = full(0, np.uint8)
    mask[:30] = 255
    none = BITS.model_copy(update={"flags": {"cloud": (1,)}, "drop": ()})
    scene = make_scene(tmp_path, "a", draw_counts(1, missing=0), mask, nodata=255)
    found = clear([scene], make_sensor(none))["clear_count"].values
    assert found[:, 0].tolist() == [0] * 30 + [1] * 66


def test_no_bit_is_clear_ground_though_its_number_is_called_nodata(tmp_path):
    """QA_RADSAT and Fmask: 0 is the usual number, and files and items may declare it nodata."""
    mask = full(0, np.uint16)
    mask[:30], mask[30:40] = 1 << 3, 1
    counts = draw_counts(1, missing=0)
    by_file = make_scene(tmp_path, "file", counts, mask, nodata=0)
    by_item = make_scene(tmp_path, "item", counts, mask)
    by_item = replace(by_item, masks=(replace(by_item.masks[0], nodata=0.0),))
    for scene in (by_file, by_item):
        found = clear([scene], make_sensor(BITS), publish=("cloud",))
        assert found["clear_count"].values[:, 0].tolist() == [0] * 40 + [1] * 56
        share = found["flag_share"].sel(flag="cloud").values[:, 0]
        assert share[:30].tolist() == [1.0] * 30
        assert np.isnan(share[30:40]).all()  # fill
        assert share[40:].tolist() == [0.0] * 56


def test_past_the_edge_of_a_mask_of_bits_nothing_is_clear(tmp_path):
    mask = full(0, np.uint16)[:50]
    scene = make_scene(tmp_path, "a", draw_counts(1, missing=0), mask, nodata=0)
    found = clear([scene], make_sensor(BITS))["clear_count"].values
    assert found[:, 0].tolist() == [1] * 50 + [0] * 46


def test_past_the_edge_of_a_mask_nothing_is_clear(tmp_path):
    scene = make_scene(tmp_path, "a", draw_counts(1, missing=0), full(5)[:50])
    found = clear([scene], make_sensor(CLASSES))["clear_count"].values
    assert found[:, 0].tolist() == [1] * 50 + [0] * 46


def test_several_masks_drop_together_and_one_may_be_absent(tmp_path):
    sensor = make_sensor(CLASSES, BITS.model_copy(update={"optional": True}))
    classes, bits = full(5), full(0, np.uint16)
    classes[:10], bits[:, :10] = 8, 8
    counts = draw_counts(1, missing=0)
    both = clear([make_scene(tmp_path, "a", counts, classes, bits)], sensor)["clear_count"].values
    alone = clear([make_scene(tmp_path, "b", counts, classes, None)], sensor)["clear_count"].values
    assert both.sum() == 86 * 70
    assert alone.sum() == 86 * 80


def test_flags_are_grown_by_a_disc_in_metres(tmp_path):
    random = np.random.default_rng(3)
    mask = full(5)
    mask[random.random(SHAPE) < 0.002] = 8
    mask[random.random(SHAPE) < 0.002] = 6
    found = one(tmp_path, mask, make_sensor(CLASSES), dilate={"cloud": 90.0})
    away = distance_transform_edt(mask != 8) * 20  # metres between centres
    np.testing.assert_array_equal(found, (away > 90) & (mask == 5))
    assert (mask == 8).sum() * 10 < (~found).sum()


def test_a_flag_that_is_kept_is_not_grown(tmp_path):
    mask = full(5)
    mask[40, 40] = 8
    found = one(tmp_path, mask, make_sensor(CLASSES), dilate={"cloud": 90.0}, drop=("water",))
    assert found.all()


@pytest.mark.parametrize(("resolution", "shift"), [(20.0, 0.0), (60.0, 30.0), (10.0, 0.0)])
def test_growth_and_guard_do_not_depend_on_blocks(tmp_path, resolution, shift):
    random = np.random.default_rng(5)
    size = (int(2200 / resolution), int(2000 / resolution))
    scenes = []
    for n in range(6):
        mask = np.where(random.random(size) < 0.01, 9, 5).astype(np.uint8)
        mask[: size[0] // 8] = 10
        where = {"resolution": resolution, "shift": shift}
        scenes.append(make_scene(tmp_path, f"d{n}", draw_counts(n), mask, **where))
    asked = {"dilate": {"cloud": 130.0, "cirrus": 50.0}, "bright_guard": True}
    asked |= {"publish": ("cloud", "bare")}
    sensor = make_sensor(CLASSES)
    whole = clear(scenes, sensor, **asked)
    assert 0 < (whole["clear_count"] == 6).sum() < whole["clear_count"].size
    for block in (Block(0, 31, 0, 80), Block(31, 96, 17, 50), Block(90, 96, 79, 80)):
        part = clear(scenes, sensor, crop(make_grid(), block), **asked)
        for name in ("reflectance", "clear_count", "flag_share"):
            expected = whole[name].values[..., *block.slices]
            np.testing.assert_array_equal(part[name].values, expected, err_msg=name)


def dates(tmp_path, flags):
    """Scenes whose mask is one class in the middle and bare ground around it."""
    for n, flag in enumerate(flags):
        mask = full(5)
        mask[20:40, 20:40] = flag
        yield make_scene(tmp_path, f"d{n}", draw_counts(n, missing=0), mask)


@pytest.mark.parametrize(
    ("flags", "guard", "expected"),
    [
        ([8] * 9 + [5], True, 10),  # nine of ten: it is bright
        ([8] * 9 + [5], False, 1),
        ([8] * 8 + [5] * 2, True, 2),  # four of five is not more than 80 %
        ([8] * 4 + [0] * 6, True, 0),  # four dates see it: too few to judge
        ([8] * 5 + [0] * 5, True, 5),  # and five are enough; what is not there stays away
        ([8] * 9 + [6], True, 9),  # water is still dropped
        ([6] * 10, True, 0),
        ([8, 10] * 5, True, 10),  # cloud and cirrus count together
    ],
)
def test_bright_ground_is_no_cloud(tmp_path, flags, guard, expected):
    found = clear(dates(tmp_path, flags), make_sensor(CLASSES), bright_guard=guard)
    count = found["clear_count"].values
    assert (count[20:40, 20:40] == expected).all()
    assert (count[:20] == len(flags)).all()


def test_what_the_guard_spares_is_not_grown(tmp_path):
    scenes = list(dates(tmp_path, [8] * 6))
    found = clear(scenes, make_sensor(CLASSES), bright_guard=True, dilate={"cloud": 100.0})
    assert (found["clear_count"].values == 6).all()


def test_the_share_of_a_flag_is_of_the_dates_that_see_the_pixel(tmp_path):
    scenes = list(dates(tmp_path, [8, 8, 6, 0]))
    found = clear(scenes, make_sensor(CLASSES), publish=("cloud", "water"), dilate={"cloud": 60.0})
    share = found["flag_share"]
    assert share.dtype == np.float32
    assert found["flag"].values.tolist() == ["cloud", "water"]
    np.testing.assert_allclose(share.sel(flag="cloud").values[25, 25], 2 / 3, rtol=1e-6)
    np.testing.assert_allclose(share.sel(flag="water").values[25, 25], 1 / 3, rtol=1e-6)
    assert (share.values[:, :20] == 0).all()  # as the masks have it: not grown
    assert "flag_share" not in clear(scenes, make_sensor(CLASSES))


def test_no_date_has_no_share(tmp_path):
    scene = make_scene(tmp_path, "a", draw_counts(1), full(0))
    found = clear([scene], make_sensor(CLASSES), publish=("cloud",))
    assert np.isnan(found["flag_share"].values).all()
    far = crop(make_grid(), Block(2000, 2010, 0, 10))
    assert np.isnan(
        clear([scene], make_sensor(CLASSES), far, publish=("cloud",))["flag_share"]
    ).all()


def test_an_unknown_flag_is_named():
    with pytest.raises(PlanError, match=r"'clouds' is no flag .*did you mean 'cloud'"):
        rule_of(make_sensor(CLASSES), Masking(drop=("clouds",)))
    with pytest.raises(PlanError, match="'snow' is no flag"):
        rule_of(make_sensor(CLASSES), Masking(publish=("snow",)))


def test_too_many_flags_are_refused():
    many = Mask(assets=("a",), flags={f"f{n}": (n,) for n in range(32)}, drop=())
    with pytest.raises(PlanError, match="32 flags"):
        rule_of(make_sensor(many), Masking())


# Real masks

LANDSAT = DATA / "landsat8" / "LC08_008059"


@pytest.mark.skipif(not LANDSAT.is_dir(), reason="the real Landsat scene is not here")
def test_the_real_bits_of_landsat_say_what_they_say_by_hand():
    (qa,) = LANDSAT.glob("*QA_PIXEL.TIF")
    (red,) = LANDSAT.glob("*SR_B4.TIF")
    with rasterio.open(qa) as file, rasterio.open(red) as band:
        said, counts = file.read(1), band.read(1)
        grid = GeoBox(file.shape, file.transform, str(file.crs))
    mask = Configs.at().sensor("landsat-oli-c2-l2").masks[0]
    sensor = make_sensor(mask, bands=1)
    source = Source("red", str(red), 2.75e-5, -0.2, 0.0)
    scene = Scene("a", None, (source,), (Source("qa", str(qa)),))
    found = clear([scene], sensor, grid, publish=("cloud", "water"))
    rejected = (1 << 0) | (1 << 1) | (1 << 2) | (1 << 3) | (1 << 4) | (1 << 5) | (1 << 7)
    kept = ((said & rejected) == 0) & (counts != 0)
    assert 0.01 < kept.mean() < 0.99
    np.testing.assert_array_equal(found["clear_count"].values == 1, kept)
    seen = said != 1
    cloud = found["flag_share"].sel(flag="cloud").values
    np.testing.assert_array_equal(cloud[seen], ((said >> 3) & 1)[seen])
    assert np.isnan(cloud[~seen]).all()
