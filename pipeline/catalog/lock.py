"""The item lock: what was offered, kept and dropped, and whether it is still the same.

An item's digest is of its canonical form, see `pipeline.catalog.canonical`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit
from warnings import catch_warnings, simplefilter

import pystac

from pipeline import remote
from pipeline.catalog.canonical import canonical
from pipeline.catalog.choice import Candidate
from pipeline.catalog.offers import offer, reread
from pipeline.catalog.place import Place
from pipeline.catalog.query import EVERYTHING, Document, whole
from pipeline.errors import CatalogError, ReadError
from pipeline.files import Json, digest_of
from pipeline.plan import Sensor
from pipeline.plan.names import goes_by

_FORM = ("stac_version", "stac_extensions")  # how its fields are to be understood
_STAMPS = ("size", "etag", "sha256")
_REMEDY = "run without --locked to search anew, or bring back what was locked"


@dataclass(frozen=True)
class Items:
    """The items of one region, in order of time and id, with the lock that names them."""

    items: tuple[pystac.Item, ...]
    lock: dict[str, Json]
    """The search, and every item offered: kept or dropped, and why."""

    @property
    def digest(self) -> str:
        """The SHA-256 of what decides the maps, see `essence`."""
        return digest_of(essence(self.lock))

    @property
    def start(self) -> datetime:
        """The time of the first item, UTC."""
        return _instant(self.items[0])

    @property
    def end(self) -> datetime:
        """The time of the last item, UTC."""
        return _instant(self.items[-1])


def entry_of(candidate: Candidate, place: Place, sensor: Sensor) -> dict[str, Json]:
    """Return what the lock says of one offered item.

    Kept ones come with the item itself, as far as the sensor reads it, so that a locked run needs
    no search.
    """
    content, facts = candidate.offer.content, candidate.facts
    collection = content.get("collection")
    entry: dict[str, Json] = {
        "id": candidate.name,
        "collection": collection if isinstance(collection, str) else None,
        "datetime": facts.when.isoformat() if facts and facts.when else None,
        "cloud_cover": facts.cloud if facts else None,
        "self": _near(candidate.offer.itself, place.href),
        "item_sha256": digest_of(candidate.content) if candidate.content else None,
        "kept": candidate.reason is None,
    }
    if candidate.reason is not None:
        return entry | {"reason": candidate.reason}
    if candidate.offer.base not in (candidate.offer.itself, place.href):
        entry["base"] = _near(candidate.offer.base, place.href)
    form = {key: content[key] for key in _FORM if key in content}
    return entry | {"item": _trimmed(candidate.content, sensor) | form}


def item_of(entry: Mapping[str, Any], place: Place) -> pystac.Item:
    """Return the item of a kept entry, its hrefs whole, alternate ones where the place wants them.

    Raises
    ------
    CatalogError : the entry holds no usable item.
    """
    try:
        itself = whole(place.href, entry["self"]) if entry["self"] else None
        base = whole(place.href, entry["base"]) if "base" in entry else itself or place.href
        content: Document = {"stac_version": "1.0.0", "stac_extensions": [], "bbox": None}
        content |= {"type": "Feature", "geometry": None, **entry["item"], "links": []}
        content["assets"] = {
            name: asset | {"href": whole(base, place.href_of(asset))}
            for name, asset in content["assets"].items()
        }
        with catch_warnings():
            simplefilter("ignore")  # of extensions that pystac could not bring up to date
            return pystac.Item.from_dict(content, href=itself)
    except (KeyError, TypeError, ValueError, AttributeError, pystac.STACError) as error:
        raise CatalogError(
            f"cannot be understood ({type(error).__name__}: {error})",
            where=f"item {entry.get('id')}",
            remedy="leave it out with search.filter, or tell the catalog's owner",
        ) from error


def from_lock(lock: Mapping[str, Any], place: Place, sensor: str) -> Items:
    """Return the items that a lock names for a sensor, without a search.

    Parameters
    ----------
    lock : of one region, as it was written.
    sensor : its name in configs/sensors/.

    Raises
    ------
    CatalogError : it names none, or is no lock.
    """
    try:
        entries = [e for e in lock["items"] if e.get("sensor", sensor) == sensor]
        search = lock["searches"][sensor] if "searches" in lock else lock["search"]
        kept = [entry for entry in entries if entry["kept"]]
        region = lock["region"]
    except (KeyError, TypeError, AttributeError) as error:
        raise CatalogError(
            f"is not a lock of items for the sensor {sensor} ({error})",
            where="the lock",
            remedy=_REMEDY,
        ) from error
    if not kept:
        raise CatalogError(
            f"names no item for the sensor {sensor}", where="the lock", remedy=_REMEDY
        )
    found: dict[str, Json] = {"region": region, "search": search, "items": list(entries)}
    return Items(tuple(item_of(entry, place) for entry in kept), found)


def verify(items: Items, place: Place) -> None:
    """Fetch every kept item again, and raise CatalogError naming the first that has changed."""
    entries: Any = items.lock["items"]
    kept = [entry for entry in entries if entry["kept"]]
    together = [entry for entry in kept if entry["self"] is None]
    held = _held(place) if together else {}
    for entry in kept:
        if entry["self"] is None:
            fresh = held.get((entry["id"], entry["collection"]))
        else:
            fresh = _fetched(entry, place)
        if fresh is None:
            raise _drift(entry, "is no longer there")
        _compare(entry, fresh)


def compare_stamps(
    entry: Mapping[str, Any], stamps: Mapping[str, Mapping[str, Json]], where: str = "the lock"
) -> None:
    """Raise CatalogError if an asset's size, ETag or checksum is not what its lock entry says.

    Parameters
    ----------
    entry : of one item; its `assets` are stamps by name of band or mask.
    stamps : the same, as they are now.
    """
    for name, locked in sorted(entry.get("assets", {}).items()):
        now = stamps.get(name)
        if now is None:
            raise _drift(entry, f"its asset {name} is no longer there", where)
        for kind in _STAMPS:
            if kind in locked and kind in now and locked[kind] != now[kind]:
                told = f"the {kind} of its asset {name} was {locked[kind]}, is {now[kind]}"
                raise _drift(entry, told, where)


def essence(lock: Mapping[str, Any]) -> Json:
    """Return what of a lock decides the maps: the kept items, wherever they were read from.

    A file is known by the checksum that its item declares; else by what its host or this machine
    says of it, which is not the same from place to place.
    """
    kept: list[Json] = []
    for entry in lock["items"]:
        if entry["kept"]:
            told = {k: v for k, v in entry.items() if k not in ("self", "base", "item")}
            if "assets" in told:
                declared = entry.get("item", {}).get("assets", {})
                told["assets"] = {
                    name: declared.get(name, {}).get("file:checksum")
                    or {k: v for k, v in stamp.items() if k != "href"}
                    for name, stamp in told["assets"].items()
                }
            kept.append(told)
    return kept


def _compare(entry: Mapping[str, Any], fresh: Document) -> None:
    try:
        now = canonical(fresh)
    except (ValueError, TypeError) as error:
        raise _drift(entry, f"is no longer a usable item ({error})") from error
    if digest_of(now) != entry["item_sha256"]:
        old = {key: value for key, value in entry["item"].items() if key not in _FORM}
        told = sorted(_changes(old, now))
        raise _drift(entry, f"has changed ({', '.join(told[:5]) or 'in what is not read'})")


def _changes(old: Mapping[str, Any], new: Mapping[str, Any], at: str = "") -> set[str]:
    """Return the dotted names of what differs; assets that were not locked are not compared."""
    found: set[str] = set()
    keys = old.keys() if at == "assets." else old.keys() | new.keys()
    for key in keys:
        one, two = old.get(key), new.get(key)
        if isinstance(one, Mapping) and isinstance(two, Mapping):
            found |= _changes(one, two, f"{at}{key}.")
        elif one != two:
            found.add(f"{at}{key}")
    return found


def _fetched(entry: Mapping[str, Any], place: Place) -> Document | None:
    try:
        return reread(place, whole(place.href, entry["self"]))
    except ReadError as error:
        raise _drift(entry, f"cannot be fetched again: {error.what}", error.where) from error
    except ValueError as error:
        raise _drift(entry, f"is no longer a usable item ({error})") from error


def _held(place: Place) -> dict[tuple[str, str | None], Document]:
    found = offer(place, EVERYTHING).offers
    return {(str(o.content.get("id")), o.content.get("collection")): o.content for o in found}


def _drift(entry: Mapping[str, Any], told: str, where: str = "") -> CatalogError:
    named = f"item {entry.get('id')}"
    return CatalogError(told, where=f"{named} ({where})" if where else named, remedy=_REMEDY)


def _trimmed(content: dict[str, Json], sensor: Sensor) -> dict[str, Json]:
    """Return an item with those of its assets that the sensor may read."""
    read = {name for band in sensor.bands.values() for name in band.assets}
    read |= {name for mask in sensor.masks for name in mask.assets}
    assets: Any = content.get("assets", {})
    kept = {n: a for n, a in assets.items() if any(goes_by(n, known) for known in read)}
    return content | {"assets": kept}


def _near(href: str | None, root: str) -> str | None:
    """Return an href as seen from the catalog, so that a lock does not say where that lies."""
    folder = root.rsplit("/", 1)[0] + "/"
    if remote.is_address(root) and urlsplit(root).path in ("", "/"):
        folder = root.rstrip("/") + "/"
    if href is None or not href.startswith(folder):
        return href
    return "./" + href.removeprefix(folder)


def _instant(item: pystac.Item) -> datetime:
    instant = item.datetime or item.common_metadata.start_datetime
    if instant is None:
        raise ValueError(f"item {item.id} has no time")
    return instant.astimezone(UTC) if instant.tzinfo else instant.replace(tzinfo=UTC)
