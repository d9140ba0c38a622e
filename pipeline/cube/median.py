"""The masked median over dates: the hot loop of a composite.

Counts become reflectance, what is masked or missing becomes +inf, and a sorting network orders the
dates of many pixels at once: the same comparisons whatever the values are, so nothing branches.
"""

from functools import lru_cache

import numba
import numpy as np
from numpy.typing import NDArray

CHUNK = 1024  # pixels at a time: 4 kB a date, so that a season of dates stays in the cache


def median(
    counts: NDArray[np.generic],
    clear: NDArray[np.bool_],
    scaling: NDArray[np.float32],
    out: NDArray[np.float32],
    fewest: NDArray[np.uint16],
) -> None:
    """Write the median reflectance of one band, NaN where no date is clear.

    Of an even number of dates it is the mean of the middle two, as in numpy.nanmedian.

    Parameters
    ----------
    counts : (date, pixel), as stored in the files.
    clear : (date, pixel), what the quality mask lets through.
    scaling : (date, 3): scale, offset and the count that stands for nothing (NaN: there is none).
    out : (pixel), reflectance; written.
    fewest : (pixel), lowered to the number of dates behind `out` where that is less.
    """
    _median(counts, clear, scaling, network(len(counts), len(counts) // 2 + 1), out, fewest)


@lru_cache(maxsize=256)
def network(size: int, lowest: int) -> NDArray[np.int32]:
    """Return the exchanges (pair, 2) that bring the lowest few of `size` values into order.

    Batcher's merge exchange (Knuth, The Art of Computer Programming, vol. 3, 5.2.2, algorithm M),
    without the exchanges that only order values above those.
    """
    pairs: list[tuple[int, int]] = []
    top = 1 << max((size - 1).bit_length() - 1, 0)
    p = top
    while p:
        q, r, d = top, 0, p
        while True:
            pairs += [(i, i + d) for i in range(size - d) if i & p == r]
            if q == p:
                break
            q, r, d = q >> 1, p, q - p
        p >>= 1
    needed = set(range(lowest))
    kept = []
    for pair in reversed(pairs):
        if not needed.isdisjoint(pair):
            needed.update(pair)
            kept.append(pair)
    return np.array(kept[::-1], np.int32).reshape(-1, 2)


@numba.njit(cache=True, nogil=True, fastmath=False, error_model="numpy")
def _median(counts, clear, scaling, pairs, out, fewest):  # type: ignore[no-untyped-def]
    dates, pixels = counts.shape
    work = np.empty((dates, CHUNK), np.float32)
    lower, upper = np.empty(CHUNK, np.float32), np.empty(CHUNK, np.float32)
    valid = np.empty(CHUNK, np.int32)
    for start in range(0, pixels, CHUNK):
        stop = min(start + CHUNK, pixels)
        valid[:] = 0
        for date in range(dates):
            here, there = counts[date, start:stop], clear[date, start:stop]
            load(here, there, scaling[date], work[date], valid)
        for pair in range(len(pairs)):
            exchange(work[pairs[pair, 0]], work[pairs[pair, 1]])
        _middle(work, valid, lower, upper)
        _store(lower, upper, valid, out[start:stop], fewest[start:stop])


# Below, plain loops over slices: an index with an offset would cost the vector instructions.


@numba.njit(cache=True, nogil=True, fastmath=False, error_model="numpy")
def load(counts, clear, scaling, out, valid):  # type: ignore[no-untyped-def]
    """Write reflectance, +inf where there is none, and count what there is."""
    scale, offset, nothing = scaling[0], scaling[1], scaling[2]
    for p in range(len(counts)):
        count = np.float32(counts[p])
        value = count * scale + offset
        there = clear[p] & (count != nothing) & (abs(value) < np.float32(np.inf))
        out[p] = value if there else np.float32(np.inf)
        valid[p] += there


@numba.njit(cache=True, nogil=True, fastmath=False, error_model="numpy")
def exchange(low, high):  # type: ignore[no-untyped-def]
    """Put the lesser of each two values into `low`, the greater into `high`."""
    for p in range(len(low)):
        a, b = low[p], high[p]
        low[p] = min(a, b)
        high[p] = max(a, b)


@numba.njit(cache=True, nogil=True, fastmath=False, error_model="numpy")
def _middle(work, valid, lower, upper):  # type: ignore[no-untyped-def]
    """Pick the middle of n sorted dates: those at (n - 1) // 2 and at n // 2."""
    lower[:] = work[0]
    upper[:] = work[0]
    for date in range(1, len(work) // 2 + 1):
        row = work[date]
        even, odd, next_even = np.int32(2 * date), np.int32(2 * date + 1), np.int32(2 * date + 2)
        for p in range(len(valid)):
            n, value, below, above = valid[p], row[p], lower[p], upper[p]
            lower[p] = value if (n == odd) | (n == next_even) else below
            upper[p] = value if (n == even) | (n == odd) else above


@numba.njit(cache=True, nogil=True, fastmath=False, error_model="numpy")
def _store(lower, upper, valid, out, fewest):  # type: ignore[no-untyped-def]
    for p in range(len(out)):
        value = np.float32(0.5) * (lower[p] + upper[p])
        out[p] = value if valid[p] > 0 else np.float32(np.nan)
    for p in range(len(out)):
        fewest[p] = min(fewest[p], valid[p])
