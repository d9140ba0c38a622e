"""Rasters by path and by address: what is opened, by which driver, and what is left alone."""

from pathlib import Path

import numpy as np
import pytest
import rasterio
from faults import faulty, only
from items import UTM, levels
from items import raster as save
from rasterio.enums import MaskFlags

from pipeline import remote
from pipeline.errors import ReadError
from pipeline.remote import Access, raster


def settings():
    return rasterio.Env(**remote.GDAL_SETTINGS)


def test_a_geotiff_is_opened_by_path_and_by_address(tmp_path):
    values = levels((512, 512), 1, 5000)
    path = save(tmp_path / "a b.tif", values, blockxsize=256, blockysize=256)
    with faulty(tmp_path) as (address, script):
        for href in (path, f"{address}/a b.tif"):
            access = Access(local=True, hosts=(address[7:],))
            with settings(), remote.open_raster(href, access) as opened:
                assert (opened.read(1) == values).all()
        # Its beginning twice, and each of its four blocks once, but for what the beginning holds.
        ranges = [request.headers["Range"] for request in script.asked]
    assert ranges[:2] == ["bytes=0-65535"] * 2
    assert len(ranges) == 6


def jpeg2000(path, values):
    """Write counts as a lossless JPEG 2000 file."""
    path.parent.mkdir(exist_ok=True)
    profile = {"driver": "JP2OpenJPEG", "QUALITY": 100, "REVERSIBLE": True, "YCBCR420": False}
    height, width = values.shape
    source = {"width": width, "height": height, "count": 1, "dtype": "uint16", "crs": UTM}
    place = rasterio.Affine(10, 0, 500000, 0, -10, 4000000)
    named = path.parent / "named.jp2"  # by another name, GDAL would write a bare codestream
    with rasterio.open(named, "w", transform=place, **source, **profile) as out:
        out.write(values, 1)
    named.rename(path)


def everywhere(folder, address, name):
    """Return a file of the test as it lies on this machine and as a server gives it."""
    return (str(folder / name), remote.LOCAL), (f"{address}/{name}", only(address, tries=2))


NODE = "Nodes(T11SPS_B04_10m.jp2)/$value"  # how Copernicus Data Space names a file's bytes


@pytest.mark.parametrize("name", ["a.jp2", "a.tif", "a", NODE])
def test_a_jpeg_2000_file_is_known_by_how_it_begins(tmp_path, name):
    values = levels((300, 300), 1, 5000)
    jpeg2000(tmp_path / name, values)
    with faulty(tmp_path) as (address, _):
        for href, access in everywhere(tmp_path, address, name):
            with settings(), remote.open_raster(href, access) as opened:
                assert (opened.read(1) == values).all()
                assert opened.driver == "JP2OpenJPEG"
                assert opened.crs.to_string() == UTM


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_a_bare_codestream_is_known_by_how_it_begins(tmp_path):
    values = levels((300, 300), 1, 5000)
    jpeg2000(tmp_path / "boxed.jp2", values)
    content = (tmp_path / "boxed.jp2").read_bytes()
    (tmp_path / "bare").write_bytes(content[content.index(b"jp2c") + 4 :])
    with faulty(tmp_path) as (address, _):
        for href, access in everywhere(tmp_path, address, "bare"):
            with settings(), remote.open_raster(href, access) as opened:
                assert (opened.read(1) == values).all()


@pytest.mark.parametrize("name", ["a.tif", "a.jp2", "a", "Nodes(a.tif)/$value"])
@pytest.mark.parametrize("form", [{"BIGTIFF": "YES"}, {"ENDIANNESS": "BIG"}, {"BIGTIFF": "NO"}])
def test_a_geotiff_is_known_by_how_it_begins(tmp_path, name, form):
    values = levels((64, 64), 1, 5000)
    save(tmp_path / name, values, **form)
    with faulty(tmp_path) as (address, _):
        for href, access in everywhere(tmp_path, address, name):
            with settings(), remote.open_raster(href, access) as opened:
                assert (opened.read(1) == values).all()
                assert opened.driver == "GTiff"


VRT = (
    '<VRTDataset rasterXSize="8" rasterYSize="8"><VRTRasterBand dataType="Byte" band="1">'
    "<SimpleSource><SourceFilename>{}</SourceFilename></SimpleSource>"
    "</VRTRasterBand></VRTDataset>"
)


