"""Every kind of STAC catalog, asked the same question and answering in the same words.

A STAC API, a static catalog or collection, one item, a file of many items, a stac-geoparquet file.
"""

import json
from collections import deque
from collections.abc import Iterator

from pipeline import remote
from pipeline.catalog.api import collection_items, search_api
from pipeline.catalog.geoparquet import is_geoparquet, search_geoparquet
from pipeline.catalog.place import Place
from pipeline.catalog.query import (
    Document,
    Offer,
    Offered,
    Query,
    base_of,
    few,
    links_of,
    whole,
)
from pipeline.remote import Access

_WALKED = ("child", "item")


def offer(place: Place, query: Query) -> Offered:
    """Return every item of a catalog that may answer a query.

    Raises
    ------
    ReadError : a document of the catalog cannot be read.
    CatalogError : a collection is not there.
    ValueError, KeyError, TypeError : what it holds is not STAC.
    """
    if is_geoparquet(place.href):
        return search_geoparquet(place, query)
    root = _document(place.href, place.documents)
    if root.get("type") == "FeatureCollection":
        return _features(root, place, query)
    if "stac_version" not in root:
        raise ValueError("it has no stac_version")
    if "conformsTo" in root:
        return search_api(root, place, query)
    if root.get("type") == "Feature":
        return _wanted([Offer(root, place.href, place.href)], query)
    if not links_of(root, *_WALKED) and (above := collection_items(root, place.href)):
        return search_api(*above(place, query))
    return _walked(root, place, query)


def reread(place: Place, itself: str) -> Document:
    """Return one item as it is now; raise ReadError or ValueError if it is not there."""
    return _document(remote.check(itself, place.documents, "catalog"), place.documents)


def _document(href: str, access: Access) -> Document:
    found = json.loads(remote.read_text(href, access))
    if not isinstance(found, dict):
        raise ValueError("it has no stac_version")
    return found


def _features(root: Document, place: Place, query: Query) -> Offered:
    features = root.get("features")
    if not isinstance(features, list):
        raise ValueError("it has no features")
    documents = [f if isinstance(f, dict) else {} for f in features]  # junk is dropped by name
    return _wanted([Offer(f, base_of(f, place.href)) for f in documents], query)


def _wanted(offers: list[Offer], query: Query) -> Offered:
    """Keep the items of the collections that are wanted."""
    held = [offer.content.get("collection") for offer in offers]
    kept = [o for o, name in zip(offers, held, strict=True) if query.wants(name)]
    return Offered(tuple(kept), frozenset(name for name in held if isinstance(name, str)))


def _walked(root: Document, place: Place, query: Query) -> Offered:
    """Follow the links of a static catalog to all of its items."""
    if "links" not in root:
        raise ValueError("it has no links")
    collections: set[str] = set()
    offers = few(_walk(root, place, query, collections))
    held = {o.content.get("collection") for o in offers}
    return Offered(
        offers, frozenset(collections | {name for name in held if isinstance(name, str)})
    )


def _walk(root: Document, place: Place, query: Query, collections: set[str]) -> Iterator[Offer]:
    waiting, seen = deque([(root, place.href)]), {place.href}
    while waiting:
        content, here = waiting.popleft()
        name = content.get("id") if content.get("type") == "Collection" else None
        if isinstance(name, str):
            collections.add(name)
        # A collection that is not wanted may still hold others that are.
        kinds = _WALKED if name is None or query.wants(name) else ("child",)
        for target in (whole(here, href) for href in links_of(content, *kinds)):
            if target in seen:
                continue
            seen.add(target)
            found = _document(remote.check(target, place.documents, "catalog"), place.documents)
            if found.get("type") == "Feature":
                if query.wants(found.get("collection", name)):
                    yield Offer(found, target, target)
            else:
                waiting.append((found, target))
