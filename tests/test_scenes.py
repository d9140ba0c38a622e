"""From items to scenes: which asset, which numbers, and what becomes of a bad item."""

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pystac
import pytest
from items import JUNE, LEFT, TOP, levels, make_item, raster

from pipeline.cube import Imagery, make_scenes, read_reflectance
from pipeline.cube.scenes import Scene
from pipeline.cube.source import opened
from pipeline.errors import CatalogError, ReadError
from pipeline.plan import Band, Mask, Sensor

SENSOR = Sensor(
    title="Two bands",
    bands={
        "red": Band(assets=("red", "B04"), wavelength=665, fwhm=38),
        "swir16": Band(assets=("swir16", "*_B11.tif"), wavelength=1610, fwhm=143),
    },
    resolution=20,
    scale=1e-4,
    offset=-0.1,
    nodata=0,
    masks=(Mask(assets=("scl",), flags={"clear": (4, 5), "cloud": (8, 9)}, drop=("cloud",)),),
    source="made up",
)
UNMASKED = SENSOR.model_copy(update={"masks": ()})


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    """A red, a short-wave band and a mask."""
    shape = (64, 64)
    return {
        "red": raster(tmp_path / "red.tif", levels(shape, 2000, 3000, 1), nodata=0),
        "swir16": raster(tmp_path / "swir16.tif", levels(shape, 3000, 4000, 2), nodata=0),
        "scl": raster(tmp_path / "scl.tif", np.full(shape, 5, np.uint8)),
    }


def one(items: list[pystac.Item], sensor: Sensor = SENSOR) -> Scene:
    (scene,) = make_scenes(items, sensor).scenes
    return scene


def test_scale_offset_and_nodata_come_from_the_asset_before_the_sensor(files):
    said = {
        "B04": {"raster:bands": [{"scale": 2e-4, "offset": -0.2, "nodata": 7}]},
        "swir16": {"bands": [{"raster:scale": 1.5e-4, "nodata": "nan"}]},
    }
    renamed = {"B04": files["red"], "swir16": files["swir16"], "scl": files["scl"]}
    found = one([make_item(renamed, fields=said)])
    red, swir = found.bands
    assert (red.href, red.scale, red.offset, red.nodata) == (files["red"], 2e-4, -0.2, 7)
    assert (swir.scale, swir.offset) == (1.5e-4, 0.0)
    assert swir.nodata is not None
    assert np.isnan(swir.nodata)
    assert found.masks[0] is not None
    assert found.masks[0].nodata is None
    assert (found.item, found.datetime) == ("one", JUNE)


def test_the_sensor_speaks_where_the_asset_is_silent(files):
    said = {"red": {"raster:bands": [{"data_type": "uint16"}]}}
    for source in one([make_item(files, fields=said)]).bands:
        assert (source.scale, source.offset, source.nodata) == (1e-4, -0.1, 0)
    said = {"red": {"raster:scale": 2e-4, "nodata": None}}
    red = one([make_item(files, fields=said)]).bands[0]
    assert (red.scale, red.offset, red.nodata) == (2e-4, 0.0, 0)


def test_each_band_of_a_file_has_its_own_numbers(tmp_path, files):
    both = raster(tmp_path / "both.tif", np.stack([levels((64, 64), 900, 1000)] * 2))
    bands = {
        "red": Band(assets=("both",), wavelength=665, fwhm=38, number=2),
        "swir16": Band(assets=("both",), wavelength=1610, fwhm=143, number=1),
    }
    sensor = SENSOR.model_copy(update={"bands": bands})
    said = {"both": {"raster:bands": [{"scale": 1e-4}, {"scale": 2e-4}]}}
    item = make_item({"both": both, "scl": files["scl"]}, fields=said)
    red, swir = one([item], sensor).bands
    assert (red.number, red.scale, swir.number, swir.scale) == (2, 2e-4, 1, 1e-4)


def test_an_alias_is_taken_in_the_sensors_order_and_a_star_matches(files, tmp_path):
    other = raster(tmp_path / "other.tif", levels((64, 64), 2000, 3000))
    both = make_item({**files, "B04": other})
    assert one([both]).bands[0].href == files["red"]
    starred = make_item({"red": files["red"], "scl": files["scl"], "AST_B11.tif": files["swir16"]})
    assert one([starred]).bands[1].href == files["swir16"]


