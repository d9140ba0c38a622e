"""Small rasters and items of the tests' own: files on disk, and items that name them."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pystac
import rasterio
from numpy.typing import NDArray
from rasterio.transform import from_origin
from rasterio.warp import transform_bounds
from shapely.geometry import box, mapping

UTM = "EPSG:32611"
LEFT, TOP = 500_000.0, 4_100_000.0
JUNE = datetime(2024, 6, 1, tzinfo=UTC)


def raster(path: Path, values: NDArray[Any], **given: Any) -> str:
    """Write a GeoTIFF, (y, x) or (band, y, x), and return its path."""
    resolution, left, top = (given.pop(k, d) for k, d in zip(_PLACE, _WHERE, strict=True))
    values = values if values.ndim == 3 else values[None]
    profile = {
        "driver": "GTiff",
        "count": len(values),
        "height": values.shape[1],
        "width": values.shape[2],
        "dtype": values.dtype,
        "crs": UTM,
        "transform": from_origin(left, top, resolution, resolution),
        "compress": "deflate",
        "tiled": True,
        "blockxsize": 64,
        "blockysize": 64,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    with rasterio.open(path, "w", **(profile | given)) as out:
        out.write(values)
    return str(path)


_PLACE, _WHERE = ("resolution", "left", "top"), (20.0, LEFT, TOP)


def make_item(
    assets: dict[str, str],
    name: str = "one",
    *,
    when: datetime = JUNE,
    fields: dict[str, dict[str, Any]] | None = None,
    collection: str | None = None,
    **properties: Any,
) -> pystac.Item:
    """Return an item of files; its footprint is that of the first file there is."""
    hrefs = [h for h in assets.values() if Path(h).suffix == ".tif" and Path(h).is_file()]
    outline = None
    if hrefs:
        with rasterio.open(hrefs[0]) as file:
            outline = box(*transform_bounds(file.crs, "EPSG:4326", *file.bounds))
    item = pystac.Item(
        name,
        mapping(outline) if outline else None,
        list(outline.bounds) if outline else None,
        when,
        {key.replace("__", ":"): value for key, value in properties.items()},
        collection=collection,
    )
    for key, href in assets.items():
        item.add_asset(key, pystac.Asset(href, extra_fields=dict((fields or {}).get(key, {}))))
    return item


def levels(shape: tuple[int, int], low: float, high: float, seed: int = 0) -> NDArray[np.uint16]:
    """Return counts that are spread evenly between two levels."""
    return np.random.default_rng(seed).uniform(low, high, shape).round().astype(np.uint16)
