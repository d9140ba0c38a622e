"""The demo world: a small planet with planted deposits, and the imagery a satellite would take.

    places  -> what the two regions are made of, and when they are seen
    terrain -> relief, beds, soils, plants       deposits -> faults, systems, their zones
    ground  -> what every pixel is made of, and the truth
    spectra, imagery -> what a sensor sees   sites -> training sites
    sentinel2, landsat, elevation -> counts, masks and heights as two satellites and a DEM have them
    items, write -> a static STAC catalog of COGs

Nothing that maps reads the truth: it lies beside the catalog, and nothing refers to it.
"""

import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import geopandas as gpd
import numpy as np
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from odc.geo.geom import box

from pipeline import files
from pipeline.errors import PlanError
from pipeline.grid import Block, crop, region_grid
from pipeline.plan import Configs
from pipeline.world.deposits import Shift
from pipeline.world.elevation import ELEVATION, write_elevation
from pipeline.world.ground import CLASSES, Ground, make_ground
from pipeline.world.imagery import Scenery, make_scene, make_surface, make_view
from pipeline.world.items import Collection, Document, Frame, write_catalog
from pipeline.world.landsat import LANDSAT, write_landsat
from pipeline.world.places import PLACES, Place
from pipeline.world.sentinel2 import SENTINEL2, write_sentinel2
from pipeline.world.sites import draw_sites
from pipeline.world.write import to_metres, write_points, write_raster

__all__ = ["CLASSES", "World", "make_world"]

SEED = 2025
NOW = datetime(2026, 1, 1, tzinfo=UTC)
"""The date that files of the demo world carry unless the caller gives another."""

SENSOR = "sentinel2-l2a"
LANDSAT_SENSOR = "landsat-oli-c2-l2"
_MARK = "world.json"  # written last: what was made, and from which recipe
_MARGIN = 12  # pixels of imagery around the region, so that its edge can be mapped like its middle


@dataclass(frozen=True)
class World:
    """Where the files of a demo world are."""

    catalog: Path
    """The catalog.json."""
    sites: Mapping[str, Path]
    """Training sites by region, beside the catalog."""
    truth: Mapping[str, Path]
    """Truth raster by region: 1 + the place in CLASSES; for scoring only."""
    deposits: Mapping[str, Path]
    """Planted deposits by region; for scoring only."""


@dataclass(frozen=True)
class _Recipe:
    """All that decides the bytes of a world."""

    seed: int
    now: datetime
    moves: Mapping[tuple[str, int], Shift]
    places: tuple[Place, ...]
    configs: Configs

    def digest(self) -> str:
        """Return what tells one world from another, this code included."""
        code = [files.sha256(path) for path in sorted(Path(__file__).parent.glob("*.py"))]
        regions = [self.configs.region(place.name).model_dump_json() for place in self.places]
        moves = sorted([*key, *shift] for key, shift in self.moves.items())
        bands = [str(self.configs.sensor(name).bands) for name in (SENSOR, LANDSAT_SENSOR)]
        return files.digest_of(
            [self.seed, self.now.isoformat(), str(moves), str(self.places), *bands, *regions, *code]
        )


def make_world(
    out: Path,
    seed: int = SEED,
    now: datetime = NOW,
    moves: Mapping[tuple[str, int], Shift] | None = None,
    places: tuple[Place, ...] = PLACES,
    configs: Configs | None = None,
) -> World:
    """Write a demo world, unless the same one is there already.

    Parameters
    ----------
    out : its folder; `catalog/` holds what a workflow may see, `truth/` what it may not.
    seed : of every random draw.
    now : the date of the files, UTC.
    moves : deposits to move, by region and number: metres east and north. Each takes its zones
        along, and everything else stays as it was.
    places : the regions; each needs a region of its name in `configs`, which gives its outline.

    Raises
    ------
    PlanError : a region is unknown or unfit, or a move names no deposit.
    OutputError, BusyError : the folder cannot be written.
    """
    recipe = _Recipe(seed, now, moves or {}, places, configs or Configs.at())
    _check_moves(recipe)
    digest = recipe.digest()
    with files.hold(out):
        world = _paths(out, recipe)
        if not _is_current(out, digest):
            # A build that is killed must not leave the mark of the world it was overwriting.
            (out / _MARK).unlink(missing_ok=True)
            files.sweep(out)
            with ThreadPoolExecutor(len(places)) as pool:
                regions = list(pool.map(partial(_write_region, world, recipe), places))
            write_catalog(world.catalog.parent, _by_collection(regions))
            made = sorted(p.relative_to(out).as_posix() for p in out.glob("*/**/*") if p.is_file())
            files.write_json(out / _MARK, {"recipe": digest, "files": [*made]})
    return world


