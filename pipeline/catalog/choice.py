"""Which of the offered items are taken: every one that is not has its reason, in words."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from shapely.errors import ShapelyError
from shapely.geometry import shape
from shapely.geometry.base import BaseGeometry

from pipeline.catalog import cql2
from pipeline.catalog.facts import Facts, facts_of
from pipeline.catalog.footprint import Outline, covered, outline_of
from pipeline.catalog.query import Offer, Query
from pipeline.files import Json
from pipeline.plan import Search, Sensor

OUTSIDE = "outside the region"
_SAME_TIME = 60.0  # seconds; catalogs round the time of one data take differently
_SAME_GROUND = 0.5  # share of the smaller footprint; two halves of one tile are no duplicates
_EARLY = datetime.min.replace(tzinfo=UTC)
_FAULTS = (ValueError, TypeError, KeyError, AttributeError, IndexError, ShapelyError, OverflowError)


@dataclass
class Candidate:
    """One offered item, on its way to be kept or dropped."""

    offer: Offer
    content: dict[str, Json]
    """In its canonical form, see `pipeline.catalog.lock.canonical`; empty: it has none."""
    reason: str | None = None
    """Why it is dropped; None: it is not."""
    facts: Facts | None = None
    footprint: BaseGeometry | None = field(default=None, repr=False)

    @property
    def name(self) -> str:
        """Its id, or what stands in its place."""
        return str(self.offer.content.get("id"))

    @property
    def order(self) -> tuple[datetime, str, str, str]:
        """By time, id and collection: the same however a catalog orders its answer."""
        when = self.facts.when if self.facts else None
        place = str(self.offer.content.get("collection") or "")
        return when or _EARLY, self.name, place, self.offer.itself or ""


def choose(
    candidates: Sequence[Candidate], query: Query, wanted: Search, sensor: Sensor, decided: bool
) -> list[Candidate]:
    """Decide on every candidate, and return them in order of time, id and collection.

    Parameters
    ----------
    decided : whether the filter is decided by the catalog alone, because it cannot be here.
    """
    outline = outline_of(query.outline)
    for candidate in candidates:
        if candidate.reason is None:
            _look(candidate)
    ordered = sorted(candidates, key=lambda c: c.order)
    for candidate in ordered:
        if candidate.reason is None:
            candidate.reason = _reason(candidate, query, wanted, sensor, outline, decided)
    _drop_duplicates([c for c in ordered if c.reason is None], query.collections)
    if wanted.per_cell is not None:
        _drop_beyond([c for c in ordered if c.reason is None], wanted.per_cell)
    return ordered


def _look(candidate: Candidate) -> None:
    """Read what the item says of itself; one that says nonsense is dropped for it."""
    content = candidate.offer.content
    try:
        candidate.facts = facts_of(content)
        if content.get("geometry") is not None:
            candidate.footprint = shape(content["geometry"])
    except _FAULTS as error:
        candidate.reason = unusable(error)


def unusable(error: Exception) -> str:
    """Return the reason for dropping an item that cannot be understood."""
    return f"it is not a usable STAC item ({type(error).__name__}: {error})"


def _reason(
    candidate: Candidate,
    query: Query,
    wanted: Search,
    sensor: Sensor,
    outline: Outline,
    decided: bool,
) -> str | None:
    facts, content = _known(candidate), candidate.offer.content
    if facts.when is None:
        return "it has no time"
    if candidate.footprint is None or candidate.footprint.is_empty:
        return "it has no geometry, so nobody knows where it is"
    share = covered(outline, candidate.footprint)
    if share is None:
        return OUTSIDE
    if share < wanted.min_overlap:
        return f"it covers {share:.1%} of the region, less than {wanted.min_overlap:.1%}"
    return (
        _untimely(facts.when, query, wanted)
        or _not_of(sensor, facts.when, facts.platform, content)
        or _unclear(facts, wanted)
        or _fails_filter(content, wanted, decided)
    )


def _untimely(when: datetime, query: Query, wanted: Search) -> str | None:
    if (query.start and when < query.start) or (query.end and when > query.end):
        return "outside the time wanted"
    if wanted.months and when.month not in wanted.months:
        return f"month {when.month} is not wanted"
    return None


def _not_of(
    sensor: Sensor, when: datetime, platform: str, content: Mapping[str, Any]
) -> str | None:
    if platform and sensor.platforms and platform not in sensor.platforms:
        return f"platform '{platform}' is not this sensor's"
    if not content.get("assets"):
        return "it has no assets"
    return _no_longer_valid(when, sensor)


def _unclear(facts: Facts, wanted: Search) -> str | None:
    if (facts.cloud or 0.0) > wanted.max_cloud:
        return f"cloud cover {facts.cloud:g} % is over {wanted.max_cloud:g} %"
    return _sun_too_low(facts, wanted)


def _no_longer_valid(when: datetime, sensor: Sensor) -> str | None:
    ended: dict[str, list[str]] = defaultdict(list)
    for name, band in sensor.bands.items():
        if band.until is not None and when.date().isoformat() >= band.until:
            ended[band.until].append(name)
    told = [f"{', '.join(names)} not valid from {day} on" for day, names in sorted(ended.items())]
    return f"bands {'; '.join(told)}" if told else None


def _sun_too_low(facts: Facts, wanted: Search) -> str | None:
    if wanted.min_sun_elevation is None:
        return None
    if facts.sun is None:
        return "its sun elevation is not told"
    if facts.sun < wanted.min_sun_elevation:
        return f"sun elevation {facts.sun:.1f} is under {wanted.min_sun_elevation:g} degrees"
    return None


def _fails_filter(content: Mapping[str, Any], wanted: Search, decided: bool) -> str | None:
    if wanted.filter is None or decided or cql2.holds(wanted.filter, content):
        return None
    return "it does not meet search.filter"


def _drop_duplicates(kept: list[Candidate], collections: tuple[str, ...]) -> None:
    """Of what is the same scene, keep the newest processing; of one id, one item."""
    groups: dict[str, list[Candidate]] = defaultdict(list)
    for candidate in kept:
        facts = _known(candidate)
        groups[f"id {candidate.name}"].append(candidate)
        if facts.cell is not None:
            groups[f"{facts.cell} {facts.platform} {facts.instruments}"].append(candidate)
    for key, group in groups.items():
        ranked = sorted(group, key=lambda c: _rank(c, collections))
        best: list[Candidate] = []
        for candidate in ranked:
            if candidate.reason is not None:
                continue
            twin = next((b for b in best if key.startswith("id ") or _same(b, candidate)), None)
            if twin is None:
                best.append(candidate)
            else:
                candidate.reason = _twin_of(twin, candidate)


def _rank(candidate: Candidate, collections: tuple[str, ...]) -> tuple[Any, ...]:
    """Sort the one to keep first: newest baseline, collection in the order asked for, newest."""
    facts, place = _known(candidate), str(candidate.offer.content.get("collection") or "")
    asked = collections.index(place) if place in collections else len(collections)
    made = -facts.made.timestamp() if facts.made else 0.0
    return -facts.baseline, asked, made, candidate.name, place, candidate.offer.itself or ""


def _same(one: Candidate, other: Candidate) -> bool:
    """Return whether two items of one cell and platform are the same scene, processed twice."""
    ours, theirs = _known(one), _known(other)
    if ours.when is None or theirs.when is None or not one.footprint or not other.footprint:
        return False
    if ours.take and theirs.take:
        near = ours.take == theirs.take
    else:
        near = abs((ours.when - theirs.when).total_seconds()) <= _SAME_TIME
    if not near:
        return False
    smaller = min((one.footprint, other.footprint), key=lambda g: g.area)
    larger = other.footprint if smaller is one.footprint else one.footprint
    try:
        common = smaller.intersection(larger).area
    except ShapelyError:  # sides that cross: what is left to compare is the time
        return True
    return bool(common >= _SAME_GROUND * smaller.area)


def _twin_of(kept: Candidate, dropped: Candidate) -> str:
    place = kept.offer.content.get("collection")
    if kept.name == dropped.name and place == dropped.offer.content.get("collection"):
        return "the same id is offered twice"
    baseline = _known(kept).baseline
    told = f", baseline {baseline:05.2f}" if baseline >= 0 else ""
    return f"the same scene as {kept.name} of {place}{told}"


def _drop_beyond(kept: list[Candidate], most: int) -> None:
    """Keep at most so many items of each cell: the least cloudy, then the newest."""
    cells: dict[str, list[Candidate]] = defaultdict(list)
    for candidate in kept:
        if (cell := _known(candidate).cell) is not None:
            cells[cell].append(candidate)
    for cell, group in cells.items():
        for candidate in sorted(group, key=_clearest)[most:]:
            candidate.reason = f"cell {cell} has {most} better ones already"


def _clearest(candidate: Candidate) -> tuple[Any, ...]:
    facts = _known(candidate)
    cloud = 101.0 if facts.cloud is None else facts.cloud
    return cloud, -facts.when.timestamp() if facts.when else 0.0, candidate.name


def _known(candidate: Candidate) -> Facts:
    if candidate.facts is None:
        raise ValueError(f"item {candidate.name} was not looked at")
    return candidate.facts
