"""Finished maps and zones -> files people open; one function and one line here per format."""

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

import geopandas as gpd

from pipeline.publish.gis import write_raster_style, zone_style
from pipeline.publish.legend import class_colours, legend_of
from pipeline.publish.product import Finished, Product, title_of
from pipeline.publish.stac import write_collection
from pipeline.publish.tiles import write_tiles
from pipeline.publish.vector import write_geopackage, write_geoparquet
from pipeline.publish.web import write_quicklook

__all__ = ["WRITERS", "Finished", "Product", "title_of", "write_all", "write_collection"]

Writer = Callable[[Finished], list[Path]]
"""Writes one format of everything a region has, and returns the files it made."""


def write_all(finished: Finished) -> list[Path]:
    """Write every format of a region's maps and zones, and return the files in order.

    Raises
    ------
    OutputError : a file cannot be written.
    """
    return [path for writer in WRITERS.values() for path in writer(finished)]


def _styles(finished: Finished) -> list[Path]:
    for product in finished.products:
        write_raster_style(legend_of(product, finished.style), product.style)
    return [product.style for product in finished.products]


def _quicklooks(finished: Finished) -> list[Path]:
    subtitle = f"{finished.title}  ·  {finished.study}"
    for product in finished.products:
        write_quicklook(
            product.path,
            legend_of(product, finished.style),
            product.quicklook,
            (product.title, subtitle),
            f"release: {finished.release}",
            _zones_on(product, finished),
        )
    return [product.quicklook for product in finished.products]


def _zones_on(product: Product, finished: Finished) -> gpd.GeoDataFrame | None:
    """Return the zones drawn on a map: all on the class map, its own on a score, else none."""
    if product.kind == "class" or finished.zones is None:
        return finished.zones
    if product.kind == "score":
        return finished.zones[finished.zones["class"] == product.name.removeprefix("score_")]
    return None


def _tiles(finished: Finished) -> list[Path]:
    """Tile what is shown to others; evidence layers are for the desk, where a COG serves better."""
    return [
        path
        for product in finished.products
        if product.kind not in ("evidence", "count")
        for path in write_tiles(
            product.path, legend_of(product, finished.style), product.tiles, finished.release
        )
    ]


def _geopackage(finished: Finished) -> list[Path]:
    if finished.zones is None:
        return []
    named = next((p.classes for p in finished.products if p.classes), ())
    classes = [*named, *sorted(set(finished.zones["class"]) - set(named))]
    qml = zone_style(class_colours(classes, finished.style))
    write_geopackage(finished.zones, finished.geopackage, finished.end, qml)
    return [finished.geopackage]


def _geoparquet(finished: Finished) -> list[Path]:
    if finished.zones is None:
        return []
    write_geoparquet(finished.zones, finished.geoparquet)
    return [finished.geoparquet]


WRITERS: Mapping[str, Writer] = MappingProxyType(
    {
        "qgis style": _styles,
        "quick-look": _quicklooks,
        "web tiles": _tiles,
        "geopackage": _geopackage,
        "geoparquet": _geoparquet,
    }
)
"""Every format, by name. The STAC collection comes after: it lists what these have written."""
