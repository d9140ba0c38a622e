"""Region, time and sensor -> Items: search a catalog, pick, and lock what was picked.

A static catalog and a STAC API are searched through the same two steps: offer everything that
might fit, then keep or drop each item here, with its reason.
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any
from urllib.parse import urljoin, urlsplit
from warnings import catch_warnings, simplefilter

import pystac
import pystac_client
from pystac.stac_io import DefaultStacIO
from pystac_client.exceptions import APIError
from pystac_client.stac_api_io import StacApiIO
from shapely.errors import ShapelyError
from shapely.geometry import mapping, shape
from shapely.geometry.base import BaseGeometry

from pipeline import remote
from pipeline.errors import CatalogError, ProspectraError, ReadError, RegionError
from pipeline.files import Json, digest_of
from pipeline.plan import Configs, Search, Sensor
from pipeline.remote import Access

_OUTSIDE = "outside the region"


@dataclass(frozen=True)
class Place:
    """A catalog that can be searched: where it is, and how what it names may be read."""

    href: str
    """Path or address of a STAC catalog, collection, item file, stac-geoparquet file or API."""
    access: Access
    name: str | None = None
    """Its name in configs/catalogs/, if it is one of those."""


def locate(given: str, wanted: Search, configs: Configs) -> Place:
    """Return the catalog that a user named: one of configs/catalogs/, an address or a path.

    Raises
    ------
    PlanError : its configuration is wrong.
    """
    if given in configs.names("catalogs"):
        known = configs.catalog(given)
        hosts = (urlsplit(known.address).netloc, *known.hosts, *wanted.hosts)
        access = Access(False, hosts, known.access, known.credentials, known.signing)
        return Place(known.address, access, given)
    if remote.is_address(given):
        return Place(given, Access(hosts=(urlsplit(given).netloc, *wanted.hosts)))
    return Place(given, Access(local=True, hosts=wanted.hosts))


@dataclass(frozen=True)
class Items:
    """The items of one region, in order of time and id, with the lock that names them."""

    items: tuple[pystac.Item, ...]
    lock: dict[str, Json]
    """The search, and every item offered: kept or dropped, and why."""

    @property
    def digest(self) -> str:
        """The SHA-256 of the lock."""
        return digest_of(self.lock)

    @property
    def start(self) -> datetime:
        """The time of the first item, UTC."""
        return _instant(self.items[0])

    @property
    def end(self) -> datetime:
        """The time of the last item, UTC."""
        return _instant(self.items[-1])


def search(
    place: Place, wanted: Search, sensor: Sensor, outline: BaseGeometry, region: str
) -> Items:
    """Search a catalog for the imagery of a region.

    Parameters
    ----------
    place : the catalog.
    sensor : whose items are wanted; its platforms and holdings say which.
    outline : the region in longitude and latitude (degrees).
    region : its name, for messages.

    Raises
    ------
    CatalogError : the catalog cannot be read, is not STAC, or nothing in it fits.
    RegionError : there are items, but all lie outside the region.
    """
    catalog = place.href
    with _one_sentence(catalog):
        offered = sorted(_offers(place, wanted, outline), key=_order)
        decisions = [(item, _reason_to_drop(item, wanted, sensor, outline)) for item in offered]
        locked: list[Json] = [_locked(item, reason) for item, reason in decisions]
        kept = [item for item, reason in decisions if reason is None]
    if not kept:
        raise _nothing_fits(catalog, region, [reason for _, reason in decisions if reason])
    lock: dict[str, Json] = {
        "region": region,
        "search": wanted.model_dump(mode="json", exclude={"catalog"}),
        "items": locked,
    }
    return Items(tuple(_absolute(item, place.access) for item in kept), lock)


@contextmanager
def _one_sentence(catalog: str) -> Iterator[None]:
    """Say in one sentence whatever is wrong in what a catalog holds: nothing in it is trusted."""
    try:
        yield
    except ReadError as error:
        raise CatalogError(error.what, where=error.where, remedy=error.remedy) from error
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise _unusable(catalog, error) from error
    except (pystac.STACError, pystac.STACTypeError, APIError, ShapelyError) as error:
        raise _unusable(catalog, error) from error


def _unusable(catalog: str, error: Exception) -> CatalogError:
    return CatalogError(
        f"is not a usable STAC catalog ({error})",
        where=catalog,
        remedy="give --catalog the catalog.json of a static catalog, or the root of a STAC API",
    )


class _StacIO(DefaultStacIO):
    """Reads STAC documents through the one room that opens addresses."""

    def __init__(self, access: Access) -> None:
        super().__init__()
        self._access = access

    def read_text(self, source: Any, *_args: Any, **_kwargs: Any) -> str:
        return remote.read_text(remote.check(str(source), self._access, "catalog"), self._access)


class _ApiIO(StacApiIO):
    """Asks a STAC API, wherever its own links and redirects lead, only at allowed addresses."""

    def __init__(self, access: Access) -> None:
        super().__init__(timeout=remote.TIMEOUT)
        self._access = access

    def read_text(self, source: Any, *args: Any, **kwargs: Any) -> str:
        if isinstance(source, pystac.Link):
            return str(super().read_text(source, *args, **kwargs))
        return self.request(str(source), *args, **kwargs)

    def request(self, href: str, *args: Any, **kwargs: Any) -> str:
        remote.check(href, self._access, "catalog")
        self.session.hooks["response"] = [partial(_check_redirect, self._access)]
        return super().request(href, *args, **kwargs)


def _check_redirect(access: Access, answer: Any, *_args: Any, **_kwargs: Any) -> None:
    if answer.is_redirect:
        target = urljoin(answer.url, answer.headers["location"])
        remote.check(target, access, "catalog")


def _offers(place: Place, wanted: Search, outline: BaseGeometry) -> Iterable[pystac.Item]:
    root = json.loads(remote.read_text(place.href, place.access))
    if not isinstance(root, dict) or "stac_version" not in root:
        raise ValueError("it has no stac_version")
    if "conformsTo" in root:
        return list(_api_items(place, wanted, outline))
    return list(_static_items(place, wanted))


def _static_items(place: Place, wanted: Search) -> Iterator[pystac.Item]:
    root = pystac.read_file(place.href, stac_io=_StacIO(place.access))
    if isinstance(root, pystac.Item):
        yield root
    elif isinstance(root, pystac.Catalog):
        for item in root.get_items(recursive=True):
            if not wanted.collections or item.collection_id in wanted.collections:
                yield item


def _api_items(place: Place, wanted: Search, outline: BaseGeometry) -> Iterator[pystac.Item]:
    with catch_warnings():
        simplefilter("ignore")  # servers that advertise less than they do
        client = pystac_client.Client.open(place.href, stac_io=_ApiIO(place.access))
        found = client.search(
            collections=list(wanted.collections) or None,
            datetime=wanted.datetime,
            intersects=mapping(outline),
            limit=100,
        )
        yield from found.items()


def _order(item: pystac.Item) -> tuple[datetime, str, str]:
    return _instant(item), item.id, item.collection_id or ""


def _instant(item: pystac.Item) -> datetime:
    """Return the item's time; items over a span of time count from its start."""
    instant = item.datetime or item.common_metadata.start_datetime
    if instant is None:
        raise ValueError(f"item {item.id} has no time")
    return instant.astimezone(UTC) if instant.tzinfo else instant.replace(tzinfo=UTC)


