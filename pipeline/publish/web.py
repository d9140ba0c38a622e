"""A quick look at a map: one PNG with title, legend, scale bar and north arrow.

The map is drawn in its own projected coordinates, so that lengths on the page are lengths on the
ground; equal inputs give equal bytes.
"""

from io import BytesIO
from pathlib import Path
from textwrap import wrap
from typing import Any, NamedTuple

import geopandas as gpd
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colorbar import Colorbar
from matplotlib.colors import ListedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Polygon, Rectangle
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray
from rasterio.crs import CRS
from rasterio.enums import Resampling
from shapely.geometry.base import BaseGeometry

from pipeline import files
from pipeline.publish.legend import Legend, ramp_table, read_reduced, rgb

_DPI = 150
_PIXELS = 1200  # the longer side of the reduced copy that is drawn
_SIDE = 6.4  # inches, the longer side of the map
_PANEL = 2.35  # inches, the column of the legend
_EDGES = (0.75, 0.3, 0.65, 0.85)  # inches: left, between map and panel, bottom, top
_ROW = 0.235  # inches, a line of the legend
_SCALE = 1.1  # inches, the height of scale bar and north arrow
_LONGEST_BAR = 1.5  # inches
_BAR = 7  # lines that a colour bar is high
_TICKS = 1.4  # inches from one coordinate to the next, about
_LETTERS = 9  # of the title, to an inch
_SHORTEST = 0.7  # inches: a sliver of a map still has room for its coordinates

_INK = "#222222"
_FAINT = "#777777"
_PAPER = "#ffffff"
_UNMAPPED: dict[str, Any] = {
    "facecolor": "#efefef",
    "edgecolor": "#c4c4c4",
    "hatch": "////",
    "linewidth": 0.0,
}
_FONT = "DejaVu Sans"  # it comes with matplotlib, so it is the same on every machine

_Place = tuple[float, float, float, float]  # left, bottom, width, height, shares of the page


class _Places(NamedTuple):
    map: _Place
    legend: _Place
    scale: _Place


def write_quicklook(
    cog: Path,
    legend: Legend,
    path: Path,
    heading: tuple[str, str],
    credit: str,
    zones: gpd.GeoDataFrame | None = None,
) -> str:
    """Draw a map as a PNG and return its SHA-256.

    Parameters
    ----------
    cog : one band in a projected CRS, with its nodata, scale and offset in the file.
    legend : its colours.
    path : the .png to write.
    heading : title and subtitle.
    credit : the line at the foot.
    zones : outlines to draw on top, in the same CRS.

    Raises
    ------
    OutputError : the file cannot be written.
    """
    resampling = Resampling.nearest if legend.swatches else Resampling.average
    values, bounds, crs = read_reduced(cog, _PIXELS, resampling)
    size = _map_size(bounds)
    figure, places = _page(size, _rows(legend, zones) * _ROW, heading)
    _draw_map(figure.add_axes(places.map), values, bounds, legend)
    if zones is not None and len(zones):
        _draw_zones(figure.axes[0], zones)
    _draw_legend(_panel(figure, places.legend), legend, zones)
    _draw_scale(_panel(figure, places.scale), (bounds[2] - bounds[0]) / size[0])
    _draw_foot(figure, f"{credit}   ·   {_crs_name(crs)}, coordinates in metres")
    buffer = BytesIO()
    # No Software entry: it would tie the bytes to the version of the library.
    figure.savefig(buffer, format="png", dpi=_DPI, metadata={"Software": None})
    return files.write_bytes(path, buffer.getvalue())


def round_length(longest: float) -> float:
    """Return the longest of 1, 2 or 5 times a power of ten that fits, in the same unit.

    >>> round_length(1800.0), round_length(49.0)
    (1000.0, 20.0)
    """
    power = 10.0 ** np.floor(np.log10(longest))
    return float(power * max(step for step in (1, 2, 5) if step * power <= longest * (1 + 1e-9)))


def _map_size(bounds: tuple[float, float, float, float]) -> tuple[float, float]:
    """Return width and height of the map on the page, inches."""
    width, height = bounds[2] - bounds[0], bounds[3] - bounds[1]
    scale = _SIDE / max(width, height)
    return width * scale, height * scale


