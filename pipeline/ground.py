"""One region made ready: its imagery found and understood, its grid laid, its lock written."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from odc.geo.geobox import GeoBox
from odc.geo.geom import Geometry
from pyproj.exceptions import CRSError
from shapely.geometry import shape
from shapely.geometry.base import BaseGeometry

from pipeline import catalog, cube
from pipeline.catalog import Items, Place
from pipeline.errors import CatalogError, PlanError, RegionError
from pipeline.files import Json
from pipeline.grid import region_grid
from pipeline.plan import Composite, Configs, Region, Search, Sensor, Workflow
from pipeline.region import in_degrees, outline_of, projected, unknown_crs
from pipeline.remote import look_again, require_credentials

_MOST_PIXELS = 4_000_000_000  # of one region's grid; its maps still have to fit on a disk

Lock = Mapping[str, Any]
"""What was searched in a region, and what became of every item."""


@dataclass(frozen=True)
class Wanted:
    """One sensor's imagery, as a workflow asks for it."""

    name: str
    """Of the sensor."""
    sensor: Sensor
    search: Search
    composite: Composite
    place: Place


@dataclass(frozen=True)
class Found:
    """One sensor's imagery of a region."""

    wanted: Wanted
    items: Items
    """Those that became scenes."""
    imagery: cube.Imagery
    footprints: Mapping[str, BaseGeometry]
    """Of every item that was to be read, by id, in longitude and latitude."""
    unreadable: Mapping[str, str]
    """Of those, by id, why they could not be."""


@dataclass(frozen=True)
class Ground:
    """One region of a study: its imagery, its grid, and its outline in the grid's CRS."""

    name: str
    region: Region
    found: tuple[Found, ...]
    """One a sensor, the workflow's own first."""
    grid: GeoBox
    outline: BaseGeometry
    terrain: Found | None = None
    """The elevation that corrections of illumination rest on."""

    @property
    def imagery(self) -> tuple[cube.Imagery, ...]:
        """What the composites are made of, one a sensor."""
        return tuple(found.imagery for found in self.found)

    @property
    def items(self) -> Items:
        """The items of the workflow's own sensor."""
        return self.found[0].items

    @property
    def lock(self) -> dict[str, Json]:
        """What was searched, and what became of every item of every sensor."""
        every = (*self.found, *([self.terrain] if self.terrain else []))
        return {
            "region": self.name,
            "searches": {found.wanted.name: found.items.lock["search"] for found in every},
            "items": [entry for found in every for entry in _entries(found.items.lock)],
        }

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the grid."""
        rows, columns = self.grid.shape
        return rows, columns

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """Left, bottom, right, top of the grid, metres."""
        box = self.grid.extent.boundingbox
        return box.left, box.bottom, box.right, box.top


def wanted_imagery(workflow: Workflow, given: str, configs: Configs) -> tuple[Wanted, ...]:
    """Return the imagery a workflow asks for, the sensor that decides the grid first.

    Parameters
    ----------
    given : the catalog, where a further sensor's search names none of its own.

    Raises
    ------
    PlanError : a sensor or catalog is unknown, or its file is wrong.
    """
    asked = [(workflow.sensor, workflow.search, workflow.composite, given)]
    asked += [
        (more.sensor, more.search, more.composite, more.search.catalog or given)
        for more in workflow.also
    ]
    return tuple(
        Wanted(
            name, configs.sensor(name), search, composite, catalog.locate(where, search, configs)
        )
        for name, search, composite, where in asked
    )


def wanted_terrain(workflow: Workflow, given: str, configs: Configs) -> Wanted | None:
    """Return the elevation a workflow asks for; raise as `wanted_imagery` does."""
    asked = workflow.terrain
    if asked is None:
        return None
    sensor = configs.sensor(asked.sensor)
    if sensor.quantity != "elevation":
        raise PlanError(
            f"the sensor '{asked.sensor}' gives {sensor.quantity}, not elevation",
            where=f"workflow {workflow.name}, terrain.sensor",
            remedy="name one that does, such as copernicus-dem",
        )
    place = catalog.locate(asked.search.catalog or given, asked.search, configs)
    return Wanted(asked.sensor, sensor, asked.search, Composite(), place)


def prepare(
    name: str,
    region: Region,
    imagery: tuple[Wanted, ...],
    terrain: Wanted | None,
    workflow: Workflow,
    lock: Lock | None = None,
) -> Ground:
    """Find a region's imagery and lay its grid.

    Parameters
    ----------
    imagery, terrain : what the workflow asks for (`wanted_imagery`, `wanted_terrain`).
    lock : of an earlier run, to use its items and refuse any that changed; None: search.

    Raises
    ------
    CatalogError, RegionError, ReadError : see `pipeline.catalog.search` and `cube.make_scenes`.
    """
    outline = outline_of(region)
    look_again()  # a file that changed on its host since an earlier study must be seen as it is now
    found = tuple(_look(wanted, outline, name, lock) for wanted in imagery)
    grid, drawn = _lay(outline, found[0].imagery, workflow)
    if terrain is None:
        return Ground(name, region, found, grid, drawn)
    relief = _look(terrain, outline, name, lock)
    corrected = tuple(_corrected(each, relief, grid) for each in found)
    return Ground(name, region, corrected, grid, drawn, relief)


def _corrected(found: Found, relief: Found, grid: GeoBox) -> Found:
    """Fit how the slope of the ground lights each date, where the composite corrects for it."""
    if found.wanted.composite.illumination == "none":
        return found
    elevation = tuple(scene.bands[0] for scene in relief.imagery.scenes)
    fitted = cube.fit_relief(found.imagery, elevation, grid)
    notes = {item: {"illumination": note} for item, note in fitted.notes.items()}
    return replace(
        found,
        imagery=replace(found.imagery, relief=fitted),
        items=replace(found.items, lock=_noted(found.items.lock, notes)),
    )


def _look(wanted: Wanted, outline: Geometry, region: str, lock: Lock | None) -> Found:
    """Find one sensor's items and turn them into scenes."""
    require_credentials(wanted.place.access)  # before a search that could take minutes
    lonlat = in_degrees(outline)
    if lock is None:
        items = catalog.search(wanted.place, wanted.search, wanted.sensor, lonlat, region)
    else:
        items = catalog.from_lock(lock, wanted.place, wanted.name)
        catalog.verify(items, wanted.place)
    tolerant = wanted.search.min_readable < 1.0
    made = cube.make_scenes(
        items.items,
        wanted.sensor,
        wanted.place.access,
        wanted.search.trust,
        catalog=wanted.place.name,
        tolerant=tolerant,
    )
    if lock is not None:
        _require_same(items, made)
    if not made.scenes:
        reasons = {**made.dropped, **made.unreadable}
        told = "; ".join(f"{item}: {reason}" for item, reason in sorted(reasons.items()))
        raise CatalogError(
            f"no item is left for region {region} ({told})",
            where=wanted.place.shown,
            remedy="widen the search, or look at the items and set search.trust",
        )
    read = (i for i in items.items if i.id not in made.dropped)
    return Found(
        wanted,
        _told(items, wanted.name, made),
        cube.Imagery(wanted.name, wanted.sensor, made.scenes, wanted.composite, tolerant),
        {item.id: shape(item.geometry) for item in read if item.geometry},
        made.unreadable,
    )


