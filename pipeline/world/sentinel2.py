"""Scenes like those of Sentinel-2 level 2A: one COG a band, scene classes, and an item."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from shapely.geometry import Polygon
from shapely.geometry.base import BaseGeometry

from pipeline import files
from pipeline.grid import Block, crop
from pipeline.world.imagery import NODATA, SCALE, Scene, edge_column
from pipeline.world.items import (
    Collection,
    Document,
    Frame,
    Taken,
    band_fields,
    box_of,
    make_asset,
    make_item,
)
from pipeline.world.write import to_metres, write_raster

SENTINEL2 = Collection(
    "sentinel-2-l2a-demo",
    "Demo world: Sentinel-2-like surface reflectance",
    ("surface reflectance",),
)

_CLOUD = (8, 9, 10)  # scene classes: cloud of medium and high probability, thin cirrus


def write_sentinel2(folder: Path, frame: Frame, scene: Scene) -> Document:
    """Write the rasters of a scene and its item below a catalog's folder; return the item."""
    item_id = f"S2X_{frame.place.name}_{frame.look.when:%Y%m%d}_L2A"
    there = folder / SENTINEL2.name / item_id
    block = _block(frame)
    grid, window = crop(frame.grid, block), block.slices
    assets: Document = {}
    for (name, band), counts in zip(frame.bands.items(), scene.counts, strict=True):
        path = there / f"{name}.tif"
        digest = write_raster(path, np.ascontiguousarray(counts[window]), grid, NODATA)
        raster = {
            "data_type": "uint16",
            "nodata": NODATA,
            "scale": SCALE,
            "offset": frame.look.baseline.declared,
            "spatial_resolution": grid.resolution.x,
        }
        assets[name] = make_asset(path, digest, band_fields(name, band, raster))
    classes = np.ascontiguousarray(scene.classes[window])
    path = there / "scl.tif"
    assets["scl"] = make_asset(path, write_raster(path, classes, grid, 0), _mask_fields(grid))
    taken = Taken(item_id, SENTINEL2, grid, _footprint(frame, grid), frame.look.when, frame.now)
    item = make_item(taken, _properties(frame, classes), assets)
    files.write_json(there / f"{item_id}.json", item)
    return item


def _block(frame: Frame) -> Block:
    """Return the part of the grid that a scene's files cover."""
    rows, columns = frame.grid.shape
    west, east = (round(share * columns) for share in frame.look.columns)
    return Block(0, rows, west, east)


def _properties(frame: Frame, classes: NDArray[np.uint8]) -> Document:
    look, valid = frame.look, classes != 0
    cloudy = np.isin(classes, _CLOUD).sum() / max(int(valid.sum()), 1)
    properties: Document = {
        "instruments": ["msi"],
        "eo:cloud_cover": round(100 * float(cloudy), 2),
        "grid:code": f"MGRS-{frame.place.tile}",
        "s2:mgrs_tile": frame.place.tile,
        "s2:processing_baseline": look.baseline.number,
        "s2:nodata_pixel_percentage": round(100 * float(1 - valid.mean()), 2),
        "view:sun_azimuth": look.sun_azimuth,
        "view:sun_elevation": look.sun_elevation,
    }
    if look.baseline.applied is not None:
        properties["earthsearch:boa_offset_applied"] = look.baseline.applied
    return properties


def _footprint(frame: Frame, grid: GeoBox) -> BaseGeometry:
    """Return the outline of the data, without what the swath cuts off."""
    outline = box_of(grid)
    if frame.look.swath is None:
        return outline
    height, width = frame.grid.shape
    ends = [edge_column(frame.look.swath, (height, width), row) for row in (0, height)]
    columns = np.array([-10.0 * width, *ends, -10.0 * width])
    rows = np.array([0.0, 0.0, height, height])
    return outline.intersection(Polygon(np.column_stack(to_metres(frame.grid, rows, columns))))


def _mask_fields(grid: GeoBox) -> Document:
    return {
        "title": "Scene classes",
        "roles": ["data", "quality"],
        "raster:bands": [
            {"data_type": "uint8", "nodata": 0, "spatial_resolution": grid.resolution.x}
        ],
    }
