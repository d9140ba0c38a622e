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
from pipeline.grid import Block, crop
from pipeline.plan import Band
from pipeline.world.imagery import NODATA, OFFSET, SCALE, Scene, edge_column
from pipeline.world.places import Pass, Place
from pipeline.world.write import to_metres, write_raster

COLLECTION = "sentinel-2-l2a-demo"

_EXTENSIONS = [
    f"https://stac-extensions.github.io/{name}/schema.json"
    for name in ("eo/v1.1.0", "file/v2.1.0", "projection/v2.0.0", "raster/v1.1.0", "view/v1.0.0")
]
_COG = "image/tiff; application=geotiff; profile=cloud-optimized"
_CLOUD = (8, 9, 10)  # scene classes: cloud of medium and high probability, thin cirrus
_SAID = "Synthetic: made by the demo world of Prospectra, not observed by any satellite."

Document = dict[str, Any]


@dataclass(frozen=True)
class Frame:
    """Where and when a scene was taken, and by which bands."""

    place: Place
    look: Pass
    grid: GeoBox
    """Of the region's whole imagery."""
    bands: Mapping[str, Band]
    now: datetime

    @property
    def name(self) -> str:
        """The id of its item."""
        return f"S2X_{self.place.name}_{self.look.when:%Y%m%d}_L2A"

    @property
    def block(self) -> Block:
        """The part of the grid that its files cover."""
        rows, columns = self.grid.shape
        west, east = (round(share * columns) for share in self.look.columns)
        return Block(0, rows, west, east)


def write_item(folder: Path, frame: Frame, scene: Scene) -> Document:
    """Write the rasters of a scene and its item into the collection's folder; return the item."""
    there = folder / frame.name
    grid, window = crop(frame.grid, frame.block), frame.block.slices
    assets: Document = {}
    for (name, band), counts in zip(frame.bands.items(), scene.counts, strict=True):
        path = there / f"{name}.tif"
        digest = write_raster(path, np.ascontiguousarray(counts[window]), grid, NODATA)
        assets[name] = _asset(path, digest, _band_fields(name, band, grid))
    path = there / "scl.tif"
    classes = np.ascontiguousarray(scene.classes[window])
    digest = write_raster(path, classes, grid, 0)
    assets["scl"] = _asset(path, digest, _mask_fields(grid))
    item = _item(frame, grid, classes, assets)
    files.write_json(there / f"{frame.name}.json", item)
    return item


def write_catalog(folder: Path, items: list[Document]) -> Path:
    """Write the collection and the root of the catalog over items; return the root's path."""
    boxes = np.array([item["bbox"] for item in items])
    west, south = boxes[:, :2].min(axis=0)
    east, north = boxes[:, 2:].max(axis=0)
    times = sorted(item["properties"]["datetime"] for item in items)
    links = [_link("root", "../catalog.json"), _link("parent", "../catalog.json")]
    links += [_link("item", f"./{item['id']}/{item['id']}.json") for item in items]
    collection: Document = {
        "type": "Collection",
        "stac_version": "1.1.0",
        "id": COLLECTION,
        "title": "Demo world: Sentinel-2-like surface reflectance",
        "description": _SAID,
        "license": "CC0-1.0",
        "keywords": ["synthetic", "surface reflectance"],
        "extent": {
            "spatial": {"bbox": [[float(west), float(south), float(east), float(north)]]},
            "temporal": {"interval": [[times[0], times[-1]]]},
        },
        "links": links,
    }
    files.write_json(folder / COLLECTION / "collection.json", collection)
    catalog: Document = {
        "type": "Catalog",
        "stac_version": "1.1.0",
        "id": "prospectra-demo-world",
        "description": _SAID,
        "links": [
            _link("root", "./catalog.json"),
            _link("child", f"./{COLLECTION}/collection.json"),
        ],
    }
    files.write_json(folder / "catalog.json", catalog)
    return folder / "catalog.json"


def _item(frame: Frame, grid: GeoBox, classes: NDArray[np.uint8], assets: Document) -> Document:
    outline = _footprint(frame, grid)
    valid = classes != 0
    cloudy = np.isin(classes, _CLOUD).sum() / max(int(valid.sum()), 1)
    return {
        "type": "Feature",
        "stac_version": "1.1.0",
        "stac_extensions": _EXTENSIONS,
        "id": frame.name,
        "collection": COLLECTION,
        "geometry": mapping(outline),
        "bbox": list(outline.bounds),
        "properties": {
            "title": f"{frame.place.name}, {frame.look.when:%Y-%m-%d}",
            "description": _SAID,
            "datetime": _stamp(frame.look.when),
            "created": _stamp(frame.now),
            "platform": "synthetic",
            "gsd": grid.resolution.x,
            "eo:cloud_cover": round(100 * float(cloudy), 2),
            "proj:code": str(grid.crs).upper(),
            "proj:shape": [int(size) for size in grid.shape],
            "proj:transform": [float(value) for value in grid.affine[:6]],
            "s2:processing_baseline": "05.10",
            "s2:nodata_pixel_percentage": round(100 * float(1 - valid.mean()), 2),
            "view:sun_azimuth": frame.look.sun_azimuth,
            "view:sun_elevation": frame.look.sun_elevation,
        },
        "links": [
            _link("root", "../../catalog.json"),
            _link("parent", "../collection.json"),
            _link("collection", "../collection.json"),
        ],
        "assets": assets,
    }


def _footprint(frame: Frame, grid: GeoBox) -> BaseGeometry:
    """Return the outline of the data in longitude and latitude, without what the swath cuts off."""
    box = grid.boundingbox
    outline: BaseGeometry = Polygon.from_bounds(box.left, box.bottom, box.right, box.top)
    if frame.look.swath is not None:
        height, width = frame.grid.shape
        ends = [edge_column(frame.look.swath, (height, width), row) for row in (0, height)]
        columns = np.array([-10.0 * width, *ends, -10.0 * width])
        rows = np.array([0.0, 0.0, height, height])
        kept = np.column_stack(to_metres(frame.grid, rows, columns))
        outline = outline.intersection(Polygon(kept))
    to_degrees = Transformer.from_crs(str(grid.crs), "EPSG:4326", always_xy=True).transform

    def rounded(metres: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(np.column_stack(to_degrees(*metres.T)).round(7))

    # Sides of a projected box bend in degrees: a point every kilometre follows them.
    return transform(outline.segmentize(1000.0), rounded)


def _asset(path: Path, digest: str, fields: Document) -> Document:
    return {
        "href": f"./{path.name}",
        "type": _COG,
        "file:checksum": f"1220{digest}",  # multihash: SHA-256, 32 bytes
        "file:size": path.stat().st_size,
        **fields,
    }


def _band_fields(name: str, band: Band, grid: GeoBox) -> Document:
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
        "raster:bands": [
            {
                "data_type": "uint16",
                "nodata": NODATA,
                "scale": SCALE,
                "offset": OFFSET,
                "spatial_resolution": grid.resolution.x,
            }
        ],
    }


def _mask_fields(grid: GeoBox) -> Document:
    return {
        "title": "Scene classes",
        "roles": ["data", "quality"],
        "raster:bands": [
            {"data_type": "uint8", "nodata": 0, "spatial_resolution": grid.resolution.x}
        ],
    }


def _link(rel: str, href: str) -> Document:
    kind = "application/geo+json" if rel == "item" else "application/json"
    return {"rel": rel, "href": href, "type": kind}


def _stamp(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
