"""What an item offers, as a sensor sees it: which asset is which band, and what its counts mean."""

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial

import pystac
import rasterio

from pipeline import remote
from pipeline.cube.assets import bands_of, contradictions, declared, elsewhere, find, offers, stamp
from pipeline.cube.calibration import calibrate, meaning
from pipeline.cube.offset import Rules, rescue
from pipeline.cube.relief import Relief
from pipeline.cube.sentinel2 import season_apart, tile_of
from pipeline.cube.source import Source
from pipeline.errors import CatalogError, ProspectraError, ReadError
from pipeline.files import Json
from pipeline.plan import Composite, Sensor
from pipeline.remote import GDAL_SETTINGS, LOCAL, Access

_AT_ONCE = 4  # items looked at together: what one host is asked for at a time

_MEDIAN = Composite()


@dataclass(frozen=True)
class Scene:
    """One item, ready to be read: a source per band and per mask, in the sensor's order."""

    item: str
    datetime: datetime | None
    bands: tuple[Source, ...]
    masks: tuple[Source | None, ...] = ()
    """None: the item lacks that mask, and the sensor lets it."""
    sun: tuple[float, float] | None = None
    """Elevation and azimuth, degrees, if the item says."""


@dataclass(frozen=True)
class Imagery:
    """The scenes of one sensor over a region, and how they become one picture."""

    name: str
    """The sensor's name in configs/sensors/."""
    sensor: Sensor
    scenes: tuple[Scene, ...]
    composite: Composite = _MEDIAN
    tolerant: bool = False
    """Whether a scene that cannot be read in a block is left out there and reported, rather than
    ending the run."""
    relief: Relief | None = None
    """What corrects each date for the slope of the ground, if that is asked for."""


@dataclass(frozen=True)
class Made:
    """What became of items: scenes, and the reasons of those that did not become one."""

    scenes: tuple[Scene, ...]
    dropped: Mapping[str, str]
    """By item id, why the rules leave it out: its offset cannot be decided, a band is not valid."""
    unreadable: Mapping[str, str]
    """By item id, why it cannot be read: an asset is missing, a file does not open."""
    notes: Mapping[str, dict[str, Json]]
    """By item id, for the lock: what its counts are taken to mean and why, what its files are."""


def make_scenes(
    items: Iterable[pystac.Item],
    sensor: Sensor,
    access: Access = LOCAL,
    trust: str | None = None,
    *,
    catalog: str | None = None,
    tolerant: bool = False,
) -> Made:
    """Turn items into scenes, in their order, with every asset that the sensor needs.

    Scale and offset are what the sensor's `calibration` says: see `pipeline.cube.calibration`.
    Nodata is what the asset declares, else the sensor's, and the file's own if neither says.
    Only assets that are read have to be at an allowed address.

    Parameters
    ----------
    trust : whom to believe of an item in doubt, because words about its offset differ or the
        pixels that have to tell it do not ("declared", "baseline", "observed"); None: nobody.
    catalog : the name of the catalog in configs/catalogs/, if it is one of those.
    tolerant : whether an item that cannot be read is named, rather than ending the run.

    Raises
    ------
    CatalogError : an item lacks an asset or has two that may be meant (unless tolerant), or its
        numbers are in doubt.
    ReadError : a file cannot be opened or read (unless tolerant).
    """
    attempt = partial(_attempt, rules=Rules(sensor, trust, catalog), access=access)
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        found = list(pool.map(attempt, items))
        rescued = pool.map(lambda o: _rescued(o, found, attempt), found)
        outcomes = list(rescued)
    for outcome in outcomes:
        if outcome.fault is not None and not tolerant:
            raise outcome.fault
    return Made(
        tuple(o.scene for o in outcomes if o.scene is not None and o.reason is None),
        {o.item.id: o.reason for o in outcomes if o.reason is not None},
        {o.item.id: _sentence(o.item, o.fault) for o in outcomes if o.fault is not None},
        {o.item.id: o.notes for o in outcomes if o.fault is None},
    )


@dataclass(frozen=True)
class _Outcome:
    """What became of one item."""

    item: pystac.Item
    scene: Scene | None = None
    notes: dict[str, Json] = field(default_factory=dict)
    reason: str | None = None
    """Why the rules leave it out."""
    undecided: bool = False
    """Whether that is because its offset cannot be decided."""
    fault: ProspectraError | None = None
    """Why it cannot be read."""


def _attempt(
    item: pystac.Item, *, rules: Rules, access: Access, observed: int | None = None
) -> _Outcome:
    """Turn one item into a scene, or say why it is none."""
    if reason := _not_valid(item, rules.sensor):
        return _Outcome(item, reason=reason)
    if missing := _missing(item, rules.sensor):
        return _Outcome(item, fault=missing)
    try:
        with rasterio.Env(**GDAL_SETTINGS):
            return _make(item, rules, access, observed)
    except ReadError as error:
        return _Outcome(item, fault=error)


def _rescued(outcome: _Outcome, others: Sequence[_Outcome], attempt: partial[_Outcome]) -> _Outcome:
    """Decide the offset of an item from another of its tile and season, if that can be done."""
    if not outcome.undecided or outcome.scene is None:
        return outcome
    partner = _partner(outcome.item, others)
    if partner is None or partner.scene is None:
        return outcome
    sensor = attempt.keywords["rules"].sensor
    pair = [(o.scene.bands, o.scene.masks) for o in (outcome, partner) if o.scene is not None]
    try:
        with rasterio.Env(**GDAL_SETTINGS):
            observed = rescue(pair[0], pair[1], sensor)
    except ReadError as error:
        return _Outcome(outcome.item, fault=error)
    return outcome if observed is None else attempt(outcome.item, observed=observed)


