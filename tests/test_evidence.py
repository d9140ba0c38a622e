"""Evidence: the layers, their names, and that no cut into blocks changes a bit of them."""

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.contracts import as_reflectance
from pipeline.errors import FormulaError, PlanError
from pipeline.evidence import derive, derive_arrays, plan_layers
from pipeline.evidence.context import mean_within
from pipeline.evidence.indices import DARKEST, feasible, index_layers, operand_bands
from pipeline.evidence.spectroscopy import FAMILIES, FLOOR, layer_names
from pipeline.grid import Block, blocks, halo_pixels
from pipeline.plan import Band, Check, Configs, Index, Sensor

SENTINEL2 = Configs().sensor("sentinel2-l2a")


def ground(bands=3, rows=12, columns=14, seed=0, holes=True):
    """Reflectance between the noise floor and bright, with holes."""
    rng = np.random.default_rng(seed)
    values = rng.uniform(0.03, 0.7, (bands, rows, columns)).astype(np.float32)
    if holes:
        values[:, rng.random((rows, columns)) < 0.1] = np.nan
    return values


def index(text, **fields):
    return Index(
        title="t",
        formula=text,
        high_means="x",
        status="experimental",
        source="made for tests",
        checks=(Check(operands={}, value=0.0),),
        **fields,
    )


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_a_family_has_a_name_for_each_layer_and_keeps_missing_missing(family):
    values = ground()
    layers = FAMILIES[family](values)
    names = layer_names(family, ("red", "nir", "swir"))
    assert layers.shape == (len(names), *values.shape[1:])
    assert len(set(names)) == len(names)
    assert layers.dtype == np.float32
    np.testing.assert_array_equal(np.isnan(layers).any(axis=0), np.isnan(values).any(axis=0))


def test_a_band_missing_at_a_pixel_is_missing_in_what_is_made_of_it():
    values = ground(holes=False)
    values[1, 3, 4] = np.nan
    assert np.isnan(FAMILIES["log_shape"](values)[:, 3, 4]).all()
    assert np.isnan(FAMILIES["log_bands"](values)[:, 3, 4]).tolist() == [False, True, False]
    ratios = FAMILIES["log_ratios"](values)[:, 3, 4]
    assert np.isnan(ratios).tolist() == [True, False, True]


@settings(max_examples=30, deadline=None)
@given(st.floats(0.1, 1.4), st.integers(0, 1000))
def test_the_shape_does_not_change_with_illumination(light, seed):
    values = ground(bands=6, seed=seed, holes=False)
    lit = (values * np.float32(light)).astype(np.float32)
    for family in ("log_shape", "log_ratios"):
        np.testing.assert_allclose(FAMILIES[family](lit), FAMILIES[family](values), atol=3e-6)
    brighter = FAMILIES["log_brightness"](lit) - FAMILIES["log_brightness"](values)
    np.testing.assert_allclose(brighter, np.log(light), atol=3e-6)


def test_the_shape_sums_to_zero_and_with_the_brightness_gives_the_logarithm():
    values = ground(bands=6, holes=False)
    shape = FAMILIES["log_shape"](values)
    np.testing.assert_allclose(shape.sum(axis=0), 0.0, atol=2e-6)
    np.testing.assert_allclose(
        shape + FAMILIES["log_brightness"](values), np.log(values), atol=2e-6
    )


def test_ratios_are_named_first_over_second():
    values = np.array([0.2, 0.4, 0.1], np.float32).reshape(3, 1, 1)
    names = layer_names("log_ratios", ("red", "nir", "swir"))
    found = dict(zip(names, FAMILIES["log_ratios"](values)[:, 0, 0].tolist(), strict=True))
    assert found == {
        "log_ratios.red.nir": pytest.approx(np.log(0.5)),
        "log_ratios.red.swir": pytest.approx(np.log(2)),
        "log_ratios.nir.swir": pytest.approx(np.log(4)),
    }


def test_noise_and_negative_reflectance_count_as_the_floor():
    values = np.array([-0.1, 0.0, 1e-9, FLOOR], np.float32).reshape(1, 1, 4)
    assert FAMILIES["log_bands"](values).ravel().tolist() == [np.log(FLOOR)] * 4
    assert FAMILIES["bands"](values)[0, 0, 0] == np.float32(-0.1)


def brute_mean(layer, radius):
    out = np.full_like(layer, np.nan)
    for y, x in np.ndindex(layer.shape):
        if np.isfinite(layer[y, x]):
            rows = slice(max(y - radius, 0), y + radius + 1)
            columns = slice(max(x - radius, 0), x + radius + 1)
            out[y, x] = np.nanmean(layer[rows, columns].astype(np.float64))
    return out


