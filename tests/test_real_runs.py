"""Evidence maps of real scenes, made by `run` as a user would make them; pixels worked by hand."""

import json
from pathlib import Path

import numpy as np
import pytest
import rasterio
import yaml
from worlds import QUIET

from pipeline.job import Job
from pipeline.plan import BUILT_IN, Configs
from pipeline.run import run

DATA = Path(__file__).parent.parent.parent / "shared" / "data"
pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason="needs ../shared/data")


def local_item(path: Path, folder: Path) -> Path:
    """Write a real item anew with its assets beside it on this machine; return the file."""
    said = json.loads(path.read_text())
    for asset in said["assets"].values():
        asset["href"] = str(path.parent.resolve() / asset["href"].rsplit("/", 1)[-1])
    (folder / "item.json").write_text(json.dumps(said | {"links": []}))
    return folder / "item.json"


def mapped(folder: Path, item: Path, region: dict, **study) -> tuple[dict, Path]:
    (folder / "configs" / "regions").mkdir(parents=True)
    (folder / "configs" / "regions" / "here.yaml").write_text(yaml.safe_dump(region))
    flow = {
        "name": "real",
        "title": "A real scene",
        "mapping": {"regions": ["here"]},
        "evidence": ["clay_hydroxyl", "iron_oxide_red_blue", "ndvi"],
    }
    (folder / "real.yaml").write_text(yaml.safe_dump(flow | study))
    catalog = str(local_item(item, folder))
    configs = Configs((folder / "configs", BUILT_IN))
    done = run(Job(folder / "real.yaml", folder / "run", catalog, configs), QUIET)
    return done, folder / "run" / "here"


def pixel(path: Path, x: float, y: float) -> float:
    with rasterio.open(path) as found:
        return float(next(found.sample([(x, y)]))[0])


def test_the_real_sentinel_2_scene_becomes_an_evidence_map(tmp_path):
    """Tile 29RKH of 2020, decimated tenfold: 100 m for B2 to B4, baseline 02.14, no offset."""
    scene = DATA / "sentinel2_29RKH"
    region = {"title": "29RKH", "crs": "EPSG:32629", "bbox": [230000, 2720000, 290000, 2780000]}
    done, maps = mapped(
        tmp_path,
        scene / "S2A_29RKH_20200219_0_L2A.json",
        region,
        sensor="sentinel2-l2a",
    )
    (entry,) = done["items"]["here"]
    assert entry["counts"]["offset"]["decided"] == 0
    with rasterio.open(maps / "evidence_iron_oxide_red_blue.tif") as found:
        assert (found.crs.to_epsg(), found.res) == (32629, (100.0, 100.0))
        values = found.read(1)
        assert np.isfinite(values).mean() > 0.8
    checked = 0
    for x, y in [(240050, 2770050), (262550, 2745250), (281150, 2727950), (250050, 2735050)]:
        red, blue, classes = (pixel(scene / f"{b}.tif", x, y) for b in ("B04", "B02", "SCL"))
        if classes in (4, 5, 7):
            by_hand = (red * 1e-4) / (blue * 1e-4)
            assert pixel(maps / "evidence_iron_oxide_red_blue.tif", x, y) == pytest.approx(
                by_hand, rel=1e-6
            )
            checked += 1
    assert checked >= 3


def test_a_real_landsat_scene_becomes_an_evidence_map(tmp_path):
    """Path 8, row 59 of 2019, decimated to pixels that are no squares: a grid has to be named.

    The grid takes every map pixel from its four nearest scene pixels, so the check is made where
    they agree within a hundredth.
    """
    scene = DATA / "landsat8" / "LC08_008059"
    name = "LC08_L2SP_008059_20191201_20200825_02_T1"
    region = {"title": "8/59", "crs": "EPSG:32618", "bbox": [400000, 80000, 560000, 240000]}
    done, maps = mapped(
        tmp_path,
        scene / f"{name}_SR_stac.json",
        region,
        sensor="landsat-oli-c2-l2",
        grid={"crs": "EPSG:32618", "resolution": 450},
    )
    assert done["items"]["here"][0]["counts"]["how"]
    bands = {}
    for band in ("SR_B4", "SR_B5", "QA_PIXEL"):
        with rasterio.open(scene / f"{name}_{band}.TIF") as found:
            bands[band], place = found.read(1), found.transform
    with rasterio.open(maps / "evidence_ndvi.tif") as found:
        ndvi, there = found.read(1), found.transform
    reflectance = {b: bands[b] * 2.75e-5 - 0.2 for b in ("SR_B4", "SR_B5")}
    by_hand = (reflectance["SR_B5"] - reflectance["SR_B4"]) / (
        reflectance["SR_B5"] + reflectance["SR_B4"]
    )
    checked = 0
    for row, column in zip(*np.nonzero(np.isfinite(ndvi)), strict=True):
        x, y = there * (column + 0.5, row + 0.5)
        c, r = ~place * (x, y)
        window = by_hand[int(r - 0.5) : int(r - 0.5) + 2, int(c - 0.5) : int(c - 0.5) + 2]
        if window.shape == (2, 2) and np.ptp(window) < 0.01:
            assert window.min() - 2e-3 <= ndvi[row, column] <= window.max() + 2e-3
            checked += 1
    assert checked >= 100
