"""The outline of a region: from its file, in its CRS, refused where it is no area on the ground.

Longitudes run on where an outline crosses the antimeridian: there it is split in two, as GeoJSON
has it (RFC 7946, 3.1.9), and joined again in the CRS of a map.
"""

from collections.abc import Iterator

import numpy as np
import shapely
from numpy.typing import NDArray
from odc.geo import CRS
from odc.geo.geom import Geometry
from pyproj.exceptions import CRSError
from shapely.affinity import translate
from shapely.errors import ShapelyError
from shapely.geometry import MultiPolygon, Polygon, box, shape
from shapely.geometry.base import BaseGeometry

from pipeline.errors import PlanError, RegionError
from pipeline.plan import Region

MOST_NORTH = 85.0
"""Degrees of latitude, north or south, beyond which no region is mapped."""

_POLE, _HALF, _TURN = 90.0, 180.0, 360.0  # degrees
_PIECES = 128  # that the longer side of an outline is cut into before it is bent by a projection

Box = tuple[float, float, float, float]


def outline_of(region: Region) -> Geometry:
    """Return the outline of a region in its own CRS, split at the antimeridian if that is degrees.

    Of a bbox in degrees, west may be greater than east: it crosses the antimeridian, and spans at
    most half the globe. A polygon crosses it where two corners lie more than half the globe apart,
    or where longitudes run on past 180.

    Raises
    ------
    PlanError : the CRS is unknown.
    RegionError : it is no polygon, is empty, crosses itself, has its numbers in a wrong order or
        out of range, spans more than half the globe, or reaches too near to a pole.
    """
    try:
        crs = CRS(region.crs)
    except CRSError as error:
        raise unknown_crs(region.crs, f"region {region.title}") from error
    where = f"region {region.title}"
    plain = _box(region.bbox, crs, where) if region.bbox else _polygon(region, where)
    if crs.geographic:
        west, _, east, _ = _box_of(_joined(plain))
        if east - west > _HALF:
            raise RegionError(
                f"it spans {east - west:g} degrees of longitude, and at most 180 can be mapped",
                where=where,
                remedy="cut it into several regions",
            )
        plain = _split(plain, where)
    outline = Geometry(plain, crs)
    _, south, _, north = _box_of(in_degrees(outline, where))
    if max(-south, north) > MOST_NORTH:
        raise RegionError(
            f"it reaches latitude {north if north > -south else south:g}, and maps end at "
            f"{MOST_NORTH:g} degrees",
            where=where,
            remedy="leave out what lies nearer to the pole",
        )
    return outline


def in_degrees(outline: Geometry, where: str = "the outline") -> BaseGeometry:
    """Return an outline in longitude and latitude (EPSG:4326), split at the antimeridian.

    Raises
    ------
    RegionError : it holds a pole, or lies where its CRS means nothing.
    """
    if outline.crs == CRS("EPSG:4326"):
        return _split(outline.geom, where)
    return _split(_bent(outline, CRS("EPSG:4326"), where), where)


def projected(outline: Geometry, crs: str, where: str = "the outline") -> Geometry:
    """Return an outline in the CRS of a map, in one piece where it crosses the antimeridian.

    Raises
    ------
    CRSError : the CRS is unknown.
    RegionError : the outline has no place in it.
    """
    target = CRS(crs)
    if outline.crs == target:
        return outline
    return Geometry(_bent(outline, target, where), target)


def unknown_crs(crs: str, where: str) -> PlanError:
    """Return the error for a CRS that is not known."""
    return PlanError(
        f"the CRS '{crs}' is not known", where=where, remedy="write it as EPSG:<number>"
    )


def _polygon(region: Region, where: str) -> BaseGeometry:
    """Return the geometry of a region, its rings unrolled where they jump over the antimeridian."""
    try:
        plain = shape(region.geometry or {})
        usable = plain.geom_type in ("Polygon", "MultiPolygon") and not plain.is_empty
        if usable and CRS(region.crs).geographic:
            _check_degrees(_box_of(plain), where)
            plain = _unrolled(plain, where)
        usable = usable and plain.is_valid
    except (ShapelyError, AttributeError, KeyError, TypeError, ValueError):
        usable = False
    if not usable:
        raise RegionError(
            "the outline is not a polygon, is empty, or crosses itself",
            where=where,
            remedy="mend its geometry",
        )
    return plain