def _partner(item: pystac.Item, others: Sequence[_Outcome]) -> _Outcome | None:
    """Return the item of the same tile and season that is nearest in the year and is decided."""
    tile, found = tile_of(item), []
    for other in others:
        apart = season_apart(item.datetime, other.item.datetime)
        known = other.scene is not None and other.reason is None
        if known and tile is not None and apart is not None and tile_of(other.item) == tile:
            found.append((apart, other.item.id, other))
    return min(found, key=lambda entry: entry[:2])[2] if found else None


def _make(item: pystac.Item, rules: Rules, access: Access, observed: int | None) -> _Outcome:
    bands, masks = _sources(item, rules, access)
    read = {source.href: source for source in (*bands, *masks) if source is not None}
    for source in read.values():
        if elsewhere(item, source):
            raise ReadError(
                "lies wholly outside the footprint of its item",
                where=source.label,
                remedy="leave the item out: its address or its footprint is wrong",
            )
    stamps: dict[str, Json] = {
        _key(source): stamp(item.assets[_key(source)], source) for source in read.values()
    }
    calibrated = calibrate(item, bands, masks, rules, observed)
    reason = None if calibrated.decided else "its offset cannot be decided from what it offers"
    notes: dict[str, Json] = {"assets": stamps, "counts": calibrated.counts}
    if told := _told_grids(item, read.values()):
        notes["grid"] = told
    when = item.datetime or item.common_metadata.start_datetime
    scene = Scene(item.id, when, calibrated.bands, masks, _sun(item))
    return _Outcome(item, scene, notes, reason, not calibrated.decided)


def _sources(
    item: pystac.Item, rules: Rules, access: Access
) -> tuple[tuple[Source, ...], tuple[Source | None, ...]]:
    """Return the sources of an item's bands and masks, in the sensor's order."""
    bands = []
    for name, (key, band) in bands_of(item, rules.sensor).items():
        scale, offset, nodata = meaning(item, item.assets[key], name, band, rules)
        source = _source(item, key, band.number, access)
        bands.append(replace(source, scale=scale, offset=offset, nodata=nodata))
    masks: list[Source | None] = []
    for mask in rules.sensor.masks:
        if (found := find(item, mask.assets)) is None:
            masks.append(None)
            continue
        nodata = declared(item.assets[found], mask.number).get("nodata")
        masks.append(replace(_source(item, found, mask.number, access), nodata=nodata))
    return tuple(bands), tuple(masks)


def _missing(item: pystac.Item, sensor: Sensor) -> CatalogError | None:
    """Return what is wrong if an item has not one asset for each band and mask."""
    wanted = [(f"band '{name}'", band.assets) for name, band in sensor.bands.items()]
    wanted += [("quality mask", mask.assets) for mask in sensor.masks if not mask.optional]
    for role, names in wanted:
        try:
            found = find(item, names)
        except CatalogError as error:
            return error
        if found is None:
            return CatalogError(
                f"it has no asset for the {role} (looked for {', '.join(names)}; "
                f"it offers {', '.join(offers(item)) or 'none'})",
                where=f"item {item.id}",
                remedy="add the name its asset goes by to the sensor's YAML, or leave the item out",
            )
    return None


def _source(item: pystac.Item, key: str, number: int, access: Access) -> Source:
    href = item.assets[key].get_absolute_href() or item.assets[key].href
    remote.check(href, access, f"item {item.id}")
    return Source(f"item {item.id}, asset {key}", href, number=number, access=access)


def _key(source: Source) -> str:
    """Return the key of a source's asset."""
    return source.label.partition(", asset ")[2]


def _told_grids(item: pystac.Item, sources: Iterable[Source]) -> list[Json]:
    return [
        f"asset {_key(source)}: {sentence}"
        for source in sources
        for sentence in contradictions(item, item.assets[_key(source)], source)
    ]


def _not_valid(item: pystac.Item, sensor: Sensor) -> str | None:
    """Return why an item is too late for a band of the sensor, if it is."""
    when = item.datetime or item.common_metadata.start_datetime
    if when is None:
        return None
    day = when.date().isoformat()
    late = [name for name, band in sensor.bands.items() if band.until and day >= band.until]
    if not late:
        return None
    return f"its {', '.join(late)} cannot be used from {sensor.bands[late[0]].until} on"


def _sun(item: pystac.Item) -> tuple[float, float] | None:
    """Return elevation and azimuth of the sun, degrees, as STAC has called them."""
    for prefix in ("view", "eo"):
        angles = [item.properties.get(f"{prefix}:sun_{name}") for name in ("elevation", "azimuth")]
        elevation, azimuth = angles
        if isinstance(elevation, int | float) and isinstance(azimuth, int | float):
            return float(elevation), float(azimuth)
    return None


def _sentence(item: pystac.Item, error: ProspectraError) -> str:
    """Return what is wrong, and with which asset, whatever folder it lies in."""
    asset = error.where.partition(" (")[0].removeprefix(f"item {item.id}").removeprefix(", ")
    return f"{asset}: {error.what}" if asset else error.what
