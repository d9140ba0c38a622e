"""The offset of Sentinel-2 level 2A, decided for each item: what is declared, due and seen.

Since processing baseline 04.00 (25 January 2022) counts are 1000 higher than reflectance x 10000
(ESA, BOA_ADD_OFFSET). Copies differ in whether the 1000 is still in the file, and their metadata
are wrong for some items (Element84/earth-search issues 9, 24, 66 and 71; cirrus-earth-search issues
21 and 33; microsoft/PlanetaryComputer issue 134), so the pixels are asked too.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import numpy as np
import pystac
from numpy.typing import NDArray

from pipeline.errors import CatalogError

SHIFT = -1000
"""Counts by which a file of baseline 04.00 or later stands above reflectance x 10000."""
BANDS = ("blue", "green", "red", "swir22")
"""What is looked at: dark ground is darkest in these."""
FIRST = 4.0  # the processing baseline that brought the offset

# Starting values of the procedure in the project's imagery reference, tried on a real scene with
# and without the shift; see docs/sensors.md.
DEEP = -200  # counts: haze taken for too thick leaves land a little below zero, never this far
APPLIED_FROM = 0.02  # share of clear land that the shift would take below DEEP: it is done already
NOT_APPLIED_BELOW = 0.005  # share of it up to which the shift can still be due
DARK = (950.0, 1400.0)  # counts of water and shadow at 2.2 um, median, where it is due
IMPOSSIBLE = 800.0  # counts: no median of dark ground lies under a reflectance of -0.02
FEWEST = 200  # pixels that a median or a share is taken of
NEAR = 300.0  # counts between two dates of the same ground that count as none
SEASON = 45  # days of the year between two dates of the same season

GROUND = ("bare", "vegetation", "unclassified")
SHADE = ("water", "dark")

Truth = Literal["declared", "baseline", "observed"]


@dataclass(frozen=True)
class Seen:
    """What the pixels say."""

    offset: int | None
    """None: they do not say."""
    figures: dict[str, Any]
    """The numbers behind it, for the lock."""


@dataclass(frozen=True)
class Opinions:
    """The offset, in counts, as three sources have it; None: no word."""

    declared: tuple[int, ...]
    """More than one: the item contradicts itself; none: it says nothing."""
    baseline: int | None
    observed: int | None
    version: str | None = None
    """The processing baseline as the item writes it."""

    def told(self) -> str:
        """Return the three in words."""
        parts = {
            "declared": " and ".join(map(str, self.declared)) or None,
            f"baseline {self.version or 'unknown'}": self.baseline,
            "observed": self.observed,
        }
        return ", ".join(f"{k}: {'no word' if v is None else v}" for k, v in parts.items())

    def of(self, trusted: str) -> int | None:
        """Return the word of one of them."""
        first = self.declared[0] if self.declared else None
        return {"declared": first, "baseline": self.baseline}.get(trusted, self.observed)


@dataclass(frozen=True)
class Verdict:
    """The offset of an item in counts, None where it cannot be decided, and one sentence why."""

    offset: int | None
    how: str


def look(counts: Sequence[NDArray[Any]], land: NDArray[np.bool_], shade: NDArray[np.bool_]) -> Seen:
    """Ask the pixels whether the shift is still in the file.

    Parameters
    ----------
    counts : (y, x) of each of BANDS, 0 where there is nothing.
    land, shade : (y, x), land that is seen clearly; water and shadow.
    """
    there = np.logical_and.reduce([band > 0 for band in counts])
    land, shade = land & there, shade & there
    seen, dark = int(land.sum()), int(shade.sum())
    below = np.logical_or.reduce([band[land] < DEEP - SHIFT for band in counts[:3]])
    share = float(below.mean()) if seen else 0.0
    medians = [float(np.median(band[shade])) for band in counts] if dark >= FEWEST else []
    figures = {
        "land_pixels": seen,
        "share_below_800": round(share, 5),
        "dark_pixels": dark,
        "dark_medians": dict(zip(BANDS, medians, strict=False)),
    }
    return Seen(_seen_offset(share if seen >= FEWEST else None, medians), figures)


def _seen_offset(share: float | None, dark: Sequence[float]) -> int | None:
    if (share is not None and share > APPLIED_FROM) or (dark and min(dark) < IMPOSSIBLE):
        return 0
    due = share is not None and share <= NOT_APPLIED_BELOW
    # Shadow in a bright desert that was shifted already may look the same at 2.2 um, not in blue.
    if due and dark and min(dark) >= DARK[0] and dark[-1] <= DARK[1]:
        return SHIFT
    return None


def same_ground(
    counts: Sequence[NDArray[Any]],
    known: Sequence[NDArray[Any]],
    offset: int,
    clear: NDArray[np.bool_],
) -> int | None:
    """Return the offset of an item from another one of the same ground whose offset is known.

    Parameters
    ----------
    counts, known : (y, x) of each of BANDS, of the item and of the other, pixel for pixel.
    offset : of the other, counts.
    clear : (y, x), ground that both see clearly.
    """
    there = clear & np.logical_and.reduce([band > 0 for band in (*counts, *known)])
    if int(there.sum()) < FEWEST:
        return None
    pairs = zip(counts, known, strict=True)
    apart = [float(np.median(a[there].astype(float) - b[there] - offset)) for a, b in pairs]
    for verdict in (0, SHIFT):
        if all(abs(step + verdict) <= NEAR for step in apart):
            return verdict
    return None


def baseline_of(item: pystac.Item) -> str | None:
    """Return an item's processing baseline as it is written, such as "05.10"."""
    for key in ("s2:processing_baseline", "processing:version"):
        if isinstance(found := item.properties.get(key), str | float | int):
            return str(found)
    product = item.properties.get("s2:product_uri") or item.properties.get("sentinel:product_id")
    if found := re.search(r"_N(\d\d)(\d\d)_", str(product or item.id)):
        return f"{found[1]}.{found[2]}"
    return None


