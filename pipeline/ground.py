"""One region made ready: its imagery found and understood, its grid laid, its lock written."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from odc.geo import CRS
from odc.geo.geobox import GeoBox
from odc.geo.geom import Geometry
from pyproj.exceptions import CRSError
from shapely.geometry.base import BaseGeometry

from pipeline import catalog, cube
from pipeline.catalog import Items, Place
from pipeline.errors import CatalogError, PlanError
from pipeline.files import Json
from pipeline.grid import region_grid
from pipeline.plan import Composite, Configs, Region, Search, Sensor, Workflow
from pipeline.region import outline_of, unknown_crs


@dataclass(frozen=True)
class Wanted:
    """One sensor's imagery, as a workflow asks for it."""

    name: str
    sensor: Sensor
    search: Search
    composite: Composite
    place: Place


@dataclass(frozen=True)
class Ground:
    """One region of a study: its imagery, its grid, and its outline in the grid's CRS."""

    name: str
    region: Region
    items: Items
    """Of the first sensor."""
    imagery: tuple[cube.Imagery, ...]
    """One a sensor, the workflow's own first."""
    grid: GeoBox
    outline: BaseGeometry
    lock: Mapping[str, Json]
    """What was searched, and what became of every item."""

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the grid."""
        rows, columns = self.grid.shape
        return rows, columns

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """Left, bottom, right, top of the grid, metres."""
        found = self.grid.extent.boundingbox
        return found.left, found.bottom, found.right, found.top


def wanted_imagery(workflow: Workflow, given: str, configs: Configs) -> tuple[Wanted, ...]:
    """Return the imagery a workflow asks for, the sensor that decides the grid first.

    Parameters
    ----------
    given : the catalog, where a search names none of its own.

    Raises
    ------
    PlanError : a sensor or catalog is unknown, or its file is wrong.
    """
    asked = [(workflow.sensor, workflow.search, workflow.composite)]
    asked += [(more.sensor, more.search, more.composite) for more in workflow.also]
    return tuple(
        Wanted(
            name,
            configs.sensor(name),
            search,
            composite,
            catalog.locate(search.catalog if number and search.catalog else given, search, configs),
        )
        for number, (name, search, composite) in enumerate(asked)
    )


def prepare(name: str, region: Region, workflow: Workflow, imagery: tuple[Wanted, ...]) -> Ground:
    """Find a region's imagery and lay its grid.

    Raises
    ------
    CatalogError, RegionError, ReadError : see `pipeline.catalog.search` and `cube.make_scenes`.
    """
    outline = outline_of(region)
    found = [_look(wanted, outline, name) for wanted in imagery]
    grid, projected = _lay(outline, found[0][1], workflow)
    lock: dict[str, Json] = {
        "region": name,
        "searches": {
            wanted.name: items.lock["search"]
            for wanted, (items, _) in zip(imagery, found, strict=True)
        },
        "items": [entry for items, _ in found for entry in _entries(items)],
    }
    return Ground(
        name,
        region,
        found[0][0],
        tuple(made for _, made in found),
        grid,
        projected,
        lock,
    )


def _look(wanted: Wanted, outline: Geometry, region: str) -> tuple[Items, cube.Imagery]:
    """Search one sensor's items and turn them into scenes."""
    lonlat = outline.to_crs("EPSG:4326").geom
    items = catalog.search(wanted.place, wanted.search, wanted.sensor, lonlat, region)
    made = cube.make_scenes(items.items, wanted.sensor, wanted.place.access, wanted.search.trust)
    if not made.scenes:
        told = "; ".join(f"{item}: {reason}" for item, reason in sorted(made.dropped.items()))
        raise CatalogError(
            f"no item is left for region {region} ({told})",
            where=wanted.place.href,
            remedy="widen the search, or set search.trust after looking at the items",
        )
    tolerant = wanted.search.min_readable < 1.0
    imagery = cube.Imagery(wanted.name, wanted.sensor, made.scenes, wanted.composite, tolerant)
    return _told(items, wanted.name, made), imagery


def _told(items: Items, sensor: str, made: cube.Made) -> Items:
    """Return the items that became scenes, with what was learned of each in the lock."""
    kept = {scene.item for scene in made.scenes}
    entries: list[Json] = []
    for entry in _entries(items):
        told: dict[str, Any] = {"sensor": sensor, **entry}
        name = str(told["id"])
        if told["kept"] and name in made.dropped:
            told |= {"kept": False, "reason": made.dropped[name]}
        if told["kept"] and name in made.notes:
            told |= made.notes[name]
        entries.append(told)
    lock = {**items.lock, "items": entries}
    return replace(items, items=tuple(i for i in items.items if i.id in kept), lock=lock)


def _entries(items: Items) -> list[dict[str, Any]]:
    found: Any = items.lock["items"]
    entries: list[dict[str, Any]] = found
    return entries


def _lay(
    outline: Geometry, imagery: cube.Imagery, workflow: Workflow
) -> tuple[GeoBox, BaseGeometry]:
    """Lay the grid in step with the imagery, or as the workflow wants it."""
    crs, resolution, anchor = cube.native_grid(imagery.scenes[0], imagery.sensor)
    wanted, where = workflow.grid, f"workflow {workflow.name}, grid.crs"
    native = wanted.crs in (None, str(crs)) and wanted.resolution in (None, resolution)
    try:
        projected = outline.to_crs(wanted.crs or str(crs))
    except CRSError as error:
        raise unknown_crs(str(wanted.crs), where) from error
    kept = CRS(str(wanted.crs or crs))
    if not kept.projected or set(kept.units) != {"metre"}:
        raise PlanError(
            f"the CRS '{wanted.crs}' is not in metres",
            where=where,
            remedy="name a projected one, such as the UTM zone of the region",
        )
    grid = region_grid(projected, wanted.resolution or resolution, anchor if native else (0.0, 0.0))
    return grid, projected.geom
