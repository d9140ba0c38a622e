"""What is asked of a catalog, and what comes back: items as they are written there."""

import posixpath
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urljoin, urlsplit

from shapely.geometry import box
from shapely.geometry.base import BaseGeometry

from pipeline import remote
from pipeline.plan import Search, Sensor

MOST = 100_000
"""Items that are looked at before a search is refused as too wide."""

TIMES = (
    *("datetime", "start_datetime", "end_datetime", "created", "updated"),
    *("published", "unpublished", "expires"),
)
"""Properties that are times."""

Document = dict[str, Any]


@dataclass(frozen=True)
class Query:
    """What is asked: a catalog that can narrow its answer by it may, none has to."""

    outline: BaseGeometry
    """The region, longitude and latitude, degrees; split at the antimeridian."""
    collections: tuple[str, ...]
    """None named: all of them."""
    named: bool
    """Whether the user named them (rather than the sensor's configuration)."""
    start: datetime | None
    end: datetime | None
    filter: Document | None
    """CQL2 JSON."""

    def wants(self, collection: str | None) -> bool:
        """Return whether items of a collection are wanted."""
        return not self.collections or collection in self.collections


EVERYTHING = Query(box(-180.0, -90.0, 180.0, 90.0), (), False, None, None, None)
"""The question that every item answers."""


@dataclass(frozen=True)
class Offer:
    """One item as its catalog holds it."""

    content: Document
    base: str
    """Path or address from which its relative hrefs start."""
    itself: str | None = None
    """Where it can be read again alone; None: only in the catalog's own file."""


@dataclass(frozen=True)
class Offered:
    """A catalog's answer."""

    offers: tuple[Offer, ...]
    collections: frozenset[str] = frozenset()
    """Those it is known to hold."""
    filtered: bool = False
    """Whether the catalog itself applied the filter."""


def query_of(name: str | None, wanted: Search, sensor: Sensor, outline: BaseGeometry) -> Query:
    """Return what to ask of the catalog called `name` (None: of a catalog without a name)."""
    held = sensor.holdings.get(name or "", ())
    known = tuple(dict.fromkeys(holding.collection for holding in held))
    start, end = interval(wanted.datetime)
    return Query(
        outline, wanted.collections or known, bool(wanted.collections), start, end, wanted.filter
    )


def interval(text: str | None) -> tuple[datetime | None, datetime | None]:
    """Return the first and last moment of start/end; a bare date is the whole of its day.

    >>> interval("2024-06-01/..")
    (datetime.datetime(2024, 6, 1, 0, 0, tzinfo=datetime.timezone.utc), None)
    """
    start, _, end = (text or "").partition("/")
    return (
        None if start in ("", "..") else moment(start),
        None if end in ("", "..") else moment(end, last=True),
    )


def moment(text: str, *, last: bool = False) -> datetime:
    """Return a time, UTC where it names no zone; a bare date is its first or its last moment.

    Raises
    ------
    ValueError : it is not ISO 8601.
    """
    found = datetime.fromisoformat(text)
    if len(text) == len("2024-01-31") and last:
        found = found.replace(hour=23, minute=59, second=59, microsecond=999_999)
    return found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)


def whole(base: str, href: str) -> str:
    """Return an href that stands alone: a relative one starts from the folder of `base`.

    >>> whole("/data/items/a.json", "../red.tif"), whole("https://a.org/b/c.json", "./d.tif")
    ('/data/red.tif', 'https://a.org/b/d.tif')
    """
    if remote.is_address(base):
        return urljoin(base, href)
    if urlsplit(href).scheme or href.startswith("/"):
        return href
    return posixpath.normpath(posixpath.join(posixpath.dirname(base), href))


def few(offers: Iterable[Offer]) -> tuple[Offer, ...]:
    """Return offers, if they come to an end within reason.

    Raises
    ------
    ValueError : there are more than `MOST`.
    """
    found = []
    for offer in offers:
        found.append(offer)
        if len(found) > MOST:
            raise ValueError(f"it offers more than {MOST} items: narrow search.datetime")
    return tuple(found)


def links_of(content: Mapping[str, Any], *kinds: str) -> list[str]:
    """Return the hrefs of a document's links of some kinds; raise TypeError if it has no links."""
    links = content.get("links", [])
    if not isinstance(links, list):
        raise TypeError("its links are no list")
    return [link["href"] for link in links if link["rel"] in kinds]


def base_of(item: Mapping[str, Any], file: str) -> str:
    """Return where the relative hrefs of an item start that lies with others in one file."""
    links = links_of(item, "self")
    return links[0] if links and remote.is_address(links[0]) else file
