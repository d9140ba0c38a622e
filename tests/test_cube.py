"""From scenes to reflectance: which pixels, which dates."""

import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.enums import Resampling
from rasterio.transform import from_origin
from rasterio.warp import reproject

from pipeline.cube import Imagery, Scene, Source, native_grid, read_reflectance
from pipeline.cube.median import median, network
from pipeline.errors import ReadError, RegionError
from pipeline.grid import Block, crop
from pipeline.plan import Band, Mask, Sensor

UTM = "EPSG:32611"
LEFT, TOP = 500_000.0, 4_100_000.0
SENSOR = Sensor(
    title="Two bands",
    bands={
        "red": Band(assets=("red", "B04"), wavelength=665, fwhm=38),
        "swir16": Band(assets=("swir16",), wavelength=1610, fwhm=143),
    },
    resolution=20,
    scale=1e-4,
    offset=-0.1,
    nodata=0,
    masks=(Mask(assets=("scl",), flags={"clear": (4, 5), "cloud": (8, 9)}, drop=("cloud",)),),
    source="made up",
)
UNMASKED = SENSOR.model_copy(update={"masks": ()})


def save(
    path: Path,
    values: NDArray[Any],
    *,
    resolution: float = 20.0,
    left: float = LEFT,
    top: float = TOP,
    crs: str | None = UTM,
    nodata: float | None = None,
) -> str:
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        height=values.shape[-2],
        width=values.shape[-1],
        count=1 if values.ndim == 2 else len(values),
        dtype=values.dtype,
        crs=crs,
        transform=from_origin(left, top, resolution, resolution),
        nodata=nodata,
        compress="deflate",
        tiled=True,
        blockxsize=64,
        blockysize=64,
    ) as out:
        out.write(values if values.ndim == 3 else values[None])
    return str(path)


def grid(rows: int = 100, columns: int = 120, resolution: float = 20.0) -> GeoBox:
    box = (LEFT, TOP - rows * resolution, LEFT + columns * resolution, TOP)
    return GeoBox.from_bbox(box, crs=UTM, shape=(rows, columns))


def scene(
    folder: Path, name: str, red: NDArray[Any], mask: NDArray[Any] | None = None, **where: Any
) -> Scene:
    """A scene of one band (used twice) and, perhaps, a mask."""
    band = Source(f"item {name}, asset red", save(folder / f"{name}.tif", red, **where), 1e-4, -0.1)
    swir = Source(f"item {name}, asset swir16", band.href, 1e-4, -0.1)
    if mask is None:
        return Scene(name, None, (band, swir))
    scl = Source("scl", save(folder / f"{name}-scl.tif", mask, **where))
    return Scene(name, None, (band, swir), (scl,))


def counts(seed: int, shape: tuple[int, int] = (100, 120)) -> NDArray[np.uint16]:
    return np.random.default_rng(seed).integers(1, 5000, shape).astype(np.uint16)


def read(found: Sequence[Scene], where: GeoBox, sensor: Sensor = UNMASKED) -> Any:
    return read_reflectance(Imagery("two", sensor, tuple(found)), where)


def test_the_grid_is_the_files_own(tmp_path: Path) -> None:
    fine = Source("fine", save(tmp_path / "fine.tif", counts(1), resolution=10.0, left=LEFT + 5))
    own = Source("own", save(tmp_path / "own.tif", counts(1), resolution=20.0, left=LEFT + 7))
    crs, resolution, anchor = native_grid([Scene("one", None, (fine, own))], SENSOR)
    assert (str(crs), resolution, anchor) == (UTM, 20.0, (LEFT + 7, TOP))


def test_a_grid_in_degrees_is_refused(tmp_path: Path) -> None:
    href = save(tmp_path / "a.tif", counts(1), crs="EPSG:4326", left=10, top=50, resolution=1e-4)
    with pytest.raises(RegionError, match="item one: its pixels are not squares in metres"):
        native_grid([Scene("one", None, (Source("a", href),))], SENSOR)


# Which dates


