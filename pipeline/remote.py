"""The only room that opens an address: catalogs as text, assets as rasters.

What a catalog says is not trusted. An href may be a path only where the catalog itself is a local
file, and an address only over https (plain http is for a server on this machine).
"""

from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

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
    "GDAL_CACHEMAX": 128 * 2**20,  # bytes; most blocks are read once, so more only holds memory
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
    return href.lower().startswith(("http:", "https:"))


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
    try:
        allowed = _allowed(href, local_allowed)
    except ValueError:  # brackets or a port that no address has
        allowed = False
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
            opener = build_opener(_CheckedRedirects)
            with opener.open(Request(href), timeout=TIMEOUT) as answer:  # noqa: S310 (checked)
                content: bytes = answer.read()
        else:
            content = Path(href).read_bytes()
        return content.decode()
    except (OSError, HTTPException, UnicodeDecodeError) as error:
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


class _CheckedRedirects(HTTPRedirectHandler):
    """Follows a redirect only to where a catalog could have sent us itself."""

    def redirect_request(
        self, req: Request, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> Request | None:
        check(newurl, local_allowed=False, where=_shown(req.full_url))
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _allowed(href: str, local_allowed: bool) -> bool:
    parts = urlsplit(href)
    if is_address(href):
        safe = parts.scheme == "https" or parts.hostname in _LOOPBACK
        return safe and bool(parts.hostname) and parts.username is None
    return local_allowed and not parts.scheme and not href.startswith("/vsi")


def _shown(href: str) -> str:
    """Return an href without what may be secret: its query and its user name and password."""
    scheme, slashes, rest = href.split("?", 1)[0].partition("://")
    host, slash, path = rest.partition("/")
    return f"{scheme}{slashes}{host.rpartition('@')[2]}{slash}{path}"


def _reason(error: Exception) -> str:
    if isinstance(error, HTTPError):
        return f"HTTP {error.code}"
    if isinstance(error, UnicodeDecodeError):
        return "it is not UTF-8 text"
    return str(getattr(error, "reason", None) or getattr(error, "strerror", None) or error)
