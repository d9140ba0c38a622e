"""The loops of resampling: values (y, x) and positions in them -> float32, NaN where nothing is.

Positions (u, v) are columns and rows from the corner of `values`, float32 or float64: whole parts
of a pixel that both hold exactly, so that the result is the same to the last digit.
"""

from typing import Any

import numba
import numpy as np

_kernel: Any = numba.njit(cache=True, nogil=True, fastmath=False, error_model="numpy")


@_kernel
def nearest(values, nodata, u, v, out):  # type: ignore[no-untyped-def]
    """Write the value of the pixel that holds each position."""
    height, width = values.shape
    for y in range(out.shape[0]):
        for x in range(out.shape[1]):
            i, j = np.floor(v[y, x]), np.floor(u[y, x])
            out[y, x] = np.nan
            if 0 <= i < height and 0 <= j < width:
                value = np.float32(values[int(i), int(j)])
                if value != nodata:
                    out[y, x] = value


@_kernel
def bilinear(values, nodata, u, v, out):  # type: ignore[no-untyped-def]
    """Write what lies between the four nearest pixel centres."""
    last_row, last_column = np.float32(values.shape[0] - 1), np.float32(values.shape[1] - 1)
    half, one = np.float32(0.5), np.uint32(1)
    for y in range(out.shape[0]):
        for x in range(out.shape[1]):
            row, column = v[y, x] - half, u[y, x] - half
            if 0 <= row < last_row and 0 <= column < last_column:
                i, j = np.uint32(row), np.uint32(column)  # unsigned: no check for a[-1]
                # Exact, so that the kind of the positions changes nothing.
                down = np.float32(row - np.floor(row))
                right = np.float32(column - np.floor(column))
                a, b = np.float32(values[i, j]), np.float32(values[i, j + one])
                c, d = np.float32(values[i + one, j]), np.float32(values[i + one, j + one])
                upper, lower = a + (b - a) * right, c + (d - c) * right
                value = upper + (lower - upper) * down
                missing = (a == nodata) | (b == nodata) | (c == nodata) | (d == nodata)
                if not (missing | (value != value)):
                    out[y, x] = value
                    continue
            out[y, x] = _beside_nothing(values, nodata, row, column)


@_kernel
def _beside_nothing(values, nodata, row, column):  # type: ignore[no-untyped-def]
    """Return the value where some of the four neighbours are missing or past the edge."""
    height, width = values.shape
    half, total, weights = np.float32(0.5), np.float32(0), np.float32(0)
    there = False
    for down in range(2):
        for right in range(2):
            i, j = np.floor(row) + down, np.floor(column) + right
            if not (0 <= i < height and 0 <= j < width):
                continue
            value = np.float32(values[int(i), int(j)])
            if value == nodata or value != value:
                continue
            there |= i == np.floor(row + half) and j == np.floor(column + half)
            weight = np.float32((1 - abs(row - i)) * (1 - abs(column - j)))
            total += weight * value
            weights += weight
    return total / weights if there and weights > 0 else np.float32(np.nan)


@_kernel
def mean(values, nodata, u, v, reach, out):  # type: ignore[no-untyped-def]
    """Write the mean over `reach` (columns, rows) to each side; half of the area must be there."""
    wide, tall = reach
    height, width = values.shape
    enough = 0.5 * (2.0 * wide) * (2.0 * tall)
    for y in range(out.shape[0]):
        for x in range(out.shape[1]):
            out[y, x] = np.nan
            top, bottom = v[y, x] - tall, v[y, x] + tall
            left, right = u[y, x] - wide, u[y, x] + wide
            if not (bottom > 0 and top < height and right > 0 and left < width):
                continue
            total, area = 0.0, 0.0
            for i in range(max(int(np.floor(top)), 0), min(int(np.ceil(bottom)), height)):
                high = min(bottom, i + 1) - max(top, i)
                for j in range(max(int(np.floor(left)), 0), min(int(np.ceil(right)), width)):
                    value = np.float32(values[i, j])
                    if value != nodata and value == value:
                        part = high * (min(right, j + 1) - max(left, j))
                        total += part * value
                        area += part
            if area >= enough:
                out[y, x] = total / area
