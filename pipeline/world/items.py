"""The imagery of the demo world as a static STAC catalog (STAC 1.1.0), with relative links."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from pyproj import Transformer
from shapely import transform
from shapely.geometry import Polygon, mapping
from shapely.geometry.base import BaseGeometry

from pipeline import files
from pipeline.plan import Band
from pipeline.world.places import Pass, Place

SAID = "Synthetic: made by the demo world of Prospectra, not observed by any satellite."

_EXTENSIONS = [
    f"https://stac-extensions.github.io/{name}/schema.json"
    for name in ("eo/v1.1.0", "file/v2.1.0", "projection/v2.0.0", "raster/v1.1.0", "view/v1.0.0")
]
_COG = "image/tiff; application=geotiff; profile=cloud-optimized"

Document = dict[str, Any]


@dataclass(frozen=True)
class Collection:
    """One collection of the catalog."""

    name: str
    title: str
    keywords: tuple[str, ...]


@dataclass(frozen=True)
class Frame:
    """Where and when a scene was taken, and by which bands."""

    place: Place
    look: Pass
    grid: GeoBox
    """Of the ground that is seen."""
    bands: Mapping[str, Band]
    now: datetime


@dataclass(frozen=True)
class Taken:
    """What an item is about: its id, its place, its time."""

    name: str
    collection: Collection
    grid: GeoBox
    """Of its files."""
    outline: BaseGeometry
    """Of its data, in the CRS of the grid."""
    when: datetime
    now: datetime
    """When it was made."""


def make_item(taken: Taken, properties: Document, assets: Document) -> Document:
    """Return an item as a document.

    Parameters
    ----------
    properties : its own, besides those of every item.
    assets : as `make_asset` makes them.
    """
    outline = _degrees(taken.outline, taken.grid)
    return {
        "type": "Feature",
        "stac_version": "1.1.0",
        "stac_extensions": _EXTENSIONS,
        "id": taken.name,
        "collection": taken.collection.name,
        "geometry": mapping(outline),
        "bbox": list(outline.bounds),
        "properties": {
            "title": f"{taken.name}, {taken.when:%Y-%m-%d}",
            "description": SAID,
            "datetime": _stamp(taken.when),
            "created": _stamp(taken.now),
            "platform": "synthetic",
            "gsd": taken.grid.resolution.x,
            "proj:code": str(taken.grid.crs).upper(),
            "proj:shape": [int(size) for size in taken.grid.shape],
            "proj:transform": [float(value) for value in taken.grid.affine[:6]],
            **properties,
        },
        "links": [
            _link("root", "../../catalog.json"),
            _link("parent", "../collection.json"),
            _link("collection", "../collection.json"),
        ],
        "assets": assets,
    }


def make_asset(path: Path, digest: str, fields: Document) -> Document:
    """Return the asset of a file that lies beside its item."""
    return {
        "href": f"./{path.name}",
        "type": _COG,
        "file:checksum": f"1220{digest}",  # multihash: SHA-256, 32 bytes
        "file:size": path.stat().st_size,
        **fields,
    }


def band_fields(name: str, band: Band, raster: Document) -> Document:
    """Return what an asset says of a spectral band; `raster` is what it says of its numbers."""
    centre, width = band.light
    return {
        "title": f"{name} ({centre:g} nm)",
        "roles": ["data", "reflectance"],
        "eo:bands": [
            {
                "name": name,
                "common_name": "rededge" if name.startswith("rededge") else name,
                "center_wavelength": centre / 1000,
                "full_width_half_max": width / 1000,
            }
        ],
        "raster:bands": [raster],
    }


def write_catalog(folder: Path, items: Mapping[Collection, list[Document]]) -> Path:
    """Write the collections and the root of the catalog over items; return the root's path."""
    for collection, own in items.items():
        _write_collection(folder, collection, own)
    children = [_link("child", f"./{collection.name}/collection.json") for collection in items]
    catalog: Document = {
        "type": "Catalog",
        "stac_version": "1.1.0",
        "id": "prospectra-demo-world",
        "description": SAID,
        "links": [_link("root", "./catalog.json"), *children],
    }
    files.write_json(folder / "catalog.json", catalog)
    return folder / "catalog.json"


def _write_collection(folder: Path, about: Collection, items: list[Document]) -> None:
    boxes = np.array([item["bbox"] for item in items])
    west, south = boxes[:, :2].min(axis=0)
    east, north = boxes[:, 2:].max(axis=0)
    times = sorted(item["properties"]["datetime"] for item in items)
    links = [_link("root", "../catalog.json"), _link("parent", "../catalog.json")]
    links += [_link("item", f"./{item['id']}/{item['id']}.json") for item in items]
    collection: Document = {
        "type": "Collection",
        "stac_version": "1.1.0",
        "id": about.name,
        "title": about.title,
        "description": SAID,
        "license": "CC0-1.0",
        "keywords": ["synthetic", *about.keywords],
        "extent": {
            "spatial": {"bbox": [[float(west), float(south), float(east), float(north)]]},
            "temporal": {"interval": [[times[0], times[-1]]]},
        },
        "links": links,
    }
    files.write_json(folder / about.name / "collection.json", collection)


def box_of(grid: GeoBox) -> BaseGeometry:
    """Return the outline of a grid in its own CRS."""
    box = grid.boundingbox
    outline: BaseGeometry = Polygon.from_bounds(box.left, box.bottom, box.right, box.top)
    return outline


def _degrees(outline: BaseGeometry, grid: GeoBox) -> BaseGeometry:
    """Return an outline in longitude and latitude."""
    to_degrees = Transformer.from_crs(str(grid.crs), "EPSG:4326", always_xy=True).transform

    def rounded(metres: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(np.column_stack(to_degrees(*metres.T)).round(7))

    # Sides of a projected box bend in degrees: a point every kilometre follows them.
    return transform(outline.segmentize(1000.0), rounded)


def _link(rel: str, href: str) -> Document:
    kind = "application/geo+json" if rel == "item" else "application/json"
    return {"rel": rel, "href": href, "type": kind}


def _stamp(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