@pytest.mark.parametrize("dates", [1, 2, 3, 4, 5, 6, 7, 12, 31])
def test_the_kernel_agrees_with_numpy(dates: int) -> None:
    random = np.random.default_rng(dates)
    values = random.integers(0, 400, (dates, 5000)).astype(np.uint16)
    clear = random.random((dates, 5000)) < 0.6
    scaling = np.float32([[1e-4 * (1 + d % 3), -0.1 * (d % 2), 0] for d in range(dates)])
    out, fewest = np.empty(5000, np.float32), np.full(5000, 65535, np.uint16)
    median(values, clear, scaling, out, fewest)

    there = clear & (values != 0)
    scaled = values.astype(np.float32) * scaling[:, :1] + scaling[:, 1:2]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pixels without any date
        expected = np.nanmedian(np.where(there, scaled, np.float32(np.nan)), axis=0)
    np.testing.assert_array_equal(out, expected)
    np.testing.assert_array_equal(fewest, there.sum(axis=0))


@pytest.mark.parametrize("size", range(1, 12))
def test_the_network_orders_the_lower_half(size: int) -> None:
    """Every pattern of zeros and ones, which proves it for every input (Knuth's 0-1 principle)."""
    values = np.array(np.meshgrid(*[[0, 1]] * size)).reshape(size, -1)
    expected = np.sort(values, axis=0)
    for low, high in network(size, size // 2 + 1):
        values[[low, high]] = np.sort(values[[low, high]], axis=0)
    half = size // 2 + 1
    np.testing.assert_array_equal(values[:half], expected[:half])


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32])
def test_any_kind_of_count_is_read(tmp_path: Path, dtype: type) -> None:
    stored = np.arange(12_000).reshape(100, 120).astype(dtype)
    found = read([scene(tmp_path, "a", stored, nodata=3)], grid())["reflectance"].values[0]
    expected = np.where(stored == 3, np.nan, stored.astype(np.float32) * 1e-4 - 0.1)
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_a_worked_value_and_negative_reflectance_is_kept(tmp_path: Path) -> None:
    stored = np.full((100, 120), 3612, np.uint16)
    stored[0, 0], stored[0, 1] = 0, 900
    found = read([scene(tmp_path, "a", stored, nodata=0)], grid())["reflectance"].values[0]
    assert found[5, 5] == pytest.approx(0.2612, abs=1e-7)
    assert np.isnan(found[0, 0])
    assert found[0, 1] == pytest.approx(-0.01, abs=1e-7)


def test_only_listed_classes_count_and_the_rest_is_missing(tmp_path: Path) -> None:
    stored = [np.full((100, 120), n, np.uint16) for n in (1000, 2000, 4000)]
    masks = [np.full((100, 120), 4, np.uint8) for _ in stored]
    masks[2][:50] = 9
    masks[1][:25] = 3
    masks[0][:10] = 0
    masks[0][99] = 5
    found = read(
        [
            scene(tmp_path, f"d{n}", s, m)
            for n, (s, m) in enumerate(zip(stored, masks, strict=True))
        ],
        grid(),
        SENSOR,
    )
    column, clear = found["reflectance"].values[1][:, 3], found["clear_count"].values[:, 3]
    np.testing.assert_allclose(column[50:], 0.1, atol=1e-7)  # the middle of three
    np.testing.assert_allclose(column[25:50], 0.05, atol=1e-7)  # between two
    np.testing.assert_allclose(column[10:25], 0.0, atol=1e-7)
    assert np.isnan(column[:10]).all()
    assert clear.tolist() == [0] * 10 + [1] * 15 + [2] * 25 + [3] * 50
    assert clear.dtype == np.uint16


def test_the_clear_count_is_that_of_the_poorest_band(tmp_path: Path) -> None:
    whole, holed = counts(1), counts(2)
    holed[:30] = 0
    red, swir = scene(tmp_path, "a", whole, nodata=0), scene(tmp_path, "b", holed, nodata=0)
    mixed = Scene("a", None, (red.bands[0], swir.bands[1]))
    found = read([mixed], grid())
    assert found["clear_count"].values[:, 0].tolist() == [0] * 30 + [1] * 70
    assert np.isfinite(found["reflectance"].values[0]).all()


