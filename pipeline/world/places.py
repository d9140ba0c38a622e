"""The two regions of the demo world: what they are made of, and when they are looked at.

They differ on purpose in rocks, plants, soils and light, so that a model trained in one and shown
in the other has something to overcome.
"""

from dataclasses import dataclass
from datetime import UTC, datetime


@dataclass(frozen=True)
class Baseline:
    """A way in which Sentinel-2 counts have been written, and what their items say of it."""

    number: str
    """The processing baseline, as items write it."""
    held: float
    """Reflectance = count x 1e-4 + this, in the file."""
    declared: float
    """The same, as the item says."""
    applied: bool | None = None
    """What the item says about an offset already taken off (`earthsearch:boa_offset_applied`)."""


NEW = Baseline("05.10", -0.1, -0.1)
"""From baseline 04.00 on, counts carry an offset of 1000, and the item says so."""
OLD = Baseline("02.14", 0.0, 0.0)
HARMONISED = Baseline("05.10", 0.0, 0.0, applied=True)
"""The offset has been taken off in the file, and the item says so."""
WRONG_FLAG = Baseline("05.10", 0.0, -0.1, applied=False)
"""It has been taken off, and the item denies it: known of some items of Earth Search."""


@dataclass(frozen=True)
class Pass:
    """One acquisition."""

    when: datetime
    sun_azimuth: float
    """Degrees clockwise from north."""
    sun_elevation: float
    """Degrees above the horizon."""
    cloud: float
    """Share of the sky under cloud."""
    haze: float
    """Reflectance that the air adds in the blue band."""
    green: float
    """Share of the plants that is green; the rest is dry."""
    columns: tuple[float, float] = (0.0, 1.0)
    """West and east end of the file, as a share of the full width."""
    swath: float | None = None
    """Share of the width, in the middle row, at which an oblique swath edge cuts the data off."""
    baseline: Baseline = NEW


@dataclass(frozen=True)
class Place:
    """One region of the demo world."""

    name: str
    rocks: tuple[tuple[str, float], ...]
    """Rock units from the lowest bed to the highest, with their share of the ground."""
    stock: str
    """The intrusive rock, which cuts the beds."""
    relief: float
    """Standard deviation of the height, metres."""
    strike: float
    """Mean direction of the faults, degrees clockwise from north."""
    alluvium: float
    """Share of the ground in valley fill."""
    red_soil: float
    """Share of the ground that iron-stained, clay-rich soil may take."""
    playa: float
    """Share of the ground in dry lakes."""
    plants: float
    """Mean cover of plants, 0..1."""
    deposits: int
    tile: str
    """Of the military grid, as Sentinel-2 scenes are cut."""
    path_row: tuple[int, int]
    """Of the Landsat grid (WRS-2)."""
    passes: tuple[Pass, ...]
    """Of a satellite like Sentinel-2; at least one."""
    landsat: tuple[Pass, ...] = ()
    """Of one like Landsat; they see the whole region."""


def _day(text: str, hour: int) -> datetime:
    return datetime.fromisoformat(text).replace(hour=hour, minute=40, tzinfo=UTC)


NEVADA = Place(
    name="demo_nevada",
    rocks=(
        ("limestone", 0.10),
        ("schist", 0.07),
        ("andesite", 0.25),
        ("rhyolite", 0.28),
        ("red_tuff", 0.15),
        ("basalt", 0.15),
    ),
    stock="granite",
    relief=190.0,
    strike=350.0,
    alluvium=0.26,
    red_soil=0.10,
    playa=0.035,
    plants=0.09,
    deposits=8,
    tile="11SMB",
    path_row=(41, 34),
    passes=(
        Pass(_day("2025-04-12", 18), 148.0, 58.0, 0.08, 0.010, 0.55, baseline=OLD),
        Pass(_day("2025-05-27", 18), 136.0, 69.0, 0.02, 0.006, 0.45, swath=0.66),
        Pass(_day("2025-07-16", 18), 130.0, 67.0, 0.15, 0.014, 0.25),
        Pass(_day("2025-09-04", 18), 148.0, 56.0, 0.05, 0.008, 0.20, columns=(0.0, 0.62)),
        Pass(_day("2025-10-19", 18), 162.0, 41.0, 0.11, 0.009, 0.25),
    ),
    landsat=(
        Pass(_day("2025-05-10", 18), 133.0, 65.0, 0.04, 0.008, 0.50),
        Pass(_day("2025-08-14", 18), 137.0, 60.0, 0.07, 0.010, 0.22),
    ),
)

ALMERIA = Place(
    name="demo_almeria",
    rocks=(
        ("schist", 0.14),
        ("limestone", 0.14),
        ("marl", 0.12),
        ("andesite", 0.38),
        ("red_tuff", 0.06),
        ("rhyolite", 0.16),
    ),
    stock="granite",
    relief=150.0,
    strike=45.0,
    alluvium=0.20,
    red_soil=0.15,
    playa=0.02,
    plants=0.14,
    deposits=7,
    tile="30SWF",
    path_row=(199, 34),
    passes=(
        Pass(_day("2025-03-18", 11), 154.0, 49.0, 0.18, 0.013, 0.70, swath=0.55),
        Pass(_day("2025-05-12", 11), 142.0, 67.0, 0.05, 0.009, 0.50, baseline=OLD),
        Pass(_day("2025-06-26", 11), 132.0, 71.0, 0.02, 0.012, 0.30),
        Pass(_day("2025-08-15", 11), 142.0, 63.0, 0.08, 0.016, 0.20, columns=(0.34, 1.0)),
        Pass(_day("2025-10-04", 11), 158.0, 46.0, 0.12, 0.010, 0.30),
    ),
    landsat=(
        Pass(_day("2025-05-30", 10), 130.0, 66.0, 0.03, 0.011, 0.45),
        Pass(_day("2025-08-18", 10), 134.0, 59.0, 0.06, 0.013, 0.20),
    ),
)

PLACES = (NEVADA, ALMERIA)
