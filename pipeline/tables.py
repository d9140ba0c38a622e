"""Configurations -> tables: which sensors are known, how they are read, what each can feed."""

from collections.abc import Iterable, Mapping, Sequence

from pipeline.errors import FormulaError
from pipeline.evidence.indices import operand_bands
from pipeline.plan import Configs, Index, Mask, Sensor

NOT_RUN = "not run on real data"
"""What the table says of a sensor that no real raster has been read with."""

_MANY = 20  # bands from which a sensor is told by its range and not band by band
_SAID_BY = {
    "declared": "the item, else these",
    "fixed": "these; an item that differs is refused",
    "sentinel2": "the offset is decided for each item",
    "gains": "the gain of each band, radiance = (count - 1) x gain",
}
_UNITS = {
    "reflectance": "surface reflectance",
    "radiance": "radiance, W m-2 sr-1 um-1",
    "backscatter": "backscatter, linear power",
    "elevation": "height, m",
}
_INTRO = """# Sensors

Made from `configs/` by `prospectra sensors`; a new sensor is one new file in `configs/sensors/`.

An asset goes by the first of its names that an item offers; `*` stands for anything. Masks are
named with the flags that are dropped unless a workflow says otherwise. How counts become
reflectance, and how the offset of Sentinel-2 is decided, is told in [reflectance](reflectance.md).
"""


def sensor_tables(configs: Configs) -> str:
    """Return Markdown tables: every sensor with its catalogs, and what each index is fed by.

    Raises
    ------
    PlanError : a file of configs/ is wrong.
    """
    sensors = {name: configs.sensor(name) for name in configs.names("sensors")}
    indices = {name: configs.index(name) for name in configs.names("indices")}
    parts = [_INTRO, "## How each is read\n", _readings(sensors)]
    parts += ["## Bands\n", *(_bands(name, sensor) for name, sensor in sensors.items())]
    parts += ["## Which index each can feed\n", _feeds(indices, sensors)]
    return "\n".join(parts)


def _readings(sensors: Mapping[str, Sensor]) -> str:
    header = (
        "sensor",
        "gives",
        "catalog: collection",
        "assets",
        "scale, offset, nodata",
        "masks",
        "pixel",
        "run on",
    )
    return _table(header, (_reading(name, sensor) for name, sensor in sensors.items()))


def _reading(name: str, sensor: Sensor) -> tuple[str, ...]:
    rule = sensor.calibration == "sentinel2"
    held = [
        f"{catalog}: `{holding.collection}`{f' (offset {holding.offset})' if rule else ''}"
        for catalog, holdings in sensor.holdings.items()
        for holding in holdings
    ]
    assets = dict.fromkeys(_names(band.assets) for band in sensor.bands.values())
    nodata = "as the file says" if sensor.nodata is None else f"{sensor.nodata:g}"
    numbers = f"{sensor.scale:g}, {sensor.offset:g}, {nodata}"
    if sensor.calibration == "gains":
        numbers = f"by gain, nodata {nodata}"
    return (
        f"`{name}`<br>{sensor.title}",
        _UNITS[sensor.quantity],
        "<br>".join(held) or "any",
        "<br>".join(assets),
        f"{numbers}<br>({_SAID_BY[sensor.calibration]})",
        "<br>".join(_mask(mask) for mask in sensor.masks) or "none",
        f"{sensor.resolution:g} m",
        sensor.tried_on or NOT_RUN,
    )


def _mask(mask: Mask) -> str:
    place = f", band {mask.number}" if mask.number > 1 else ""
    optional = " (if there)" if mask.optional else ""
    return f"{_names(mask.assets)}{place}{optional}: {', '.join(mask.drop)}"


def _bands(name: str, sensor: Sensor) -> str:
    title = f"### {name}\n"
    if len(sensor.bands) > _MANY:
        light = [band.light for band in sensor.bands.values()]
        widths = [width for _, width in light]
        told = (
            f"{len(light)} bands from {light[0][0]:g} to {light[-1][0]:g} nm, "
            f"{min(widths):g} to {max(widths):g} nm wide, named by their place in the file "
            f"(`{next(iter(sensor.bands))}`).\n"
        )
        return f"{title}\n{told}"
    rows = (
        (
            f"`{key}`",
            _names(band.assets) + (f", band {band.number}" if band.number > 1 else ""),
            "" if band.wavelength is None else f"{band.wavelength:g}",
            "" if band.fwhm is None else f"{band.fwhm:g}",
            f"{band.resolution or sensor.resolution:g}",
            f"before {band.until}" if band.until else "always",
        )
        for key, band in sensor.bands.items()
    )
    header = ("band", "asset", "centre, nm", "width, nm", "pixel, m", "used")
    return f"{title}\n{_table(header, rows)}"


def _feeds(indices: Mapping[str, Index], sensors: Mapping[str, Sensor]) -> str:
    """Return the matrix of indices and sensors, and the reasons of the refusals under it."""
    reasons: dict[str, int] = {}
    rows = []
    for name, index in indices.items():
        cells = [_cell(index, sensor, reasons) for sensor in sensors.values()]
        rows.append((f"`{name}`", *cells))
    table = _table(("index", *(f"`{name}`" for name in sensors)), rows)
    told = "\n".join(f"{number}. {reason}" for reason, number in reasons.items())
    return (
        f"Bands that feed an index, or why it is refused.\n\n{table}\nRefused because:\n\n{told}\n"
    )


def _cell(index: Index, sensor: Sensor, reasons: dict[str, int]) -> str:
    try:
        bands = operand_bands(index, sensor)
    except FormulaError as error:
        return f"no ({reasons.setdefault(error.what, len(reasons) + 1)})"
    return ", ".join(dict.fromkeys(bands.values()))


def _names(assets: Iterable[str]) -> str:
    return " / ".join(f"`{name}`" for name in assets)


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
