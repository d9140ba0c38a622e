"""What a satellite sees of the ground: mixing, light, clouds, air, noise and counts."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, shift

from pipeline.plan import Band
from pipeline.world.fields import Field, draws, field, ramp
from pipeline.world.ground import Ground
from pipeline.world.places import Pass, Place
from pipeline.world.spectra import band_values

SCALE = 1e-4
NODATA = 0
"""Sentinel-2 reflectance = count x SCALE + the offset of its baseline; count 0 is no data."""

_INTIMATE = 0.45  # share of grain-to-grain mixing, where the darker material weighs more
_OWN_BRIGHTNESS = 0.05  # a region's own version of each material: standard deviation of brightness
_OWN_SLOPE = 0.025  # the same of its slope over the spectrum
_BLUR = 0.6  # pixels: the spread of light between neighbours
_NOISE = (0.0012, 0.006)  # reflectance, and per unit of reflectance
_GAIN, _BIAS = 0.018, 0.004  # what atmospheric correction gets wrong, per date and band
_CLOUD_SHIFT = 26.0  # pixels between a cloud and its shadow for a sun at 45 degrees
_DIFFUSE_BLUE = 0.30  # share of skylight in the blue; it falls with the fourth power from there
_BLUE = 490.0  # nm
_LEAN = 0.21  # columns a row: the swath edge

Counts = NDArray[np.uint16]


@dataclass(frozen=True)
class View:
    """What reaches a sensor, pixel by pixel of the ground."""

    seen: Field
    """Reflectance (band, y, x), through the air and with the sensor's noise."""
    classes: NDArray[np.uint8]
    """(y, x), the scene classes of Sentinel-2 level 2A; 0 outside the swath."""


@dataclass(frozen=True)
class Scene:
    """One acquisition of a sensor like Sentinel-2: counts and quality classes of a region."""

    counts: Counts
    """(band, y, x)"""
    classes: NDArray[np.uint8]
    """(y, x), the scene classes of Sentinel-2 level 2A."""


@dataclass(frozen=True)
class Surface:
    """Reflectance of bare ground and of plants, before light and air."""

    bare: Field
    """(band, y, x)"""
    green: Field
    """(band,)"""
    dry: Field
    """(band,)"""


@dataclass(frozen=True)
class Scenery:
    """A region as it stands before a satellite comes by."""

    place: Place
    seed: int
    ground: Ground
    surface: Surface


def make_surface(place: Place, seed: int, ground: Ground, bands: Mapping[str, Band]) -> Surface:
    """Return the reflectance of a region's ground in each band (band, y, x), 0..1.

    Part of the mixing is by area (linear), part is intimate (geometric mean), as in soils and
    weathered rock (Mustard & Pieters 1989, J. Geophys. Res. 94:13619).
    """
    names = list(ground.shares)
    own = np.stack([_own(place, seed, name, bands) for name in [*names, "green", "dry"]])
    shares = np.stack([ground.shares[name] for name in names])
    areal = np.tensordot(own[:-2].T, shares, axes=1)
    intimate = np.exp(np.tensordot(np.log(own[:-2]).T, shares, axes=1))
    bare = (1 - _INTIMATE) * areal + _INTIMATE * intimate
    bare *= _texture(place, seed, ground, bands)
    blurred = gaussian_filter(bare, (0, _BLUR, _BLUR), truncate=3.0)
    return Surface(blurred.astype(np.float32), own[-2], own[-1])


def make_scene(scenery: Scenery, look: Pass, bands: Mapping[str, Band]) -> Scene:
    """Return one acquisition of a region as a sensor like Sentinel-2 stores it."""
    view = make_view(scenery, look, bands)
    counts = np.rint((view.seen - look.baseline.held) / SCALE).clip(1, 65535).astype(np.uint16)
    counts[:, view.classes == 0] = NODATA
    return Scene(counts, view.classes)


def make_view(scenery: Scenery, look: Pass, bands: Mapping[str, Band]) -> View:
    """Return what a sensor sees of a region.

    Parameters
    ----------
    scenery : the region.
    look : when, and under which sun and sky.
    bands : of the sensor, red, nir08 and blue among them; order and centres are used.
    """
    plants = scenery.ground.plants
    shape = (plants.shape[0], plants.shape[1])
    key = (scenery.place.name, look.when.date().isoformat())
    nm = _centres(bands)
    cloud = _cloud(draws(scenery.seed, *key, "cloud"), look, shape)
    shadow = _cast(cloud, look)
    sun = _sunlight(scenery.ground.height, look) * (1 - 0.8 * shadow)
    diffuse = np.float32(_DIFFUSE_BLUE) * (_BLUE / nm) ** 4
    lit = _with_plants(scenery.surface, plants, look.green) * (diffuse + (1 - diffuse) * sun)
    white = np.float32(0.78) - np.float32(0.10) * ramp(nm, 1300, 2300)
    rng = draws(scenery.seed, *key, "air and sensor")
    seen = _through_air(lit * (1 - cloud) + white * cloud, look, nm, rng)
    classes = _scene_classes(dict(zip(bands, seen, strict=True)), cloud, shadow, sun, rng)
    classes[_outside_swath(look, shape)] = 0
    return View(seen, classes)


def edge_column(swath: float, shape: tuple[int, ...], row: Any) -> Any:
    """Return the column, pixels, at which a swath ends in a row (or in an array of rows).

    The ground track of a polar orbit leans some 12 degrees from north at these latitudes.
    """
    return swath * shape[1] - _LEAN * (row - shape[0] / 2)


