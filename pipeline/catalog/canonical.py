"""The one form in which an item's content is compared, whichever way it was written.

Without links, without signatures, without what is null, with times and numbers written in one way:
so an item has the same digest from an API, a file or an index.
"""

from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from pipeline import remote
from pipeline.catalog.query import TIMES, moment
from pipeline.files import Json

_CONTENT = ("id", "collection", "geometry", "bbox", "properties", "assets")
_SECRET = {
    "sig", "signature", "policy", "key-pair-id", "awsaccesskeyid", "googleaccessid",
    "token", "access_token", "api_key", "apikey", "subscription-key",
}  # fmt: skip
_BESIDE = {
    "se", "sp", "sv", "sr", "st", "sip", "spr", "skoid", "sktid", "skt", "ske", "sks", "skv",
    "expires",
}  # fmt: skip
"""Parts of a signature that are only that beside a secret."""


def canonical(content: Mapping[str, Any]) -> dict[str, Json]:
    """Return an item's content in the one form that is locked.

    Raises
    ------
    ValueError : it has no id, or a number in it is not finite.
    TypeError : a part of it is not what STAC says.
    """
    if not isinstance(content.get("id"), str) or not content["id"]:
        raise ValueError("it has no id")
    kept = {key: _plain(content[key]) for key in _CONTENT if content.get(key) is not None}
    fields, assets = kept.get("properties"), kept.get("assets", {})
    if not isinstance(fields, dict):
        raise TypeError("its properties are no object")
    if not isinstance(assets, dict):
        raise TypeError("its assets are no object")
    for key in TIMES:
        if key in fields:
            fields[key] = _time(fields[key])
    for name, asset in assets.items():
        if not isinstance(asset, dict) or not isinstance(asset.get("href"), str):
            raise TypeError(f"its asset {name} has no href")
        _unsign(asset)
    return kept


def unsigned(href: str) -> str:
    """Return an href without user, password and signature.

    >>> unsigned("https://a.org/b.tif?v=1&sig=x&se=2024-06-01")
    'https://a.org/b.tif?v=1'
    """
    if not remote.is_address(href):
        return href
    parts = urlsplit(href)
    asked = parse_qsl(parts.query, keep_blank_values=True)
    query = parts.query
    if any(_secret(key) for key, _ in asked):
        query = urlencode([(k, v) for k, v in asked if not (_secret(k) or k.lower() in _BESIDE)])
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query=query).geturl()


def _plain(value: Any) -> Any:
    """Return a value with its numbers in one form and without what is null."""
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items() if v is not None}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, float):
        if value != value or value in (float("inf"), float("-inf")):
            raise ValueError("it holds a number that is not finite")
        return int(value) if value == int(value) else value
    if value is None or isinstance(value, str | int):
        return value
    raise TypeError(f"it holds a {type(value).__name__}")


def _time(value: Any) -> Any:
    try:
        return moment(str(value)).isoformat().replace("+00:00", "Z")
    except ValueError:
        return value


def _unsign(asset: dict[str, Any]) -> None:
    asset["href"] = unsigned(asset["href"])
    others = asset.get("alternate")
    for other in others.values() if isinstance(others, dict) else ():
        if isinstance(other, dict) and isinstance(other.get("href"), str):
            other["href"] = unsigned(other["href"])


def _secret(key: str) -> bool:
    return key.lower() in _SECRET or key.lower().startswith("x-amz-")
