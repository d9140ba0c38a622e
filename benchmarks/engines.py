"""One measurement of one engine, in a process of its own.

Run by benchmarks.composite; prints a line of JSON. What is measured is the work itself: imports,
compilation and the first opening of files are done before, on one block.
"""

import argparse
import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter, process_time
from typing import Any, Literal

import numpy as np
import pystac
import rasterio
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from benchmarks.tile import BANDS, LEFT, RESOLUTION, TOP
from benchmarks.tile import CRS as TILE_CRS
from pipeline.grid import BLOCK, Block, blocks, crop

THREADS = 2
SAMPLE = 512  # pixels on a side of the window on which results are compared
_NEIGHBOUR = "EPSG:32612"  # the next UTM zone: nothing lines up, everything must be warped


@dataclass(frozen=True)
class Case:
    """What every engine is asked to do."""

    catalog: Path
    grid: GeoBox
    work: Path
    block: int

    @property
    def items(self) -> list[pystac.Item]:
        """The six dates."""
        found = list(pystac.Catalog.from_file(str(self.catalog)).get_items())
        for item in found:
            item.make_asset_hrefs_absolute()
        return sorted(found, key=lambda item: item.id)

    @property
    def sample(self) -> Block:
        """The window on which results are compared."""
        row, column = (size // 2 - SAMPLE // 2 for size in self.grid.shape)
        return Block(row, row + SAMPLE, column, column + SAMPLE)


def tile_grid(size: int, *, unaligned: bool) -> GeoBox:
    """Return the pixels of the tile, or as many around its centre in the next UTM zone."""
    half = size * RESOLUTION / 2
    box = (LEFT, TOP - 2 * half, LEFT + 2 * half, TOP)
    grid = GeoBox.from_bbox(box, crs=TILE_CRS, shape=(size, size))
    if not unaligned:
        return grid
    centre = grid.extent.centroid.to_crs(_NEIGHBOUR).coords[0]
    x, y = (np.floor(value / RESOLUTION) * RESOLUTION for value in centre)
    box = (x - half, y - half, x + half, y + half)
    return GeoBox.from_bbox(box, crs=_NEIGHBOUR, shape=(size, size))


def decode(case: Case) -> dict[str, Any]:
    """The limit: GDAL decodes every block of every file once, and nothing else."""
    from concurrent.futures import ThreadPoolExecutor

    files = [asset.href for item in case.items for asset in item.assets.values()]

    def read(href: str) -> None:
        with rasterio.open(href, driver="GTiff") as source:
            out = np.empty((BLOCK, BLOCK), source.dtypes[0])
            for block in blocks(source.shape, BLOCK):
                rows, columns = block.shape
                source.read(1, window=block.window, out=out[:rows, :columns])

    with rasterio.Env(GDAL_NUM_THREADS=1, GDAL_DISABLE_READDIR_ON_OPEN="EMPTY_DIR"):
        with rasterio.open(files[0], driver="GTiff") as source:
            source.read(1, window=Block(0, 1, 0, 1).window)
        with measured() as found, ThreadPoolExecutor(THREADS) as pool:
            list(pool.map(read, files))
    return found | {"tasks": len(files)}


def composite(case: Case) -> dict[str, Any]:
    """Ours: the masked median of every band, one task a block; the result stays in memory."""
    return _composite(case, "median")


def geomedian(case: Case) -> dict[str, Any]:
    """Ours: the masked geometric median of the spectra; the same otherwise."""
    return _composite(case, "geomedian")


def _composite(case: Case, method: Literal["median", "geomedian"]) -> dict[str, Any]:
    from pipeline import cube
    from pipeline.plan import Composite, Configs

    sensor = Configs.at().sensor("sentinel2-l2a")
    scenes = cube.make_scenes(case.items, sensor).scenes
    imagery = cube.Imagery("sentinel2-l2a", sensor, scenes, Composite(method=method))
    out = np.empty((len(BANDS), *case.grid.shape), np.float32)

    def task(block: Block) -> None:
        data = cube.read_reflectance(imagery, crop(case.grid, block))
        rows, columns = block.slices
        out[:, rows, columns] = data["reflectance"].values

    found = _over_blocks(case, task)
    rows, columns = case.sample.slices
    keep_sample(case, out[:, rows, columns])
    return found | {"result_mb": out.nbytes / 2**20}


def four_maps(case: Case) -> dict[str, Any]:
    """Ours: composite, 20 indices, and four COGs: class, best score, spread, support."""
    return _maps(case, ("best",))


def maps(case: Case) -> dict[str, Any]:
    """Ours: composite, 20 indices, and what a run of five classes leaves: eight COGs."""
    return _maps(case, _CLASSES)


def maps_and_evidence(case: Case) -> dict[str, Any]:
    """Ours: the same eight, and each of the 20 indices as a float32 COG too."""
    return _maps(case, _CLASSES, with_evidence=True)


_CLASSES = ("a", "b", "c", "d", "e")


def _maps(case: Case, classes: tuple[str, ...], *, with_evidence: bool = False) -> dict[str, Any]:
    from pipeline import cube, store
    from pipeline.evidence.indices import feasible, index_layers
    from pipeline.plan import Configs
    from pipeline.publish.raster import CLASSES, EVIDENCE, QUANTISED, write_cog
    from pipeline.tasks import map_fills

    configs = Configs.at()
    sensor = configs.sensor("sentinel2-l2a")
    indices, _ = feasible({n: configs.index(n) for n in configs.names("indices")}, sensor)
    scenes = cube.make_scenes(case.items, sensor).scenes
    imagery = cube.Imagery("sentinel2-l2a", sensor, scenes)
    path = case.work / "maps"
    fills = dict(map_fills(classes, tuple(indices) if with_evidence else ()))
    del fills["clear_count"]  # a run's newest map: left out, so that figures stay comparable

    def task(block: Block) -> None:
        data = cube.read_reflectance(imagery, crop(case.grid, block))
        layers = index_layers(data["reflectance"].values, indices, sensor)
        made = stand_in(layers, classes)
        if with_evidence:
            made |= {f"evidence_{n}": layer for n, layer in zip(indices, layers, strict=True)}
        store.write(path, block, made)

    def after() -> None:
        for name in fills:
            kind = {"cla": CLASSES, "evi": EVIDENCE}.get(name[:3], QUANTISED)
            write_cog(case.work / f"{name}.tif", store.read(path, name), case.grid, kind)

    def create() -> None:
        store.create(path, "", case.grid.shape, case.block, fills)

    found = _over_blocks(case, task, create, after)
    written = sum(p.stat().st_size for p in case.work.glob("*.tif"))
    return found | {"indices": len(indices), "cogs": len(fills), "cog_mb": written / 1e6}


def stand_in(layers: NDArray[np.float32], classes: tuple[str, ...]) -> dict[str, NDArray[Any]]:
    """Return maps in the place of a model's, as noisy as their indices; a model is another story.

    Scores are indices between fixed limits; the class is a step of the first.
    """
    from pipeline.publish.raster import quantise

    scores = {
        name: np.clip((layer - low) / 2, 0, 1)
        for name, layer, low in zip(
            classes, layers[3::4], (0.0, 0.2, 0.6, -0.5, -0.5), strict=False
        )
    }
    first = next(iter(scores.values()))
    steps = np.where(np.isnan(first), 0, 1 + np.nan_to_num(first) * 4).astype(np.uint8)
    support = np.isfinite(layers[0]).astype(np.float32)
    continuous = {f"score_{n}": s for n, s in scores.items()} | {"spread": first / 4}
    codes = {n: quantise(values) for n, values in (continuous | {"support": support}).items()}
    return codes | {"class": steps}


def odc(case: Case) -> dict[str, Any]:
    """odc-stac with dask, as its documentation uses it; the result stays in memory."""
    import dask
    import odc.stac
    import xarray as xr

    dask.config.set(scheduler="threads", num_workers=THREADS)

    def lazy(grid: GeoBox) -> xr.Dataset:
        chunks = {"x": 2048, "y": 2048}
        data = odc.stac.load(
            case.items,
            bands=[*BANDS, "scl"],
            geobox=grid,
            chunks=chunks,
            resampling={"scl": "nearest", "*": "bilinear"},
        )
        bands = data[list(BANDS)]
        clear = data["scl"].isin([4, 5, 7]) & (bands != 0)
        return bands.where(clear).chunk({"time": -1}).median("time")

    lazy(crop(case.grid, Block(0, 64, 0, 64))).compute()
    asked = lazy(case.grid)
    with measured() as found:
        result = asked.compute()
    rows, columns = case.sample.slices
    sample = result.to_array().values[:, rows, columns]
    keep_sample(case, sample.astype(np.float32) * np.float32(1e-4) - np.float32(0.1))
    tasks = len(asked.__dask_graph__())
    return found | {"tasks": tasks, "result_mb": result.nbytes / 2**20}


def _over_blocks(
    case: Case,
    task: Callable[[Block], None],
    create: Callable[[], None] = lambda: None,
    after: Callable[[], None] = lambda: None,
) -> dict[str, Any]:
    from pipeline.blocks import Workers, run_blocks

    cut = list(blocks(case.grid.shape, case.block))
    create()
    task(cut[0])
    shutil.rmtree(case.work)
    case.work.mkdir()
    create()
    with measured() as found:
        run_blocks(task, cut, Workers("threads", THREADS))
        blocks_cpu = process_time() - found["started"]
        after()
    return found | {"tasks": len(cut), "blocks_cpu": blocks_cpu}


@contextmanager
def measured() -> Iterator[dict[str, Any]]:
    """Fill in CPU and wall seconds of what is done inside."""
    found: dict[str, Any] = {"started": process_time()}
    wall = perf_counter()
    yield found
    found["wall"] = perf_counter() - wall
    found["cpu"] = process_time() - found["started"]


def peak_mb() -> float:
    """Return the most memory this process ever held, MB (not the peak of its parent)."""
    status = Path("/proc/self/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def keep_sample(case: Case, reflectance: NDArray[np.float32]) -> None:
    """Leave the result on the sample window for the comparison."""
    np.save(case.work / "sample.npy", reflectance)


ENGINES: dict[str, Callable[[Case], dict[str, Any]]] = {
    "decode": decode,
    "composite": composite,
    "geomedian": geomedian,
    "4 maps": four_maps,
    "8 maps": maps,
    "28 maps": maps_and_evidence,
    "odc": odc,
}


def main() -> None:
    """Measure one engine once."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("engine", choices=ENGINES)
    parser.add_argument("catalog", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("--size", type=int, required=True)
    parser.add_argument("--block", type=int, default=BLOCK)
    parser.add_argument("--unaligned", action="store_true")
    asked = parser.parse_args()
    asked.work.mkdir(parents=True, exist_ok=True)
    grid = tile_grid(asked.size, unaligned=asked.unaligned)
    found = ENGINES[asked.engine](Case(asked.catalog, grid, asked.work, asked.block))
    print(json.dumps(found | {"peak_mb": peak_mb()}))


if __name__ == "__main__":
    main()