def _page(
    size: tuple[float, float], legend: float, heading: tuple[str, str]
) -> tuple[Figure, _Places]:
    """Lay out a page in inches: legend and scale right of the map, or below one that is wide."""
    left, between, bottom, top = _EDGES
    below = size[1] < (legend + _SCALE) / 2
    room = max(size[0], _SHORTEST), max(size[1], _SHORTEST)
    width = left + room[0] + (between if below else between + _PANEL)
    titles = wrap(heading[0], int((width - left) * _LETTERS)) or [""]
    top += (len(titles) - 1) * _ROW
    under = legend + 2 * between if below else max(0.0, legend + _SCALE - room[1])
    height = top + room[1] + under + bottom
    figure = Figure(figsize=(width, height), facecolor=_PAPER)
    FigureCanvasAgg(figure)
    _draw_heading(figure, titles, heading[1])

    def place(x: float, down: float, wide: float, tall: float) -> _Place:
        return x / width, 1 - (down + tall) / height, wide / width, tall / height

    if below:
        down = top + size[1] + 2 * between
        legend_place = place(left, down, _PANEL, legend)
        scale_place = place(left + _PANEL + between, down, _PANEL, _SCALE)
    else:
        x = left + room[0] + between
        legend_place = place(x, top, _PANEL, legend)
        scale_place = place(x, top + legend, _PANEL, _SCALE)
    return figure, _Places(place(left, top, *size), legend_place, scale_place)


def _panel(figure: Figure, place: _Place) -> Axes:
    """Return an empty panel whose coordinates are inches, y from the foot."""
    panel = figure.add_axes(place)
    width, height = figure.get_size_inches()
    panel.set(xlim=(0, place[2] * width), ylim=(0, place[3] * height))
    panel.axis("off")
    return panel


def _draw_map(
    axes: Axes,
    values: NDArray[np.float32],
    bounds: tuple[float, float, float, float],
    legend: Legend,
) -> None:
    left, bottom, right, top = bounds
    axes.add_patch(Rectangle((left, bottom), right - left, top - bottom, zorder=0, **_UNMAPPED))
    axes.imshow(
        _coloured(values, legend),
        extent=(left, right, bottom, top),
        interpolation="nearest",
        aspect="auto",
        zorder=1,
    )
    axes.set(xlim=(left, right), ylim=(bottom, top))
    axes.ticklabel_format(style="plain", useOffset=False)
    for axis, inches in zip((axes.xaxis, axes.yaxis), _map_size(bounds), strict=True):
        axis.set_major_locator(MaxNLocator(max(1, round(inches / _TICKS))))
    axes.tick_params(labelsize=6, colors=_FAINT, length=2, width=0.5, labelfontfamily=_FONT)
    for label in axes.get_yticklabels():
        label.set(rotation=90, verticalalignment="center")
    for spine in axes.spines.values():
        spine.set(edgecolor=_FAINT, linewidth=0.6)


def _coloured(values: NDArray[np.float32], legend: Legend) -> NDArray[np.uint8]:
    """Return the map as red, green, blue, opacity (y, x, 4); not mapped is transparent."""
    picture = np.zeros((*values.shape, 4), np.uint8)
    if legend.swatches:
        for swatch in legend.swatches:
            picture[values == swatch.value] = (*rgb(swatch.colour), 255)
        return picture
    table = ramp_table(legend.ramp)
    mapped = np.isfinite(values)
    share = np.clip((values[mapped] - legend.low) / (legend.high - legend.low), 0, 1)
    picture[mapped, :3] = table[np.rint(share * (len(table) - 1)).astype(int)]
    picture[mapped, 3] = 255
    return picture


def _draw_zones(axes: Axes, zones: gpd.GeoDataFrame) -> None:
    for zone in zones.geometry:
        for ring in _rings(zone):
            for colour, width in ((_PAPER, 1.6), (_INK, 0.8)):  # a halo, to show on any colour
                axes.add_patch(
                    Polygon(ring, closed=True, fill=False, edgecolor=colour, linewidth=width)
                )


def _rings(zone: BaseGeometry) -> list[NDArray[np.float64]]:
    parts = getattr(zone, "geoms", [zone])
    return [
        np.asarray(ring.coords)[:, :2]
        for part in parts
        for ring in (part.exterior, *part.interiors)
    ]


def _rows(legend: Legend, zones: gpd.GeoDataFrame | None) -> float:
    """Return the lines that the legend needs."""
    entries = sum(len(_lines(swatch.title)) for swatch in legend.swatches) or _BAR + 1.5
    return 0.85 * len(_lines(legend.label)) + 0.9 + entries + 1 + (zones is not None)