def _centres(bands: Mapping[str, Band]) -> Field:
    """Return the centre of each band, nm, as (band, 1, 1)."""
    centres = np.array([band.wavelength for band in bands.values()], dtype=np.float32)
    return centres[:, None, None]


def _with_plants(surface: Surface, cover: Field, green: float) -> Field:
    """Return the ground (band, y, x) under a cover of plants, part of them green."""
    plants = green * surface.green + (1 - green) * surface.dry
    return np.asarray(surface.bare + cover * (plants[:, None, None] - surface.bare))


def _own(place: Place, seed: int, name: str, bands: Mapping[str, Band]) -> Field:
    """Return a region's own version of a material (band): no two districts are quite alike."""
    rng = draws(seed, place.name, "material", name)
    bright, slope = rng.normal(0, (_OWN_BRIGHTNESS, _OWN_SLOPE))
    nm = np.array([band.wavelength for band in bands.values()])
    changed = band_values(name, bands) * np.exp(bright + slope * (nm - 1200) / 800)
    return np.asarray(changed, dtype=np.float32)


def _texture(place: Place, seed: int, ground: Ground, bands: Mapping[str, Band]) -> Field:
    """Return a factor (band, y, x): grain, varnish and moisture that no material explains."""
    shape = (ground.plants.shape[0], ground.plants.shape[1])
    nm = _centres(bands)
    grain = field(draws(seed, place.name, "grain"), shape, 3, 1.2)
    varnish = field(draws(seed, place.name, "varnish"), shape, 18, 1.8)
    moisture = field(draws(seed, place.name, "moisture"), shape, 12, 1.6)
    strength = 0.06 * grain - 0.035 * varnish * (1 - ramp(nm, 500, 1600))
    strength = strength - 0.015 * moisture * ramp(nm, 1400, 2300)
    return np.asarray(np.exp(strength), dtype=np.float32)


def _sunlight(height: Field, look: Pass) -> Field:
    """Return direct sunlight (y, x) relative to flat ground: cos(incidence) / cos(zenith)."""
    down, east = np.gradient(height, 20.0)
    elevation, azimuth = np.radians((look.sun_elevation, look.sun_azimuth))
    towards = np.float32(np.cos(elevation)) * (-east * np.sin(azimuth) + down * np.cos(azimuth))
    cosine = (towards + np.sin(elevation)) / np.sqrt(1 + down**2 + east**2)
    return np.asarray(np.clip(cosine / np.sin(elevation), 0.05, 1.6), dtype=np.float32)


def _cloud(rng: np.random.Generator, look: Pass, shape: tuple[int, int]) -> Field:
    """Return the opacity of clouds (y, x), 0..1, thin at the edges."""
    puffs = field(rng, shape, 22, 1.9)
    level = float(np.quantile(puffs, 1 - look.cloud))
    return 0.96 * ramp(puffs, level - 0.12, level + 0.75)


def _cast(cloud: Field, look: Pass) -> Field:
    """Return the shadow of the clouds (y, x), thrown away from the sun."""
    length = _CLOUD_SHIFT / np.tan(np.radians(look.sun_elevation))
    azimuth = np.radians(look.sun_azimuth)
    thrown = (length * np.cos(azimuth), -length * np.sin(azimuth))
    return np.asarray(shift(cloud, thrown, order=1, mode="grid-wrap"), dtype=np.float32)


def _through_air(seen: Field, look: Pass, nm: Field, rng: np.random.Generator) -> Field:
    """Return reflectance with haze, errors of atmospheric correction, and sensor noise."""
    bands = (len(seen), 1, 1)
    thick = 1 + 0.35 * field(rng, (seen.shape[1], seen.shape[2]), 90)
    haze = np.float32(look.haze - 0.008) * (_BLUE / nm) ** 2 * thick
    gain = rng.normal(1, _GAIN, bands).astype(np.float32)
    bias = rng.normal(0, _BIAS, bands).astype(np.float32) * (_BLUE / nm)
    level, share = _NOISE
    noise = rng.standard_normal(seen.shape, dtype=np.float32)
    return np.asarray(seen * gain + bias + haze + noise * (level + share * seen), dtype=np.float32)


def _scene_classes(
    seen: Mapping[str, Field], cloud: Field, shadow: Field, sun: Field, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """Return a mask as good as real ones: thin cloud slips through, bright ground is hit."""
    red, nir, blue = seen["red"], seen["nir08"], seen["blue"]
    doubt = field(rng, (cloud.shape[0], cloud.shape[1]), 7, 1.8)
    found = np.where((nir - red) > 0.35 * (nir + red), 4, 5).astype(np.uint8)
    found[doubt > 2.7] = 7
    found[sun < 0.35] = 2
    found[shadow + 0.05 * doubt > 0.22] = 3
    found[(cloud > 0.04) & (doubt > 0.2)] = 10
    found[cloud + 0.04 * doubt > 0.14] = 8
    found[cloud > 0.45] = 9
    found[(blue > 0.27) & (doubt > 0.6)] = 8
    return found


def _outside_swath(look: Pass, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    rows, columns = np.indices((shape[0], shape[1]))
    if look.swath is None:
        return np.zeros(rows.shape, dtype=np.bool_)
    return np.asarray(columns >= edge_column(look.swath, shape, rows))
