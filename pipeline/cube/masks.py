"""Which dates are clear: the flags of quality masks, grown, guarded and counted.

What a mask says of a pixel is one number with a bit for each flag, looked up in a table; several
masks are joined by name, so that `cloud` of one and `cloud` of another are the same flag.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from pipeline.cube.dates import reading
from pipeline.cube.scenes import Scene
from pipeline.cube.source import Source, place, read_into, touches
from pipeline.errors import PlanError, did_you_mean
from pipeline.grid import Block, crop, halo_pixels
from pipeline.plan import Mask, Masking, Sensor

CLOUDS = frozenset({"cloud", "cirrus", "dilated_cloud", "cloud_adjacent", "haze"})
"""Flags that the guard for bright ground may overrule."""
NOT_SEEN = frozenset({"nodata", "fill"})
"""Flags of pixels that a date does not see at all; they are dropped whatever a workflow says."""
BRIGHT_SHARE = 0.8
"""Share of the dates over which ground that is flagged as cloud is taken to be bright ground."""
BRIGHT_DATES = 5
"""Dates that have to see a pixel before the guard judges it."""

_NUMBERS = 1 << 16  # a mask holds 8 or 16 bits; the table has one more entry, for no number
_MISSING = 1 << 31  # the bit of a pixel without a number, or with a class that no flag names
_MOST_FLAGS = 31

Flags = NDArray[np.uint32]


@dataclass(frozen=True, eq=False)
class Clear:
    """The dates on which a block can be seen."""

    scenes: list[Scene]
    """Those with anything clear here."""
    clear: NDArray[np.bool_]
    """(date, pixel), where each is clear."""
    shares: NDArray[np.float32]
    """(flag, y, x), share of the dates that see a pixel on which it carries each published flag."""


@dataclass(frozen=True)
class Rule:
    """What a workflow makes of a sensor's masks, as bits."""

    masks: tuple[tuple[str, tuple[tuple[int, tuple[int, ...]], ...]], ...]
    """For each mask its encoding, and the numbers that each bit stands for."""
    dropped: int
    grown: tuple[tuple[int, float], ...]
    """Bits and the metres by which they are grown."""
    clouds: int
    """Bits that the guard for bright ground overrules; 0: it does not stand."""
    not_seen: int
    published: tuple[int, ...]

    @property
    def reach(self) -> float:
        """Metres around a block that decide about it."""
        return max((metres for _, metres in self.grown), default=0.0)


def rule_of(sensor: Sensor, masking: Masking) -> Rule:
    """Return what a workflow makes of a sensor's masks.

    Raises
    ------
    PlanError : it names a flag that no mask of the sensor has, or there are more than 31 flags.
    """
    names = list(dict.fromkeys(name for mask in sensor.masks for name in mask.flags))
    bits = {name: 1 << number for number, name in enumerate(names)}
    asked = [*(masking.drop or ()), *masking.dilate, *masking.publish]
    if unknown := [name for name in asked if name not in bits]:
        raise PlanError(
            f"'{unknown[0]}' is no flag of its quality masks",
            where=f"composite.masks for {sensor.title}",
            remedy=did_you_mean(unknown[0], bits),
        )
    if len(bits) > _MOST_FLAGS:
        raise PlanError(
            f"its masks have {len(bits)} flags, more than {_MOST_FLAGS}",
            where=sensor.title,
            remedy="leave out flags that nothing asks for",
        )
    by_sensor = [name for mask in sensor.masks for name in mask.drop]
    drop = set(by_sensor if masking.drop is None else masking.drop)

    def those(wanted: Iterable[str]) -> int:
        return sum(bits[name] for name in wanted if name in bits)

    radii = {
        metres: {n for n, m in masking.dilate.items() if m == metres} & drop
        for metres in sorted(set(masking.dilate.values()))
    }
    return Rule(
        tuple(_numbers(mask, bits) for mask in sensor.masks),
        those(drop | NOT_SEEN) | _MISSING,
        tuple((those(flags), metres) for metres, flags in radii.items() if flags),
        those(CLOUDS & drop) if masking.bright_guard else 0,
        those(NOT_SEEN) | _MISSING,
        tuple(bits[name] for name in masking.publish),
    )