def test_dates_of_other_scaling_are_compared_as_reflectance(tmp_path: Path) -> None:
    early = scene(tmp_path, "a", np.full((100, 120), 2000, np.uint16))
    late = scene(tmp_path, "b", np.full((100, 120), 3000, np.uint16))
    before = tuple(Source(s.label, s.href, 1e-4, 0.0) for s in early.bands)
    found = read([Scene("a", None, before), late], grid())
    np.testing.assert_allclose(found["reflectance"].values, 0.2, atol=1e-7)


# Which pixels


def test_a_block_reads_what_the_whole_does_and_nothing_lies_past_the_edge(tmp_path: Path) -> None:
    dates = [scene(tmp_path, f"d{n}", counts(n), nodata=0) for n in range(3)]
    whole = read(dates, grid())["reflectance"].values
    wide = read(dates, crop(grid(), Block(60, 100, 0, 50).padded(7)))["reflectance"].values
    assert wide.shape == (2, 54, 64)
    np.testing.assert_array_equal(wide[:, :47, 7:], whole[:, 53:, :57])
    assert np.isnan(wide[:, 47:]).all()
    assert np.isnan(wide[:, :, :7]).all()


def test_the_edge_is_missing_also_where_no_count_stands_for_it(tmp_path: Path) -> None:
    found = read([scene(tmp_path, "a", counts(1))], crop(grid(), Block(-5, 20, 100, 130)))
    values = found["reflectance"].values
    assert np.isnan(values[:, :5]).all()
    assert np.isnan(values[:, :, 20:]).all()
    expected = counts(1)[:20, 100:] * np.float32(1e-4) + np.float32(-0.1)
    np.testing.assert_array_equal(values[0, 5:, :20], expected)


def test_scenes_elsewhere_are_skipped_and_no_scene_is_no_data(tmp_path: Path) -> None:
    here = scene(tmp_path, "here", counts(1))
    there = scene(tmp_path, "there", counts(2), left=LEFT + 50_000)
    beyond = scene(tmp_path, "beyond", counts(2), crs="EPSG:32615")
    np.testing.assert_array_equal(
        read([there, here, beyond], grid())["reflectance"], read([here], grid())["reflectance"]
    )
    nothing = read([there, beyond], grid())
    assert np.isnan(nothing["reflectance"].values).all()
    assert (nothing["clear_count"].values == 0).all()


def test_two_scenes_side_by_side_fill_the_block(tmp_path: Path) -> None:
    whole = counts(1)
    west = scene(tmp_path, "west", np.ascontiguousarray(whole[:, :70]), nodata=0)
    east = scene(tmp_path, "east", np.ascontiguousarray(whole[:, 70:]), left=LEFT + 70 * 20)
    found = read([west, east], grid())["reflectance"].values[0]
    np.testing.assert_array_equal(found, whole * np.float32(1e-4) + np.float32(-0.1))


RAMP = "a plane is what bilinear and average reading must give back exactly"


def plane(left: float, top: float, resolution: float, shape: tuple[int, int]) -> NDArray[Any]:
    """Counts that are linear in x and y at pixel centres."""
    x = left + (np.arange(shape[1]) + 0.5) * resolution
    y = top - (np.arange(shape[0]) + 0.5) * resolution
    return (1000 + (x[None, :] - LEFT) * 0.5 + (TOP - y[:, None]) * 0.25).astype(np.float32)


@pytest.mark.parametrize(
    ("resolution", "shift"),
    [(20.0, 10.0), (20.0, 3.0), (10.0, 0.0), (10.0, 5.0), (40.0, 0.0), (60.0, 20.0), (5.0, 0.0)],
)
def test_a_ramp_on_another_grid_is_read_to_its_place(
    tmp_path: Path, resolution: float, shift: float
) -> None:
    left, top = LEFT - 600 + shift, TOP + 600 + shift
    shape = (int(3600 / resolution), int(4200 / resolution))
    stored = plane(left, top, resolution, shape)
    where = {"left": left, "top": top, "resolution": resolution}
    found = read([scene(tmp_path, "a", stored, **where)], grid())["reflectance"].values[0]
    expected = plane(LEFT, TOP, 20.0, (100, 120)) * 1e-4 - 0.1
    np.testing.assert_allclose(found, expected, atol=2e-6)  # a fiftieth of a count