def _paths(out: Path, recipe: _Recipe) -> World:
    names = [place.name for place in recipe.places]
    return World(
        catalog=out / "catalog" / "catalog.json",
        sites={name: out / "catalog" / f"{name}_sites.gpkg" for name in names},
        truth={name: out / "truth" / f"{name}_class.tif" for name in names},
        deposits={name: out / "truth" / f"{name}_deposits.gpkg" for name in names},
    )


def _is_current(out: Path, digest: str) -> bool:
    """Return whether a whole world of this recipe is there (files are not read again)."""
    if not (out / _MARK).is_file():
        return False
    mark = json.loads((out / _MARK).read_text(encoding="utf-8"))
    return mark["recipe"] == digest and all((out / name).is_file() for name in mark["files"])


def _check_moves(recipe: _Recipe) -> None:
    planted = {(place.name, n) for place in recipe.places for n in range(place.deposits)}
    for region, number in recipe.moves:
        if (region, number) not in planted:
            raise PlanError(
                f"there is no deposit {number} in '{region}' to move",
                where="demo world",
                remedy="known: " + ", ".join(f"{name} {n}" for name, n in sorted(planted)),
            )


_Items = dict[Collection, list[Document]]


def _by_collection(regions: list[_Items]) -> _Items:
    """Return the items of all regions together, without collections that have none."""
    together = {name: [i for own in regions for i in own[name]] for name in regions[0]}
    return {name: items for name, items in together.items() if items}


def _write_region(world: World, recipe: _Recipe, place: Place) -> _Items:
    """Write all files of one region and return its items."""
    region = _region_grid(recipe.configs, place)
    grid = region.pad(_MARGIN)
    resolution = float(grid.resolution.x)
    shifts = {n: shift for (name, n), shift in recipe.moves.items() if name == place.name}
    ground = make_ground(place, recipe.seed, grid.shape.yx, shifts, resolution)
    _write_truth(world, recipe, place, ground, grid)
    sites = draw_sites(place, recipe.seed, ground, _MARGIN)
    points = _points(sites.spots, grid).assign(label=list(sites.labels))
    write_points(world.sites[place.name], points[["label", "geometry"]], recipe.now)
    folder = world.catalog.parent
    return {
        SENTINEL2: _seen_by_sentinel2(folder, recipe, place, ground, grid),
        LANDSAT: _seen_by_landsat(folder, recipe, place, ground, grid),
        ELEVATION: [write_elevation(folder, place, ground.height, grid, recipe.now)],
    }


def _seen_by_sentinel2(
    folder: Path, recipe: _Recipe, place: Place, ground: Ground, grid: GeoBox
) -> list[Document]:
    bands = recipe.configs.sensor(SENSOR).bands
    scenery = Scenery(place, recipe.seed, ground, make_surface(place, recipe.seed, ground, bands))
    return [
        write_sentinel2(
            folder, Frame(place, look, grid, bands, recipe.now), make_scene(scenery, look, bands)
        )
        for look in place.passes
    ]


def _seen_by_landsat(
    folder: Path, recipe: _Recipe, place: Place, ground: Ground, grid: GeoBox
) -> list[Document]:
    bands = recipe.configs.sensor(LANDSAT_SENSOR).bands
    scenery = Scenery(place, recipe.seed, ground, make_surface(place, recipe.seed, ground, bands))
    return [
        write_landsat(
            folder, Frame(place, look, grid, bands, recipe.now), make_view(scenery, look, bands)
        )
        for look in place.landsat
    ]


def _region_grid(configs: Configs, place: Place) -> GeoBox:
    region = configs.region(place.name)
    if region.bbox is None:
        raise PlanError(
            "the demo world needs a bbox",
            where=f"region {place.name}",
            remedy="give bbox instead of geometry",
        )
    return region_grid(box(*region.bbox, crs=region.crs), configs.sensor(SENSOR).resolution)


def _write_truth(world: World, recipe: _Recipe, place: Place, ground: Ground, grid: GeoBox) -> None:
    rows, columns = grid.shape
    within = Block(_MARGIN, rows - _MARGIN, _MARGIN, columns - _MARGIN)
    classes = np.ascontiguousarray(ground.classes[within.slices])
    write_raster(world.truth[place.name], classes, crop(grid, within), 0)
    deposits = ground.deposits
    points = _points(np.array([(d.row, d.column) for d in deposits]) + 0.5, grid).assign(
        number=[d.number for d in deposits],
        radius_m=[round(d.radius * float(grid.resolution.x), 1) for d in deposits],
    )
    write_points(world.deposits[place.name], points, recipe.now)


def _points(spots: NDArray[np.float64], grid: GeoBox) -> gpd.GeoDataFrame:
    """Return points at (row, column) of a grid, to the decimetre."""
    east, north = to_metres(grid, spots[:, 0], spots[:, 1])
    where = gpd.points_from_xy(np.round(east, 1), np.round(north, 1))
    return gpd.GeoDataFrame(geometry=where, crs=str(grid.crs))