def clear_dates(scenes: Sequence[Scene], rule: Rule, grid: GeoBox) -> Clear:
    """Return which scenes are clear where in a block.

    A flag is grown by a disc around the centre of each pixel that carries it; masks are read so
    much further than the block. Ground that carries a cloud flag on more than 80 % of the dates
    that see it, five or more, is probably bright rather than cloudy (a playa, a salar): if the
    guard stands, its cloud flags are ignored on every date, and any other flag still drops it. Both
    limits are starting values, not fitted to anything; where clouds do stand for months the guard
    must be left off. Shares are of the flags as the masks have them, neither grown nor overruled.

    Parameters
    ----------
    grid : of the block.

    Raises
    ------
    UnreadableError : a mask, or the header of a band, cannot be read.
    """
    halo = halo_pixels(rule.reach, abs(grid.resolution.x))
    rows, columns = grid.shape
    wide = crop(grid, Block(0, rows, 0, columns).padded(halo))
    here = [scene for scene in scenes if _touches(scene, grid)]
    flags: Iterable[Flags] = (read_flags(scene, rule, wide) for scene in here)
    inner = slice(halo, halo + rows), slice(halo, halo + columns)
    bright, shares = None, np.empty((0, rows, columns), np.float32)
    if rule.clouds or rule.published:  # these look at all the dates before any is decided
        flags = list(flags)
        bright = _bright(flags, rule) if rule.clouds and flags else None
        shares = _shares([date[inner] for date in flags], rule, (rows, columns))
    kept, clear = [], []
    for scene, date in zip(here, flags, strict=True):
        if bright is not None:
            date[bright] &= np.uint32(~rule.clouds & 0xFFFFFFFF)
        seen = _kept(date, rule, abs(grid.resolution.x))[inner]
        if seen.any():  # a date that is all cloud here is not worth reading
            kept.append(scene)
            clear.append(seen.reshape(-1))
    return Clear(kept, np.array(clear), shares)


def read_flags(scene: Scene, rule: Rule, grid: GeoBox) -> Flags:
    """Return what a scene's masks say (y, x), a bit for each flag; nearest pixel, never between.

    Raises
    ------
    UnreadableError : a mask cannot be read.
    """
    out = np.zeros(grid.shape, np.uint32)
    for source, (encoding, numbers) in zip(scene.masks, rule.masks, strict=True):
        if source is not None:
            with reading(scene):
                values, nodata = _read(source, grid)
            _look_up(values, _table(encoding, numbers, nodata), out)
    return out


def _touches(scene: Scene, grid: GeoBox) -> bool:
    with reading(scene):
        return touches(scene.bands[0], grid)


def _read(source: Source, grid: GeoBox) -> tuple[NDArray[Any], float | None]:
    """Return a mask's numbers as they are stored, NaN past its edge, and which means nothing."""
    placed = place(source, grid)
    if placed.covers:
        values = np.empty(grid.shape, placed.file.dtype)
    else:
        values = np.full(grid.shape, np.nan, np.float32)
    read_into(replace(placed, nodata=None), values, classes=True)
    return values, placed.nodata


def _numbers(
    mask: Mask, bits: dict[str, int]
) -> tuple[str, tuple[tuple[int, tuple[int, ...]], ...]]:
    return mask.encoding, tuple((bits[name], found) for name, found in mask.flags.items())