def _draw_legend(panel: Axes, legend: Legend, zones: gpd.GeoDataFrame | None) -> None:
    """Draw the legend from the top of its panel down."""
    y = panel.get_ylim()[1]
    for line in _lines(legend.label):
        _say(panel, 0, y - 0.45 * _ROW, line, weight="bold")
        y -= 0.85 * _ROW
    y -= 0.4 * _ROW
    if legend.swatches:
        for swatch in legend.swatches:
            y = _entry(panel, y, swatch.title, facecolor=swatch.colour, linewidth=0.0)
    else:
        y = _colour_bar(panel, y, legend)
    y = _entry(panel, y, "Not mapped", **_UNMAPPED)
    if zones is not None:
        _entry(panel, y, "Prospective zone", facecolor="none", edgecolor=_INK, linewidth=0.9)


def _entry(panel: Axes, y: float, text: str, **look: Any) -> float:
    panel.add_patch(Rectangle((0.02, y - 0.78 * _ROW), 0.28, 0.6 * _ROW, **look))
    for line in _lines(text):
        _say(panel, 0.4, y - 0.48 * _ROW, line)
        y -= _ROW
    return y


def _colour_bar(panel: Axes, y: float, legend: Legend) -> float:
    height = _BAR * _ROW
    bar = panel.inset_axes((0.02, y - height, 0.2, height), transform=panel.transData)
    colours = ListedColormap(ramp_table(legend.ramp) / 255.0)
    scale = Colorbar(bar, cmap=colours, norm=Normalize(legend.low, legend.high))
    scale.set_ticks(list(np.linspace(legend.low, legend.high, 5)))
    scale.set_ticklabels([f"{v:.3g}" for v in np.linspace(legend.low, legend.high, 5)])
    scale.ax.tick_params(labelsize=7, length=2, width=0.5, colors=_INK, labelfontfamily=_FONT)
    scale.outline.set(edgecolor=_FAINT, linewidth=0.5)
    return y - height - 0.8 * _ROW


def _draw_scale(panel: Axes, metres_an_inch: float) -> None:
    """Draw the scale bar, as long on the page as on the map, and the arrow of grid north."""
    length = round_length(_LONGEST_BAR * metres_an_inch)
    inches = length / metres_an_inch
    base = panel.get_ylim()[1] - 0.35
    for part, colour in enumerate((_INK, _PAPER)):
        at = (0.02 + part * inches / 2, base)
        panel.add_patch(
            Rectangle(at, inches / 2, 0.07, facecolor=colour, edgecolor=_INK, linewidth=0.7)
        )
    text = f"{length / 1000:g} km" if length >= 1000 else f"{length:g} m"
    _say(panel, 0.02, base - 0.13, "0", size=7)
    _say(panel, 0.02 + inches, base - 0.13, text, size=7, align="center")
    arrow = {"arrowstyle": "-|>", "color": _INK, "linewidth": 1.0, "mutation_scale": 11}
    panel.annotate("", xy=(0.12, base - 0.25), xytext=(0.12, base - 0.65), arrowprops=arrow)
    _say(panel, 0.24, base - 0.46, "N (grid)", size=7)


def _draw_heading(figure: Figure, titles: list[str], subtitle: str) -> None:
    width, height = figure.get_size_inches()
    left = _EDGES[0] / width
    for row, line in enumerate(titles):
        y = 1 - (0.30 + row * _ROW) / height
        figure.text(left, y, line, fontsize=12, weight="bold", color=_INK, family=_FONT)
    y -= 0.25 / height
    figure.text(left, y, subtitle, fontsize=8, color=_FAINT, family=_FONT)


def _draw_foot(figure: Figure, credit: str) -> None:
    width, height = figure.get_size_inches()
    place = _EDGES[0] / width, 0.14 / height
    figure.text(*place, credit, fontsize=6.5, color=_FAINT, family=_FONT)


def _say(
    panel: Axes,
    x: float,
    y: float,
    text: str,
    *,
    weight: str = "normal",
    size: float = 8,
    align: str = "left",
) -> None:
    panel.text(
        x, y, text, fontsize=size, weight=weight, color=_INK, family=_FONT, va="center", ha=align
    )


def _lines(text: str) -> list[str]:
    return wrap(text, 26) or [""]


def _crs_name(crs: CRS) -> str:
    epsg = crs.to_epsg()
    return f"EPSG:{epsg}" if epsg else "projected coordinates"
