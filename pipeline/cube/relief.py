"""Light on slopes: how steeply the sun meets the ground, and reflectance corrected for it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import rasterio
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from pipeline.cube.source import Source, place, read_into, touches
from pipeline.files import Json
from pipeline.grid import Block, crop
from pipeline.remote import GDAL_SETTINGS

DARK = 0.2
"""Cosine of incidence below which ground is in deep shadow and its reflectance counts as missing
(a starting value of this project; the models blow up what little light there is)."""


@dataclass(frozen=True)
class Relief:
    """What corrects each scene for the slope of the ground; it travels with the imagery."""

    method: Literal["c", "minnaert"]
    elevation: tuple[Source, ...]
    """Elevation in metres; the first that has a pixel gives it."""
    north: float
    """Direction of true north on the grid, degrees clockwise from the grid's own."""
    suns: Mapping[str, tuple[float, float]]
    """By item: elevation above the horizon and azimuth clockwise from true north, degrees."""
    coefficients: Mapping[str, tuple[float | None, ...]]
    """By item and band: c, or the exponent of Minnaert; None: the band is not corrected."""
    notes: Mapping[str, dict[str, Json]]
    """By item, for the lock: the coefficients, and why a band has none."""


def incidence(relief: Relief, items: Sequence[str], grid: GeoBox) -> NDArray[np.float32]:
    """Return the cosine of the angle between sun and ground (date, y, x), NaN without elevation.

    Slopes are those of Horn (1981, Proc. IEEE 69:14), from the elevation on the grid's own pixels
    and one around it.

    Parameters
    ----------
    items : by date.

    Raises
    ------
    ReadError : the elevation cannot be read.
    """
    east, north = _slopes(_heights(relief.elevation, grid), abs(grid.resolution.x))
    upright = 1 / np.sqrt(1 + east**2 + north**2)
    out = np.empty((len(items), *grid.shape), np.float32)
    for date, item in zip(out, items, strict=True):
        elevation, azimuth = relief.suns[item]
        high, towards = np.radians(elevation), np.radians(azimuth + relief.north)
        flat = np.cos(high) * (east * np.sin(towards) + north * np.cos(towards))
        date[:] = (np.sin(high) - flat) * upright
    return out


def correct(
    reflectance: NDArray[np.float32],
    cosine: NDArray[np.float32],
    relief: Relief,
    items: Sequence[str],
    band: int,
) -> None:
    """Bring reflectance (date, pixel) to what it would be on flat ground, in place.

    C-correction: rho (cos z + c) / (cos i + c); Minnaert: rho (cos z / cos i)^k, with z the zenith
    angle of the sun and i the angle at which it meets the ground (Teillet, Guindon & Goodenough
    1982, Can. J. Remote Sens. 8:84). Ground in deep shadow, and ground of unknown slope, becomes
    NaN, in bands without a coefficient too: a spectrum is whole or it is not there.

    Parameters
    ----------
    cosine : (date, pixel), of the incidence.
    items : by date.
    band : its place in the sensor's order.
    """
    for date, item in enumerate(items):
        row, light = reflectance[date], cosine[date]
        row[~(light >= DARK)] = np.nan
        coefficient = relief.coefficients[item][band]
        if coefficient is None:
            continue
        flat = np.float32(np.sin(np.radians(relief.suns[item][0])))  # cosine of the zenith angle
        with np.errstate(invalid="ignore"):
            if relief.method == "c":
                c = np.float32(coefficient)
                np.multiply(row, (flat + c) / (light + c), out=row)
            else:
                power = np.power(flat / np.maximum(light, DARK), np.float32(coefficient))
                np.multiply(row, power, out=row)


def _heights(elevation: Sequence[Source], grid: GeoBox) -> NDArray[np.float32]:
    """Return metres on the grid and one pixel around it, NaN where no source has any."""
    rows, columns = grid.shape
    wide = crop(grid, Block(0, rows, 0, columns).padded(1))
    out = np.full(wide.shape, np.nan, np.float32)
    with rasterio.Env(**GDAL_SETTINGS):
        for source in elevation:
            if not touches(source, wide) or not np.isnan(out).any():
                continue
            placed = place(source, wide)
            here = np.full(wide.shape, np.nan, np.float32)
            read_into(placed, here)
            if placed.nodata is not None:
                here[here == np.float32(placed.nodata)] = np.nan
            here = here * np.float32(source.scale) + np.float32(source.offset)
            np.copyto(out, here, where=np.isnan(out))
    return out


def _slopes(
    height: NDArray[np.float32], resolution: float
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the rise towards grid east and grid north, metres a metre, without the outer pixel."""
    across = height[:, 2:] - height[:, :-2]
    down = height[2:] - height[:-2]
    east = across[:-2] + 2 * across[1:-1] + across[2:]
    south = down[:, :-2] + 2 * down[:, 1:-1] + down[:, 2:]
    span = np.float32(8 * resolution)
    return east / span, -south / span
