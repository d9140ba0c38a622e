"""What could not be read: every gap by name, counted in pixels, and held against what is allowed.

A gap is one item that could not be read, over the whole region (an asset is missing, its header is
refused) or in one block (its pixels are damaged). It takes those pixels of the region away that the
item's footprint covers; the share that is left is the coverage.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from odc.geo.geobox import GeoBox
from odc.geo.geom import Geometry
from shapely.geometry.base import BaseGeometry

from pipeline.errors import ReadError
from pipeline.grid import Block, blocks, crop, inside
from pipeline.ground import Found, Ground
from pipeline.region import projected

_NAMED = 3  # gaps named in an error; the run record names all


@dataclass(frozen=True, order=True)
class Gap:
    """One item that could not be read in one block."""

    sensor: str
    item: str
    reason: str
    block: Block


def gaps_in(block: Block, named: Iterable[Sequence[str]]) -> tuple[Gap, ...]:
    """Return gaps in a block from what was named there as (sensor, item, reason)."""
    return tuple(Gap(sensor, item, reason, block) for sensor, item, reason in named)


def gaps_at_start(ground: Ground) -> list[Gap]:
    """Return the items of a region that could not be read at all, as gaps over its whole grid."""
    rows, columns = ground.shape
    whole = Block(0, rows, 0, columns)
    return [
        Gap(found.wanted.name, item, reason, whole)
        for found in ground.found
        for item, reason in found.unreadable.items()
    ]


def coverage(ground: Ground, gaps: Iterable[Gap]) -> dict[str, Any]:
    """Return what was wanted of each sensor and what could be read of it, in pixels.

    Returns
    -------
    By sensor: `wanted` (sum over items of the region's pixels inside the item's footprint), `lost`,
    `share` (of wanted that was read, 0..1) and `gaps`: item, reason and pixels, in order.
    """
    told = sorted(gaps)
    return {found.wanted.name: _of_sensor(ground, found, told) for found in ground.found}


def require(ground: Ground, covered: dict[str, Any]) -> None:
    """Refuse to go on where less of the imagery is readable than the workflow asks for.

    Raises
    ------
    ReadError : naming the gaps, the share that is left and the share that is wanted.
    """
    for found in ground.found:
        here, least = covered[found.wanted.name], found.wanted.search.min_readable
        if here["share"] < least:
            named = "; ".join(f"{g['item']}: {g['reason']}" for g in here["gaps"][:_NAMED])
            more = f"; and {len(here['gaps']) - _NAMED} more" if len(here["gaps"]) > _NAMED else ""
            raise ReadError(
                f"only {here['share']:.4f} of the imagery can be read, and {least:g} is wanted "
                f"({named}{more})",
                where=f"region {ground.name}, sensor {found.wanted.name}",
                remedy="run again if the trouble may pass, or lower search.min_readable",
            )


def _of_sensor(ground: Ground, found: Found, gaps: list[Gap]) -> dict[str, Any]:
    mine = [gap for gap in gaps if gap.sensor == found.wanted.name]
    if not mine:
        return {"share": 1.0, "gaps": []}
    areas = {item: _area(ground, shape) for item, shape in found.footprints.items()}
    wanted = sum(_pixels(ground.grid, area) for area in areas.values())
    lost: dict[tuple[str, str], int] = {}
    for gap in mine:
        count = _pixels(crop(ground.grid, gap.block), areas[gap.item])
        lost[gap.item, gap.reason] = lost.get((gap.item, gap.reason), 0) + count
    total = sum(lost.values())
    return {
        "wanted": wanted,
        "lost": total,
        "share": 1.0 - total / wanted if wanted else 0.0,
        "gaps": [{"item": i, "reason": r, "pixels": n} for (i, r), n in lost.items()],
    }


def _area(ground: Ground, footprint: BaseGeometry) -> BaseGeometry:
    """Return the part of the region, in its own CRS, that a footprint covers."""
    there = projected(Geometry(footprint, "EPSG:4326"), str(ground.grid.crs), "a footprint").geom
    area: BaseGeometry = ground.outline.intersection(there)
    return area


def _pixels(grid: GeoBox, area: BaseGeometry) -> int:
    """Count the pixels whose centre lies in an area, a block at a time: most are all or nothing."""
    count = 0
    for block in blocks(grid.shape.yx):
        here = crop(grid, block)
        if here.extent.geom.intersects(area):
            count += int(np.count_nonzero(inside(here, area)))
    return count