def test_twins_of_another_format_are_passed_over(files):
    item = make_item({**files, "x_B11.tif-jp2": "s3://elsewhere/b11.jp2"})
    item.assets["swir16-jp2"] = item.assets.pop("swir16")
    with pytest.raises(CatalogError, match=r"it offers red, scl\)"):
        make_scenes([item], SENSOR)


def test_a_pattern_that_fits_a_twin_too_takes_the_original(files):
    bands = SENSOR.bands | {"swir16": Band(assets=("*B11*",), wavelength=1610, fwhm=143)}
    sensor = SENSOR.model_copy(update={"bands": bands})
    item = make_item({k: files[k] for k in ("red", "scl")} | {"x_B11-jp2": "s3://b/b11.jp2"})
    with pytest.raises(CatalogError, match=r"it offers red, scl\)"):
        make_scenes([item], sensor)
    item.add_asset("x_B11", pystac.Asset(files["swir16"]))
    assert one([item], sensor).bands[1].href == files["swir16"]


def test_a_missing_asset_is_named_with_what_there_is(files):
    poor = make_item({"nir": files["red"], "red": files["red"], "scl": files["scl"]}, "S2_31")
    with pytest.raises(CatalogError) as caught:
        make_scenes([poor], SENSOR)
    for part in ("item S2_31", "swir16", "nir, red, scl"):
        assert part in str(caught.value)
    unseen = make_item({"red": files["red"], "swir16": files["swir16"]})
    with pytest.raises(CatalogError, match="quality mask"):
        make_scenes([unseen], SENSOR)
    assert one([unseen], UNMASKED).masks == ()


def test_an_item_without_assets_offers_none():
    with pytest.raises(CatalogError, match="it offers none"):
        make_scenes([make_item({})], SENSOR)


def test_an_optional_mask_may_be_missing(files):
    extra = Mask(assets=("sat",), flags={"sat": (1,)}, drop=("sat",), optional=True)
    sensor = SENSOR.model_copy(update={"masks": (*SENSOR.masks, extra)})
    assert one([make_item(files)], sensor).masks[1] is None


def test_the_tolerant_name_what_cannot_be_read_and_go_on(files, tmp_path):
    torn = tmp_path / "torn.tif"
    torn.write_bytes(Path(files["red"]).read_bytes()[:200])
    items = [
        make_item(files, "good"),
        make_item({"red": files["red"]}, "poor"),
        make_item({**files, "swir16": str(torn)}, "torn"),
        make_item({**files, "swir16": str(tmp_path / "none.tif")}, "gone"),
    ]
    made = make_scenes(items, SENSOR, tolerant=True)
    assert [scene.item for scene in made.scenes] == ["good"]
    assert made.unreadable.keys() == {"poor", "torn", "gone"}
    assert "swir16" in made.unreadable["poor"]
    assert made.unreadable["gone"] == "asset swir16: does not exist"
    assert not made.dropped
    assert made.notes.keys() == {"good"}
    with pytest.raises(CatalogError, match="item poor"):
        make_scenes(items, SENSOR)
    with pytest.raises(ReadError, match="item gone, asset swir16"):
        make_scenes(items[-1:], SENSOR)


def test_only_assets_that_are_read_have_to_be_at_an_allowed_address(files):
    item = make_item({**files, "thumbnail": "https://example.org/t.jpg", "log": "s3://b/log"})
    assert one([item]).item == "one"
    foreign = make_item({**files, "red": "https://example.org/red.tif"})
    with pytest.raises(ReadError, match=r"item one: the address .* is refused"):
        make_scenes([foreign], SENSOR)


def test_the_notes_tell_the_files_and_what_their_counts_mean(files):
    made = make_scenes([make_item(files)], SENSOR)
    note = made.notes["one"]
    assert note["assets"].keys() == {"red", "swir16", "scl"}
    red = note["assets"]["red"]
    assert red["href"] == "red.tif"  # a run is the same wherever its files lie
    assert red["size"] == Path(files["red"]).stat().st_size
    assert len(red["sha256"]) == 64
    assert note["counts"]["decided"] == {"scale": 1e-4, "offset": -0.1}
    assert note["counts"]["declared"] == {"scale": None, "offset": None}
    assert note["counts"]["check"]["median"]["red"] == pytest.approx(0.15, abs=0.005)
    assert "grid" not in note


