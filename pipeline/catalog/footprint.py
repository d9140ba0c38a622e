"""Footprints against a region's outline: where they meet, and how much of it is covered.

Footprints are written in many ways: split at the antimeridian, across it (179 to -179, or beyond
180), around a pole, with sides that cross. Each is put in order before it is compared.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from pyproj import Transformer
from shapely.affinity import translate
from shapely.geometry import MultiPolygon, Polygon, box
from shapely.geometry.base import BaseGeometry
from shapely.ops import unary_union

_POLAR = (
    80.0  # degrees of latitude, from which on longitude and latitude are no plane to compare in
)
_STEP = 0.05  # degrees; sides are followed at this step into the equal-area projection
_WORLD = box(-180.0, -90.0, 180.0, 90.0)

Flatten = Callable[[NDArray[np.float64]], NDArray[np.float64]]


@dataclass(frozen=True)
class Outline:
    """A region made ready to be compared with many footprints."""

    shape: BaseGeometry
    """In longitude and latitude (degrees), or flattened if it is polar."""
    area: float
    """Square metres."""
    flatten: Flatten
    """Longitude and latitude to metres, equal-area about the region or the pole."""
    pole: int
    """1 north, -1 south, 0: not polar."""


def outline_of(region: BaseGeometry) -> Outline:
    """Return a region's outline (longitude and latitude, degrees), ready for `covered`."""
    middle = _middle(region)
    if abs(middle[1]) > _POLAR:
        pole = 1 if middle[1] > 0 else -1
        flatten = _equal_area(0.0, 90.0 * pole)
        flat = shapely.make_valid(shapely.transform(region, flatten))
        return Outline(flat, flat.area, flatten, pole)
    plain = in_order(region)
    flatten = _equal_area(*middle)
    shapely.prepare(plain)
    return Outline(plain, _area(plain, flatten), flatten, 0)


def covered(outline: Outline, footprint: BaseGeometry) -> float | None:
    """Return the share of a region that a footprint covers, 0 to 1; None: they do not meet.

    Shares are of areas on the ground (Lambert azimuthal equal-area). Beyond 80 degrees of latitude
    the sides of footprints are taken as straight on the ground, not in longitude and latitude.
    """
    if outline.pole:
        edge = footprint.bounds[3] if outline.pole > 0 else -footprint.bounds[1]
        if not edge > _POLAR - 20.0:
            return None
        there = shapely.make_valid(shapely.transform(footprint, outline.flatten))
        if not there.intersects(outline.shape):
            return None
        return min(1.0, float(there.intersection(outline.shape).area) / outline.area)
    there = in_order(footprint)
    if not outline.shape.intersects(there):
        return None
    return min(1.0, _area(outline.shape.intersection(there), outline.flatten) / outline.area)


def in_order(geometry: BaseGeometry) -> BaseGeometry:
    """Return a geometry valid and within -180 to 180, split where it crosses the antimeridian.

    A side of more than 180 degrees of longitude is taken to go the other, shorter way round.

    >>> in_order(Polygon([(179, 0), (-179, 0), (-179, 1), (179, 1)])).bounds
    (-180.0, 0.0, 180.0, 1.0)
    """
    parts = getattr(geometry, "geoms", [geometry])
    unrolled = [_unrolled(part) if isinstance(part, Polygon) else part for part in parts]
    plain = [shapely.make_valid(part) for part in unrolled]
    if all(p.bounds[0] >= -180.0 and p.bounds[2] <= 180.0 for p in plain if not p.is_empty):
        return plain[0] if len(plain) == 1 else unary_union(plain)
    turned = [translate(p, turn).intersection(_WORLD) for p in plain for turn in (-360, 0, 360)]
    return unary_union([p for p in turned if not p.is_empty])


def _unrolled(polygon: Polygon) -> Polygon:
    rings = [
        _unrolled_ring(np.asarray(r.coords)[:, :2]) for r in (polygon.exterior, *polygon.interiors)
    ]
    start = rings[0][0, 0]
    turns = [360.0 * np.round((start - hole[0, 0]) / 360.0) for hole in rings[1:]]
    holes = [h + np.array([turn, 0.0]) for h, turn in zip(rings[1:], turns, strict=True)]
    return Polygon(rings[0], holes)


def _unrolled_ring(ring: NDArray[np.float64]) -> NDArray[np.float64]:
    steps = np.diff(ring[:, 0])
    # A side of exactly 360 degrees is that of a box around the world.
    turns = np.where(
        (np.abs(steps) > 180.0) & (np.abs(steps) < 360.0), -np.sign(steps) * 360.0, 0.0
    )
    lon = ring[:, 0] + np.concatenate([[0.0], np.cumsum(turns)])
    found = np.column_stack([lon, ring[:, 1]])
    if abs(lon[-1] - lon[0]) > 180.0:  # once round a pole: close it over the pole
        pole = 90.0 if ring[:, 1].mean() > 0 else -90.0
        found = np.vstack([found, [lon[-1], pole], [lon[0], pole], found[:1]])
    return found


def _middle(region: BaseGeometry) -> tuple[float, float]:
    """Return the middle of a region, longitude and latitude, also if it is split at 180."""
    west, _, east, _ = region.bounds
    if east - west > 180.0 and isinstance(region, MultiPolygon):
        parts = [translate(p, 360.0) if p.bounds[2] <= 0 else p for p in region.geoms]
        region = MultiPolygon(parts)
    point = region.centroid
    return float(point.x), float(point.y)


def _equal_area(lon: float, lat: float) -> Flatten:
    there = Transformer.from_crs(
        "EPSG:4326", f"+proj=laea +lat_0={lat} +lon_0={lon} +datum=WGS84 +units=m", always_xy=True
    )

    def flatten(points: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.column_stack(there.transform(points[:, 0], points[:, 1]))

    return flatten


def _area(geometry: Any, flatten: Flatten) -> float:
    if geometry.is_empty:
        return 0.0
    return float(shapely.transform(shapely.segmentize(geometry, _STEP), flatten).area)
