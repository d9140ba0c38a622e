"""One date's whole spectrum for each pixel, and how bare each date is."""

from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from pipeline.errors import PlanError
from pipeline.plan import Sensor

BARENESS_SCALE = 0.1
"""How much less bare (in the index of `bareness`) a date weighs 1/e of the barest."""

_RED, _NIR = (665.0, 620.0, 700.0), (865.0, 760.0, 960.0)
_BLUE, _SWIR = (480.0, 440.0, 520.0), (1610.0, 1550.0, 1760.0)
"""Wavelength that is wanted, and the span a band has to lie in, nm."""


def medoid(spectra: NDArray[np.float32], seen: NDArray[np.bool_], out: NDArray[np.float32]) -> None:
    """Write the spectrum (band, pixel) of the date that is nearest to all the others.

    The sum of its Euclidean distances to the other dates is the least; of equals it is the earliest
    in order. Source: Flood 2013, Remote Sens. 5:6481.

    Parameters
    ----------
    spectra : (date, band, pixel), reflectance.
    seen : (date, pixel), whether a date has every band there.
    out : (band, pixel); written, NaN where no date does.
    """
    _medoid(spectra, seen, out)


def bareness(spectra: NDArray[np.float32], sensor: Sensor) -> NDArray[np.float32]:
    """Return the weight (date, pixel) of each date in a composite of bare ground, 0..1.

    A date is as bare as its bare soil index (Rikimaru et al. 2002, Trop. Ecol. 43:39) exceeds its
    NDVI; without a blue or a short-wave band, as its NDVI is low. A pixel's barest date weighs 1,
    another exp(-d / 0.1) if it is d less bare. That dates are weighted by bareness before a
    geometric median is taken follows Roberts, Wilford & Ghattas (2019, Nat. Commun. 10:5297); the
    weights themselves are this project's own, and have not been fitted to anything.

    Parameters
    ----------
    spectra : (date, band, pixel), reflectance, NaN = none.

    Raises
    ------
    PlanError : the sensor has no red or no near-infrared band.
    """
    bands = [spectra[:, place] for place in _bare_bands(sensor)]
    red, nir = bands[:2]
    with np.errstate(invalid="ignore", divide="ignore"):
        index = -(nir - red) / (nir + red)
        if len(bands) == 4:
            blue, swir = bands[2:]
            index += ((swir + red) - (nir + blue)) / ((swir + red) + (nir + blue))
        index = np.where(np.isfinite(index), np.clip(index, -2, 2), np.float32(-2))
        index[np.isnan(spectra).any(axis=1)] = np.nan
        barest = np.fmax.reduce(index, axis=0)
        weights = np.exp((index - barest) / np.float32(BARENESS_SCALE))
    found: NDArray[np.float32] = np.nan_to_num(weights, nan=0.0).astype(np.float32)
    return found


def check_bare(sensor: Sensor) -> None:
    """Raise PlanError if a sensor has no red or no near-infrared band."""
    _bare_bands(sensor)


def _bare_bands(sensor: Sensor) -> list[int]:
    """Return the places of red and near infrared, then of blue and short-wave if it has both."""
    found = [_nearest(sensor, *wanted) for wanted in (_RED, _NIR, _BLUE, _SWIR)]
    places = [place for place in found if place is not None]
    if found[0] is None or found[1] is None:
        raise PlanError(
            "a bare-earth composite needs a red and a near-infrared band",
            where=sensor.title,
            remedy="choose another composite.method",
        )
    return places if len(places) == 4 else places[:2]


def _nearest(sensor: Sensor, wanted: float, low: float, high: float) -> int | None:
    centres = [band.wavelength or 0.0 for band in sensor.bands.values()]
    within = [place for place, centre in enumerate(centres) if low <= centre <= high]
    return min(within, key=lambda place: abs(centres[place] - wanted), default=None)


_kernel: Any = numba.njit(cache=True, nogil=True, fastmath=False, error_model="numpy")


@_kernel
def _medoid(spectra, seen, out):  # type: ignore[no-untyped-def]
    dates, bands, pixels = spectra.shape
    x, place = np.empty((dates, bands)), np.zeros(dates, np.int64)
    for p in range(pixels):
        count = 0
        for date in range(dates):
            if seen[date, p]:
                place[count] = date
                for band in range(bands):
                    x[count, band] = spectra[date, band, p]
                count += 1
        best = place[_middlemost(x[:count])]
        for band in range(bands):
            out[band, p] = spectra[best, band, p] if count else np.float32(np.nan)


@_kernel
def _middlemost(x):  # type: ignore[no-untyped-def]
    """Return the row of x (date, band) with the least sum of distances to the others."""
    count, bands = x.shape
    far = np.zeros(count)
    for a in range(count):
        for b in range(a):
            square = 0.0
            for band in range(bands):
                square += (x[a, band] - x[b, band]) ** 2
            far[a] += np.sqrt(square)
            far[b] += np.sqrt(square)
    best = 0
    for a in range(1, count):
        if far[a] < far[best]:
            best = a
    return best
