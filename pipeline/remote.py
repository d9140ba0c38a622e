"""The only room that opens an address: catalogs as text, assets as rasters.

What a catalog says is not trusted. An href may be a path only where the catalog itself is a local
file, and an address only over https (plain http is for a server on this machine).
"""

from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any, Literal
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


@dataclass(frozen=True)
class Access:
    """What may be opened and how a read is authorised: it travels with every address.

    Nothing secret is in it: a token comes from the environment of the process that reads.
    """

    local: bool = False
    """Whether plain paths may be opened: only where the catalog itself is a local file."""
    hosts: tuple[str, ...] = ()
    """Hosts that may be asked; `host:port` where the port is not the usual one, `*.example.org`
    for any below it."""
    scheme: Literal["open", "planetary-computer", "bearer", "basic"] = "open"
    credentials: tuple[str, ...] = ()
    """Environment variables: of the token, or of the user name and the password."""
    signing: str | None = None
    """Address that gives signatures."""
    tries: int = 5
    """How often one range or document is asked for before it counts as unreadable."""
    pause: float = 0.5
    """Seconds before the second try; it doubles from there, up to 30."""
    patience: float = 300.0
    """Seconds that one process may spend waiting for one host; once spent, nothing is retried."""


LOCAL = Access(local=True)
"""Plain paths only."""


def is_address(href: str) -> bool:
    """Return whether an href names a host (rather than a file on this machine).

    >>> is_address("https://example.org/a.tif"), is_address("/data/a.tif")
    (True, False)
    """
    return href.lower().startswith(("http:", "https:"))


def check(href: str, access: Access, where: str) -> str:
    """Return the href if it may be opened, before anything connects to it.

    Parameters
    ----------
    where : the item or catalog that names it, for the message.

    Raises
    ------
    ReadError : for a GDAL virtual path, another scheme, plain http to a foreign host, a user name
        in the address, a host that is not on the list, or a local path that a remote catalog names.
    """
    try:
        allowed = _allowed(href, access)
    except ValueError:  # brackets or a port that no address has
        allowed = False
    if not allowed:
        raise ReadError(
            f"the address '{_shown(href)}' is refused",
            where=where,
            remedy="use https addresses of the catalog's own hosts (search.hosts adds one), or "
            "plain paths in a local catalog",
        )
    return href


def read_text(href: str, access: Access) -> str:
    """Return the text behind a path or address.

    Raises
    ------
    ReadError : it does not exist, does not answer, or is not UTF-8 text.
    """
    try:
        if is_address(href):
            check(href, access, "catalog")
            opener = build_opener(_CheckedRedirects(access))
            with opener.open(Request(href), timeout=TIMEOUT) as answer:  # noqa: S310 (checked)
                content: bytes = answer.read()
        else:
            content = Path(href).read_bytes()
        return content.decode()
    except (OSError, HTTPException, UnicodeDecodeError) as error:
        raise ReadError(
            f"cannot be read ({_reason(error)})", where=_shown(href), remedy="check the path"
        ) from error


def open_raster(href: str, access: Access) -> DatasetReader:
    """Open a GeoTIFF by path or address; the caller closes it.

    Raises
    ------
    ReadError : it does not exist, is not a GeoTIFF, or is cut short in its header.
    """
    check(href, access, _shown(href))
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

    def __init__(self, access: Access) -> None:
        self._access = access

    def redirect_request(
        self, req: Request, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> Request | None:
        check(newurl, self._access, _shown(req.full_url))
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _allowed(href: str, access: Access) -> bool:
    if not is_address(href):
        return access.local and not urlsplit(href).scheme and not href.startswith("/vsi")
    parts = urlsplit(href)
    here = parts.hostname in _LOOPBACK
    if parts.username is not None or not parts.hostname or not (parts.scheme == "https" or here):
        return False
    if parts.port not in (None, 443) and not here:
        return False
    return any(_matches(parts.hostname, parts.netloc, host) for host in access.hosts)


def _matches(name: str, place: str, host: str) -> bool:
    if host.startswith("*."):
        return name.endswith(host[1:].lower())
    return host.lower() in (name, place.lower())


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