def due(version: str | None) -> int | None:
    """Return the offset, in counts, that a processing baseline brings.

    >>> due("02.14"), due("05.10"), due("unknown")
    (0, -1000, None)
    """
    try:
        return SHIFT if float(str(version)) >= FIRST else 0
    except ValueError:
        return None


def declared_words(item: pystac.Item, said: Mapping[str, float | None]) -> dict[str, float | None]:
    """Return by asset the offset, in counts, that is still to be applied by an item's own word.

    Where `earthsearch:boa_offset_applied` is true, the -1000 beside it tells what was taken out.

    Parameters
    ----------
    said : by asset, the offset that it declares, in counts; None: no word.
    """
    if item.properties.get("earthsearch:boa_offset_applied") is not True:
        return dict(said)
    return {
        name: 0.0 if word is not None and round(word) == SHIFT else word
        for name, word in said.items()
    }


def declared_offset(
    item: pystac.Item, said: Mapping[str, float | None], version: str | None
) -> tuple[int, ...]:
    """Return the offsets, in counts, that an item and its assets declare: one, if they agree.

    Parameters
    ----------
    said : by asset, the offset that it declares, in counts; None: no word.
    version : the item's processing baseline.
    """
    words = [round(word) for word in declared_words(item, said).values() if word is not None]
    flag = item.properties.get("earthsearch:boa_offset_applied")
    if flag is True:
        words.append(0)
    elif flag is False and (brought := due(version)) is not None:
        words.append(brought)
    return tuple(dict.fromkeys(words))


def truth_of(item: pystac.Item, holding: Truth | None) -> Truth | None:
    """Return where the truth about an item's offset is; None: wherever there is a word.

    Parameters
    ----------
    holding : what configs/sensors/ says of its catalog and collection, if it is one of those.
    """
    if holding is not None:
        return holding
    ours = any(key.startswith("earthsearch:") for key in item.properties)
    applied = item.properties.get("earthsearch:boa_offset_applied") is True
    if applied or (ours and item.collection_id == "sentinel-2-l2a"):
        return "observed"
    return None


def decide(item: str, said: Opinions, truth: Truth | None, trust: str | None) -> Verdict:
    """Decide an item's offset; `trust` has a say only where the item is in doubt.

    Raises
    ------
    CatalogError : what is declared, due and seen contradict each other, and nobody is trusted.
    """
    # A copy that takes the shift out differs from its baseline, and rightly so.
    by_pixels = truth == "observed" and said.baseline != 0
    words = (*said.declared, None if by_pixels else said.baseline, said.observed)
    differ = len({word for word in words if word is not None}) > 1
    if trust is not None and (differ or (by_pixels and said.observed is None)):
        return Verdict(said.of(trust), f"the workflow trusts what is {trust} ({said.told()})")
    if differ:
        whom = "declared or observed" if truth == "observed" else "declared, baseline or observed"
        raise CatalogError(
            f"its offset is in doubt ({said.told()}; counts)",
            where=f"item {item}",
            remedy=f"look at the item, then set search.trust to {whom}, or leave it out",
        )
    if by_pixels:
        return Verdict(said.observed, f"seen in the pixels ({said.told()})")
    offset = next((word for word in words if word is not None), None)
    seen = "the pixels agree" if said.observed is not None else "the pixels do not say"
    return Verdict(offset, f"by its metadata; {seen} ({said.told()})")


def tile_of(item: pystac.Item) -> str | None:
    """Return the tile an item covers."""
    found = item.properties
    grid = found.get("grid:code") or found.get("s2:mgrs_tile")
    if grid is None and "mgrs:utm_zone" in found:
        keys = ("mgrs:utm_zone", "mgrs:latitude_band", "mgrs:grid_square")
        grid = "".join(str(found.get(key, "")) for key in keys)
    return None if grid is None else str(grid).removeprefix("MGRS-")


def season_apart(one: datetime | None, other: datetime | None) -> int | None:
    """Return the days of the year between two moments; None if they are not of one season.

    >>> season_apart(datetime(2021, 12, 20), datetime(2024, 1, 10))
    21
    """
    if one is None or other is None:
        return None
    apart = abs(one.timetuple().tm_yday - other.timetuple().tm_yday)
    apart = min(apart, 365 - apart)
    return apart if apart <= SEASON else None
