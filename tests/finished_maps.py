"""Small finished maps and zones for the tests of publish and report."""

from datetime import UTC, datetime
from pathlib import Path

import geopandas as gpd
import numpy as np
from affine import Affine
from rasterio.io import MemoryFile
from rasterio.shutil import copy
from shapely.geometry import box

from pipeline.plan import Configs
from pipeline.publish import Finished, Product

CRS = "EPSG:32611"
LEFT, TOP, RES = 489000.0, 4165000.0, 20.0
ROWS, COLUMNS = 120, 160
CLASSES = ("alunite", "white_mica", "barren", "mystery")
NODATA = 65535


def class_values():
    """Four upright stripes of classes 1..4; the top quarter is not mapped."""
    values = np.repeat(np.arange(1, 5, dtype=np.uint8), COLUMNS // 4)[None].repeat(ROWS, 0)
    values[: ROWS // 4] = 0
    return values


def score_values():
    """Counts that rise from west to east, 0 to 10000; the top quarter is not mapped."""
    values = np.linspace(0, 10000, COLUMNS).astype(np.uint16)[None].repeat(ROWS, 0)
    values[: ROWS // 4] = NODATA
    return values


def write_cog(path, values, nodata, scale=None, crs=CRS, res=RES):
    place = Affine(res, 0.0, LEFT, 0.0, -res, TOP)
    shape = {"height": values.shape[0], "width": values.shape[1], "count": 1}
    with MemoryFile() as memory:
        with memory.open(
            driver="GTiff", dtype=values.dtype, crs=crs, transform=place, nodata=nodata, **shape
        ) as target:
            target.write(values, 1)
            if scale:
                target.scales, target.offsets = (scale,), (0.0,)
        path.parent.mkdir(parents=True, exist_ok=True)
        with memory.open() as source:
            copy(source, path, driver="COG", compress="DEFLATE")
    return path


def zones():
    """Two zones of two classes, within the mapped part."""
    west, south = LEFT + 200, TOP - 1800
    return gpd.GeoDataFrame(
        {
            "zone": ["Z0001", "Z0002"],
            "class": ["alunite", "white_mica"],
            "rank": np.array([1, 2], np.int32),
            "score": [0.91, 0.72],
            "area_km2": [0.16, 0.09],
            "evidence": ["clay high (+2.1 spreads)", ""],
        },
        geometry=[
            box(west, south, west + 400, south + 400),
            box(west + 1000, south, west + 1300, south + 300),
        ],
        crs=CRS,
    )


def finished(folder: Path) -> Finished:
    """One region: a class map, a score, a spread and an evidence layer."""
    score = score_values()
    spread = np.where(score == NODATA, NODATA, score // 10).astype(np.uint16)
    ratio = np.where(score == NODATA, np.nan, score / 5000.0).astype(np.float32)
    products = (
        Product(
            "class",
            "class",
            "Most likely class",
            write_cog(folder / "class.tif", class_values(), 0),
            classes=CLASSES,
        ),
        Product(
            "score_alunite",
            "score",
            "Alunite: score",
            write_cog(folder / "score_alunite.tif", score, NODATA, 1e-4),
        ),
        Product(
            "spread", "spread", "Spread", write_cog(folder / "spread.tif", spread, NODATA, 1e-4)
        ),
        Product("clay", "evidence", "Clay ratio", write_cog(folder / "clay.tif", ratio, np.nan)),
    )
    return Finished(
        region="north",
        title="Cuprite north",
        study="Mineral groups",
        folder=folder,
        products=products,
        zones=zones(),
        style=Configs().style("minerals"),
        start=datetime(1995, 6, 19, 18, tzinfo=UTC),
        end=datetime(1995, 6, 20, 18, tzinfo=UTC),
        items=("scene-1",),
        software={"prospectra": "0.1.0"},
        digest="0123abcd",
    )
