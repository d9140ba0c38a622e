"""A STAC API, asked through pystac-client, with every request sent by the one room that may."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any
from urllib.parse import urlencode
from warnings import catch_warnings, simplefilter

import pystac
from pystac_client import Client, ConformanceClasses
from pystac_client.stac_api_io import StacApiIO
from shapely.geometry import box, mapping

from pipeline import remote
from pipeline.catalog.place import Place
from pipeline.catalog.query import Document, Offer, Offered, Query, few, whole
from pipeline.errors import CatalogError, ReadError, did_you_mean
from pipeline.remote import Access

_PAGE = 100  # items; larger pages end in gateway errors on public servers
_CORNERS = 500  # an outline of more is asked for by its hull: what lies outside is dropped here
_HIGH = 80.0  # degrees of latitude; beyond, servers differ on what meets what: ask for all around


class _ApiIO(StacApiIO):
    """Asks only at allowed addresses, wherever a server's own links lead."""

    def __init__(self, access: Access, known: dict[str, str]) -> None:
        super().__init__()
        self._access = access
        self._known = known
        """Documents that were read before, by address."""

    def read_text(self, source: Any, *args: Any, **kwargs: Any) -> str:
        if isinstance(source, pystac.Link):
            return str(super().read_text(source, *args, **kwargs))
        return self._known.pop(str(source), None) or self.request(str(source), *args, **kwargs)

    def request(
        self,
        href: str,
        method: str | None = None,
        headers: dict[str, str] | None = None,
        parameters: dict[str, Any] | None = None,
    ) -> str:
        remote.check(href, self._access, "catalog")
        if (method or "GET").upper() == "POST":
            sent = {**(headers or {}), "Content-Type": "application/json"}
            body = json.dumps(parameters or {}).encode()
            return remote.request_text(href, self._access, "POST", body, sent)
        if parameters:
            href += ("&" if "?" in href else "?") + urlencode(parameters)
        return remote.request_text(href, self._access, "GET", None, headers)


def search_api(root: Document, place: Place, query: Query) -> Offered:
    """Return the items that a STAC API finds, page after page until there are no more.

    Parameters
    ----------
    root : the API's landing page.

    Raises
    ------
    CatalogError : a collection is not offered, or is refused.
    ReadError : the server cannot be read.
    """
    with catch_warnings():
        simplefilter("ignore")  # servers advertise less than they do
        io = _ApiIO(place.documents, {place.href: json.dumps(root)})
        client = Client.open(place.href, stac_io=io)
        filtered = query.filter is not None and client.conforms_to(ConformanceClasses.FILTER)
        client.add_conforms_to("ITEM_SEARCH")
        try:
            offers = few(_pages(client, root, query, place.href, filtered))
        except ReadError:
            _all_there(client, set(query.collections), place.shown)
            raise
        silent = set(query.collections) - {o.content.get("collection") for o in offers}
        if silent and (query.named or not offers):
            _all_there(client, silent, place.shown)
    return Offered(offers, frozenset(query.collections), filtered)


def _pages(
    client: Client, root: Document, query: Query, here: str, filtered: bool
) -> Iterator[Offer]:
    methods = {
        str(link.get("method", "GET")).upper()
        for link in root.get("links", [])
        if link.get("rel") == "search"
    }
    found = client.search(
        method="GET" if methods == {"GET"} else "POST",
        collections=list(query.collections) or None,
        datetime=_interval(query),
        intersects=mapping(_asked(query)),
        filter=query.filter if filtered else None,
        filter_lang="cql2-json" if filtered else None,
        limit=_PAGE,
    )
    for item in found.items_as_dicts():
        itself = next((k["href"] for k in item.get("links", []) if k.get("rel") == "self"), None)
        itself = whole(here, itself) if itself else None
        yield Offer(item, itself or here, itself)


def _interval(query: Query) -> str | None:
    if query.start is None and query.end is None:
        return None
    ends = (f"{m:%Y-%m-%dT%H:%M:%SZ}" if m else ".." for m in (query.start, query.end))
    return "/".join(ends)


def _asked(query: Query) -> Any:
    south, north = query.outline.bounds[1], query.outline.bounds[3]
    if max(-south, north) > _HIGH:
        return box(-180.0, max(south - 5.0, -90.0), 180.0, min(north + 5.0, 90.0))
    corners = sum(
        len(part.exterior.coords) for part in getattr(query.outline, "geoms", [query.outline])
    )
    return query.outline if corners <= _CORNERS else query.outline.convex_hull


def _all_there(client: Client, wanted: set[str], where: str) -> None:
    """Raise CatalogError for a collection that the server does not give, naming what it offers."""
    for name in sorted(wanted):
        try:
            client.get_collection(name)
        except (ReadError, pystac.STACError, KeyError, TypeError, ValueError) as error:
            try:
                offered = [collection.id for collection in client.get_collections()]
            except (ReadError, pystac.STACError, KeyError, TypeError, ValueError):
                offered = []
            said = error.what if isinstance(error, ReadError) else "it is no collection"
            raise CatalogError(
                f"the collection '{name}' is not there or is refused ({said})",
                where=where,
                remedy="ask the catalog's owner for access, or leave it out"
                if name in offered
                else f"mend search.collections: {did_you_mean(name, offered)}",
            ) from error


def collection_items(
    collection: Document, href: str
) -> Callable[[Place, Query], tuple[Document, Place, Query]] | None:
    """Return how to search the API that a collection belongs to; None: it belongs to none.

    Parameters
    ----------
    collection : a collection's document, read from `href`.
    """
    links = {link["rel"]: link["href"] for link in collection.get("links", [])}
    if collection.get("type") != "Collection" or not {"items", "root"} <= links.keys():
        return None

    def at_the_root(place: Place, query: Query) -> tuple[Document, Place, Query]:
        root = whole(href, links["root"])
        text = remote.read_text(remote.check(root, place.documents, "catalog"), place.documents)
        narrowed = replace(query, collections=(collection["id"],), named=True)
        return json.loads(text), replace(place, href=root), narrowed

    return at_the_root
