"""Training sites and evidence -> Samples, and the ways to cut samples into folds in space."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import geopandas as gpd
import numpy as np
import xarray as xr
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from pyogrio.errors import DataSourceError
from shapely.geometry.base import BaseGeometry

from pipeline.contracts import Samples, as_samples
from pipeline.errors import SplitError, TrainingError, did_you_mean
from pipeline.files import write_bytes
from pipeline.grid import Block

Bounds = tuple[float, float, float, float]


def read_sites(path: Path, label: str, classes: Sequence[str]) -> gpd.GeoDataFrame:
    """Read the training sites of a region: points with a class each.

    Returns
    -------
    A frame with the columns `label` and `geometry`, in the CRS of the file.

    Raises
    ------
    TrainingError : the file cannot be read, has no CRS or no such column, holds something other
        than points, or names a class that the workflow does not.
    """
    where = path.name
    try:
        sites = gpd.read_file(path)
    except (DataSourceError, OSError) as error:
        raise TrainingError(
            "cannot be read as a vector file",
            where=str(path),
            remedy="give a GeoPackage, GeoJSON or Shapefile of points",
        ) from error
    if not isinstance(sites, gpd.GeoDataFrame) or sites.empty:
        raise TrainingError(
            "there are no sites in it", where=where, remedy="give one point a site, with its class"
        )
    if sites.crs is None:
        raise TrainingError(
            "the training sites have no CRS", where=where, remedy="assign one and save them again"
        )
    if label not in sites.columns:
        columns = [str(c) for c in sites.columns if c != sites.geometry.name]
        raise TrainingError(
            f"there is no column '{label}'", where=where, remedy=did_you_mean(label, columns)
        )
    if not ((sites.geometry.geom_type == "Point") & ~sites.geometry.is_empty).all():
        raise TrainingError(
            "the training sites are not all points", where=where, remedy="give one point a site"
        )
    found = sites[label].astype(str)
    for name in sorted(set(found)):
        if name not in classes:
            raise TrainingError(
                f"the class '{name}' is not in training.classes",
                where=where,
                remedy=did_you_mean(name, classes),
            )
    return gpd.GeoDataFrame({"label": found}, geometry=sites.geometry, crs=sites.crs)


def place_sites(
    sites: gpd.GeoDataFrame, grid: GeoBox, outline: BaseGeometry, region: str
) -> gpd.GeoDataFrame:
    """Put sites on the grid of their region: the pixel (`row`, `column`) each one lies in.

    Parameters
    ----------
    outline : the region, in the grid's CRS.

    Raises
    ------
    TrainingError : a site lies outside the region.
    """
    placed = sites.to_crs(str(grid.crs)).reset_index(drop=True)
    with np.errstate(invalid="ignore"):  # a site that the CRS cannot hold is at infinity
        column, row = ~grid.affine * (placed.geometry.x.to_numpy(), placed.geometry.y.to_numpy())
    rows, columns = grid.shape
    on_grid = (row >= 0) & (row < rows) & (column >= 0) & (column < columns)
    outside = ~(on_grid & placed.geometry.intersects(outline))
    if outside.any():
        first = placed.geometry[outside].iloc[0]
        raise TrainingError(
            f"{int(outside.sum())} of {len(placed)} training sites lie outside the region "
            f"(the first at x {first.x:.0f}, y {first.y:.0f})",
            where=f"region {region}",
            remedy="remove them, or widen the region",
        )
    placed["row"], placed["column"] = np.floor(row).astype(int), np.floor(column).astype(int)
    return placed


def sites_in(placed: gpd.GeoDataFrame, block: Block) -> gpd.GeoDataFrame:
    """Return the sites whose pixel lies in a block."""
    rows = placed["row"].between(block.y0, block.y1 - 1)
    return placed[rows & placed["column"].between(block.x0, block.x1 - 1)]


def gather(parts: Sequence[xr.Dataset], where: str) -> Samples:
    """Join the samples of all blocks, in one order, leaving out sites without evidence.

    Raises
    ------
    TrainingError : fewer than two classes are left.
    """
    joined = xr.concat(parts, dim="sample", coords="minimal", compat="override", join="override")
    joined = joined.isel(sample=np.lexsort([joined[k].values for k in ("x", "y", "region")]))
    complete = np.isfinite(joined["layers"].values).all(axis=1)
    samples = joined.isel(sample=complete)
    found = sorted(set(samples["label"].values.tolist()))
    if len(found) < 2:
        raise TrainingError(
            f"the training sites hold one class only ({', '.join(found) or 'none'}; "
            f"{int((~complete).sum())} of {len(complete)} sites lie where evidence is missing)",
            where=where,
            remedy="add sites of another class, on ground that the imagery shows",
        )
    return as_samples(samples.assign_attrs(without_evidence=int((~complete).sum())))


def save_samples(samples: Samples, path: Path) -> str:
    """Write samples as a NumPy archive without pickled objects; return the file's SHA-256."""
    arrays = {str(name): values.values for name, values in samples.variables.items()}
    arrays["without_evidence"] = np.array(samples.attrs["without_evidence"])
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    return write_bytes(path, buffer.getvalue())


