"""Real imagery of five kinds: which asset, what counts mean, and pixels worked by hand from counts.

The scenes lie beside the project and are not part of it; items are written anew with the paths of
this machine.
"""

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow.parquet as pq
import pystac
import pytest
import rasterio
from items import make_item, raster
from odc.geo.geobox import GeoBox
from rasterio.crs import CRS
from rasterio.transform import from_origin, xy
from scipy.io import netcdf_file

from pipeline.cube import Imagery, make_scenes, native_grid, read_reflectance
from pipeline.cube.assets import bands_of, declared, find
from pipeline.cube.source import opened
from pipeline.errors import CatalogError, RegionError
from pipeline.plan import Configs, Sensor

DATA = Path(__file__).parent.parent.parent / "shared" / "data"
pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason="needs ../shared/data")

CONFIGS = Configs.at()
OLI = CONFIGS.sensor("landsat-oli-c2-l2")
S2 = CONFIGS.sensor("sentinel2-l2a")


def local(path: Path) -> pystac.Item:
    """Read a real item, of whatever version, and let its assets lie beside it."""
    said = json.loads(path.read_text())
    for asset in said["assets"].values():
        asset["href"] = str(path.parent / asset["href"].rsplit("/", 1)[-1])
    return pystac.Item.from_dict({**said, "links": []})


def counts_of(path: str) -> np.ndarray:
    with rasterio.open(path) as file:
        return file.read(1)


def composite(
    item: pystac.Item, sensor: Sensor, grid: GeoBox | None = None, trust: str | None = None
) -> tuple[Any, GeoBox]:
    scene = make_scenes([item], sensor, trust=trust).scenes[0]
    grid = grid or opened(scene.bands[0]).grid
    return read_reflectance(Imagery("real", sensor, (scene,)), grid), grid


@pytest.mark.parametrize(
    ("name", "sensor", "declares"),
    [
        ("LC08_L2SP_028030_20200114_20200824_02_T1_SR", "landsat-oli-c2-l2", {}),
        ("LC08_L2SR_081119_20200101_20200823_02_T2", "landsat-oli-c2-l2", {}),
        ("LE07_L2SP_044033_20210329_20210424_02_T1_SR", "landsat-tm-c2-l2", {}),
        ("S2A_28QCH_20200714_0_L2A", "sentinel2-l2a", {}),
        (
            "S2B_MSIL2A_20190629T212529_R043_T06VVN_20201006T080531_raster_ext",
            "sentinel2-l2a",
            {"nodata": 0.0},
        ),
    ],
)
def test_real_items_of_other_catalogs_have_every_asset_by_some_name(name, sensor, declares):
    said = json.loads((DATA / "stac_items" / f"{name}.json").read_text())
    item = pystac.Item.from_dict({**said, "links": []})
    known = CONFIGS.sensor(sensor)
    assert bands_of(item, known).keys() == known.bands.keys()
    assert find(item, known.masks[0].assets) is not None
    key, band = bands_of(item, known)["red"]
    assert declares.items() <= declared(item.assets[key], band.number).items()


def test_the_columns_of_a_real_index_of_aster_are_its_assets():
    names = pq.read_schema(DATA / "stac_items" / "aster-l1t-subset.parquet").field("assets").type
    offered = {names.field(k).name for k in range(names.num_fields)}
    wanted = {band.assets[0] for band in CONFIGS.sensor("aster-l1t").bands.values()}
    assert wanted == {"VNIR", "SWIR", "TIR"} <= offered


# Sentinel-2, tile 29RKH, baseline 02.14


@pytest.fixture(scope="module")
def morocco():
    return local(DATA / "sentinel2_29RKH" / "S2A_29RKH_20200219_0_L2A.json")


def test_the_old_baseline_has_no_offset_whatever_the_sensor_says(morocco):
    made = make_scenes([morocco], S2, catalog="earth-search")
    assert {band.offset for band in made.scenes[0].bands} == {0.0}
    assert S2.offset == -0.1
    counts = made.notes[morocco.id]["counts"]
    assert counts["baseline"] == "02.14"
    assert counts["offset"] == {"declared": 0, "baseline": 0, "observed": None, "decided": 0}
    assert made.scenes[0].sun == pytest.approx((48.293, 147.672), abs=1e-3)


def test_its_item_contradicts_its_files_and_the_files_are_believed(morocco):
    made = make_scenes([morocco], S2)
    told = made.notes[morocco.id]["grid"]
    assert any("asset blue: it declares 10980 x 10980 pixels" in line for line in told)
    assert any("1098 x 1098" in line for line in told)
    mended = json.loads((DATA / "sentinel2_29RKH" / "item_local.json").read_text())
    assert mended["assets"]["blue"]["proj:shape"] == [1098, 1098]
    sources = made.scenes[0].bands
    assert opened(sources[0]).shape == (1098, 1098)
    crs, resolution, _ = native_grid(made.scenes, S2)
    assert (str(crs), resolution) == ("EPSG:32629", 100.0)


