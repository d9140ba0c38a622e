"""The only room that opens an address: catalogs as text, assets as rasters.

What a catalog says is not trusted. An href may be a path only where the catalog itself is a local
file, and an address only over https (plain http is for a server on this machine).
"""

from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

import rasterio
from rasterio.errors import RasterioError
from rasterio.io import DatasetReader

from pipeline.errors import ReadError

TIMEOUT = 30.0  # seconds without an answer
_LOOPBACK = {"127.0.0.1", "::1", "localhost"}
_DRIVER = "GTiff"  # pinned, so that a file cannot choose its own (VRT) driver

GDAL_SETTINGS: dict[str, str | int] = {
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
    "GDAL_VRT_ENABLE_PYTHON": "NO",
    "GDAL_NUM_THREADS": 1,
    "GDAL_CACHEMAX": 64,  # MB; blocks are read once, so a cache only holds memory
    "GDAL_HTTP_TIMEOUT": int(TIMEOUT),
    "GDAL_HTTP_CONNECTTIMEOUT": 10,
    "GDAL_HTTP_MAX_RETRY": 5,
    "GDAL_HTTP_RETRY_DELAY": 1,
}
"""What every thread sets before it reads: one block is one task, so GDAL starts no threads."""


def is_address(href: str) -> bool:
    """Return whether an href names a host (rather than a file on this machine).

    >>> is_address("https://example.org/a.tif"), is_address("/data/a.tif")
    (True, False)
    """
    return urlsplit(href).scheme in ("http", "https")


def check(href: str, *, local_allowed: bool, where: str) -> str:
    """Return the href if it may be opened, before anything connects to it.

    Parameters
    ----------
    local_allowed : whether the catalog that names it is itself a local file.
    where : the item or catalog that names it, for the message.

    Raises
    ------
    ReadError : for a GDAL virtual path, another scheme, plain http to a foreign host, a user name
        in the address, or a local path that a remote catalog names.
    """
    parts = urlsplit(href)
    if is_address(href):
        safe = parts.scheme == "https" or parts.hostname in _LOOPBACK
        allowed = safe and parts.username is None
    else:
        allowed = local_allowed and not parts.scheme and not href.startswith("/vsi")
    if not allowed:
        raise ReadError(
            f"the address '{_shown(href)}' is refused",
            where=where,
            remedy="use https addresses, or plain paths in a local catalog",
        )
    return href


def read_text(href: str) -> str:
    """Return the text behind a path or address.

    Raises
    ------
    ReadError : it does not exist, does not answer, or is not UTF-8 text.
    """
    try:
        if is_address(href):
            check(href, local_allowed=False, where="catalog")
            with urlopen(Request(href), timeout=TIMEOUT) as answer:  # noqa: S310 (scheme checked)
                content: bytes = answer.read()
        else:
            content = Path(href).read_bytes()
        return content.decode()
    except (HTTPError, URLError, OSError, UnicodeDecodeError) as error:
        raise ReadError(
            f"cannot be read ({_reason(error)})", where=_shown(href), remedy="check the path"
        ) from error


def open_raster(href: str) -> DatasetReader:
    """Open a GeoTIFF by path or address; the caller closes it.

    Raises
    ------
    ReadError : it does not exist, is not a GeoTIFF, or is cut short in its header.
    """
    if not is_address(href) and not Path(href).is_file():
        raise ReadError(
            "does not exist", where=_shown(href), remedy="check the asset's href in the catalog"
        )
    try:
        return rasterio.open(href, driver=_DRIVER)
    except RasterioError as error:
        raise ReadError(
            "is not a readable GeoTIFF",
            where=_shown(href),
            remedy="fetch the asset again, or leave its item out",
        ) from error


def _shown(href: str) -> str:
    """Return an href without its query, which may carry a token."""
    return href.split("?", 1)[0]


def _reason(error: Exception) -> str:
    if isinstance(error, HTTPError):
        return f"HTTP {error.code}"
    if isinstance(error, UnicodeDecodeError):
        return "it is not UTF-8 text"
    return str(getattr(error, "reason", None) or getattr(error, "strerror", None) or error)