def _box(given: Box, crs: CRS, where: str) -> BaseGeometry:
    west, south, east, north = given
    where += ", bbox"
    if crs.geographic:
        _check_degrees(given, where)
        if west > east and east + _TURN - west <= _HALF:
            east += _TURN
    if not south < north:
        raise RegionError(
            f"its south ({south:g}) is not below its north ({north:g})",
            where=where,
            remedy="swap its second and fourth number: it is west, south, east, north",
        )
    if not west < east:
        crosses = "; one that crosses the antimeridian spans at most 180 degrees"
        raise RegionError(
            f"its west ({west:g}) is not below its east ({east:g})",
            where=where,
            remedy="swap its first and third number: it is west, south, east, north"
            + (crosses if crs.geographic else ""),
        )
    return box(west, south, east, north)


def _check_degrees(given: Box, where: str) -> None:
    """Refuse longitudes and latitudes that are none."""
    west, south, east, north = given
    if max(abs(south), abs(north)) > _POLE:
        wrong = south if abs(south) > abs(north) else north
        swapped = max(abs(west), abs(east)) <= _POLE
        raise RegionError(
            f"{wrong:g} is no latitude",
            where=where,
            remedy="write longitude before latitude: west, south, east, north"
            if swapped
            else "write latitudes from -90 to 90, or give the crs that the numbers are in",
        )
    if max(abs(west), abs(east)) > _TURN:
        raise RegionError(
            f"{west if abs(west) > abs(east) else east:g} is no longitude",
            where=where,
            remedy="write longitudes from -180 to 180, or give the crs that the numbers are in",
        )


def _bent(outline: Geometry, crs: CRS, where: str) -> BaseGeometry:
    """Return an outline in another CRS; its straight sides are followed as they bend there."""
    own = outline.crs or CRS("EPSG:4326")
    plain = _joined(outline.geom) if own.geographic else outline.geom
    left, bottom, right, top = _box_of(plain)
    to_theirs = own.transformer_to_crs(crs)

    def bend(points: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.column_stack(to_theirs(points[:, 0], points[:, 1]))

    pieces = plain.segmentize(max(right - left, top - bottom) / _PIECES)
    found = shapely.transform(pieces, bend)
    if not np.isfinite(shapely.get_coordinates(found)).all():
        raise RegionError(
            f"it has no place in {crs}",
            where=where,
            remedy="check the crs of its numbers, and the one wanted for the maps",
        )
    return _unrolled(found, where) if crs.geographic else found


def _joined(plain: BaseGeometry) -> BaseGeometry:
    """Return a geometry in degrees with all its parts side by side, whichever side of 180."""
    first, *others = _parts(plain)
    turns = [round((first.centroid.x - part.centroid.x) / _TURN) * _TURN for part in others]
    if not any(turns):
        return plain
    moved = [translate(part, turn) for part, turn in zip(others, turns, strict=True)]
    return shapely.union_all([first, *moved])


def _unrolled(plain: BaseGeometry, where: str) -> BaseGeometry:
    """Return a geometry whose longitudes run on where they jump by more than half the globe."""
    made = []
    for part in _parts(plain):
        shell = _run_on(part.exterior.coords, where)
        middle = (shell[:, 0].min() + shell[:, 0].max()) / 2
        holes = []
        for ring in part.interiors:
            hole = _run_on(ring.coords, where)
            turns = np.round((middle - hole[:, 0].mean()) / _TURN)
            holes.append(hole + np.array([turns * _TURN, 0.0]))
        made.append(Polygon(shell, holes))
    return made[0] if len(made) == 1 else MultiPolygon(made)


def _run_on(ring: shapely.coords.CoordinateSequence, where: str) -> NDArray[np.float64]:
    points = np.array(ring)[:, :2]
    points[:, 0] = np.unwrap(points[:, 0], period=_TURN)
    if abs(points[0, 0] - points[-1, 0]) > _HALF:
        raise RegionError(
            "it goes round a pole", where=where, remedy="leave out what lies nearer to the pole"
        )
    points[-1] = points[0]
    return points


def _split(plain: BaseGeometry, where: str) -> BaseGeometry:
    """Return a geometry in degrees cut at the antimeridian, all of it within -180..180."""
    plain = _unrolled(plain, where)
    left, _, right, _ = _box_of(plain)
    if left >= -_HALF and right <= _HALF:
        return plain
    found: list[Polygon] = []
    for world in range(-2, 3):
        here = box(-_HALF + world * _TURN, -_POLE, _HALF + world * _TURN, _POLE)
        inside = translate(plain.intersection(here), -world * _TURN)
        found += [part for part in _parts(inside) if part.area > 0]
    return found[0] if len(found) == 1 else MultiPolygon(found)


def _parts(plain: BaseGeometry) -> Iterator[Polygon]:
    for part in getattr(plain, "geoms", (plain,)):
        if isinstance(part, Polygon):
            yield part


def _box_of(plain: BaseGeometry) -> Box:
    left, bottom, right, top = plain.bounds
    return left, bottom, right, top
