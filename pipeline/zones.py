"""Prospectivity -> ProspectiveZones: connected ground of one class, with an evidence card each."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import NewType

import geopandas as gpd
import numpy as np
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.features import rasterize, shapes
from scipy import ndimage
from shapely import make_valid
from shapely.geometry import shape
from shapely.geometry.base import BaseGeometry

from pipeline.plan import Zones

ProspectiveZones = NewType("ProspectiveZones", gpd.GeoDataFrame)  # type: ignore[valid-newtype]
"""Columns zone, class, rank, score, spread, area_km2, evidence and geometry (Polygon; MultiPolygon
where parts touch at corners only), in the region's CRS; ranked over the region by mean score."""

_EIGHT = np.ones((3, 3), dtype=int)  # pixels that touch at a corner belong together
_TOP = 3  # evidence layers on a card


@dataclass(frozen=True)
class _Row:
    name: str
    score: float
    spread: float
    area: float  # km2
    outline: BaseGeometry


Array = NDArray[np.float32]
Layer = Callable[[str], Array]
"""Reads one map (y, x) of the region by its name, so that no more than one is held at a time."""


def find_zones(
    classes: Sequence[str], layer: Layer, wanted: Zones, grid: GeoBox
) -> ProspectiveZones:
    """Find the prospective zones of a region.

    Prospectivity is relative: what counts is where a class scores highest in this region, not the
    number it scores, which shifts from one region to the next.

    Parameters
    ----------
    classes : of the workflow; `wanted.classes` are those of interest (none named: all).
    layer : reads `score_<class>` and `spread`, both in 0..1.

    Returns
    -------
    Zones in order of rank: connected pixels (eight neighbours) where a wanted class is in its
    highest `wanted.area_share` of the mapped area, scores at least `wanted.min_score`, and no other
    wanted class scores higher; of at least `wanted.min_area_km2`.
    """
    pixel_km2 = abs(grid.resolution.x * grid.resolution.y) / 1e6
    spread = layer("spread")
    names = [name for name in classes if not wanted.classes or name in wanted.classes]
    best = _best(names, layer)
    rows: list[_Row] = []
    for number, name in enumerate(names, start=1):
        score = layer(f"score_{name}")
        chosen = (best == number) & (score >= _threshold(score, wanted))
        labels, count = ndimage.label(chosen, structure=_EIGHT)
        area = np.bincount(labels.ravel(), minlength=count + 1) * pixel_km2
        kept = [z for z in range(1, count + 1) if area[z] >= wanted.min_area_km2]
        outlines = _outlines(np.where(np.isin(labels, kept), labels, 0), grid)
        scores = ndimage.mean(score, labels, kept)
        spreads = ndimage.mean(spread, labels, kept)
        for zone, mean, span in zip(kept, scores, spreads, strict=True):
            rows.append(_Row(name, float(mean), float(span), float(area[zone]), outlines[zone]))
    return _ranked(rows, grid)


def with_evidence(
    zones: ProspectiveZones, names: Iterable[str], layer: Layer, grid: GeoBox
) -> ProspectiveZones:
    """Return the zones with their evidence cards: the layers in which each stands out most.

    A layer stands out by the distance of the zone's median from the region's median, in the
    region's own spread (1.4826 times the median absolute deviation; Huber 1981, Robust
    Statistics).
    """
    if zones.empty:
        return zones
    pairs = zip(zones.geometry, range(1, len(zones) + 1), strict=True)
    numbered = rasterize(pairs, out_shape=grid.shape, transform=grid.affine, dtype="int32")
    index = np.arange(1, len(zones) + 1)
    cards: list[list[tuple[float, str]]] = [[] for _ in index]
    for name in names:
        values = layer(name)
        known = np.isfinite(values)
        centre = float(np.median(values[known])) if known.any() else 0.0
        width = 1.4826 * float(np.median(np.abs(values[known] - centre))) if known.any() else 0.0
        if width == 0.0:
            continue
        shown = np.where(known, numbered, 0)
        there = index[np.isin(index, shown)]  # elsewhere the layer is missing all over the zone
        for zone, median in zip(there, ndimage.median(values, shown, there), strict=True):
            cards[zone - 1].append(((float(median) - centre) / width, name))
    return ProspectiveZones(zones.assign(evidence=[_card(card) for card in cards]))


def _best(names: Sequence[str], layer: Layer) -> NDArray[np.uint8]:
    """Return the number (from 1) of the class that scores highest; the first one wins a tie."""
    highest = np.nan_to_num(layer(f"score_{names[0]}"), nan=-1.0)
    best = np.ones(highest.shape, np.uint8)
    for number, name in enumerate(names[1:], start=2):
        score = layer(f"score_{name}")
        higher = score > highest
        best[higher], highest[higher] = number, score[higher]
    return best


def _threshold(score: Array, wanted: Zones) -> float:
    known = score[np.isfinite(score)]
    if not known.size:
        return wanted.min_score
    return max(wanted.min_score, float(np.quantile(known, 1.0 - wanted.area_share)))


def _card(layers: list[tuple[float, str]]) -> str:
    top = sorted(layers, key=lambda entry: (-abs(entry[0]), entry[1]))[:_TOP]
    return "; ".join(f"{name} {'high' if z > 0 else 'low'} ({z:+.1f} spreads)" for z, name in top)


def _outlines(labels: NDArray[np.int32], grid: GeoBox) -> dict[int, BaseGeometry]:
    found = shapes(labels.astype(np.int32), mask=labels > 0, connectivity=8, transform=grid.affine)
    # Pixels that touch at a corner make a ring that touches itself: valid as several polygons.
    return {int(number): make_valid(shape(outline)) for outline, number in found}


def _ranked(rows: list[_Row], grid: GeoBox) -> ProspectiveZones:
    rows = sorted(rows, key=lambda r: (-r.score, -r.area, r.name, r.outline.bounds))
    table = {
        "zone": [f"Z{rank:04d}" for rank in range(1, len(rows) + 1)],
        "class": [row.name for row in rows],
        "rank": np.arange(1, len(rows) + 1, dtype=np.int32),
        "score": np.array([row.score for row in rows], dtype=np.float64).round(4),
        "spread": np.array([row.spread for row in rows], dtype=np.float64).round(4),
        "area_km2": np.array([row.area for row in rows], dtype=np.float64).round(6),
        "evidence": [""] * len(rows),
    }
    geometry = gpd.GeoSeries([row.outline for row in rows], crs=str(grid.crs))
    return ProspectiveZones(gpd.GeoDataFrame(table, geometry=geometry))
