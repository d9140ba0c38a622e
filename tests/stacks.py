"""Small stacks of scenes on disk: counts of a few bands, and quality masks."""

from pathlib import Path

import numpy as np
import rasterio
from odc.geo.geobox import GeoBox
from rasterio.transform import from_origin

from pipeline.cube import Scene, Source
from pipeline.plan import Band, Mask, Sensor

UTM = "EPSG:32611"
LEFT, TOP = 500_000.0, 4_100_000.0
WAVELENGTHS = {"blue": 490, "red": 665, "nir": 865, "swir16": 1610}
CLASSES = Mask(
    assets=("scl",),
    flags={"nodata": (0,), "bare": (5,), "water": (6,), "cloud": (8, 9), "cirrus": (10,)},
    drop=("nodata", "water", "cloud", "cirrus"),
)


def make_sensor(*masks: Mask, bands: int = 4) -> Sensor:
    named = list(WAVELENGTHS.items())[:bands]
    return Sensor(
        title="A few bands",
        bands={n: Band(assets=(n,), wavelength=w, fwhm=30) for n, w in named},
        resolution=20,
        scale=1e-4,
        offset=-0.1,
        nodata=0,
        masks=masks,
        source="made up",
    )


def make_grid(rows: int = 96, columns: int = 80) -> GeoBox:
    box = (LEFT, TOP - rows * 20.0, LEFT + columns * 20.0, TOP)
    return GeoBox.from_bbox(box, crs=UTM, shape=(rows, columns))


def save(path: Path, values, resolution: float = 20.0, shift: float = 0.0, nodata=None) -> str:
    """Write a raster (y, x) or (band, y, x), `shift` metres west and north of the corner."""
    values = np.asarray(values)
    stack = values if values.ndim == 3 else values[None]
    profile = {
        "driver": "GTiff",
        "height": stack.shape[1],
        "width": stack.shape[2],
        "count": len(stack),
        "dtype": stack.dtype,
        "crs": UTM,
        "transform": from_origin(LEFT - shift, TOP + shift, resolution, resolution),
        "nodata": nodata,
    }
    with rasterio.open(path, "w", **profile) as out:
        out.write(stack)
    return str(path)


def make_scene(folder: Path, name: str, counts, *masks, sun=None, **where) -> Scene:
    """A scene of bands (band, y, x), count 0 being none, and of masks (y, x) or None."""
    href = save(folder / f"{name}.tif", counts)
    bands = tuple(
        Source(f"item {name}, asset b{n}", href, 1e-4, -0.1, 0.0, n + 1) for n in range(len(counts))
    )
    found = tuple(
        None
        if mask is None
        else Source(f"item {name}, mask", save(folder / f"{name}-m{n}.tif", mask, **where))
        for n, mask in enumerate(masks)
    )
    return Scene(name, None, bands, found, sun)


def draw_counts(seed: int, bands: int = 4, shape=(96, 80), missing: float = 0.05):
    """Counts (band, y, x) of a spectrum that is the same on every date but for noise."""
    ground = np.random.default_rng(99).uniform(1500, 4000, (bands, *shape))
    random = np.random.default_rng(seed)
    noisy = ground * random.normal(1, 0.06, (1, *shape)) + random.normal(0, 60, ground.shape)
    noisy[random.random(ground.shape) < missing] = 0
    return noisy.clip(0, 65535).astype(np.uint16)