@lru_cache(maxsize=64)
def _table(
    encoding: str, numbers: tuple[tuple[int, tuple[int, ...]], ...], nodata: float | None
) -> Flags:
    """Return the flags of each number; the last entry is for what is no number."""
    table = np.zeros(_NUMBERS + 1, np.uint32)
    every = np.arange(_NUMBERS)
    for bit, found in numbers:
        for number in found:
            hit = every == number if encoding == "classes" else (every >> number) & 1 == 1
            table[:-1][hit] |= np.uint32(bit)
    if encoding == "classes":
        table[table == 0] = _MISSING
    elif nodata is not None and nodata.is_integer() and 0 < nodata < _NUMBERS:
        # Zero says nothing: in a mask of bits it is ground without a flag, whatever the file calls
        # it (QA_RADSAT). Another number does, as 255, every bit at once, in the Fmask of HLS.
        table[int(nodata)] |= np.uint32(_MISSING)
    table[-1] = _MISSING
    return table


def _bright(flags: Sequence[Flags], rule: Rule) -> NDArray[np.bool_]:
    """Return where (y, x) so many dates have a cloud that it cannot be one."""
    seen, cloudy = np.zeros((2, *flags[0].shape), np.uint16)
    for date in flags:
        there = (date & np.uint32(rule.not_seen)) == 0
        seen += there
        cloudy += there & ((date & np.uint32(rule.clouds)) != 0)
    found: NDArray[np.bool_] = (seen >= BRIGHT_DATES) & (cloudy > BRIGHT_SHARE * seen)
    return found


def _shares(flags: Sequence[Flags], rule: Rule, shape: tuple[int, int]) -> NDArray[np.float32]:
    seen = np.zeros(shape, np.float32)
    out = np.zeros((len(rule.published), *shape), np.float32)
    for date in flags:
        there = (date & np.uint32(rule.not_seen)) == 0
        seen += there
        for number, bit in enumerate(rule.published):
            out[number] += there & ((date & np.uint32(bit)) != 0)
    with np.errstate(invalid="ignore"):
        out /= seen  # 0 / 0 is NaN: no date sees it
    return out


def _kept(flags: Flags, rule: Rule, resolution: float) -> NDArray[np.bool_]:
    out: NDArray[np.bool_] = (flags & np.uint32(rule.dropped)) == 0
    for bits, metres in rule.grown:
        found = (flags & np.uint32(bits)) != 0
        if found.any():
            _grow(found, _disc(metres / resolution), out)
    return out


def _disc(radius: float) -> NDArray[np.int32]:
    """Return how far (pixels) a disc reaches along each row above, through and below its centre."""
    most = int(radius + 1e-9)
    away = np.arange(-most, most + 1)
    reach: NDArray[np.int32] = np.sqrt(np.maximum(radius**2 - away**2, 0) + 1e-9).astype(np.int32)
    return reach


_kernel: Any = numba.njit(cache=True, nogil=True, fastmath=False, error_model="numpy")


@_kernel
def _look_up(values, table, out):  # type: ignore[no-untyped-def]
    last = len(table) - 1
    for y in range(out.shape[0]):
        here, there = values[y], out[y]
        for x in range(len(there)):
            value = here[x]
            there[x] |= table[np.uint32(value)] if 0 <= value < last else table[last]


@_kernel
def _grow(found, disc, kept):  # type: ignore[no-untyped-def]
    """Clear `kept` (y, x) wherever a found pixel lies within the disc."""
    height, width = found.shape
    far = np.int32(height + width + len(disc))
    near = np.empty((height, width), np.int32)  # pixels to the nearest found one of the row
    for y in range(height):
        away = far
        for x in range(width):
            away = np.int32(0) if found[y, x] else np.int32(away + 1)
            near[y, x] = away
        away = far
        for x in range(width - 1, -1, -1):
            away = np.int32(0) if found[y, x] else np.int32(away + 1)
            near[y, x] = min(near[y, x], away)
    most = len(disc) // 2
    for y in range(height):
        row = kept[y]
        for other in range(max(y - most, 0), min(y + most + 1, height)):
            reach, beside = disc[other - y + most], near[other]
            for x in range(width):
                row[x] &= beside[x] > reach
