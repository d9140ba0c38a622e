"""Training sites as field campaigns leave them: clumped, a little misplaced, some of them wrong."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.world.deposits import ZONES, Centre
from pipeline.world.fields import draws
from pipeline.world.ground import CLASSES, Ground
from pipeline.world.places import Place

_PER_ZONE = 12  # sites in each zone of a system
_AROUND = 12  # sites on the ground around a system
_ROADS, _PER_ROAD = 4, 45
_CLUMPS, _PER_CLUMP = 9, 12
_MISPLACED = 0.7  # pixels, standard deviation north and east
_WRONG = 0.05  # share of sites with another class's label

Spots = NDArray[np.float64]


@dataclass(frozen=True)
class Sites:
    """Training sites of a region."""

    spots: Spots
    """(site, 2): row and column, pixels, centres at .5."""
    labels: tuple[str, ...]


def draw_sites(place: Place, seed: int, ground: Ground, margin: int) -> Sites:
    """Return the training sites of a region, none within `margin` pixels of the edge.

    Every deposit has draws of its own, so that moving one leaves the sites of the others.
    """
    found = [
        _campaign(deposit, ground, draws(seed, place.name, "campaign", deposit.number))
        for deposit in ground.deposits
    ]
    shape = ground.classes.shape
    found += [_road(shape, draws(seed, place.name, "road", road)) for road in range(_ROADS)]
    found += [_clump(shape, draws(seed, place.name, "clump", clump)) for clump in range(_CLUMPS)]
    groups = [_inside(spots, shape, margin + 3) for spots in found]
    marked = [
        _mark(spots, ground.classes, draws(seed, place.name, "marks", number))
        for number, spots in enumerate(groups)
    ]
    return Sites(
        np.concatenate([spots for spots, _ in marked]),
        tuple(label for _, labels in marked for label in labels),
    )


def _campaign(deposit: Centre, ground: Ground, rng: np.random.Generator) -> Spots:
    """Return spots in each zone of one system, on outcrop free of plants, and around it."""
    rows, columns = np.indices(ground.classes.shape)
    away = np.hypot(rows - deposit.row, columns - deposit.column)
    near = away < 1.5 * deposit.radius * deposit.stretch
    chosen = []
    for value in range(1, len(CLASSES) + 1):
        where = np.argwhere(near & (ground.classes == value) & (ground.plants < 0.35))
        wanted = _PER_ZONE if value <= len(ZONES) else _AROUND
        chosen.append(where[rng.permutation(len(where))[:wanted]])
    return np.asarray(np.concatenate(chosen) + 0.5, dtype=np.float64)


def _road(shape: tuple[int, ...], rng: np.random.Generator) -> Spots:
    """Return spots along a road that winds across the region."""
    start, end = rng.uniform(0.05, 0.95, (2, 2)) * shape
    along = np.sort(rng.uniform(0, 1, _PER_ROAD))[:, None]
    bend = 0.06 * shape[0] * np.sin(along * rng.uniform(5, 12) + rng.uniform(0, 6))
    across = (end - start)[::-1] / max(float(np.hypot(*(end - start))), 1.0) * (1, -1)
    spots = start + along * (end - start) + bend * across
    return np.asarray(spots + rng.normal(0, 1.5, spots.shape))


def _clump(shape: tuple[int, ...], rng: np.random.Generator) -> Spots:
    middle = rng.uniform(0.08, 0.92, 2) * shape
    return np.asarray(middle + rng.normal(0, 9, (_PER_CLUMP, 2)))


def _inside(spots: Spots, shape: tuple[int, ...], margin: int) -> Spots:
    kept = np.all((spots >= margin) & (spots < np.array(shape) - margin), axis=1)
    return spots[kept]


def _mark(
    spots: Spots, classes: NDArray[np.uint8], rng: np.random.Generator
) -> tuple[Spots, list[str]]:
    """Return the spots as they were noted down, and the labels they were given."""
    rows, columns = spots.astype(int).T
    values = classes[rows, columns].astype(int) - 1
    other = rng.integers(1, len(CLASSES), len(values))
    wrong = rng.uniform(size=len(values)) < _WRONG
    values = np.where(wrong, (values + other) % len(CLASSES), values)
    moved = spots + rng.normal(0, _MISPLACED, spots.shape)
    return moved, [CLASSES[value] for value in values]
