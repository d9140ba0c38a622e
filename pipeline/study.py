"""A workflow made ready: its configurations resolved, its imagery found, its grids laid.

What is here is frozen and travels to every worker: from it, a worker derives any block by itself.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import xarray as xr
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from shapely.geometry.base import BaseGeometry
from threadpoolctl import threadpool_limits

from pipeline import cube
from pipeline.contracts import Evidence, Reflectance
from pipeline.errors import PlanError
from pipeline.evidence import LayerPlan, derive, plan_layers
from pipeline.grid import BLOCK, Block, crop, halo_pixels, inside
from pipeline.ground import Ground, Lock, prepare, wanted_imagery, wanted_terrain
from pipeline.plan import Configs, Model, Region, Sensor, Style, Workflow, load_workflow
from pipeline.remote import is_address


@dataclass(frozen=True)
class Study:
    """A workflow with every configuration it names."""

    workflow: Workflow
    configs: Configs
    folder: Path
    """Where the workflow file lies; its relative paths start here."""
    sensor: Sensor
    """All its sensors as one: the bands of the first, then those of the others."""
    layers: LayerPlan
    recipes: Mapping[str, Model]
    """The workflow's model first, then its baselines."""
    regions: Mapping[str, Region]
    style: Style

    @property
    def shares(self) -> tuple[str, ...]:
        """The maps of flags: the share of the dates that carry each."""
        own = [cube.share_name(None, flag) for flag in self.workflow.composite.masks.publish]
        others = [
            cube.share_name(more.sensor, flag)
            for more in self.workflow.also
            for flag in more.composite.masks.publish
        ]
        return (*own, *others)


@dataclass(frozen=True)
class Derivation:
    """What a worker needs to derive any block of a region: no items, no catalog."""

    imagery: tuple[cube.Imagery, ...]
    layers: LayerPlan
    grid: GeoBox
    outline: BaseGeometry

    def __call__(self, block: Block) -> tuple[Reflectance, Evidence]:
        """Return the reflectance and the evidence of a block, NaN outside the region.

        `unreadable` among the reflectance's attributes names what could not be read here, as
        (sensor, item, reason); evidence has a layer for each flag whose share is published.
        """
        threadpool_limits(1)  # a block is one task: its matrix products start no threads
        halo = halo_pixels(self.layers.halo, self.grid.resolution.x)
        wide = crop(self.grid, block.padded(halo))
        parts = [cube.read_reflectance(imagery, wide) for imagery in self.imagery]
        reflectance = cube.join(parts, self.layers.sensor)
        evidence = derive(reflectance, self.layers)
        for name, share in cube.flag_shares(parts).items():
            evidence[name] = share
        rows, columns = block.shape
        kept = {"y": slice(halo, halo + rows), "x": slice(halo, halo + columns)}
        mask = xr.DataArray(inside(crop(self.grid, block), self.outline), dims=("y", "x"))
        unreadable = tuple(
            (part.attrs["sensor"], *gap) for part in parts for gap in part.attrs["unreadable"]
        )
        inner = reflectance.isel(kept).assign_attrs(unreadable=unreadable)
        return (
            Reflectance(_masked(inner, mask)),
            Evidence(_masked(evidence.isel(kept), mask)),
        )


def load_study(path: Path, configs: Configs) -> Study:
    """Read a workflow and everything it names.

    Raises
    ------
    PlanError : anything wrong in the workflow or in a configuration it names.
    """
    workflow = load_workflow(path)
    sensors = {name: configs.sensor(name) for name in workflow.composites}
    for name, composite in workflow.composites.items():
        cube.check_composite(sensors[name], composite)
    sensor = cube.join_sensors(sensors)
    names: dict[str, None] = {}
    if workflow.learns:
        names = dict.fromkeys([workflow.learning.model, *workflow.learning.validation.baselines])
    recipes = {name: configs.model(name) for name in names}
    features = [f for recipe in recipes.values() for f in recipe.features]
    return Study(
        workflow,
        configs,
        path.resolve().parent,
        sensor,
        plan_layers(workflow.evidence, features, sensor, configs),
        recipes,
        {name: configs.region(name) for name in workflow.regions},
        configs.style(workflow.style),
    )


def resolve_catalog(study: Study, given: str | None) -> str:
    """Return the catalog to search: the one given, else the workflow's own.

    Raises
    ------
    PlanError : neither names one.
    """
    named = given or study.workflow.search.catalog
    if named is None:
        raise PlanError(
            "no catalog is named",
            where=f"workflow {study.workflow.name}",
            remedy="give --catalog, or set search.catalog",
        )
    if given or is_address(named) or named in study.configs.names("catalogs"):
        return named
    return str(study.folder / named)


