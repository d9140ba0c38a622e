"""QGIS layer styles (QML), for QGIS 3.22 and newer.

A raster's style lies beside it under the same stem, where QGIS looks when the raster is opened; the
zones' style travels inside the GeoPackage. Values are those after scale and offset, which QGIS's
raster provider applies on reading. Format: as QGIS 3.22 itself saves it (it has no other text).
"""

from collections.abc import Mapping
from pathlib import Path
from xml.etree import ElementTree as ET

from pipeline import files
from pipeline.publish.legend import Legend, rgb
from pipeline.publish.product import title_of

_DOCTYPE = "<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>\n"
_VERSION = "3.22.0"  # the oldest QGIS these styles are meant for
_FILL_OPACITY = 90  # of 255: the map under a zone stays readable


def write_raster_style(legend: Legend, path: Path) -> str:
    """Write the QGIS style of a map as a .qml file; return its SHA-256.

    Raises
    ------
    OutputError : the file cannot be written.
    """
    root = ET.Element("qgis", version=_VERSION, styleCategories="Symbology|Legend")
    pipe = ET.SubElement(root, "pipe")
    if legend.swatches:
        _paletted(pipe, legend)
    else:
        _pseudocolour(pipe, legend)
    ET.SubElement(pipe, "brightnesscontrast", brightness="0", contrast="0", gamma="1")
    ET.SubElement(pipe, "huesaturation", saturation="0", grayscaleMode="0", colorizeOn="0")
    ET.SubElement(pipe, "rasterresampler", maxOversampling="2")
    ET.SubElement(root, "blendMode").text = "0"
    return files.write_bytes(path, _text(root).encode())


def zone_style(colours: Mapping[str, str]) -> str:
    """Return the QML of a zones layer: one filled outline per class, by the column `class`."""
    root = ET.Element("qgis", version=_VERSION, styleCategories="Symbology")
    renderer = ET.SubElement(
        root,
        "renderer-v2",
        type="categorizedSymbol",
        attr="class",
        symbollevels="0",
        enableorderby="0",
        forceraster="0",
    )
    categories = ET.SubElement(renderer, "categories")
    symbols = ET.SubElement(renderer, "symbols")
    for number, (name, colour) in enumerate(colours.items()):
        ET.SubElement(
            categories,
            "category",
            render="true",
            symbol=str(number),
            value=name,
            label=title_of(name),
        )
        _fill(symbols, str(number), colour)
    return _text(root)


def _paletted(pipe: ET.Element, legend: Legend) -> None:
    renderer = _renderer(pipe, "paletted")
    palette = ET.SubElement(renderer, "colorPalette")
    for swatch in legend.swatches:
        ET.SubElement(
            palette,
            "paletteEntry",
            value=str(swatch.value),
            label=swatch.title,
            color=swatch.colour,
            alpha="255",
        )


def _pseudocolour(pipe: ET.Element, legend: Legend) -> None:
    low, high = _number(legend.low), _number(legend.high)
    renderer = _renderer(pipe, "singlebandpseudocolor")
    renderer.set("classificationMin", low)
    renderer.set("classificationMax", high)
    shader = ET.SubElement(
        ET.SubElement(renderer, "rastershader"),
        "colorrampshader",
        colorRampType="INTERPOLATED",
        classificationMode="1",
        clip="0",
        minimumValue=low,
        maximumValue=high,
        labelPrecision="2",
    )
    _gradient(shader, legend.ramp)
    steps = len(legend.ramp) - 1
    for step, colour in enumerate(legend.ramp):
        value = legend.low + (legend.high - legend.low) * step / steps
        ET.SubElement(
            shader,
            "item",
            value=_number(value),
            label=f"{value:.3g}",
            color=colour,
            alpha="255",
        )


def _gradient(shader: ET.Element, ramp: tuple[str, ...]) -> None:
    """Add the ramp by its colours alone, so that QGIS can stretch it to other limits."""
    steps = len(ramp) - 1
    stops = ":".join(
        f"{_number(step / steps)};{_rgba(colour)}" for step, colour in enumerate(ramp[1:-1], 1)
    )
    element = ET.SubElement(shader, "colorramp", name="[source]", type="gradient")
    settings = {
        "color1": _rgba(ramp[0]),
        "color2": _rgba(ramp[-1]),
        "discrete": "0",
        "rampType": "gradient",
    }
    _options(element, settings | ({"stops": stops} if stops else {}))


def _renderer(pipe: ET.Element, kind: str) -> ET.Element:
    renderer = ET.SubElement(
        pipe, "rasterrenderer", type=kind, band="1", opacity="1", alphaBand="-1", nodataColor=""
    )
    ET.SubElement(renderer, "rasterTransparency")
    return renderer


def _fill(symbols: ET.Element, name: str, colour: str) -> None:
    symbol = ET.SubElement(
        symbols, "symbol", name=name, type="fill", alpha="1", clip_to_extent="1", force_rhr="0"
    )
    layer = ET.SubElement(
        symbol, "layer", {"class": "SimpleFill", "enabled": "1", "locked": "0", "pass": "0"}
    )
    settings = {
        "color": _rgba(colour, _FILL_OPACITY),
        "style": "solid",
        "outline_color": _rgba(colour),
        "outline_style": "solid",
        "outline_width": "0.5",
        "outline_width_unit": "MM",
        "joinstyle": "round",
    }
    _options(layer, settings)


def _options(parent: ET.Element, settings: Mapping[str, str]) -> None:
    options = ET.SubElement(parent, "Option", type="Map")
    for key, value in settings.items():
        ET.SubElement(options, "Option", name=key, type="QString", value=value)


def _rgba(colour: str, alpha: int = 255) -> str:
    return ",".join(str(part) for part in (*rgb(colour), alpha))


def _number(value: float) -> str:
    return f"{value:.9g}"


def _text(root: ET.Element) -> str:
    ET.indent(root)
    return _DOCTYPE + ET.tostring(root, encoding="unicode") + "\n"