@pytest.mark.parametrize("radius", [0, 1, 3, 20])
def test_the_mean_within_is_the_mean_of_what_is_known(radius):
    layers = ground()
    found = mean_within(layers, radius)
    for layer, result in zip(layers, found, strict=True):
        np.testing.assert_allclose(result, brute_mean(layer, radius), rtol=1e-6)
    assert found.dtype == np.float32


def test_a_lonely_pixel_is_its_own_mean_and_a_bright_one_stays_in_reach():
    layer = np.full((1, 9, 9), np.nan, np.float32)
    layer[0, 4, 4] = 0.3
    np.testing.assert_array_equal(mean_within(layer, 2), layer)
    layer[:] = 0.0
    layer[0, 4, 4] = 25.0
    assert (mean_within(layer, 2)[0] != 0).sum() == 25


FEATURES = ("bands", "log_shape", "log_shape@60", "log_brightness@45", "log_ratios", "evidence@30")


@pytest.mark.parametrize("size", [1, 5, 8, 64])
def test_no_cut_into_blocks_changes_a_bit(size):
    plan = plan_layers(("clay_hydroxyl", "ndvi"), FEATURES, SENTINEL2, Configs())
    shape, resolution = (8, 9) if size == 1 else (21, 34), 20.0
    halo = halo_pixels(plan.halo, resolution)
    # What lies past the region's edge is missing, as when imagery ends.
    wide = np.full((10, shape[0] + 2 * halo, shape[1] + 2 * halo), np.nan, np.float32)
    wide[:, halo:-halo, halo:-halo] = ground(10, *shape)
    whole = derive_arrays(wide, plan, resolution)
    for block in blocks(shape, size):
        around = Block(block.y0, block.y1 + 2 * halo, block.x0, block.x1 + 2 * halo)
        part = derive_arrays(wide[(slice(None), *around.slices)], plan, resolution)
        for name, layer in part.items():
            kept = layer[halo : halo + block.shape[0], halo : halo + block.shape[1]]
            there = whole[name][halo:-halo, halo:-halo][block.slices]
            np.testing.assert_array_equal(kept, there, err_msg=f"{name} in {block.name}")


def test_no_cut_changes_a_bit_without_a_halo_either():
    plan = plan_layers((), ("log_shape", "log_brightness"), SENTINEL2, Configs())
    values = ground(10, 16, 16)
    whole = derive_arrays(values, plan, 20.0)
    for block in blocks((16, 16), 1):
        part = derive_arrays(values[(slice(None), *block.slices)], plan, 20.0)
        for name, layer in part.items():
            np.testing.assert_array_equal(layer, whole[name][block.slices], err_msg=name)


def test_features_stand_for_layers():
    plan = plan_layers(("ndvi", "clay_hydroxyl"), ["log_shape@60", "ndvi"], SENTINEL2, Configs())
    assert plan.halo == 60.0
    assert plan.mapped == ("ndvi", "clay_hydroxyl")
    assert plan.layers_of("ndvi") == ("ndvi",)
    assert plan.layers_of("ndvi@37.5") == ("ndvi@37.5",)
    assert plan.layers_of("evidence") == ("ndvi", "clay_hydroxyl")
    assert plan.layers_of("evidence@30") == ("ndvi@30", "clay_hydroxyl@30")
    assert plan.layers_of("log_shape@60")[0] == "log_shape.blue@60"
    assert len(plan.layers_of("log_shape@60")) == len(SENTINEL2.bands)
    assert plan_layers((), ["bands"], SENTINEL2, Configs()).halo == 0.0


def test_all_maps_every_index_that_the_sensor_feeds():
    plan = plan_layers("all", ["bands"], SENTINEL2, Configs())
    known = {name: Configs().index(name) for name in Configs().names("indices")}
    fed, refused = feasible(known, SENTINEL2)
    assert plan.mapped == tuple(fed)
    assert "clay_hydroxyl" in fed
    assert set(fed) | set(refused) == set(known)
    assert not set(fed) & set(refused)
    arrays = derive_arrays(ground(10), plan, 20.0)
    assert set(plan.mapped) <= set(arrays)


@pytest.mark.parametrize(
    ("mapped", "features", "told"),
    [
        ((), ["log_shap"], "'log_shap' is not known; did you mean 'log_shape'"),
        (("clay_hydroxil",), ["bands"], "did you mean 'clay_hydroxyl'"),
        (("ndvi@60",), ["bands"], "'ndvi@60' is not known; did you mean 'ndvi'"),
        (("log_shape",), ["log_shape"], "is a family for models, not an index"),
        (("evidence",), ["bands"], "'evidence' is not known"),
        ((), ["evidence"], "the workflow maps no index"),
        ((), ["bands@"], "has no distance in metres"),
        ((), ["bands@far"], "has no distance in metres"),
        ((), ["bands@-60"], "has no distance in metres"),
        ((), ["bands@0"], "has no distance in metres"),
        ((), ["bands@nan"], "has no distance in metres"),
        ((), ["bands@1e9"], "has no distance in metres"),
        ((), ["@60"], "is not known"),
    ],
)
def test_a_feature_that_makes_no_sense_is_told(mapped, features, told):
    with pytest.raises(PlanError, match=told):
        plan_layers(mapped, features, SENTINEL2, Configs())


