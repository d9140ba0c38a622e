"""A Sentinel-2-like tile to measure on: ten bands, six dates, a quality mask, real COGs.

The same size gives the same pixels on every machine. The counts are smooth ground under sensor
noise, so that deflate with predictor 2 shrinks them as it does real imagery (about 1.45).

    python -m benchmarks.tile --size 5490
"""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.io import MemoryFile
from rasterio.shutil import copy
from rasterio.transform import from_origin
from rasterio.warp import transform_geom

from pipeline import files

DATA = Path(__file__).parent / ".data"
FULL, QUARTER, QUICK = 5490, 2745, 1536
"""Pixels on a side: a Sentinel-2 tile at 20 m, a quarter of its area, and a quick look."""

CRS = "EPSG:32611"
RESOLUTION = 20.0  # metres
LEFT, TOP = 600_000.0, 4_200_000.0
BANDS = (
    "blue", "green", "red", "rededge1", "rededge2", "rededge3", "nir", "nir08", "swir16", "swir22",
)  # fmt: skip
DATES = ("2024-05-03", "2024-05-28", "2024-06-17", "2024-07-12", "2024-08-06", "2024-09-05")
OFFSET = 1000  # counts: reflectance is count * 1e-4 - 0.1

_LEVELS = (900, 1200, 1600, 1800, 1950, 2050, 2150, 2250, 3000, 2500)  # mean count of each band
_NOISE = 56.0  # counts
_CLOUDY = 0.25  # of each date
_STACK_VERSION = 1  # raise it when the pixels change


def make_tile(size: int) -> Path:
    """Make the tile, or find it; return the path of its catalog."""
    folder = DATA / f"tile-{size}-v{_STACK_VERSION}"
    catalog = folder / "catalog.json"
    if not catalog.is_file():
        items = [_make_date(folder, number, size) for number in range(len(DATES))]
        links = [{"rel": "item", "href": f"./{name}.json"} for name in items]
        description = f"A made-up tile of {size} x {size} pixels"
        files.write_json(
            catalog,
            {
                "type": "Catalog",
                "stac_version": "1.1.0",
                "id": folder.name,
                "description": description,
                "links": [{"rel": "root", "href": "./catalog.json"}, *links],
            },
        )
    return catalog


def _make_date(folder: Path, date: int, size: int) -> str:
    name = f"S2_{DATES[date].replace('-', '')}"
    classes = _classes(date, size)
    _save(folder / f"{name}_scl.tif", classes)
    for band, counts in enumerate(_bands(date, size, classes)):
        _save(folder / f"{name}_{BANDS[band]}.tif", counts)
    files.write_json(folder / f"{name}.json", json.loads(json.dumps(_item(name, date, size))))
    return name


def _bands(date: int, size: int, classes: NDArray[np.uint8]) -> Iterator[NDArray[np.uint16]]:
    light = 1.0 + 0.05 * np.sin(date)
    relief, rock = _smooth(1, size, 90), _smooth(2, size, 25)
    for band, level in enumerate(_LEVELS):
        random = np.random.default_rng([date, band, size])
        ground = level * light * (1.0 + 0.15 * relief + 0.05 * (band - 4) * rock)
        counts = OFFSET + ground + _NOISE * random.standard_normal(relief.shape, np.float32)
        counts[classes == 9] += 4000.0
        counts = np.clip(np.rint(counts), 1, 20_000)
        yield np.where(classes == 0, 0, counts).astype(np.uint16)


def _classes(date: int, size: int) -> NDArray[np.uint8]:
    """Return the quality mask: 0 nothing, 3 shadow, 4 vegetation, 5 soil, 9 cloud."""
    cover, green = _smooth(100 + date, size, 40), _smooth(3, size, 60)
    classes = np.where(green > 1.0, 4, 5).astype(np.uint8)
    high = np.quantile(cover[::7, ::7], 1 - _CLOUDY)
    classes[np.roll(cover, (6, 9), axis=(0, 1)) > high] = 3
    classes[cover > high] = 9
    row, column = np.ogrid[0:size, 0:size]
    if date % 3 == 2:  # the edge of the swath
        classes[column > 0.85 * size + 0.2 * row] = 0
    return classes


