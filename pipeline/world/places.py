"""The two regions of the demo world: what they are made of, and when they are looked at.

They differ on purpose in rocks, plants, soils and light, so that a model trained in one and shown
in the other has something to overcome.
"""

from dataclasses import dataclass
from datetime import UTC, datetime


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
    passes: tuple[Pass, ...]


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
    passes=(
        Pass(_day("2025-04-12", 18), 148.0, 58.0, 0.08, 0.010, 0.55),
        Pass(_day("2025-05-27", 18), 136.0, 69.0, 0.02, 0.006, 0.45, swath=0.66),
        Pass(_day("2025-07-16", 18), 130.0, 67.0, 0.15, 0.014, 0.25),
        Pass(_day("2025-09-04", 18), 148.0, 56.0, 0.05, 0.008, 0.20, columns=(0.0, 0.62)),
        Pass(_day("2025-10-19", 18), 162.0, 41.0, 0.11, 0.009, 0.25),
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
    passes=(
        Pass(_day("2025-03-18", 11), 154.0, 49.0, 0.18, 0.013, 0.70, swath=0.55),
        Pass(_day("2025-05-12", 11), 142.0, 67.0, 0.05, 0.009, 0.50),
        Pass(_day("2025-06-26", 11), 132.0, 71.0, 0.02, 0.012, 0.30),
        Pass(_day("2025-08-15", 11), 142.0, 63.0, 0.08, 0.016, 0.20, columns=(0.34, 1.0)),
        Pass(_day("2025-10-04", 11), 158.0, 46.0, 0.12, 0.010, 0.30),
    ),
)

PLACES = (NEVADA, ALMERIA)