def test_a_ramp_in_another_utm_zone_is_read_to_its_place(tmp_path: Path) -> None:
    from rasterio.warp import transform

    here = grid()
    left, bottom, right, top = here.extent.to_crs("EPSG:32612").boundingbox
    left, top = np.floor(left / 20) * 20 - 400, np.ceil(top / 20) * 20 + 400
    shape = (int((top - bottom) / 20) + 40, int((right - left) / 20) + 40)
    x, y = np.meshgrid(
        left + (np.arange(shape[1]) + 0.5) * 20, top - (np.arange(shape[0]) + 0.5) * 20
    )
    mine_x, mine_y = transform("EPSG:32612", UTM, x.ravel(), y.ravel())
    ramp = 1000 + (np.array(mine_x) - LEFT) * 0.5 + (TOP - np.array(mine_y)) * 0.25
    stored = ramp.reshape(shape).astype(np.float32)
    foreign = scene(tmp_path, "a", stored, crs="EPSG:32612", left=left, top=top)
    found = read([foreign], here)["reflectance"].values[0]
    expected = plane(LEFT, TOP, 20.0, (100, 120)) * 1e-4 - 0.1
    np.testing.assert_allclose(found, expected, atol=1e-6)  # 0.01 counts: 0.001 of a pixel


@pytest.mark.parametrize("crs", [UTM, "EPSG:32612"])
def test_resampled_counts_are_those_of_gdal(tmp_path: Path, crs: str) -> None:
    """GDAL's bilinear, without the kernel that it widens where grids are turned to each other."""
    left, top = (LEFT - 607, TOP + 613) if crs == UTM else (-35_000, 4_118_000)
    noise = np.random.default_rng(5).integers(1000, 5000, (400, 400)).astype(np.uint16)
    source = scene(tmp_path, "a", noise, crs=crs, left=left, top=top)
    found = read([source], grid())["reflectance"].values[0]
    expected = np.empty(grid().shape, np.float32)
    with rasterio.open(source.bands[0].href, driver="GTiff") as file:
        reproject(
            rasterio.band(file, 1),
            expected,
            dst_transform=grid().affine,
            dst_crs=UTM,
            dst_nodata=np.nan,
            resampling=Resampling.bilinear,
            tolerance=0,
            XSCALE=1,
            YSCALE=1,
        )
    counted = (found + 0.1) / 1e-4
    np.testing.assert_allclose(counted, expected, atol=4)  # of steps of 4000: a 1000th of a pixel


@pytest.mark.parametrize(
    "where",
    [
        {"left": LEFT - 7, "top": TOP + 13},
        {"left": LEFT - 605, "top": TOP + 600, "resolution": 10.0},
        {"left": -35_000.0, "top": 4_118_000.0, "crs": "EPSG:32612"},
        {"left": -117.0 + 6e-5, "top": 37.05, "resolution": 2.3e-4, "crs": "EPSG:4326"},
    ],
)
def test_the_size_of_a_block_changes_no_value(tmp_path: Path, where: dict[str, Any]) -> None:
    dates = [scene(tmp_path, f"d{n}", counts(n, (420, 450)), nodata=0, **where) for n in (1, 2)]
    region = crop(grid(), Block(3, 90, 5, 118))
    whole = read(dates, region)["reflectance"].values
    assert np.isfinite(whole).mean() > 0.99
    for block in (Block(0, 31, 0, 40), Block(31, 87, 40, 113), Block(17, 60, 9, 77)):
        part = read(dates, crop(region, block))["reflectance"].values
        np.testing.assert_array_equal(part, whole[(slice(None), *block.slices)])


