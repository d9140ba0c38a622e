"""The height of the ground as a digital elevation model: one item a region."""

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from odc.geo.geobox import GeoBox

from pipeline import files
from pipeline.world.fields import Field
from pipeline.world.items import Collection, Document, Taken, box_of, make_asset, make_item
from pipeline.world.places import Place
from pipeline.world.write import write_raster

ELEVATION = Collection("cop-dem-demo", "Demo world: height of the ground, metres", ("elevation",))
NODATA = -32767.0

_MADE = datetime(2021, 4, 22, tzinfo=UTC)  # of the model; the ground is older


def write_elevation(
    folder: Path, place: Place, height: Field, grid: GeoBox, now: datetime
) -> Document:
    """Write a region's height (y, x; metres, to the centimetre) and its item; return the item."""
    name = f"DEMX_{place.name}"
    there = folder / ELEVATION.name / name
    path = there / "data.tif"
    digest = write_raster(path, np.round(height, 2).astype(np.float32), grid, NODATA)
    fields = {
        "title": "Height",
        "roles": ["data", "elevation"],
        "raster:bands": [
            {
                "data_type": "float32",
                "nodata": NODATA,
                "unit": "m",
                "spatial_resolution": grid.resolution.x,
            }
        ],
    }
    taken = Taken(name, ELEVATION, grid, box_of(grid), _MADE, now)
    item = make_item(taken, {}, {"data": make_asset(path, digest, fields)})
    files.write_json(there / f"{name}.json", item)
    return item
