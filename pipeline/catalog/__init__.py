"""Region, time and sensor -> Items: search a catalog, pick, and lock what was picked.

place -> which catalog is meant; offers (api, geoparquet) -> what it holds; choice (facts,
footprint, cql2) -> what of it is taken, and why not the rest; lock -> what was taken, for good.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import pystac
from pystac_client.exceptions import APIError
from shapely.errors import ShapelyError
from shapely.geometry.base import BaseGeometry

from pipeline.catalog import cql2
from pipeline.catalog.canonical import canonical
from pipeline.catalog.choice import OUTSIDE, Candidate, choose, unusable
from pipeline.catalog.lock import (
    Items,
    compare_stamps,
    entry_of,
    essence,
    from_lock,
    item_of,
    verify,
)
from pipeline.catalog.offers import offer
from pipeline.catalog.place import Place, locate
from pipeline.catalog.query import Offer, Offered, query_of
from pipeline.errors import CatalogError, ProspectraError, ReadError, RegionError
from pipeline.files import Json
from pipeline.plan import Search, Sensor

__all__ = [
    "Items",
    "Place",
    "compare_stamps",
    "essence",
    "from_lock",
    "locate",
    "search",
    "verify",
]


def search(
    place: Place, wanted: Search, sensor: Sensor, outline: BaseGeometry, region: str
) -> Items:
    """Search a catalog for the imagery of a region.

    Whatever kind of catalog it is, the same items are kept of the same content.

    Parameters
    ----------
    place : the catalog.
    sensor : whose items are wanted; its platforms and holdings say which.
    outline : the region in longitude and latitude (degrees), split at the antimeridian.
    region : its name, for messages.

    Raises
    ------
    CatalogError : the catalog cannot be read, is not STAC, lacks a collection that is asked for,
        cannot apply the filter, or nothing in it fits.
    RegionError : there are items, but all lie outside the region.
    """
    query = query_of(place.name, wanted, sensor, outline)
    with _one_sentence(place):
        offered = offer(place, query)
        _all_there(place, offered, query.collections if query.named else ())
        applied = _filtered_by(place, offered, wanted)
        candidates = [_candidate(each) for each in offered.offers]
        chosen = choose(candidates, query, wanted, sensor, applied == "catalog")
    items = _items([c for c in chosen if c.reason is None], place, sensor)
    if not items:
        raise _nothing_fits(place.shown, region, [c.reason for c in chosen if c.reason])
    asked = wanted.model_dump(mode="json", exclude={"catalog"})
    asked["collections"] = list(query.collections)
    if applied:
        asked["filtered_by"] = applied
    entries: list[Json] = [entry_of(candidate, place, sensor) for candidate in chosen]
    return Items(items, {"region": region, "search": asked, "items": entries})


def _items(kept: Iterable[Candidate], place: Place, sensor: Sensor) -> tuple[pystac.Item, ...]:
    """Return the items themselves, with all of their assets; drop one that pystac cannot make."""
    made = []
    for candidate in kept:
        entry = entry_of(candidate, place, sensor) | {"item": candidate.offer.content}
        try:
            made.append(item_of(entry, place))
        except CatalogError as error:
            candidate.reason = f"it {error.what}"
    return tuple(made)


def _candidate(each: Offer) -> Candidate:
    """Bring an item into its canonical form; one that has none is dropped for it."""
    try:
        return Candidate(each, canonical(each.content))
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError) as error:
        content = each.content if isinstance(each.content, dict) else {}
        return Candidate(Offer(content, each.base, each.itself), {}, unusable(error))


def _filtered_by(place: Place, offered: Offered, wanted: Search) -> str | None:
    """Return who applies the filter: the catalog alone, both, or we alone; None: there is none."""
    if wanted.filter is None:
        return None
    try:
        cql2.check(wanted.filter)
    except cql2.UndecidedError as error:
        if offered.filtered:
            return "catalog"
        raise CatalogError(
            f"it cannot filter, and search.filter cannot be decided here ({error})",
            where=place.shown,
            remedy="use logic, comparisons, in, between, isNull, like and s_intersects only",
        ) from error
    return "catalog and client" if offered.filtered else "client"


def _all_there(place: Place, offered: Offered, wanted: tuple[str, ...]) -> None:
    if missing := sorted(set(wanted) - offered.collections):
        raise CatalogError(
            f"it has no collection {', '.join(missing)}",
            where=place.shown,
            remedy="mend search.collections; it offers "
            + (", ".join(sorted(offered.collections)) or "none"),
        )


@contextmanager
def _one_sentence(place: Place) -> Iterator[None]:
    """Say in one sentence whatever is wrong in what a catalog holds: nothing in it is trusted."""
    try:
        yield
    except ReadError as error:
        raise CatalogError(error.what, where=error.where, remedy=error.remedy) from error
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise _unusable(place, error) from error
    except (pystac.STACError, pystac.STACTypeError, APIError, ShapelyError) as error:
        raise _unusable(place, error) from error


def _unusable(place: Place, error: Exception) -> CatalogError:
    told = str(error).replace(place.href, place.shown)
    return CatalogError(
        f"is not a usable STAC catalog ({told})",
        where=place.shown,
        remedy="give --catalog the catalog.json of a static catalog, the root of a STAC API, or a "
        "file of items",
    )


def _nothing_fits(catalog: str, region: str, reasons: list[str]) -> ProspectraError:
    if reasons and set(reasons) == {OUTSIDE}:
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
