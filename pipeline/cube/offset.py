"""The offset of a Sentinel-2 item: its metadata and pixels, brought before the rule."""

from dataclasses import dataclass, replace

import pystac

from pipeline.cube import sentinel2
from pipeline.cube.assets import bands_of, declared
from pipeline.cube.sample import Look, flagged, sample
from pipeline.cube.sentinel2 import Opinions, Seen, Verdict
from pipeline.cube.source import Source
from pipeline.files import Json
from pipeline.plan import Sensor


@dataclass(frozen=True)
class Rules:
    """By what an item is judged."""

    sensor: Sensor
    trust: str | None
    catalog: str | None
    """Its name in configs/catalogs/, if it is one of those."""


def decide(
    item: pystac.Item, look: Look | None, rules: Rules, rescued: int | None
) -> tuple[Verdict, dict[str, Json]]:
    """Decide the offset of a Sentinel-2 item; return it with its account for the lock.

    Parameters
    ----------
    look : a sample of it, None if there is none.
    rescued : the offset in counts, from another item of the same ground.

    Raises
    ------
    CatalogError : its offset is in doubt, and nobody is trusted.
    """
    seen = _seen(look)
    version = sentinel2.baseline_of(item)
    said = Opinions(
        sentinel2.declared_offset(item, _declared_offsets(item, rules), version),
        sentinel2.due(version),
        seen.offset if rescued is None else rescued,
        version,
    )
    verdict = sentinel2.decide(item.id, said, _truth(item, rules), rules.trust)
    if rescued is not None:
        verdict = replace(verdict, how=f"{verdict.how}, as another date of the same ground shows")
    account: dict[str, Json] = {
        "baseline": version,
        "offset": {
            "declared": list(said.declared) if len(said.declared) > 1 else said.of("declared"),
            "baseline": said.baseline,
            "observed": said.observed,
            "decided": verdict.offset,
        },
        "pixels": seen.figures,
    }
    return verdict, account


def _seen(look: Look | None) -> Seen:
    if look is None or not look.masks or not set(sentinel2.BANDS) <= look.values.keys():
        return Seen(None, {})
    mask, classes = look.masks[0]
    counts = [look.values[name] for name in sentinel2.BANDS]
    ground = flagged(classes, mask, sentinel2.GROUND)
    return sentinel2.look(counts, ground, flagged(classes, mask, sentinel2.SHADE))


def _truth(item: pystac.Item, rules: Rules) -> sentinel2.Truth | None:
    held = rules.sensor.holdings.get(rules.catalog or "", ())
    known_here = next((h.offset for h in held if h.collection == item.collection_id), None)
    return sentinel2.truth_of(item, known_here)


def _declared_offsets(item: pystac.Item, rules: Rules) -> dict[str, float | None]:
    """Return by band the offset an item declares, in counts; None where it says nothing."""
    words: dict[str, float | None] = {}
    for name, (key, band) in bands_of(item, rules.sensor).items():
        said = declared(item.assets[key], band.number)
        offset = said.get("offset")  # a scale alone is no word: the offset is a matter of the copy
        words[name] = None if offset is None else offset / said.get("scale", rules.sensor.scale)
    return words


def shifted(
    bands: tuple[Source, ...], offset: int, item: pystac.Item, rules: Rules
) -> tuple[Source, ...]:
    """Return the bands with an offset in counts; an item that is trusted keeps its own by band."""
    trusted = rules.trust == "declared"
    words = sentinel2.declared_words(item, _declared_offsets(item, rules)) if trusted else {}
    own = [words.get(name) for name in rules.sensor.bands]
    return tuple(
        replace(band, offset=(offset if word is None else word) * band.scale)
        for band, word in zip(bands, own, strict=True)
    )


def rescue(
    item: tuple[tuple[Source, ...], tuple[Source | None, ...]],
    other: tuple[tuple[Source, ...], tuple[Source | None, ...]],
    sensor: Sensor,
) -> int | None:
    """Return the offset, in counts, of an item from another of the same ground; None: not clear.

    Parameters
    ----------
    item, other : bands and masks; those of the other are calibrated.

    Raises
    ------
    ReadError : a file cannot be read.
    """
    names = list(sensor.bands)
    parts = []
    for bands, masks in (item, other):
        if masks[0] is None:
            return None
        parts.append([bands[names.index(name)] for name in sentinel2.BANDS] + [masks[0]])
    found = sample([source for part in parts for source in part])
    if found is None:
        return None
    size = len(parts[0])
    ours, theirs = found[:size], found[size:]
    mask = sensor.masks[0]
    ground = flagged(ours[-1], mask, sentinel2.GROUND) & flagged(theirs[-1], mask, sentinel2.GROUND)
    offset = round(parts[1][0].offset / parts[1][0].scale)
    return sentinel2.same_ground(ours[:-1], theirs[:-1], offset, ground)