def _reason_to_drop(
    item: pystac.Item, wanted: Search, sensor: Sensor, outline: BaseGeometry
) -> str | None:
    if item.geometry is None or not shape(item.geometry).intersects(outline):
        return _OUTSIDE
    if not _within(_instant(item), wanted.datetime):
        return "outside the time wanted"
    platform = str(item.properties.get("platform") or "").lower()
    if platform and sensor.platforms and platform not in sensor.platforms:
        return f"platform '{platform}' is not this sensor's"
    cloud = float(item.properties.get("eo:cloud_cover") or 0.0)
    if cloud > wanted.max_cloud:
        return f"cloud cover {cloud:g} % is over {wanted.max_cloud:g} %"
    return None


def _within(instant: datetime, interval: str | None) -> bool:
    if interval is None:
        return True
    start, _, end = interval.partition("/")
    return (start in ("", "..") or _parse(start) <= instant) and (
        end in ("", "..") or instant <= _parse(end, last=True)
    )


def _parse(text: str, *, last: bool = False) -> datetime:
    """Return a moment; a bare date stands for its first or its last second."""
    moment = datetime.fromisoformat(text)
    if len(text) == len("2024-01-31") and last:
        moment = moment.replace(hour=23, minute=59, second=59)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _nothing_fits(catalog: str, region: str, reasons: list[str]) -> ProspectraError:
    if reasons and set(reasons) == {_OUTSIDE}:
        return RegionError(
            f"all {len(reasons)} items of {catalog} lie outside the region",
            where=f"region {region}",
            remedy="check the region's bbox and crs, or give the catalog that covers it",
        )
    told = ", ".join(f"{n} {reason}" for reason, n in sorted(Counter(reasons).items()))
    return CatalogError(
        f"no item fits region {region} ({told or 'the catalog offers none'})",
        where=catalog,
        remedy="widen search.datetime or search.max_cloud, or check search.collections",
    )


def _locked(item: pystac.Item, reason: str | None) -> dict[str, Json]:
    content = item.to_dict(include_self_link=False, transform_hrefs=False)
    content.pop("links")
    entry: dict[str, Json] = {
        "id": item.id,
        "collection": item.collection_id,
        "datetime": _instant(item).isoformat(),
        "cloud_cover": item.properties.get("eo:cloud_cover"),
        "item_sha256": digest_of(content),
        "kept": reason is None,
    }
    if reason is not None:
        entry["reason"] = reason
    return entry


def _absolute(item: pystac.Item, access: Access) -> pystac.Item:
    if item.get_self_href():  # without one, a relative href is refused below
        item.make_asset_hrefs_absolute()
    for asset in item.assets.values():
        remote.check(asset.href, access, f"item {item.id}")
    return item
