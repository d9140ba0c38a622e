"""Items of Sentinel-2 whose counts are shifted or not, and what is made of them."""

from typing import Any

import numpy as np
from items import JUNE, make_item, raster

from pipeline.cube import Imagery, read_reflectance
from pipeline.cube.source import opened
from pipeline.plan import Configs

S2 = Configs.at().sensor("sentinel2-l2a")
SIDE = 96
NAMES = tuple(S2.bands)
SCALE = {"raster:bands": [{"scale": 1e-4, "nodata": 0}]}


def truth(*, desert: bool) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Reflectance by band, and scene classes: land, and water and shadow unless it is a desert."""
    rng = np.random.default_rng(7)
    classes = np.full((SIDE, SIDE), 5, np.uint8)
    classes[:20] = 4 if not desert else 5
    values = {}
    for k, name in enumerate(NAMES):
        low = 0.22 if desert else 0.04 + 0.02 * k
        values[name] = rng.uniform(low, low + 0.1, (SIDE, SIDE))
        if not desert:
            values[name][-24:] = rng.uniform(0.005, 0.02, (24, SIDE))
    if not desert:
        classes[-24:-12], classes[-12:] = 6, 2
    return values, classes


def make(folder, name="s2", *, shifted: bool, desert=False, when=JUNE, said=SCALE, **properties):
    """An item whose counts are 1000 higher than reflectance x 10000 (`shifted`), or not."""
    values, classes = truth(desert=desert)
    up = 1000 if shifted else 0
    files = {
        band: raster(
            folder / name / f"{band}.tif",
            np.clip(np.round(v * 1e4) + up, 1, 65535).astype(np.uint16),
            nodata=0,
        )
        for band, v in values.items()
    }
    files["scl"] = raster(folder / name / "scl.tif", classes, nodata=0)
    given = {"s2__processing_baseline": "05.10"} | properties
    return make_item(files, name, when=when, fields=dict.fromkeys(NAMES, said), **given)


def said(offset: float) -> dict[str, Any]:
    return {"raster:bands": [{"scale": 1e-4, "offset": offset, "nodata": 0}]}


def opinions(made, name="s2"):
    return made.notes[name]["counts"]["offset"]


def is_right(made, *, desert=False) -> bool:
    """Whether what is read is the reflectance that was put in, at every pixel that is clear."""
    values, classes = truth(desert=desert)
    grid = opened(made.scenes[0].bands[0]).grid
    found = read_reflectance(Imagery("s2", S2, made.scenes), grid)["reflectance"].values
    keep = np.isin(classes, (4, 5, 7))
    ours = np.stack([values[name] for name in NAMES])
    return bool(np.abs(found[:, keep] - ours[:, keep]).max() < 1e-4)
