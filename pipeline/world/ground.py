"""The ground of one region: what every pixel is made of, and the truth about its alteration."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.world import terrain
from pipeline.world.deposits import (
    ZONES,
    Centre,
    Shift,
    make_faults,
    move,
    plant_deposits,
    plant_patches,
    templates,
    zones,
)
from pipeline.world.fields import Field, draws, field, ramp
from pipeline.world.places import Place

CLASSES = (*ZONES, "barren")
"""Classes of the truth raster: 1 is the first, and so on."""

_ALTERED = 0.30  # share of a pixel's bare surface from which the truth calls it altered

_MADE_OF: Mapping[str, Mapping[str, float]] = {
    "advanced_argillic": {"alunite": 0.54, "kaolinite": 0.12, "silica": 0.24},
    "argillic": {"kaolinite": 0.58, "montmorillonite": 0.14, "silica": 0.04},
    "phyllic": {"white_mica": 0.70, "silica": 0.10},
    "propylitic": {"chlorite": 0.54, "epidote": 0.18, "calcite": 0.04},
}
"""Minerals that take the place of the host rock at full strength; the rest stays host."""

_PATCH: Mapping[str, float] = {"kaolinite": 0.30, "montmorillonite": 0.16}
"""The same for a patch of weathered clay."""

_IRON_BY_ZONE = np.array([1.0, 0.8, 0.45, 0.0], dtype=np.float32)


@dataclass(frozen=True)
class Ground:
    """What lies in each pixel of a region."""

    height: Field
    """Metres (y, x)."""
    shares: Mapping[str, Field]
    """Share of the bare surface that each material takes (y, x); they sum to 1."""
    plants: Field
    """Share of the pixel under plants (y, x)."""
    classes: NDArray[np.uint8]
    """The truth (y, x): 1 + the place in CLASSES of what alters the bare surface most."""
    deposits: tuple[Centre, ...]


def make_ground(
    place: Place, seed: int, shape: tuple[int, int], shifts: Mapping[int, Shift], resolution: float
) -> Ground:
    """Return the ground of a region.

    Parameters
    ----------
    place : what the region is made of.
    seed : of the world.
    shape : rows and columns.
    shifts : deposits to move, by number: metres east and north. Nothing else changes with them.
    resolution : pixel size, metres.
    """
    faults = make_faults(place, seed, shape)
    deposits = move(plant_deposits(place, seed, faults, shape), shifts, resolution)
    height = terrain.relief(place, seed, shape)
    soils = terrain.soils(place, seed, height)
    bare = 1 - np.sum(list(soils.values()), axis=0)
    altered, iron = _systems(place, seed, deposits, shape)
    rocks = _stained(
        _altered(terrain.rocks(place, seed, faults, height), altered, _patches(place, seed, shape)),
        np.maximum(iron, _background_iron(place, seed, shape)),
        ramp(field(draws(seed, place.name, "iron kind"), shape, 40), -0.6, 0.6),
    )
    return Ground(
        height=height,
        shares={name: share * bare for name, share in rocks.items()} | soils,
        plants=terrain.plants(place, seed, height),
        classes=_truth(altered * bare),
        deposits=deposits,
    )


def _systems(
    place: Place, seed: int, deposits: tuple[Centre, ...], shape: tuple[int, int]
) -> tuple[Field, Field]:
    """Return the zones of all systems together (zone, y, x) and their iron oxides (y, x)."""
    altered = np.zeros((len(ZONES), *shape), np.float32)
    iron = np.zeros(shape, np.float32)
    for deposit in deposits:
        noise = templates(seed, place.name, "deposit", deposit.number)
        own = zones(deposit, noise, shape)
        altered += own
        iron += np.float32(deposit.iron) * np.tensordot(_IRON_BY_ZONE, own, axes=1)
    return altered / np.maximum(altered.sum(axis=0), 1), iron


def _patches(place: Place, seed: int, shape: tuple[int, int]) -> Field:
    """Return the share of weathered clay (y, x) that no deposit made."""
    found = np.zeros(shape, np.float32)
    for patch in plant_patches(place, seed, shape):
        noise = templates(seed, place.name, "patch", patch.number)
        found = np.maximum(found, zones(patch, noise, shape)[0])
    return found


def _background_iron(place: Place, seed: int, shape: tuple[int, int]) -> Field:
    stain = field(draws(seed, place.name, "stain"), shape, 20, 1.8)
    return 0.22 * ramp(stain, 0.9, 2.6)


def _altered(rocks: terrain.Shares, altered: Field, patches: Field) -> terrain.Shares:
    """Return the rocks with part of each replaced by the minerals of alteration."""
    weathered = patches * (1 - altered.sum(axis=0))
    recipes = [*(_MADE_OF[zone] for zone in ZONES), _PATCH]
    minerals: terrain.Shares = {}
    for recipe, share in zip(recipes, [*altered, weathered], strict=True):
        for name, part in recipe.items():
            minerals[name] = minerals.get(name, np.float32(0)) + np.float32(part) * share
    left = 1 - np.sum(list(minerals.values()), axis=0)
    return {name: share * left for name, share in rocks.items()} | minerals


def _stained(shares: terrain.Shares, iron: Field, hematite: Field) -> terrain.Shares:
    """Return the shares with iron oxides over all of them; `hematite` is its part of the iron."""
    kept = {name: share * (1 - iron) for name, share in shares.items()}
    return kept | {"hematite": iron * hematite, "goethite": iron * (1 - hematite)}


def _truth(exposed: Field) -> NDArray[np.uint8]:
    barren = len(CLASSES)
    strongest = exposed.argmax(axis=0) + 1
    return np.where(exposed.sum(axis=0) >= _ALTERED, strongest, barren).astype(np.uint8)
