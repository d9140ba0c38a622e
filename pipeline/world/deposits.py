"""Faults, the deposits planted beside them, and the zones of altered rock around each.

The zones follow the classic order of hydrothermal systems, from advanced argillic at the centre
through argillic and phyllic to propylitic (Meyer & Hemley 1967; Sillitoe 2010, Econ. Geol. 105:3).
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates

from pipeline.world.fields import Field, draws, field, ramp
from pipeline.world.places import Place

ZONES = ("advanced_argillic", "argillic", "phyllic", "propylitic")
"""The zones of a system, from the centre outwards."""

Shift = tuple[float, float]
"""Metres east and metres north."""

Offset = NDArray[np.float64]

_MARGIN = 0.125  # of the region's side, kept between a deposit and the edge
_APART = 0.14  # of the region's side, kept between two deposits where there is room
_TEMPLATE = (256, 256)  # pixels: the noise that goes with a centre and moves with it
_BLUR = 0.05  # half width of the passage from one zone to the next, in system radii


@dataclass(frozen=True)
class Fault:
    """A straight fault through a point, with the throw across it."""

    row: float
    column: float
    strike: float
    """Radians clockwise from north."""
    throw: float
    """In standard deviations of the bed height."""

    def side(self, shape: tuple[int, int]) -> Field:
        """Return the distance (y, x) across the fault, pixels, positive on its right-hand side."""
        rows, columns = np.indices(shape, dtype=np.float32)
        across = (columns - self.column) * np.cos(self.strike)
        return np.asarray(across + (rows - self.row) * np.sin(self.strike), dtype=np.float32)


@dataclass(frozen=True)
class Centre:
    """Something planted: a deposit, or a patch of clay that has none."""

    number: int
    row: float
    column: float
    radius: float
    """Pixels, to the outer edge of alteration."""
    stretch: float
    """Length over width, along the strike."""
    strike: float
    edges: tuple[float, ...]
    """Outer edge of each zone, as a share of the radius."""
    iron: float
    """Share of iron oxides at the centre."""


def make_faults(place: Place, seed: int, shape: tuple[int, int]) -> tuple[Fault, ...]:
    """Return the faults of a region, drawn around its strike."""
    rng = draws(seed, place.name, "faults")
    return tuple(
        Fault(
            row=float(rng.uniform(0.1, 0.9) * shape[0]),
            column=float((number + rng.uniform(0.2, 0.8)) / 4 * shape[1]),
            strike=float(np.radians(place.strike + rng.normal(0, 14))),
            throw=float(rng.choice((-1, 1)) * rng.uniform(0.5, 1.3)),
        )
        for number in range(4)
    )


def plant_deposits(
    place: Place, seed: int, faults: tuple[Fault, ...], shape: tuple[int, int]
) -> tuple[Centre, ...]:
    """Return the deposits of a region, each within a few hundred metres of a fault."""
    planted: list[Centre] = []
    for number in range(place.deposits):
        rng = draws(seed, place.name, "deposit", number)
        fault = faults[number % len(faults)]
        tries = [_beside(fault, rng, shape) for _ in range(60)]
        row, column = max(tries, key=lambda spot: _room(spot, planted, _APART * shape[0]))
        core = rng.uniform(0.20, 0.34)
        argillic = core + rng.uniform(0.12, 0.20)
        planted.append(
            Centre(
                number=number,
                row=row,
                column=column,
                radius=float(rng.uniform(32, 66)),
                stretch=float(rng.uniform(1.0, 1.7)),
                strike=fault.strike,
                edges=(core, argillic, argillic + rng.uniform(0.18, 0.28), 1.0),
                iron=float(rng.uniform(0.10, 0.35)),
            )
        )
    return tuple(planted)


def plant_patches(place: Place, seed: int, shape: tuple[int, int]) -> tuple[Centre, ...]:
    """Return patches of weathered, clay-rich rock that no deposit made: decoys, anywhere."""
    rng = draws(seed, place.name, "patches")
    return tuple(
        Centre(
            number=number,
            row=float(rng.uniform(0.05, 0.95) * shape[0]),
            column=float(rng.uniform(0.05, 0.95) * shape[1]),
            radius=float(rng.uniform(9, 20)),
            stretch=float(rng.uniform(1.0, 2.2)),
            strike=float(rng.uniform(0, np.pi)),
            edges=(1.0,),
            iron=float(rng.uniform(0.0, 0.15)),
        )
        for number in range(9)
    )


def move(
    deposits: tuple[Centre, ...], shifts: Mapping[int, Shift], resolution: float
) -> tuple[Centre, ...]:
    """Return the deposits with some of them moved, by number, in metres east and north."""
    return tuple(
        replace(
            deposit,
            row=deposit.row - shifts.get(deposit.number, (0.0, 0.0))[1] / resolution,
            column=deposit.column + shifts.get(deposit.number, (0.0, 0.0))[0] / resolution,
        )
        for deposit in deposits
    )


def zones(centre: Centre, noise: tuple[Field, Field], shape: tuple[int, int]) -> Field:
    """Return how much of each pixel belongs to each zone (zone, y, x), 0..1.

    Parameters
    ----------
    centre : what was planted.
    noise : two templates that travel with it: of its outline, and of how strongly it altered.
    shape : rows and columns.
    """
    found = np.zeros((len(centre.edges), *shape), np.float32)
    within = _window(centre, shape)
    rows, columns = np.meshgrid(*(np.arange(s.start, s.stop) for s in within), indexing="ij")
    north, east = centre.row - rows, columns - centre.column
    distance = _distance(centre, north, east) * np.exp(0.30 * _at(noise[0], north, east))
    reached = [1 - ramp(distance, edge - _BLUR, edge + _BLUR) for edge in centre.edges]
    fade = 1 - 0.35 * ramp(distance, 0.2, 1.1)
    strength = fade / (1 + np.exp(-1.7 - 1.2 * _at(noise[1], north, east)))
    shells = [reached[0], *(outer - inner for inner, outer in pairwise(reached))]
    found[:, *within] = np.clip(shells, 0, 1) * strength
    return found


def templates(seed: int, *names: str | int) -> tuple[Field, Field]:
    """Return the two noise templates of a centre, keyed by its name."""
    return (
        field(draws(seed, *names, "outline"), _TEMPLATE, 22, 1.8),
        field(draws(seed, *names, "strength"), _TEMPLATE, 9, 1.6),
    )


def _beside(fault: Fault, rng: np.random.Generator, shape: tuple[int, int]) -> tuple[float, float]:
    along = rng.uniform(-0.6, 0.6) * shape[0]
    off = rng.normal(0, 10)
    row = fault.row - along * np.cos(fault.strike) + off * np.sin(fault.strike)
    column = fault.column + along * np.sin(fault.strike) + off * np.cos(fault.strike)
    return (
        float(np.clip(row, _MARGIN * shape[0], (1 - _MARGIN) * shape[0])),
        float(np.clip(column, _MARGIN * shape[1], (1 - _MARGIN) * shape[1])),
    )


def _room(spot: tuple[float, float], planted: list[Centre], enough: float) -> float:
    """Return the distance to the nearest deposit, pixels, at most `enough`."""
    away = (float(np.hypot(spot[0] - p.row, spot[1] - p.column)) for p in planted)
    return min((*away, enough))


def _window(centre: Centre, shape: tuple[int, int]) -> tuple[slice, slice]:
    """Return the rows and columns that a centre can alter, whatever its outline."""
    reach = 3 * centre.radius * centre.stretch
    return (
        slice(max(int(centre.row - reach), 0), max(min(int(centre.row + reach), shape[0]), 0)),
        slice(
            max(int(centre.column - reach), 0), max(min(int(centre.column + reach), shape[1]), 0)
        ),
    )


def _distance(centre: Centre, north: Offset, east: Offset) -> Field:
    """Return the distance from a centre, in radii, for offsets from it in pixels."""
    along = north * np.cos(centre.strike) + east * np.sin(centre.strike)
    across = east * np.cos(centre.strike) - north * np.sin(centre.strike)
    return np.asarray(np.hypot(along / centre.stretch, across) / centre.radius, dtype=np.float32)


def _at(template: Field, north: Offset, east: Offset) -> Field:
    """Return a template laid out with its middle on a centre, at offsets from it in pixels."""
    where = np.stack([_TEMPLATE[0] / 2 - north, _TEMPLATE[1] / 2 + east])
    return np.asarray(map_coordinates(template, where, order=1, mode="grid-wrap"), dtype=np.float32)
