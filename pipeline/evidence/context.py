"""The ground around a pixel: layers averaged within a distance."""

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import correlate1d


def mean_within(layers: NDArray[np.float32], radius: int) -> NDArray[np.float32]:
    """Return the mean of each layer over a square of 2 * radius + 1 pixels; NaN does not count.

    A pixel that is NaN itself stays NaN. Sums are taken pixel by pixel in one fixed order (never
    as running sums), so the result does not depend on how the region is cut into blocks.

    Parameters
    ----------
    layers : (layer, y, x), whatever unit.
    radius : pixels.
    """
    weights = np.ones(2 * radius + 1)
    known = np.isfinite(layers)
    out = np.full_like(layers, np.nan)
    for layer, valid, result in zip(layers, known, out, strict=True):
        total = _square_sum(np.where(valid, layer, 0.0).astype(np.float64), weights)
        count = _square_sum(valid.astype(np.float64), weights)
        result[valid] = (total[valid] / count[valid]).astype(np.float32)
    return out


def _square_sum(values: NDArray[np.float64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    rows: NDArray[np.float64] = correlate1d(values, weights, axis=0, mode="constant")
    total: NDArray[np.float64] = correlate1d(rows, weights, axis=1, mode="constant")
    return total
