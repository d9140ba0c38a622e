"""A STAC collection of what a run has made: one item per map, one per region's zones.

The collection is self-contained: every link is relative, so a folder can be moved as a whole.
Specifications: STAC 1.1.0; extensions projection 2.0.0, raster 1.1.0, classification 2.0.0,
processing 1.0.0, file 2.1.0.
"""

import math
import os.path
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import rasterio
from rasterio.crs import CRS
from rasterio.io import DatasetReader
from rasterio.warp import transform_bounds, transform_geom

from pipeline import files
from pipeline.publish.legend import legend_of
from pipeline.publish.product import Finished, Product

_VERSION = "1.1.0"
_EXTENSION = "https://stac-extensions.github.io/{}/schema.json"
_BASE = ("file/v2.1.0", "processing/v1.0.0", "projection/v2.0.0")
_RASTER, _CLASSES = "raster/v1.1.0", "classification/v2.0.0"
_SHA256 = "1220"  # multihash: function 0x12 (SHA-256), length 0x20 (32 bytes)
_DIGITS = 6  # of a degree: a decimetre

Place = tuple[dict[str, Any], list[float], dict[str, Any]]
"""Footprint and bbox in degrees, and the projection extension's fields."""


def write_collection(
    folder: Path, name: str, description: str, regions: Sequence[Finished]
) -> list[Path]:
    """Write a collection of everything that has been written for some regions.

    Parameters
    ----------
    folder : gets `collection.json` and one file per item.
    name : the collection's id.
    description : CommonMark.
    regions : at least one, each with at least one product whose COG exists; what other writers
        have put beside the COG is listed with it.

    Returns
    -------
    The files written, the collection first.

    Raises
    ------
    OutputError : a file cannot be written.
    """
    items = [item for finished in regions for item in _items(folder, name, finished)]
    paths = [folder / "collection.json", *(folder / f"{item['id']}.json" for item in items)]
    collection = _collection(name, description, regions, items)
    for path, document in zip(paths, (collection, *items), strict=True):
        files.write_json(path, document)
    return paths


def _items(folder: Path, collection: str, finished: Finished) -> list[dict[str, Any]]:
    found = []
    for product in finished.products:
        with rasterio.open(product.path, driver="GTiff") as source:
            place, band = _place(source), _band(source, product)
        fields = {"title": product.title, "description": product.description or product.title}
        item = _item(collection, finished, product.name, place, fields)
        item["properties"] |= {"prospectra:kind": product.kind}
        item["stac_extensions"] += [_EXTENSION.format(_RASTER)]
        item["assets"] = _map_assets(folder, product)
        item["assets"]["data"]["raster:bands"] = [band]
        if product.classes:
            item["stac_extensions"] += [_EXTENSION.format(_CLASSES)]
            item["assets"]["data"]["classification:classes"] = _classes(product, finished)
        found.append(item)
    if finished.zones is None:
        return found
    projection = {k: v for k, v in place[2].items() if k not in ("proj:shape", "proj:transform")}
    title = f"{finished.title}: prospective zones"
    fields = {"title": title, "description": f"{len(finished.zones)} zones, ranked by mean score"}
    item = _item(collection, finished, "zones", (place[0], place[1], projection), fields)
    item["assets"] = _zone_assets(folder, finished)
    return [*found, item]


def _item(
    collection: str, finished: Finished, name: str, place: Place, fields: dict[str, Any]
) -> dict[str, Any]:
    footprint, bbox, projection = place
    return {
        "type": "Feature",
        "stac_version": _VERSION,
        "stac_extensions": [_EXTENSION.format(extension) for extension in _BASE],
        "id": f"{finished.region}-{name}",
        "collection": collection,
        "geometry": footprint,
        "bbox": bbox,
        "properties": {
            **fields,
            **projection,
            "datetime": None,
            "start_datetime": _time(finished.start),
            "end_datetime": _time(finished.end),
            "processing:lineage": f"{finished.study}; run {finished.digest}",
            "processing:software": dict(finished.software),
            "prospectra:items": list(finished.items),
            "prospectra:region": finished.region,
            "prospectra:release": finished.release,
        },
        "links": [_link(rel, "collection.json") for rel in ("root", "parent", "collection")],
        "assets": {},
    }


