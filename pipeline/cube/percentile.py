"""A masked percentile over dates, band by band."""

from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from pipeline.cube.median import CHUNK, exchange, load, network


def percentile(
    counts: NDArray[np.generic],
    clear: NDArray[np.bool_],
    scaling: NDArray[np.float32],
    percent: float,
    out: NDArray[np.float32],
    fewest: NDArray[np.uint16],
) -> None:
    """Write a percentile of the reflectance of one band, NaN where no date is clear.

    Between two dates it is interpolated, as in numpy.nanpercentile with its method "linear"
    (definition 7 of Hyndman & Fan 1996, Am. Stat. 50:361).

    Parameters
    ----------
    percent : 0..100; the others as in `pipeline.cube.median.median`.
    """
    pairs = network(len(counts), len(counts))
    _percentile(counts, clear, scaling, pairs, percent / 100, out, fewest)


_kernel: Any = numba.njit(cache=True, nogil=True, fastmath=False, error_model="numpy")


@_kernel
def _percentile(counts, clear, scaling, pairs, share, out, fewest):  # type: ignore[no-untyped-def]
    dates, pixels = counts.shape
    work = np.empty((dates, CHUNK), np.float32)
    valid = np.empty(CHUNK, np.int32)
    for start in range(0, pixels, CHUNK):
        stop = min(start + CHUNK, pixels)
        valid[:] = 0
        for date in range(dates):
            here, there = counts[date, start:stop], clear[date, start:stop]
            load(here, there, scaling[date], work[date], valid)
        for pair in range(len(pairs)):
            exchange(work[pairs[pair, 0]], work[pairs[pair, 1]])
        for p in range(stop - start):
            out[start + p] = _between(work, p, valid[p], share)
            fewest[start + p] = min(fewest[start + p], valid[p])


@_kernel
def _between(work, p, count, share):  # type: ignore[no-untyped-def]
    if count == 0:
        return np.float32(np.nan)
    place = share * (count - 1)
    below = int(np.floor(place))
    above = min(below + 1, count - 1)
    low, high = np.float64(work[below, p]), np.float64(work[above, p])
    part = place - below
    # From the nearer end, as numpy does, so that a whole place gives the date itself.
    value = low + (high - low) * part if part < 0.5 else high - (high - low) * (1 - part)
    return np.float32(value)
