"""What counts of other products mean: fixed numbers, gains, and the range of clear land."""

import numpy as np
import pytest
from items import make_item, raster

from pipeline.cube import Imagery, make_scenes, read_reflectance
from pipeline.cube.source import opened
from pipeline.errors import CatalogError
from pipeline.plan import Band, Configs, Sensor


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