def _require_same(items: Items, made: cube.Made) -> None:
    """Refuse a locked item whose files are no longer those that were locked."""
    for entry in _entries(items.lock):
        if entry["kept"] and entry["id"] in made.notes:
            stamps: Any = made.notes[entry["id"]]["assets"]
            catalog.compare_stamps(entry, stamps)


def _told(items: Items, sensor: str, made: cube.Made) -> Items:
    """Return the items that became scenes, with what was learned of each in the lock."""
    kept = {scene.item for scene in made.scenes}
    reasons = {**made.dropped, **made.unreadable}
    named = [{"sensor": sensor, **entry} for entry in _entries(items.lock)]
    told = [
        {**entry, "kept": False, "reason": reasons[entry["id"]]}
        if entry["kept"] and entry["id"] in reasons
        else entry
        for entry in named
    ]
    lock = _noted({**items.lock, "items": told}, made.notes)
    return replace(items, items=tuple(i for i in items.items if i.id in kept), lock=lock)


def _noted(lock: Lock, notes: Mapping[str, Mapping[str, Json]]) -> dict[str, Json]:
    """Return a lock with notes added to the kept entries, by item id."""
    told: list[Json] = [
        {**entry, **notes.get(entry["id"], {})} if entry["kept"] else entry
        for entry in _entries(lock)
    ]
    return {**lock, "items": told}


def _entries(lock: Lock) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = lock["items"]
    return entries


def _lay(
    outline: Geometry, imagery: cube.Imagery, workflow: Workflow
) -> tuple[GeoBox, BaseGeometry]:
    """Lay the grid in step with the imagery, or as the workflow wants it."""
    wanted, where = workflow.grid, f"workflow {workflow.name}, grid.crs"
    try:
        own, resolution, anchor = cube.native_grid(imagery.scenes, imagery.sensor, outline)
        crs = str(own)
    except RegionError:
        if wanted.crs is None or wanted.resolution is None:
            raise
        crs, resolution, anchor = wanted.crs, wanted.resolution, (0.0, 0.0)
    native = wanted.crs in (None, crs) and wanted.resolution in (None, resolution)
    try:
        laid = projected(outline, wanted.crs or crs, where)
    except CRSError as error:
        raise unknown_crs(str(wanted.crs), where) from error
    if laid.crs is None or not laid.crs.projected or set(laid.crs.units) != {"metre"}:
        raise PlanError(
            f"the CRS '{wanted.crs}' is not in metres",
            where=where,
            remedy="name a projected one, such as the UTM zone of the region",
        )
    grid = region_grid(laid, wanted.resolution or resolution, anchor if native else (0.0, 0.0))
    rows, columns = grid.shape
    if rows * columns > _MOST_PIXELS:
        raise PlanError(
            f"the grid would have {rows} x {columns} pixels, more than {_MOST_PIXELS:.0e}",
            where=f"workflow {workflow.name}, grid.resolution",
            remedy="give a coarser resolution (metres), or cut the region into several",
        )
    return grid, laid.geom