def _smooth(seed: int, size: int, waves: int) -> NDArray[np.float32]:
    """Return a smooth random field (y, x), mean 0, deviation 1."""
    random = np.random.default_rng(seed)
    position = (np.arange(size) + 0.5) / FULL  # a smaller tile is a corner of the full one
    basis = np.cos(np.pi * np.outer(position, np.arange(waves))).astype(np.float32)
    weights = random.standard_normal((waves, waves)).astype(np.float32)
    weights /= 1.0 + np.hypot(*np.ogrid[0:waves, 0:waves])
    field: NDArray[np.float32] = basis @ weights @ basis.T
    return (field - field.mean()) / field.std()


def _save(path: Path, values: NDArray[Any]) -> None:
    size = values.shape[0]
    profile = {
        "driver": "GTiff", "width": size, "height": size, "count": 1, "dtype": values.dtype,
        "crs": CRS, "transform": from_origin(LEFT, TOP, RESOLUTION, RESOLUTION), "nodata": 0,
    }  # fmt: skip

    def write(part: Path) -> None:
        with MemoryFile() as memory:
            with memory.open(**profile) as plain:
                plain.write(values, 1)
            with memory.open() as plain:
                copy(
                    plain, part, driver="COG", compress="DEFLATE", predictor="YES", blocksize=512,
                    overviews="NONE", num_threads="1",
                )  # fmt: skip

    files.write(path, write)


def _item(name: str, date: int, size: int) -> dict[str, Any]:
    right, bottom = LEFT + size * RESOLUTION, TOP - size * RESOLUTION
    ring = [(LEFT, bottom), (right, bottom), (right, TOP), (LEFT, TOP), (LEFT, bottom)]
    square = {"type": "Polygon", "coordinates": [ring]}
    geometry = transform_geom(CRS, "EPSG:4326", square)
    longitudes, latitudes = zip(*geometry["coordinates"][0], strict=True)
    counts = {"data_type": "uint16", "nodata": 0, "scale": 1e-4, "offset": -0.1}
    assets = {band: _asset(f"{name}_{band}.tif", counts) for band in BANDS}
    return {
        "type": "Feature",
        "stac_version": "1.1.0",
        "stac_extensions": [
            "https://stac-extensions.github.io/projection/v2.0.0/schema.json",
            "https://stac-extensions.github.io/raster/v1.1.0/schema.json",
        ],
        "id": name,
        "geometry": geometry,
        "bbox": [min(longitudes), min(latitudes), max(longitudes), max(latitudes)],
        "properties": {
            "datetime": f"{DATES[date]}T18:30:00Z",
            "proj:code": CRS,
            "proj:shape": [size, size],
            "proj:transform": [RESOLUTION, 0, LEFT, 0, -RESOLUTION, TOP, 0, 0, 1],
        },
        "links": [{"rel": "root", "href": "./catalog.json"}],
        "assets": assets | {"scl": _asset(f"{name}_scl.tif", {"data_type": "uint8", "nodata": 0})},
    }


def _asset(file: str, band: dict[str, Any]) -> dict[str, Any]:
    return {"href": f"./{file}", "type": "image/tiff", "raster:bands": [band]}


def main() -> None:
    """Make the tile and say how far it was compressed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=FULL, help="pixels on a side")
    catalog = make_tile(parser.parse_args().size)
    stored = raw = 0
    for path in sorted(set(catalog.parent.glob("*.tif")) - set(catalog.parent.glob("*_scl.tif"))):
        with rasterio.open(path, driver="GTiff") as band:
            raw += band.width * band.height * 2
        stored += path.stat().st_size
    print(f"{catalog}: compressed {raw / stored:.2f} times")


if __name__ == "__main__":
    main()