@pytest.mark.parametrize("name", ["posing.tif", "posing.jp2", "Nodes(posing.jp2)/$value"])
@pytest.mark.parametrize("kind", ["vrt", "envi", "page", "empty", "gif"])
def test_what_poses_as_a_raster_is_refused(tmp_path, name, kind):
    inner = save(tmp_path / "a.tif", levels((8, 8), 1, 9).astype(np.uint8))
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    if kind == "envi":
        save(path, levels((8, 8), 1, 9), driver="ENVI", tiled=False, compress=None)
        with rasterio.open(path) as found:
            assert found.driver == "ENVI"  # GDAL would take it for a raster
    else:
        page = "<!DOCTYPE html><html><body>Please sign in</body></html>"
        content = {"vrt": VRT.format(inner), "page": page, "empty": "", "gif": "GIF89a" + "x" * 99}
        path.write_text(content[kind])
    with faulty(tmp_path) as (address, script):
        (href, local), (far, access) = everywhere(tmp_path, address, name)
        with settings(), pytest.raises(ReadError, match="is not a readable GeoTIFF"):
            remote.open_raster(href, local)
        told = {"page": "a web page where a file was due", "empty": "HTTP 416"}
        with settings(), pytest.raises(ReadError, match=told.get(kind, "not a readable GeoTIFF")):
            remote.open_raster(far, access)
        assert {request.path for request in script.asked} == {f"/{name}"}


def test_files_beside_a_raster_are_not_taken_in(tmp_path):
    values = levels((128, 128), 1, 5000)
    path = tmp_path / "a.tif"
    save(path, values)
    band = '<PAMRasterBand band="1"><NoDataValue>7</NoDataValue><Scale>2</Scale></PAMRasterBand>'
    (tmp_path / "a.tif.aux.xml").write_text(f"<PAMDataset>{band}</PAMDataset>")
    with rasterio.Env(TIFF_USE_OVR=True), rasterio.open(path, "r+") as file:
        file.build_overviews([2])
    with rasterio.open(path) as file:
        file_mask = np.zeros(file.shape, np.uint8)
    with (
        rasterio.Env(GDAL_TIFF_INTERNAL_MASK=False),
        rasterio.open(path, "r+") as file,
    ):
        file.write_mask(file_mask)
    beside = {"a.tif.aux.xml", "a.tif.ovr", "a.tif.msk"}
    assert {file.name for file in tmp_path.iterdir()} == {"a.tif", *beside}
    with rasterio.open(path) as file:  # GDAL would take them in
        assert (file.nodata, file.overviews(1), file.scales) == (7, [2], (2,))
    with faulty(tmp_path) as (address, script):
        for href, access in everywhere(tmp_path, address, "a.tif"):
            with settings(), remote.open_raster(href, access) as file:
                assert (file.nodata, file.overviews(1), file.scales) == (None, [], (1,))
                assert file.mask_flag_enums == ([MaskFlags.all_valid],)
                assert [Path(name).name for name in file.files][1:] == []
        assert {request.path for request in script.asked} == {"/a.tif"}


def test_a_raster_that_is_none_is_told(tmp_path, web):
    before = set(raster._PARTS)
    (tmp_path / "text.tif").write_text("not a raster")
    (tmp_path / "cut.tif").write_bytes(
        (tmp_path / save(tmp_path / "a.tif", levels((8, 8), 1, 9))).read_bytes()[:6]
    )
    for name in ("text.tif", "cut.tif"):
        for href, access in [(str(tmp_path / name), remote.LOCAL), (f"{web}/{name}", only(web))]:
            with settings(), pytest.raises(ReadError, match="is not a readable GeoTIFF"):
                remote.open_raster(href, access)
    with pytest.raises(ReadError, match="does not exist"):
        remote.open_raster(str(tmp_path / "none.tif"), remote.LOCAL)
    with pytest.raises(ReadError, match="HTTP 404"):
        remote.open_raster(f"{web}/none.tif", only(web))
    assert set(raster._PARTS) <= before


def sparse(path, width, height, count=1, block=512):
    """Write a small file that declares a great size."""
    sizes = {"width": width, "height": height, "count": count, "dtype": "uint8"}
    tiles = {"tiled": True, "blockxsize": block, "blockysize": block, "SPARSE_OK": True}
    with rasterio.open(path, "w", driver="GTiff", interleave="pixel", **sizes, **tiles):
        pass


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_a_size_that_nobody_could_hold_is_refused_on_the_header(tmp_path, web):
    sparse(tmp_path / "wide.tif", 100_000, 100_000, block=4096)
    sparse(tmp_path / "deep.tif", 64, 64, 2_001, block=64)
    sparse(tmp_path / "block.tif", 20_000, 20_000, 2, block=16_000)
    for name in ("wide.tif", "deep.tif", "block.tif"):
        for href, access in [(str(tmp_path / name), remote.LOCAL), (f"{web}/{name}", only(web))]:
            with settings(), pytest.raises(ReadError, match="which is more than is read"):
                remote.open_raster(href, access)
