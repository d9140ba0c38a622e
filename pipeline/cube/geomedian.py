"""The geometric median over dates, plain or weighted: one spectrum whose bands belong together.

It is the spectrum with the least (weighted) sum of distances to those of the dates (Small 1990,
Int. Stat. Rev. 58:263; for pixel composites Roberts, Mueller & McIntyre 2017, IEEE Trans. Geosci.
Remote Sens. 55:6254), found with Weiszfeld's algorithm as mended by Vardi & Zhang (2000, PNAS
97:1423) for an estimate that falls on a date. Sums are in float64.
"""

from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

TOLERANCE = 1e-7
"""Length of a step, in reflectance, from which on an estimate stands."""
LIMIT = 10_000
"""Most steps of one pixel; the estimate that it then has is taken."""

_LANES = 32  # pixels that are worked on side by side, so that vector instructions are full
_COINCIDENT = 1e-20  # square of the distance, in reflectance, below which an estimate is on a date


def geomedian(
    spectra: NDArray[np.float32],
    weights: NDArray[np.float32],
    out: NDArray[np.float32],
    *,
    tolerance: float = TOLERANCE,
    limit: int = LIMIT,
) -> None:
    """Write the weighted geometric median (band, pixel), NaN where no date has weight.

    Of two dates of equal weight, where every point between them would do, it is their mean.

    Parameters
    ----------
    spectra : (date, band, pixel), reflectance.
    weights : (date, pixel); 0: the date is left out of that pixel, whatever its spectrum is.
    out : (band, pixel); written.
    tolerance : in reflectance.
    limit : most steps of one pixel.
    """
    _geomedian(spectra, weights, out, tolerance, limit)


_kernel: Any = numba.njit(cache=True, nogil=True, fastmath=False, error_model="numpy")


@_kernel
def _geomedian(spectra, weights, out, tolerance, limit):  # type: ignore[no-untyped-def]
    """Keep every lane busy: a pixel that is done makes room for the next."""
    dates, bands, pixels = spectra.shape
    x = np.zeros((dates, bands, _LANES))
    weight, pull = np.zeros((dates, _LANES)), np.zeros((dates, _LANES))
    middle, move = np.zeros((bands, _LANES)), np.zeros((bands, _LANES))
    step = np.zeros(_LANES)
    pixel, steps = np.full(_LANES, -1), np.zeros(_LANES, np.int64)
    following, busy = 0, 0
    for lane in range(_LANES):
        following = _enter(spectra, weights, out, x, weight, middle, lane, following)
        pixel[lane] = following - 1 if following <= pixels else -1
        busy += pixel[lane] >= 0
    while busy > 0:
        _step(x, weight, pull, middle, move, step)
        for lane in range(_LANES):
            if pixel[lane] < 0:
                continue
            steps[lane] += 1
            if step[lane] > tolerance and steps[lane] < limit:
                continue
            for band in range(bands):
                out[band, pixel[lane]] = middle[band, lane]
            following = _enter(spectra, weights, out, x, weight, middle, lane, following)
            pixel[lane] = following - 1 if following <= pixels else -1
            busy -= pixel[lane] < 0
            steps[lane] = 0


@_kernel
def _enter(spectra, weights, out, x, weight, middle, lane, following):  # type: ignore[no-untyped-def]
    """Put the next pixel that any date sees into a lane, and return the one after it.

    What is returned is past the end by one more if there was none; its lane then stands still.
    """
    dates, bands, pixels = spectra.shape
    for pixel in range(following, pixels):
        total = 0.0
        for date in range(dates):
            weight[date, lane] = weights[date, pixel]
            total += weight[date, lane]
        if total <= 0:
            for band in range(bands):
                out[band, pixel] = np.nan
            continue
        for band in range(bands):
            mean = 0.0
            for date in range(dates):
                there = weight[date, lane] > 0
                x[date, band, lane] = spectra[date, band, pixel] if there else np.float32(0)
                mean += weight[date, lane] * x[date, band, lane]
            middle[band, lane] = mean / total
        return pixel + 1
    return pixels + 1


# Below, plain loops over the lanes of a row: what the compiler turns into vector instructions.


@_kernel
def _step(x, weight, pull, middle, move, step):  # type: ignore[no-untyped-def]
    """Move every lane one step towards its median, and write how far it went."""
    dates, bands, lanes = x.shape
    total, on_date, square = np.zeros(lanes), np.zeros(lanes), np.zeros(lanes)
    for date in range(dates):
        square[:] = 0
        for band in range(bands):
            here, centre = x[date, band], middle[band]
            for p in range(lanes):
                apart = here[p] - centre[p]
                square[p] += apart * apart
        given, taken = weight[date], pull[date]
        for p in range(lanes):
            away = square[p] > _COINCIDENT
            taken[p] = given[p] / np.sqrt(square[p]) if away else 0.0
            total[p] += taken[p]
            on_date[p] += 0.0 if away else given[p]
    _towards(x, pull, total, middle, move, square)
    for p in range(lanes):
        length = np.sqrt(square[p])
        force = total[p] * length
        held = 1.0 - on_date[p] / force if force > 0 else 0.0  # Vardi & Zhang, equation 2.6
        step[p] = max(held, 0.0)
    for band in range(bands):
        centre, way = middle[band], move[band]
        for p in range(lanes):
            centre[p] += step[p] * way[p]
    for p in range(lanes):
        step[p] *= np.sqrt(square[p])


@_kernel
def _towards(x, pull, total, middle, move, square):  # type: ignore[no-untyped-def]
    """Write the way to the next estimate of Weiszfeld, and the square of its length."""
    dates, bands, lanes = x.shape
    square[:] = 0
    for band in range(bands):
        way, centre = move[band], middle[band]
        way[:] = 0
        for date in range(dates):
            here, taken = x[date, band], pull[date]
            for p in range(lanes):
                way[p] += taken[p] * here[p]
        for p in range(lanes):
            way[p] = way[p] / total[p] - centre[p] if total[p] > 0 else 0.0
            square[p] += way[p] * way[p]
