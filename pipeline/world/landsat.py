"""Scenes like those of Landsat 8 and 9, Collection 2 level 2: another grid, other bands and bits.

The pixels are the mean of the ground below them, by area: their grid of 30 m has no pixel edge in
common with that of the ground.
"""

from math import ceil, floor
from pathlib import Path

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from scipy.ndimage import binary_dilation

from pipeline import files
from pipeline.world.fields import Field
from pipeline.world.imagery import View
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
from pipeline.world.write import write_raster

LANDSAT = Collection(
    "landsat-c2-l2-demo",
    "Demo world: Landsat-like surface reflectance",
    ("surface reflectance",),
)
SCALE, OFFSET, NODATA = 2.75e-5, -0.2, 0
"""Reflectance = count x SCALE + OFFSET; count 0 is no data."""

_PIXEL = 30.0  # metres
_CORNER = 15.0  # metres: pixel centres lie on whole multiples of 30 m, as in Landsat scenes
_DILATION = 2  # pixels around a cloud that the mask calls dilated cloud

# Bits of QA_PIXEL (USGS, Landsat 8-9 Collection 2 Level 2 Science Product Guide): single flags, and
# confidences of two bits each, of which 1 is low and 3 is high.
_FILL, _DILATED, _CIRRUS, _CLOUD, _SHADOW, _CLEAR = (1 << bit for bit in (0, 1, 2, 3, 4, 6))
_LOW = 1 << 8 | 1 << 10 | 1 << 12 | 1 << 14  # cloud, shadow, snow, cirrus
_SURE_CLOUD, _SURE_SHADOW, _SURE_CIRRUS = 2 << 8, 2 << 10, 2 << 14


def landsat_grid(ground: GeoBox) -> GeoBox:
    """Return the grid of 30 m pixels that lie wholly within a grid of the ground."""
    box = ground.boundingbox
    left, right = _within(box.left, box.right)
    bottom, top = _within(box.bottom, box.top)
    shape = round((top - bottom) / _PIXEL), round((right - left) / _PIXEL)
    return GeoBox(shape, Affine(_PIXEL, 0.0, left, 0.0, -_PIXEL, top), ground.crs)


def write_landsat(folder: Path, frame: Frame, view: View) -> Document:
    """Write the rasters of a scene and its item below a catalog's folder; return the item."""
    path_row, day = "{:03d}{:03d}".format(*frame.place.path_row), f"{frame.look.when:%Y%m%d}"
    item_id = f"LX08_L2SP_{path_row}_{day}_{frame.place.name}"
    there = folder / LANDSAT.name / item_id
    grid = landsat_grid(frame.grid)
    quality = _quality(_nearest(view.classes, frame.grid, grid))
    fill = quality == _FILL
    assets: Document = {}
    for (name, band), seen in zip(frame.bands.items(), view.seen, strict=True):
        counts = np.rint((_mean(seen, frame.grid, grid) - OFFSET) / SCALE)
        counts = np.where(fill, NODATA, counts.clip(1, 65535)).astype(np.uint16)
        raster = {
            "data_type": "uint16",
            "nodata": NODATA,
            "scale": SCALE,
            "offset": OFFSET,
            "spatial_resolution": _PIXEL,
        }
        path = there / f"{name}.tif"
        digest = write_raster(path, counts, grid, NODATA)
        assets[name] = make_asset(path, digest, band_fields(name, band, raster))
    path = there / "qa_pixel.tif"
    assets["qa_pixel"] = make_asset(path, write_raster(path, quality, grid, _FILL), _mask_fields())
    taken = Taken(item_id, LANDSAT, grid, box_of(grid), frame.look.when, frame.now)
    item = make_item(taken, _properties(frame, quality), assets)
    files.write_json(there / f"{item_id}.json", item)
    return item


def _within(low: float, high: float) -> tuple[float, float]:
    """Return the first and last pixel edge between two coordinates, metres."""
    first = ceil((low - _CORNER) / _PIXEL) * _PIXEL + _CORNER
    return first, floor((high - _CORNER) / _PIXEL) * _PIXEL + _CORNER


def _mean(values: Field, ground: GeoBox, grid: GeoBox) -> NDArray[np.float64]:
    """Return the mean over each pixel of a grid of what lies in it, by area (y, x)."""
    down = _shares(
        -ground.affine.f, -ground.affine.e, ground.shape[0], -grid.affine.f, grid.shape[0]
    )
    across = _shares(
        ground.affine.c, ground.affine.a, ground.shape[1], grid.affine.c, grid.shape[1]
    )
    found: NDArray[np.float64] = down @ values @ across.T
    return found


def _shares(start: float, step: float, size: int, first: float, count: int) -> NDArray[np.float64]:
    """Return what part of each pixel along an axis each cell of the ground fills (pixel, cell)."""
    cells = start + step * np.arange(size)
    pixels = (first + _PIXEL * np.arange(count))[:, None]
    common = np.minimum(pixels + _PIXEL, cells + step) - np.maximum(pixels, cells)
    return np.asarray(common.clip(min=0) / _PIXEL, dtype=np.float64)


def _nearest(classes: NDArray[np.uint8], ground: GeoBox, grid: GeoBox) -> NDArray[np.uint8]:
    columns = (np.arange(grid.shape[1]) + 0.5) * _PIXEL + grid.affine.c - ground.affine.c
    rows = (np.arange(grid.shape[0]) + 0.5) * _PIXEL - grid.affine.f + ground.affine.f
    i, j = (np.floor(at / ground.affine.a).astype(int) for at in (rows, columns))
    found: NDArray[np.uint8] = classes[np.ix_(i, j)]
    return found


def _quality(classes: NDArray[np.uint8]) -> NDArray[np.uint16]:
    """Return QA_PIXEL (y, x) from the scene classes of Sentinel-2."""
    cloud, cirrus, shadow = np.isin(classes, (8, 9)), classes == 10, classes == 3
    dilated = binary_dilation(cloud, np.ones((3, 3), np.bool_), _DILATION) & ~cloud
    found = np.full(classes.shape, _LOW, np.uint16)
    found[cloud] += _CLOUD + _SURE_CLOUD
    found[cirrus] += _CIRRUS + _SURE_CIRRUS
    found[shadow] += _SHADOW + _SURE_SHADOW
    found[dilated] += _DILATED
    found[~(cloud | dilated)] += _CLEAR  # it says no more: shadow and cirrus may be there
    found[classes == 0] = _FILL
    return found


def _properties(frame: Frame, quality: NDArray[np.uint16]) -> Document:
    path, row = frame.place.path_row
    valid = quality != _FILL
    cloudy = ((quality & (_CLOUD | _CIRRUS)) > 0).sum() / max(int(valid.sum()), 1)
    return {
        "instruments": ["oli", "tirs"],
        "eo:cloud_cover": round(100 * float(cloudy), 2),
        "landsat:wrs_path": f"{path:03d}",
        "landsat:wrs_row": f"{row:03d}",
        "landsat:correction": "L2SP",
        "landsat:collection_number": "02",
        "view:sun_azimuth": frame.look.sun_azimuth,
        "view:sun_elevation": frame.look.sun_elevation,
    }


def _mask_fields() -> Document:
    return {
        "title": "Pixel quality",
        "roles": ["data", "quality"],
        "raster:bands": [{"data_type": "uint16", "nodata": _FILL, "spatial_resolution": _PIXEL}],
    }