def test_missing_pixels_do_not_bleed_when_warped(tmp_path: Path) -> None:
    stored = np.full((120, 140), 3000, np.uint16)
    stored[:, 60:] = 0
    shifted = scene(tmp_path, "a", stored, nodata=0, left=LEFT - 90, top=TOP + 90)
    values = read([shifted], grid())["reflectance"].values[0]
    known = values[np.isfinite(values)]
    np.testing.assert_allclose(known, 0.2, atol=1e-6)
    assert np.isnan(values[:, 60:]).all()
    assert np.isfinite(values[:, :54]).all()


def test_a_mask_of_another_resolution_keeps_its_classes(tmp_path: Path) -> None:
    fine = scene(tmp_path, "a", counts(1))
    classes = np.tile(np.uint8([[4, 3], [9, 5]]), (25, 30))  # 40 m pixels
    coarse = Source("scl", save(tmp_path / "scl.tif", classes, resolution=40.0))
    found = read([Scene("a", None, fine.bands, (coarse,))], grid(), SENSOR)
    kept = np.kron(np.isin(classes, (4, 5)), np.ones((2, 2), bool))
    np.testing.assert_array_equal(np.isfinite(found["reflectance"].values[0]), kept)


def test_threads_read_the_same(tmp_path: Path) -> None:
    dates = [scene(tmp_path, f"d{n}", counts(n), nodata=0) for n in range(4)]
    blocks = [Block(y, y + 25, x, x + 30) for y in (0, 25, 50, 75) for x in (0, 30, 60, 90)] * 3

    def one(block: Block) -> bytes:
        values: NDArray[Any] = read(dates, crop(grid(), block))["reflectance"].values
        return values.tobytes()

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(one, blocks)) == [one(block) for block in blocks]


def test_a_file_written_anew_is_read_anew(tmp_path: Path) -> None:
    first = read([scene(tmp_path, "a", counts(1))], grid())
    second = read([scene(tmp_path, "a", counts(2))], grid())
    assert not np.array_equal(first["reflectance"], second["reflectance"])


def test_the_dataset_knows_where_it_is(tmp_path: Path) -> None:
    found = read([scene(tmp_path, "a", counts(1))], grid())
    assert found.odc.geobox == grid()
    assert found.attrs == {"sensor": "two", "crs": UTM, "unreadable": ()}
    assert found["wavelength"].values.tolist() == [665.0, 1610.0]
    assert found["reflectance"].dtype == np.float32


# What cannot be read


def test_a_missing_file_is_named_with_its_item(tmp_path: Path) -> None:
    gone = Source("item S2_31, asset red", str(tmp_path / "gone.tif"))
    with pytest.raises(ReadError, match=r"item S2_31, asset red \(.*gone\.tif\): does not exist"):
        read([Scene("S2_31", None, (gone, gone))], grid())


@pytest.mark.parametrize("shift", [0.0, 7.0])
def test_a_file_cut_short_is_named_with_its_item(tmp_path: Path, shift: float) -> None:
    good = scene(tmp_path, "a", counts(1, (400, 400)), left=LEFT + shift)
    path = Path(good.bands[0].href)
    path.write_bytes(path.read_bytes()[:-200_000])
    with pytest.raises(ReadError, match=r"item a, asset red \(.*a\.tif\): is cut short or damaged"):
        read([good], grid(390, 390))


def test_a_file_that_says_nothing_of_its_place_is_refused(tmp_path: Path) -> None:
    placeless = scene(tmp_path, "a", counts(1), crs=None)
    with pytest.raises(ReadError, match=r"item a, asset red .*has no coordinate system"):
        read([placeless], grid())


def test_finer_pixels_are_averaged_and_not_sampled(tmp_path: Path) -> None:
    """60 m from 10 m is the mean of 36 counts; interpolation would see four of them."""
    fine = counts(7, (120, 180))
    coarse = GeoBox((20, 30), from_origin(LEFT, TOP, 60.0, 60.0), UTM)
    found = read([scene(tmp_path, "fine", fine, resolution=10.0)], coarse)
    means = fine.reshape(20, 6, 30, 6).mean(axis=(1, 3)) * 1e-4 - 0.1
    np.testing.assert_allclose(found["reflectance"].values[0], means, atol=2e-6)