def _collection(
    name: str, description: str, regions: Sequence[Finished], items: Sequence[dict[str, Any]]
) -> dict[str, Any]:
    boxes = [item["bbox"] for item in items]
    lows = [min(box[side] for box in boxes) for side in (0, 1)]
    highs = [max(box[side] for box in boxes) for side in (2, 3)]
    start, end = min(r.start for r in regions), max(r.end for r in regions)
    return {
        "type": "Collection",
        "stac_version": _VERSION,
        "id": name,
        "title": regions[0].study,
        "description": description,
        "license": "other",
        "extent": {
            "spatial": {"bbox": [[*lows, *highs]]},
            "temporal": {"interval": [[_time(start), _time(end)]]},
        },
        "links": [
            _link("root", "collection.json"),
            *(_link("item", f"{item['id']}.json", "application/geo+json") for item in items),
        ],
    }


def _map_assets(folder: Path, product: Product) -> dict[str, Any]:
    cog = "image/tiff; application=geotiff; profile=cloud-optimized"
    assets = {
        "data": (product.path, cog, "data", product.title),
        "thumbnail": (product.quicklook, "image/png", "thumbnail", "Quick look"),
        "style": (product.style, "application/xml", "metadata", "QGIS style"),
        "tilejson": (product.tiles / "tilejson.json", "application/json", "tiles", "Web tiles"),
        "mbtiles": (product.mbtiles, "application/vnd.mapbox-mbtiles", "tiles", "MBTiles"),
    }
    return _assets(folder, assets)


def _zone_assets(folder: Path, finished: Finished) -> dict[str, Any]:
    parquet, gpkg = "application/vnd.apache.parquet", "application/geopackage+sqlite3"
    assets = {
        "geopackage": (finished.geopackage, gpkg, "data", "Zones with their QGIS style"),
        "geoparquet": (finished.geoparquet, parquet, "data", "Zones for data frames"),
    }
    return _assets(folder, assets)


def _assets(folder: Path, wanted: dict[str, tuple[Path, str, str, str]]) -> dict[str, Any]:
    return {
        key: {
            "href": Path(os.path.relpath(path, folder)).as_posix(),
            "type": media,
            "roles": [role],
            "title": title,
            "file:checksum": _SHA256 + files.sha256(path),
            "file:size": path.stat().st_size,
        }
        for key, (path, media, role, title) in wanted.items()
        if path.is_file()
    }


def _classes(product: Product, finished: Finished) -> list[dict[str, Any]]:
    mapped = [
        {
            "value": swatch.value,
            "name": swatch.name,
            "title": swatch.title,
            "color_hint": swatch.colour[1:].upper(),
        }
        for swatch in legend_of(product, finished.style).swatches
    ]
    return [{"value": 0, "name": "not_mapped", "title": "Not mapped", "nodata": True}, *mapped]


def _place(source: DatasetReader) -> Place:
    bounds = source.bounds
    corners = [
        (bounds.left, bounds.bottom),
        (bounds.right, bounds.bottom),
        (bounds.right, bounds.top),
        (bounds.left, bounds.top),
        (bounds.left, bounds.bottom),
    ]
    outline = {"type": "Polygon", "coordinates": [corners]}
    outline = transform_geom(source.crs, "EPSG:4326", outline, precision=_DIGITS)
    bbox = transform_bounds(source.crs, "EPSG:4326", *bounds)
    projection = {
        **_crs(source.crs),
        "proj:bbox": list(bounds),
        "proj:shape": list(source.shape),
        "proj:transform": list(source.transform)[:6],
    }
    footprint = {
        "type": "Polygon",
        "coordinates": [[list(corner) for corner in ring] for ring in outline["coordinates"]],
    }
    return footprint, [round(degrees, _DIGITS) for degrees in bbox], projection


def _crs(crs: CRS) -> dict[str, Any]:
    authority = crs.to_authority()
    if authority is None:
        return {"proj:code": None, "proj:wkt2": crs.to_wkt(version="WKT2_2019")}
    return {"proj:code": ":".join(authority)}


def _band(source: DatasetReader, product: Product) -> dict[str, Any]:
    band = {
        "data_type": source.dtypes[0],
        "spatial_resolution": source.res[0],
        "sampling": "area",
        "unit": product.unit,
    }
    if source.nodata is not None:
        band["nodata"] = "nan" if math.isnan(source.nodata) else source.nodata
    if product.kind != "class":
        band |= {"scale": source.scales[0], "offset": source.offsets[0]}
    return band


def _link(rel: str, name: str, media: str = "application/json") -> dict[str, str]:
    return {"rel": rel, "href": f"./{name}", "type": media}


def _time(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