def test_a_declared_grid_that_the_file_contradicts_is_told_and_the_file_believed(files):
    said = {
        "proj:shape": [640, 640],
        "proj:transform": [2.0, 0.0, LEFT, 0.0, -2.0, TOP],
        "proj:epsg": 32612,
    }
    made = make_scenes([make_item(files, fields={"red": said})], SENSOR)
    told = " ".join(made.notes["one"]["grid"])
    for part in ("asset red", "640 x 640", "64 x 64", "another geotransform", "EPSG:32611"):
        assert part in told
    right = {"proj:shape": [64, 64], "proj:transform": [20.0, 0.0, LEFT, 0.0, -20.0, TOP]}
    same = make_item(files, fields={"red": {**right, "proj:code": "EPSG:32611"}})
    assert "grid" not in make_scenes([same], SENSOR).notes["one"]


def test_a_file_outside_the_footprint_of_its_item_is_not_read(files, tmp_path):
    away = raster(tmp_path / "away.tif", levels((64, 64), 2000, 3000), left=LEFT + 200_000)
    moved = make_item({**files, "swir16": away})
    made = make_scenes([moved], SENSOR, tolerant=True)
    assert "outside the footprint" in made.unreadable["one"]
    with pytest.raises(ReadError, match=r"asset swir16: lies wholly outside the footprint"):
        make_scenes([moved], SENSOR)


def test_an_item_without_geometry_or_projection_is_read_from_its_file(files):
    bare = make_item(files)
    bare.geometry = bare.bbox = None
    assert one([bare]).item == "one"


def test_bands_that_are_no_longer_valid_drop_an_item_by_name(files):
    bands = {n: b.model_copy(update={"until": "2008-04-01"}) for n, b in SENSOR.bands.items()}
    sensor = SENSOR.model_copy(update={"bands": {"red": SENSOR.bands["red"], **bands}})
    late = make_item(files, "late", when=datetime(2008, 4, 1, tzinfo=UTC))
    early = make_item(files, "early", when=datetime(2008, 3, 31, tzinfo=UTC))
    made = make_scenes([late, early], sensor)
    assert [scene.item for scene in made.scenes] == ["early"]
    assert made.dropped == {"late": "its red, swir16 cannot be used from 2008-04-01 on"}


def test_the_sun_is_where_the_item_says(files):
    new = make_item(files, view__sun_elevation=48.3, view__sun_azimuth=147.0)
    assert one([new]).sun == (48.3, 147.0)
    old = make_item(files, eo__sun_elevation=57, eo__sun_azimuth=136.3)
    assert one([old]).sun == (57.0, 136.3)
    assert one([make_item(files, view__sun_elevation=48.3)]).sun is None


def test_items_of_other_types_and_without_nodata_are_read_together(files, tmp_path):
    shape = (64, 64)
    silent = UNMASKED.model_copy(update={"nodata": None, "offset": 0.0})
    plain = {
        "red": raster(tmp_path / "f" / "red.tif", np.full(shape, 3000, np.float32)),
        "swir16": raster(tmp_path / "f" / "swir16.tif", np.full(shape, 4000, np.int16)),
    }
    first = {key: files[key] for key in ("red", "swir16")}
    made = make_scenes([make_item(first, "uint"), make_item(plain, "mixed")], silent)
    grid = opened(made.scenes[0].bands[0]).grid
    values = read_reflectance(Imagery("two", silent, made.scenes), grid)["reflectance"].values
    counts = levels(shape, 2000, 3000, 1).astype(float)
    assert values[0] == pytest.approx((counts * 1e-4 + 0.3) / 2, abs=1e-6)


def test_items_keep_their_order(files):
    names = [f"item{k}" for k in range(9)]
    made = make_scenes([make_item(files, name) for name in names], SENSOR)
    assert [scene.item for scene in made.scenes] == names
