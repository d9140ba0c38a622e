"""How the values of a map become colours: one legend, drawn by every writer the same way."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import NamedTuple

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.crs import CRS
from rasterio.enums import Resampling

from pipeline.plan import Style
from pipeline.publish.product import Product, title_of

LEVELS = 255  # colours of a continuous map; an 8-bit palette keeps one more for "not mapped"

_SAMPLE = 1024  # pixels on the longer side of the reduced copy that limits are taken from
_LABELS = {"evidence": "Value", "count": "Clear dates", "share": "Share of the dates"}
_SPREAD_STEP = 0.05  # spread limits are whole steps, so maps of one study often share them


@dataclass(frozen=True)
class Swatch:
    """One class of a class map."""

    value: int
    name: str
    title: str
    colour: str


class Reduced(NamedTuple):
    """A small copy of a map, to be drawn or measured."""

    values: NDArray[np.float32]
    """(y, x), after scale and offset; NaN where nothing is mapped."""
    bounds: tuple[float, float, float, float]
    """Left, bottom, right, top, metres."""
    crs: CRS


@dataclass(frozen=True)
class Legend:
    """Either `swatches` (a class map) or `ramp` from `low` to `high` (anything else)."""

    title: str
    """Of the map."""
    label: str
    """Of its values, with their unit."""
    swatches: tuple[Swatch, ...] = ()
    ramp: tuple[str, ...] = ()
    low: float = 0.0
    high: float = 1.0


def legend_of(product: Product, style: Style) -> Legend:
    """Return the legend of a map in a style.

    Limits that the product does not give are 0..1 for score, support and share, 0 to the most for a
    count, 0 to the 98th percentile
    for spread (in steps of 0.05), and the 2nd to 98th percentile for evidence.
    """
    if product.kind == "class":
        return Legend(product.title, "Class", swatches=_swatches(product.classes, style))
    ramps = {"spread": style.spread_ramp, "support": style.support_ramp}
    ramp = ramps.get(product.kind, style.ramp)
    unit = "" if product.unit in ("", "1") else f" ({product.unit})"
    label = _LABELS.get(product.kind, product.kind.capitalize()) + unit
    low, high = product.limits or _limits(product)
    return Legend(product.title, label, ramp=ramp, low=low, high=high)


def class_colours(classes: Sequence[str], style: Style) -> dict[str, str]:
    """Return the colour of each class; one that the style does not name takes the next spare."""
    spare = [name for name in classes if name not in style.classes]
    return {
        name: style.classes.get(name) or style.other[spare.index(name) % len(style.other)]
        for name in classes
    }


def ramp_table(ramp: Sequence[str], count: int = LEVELS) -> NDArray[np.uint8]:
    """Return `count` colours (count, 3) evenly spaced along a ramp, red green blue."""
    stops = np.array([rgb(colour) for colour in ramp], dtype=float)
    at = np.linspace(0.0, 1.0, count)
    ends = np.linspace(0.0, 1.0, len(ramp))
    channels = [np.interp(at, ends, stops[:, channel]) for channel in range(3)]
    colours: NDArray[np.uint8] = np.rint(np.stack(channels, axis=1)).astype(np.uint8)
    return colours


def rgb(colour: str) -> tuple[int, int, int]:
    """Return red, green and blue of '#rrggbb', 0..255."""
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


def read_reduced(path: Path, longest: int, resampling: Resampling = Resampling.average) -> Reduced:
    """Return a small copy of a COG's values, at most `longest` pixels a side.

    Raises
    ------
    rasterio.errors.RasterioIOError : the file cannot be read.
    """
    with rasterio.open(path, driver="GTiff") as source:
        factor = max(1.0, max(source.shape) / longest)
        shape = tuple(max(1, round(side / factor)) for side in source.shape)
        band = source.read(1, out_shape=shape, masked=True, resampling=resampling)
        values = np.ma.filled(band.astype(np.float64), np.nan)
        values = values * source.scales[0] + source.offsets[0]
        return Reduced(values.astype(np.float32), tuple(source.bounds), source.crs)


def _swatches(classes: Sequence[str], style: Style) -> tuple[Swatch, ...]:
    colours = class_colours(classes, style)
    return tuple(
        Swatch(value, name, title_of(name), colours[name])
        for value, name in enumerate(classes, start=1)
    )


def _limits(product: Product) -> tuple[float, float]:
    if product.kind in ("score", "support", "share"):
        return 0.0, 1.0
    values = read_reduced(product.path, _SAMPLE, Resampling.nearest).values
    values = values[np.isfinite(values)]
    if not values.size:
        return 0.0, 1.0
    if product.kind == "count":
        return 0.0, max(1.0, float(values.max()))
    low, high = (float(v) for v in np.percentile(values, [2, 98]))
    if product.kind == "spread":
        return 0.0, max(1, ceil(high / _SPREAD_STEP - 1e-9)) * _SPREAD_STEP
    return (low, high) if high > low else (low - 0.5, high + 0.5)