def load_samples(path: Path) -> Samples:
    """Read samples back."""
    with np.load(path, allow_pickle=False) as found:
        columns = {name: ("sample", found[name]) for name in ("label", "region", "x", "y")}
        data = xr.Dataset(
            {"layers": (("sample", "layer"), found["layers"]), **columns},
            {"layer": found["layer"]},
            {"without_evidence": int(found["without_evidence"])},
        )
    return as_samples(data)


@dataclass(frozen=True)
class Layout:
    """One way of cutting regions into square blocks and dealing the blocks to folds."""

    side: float
    """Side of a block, metres."""
    folds: int
    seed: tuple[int, int]
    """The run's seed and the number of the layout."""
    bounds: Mapping[str, Bounds]
    """Left, bottom, right, top of every region, metres in its CRS."""

    def fold_of(
        self, region: str, x: NDArray[np.float64], y: NDArray[np.float64]
    ) -> NDArray[np.intp]:
        """Return the fold (0 .. folds-1) of places in a region; `x`, `y` in metres, any shape."""
        left, bottom, right, top = self.bounds[region]
        names = sorted(self.bounds)
        rng = np.random.default_rng([*self.seed, names.index(region)])
        shift_x, shift_y = rng.uniform(0.0, self.side, size=2)
        columns = int((right - left + shift_x) // self.side) + 1
        rows = int((top - bottom + shift_y) // self.side) + 1
        dealt = np.arange(rows * columns) % self.folds
        rng.shuffle(dealt)
        column = np.clip((x - left + shift_x) // self.side, 0, columns - 1).astype(np.intp)
        row = np.clip((top - y + shift_y) // self.side, 0, rows - 1).astype(np.intp)
        folds: NDArray[np.intp] = dealt[row * columns + column]
        return folds

    def folds_of(self, samples: Samples) -> NDArray[np.intp]:
        """Return the fold of every sample."""
        region = samples["region"].values
        x, y = samples["x"].values, samples["y"].values
        folds = np.empty(len(region), dtype=np.intp)
        for name in sorted(set(region.tolist())):
            here = region == name
            folds[here] = self.fold_of(name, x[here], y[here])
        return folds


def layouts(
    bounds: Mapping[str, Bounds], side: float, folds: int, count: int, seed: int
) -> list[Layout]:
    """Return `count` layouts of shifted blocks, the same for the same seed.

    Raises
    ------
    SplitError : the regions are too small for as many blocks as folds.
    """
    blocks = sum(
        max(1, round((right - left) / side)) * max(1, round((top - bottom) / side))
        for left, bottom, right, top in bounds.values()
    )
    if blocks < folds:
        raise SplitError(
            f"the training regions hold about {blocks} blocks of {side:g} m, "
            f"too few for {folds} folds",
            where="validation",
            remedy="use smaller blocks or fewer folds; a random split is not a substitute",
        )
    return [Layout(side, folds, (seed, number), dict(bounds)) for number in range(count)]
