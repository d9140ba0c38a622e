"""One file of an item: several bands, EMIT's own geometry, sizes, and damage on the way."""

from functools import partial
from http.server import SimpleHTTPRequestHandler
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import rasterio
from affine import Affine
from items import LEFT, TOP, UTM, levels, make_item, raster
from odc.geo.geobox import GeoBox
from rasterio.crs import CRS
from rasterio.windows import Window

from pipeline.cube import Imagery, Scene, make_scenes, read_reflectance
from pipeline.cube.emit import Cube
from pipeline.cube.source import Source, opened, read_pixels
from pipeline.errors import ReadError
from pipeline.plan import Configs, Sensor
from pipeline.remote import LOCAL, Access

GRID = GeoBox.from_bbox((LEFT, TOP - 1280, LEFT + 1280, TOP), crs=UTM, shape=(64, 64))
ROWS, COLUMNS, BANDS = 30, 20, 5
WEST, NORTH, STEP = -117.0, 37.0, 0.000542232520256367


def test_each_band_of_a_file_is_read_by_its_number(tmp_path):
    values = np.stack([levels((64, 64), 1, 9999, seed) for seed in range(3)])
    path = raster(tmp_path / "three.tif", values)
    for number in (1, 2, 3):
        out = np.empty((64, 64), np.uint16)
        read_pixels(Source("three", path, number=number), Window(0, 0, 64, 64), out)
        assert (out == values[number - 1]).all()
    with pytest.raises(ReadError, match=r"four.*has 3 bands, and number 4 is wanted"):
        opened(Source("four", path, number=4))


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_no_error_of_a_file_shows_the_query_of_its_address(tmp_path, web):
    raster(tmp_path / "one.tif", levels((64, 64), 1, 9))
    raster(tmp_path / "nowhere.tif", levels((64, 64), 1, 9), crs=None)
    access = Access(hosts=(web.removeprefix("http://"),))
    for name, number, what in [
        ("one", 2, "has 1 bands"),
        ("nowhere", 1, "has no coordinate system"),
        ("none", 1, "HTTP 404"),
    ]:
        source = Source("a", f"{web}/{name}.tif?sig=secret", number=number, access=access)
        with pytest.raises(ReadError, match=what) as caught:
            opened(source)
        assert "secret" not in str(caught.value)


def test_a_file_that_declares_an_absurd_size_is_refused_before_it_is_decoded(tmp_path):
    path = tmp_path / "huge.tif"
    side = 100_000
    given = {"driver": "GTiff", "dtype": "uint8", "count": 1, "crs": UTM, "tiled": True}
    with rasterio.open(
        path,
        "w",
        width=side,
        height=side,
        transform=Affine(1, 0, LEFT, 0, -1, TOP),
        sparse_ok=True,
        **given,
    ):
        pass
    assert path.stat().st_size < 10_000_000
    with pytest.raises(ReadError, match=r"huge.*100000 x 100000"):
        opened(Source("huge", str(path)))


def test_the_least_used_file_is_given_up_first(tmp_path, monkeypatch):
    monkeypatch.setattr("pipeline.cube.source._OPEN_FILES", 2)
    sources = [
        Source(str(k), raster(tmp_path / f"{k}.tif", levels((64, 64), 1, 9))) for k in range(3)
    ]
    first, second = opened(sources[0]), opened(sources[1])
    assert opened(sources[0]) is first
    opened(sources[2])
    assert opened(sources[0]) is first
    assert opened(sources[1]) is not second


# Damage on the way


class _Damaging(SimpleHTTPRequestHandler):
    """Serves a folder with ranges; the first few answers past the header are damaged."""

    damages = 0

    def log_message(self, *_args: Any) -> None:
        pass

    def do_GET(self) -> None:
        content = Path(self.translate_path(self.path)).read_bytes()
        start, end = 0, len(content) - 1
        if given := self.headers.get("Range"):
            first, _, last = given.removeprefix("bytes=").partition("-")
            start, end = int(first), min(int(last or end), end)
        part = bytearray(content[start : end + 1])
        if start >= 65_536 and self.damages:
            type(self).damages -= 1
            part[:] = b"\xff" * len(part)  # no code of any compression: always noticed
        self.send_response(206 if given else 200)
        self.send_header("Content-Length", str(len(part)))
        self.send_header("Content-Range", f"bytes {start}-{end}/{len(content)}")
        self.send_header("ETag", '"1"')
        self.end_headers()
        self.wfile.write(bytes(part))


@pytest.fixture
def damaging(tmp_path, serve):
    """A server of the test's folder that damages as many answers as it is told to."""

    class Handler(_Damaging):
        damages = 0

    with serve(partial(Handler, directory=str(tmp_path))) as address:
        yield address, Handler