def prepare_region(study: Study, name: str, given: str, lock: Lock | None = None) -> Ground:
    """Find a region's imagery and lay its grid; raise as `pipeline.ground.prepare` does.

    Parameters
    ----------
    given : the catalog: a name of configs/catalogs/, a path or an address.
    lock : of an earlier run, whose items are to be used again.
    """
    workflow, configs = study.workflow, study.configs
    imagery = wanted_imagery(workflow, given, configs)
    terrain = wanted_terrain(workflow, given, configs)
    return prepare(name, study.regions[name], imagery, terrain, workflow, lock)


def derivation(study: Study, ground: Ground) -> Derivation:
    """Return what a worker needs to derive any block of a region."""
    return Derivation(ground.imagery, study.layers, ground.grid, ground.outline)


def open_region(
    workflow: str | Path,
    region: str,
    *,
    catalog: str | None = None,
    configs: str | Path | None = None,
) -> xr.Dataset:
    """Open a region's composite and evidence as one lazy Dataset, the same that a run maps.

    Parameters
    ----------
    workflow : path of the workflow file.
    region : one of its training or mapping regions.
    catalog : path or address, if not the workflow's own.
    configs : a folder of the user's own configurations.

    Returns
    -------
    A dask-backed Dataset, one task a block: `reflectance` (band, y, x) with `wavelength` and
    `fwhm` (nm) on band, `clear_count` (y, x), and each evidence layer and share of a flag (y, x),
    float32, NaN where missing; x and y in metres, the CRS as `spatial_ref` (readable by rioxarray
    and odc-geo).

    Raises
    ------
    ProspectraError : as a run would.
    """
    study = load_study(Path(workflow), Configs.at(Path(configs) if configs else None))
    if region not in study.regions:
        raise PlanError(
            f"the region '{region}' is not one of its regions ({', '.join(study.regions)})",
            where=str(workflow),
            remedy="name one of them",
        )
    ground = prepare_region(study, region, resolve_catalog(study, catalog))
    derive_block = derivation(study, ground)
    names = (*study.layers.mapped, *study.shares)
    stack = _lazy_stack(derive_block, ground.grid, len(study.sensor.bands) + 1 + len(names), names)
    return _as_dataset(stack, study, ground, names)


def layer_stack(derived: tuple[Reflectance, Evidence], names: tuple[str, ...]) -> NDArray[Any]:
    """Return bands, clear count and the named layers of a block as one float32 (layer, y, x)."""
    reflectance, evidence = derived
    parts = [reflectance["reflectance"].values, reflectance["clear_count"].values[None]]
    parts += [evidence[name].values[None] for name in names]
    stack: NDArray[Any] = np.concatenate([part.astype(np.float32) for part in parts])
    return stack


def _lazy_stack(
    derive_block: Derivation, grid: GeoBox, layers: int, names: tuple[str, ...]
) -> da.Array:
    rows, columns = grid.shape

    def load(block_info: Any = None) -> NDArray[Any]:
        (_, _), (y0, y1), (x0, x1) = block_info[None]["array-location"]
        return layer_stack(derive_block(Block(y0, y1, x0, x1)), names)

    chunks = (
        (layers,),
        tuple(min(BLOCK, rows - y) for y in range(0, rows, BLOCK)),
        tuple(min(BLOCK, columns - x) for x in range(0, columns, BLOCK)),
    )
    meta = np.empty((0, 0, 0), np.float32)
    stack: da.Array = da.map_blocks(load, chunks=chunks, dtype=np.float32, meta=meta)
    return stack


def _as_dataset(
    stack: da.Array, study: Study, ground: Ground, names: tuple[str, ...]
) -> xr.Dataset:
    bands = study.sensor.bands
    count = len(bands)
    data: dict[str, Any] = {
        "reflectance": (("band", "y", "x"), stack[:count]),
        "clear_count": (("y", "x"), stack[count].astype(np.uint16)),
    }
    indices = dict(study.layers.indices)
    for number, name in enumerate(names, start=count + 1):
        index = indices.get(name)
        attrs = {"units": index.units if index else "1"}
        if index:
            attrs |= {"formula": index.formula, "source": index.source}
        data[name] = (("y", "x"), stack[number], attrs)
    columns, rows = ground.grid.coordinates["x"].values, ground.grid.coordinates["y"].values
    coords = {
        "band": list(bands),
        "wavelength": ("band", np.array([band.wavelength for band in bands.values()], float)),
        "fwhm": ("band", np.array([band.fwhm for band in bands.values()], float)),
        "y": ("y", rows),
        "x": ("x", columns),
    }
    out = xr.Dataset(data, coords, {"region": ground.name, "crs": str(ground.grid.crs)})
    located: xr.Dataset = out.odc.assign_crs(ground.grid.crs)
    return located


def _masked(data: xr.Dataset, mask: xr.DataArray) -> xr.Dataset:
    if bool(mask.all()):
        return data
    counts = {"clear_count": data["clear_count"]} if "clear_count" in data else {}
    kept = data.drop_vars(list(counts)).where(mask)
    return kept.assign({name: count.where(mask, 0) for name, count in counts.items()})