@pytest.mark.parametrize("place", [(300, 200), (700, 900), (1000, 500), (61, 83)])
def test_sentinel_2_pixels_are_those_worked_by_hand(morocco, place):
    """Reflectance = count x 0.0001, from files that need no resampling."""
    found, _ = composite(morocco, S2)
    assert found["clear_count"].values[place] == 1
    for k, name in enumerate(("blue", "green", "red")):
        count = int(counts_of(morocco.assets[name].href)[place])
        assert count > 0
        assert found["reflectance"].values[k][place] == pytest.approx(count / 10_000, abs=1e-7)


def test_its_short_waves_at_their_own_pixels(morocco):
    with rasterio.open(morocco.assets["swir22"].href) as file:
        grid = GeoBox(file.shape, file.transform, "EPSG:32629")
    found, _ = composite(morocco, S2, grid)
    counts, classes = (counts_of(morocco.assets[name].href) for name in ("swir22", "scl"))
    seen = np.isfinite(found["reflectance"].values[-1])
    assert np.array_equal(seen, np.isin(classes, (4, 5, 7)) & (counts > 0))
    for place in ((100, 100), (350, 450), (500, 250)):
        value = found["reflectance"].values[-1][place]
        assert value == pytest.approx(int(counts[place]) / 10_000, abs=1e-7)


# Landsat 8


def landsat(name: str) -> pystac.Item:
    return local(next((DATA / "landsat8" / name).glob("*_SR_stac.json")))


def test_old_landsat_items_are_read_by_their_old_names():
    item = landsat("LC08_008059")
    made = make_scenes([item], OLI)
    scene = made.scenes[0]
    keys = [band.label.split("asset ")[1] for band in scene.bands]
    assert keys == [f"SR_B{k}.TIF" for k in range(1, 8)]
    assert {(band.scale, band.offset, band.nodata) for band in scene.bands} == {(2.75e-5, -0.2, 0)}
    assert scene.sun == (57.08727307, 136.31696044)
    check = made.notes[item.id]["counts"]["check"]
    assert check["median"]["nir08"] == pytest.approx(0.376, abs=0.01)  # rain forest