def test_damage_on_the_way_is_read_once_more(tmp_path, damaging):
    address, handler = damaging
    values = levels((512, 512), 1000, 1400)
    raster(tmp_path / "band.tif", values, blockxsize=256, blockysize=256)
    access = Access(hosts=(address.removeprefix("http://"),), pause=0.001)
    source = Source("item one, asset red", f"{address}/band.tif", access=access)
    opened(source)
    handler.damages = 1
    out = np.empty((512, 512), np.uint16)
    read_pixels(source, Window(0, 0, 512, 512), out)
    assert (out == values).all()
    assert handler.damages == 0


def test_damage_that_stays_is_named_with_its_item_and_ends(tmp_path, damaging):
    address, handler = damaging
    values = levels((512, 512), 1000, 1400)
    raster(tmp_path / "band.tif", values, blockxsize=256, blockysize=256)
    access = Access(hosts=(address.removeprefix("http://"),), pause=0.001, tries=3)
    source = Source("item one, asset red", f"{address}/band.tif", access=access)
    opened(source)
    handler.damages = 10_000
    with pytest.raises(ReadError, match=r"item one, asset red .*cut short or damaged"):
        read_pixels(source, Window(0, 0, 512, 512), np.empty((512, 512), np.uint16))


# EMIT


def emit_file(path: Path, values: np.ndarray, *, name: str = "reflectance", **leave: bool) -> str:
    """Write a file of EMIT's form; its table turns the image by a quarter: x runs along rows."""
    rows, columns, bands = values.shape
    y, x = np.mgrid[1 : rows + 1, 1 : columns + 1]
    with h5py.File(path, "w") as file:
        file.create_dataset(name, data=values, chunks=True, compression="gzip")
        if not leave.get("geometry"):
            # On the ground, row i and column j see the image's row j and column (last - i).
            file["location/glt_x"] = np.ascontiguousarray(x.T[::-1]).astype(np.int32)
            file["location/glt_y"] = np.ascontiguousarray(y.T[::-1]).astype(np.int32)
            file["location/glt_x"][0, :3] = 0
            file["location/glt_y"][0, :3] = 0
            file["location/glt_x"][1, 0] *= -1  # a neighbour was taken
        file.attrs["geotransform"] = [WEST, STEP, 0.0, NORTH, 0.0, -STEP]
        file.attrs["spatial_ref"] = CRS.from_epsg(4326).to_wkt()
        good = np.ones(bands, np.uint8)
        good[-1] = 0
        if name == "reflectance":
            file["sensor_band_parameters/good_wavelengths"] = good
    return str(path)


def ramp() -> np.ndarray:
    """Return an image (row, column, band) whose every value is its own."""
    y, x, b = np.mgrid[:ROWS, :COLUMNS, :BANDS]
    return ((y * COLUMNS + x) * 1e-3 + b).astype(np.float32)


@pytest.fixture
def emit(tmp_path):
    return emit_file(tmp_path / "EMIT_L2A_RFL_001.nc", ramp())


def test_an_emit_file_is_laid_on_the_ground_by_its_table(emit):
    file = opened(Source("emit", emit))
    assert file.shape == (COLUMNS, ROWS)
    assert str(file.grid.crs) == "EPSG:4326"
    assert file.grid.affine[:6] == (STEP, 0.0, WEST, 0.0, -STEP, NORTH)
    out = np.empty((COLUMNS, ROWS), np.float32)
    read_pixels(Source("emit", emit, number=2), Window(0, 0, ROWS, COLUMNS), out)
    image = ramp()[:, :, 1]
    assert (out[0, :3] == -9999).all()  # the table names nothing there
    assert out[1, 0] == image[0, COLUMNS - 2]
    assert out[-1, -1] == image[-1, 0]
    expected = image.T[::-1]
    assert (out.ravel()[3:] == expected.ravel()[3:]).all()


def test_a_window_of_an_emit_file_is_the_same_as_the_whole(emit):
    whole, part, coarse = (np.empty(s, np.float32) for s in ((COLUMNS, ROWS), (7, 11), (5, 6)))
    for window, out in (
        (Window(0, 0, ROWS, COLUMNS), whole),
        (Window(4, 3, 11, 7), part),
        (Window(0, 0, ROWS, COLUMNS), coarse),
    ):
        read_pixels(Source("emit", emit), window, out)
    assert (part == whole[3:10, 4:15]).all()
    assert (coarse == whole[2::4, 2::5]).all()


def test_a_band_that_the_file_calls_bad_is_missing(emit):
    out = np.empty((COLUMNS, ROWS), np.float32)
    read_pixels(Source("emit", emit, number=BANDS), Window(0, 0, ROWS, COLUMNS), out)
    assert (out == -9999).all()


