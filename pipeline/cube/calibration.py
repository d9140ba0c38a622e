"""What counts mean: the scale and offset of an item's bands, who says so, and if it can be."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isclose

import numpy as np
import pystac

from pipeline.cube import offset, sentinel2
from pipeline.cube.assets import bands_of, declared
from pipeline.cube.gains import gain_of
from pipeline.cube.offset import Rules
from pipeline.cube.sample import Look, look
from pipeline.cube.source import Source
from pipeline.errors import CatalogError
from pipeline.files import Json
from pipeline.plan import Band, Sensor

RANGE = (0.0, 0.7)
"""Median surface reflectance that clear land can have: it catches a wrong unit at once."""

_LOOKED_AT = 4  # bands of an item that are sampled, so that it costs few reads
_FEWEST = 200  # clear pixels that are worth a median


@dataclass(frozen=True)
class Calibrated:
    """The bands of an item with what their counts mean, and the account of it for the lock."""

    bands: tuple[Source, ...]
    counts: dict[str, Json]
    decided: bool = True
    """False: the offset cannot be decided, and the bands are not to be used."""


def meaning(
    item: pystac.Item, asset: pystac.Asset, name: str, band: Band, rules: Rules
) -> tuple[float, float, float | None]:
    """Return scale, offset and nodata of a band as its item and sensor have it.

    The offset of Sentinel-2 is decided later, of the whole item.

    Raises
    ------
    CatalogError : the item declares other numbers than its product has, and is not trusted.
    """
    sensor, said = rules.sensor, declared(asset, band.number)
    nodata = said.get("nodata", sensor.nodata)
    if sensor.calibration == "gains":
        gain = gain_of(item, asset, name, band)[0]
        return gain, -gain, nodata
    if not said.keys() & {"scale", "offset"}:
        return sensor.scale, sensor.offset, nodata
    # Scale and offset are one statement: an item that gives a scale alone means an offset of zero.
    scale, zero = said.get("scale", 1.0), said.get("offset", 0.0)
    if sensor.calibration == "declared" or rules.trust == "declared":
        return scale, zero, nodata
    same = isclose(scale, sensor.scale, rel_tol=1e-4)
    if sensor.calibration == "fixed":
        same = same and isclose(zero, sensor.offset, rel_tol=1e-4, abs_tol=1e-9)
    if not same and rules.trust is None:
        raise CatalogError(
            f"band {name} declares a scale of {scale:g} and an offset of {zero:g}, its product "
            f"has {sensor.scale:g} and {sensor.offset:g}",
            where=f"item {item.id}",
            remedy="look at the item, then set search.trust to declared or baseline, or leave it "
            "out",
        )
    return sensor.scale, sensor.offset, nodata


def calibrate(
    item: pystac.Item,
    bands: tuple[Source, ...],
    masks: tuple[Source | None, ...],
    rules: Rules,
    rescued: int | None = None,
) -> Calibrated:
    """Decide what the counts of an item mean, and look whether its clear land can be right.

    Parameters
    ----------
    bands, masks : in the sensor's order, with the meaning that `meaning` gives.
    rescued : the offset of Sentinel-2 in counts, from another item of the same ground.

    Raises
    ------
    CatalogError : an offset is in doubt, or clear land is out of range, and nobody is trusted.
    ReadError : a file cannot be read.
    """
    sensor = rules.sensor
    note = _said(item, rules)
    if sensor.quantity != "reflectance":
        return Calibrated(bands, {**note, "decided": _decided(bands), "how": _how(item, rules)})
    found = look(_picked(sensor), bands, masks, sensor)
    how = _how(item, rules)
    if sensor.calibration == "sentinel2":
        verdict, account = offset.decide(item, found, rules, rescued)
        note, how = {**note, **account}, verdict.how
        if verdict.offset is None:
            return Calibrated(bands, {**note, "how": how}, decided=False)
        bands = offset.shifted(bands, verdict.offset, item, rules)
    note |= {"decided": _decided(bands), "how": how}
    chosen = dict(zip(sensor.bands, bands, strict=True))
    return Calibrated(bands, note | {"check": _check(item.id, found, chosen, rules.trust)})


def _check(
    item: str, found: Look | None, bands: Mapping[str, Source], trust: str | None
) -> dict[str, Json]:
    """Return the medians of clear land; raise CatalogError if they cannot be reflectance."""
    if found is None or int(found.land.sum()) < _FEWEST:
        return {"told": "not checked: too little clear land in common", "median": {}}
    medians, negative = {}, {}
    for name, values in found.values.items():
        level = values[found.land].astype(float) * bands[name].scale + bands[name].offset
        medians[name] = round(float(np.median(level)), 4)
        negative[name] = round(float((level < 0).mean()), 5)
    wrong = {n: m for n, m in medians.items() if not RANGE[0] <= m <= RANGE[1]}
    if wrong and trust is None:
        told = ", ".join(f"{name} {median:g}" for name, median in wrong.items())
        raise CatalogError(
            f"clear land has a median reflectance outside {RANGE[0]:g} to {RANGE[1]:g} ({told})",
            where=f"item {item}",
            remedy="check the scale and offset of the item and of the sensor's YAML; search.trust "
            "takes the numbers as they are",
        )
    told = "outside the usual range, and trusted" if wrong else "in the usual range"
    return {
        "told": f"clear land is {told}",
        "clear_pixels": int(found.land.sum()),
        "median": dict(medians),
        "negative_share": dict(negative),
    }


def _said(item: pystac.Item, rules: Rules) -> dict[str, Json]:
    """Return what an item declares, once if all its bands agree."""
    words: dict[str, Json] = {}
    for name, (key, band) in bands_of(item, rules.sensor).items():
        said = declared(item.assets[key], band.number)
        words[name] = {"scale": said.get("scale"), "offset": said.get("offset")}
    return {"declared": _once(words)}


def _decided(bands: Sequence[Source]) -> Json:
    words: dict[str, Json] = {b.label: {"scale": b.scale, "offset": b.offset} for b in bands}
    return _once(words)


def _once(words: dict[str, Json]) -> Json:
    values = list(words.values())
    return values[0] if values and all(value == values[0] for value in values) else words


def _how(item: pystac.Item, rules: Rules) -> str:
    """Return in one sentence who says what the counts mean."""
    sensor = rules.sensor
    if sensor.calibration == "gains":
        bands = bands_of(item, sensor).items()
        assumed = [n for n, (key, b) in bands if not gain_of(item, item.assets[key], n, b)[1]]
        told = f"; normal gain is assumed for {', '.join(assumed)}" if assumed else ""
        return f"radiance by the gain of each band{told}"
    if sensor.calibration == "fixed" and rules.trust != "declared":
        return "as the product has it, whatever the item declares"
    return "as the item declares, else as the sensor has it"


def _picked(sensor: Sensor) -> list[str]:
    names = list(sensor.bands)
    if sensor.calibration == "sentinel2" and set(sentinel2.BANDS) <= set(names):
        return list(sentinel2.BANDS)
    count = min(_LOOKED_AT, len(names))
    steps = np.linspace(0, len(names) - 1, count).round().astype(int)
    return [names[k] for k in dict.fromkeys(steps.tolist())]
