"""What counts mean: the offset of Sentinel-2 in every case, fixed numbers, gains, the range."""

from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from items import JUNE, make_item, raster

from pipeline.cube import Imagery, make_scenes, read_reflectance
from pipeline.cube.source import opened
from pipeline.errors import CatalogError
from pipeline.plan import Band, Configs, Sensor

S2 = Configs.at().sensor("sentinel2-l2a")
SIDE = 96
NAMES = tuple(S2.bands)
SCALE = {"raster:bands": [{"scale": 1e-4, "nodata": 0}]}


def truth(*, desert: bool) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Reflectance by band, and scene classes: land, and water and shadow unless it is a desert."""
    rng = np.random.default_rng(7)
    classes = np.full((SIDE, SIDE), 5, np.uint8)
    classes[:20] = 4 if not desert else 5
    values = {}
    for k, name in enumerate(NAMES):
        low = 0.22 if desert else 0.04 + 0.02 * k
        values[name] = rng.uniform(low, low + 0.1, (SIDE, SIDE))
        if not desert:
            values[name][-24:] = rng.uniform(0.005, 0.02, (24, SIDE))
    if not desert:
        classes[-24:-12], classes[-12:] = 6, 2
    return values, classes


def make(folder, name="s2", *, shifted: bool, desert=False, when=JUNE, said=SCALE, **properties):
    """An item whose counts are 1000 higher than reflectance x 10000 (`shifted`), or not."""
    values, classes = truth(desert=desert)
    up = 1000 if shifted else 0
    files = {
        band: raster(
            folder / name / f"{band}.tif",
            np.clip(np.round(v * 1e4) + up, 1, 65535).astype(np.uint16),
            nodata=0,
        )
        for band, v in values.items()
    }
    files["scl"] = raster(folder / name / "scl.tif", classes, nodata=0)
    given = {"s2__processing_baseline": "05.10"} | properties
    return make_item(files, name, when=when, fields=dict.fromkeys(NAMES, said), **given)


def said(offset: float) -> dict[str, Any]:
    return {"raster:bands": [{"scale": 1e-4, "offset": offset, "nodata": 0}]}


def opinions(made, name="s2"):
    return made.notes[name]["counts"]["offset"]


def is_right(made, *, desert=False) -> bool:
    """Whether what is read is the reflectance that was put in, at every pixel that is clear."""
    values, classes = truth(desert=desert)
    grid = opened(made.scenes[0].bands[0]).grid
    found = read_reflectance(Imagery("s2", S2, made.scenes), grid)["reflectance"].values
    keep = np.isin(classes, (4, 5, 7))
    ours = np.stack([values[name] for name in NAMES])
    return bool(np.abs(found[:, keep] - ours[:, keep]).max() < 1e-4)


# Where metadata and pixels agree


@pytest.mark.parametrize(
    ("catalog", "collection", "declared", "properties"),
    [
        ("earth-search", "sentinel-2-c1-l2a", -0.1, {}),
        ("earth-search", "sentinel-2-l2a", -0.1, {"earthsearch__boa_offset_applied": False}),
        ("planetary-computer", "sentinel-2-l2a", None, {}),
        ("copernicus", "sentinel-2-l2a", None, {}),
        (None, "mine", -0.1, {}),
        (None, "mine", None, {}),
    ],
)
def test_a_new_baseline_as_it_was_made(tmp_path, catalog, collection, declared, properties):
    fields = {} if declared is None else said(declared)
    item = make(tmp_path, shifted=True, said=fields, collection=collection, **properties)
    made = make_scenes([item], S2, catalog=catalog)
    assert opinions(made)["decided"] == opinions(made)["observed"] == -1000
    assert made.scenes[0].bands[0].offset == pytest.approx(-0.1)
    assert is_right(made)


def test_an_old_baseline_has_no_offset_though_the_sensor_has_one(tmp_path):
    item = make(tmp_path, shifted=False, said={}, s2__processing_baseline="02.14")
    made = make_scenes([item], S2)
    assert opinions(made) == {"declared": None, "baseline": 0, "observed": 0, "decided": 0}
    assert is_right(made)


def test_a_harmonised_copy_that_says_so(tmp_path):
    flag = {"earthsearch__boa_offset_applied": True}
    item = make(tmp_path, shifted=False, said=said(0.0), collection="sentinel-2-l2a", **flag)
    for catalog in ("earth-search", None):
        made = make_scenes([item], S2, catalog=catalog)
        assert opinions(made) == {"declared": 0, "baseline": -1000, "observed": 0, "decided": 0}
        assert "seen in the pixels" in made.notes["s2"]["counts"]["how"]
        assert is_right(made)


# Where they do not


def wrong_flag(folder, **more):
    flag = {"earthsearch__boa_offset_applied": False}
    given = {"said": said(-0.1), "collection": "sentinel-2-l2a"} | flag | more
    return make(folder, "liar", shifted=False, **given)


@pytest.mark.parametrize("catalog", ["earth-search", None])
def test_a_wrong_flag_stops_the_run_and_tells_the_three_values(tmp_path, catalog):
    with pytest.raises(CatalogError) as caught:
        make_scenes([wrong_flag(tmp_path)], S2, catalog=catalog, tolerant=True)
    told = str(caught.value)
    for part in ("item liar", "declared: -1000", "baseline 05.10: -1000", "observed: 0"):
        assert part in told
    assert "search.trust" in told


def test_a_wrong_flag_in_an_unknown_collection_stops_it_too(tmp_path):
    with pytest.raises(CatalogError, match="observed: 0"):
        make_scenes([wrong_flag(tmp_path, collection="copies")], S2)


@pytest.mark.parametrize(
    ("trust", "right"), [("observed", True), ("declared", False), ("baseline", False)]
)
def test_the_workflow_may_say_whom_to_trust(tmp_path, trust, right):
    item = wrong_flag(tmp_path)
    made = make_scenes([item], S2, trust=trust)
    assert opinions(made, "liar")["decided"] == (0 if right else -1000)
    assert f"trusts what is {trust}" in made.notes["liar"]["counts"]["how"]
    assert is_right(made) is right


def test_a_baseline_that_the_pixels_deny_stops_the_run(tmp_path):
    item = make(tmp_path, shifted=True, said={}, s2__processing_baseline="02.14")
    with pytest.raises(CatalogError, match=r"baseline 02.14: 0, observed: -1000"):
        make_scenes([item], S2)


def test_declarations_that_differ_among_bands_stop_the_run(tmp_path):
    item = make(tmp_path, shifted=True, said=said(-0.1))
    item.assets["red"].extra_fields = said(0.0)
    with pytest.raises(CatalogError, match=r"several ways \(-1000, 0 counts\)"):
        make_scenes([item], S2)
    item = make(tmp_path, shifted=True, said=said(-0.1), earthsearch__boa_offset_applied=True)
    with pytest.raises(CatalogError, match="several ways"):
        make_scenes([item], S2)
    assert make_scenes([item], S2, trust="observed").scenes[0].bands[0].offset == -0.1


def test_another_scale_than_the_product_has_stops_the_run(tmp_path):
    item = make(tmp_path, shifted=True, said={"raster:bands": [{"scale": 1e-3, "offset": -1.0}]})
    with pytest.raises(CatalogError, match=r"item s2: band blue declares a scale of 0\.001"):
        make_scenes([item], S2)


# Where nobody can tell


def test_a_desert_without_dark_ground_is_dropped_by_name(tmp_path):
    flag = {"earthsearch__boa_offset_applied": True, "collection": "sentinel-2-l2a"}
    dry = make(tmp_path, "dry", shifted=False, desert=True, said=said(0.0), **flag)
    wet = make(tmp_path, "wet", shifted=False, said=said(0.0), **flag)
    made = make_scenes([dry, wet], S2, catalog="earth-search")
    assert [scene.item for scene in made.scenes] == ["wet"]
    assert made.dropped == {"dry": "its offset cannot be decided from what it offers"}
    assert opinions(made, "dry")["observed"] is None


def test_a_desert_whose_metadata_can_be_trusted_is_kept(tmp_path):
    item = make(tmp_path, shifted=True, desert=True, said=said(-0.1))
    made = make_scenes([item], S2, catalog="earth-search")
    assert opinions(made)["decided"] == -1000
    assert "the pixels do not say" in made.notes["s2"]["counts"]["how"]
    assert is_right(made, desert=True)


@pytest.mark.parametrize("shifted", [True, False])
def test_another_date_of_the_same_ground_decides(tmp_path, shifted):
    flag = {"collection": "sentinel-2-l2a", "grid__code": "MGRS-29RKH"}
    doubt = make(
        tmp_path,
        "doubt",
        shifted=shifted,
        desert=True,
        said=said(-0.1 if shifted else 0.0),
        earthsearch__boa_offset_applied=not shifted,
        **flag,
    )
    old = make(
        tmp_path,
        "old",
        shifted=False,
        desert=True,
        said=said(0.0),
        when=datetime(2020, 6, 20, tzinfo=UTC),
        **flag | {"s2__processing_baseline": "02.14"},
    )
    made = make_scenes([doubt, old], S2, catalog="earth-search")
    assert [scene.item for scene in made.scenes] == ["doubt", "old"]
    assert opinions(made, "doubt")["decided"] == (-1000 if shifted else 0)
    assert "another date of the same ground" in made.notes["doubt"]["counts"]["how"]
    assert is_right(made, desert=True)
    winter = make_scenes(
        [doubt, *_moved(old, datetime(2020, 12, 20, tzinfo=UTC))], S2, catalog="earth-search"
    )
    assert winter.dropped.keys() == {"doubt"}


def _moved(item, when):
    moved = item.clone()
    moved.datetime = when
    return [moved]


def test_an_item_without_a_baseline_and_without_a_word_is_decided_by_its_pixels(tmp_path):
    item = make(tmp_path, shifted=False, said={}, s2__processing_baseline=None)
    made = make_scenes([item], S2)
    assert opinions(made) == {"declared": None, "baseline": None, "observed": 0, "decided": 0}
    dry = make(tmp_path, "dry", shifted=False, desert=True, said={}, s2__processing_baseline=None)
    assert make_scenes([dry], S2).dropped.keys() == {"dry"}


def test_the_baseline_is_found_in_the_name_of_the_product(tmp_path):
    product = "S2A_MSIL2A_20200219T112111_N0214_R037_T29RKH_20200219T123947.SAFE"
    given = {"s2__processing_baseline": None, "s2__product_uri": product}
    made = make_scenes([make(tmp_path, shifted=False, said={}, **given)], S2)
    assert made.notes["s2"]["counts"]["baseline"] == "02.14"


def test_shadow_in_a_shifted_desert_is_not_mistaken_for_dark_ground(tmp_path):
    """At 2.2 um it has the counts of raw water; in the blue it has not."""
    item = make(
        tmp_path,
        shifted=False,
        desert=True,
        said=said(0.0),
        collection="sentinel-2-l2a",
        earthsearch__boa_offset_applied=True,
    )
    _, classes = truth(desert=True)
    classes[-12:] = 2
    raster(tmp_path / "s2" / "scl.tif", classes, nodata=0)
    for name, level in (("blue", 850), ("green", 900), ("red", 1000), ("swir22", 1100)):
        values, _ = truth(desert=True)
        counts = np.round(values[name] * 1e4).astype(np.uint16)
        counts[-12:] = level
        raster(tmp_path / "s2" / f"{name}.tif", counts, nodata=0)
    made = make_scenes([item], S2, catalog="earth-search")
    assert made.dropped.keys() == {"s2"}


# Other products


def fixed(**more) -> Sensor:
    given = {
        "title": "fixed",
        "bands": {"red": Band(assets=("red",), wavelength=665, fwhm=38)},
        "resolution": 30,
        "scale": 2.75e-5,
        "offset": -0.2,
        "nodata": 0,
        "calibration": "fixed",
        "source": "made up",
    }
    return Sensor(**given | more)


def plain(folder, counts, fields=None, **properties):
    path = raster(folder / "red.tif", np.asarray(counts), nodata=0)
    return make_item({"red": path}, "plain", fields={"red": fields or {}}, **properties)


def test_fixed_numbers_hold_where_the_item_is_silent_or_agrees(tmp_path):
    counts = np.full((32, 32), 16_000, np.uint16)
    for fields in ({}, {"raster:bands": [{"scale": 0.0000275, "offset": -0.2}]}):
        band = make_scenes([plain(tmp_path, counts, fields)], fixed()).scenes[0].bands[0]
        assert (band.scale, band.offset) == (2.75e-5, -0.2)


def test_an_item_that_declares_other_numbers_than_its_product_stops_the_run(tmp_path):
    counts = np.full((32, 32), 16_000, np.uint16)
    item = plain(tmp_path, counts, {"raster:bands": [{"scale": 2.75e-5, "offset": 0.0}]})
    with pytest.raises(CatalogError, match=r"item plain: band red declares .* has 2.75e-05"):
        make_scenes([item], fixed())
    assert make_scenes([item], fixed(), trust="declared").scenes[0].bands[0].offset == 0.0
    assert make_scenes([item], fixed(), trust="baseline").scenes[0].bands[0].offset == -0.2


@pytest.mark.parametrize(("scale", "fault"), [(1e-3, "red 1.6"), (-1e-5, "red -0.16")])
def test_clear_land_out_of_range_stops_the_run(tmp_path, scale, fault):
    item = plain(
        tmp_path,
        np.full((32, 32), 1600, np.uint16) if scale > 0 else np.full((32, 32), 16_000, np.uint16),
    )
    sensor = fixed(scale=scale, offset=0.0)
    with pytest.raises(CatalogError, match=rf"item plain: clear land .* 0 to 0\.7 \({fault}\)"):
        make_scenes([item], sensor)
    made = make_scenes([item], sensor, trust="declared")
    assert "trusted" in made.notes["plain"]["counts"]["check"]["told"]


def test_negative_reflectance_is_counted_and_kept(tmp_path):
    counts = np.full((32, 32), 16_000, np.uint16)
    counts[:8] = 7000
    made = make_scenes([plain(tmp_path, counts)], fixed())
    assert made.notes["plain"]["counts"]["check"]["negative_share"]["red"] == 0.25
    grid = opened(made.scenes[0].bands[0]).grid
    found = read_reflectance(Imagery("fixed", fixed(), made.scenes), grid)["reflectance"].values
    assert found[0, 0, 0] == pytest.approx(7000 * 2.75e-5 - 0.2, abs=1e-6)


def test_too_little_clear_land_is_not_judged(tmp_path):
    made = make_scenes([plain(tmp_path, np.full((8, 8), 65_000, np.uint16))], fixed())
    assert "not checked" in made.notes["plain"]["counts"]["check"]["told"]


def test_what_is_no_reflectance_is_not_judged(tmp_path):
    height = fixed(quantity="elevation", scale=1.0, offset=0.0, calibration="declared")
    made = make_scenes([plain(tmp_path, np.full((32, 32), 1600, np.uint16))], height)
    assert "check" not in made.notes["plain"]["counts"]


def test_radiance_goes_by_the_gain_of_the_band(tmp_path):
    aster = Configs.at().sensor("aster-l1t")
    green = aster.model_copy(update={"bands": {"green": aster.bands["green"]}})
    counts = np.full((32, 32), 101, np.uint8)
    path = raster(tmp_path / "vnir.tif", np.stack([counts] * 3), nodata=0)

    def read(**properties):
        made = make_scenes([make_item({"VNIR": path}, "aster", **properties)], green)
        grid = opened(made.scenes[0].bands[0]).grid
        values = read_reflectance(Imagery("aster", green, made.scenes), grid)
        return values["reflectance"].values[0, 0, 0], made.notes["aster"]["counts"]["how"]

    value, how = read()
    assert value == pytest.approx(100 * 1.688)
    assert "normal gain is assumed for green" in how
    value, how = read(aster__gains={"green": "HGH"})
    assert value == pytest.approx(100 * 0.676)
    assert "assumed" not in how
    with pytest.raises(CatalogError, match="no gain setting 'LO2'"):
        read(aster__gains={"green": "LO2"})