@pytest.mark.parametrize("name", ["LC08_008059", "LC08_017036"])
def test_landsat_pixels_are_those_worked_by_hand(name):
    """Reflectance = count x 0.0000275 - 0.2 where the quality band says clear land."""
    item = landsat(name)
    cloudy = name == "LC08_017036"  # nothing but cloud, so without the mask it is out of range
    sensor = OLI.model_copy(update={"masks": ()}) if cloudy else OLI
    found, _ = composite(item, sensor, trust="baseline" if cloudy else None)
    values = found["reflectance"].values
    quality = counts_of(item.assets["QA_PIXEL.TIF"].href)
    stack = [counts_of(item.assets[f"SR_B{k}.TIF"].href) for k in range(1, 8)]
    valid = np.logical_and.reduce([band > 0 for band in stack])
    clear = quality == 21824 if sensor.masks else valid
    places = np.argwhere(clear & valid)
    for row, column in places[[len(places) // 5, len(places) // 2, -7]]:
        for k, band in enumerate(stack):
            by_hand = int(band[row, column]) * 0.0000275 - 0.2
            assert values[k, row, column] == pytest.approx(by_hand, abs=1e-6)


def test_landsat_drops_what_its_quality_band_flags():
    item = landsat("LC08_008059")
    found, _ = composite(item, OLI)
    quality = counts_of(item.assets["QA_PIXEL.TIF"].href)
    saturated = counts_of(item.assets["QA_RADSAT.TIF"].href) & 0b1000_0111_1111
    bad = (quality & 0b1011_1111) != 0
    clear = found["clear_count"].values > 0
    assert not clear[bad | (saturated > 0)].any()
    stack = [counts_of(item.assets[f"SR_B{k}.TIF"].href) for k in range(1, 8)]
    every = np.logical_and.reduce([band > 0 for band in stack])
    assert np.array_equal(clear, ~bad & (saturated == 0) & every)


def test_a_scene_that_is_all_cloud_leaves_nothing_and_without_its_mask_is_out_of_range():
    item = landsat("LC08_017036")
    found, _ = composite(item, OLI)
    assert not (found["clear_count"].values > 0).any()
    with pytest.raises(CatalogError, match=r"clear land .* 0 to 0\.7 \(coastal 1\.04"):
        make_scenes([item], OLI.model_copy(update={"masks": ()}))


def test_decimated_landsat_pixels_are_no_squares_and_need_a_grid():
    scene = make_scenes([landsat("LC08_008059")], OLI).scenes[0]
    with pytest.raises(RegionError, match=r"grid\.resolution"):
        native_grid([scene], OLI)


# Sentinel-2 bands of different footprints


def patagonia(folder: Path) -> dict[str, str]:
    """Convert the six bands to GeoTIFF; each keeps its own pixels and place."""
    files = {}
    for path in sorted((DATA / "sentinel2_patagonia").glob("*.nc")):
        with netcdf_file(path, mmap=False) as file:
            values = np.asarray(file.variables["__xarray_dataarray_variable__"].data)
            x, y = (np.asarray(file.variables[axis].data) for axis in "xy")
        step = float(x[1] - x[0])
        files[path.stem.removesuffix("_band")] = raster(
            folder / f"{path.stem}.tif",
            values.astype(np.uint16),
            crs="EPSG:32719",
            transform=from_origin(x[0] - step / 2, y[0] + step / 2, step, step),
        )
    return files


def test_bands_of_other_footprints_are_aligned_by_coordinates(tmp_path):
    names = {"swir16": "swir1", "swir22": "swir2"}
    bands = {n: S2.bands[n] for n in ("blue", "green", "red", "nir", "swir16", "swir22")}
    update = {"bands": bands, "masks": (), "calibration": "fixed", "offset": 0.0}
    sensor = S2.model_copy(update=update)
    files = patagonia(tmp_path)
    item = make_item({name: files[names.get(name, name)] for name in bands}, "patagonia")
    scene = make_scenes([item], sensor).scenes[0]
    assert opened(scene.bands[0]).shape == opened(scene.bands[4]).shape  # 3 x 2 km, 6 x 4 km
    grid = GeoBox.from_bbox((600_000, 4_698_020, 606_000, 4_700_020), "EPSG:32719", resolution=20)
    found = read_reflectance(Imagery("p", sensor, (scene,)), grid)["reflectance"].values
    assert np.isfinite(found[4]).all()
    assert np.isfinite(found[0][:, :150]).all()
    assert np.isnan(found[0][:, 150:]).all()  # no blue in the eastern half
    counts = {name: counts_of(path).astype(float) for name, path in files.items()}
    for row, column in ((10, 20), (55, 133), (99, 149)):
        ten = counts["blue"][2 * row : 2 * row + 2, 2 * column : 2 * column + 2].mean()
        assert found[0][row, column] == pytest.approx(ten / 10_000, abs=1e-6)
        twenty = counts["swir1"][row, column]
        assert found[4][row, column] == pytest.approx(twenty / 10_000, abs=1e-6)


# Copernicus DEM


def test_heights_are_read_as_they_are():
    dem = CONFIGS.sensor("copernicus-dem")
    path = next((DATA / "cop_dem_n00e006").rglob("*_DEM.tif"))
    item = make_item({"data": str(path)}, "dem")
    made = make_scenes([item], dem)
    assert (made.scenes[0].bands[0].scale, made.scenes[0].bands[0].offset) == (1.0, 0.0)
    assert "check" not in made.notes["dem"]["counts"]
    with rasterio.open(path) as file:
        rows, columns = slice(400, 420), slice(2100, 2130)
        heights = file.read(1)[rows, columns]
        west, north = xy(file.transform, 400, 2100, offset="ul")
        step = file.transform.a
    grid = GeoBox.from_bbox(
        (west, north - 20 * step, west + 30 * step, north), "EPSG:4326", shape=(20, 30)
    )
    found, _ = composite(item, dem, grid)
    assert np.abs(found["reflectance"].values[0] - heights).max() < 1e-4


# EMIT


def test_emit_spectra_are_those_of_the_granule(tmp_path):
    crop = DATA / "emit_crop" / "emit20250324t221005_jpl_unmix_ex"
    lines = np.fromfile(crop, "<f4").reshape(10, 285, 10)  # interleaved by line
    image = lines.transpose(0, 2, 1)
    path, masks = tmp_path / "EMIT_L2A_RFL_001_crop.nc", tmp_path / "EMIT_L2A_MASK_001_crop.nc"
    y, x = np.mgrid[1:11, 1:11]
    step = 0.000542232520256367
    for file, name, values in (
        (path, "reflectance", image),
        (masks, "mask", np.zeros((10, 10, 8), np.float32)),
    ):
        with h5py.File(file, "w") as out:
            out[name] = values
            out["location/glt_x"], out["location/glt_y"] = (x.astype("i4"), y[::-1].astype("i4"))
            out.attrs["geotransform"] = [-114.0, step, 0.0, 36.0, 0.0, -step]
            out.attrs["spatial_ref"] = CRS.from_epsg(4326).to_wkt()
    sensor = CONFIGS.sensor("emit-l2a")
    item = make_item({"reflectance": str(path), "mask": str(masks)}, "emit")
    found, _ = composite(item, sensor)
    values = found["reflectance"].values
    assert values.shape == (227, 10, 10)
    places = ((0, 0), (4, 7), (9, 3))
    by_hand = {place: image[9 - place[0], place[1]] for place in places}
    for place, spectrum in by_hand.items():
        for k, (key, band) in enumerate(sensor.bands.items()):
            assert key == f"b{band.number:03d}"
            assert values[k][place] == spectrum[band.number - 1]