def test_an_emit_file_without_its_table_is_refused(tmp_path):
    path = emit_file(tmp_path / "raw.nc", ramp(), geometry=True)
    with pytest.raises(ReadError, match=r"item x .*is not georeferenced"):
        opened(Source("item x", path))


def test_what_is_no_emit_file_is_named(tmp_path):
    text = tmp_path / "text.nc"
    text.write_text("<html>not found</html>")
    with pytest.raises(ReadError, match=r"item x .*is not a readable EMIT file"):
        opened(Source("item x", str(text)))
    with pytest.raises(ReadError, match=r"item x .*does not exist"):
        opened(Source("item x", str(tmp_path / "none.nc")))
    with h5py.File(tmp_path / "other.nc", "w") as file:
        file["temperature"] = np.zeros((3, 3))
    with pytest.raises(ReadError, match="holds neither reflectance nor mask"):
        opened(Source("item x", str(tmp_path / "other.nc")))
    path = emit_file(tmp_path / "five.nc", ramp())
    with pytest.raises(ReadError, match="has 5 bands, and number 6 is wanted"):
        opened(Source("item x", path, number=6))


def test_a_table_that_points_outside_its_image_is_refused(emit):
    with h5py.File(emit, "a") as file:
        file["location/glt_x"][5, 5] = COLUMNS + 1
    out = np.empty((COLUMNS, ROWS), np.float32)
    with pytest.raises(ReadError, match="points outside its image"):
        read_pixels(Source("emit", emit), Window(0, 0, ROWS, COLUMNS), out)


def test_an_emit_file_of_absurd_size_is_refused(tmp_path):
    path = tmp_path / "huge.nc"
    with h5py.File(path, "w") as file:
        file.create_dataset("reflectance", (30_000, 30_000, 285), np.float32, chunks=(10, 10, 285))
        for name in ("glt_x", "glt_y"):
            file.create_dataset(f"location/{name}", (30_000, 30_000), np.int32, chunks=(100, 100))
        file.attrs["geotransform"] = [WEST, STEP, 0.0, NORTH, 0.0, -STEP]
        file.attrs["spatial_ref"] = CRS.from_epsg(4326).to_wkt()
    with pytest.raises(ReadError, match="declares an unusual size"):
        opened(Source("huge", str(path)))


def small_emit() -> Sensor:
    """The sensor, with the bands that the small file has."""
    whole = Configs.at().sensor("emit-l2a")
    return whole.model_copy(update={"bands": dict(list(whole.bands.items())[: BANDS - 1])})


def test_emit_becomes_reflectance_without_what_its_mask_drops(tmp_path):
    y, x, b = np.mgrid[:ROWS, :COLUMNS, :BANDS]
    values = (0.1 + 0.01 * b + 0.001 * (x + y)).astype(np.float32)
    path = emit_file(tmp_path / "EMIT_L2A_RFL_001_x.nc", values)
    flags = np.zeros((ROWS, COLUMNS, 8), np.float32)
    flags[7, 9, 0] = 1  # a cloud
    flags[..., 5] = 0.3  # a quantity, not a flag
    masks = emit_file(tmp_path / "EMIT_L2A_MASK_001_x.nc", flags, name="mask")
    sensor = small_emit()
    item = make_item({"a/EMIT_L2A_RFL_001_x.nc": path, "b/EMIT_L2A_MASK_001_x.nc": masks}, "emit")
    made = make_scenes([item], sensor)
    scene = made.scenes[0]
    assert isinstance(opened(scene.bands[0]).dataset, Cube)
    assert [source.number for source in scene.masks if source] == [1, 2, 3, 4, 5]
    grid = opened(scene.bands[0]).grid
    found = read_reflectance(Imagery("emit", sensor, (scene,)), grid)["reflectance"].values
    number = scene.bands[2].number - 1
    expected = values[:, :, number].T[::-1].copy()
    assert np.isnan(found[2][COLUMNS - 1 - 9, 7])
    assert np.isnan(found[2][0, :3]).all()
    seen = np.isfinite(found[2])
    assert seen.sum() == ROWS * COLUMNS - 4
    assert np.abs(found[2][seen] - expected[seen]).max() < 1e-6


def test_emit_is_read_over_the_network_as_from_disk(web, emit):
    access = Access(hosts=(web.removeprefix("http://"),))
    near, far = (
        Scene("emit", None, (Source("emit", href, number=2, nodata=-9999, access=of),) * 4)
        for href, of in ((emit, LOCAL), (f"{web}/{Path(emit).name}", access))
    )
    grid = opened(near.bands[0]).grid
    sensor = small_emit().model_copy(update={"masks": ()})
    first, second = (
        read_reflectance(Imagery("emit", sensor, (scene,)), grid)["reflectance"].values
        for scene in (near, far)
    )
    assert np.array_equal(first, second, equal_nan=True)
