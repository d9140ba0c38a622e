"""Addresses: what may be opened, and what is said when it cannot be."""

from http.server import BaseHTTPRequestHandler

import numpy as np
import pytest
import rasterio

from pipeline import remote
from pipeline.errors import ReadError

REFUSED = [
    "/vsicurl/https://example.org/a.tif",
    "/vsizip/a.zip/a.tif",
    "/vsimem/a.tif",
    "file:///etc/passwd",
    "ftp://example.org/a.tif",
    "s3://bucket/a.tif",
    "http://example.org/a.tif",
    "HTTP://example.org/a.tif",
    "http://127.0.0.1.example.org/a.tif",
    "http://127.0.0.1@example.org/a.tif",
    "https://user:secret@example.org/a.tif",
    "https://",
    "http://[::1/a.tif",
    "data:text/plain,abc",
]


@pytest.mark.parametrize("href", REFUSED)
@pytest.mark.parametrize("local", [True, False])
def test_an_unsafe_address_is_refused_before_anything_connects(href, local):
    with pytest.raises(ReadError, match="is refused; use https addresses") as caught:
        remote.check(href, local_allowed=local, where="item x")
    assert caught.value.where == "item x"
    assert "secret" not in str(caught.value)


def test_a_plain_path_is_for_local_catalogs_only():
    assert remote.check("/data/a.tif", local_allowed=True, where="item") == "/data/a.tif"
    for href in ("/data/a.tif", "a.tif", "GTIFF_RAW:/etc/passwd:1"):
        with pytest.raises(ReadError, match="refused"):
            remote.check(href, local_allowed=False, where="item")
    # Where paths are allowed, an odd name is only a path: it never reaches GDAL unless it exists.
    with pytest.raises(ReadError, match="does not exist"):
        remote.open_raster("GTIFF_RAW:/etc/passwd:1")


@pytest.mark.parametrize(
    "href", ["https://example.org/a.tif?sig=1", "http://127.0.0.1:8000/a.tif", "http://localhost/a"]
)
def test_a_safe_address_is_allowed(href):
    assert remote.check(href, local_allowed=False, where="item") == href


def test_a_token_is_never_shown():
    with pytest.raises(ReadError) as caught:
        remote.check("http://example.org/a.tif?token=secret", local_allowed=False, where="item")
    assert "secret" not in str(caught.value)
    assert "http://example.org/a.tif" in str(caught.value)


def test_text_comes_from_a_path_or_an_address(tmp_path, web):
    (tmp_path / "a.json").write_text("µ", encoding="utf-8")
    assert remote.read_text(str(tmp_path / "a.json")) == "µ"
    assert remote.read_text(f"{web}/a.json") == "µ"


def test_text_that_cannot_be_read_is_told(tmp_path, web):
    (tmp_path / "latin").write_bytes("µ".encode("latin-1"))
    for href, told in [
        (str(tmp_path / "none"), "No such file"),
        (str(tmp_path / "latin"), "not UTF-8"),
        (f"{web}/none", "HTTP 404"),
        ("http://127.0.0.1:1/x", "refused"),
        ("http://example.org/x", "is refused"),
    ]:
        with pytest.raises(ReadError, match=told):
            remote.read_text(href)


class Odd(BaseHTTPRequestHandler):
    """Cuts answers short, answers nonsense, or sends elsewhere."""

    def do_GET(self):
        if self.path == "/nonsense":
            self.wfile.write(b"nonsense\r\n\r\n")
        elif self.path == "/short":
            self.send_response(200)
            self.send_header("Content-Length", "100")
            self.end_headers()
            self.wfile.write(b"short")
        else:
            self.send_response(302)
            target = "http://example.org/x" if self.path == "/away" else "/short"
            self.send_header("Location", target)
            self.end_headers()

    def log_message(self, *_args):
        pass


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("nonsense", "cannot be read"),
        ("short", "cannot be read"),
        ("here", "cannot be read"),
        ("away", "the address 'http://example.org/x' is refused"),
    ],
)
def test_a_server_that_misbehaves_is_told_and_not_followed(serve, path, told):
    with serve(Odd) as address, pytest.raises(ReadError, match=told):
        remote.read_text(f"{address}/{path}")


def raster(path, driver="GTiff"):
    profile = {"driver": driver, "width": 8, "height": 8, "count": 1, "dtype": "uint8"}
    place = rasterio.Affine(10, 0, 500000, 0, -10, 4000000)
    with rasterio.open(path, "w", crs="EPSG:32611", transform=place, **profile) as target:
        target.write(np.ones((1, 8, 8), np.uint8))
    return path


def test_a_geotiff_is_opened_by_path_and_by_address(tmp_path, web):
    raster(tmp_path / "a.tif")
    for href in (str(tmp_path / "a.tif"), f"{web}/a.tif"):
        with rasterio.Env(**remote.GDAL_SETTINGS), remote.open_raster(href) as opened:
            assert opened.read(1).sum() == 64


def test_a_raster_that_is_none_is_told(tmp_path, web):
    (tmp_path / "text.tif").write_text("not a raster")
    (tmp_path / "cut.tif").write_bytes(raster(tmp_path / "a.tif").read_bytes()[:6])
    (tmp_path / "a.vrt").write_text(
        '<VRTDataset rasterXSize="8" rasterYSize="8"><VRTRasterBand dataType="Byte" band="1">'
        "<SimpleSource><SourceFilename>a.tif</SourceFilename></SimpleSource>"
        "</VRTRasterBand></VRTDataset>"
    )
    raster(tmp_path / "a.png.tif", driver="ENVI")
    for name in ("text.tif", "cut.tif", "a.vrt", "a.png.tif"):
        with pytest.raises(ReadError, match="is not a readable GeoTIFF"):
            remote.open_raster(str(tmp_path / name))
    with pytest.raises(ReadError, match="does not exist"):
        remote.open_raster(str(tmp_path / "none.tif"))
    with pytest.raises(ReadError, match="is not a readable GeoTIFF"):
        remote.open_raster(f"{web}/none.tif")