def test_an_index_that_the_sensor_cannot_feed_is_refused_by_name(sensor):
    with pytest.raises(PlanError, match=r"'ali' cannot be fed .*no band at 2165 nm"):
        plan_layers(("ali",), ["bands"], sensor, Configs())
    with pytest.raises(PlanError, match="'ali' cannot be fed"):
        plan_layers((), ["ali@60"], sensor, Configs())


def test_an_index_added_in_a_folder_is_mapped_without_more_ado(tmp_path, sensor):
    (tmp_path / "indices").mkdir()
    (tmp_path / "indices" / "mine.yaml").write_text(
        "title: mine\nformula: r1610 - r660\nhigh_means: x\nstatus: experimental\nsource: me\n"
        "checks: [{operands: {r1610: 0.3, r660: 0.1}, value: 0.2}]\n"
    )
    plan = plan_layers(("mine",), ["bands"], sensor, Configs.at(tmp_path))
    values = ground(holes=False)
    found = derive_arrays(values, plan, 10.0)["mine"]
    np.testing.assert_allclose(found, values[2] - values[0], rtol=1e-6)


def test_ground_too_dark_in_a_band_gives_no_index_that_uses_it(sensor):
    values = np.full((3, 1, 4), 0.3, np.float32)
    values[0, 0, 1] = np.nextafter(DARKEST, np.float32(0))
    values[0, 0, 2] = DARKEST
    values[1, 0, 3] = 0.001
    ratio = index_layers(values, {"i": index("r1610 / r660")}, sensor)[0, 0]
    assert np.isnan(ratio).tolist() == [False, True, False, False]
    with_nir = index_layers(values, {"i": index("r865 / r660")}, sensor)[0, 0]
    assert np.isnan(with_nir).tolist() == [False, True, False, True]


def test_indices_come_in_the_order_given_and_read_their_bands(sensor):
    values = ground(holes=False)
    wanted = {"b": index("r1610"), "a": index("r865 + 0 * r660"), "c": index("r660")}
    found = index_layers(values, wanted, sensor)
    for layer, band in zip(found, (2, 1, 0), strict=True):
        np.testing.assert_array_equal(layer, values[band])
    assert operand_bands(wanted["a"], sensor) == {"r865": "nir", "r660": "red"}
    with pytest.raises(FormulaError):
        operand_bands(index("r2200"), sensor)


def test_derived_evidence_says_where_it_comes_from(sensor):
    data = xr.Dataset(
        {
            "reflectance": (("band", "y", "x"), ground()),
            "clear_count": (("y", "x"), np.ones((12, 14), np.uint16)),
        },
        {
            "wavelength": ("band", [660.0, 865.0, 1610.0]),
            "fwhm": ("band", [60.0, 40.0, 140.0]),
            "y": np.arange(12, 0, -1) * 10.0,
            "x": np.arange(14) * 10.0,
        },
        {"sensor": "s", "crs": "EPSG:32611"},
    )
    plan = plan_layers(("ndvi",), ["log_shape@20"], sensor, Configs())
    evidence = derive(as_reflectance(data), plan)
    assert set(evidence.data_vars) == {"ndvi", *plan.layers_of("log_shape@20")}
    assert evidence["ndvi"].attrs["formula"] == Configs().index("ndvi").formula
    assert evidence["ndvi"].attrs["source"] == Configs().index("ndvi").source
    assert evidence.attrs["crs"] == "EPSG:32611"
    # Twenty metres are two pixels of ten.
    shape = FAMILIES["log_shape"](data["reflectance"].values)
    np.testing.assert_array_equal(evidence["log_shape.red@20"].values, mean_within(shape, 2)[0])
    np.testing.assert_array_equal(evidence["x"].values, data["x"].values)


def test_bands_are_read_in_the_sensors_own_order():
    turned = Sensor(
        title="t",
        resolution=10.0,
        source="s",
        bands={
            "swir": Band(assets=("s",), wavelength=1610.0, fwhm=140.0),
            "red": Band(assets=("r",), wavelength=660.0, fwhm=60.0),
        },
    )
    values = ground(bands=2, holes=False)
    np.testing.assert_array_equal(index_layers(values, {"i": index("r660")}, turned)[0], values[1])
