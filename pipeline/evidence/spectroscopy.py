"""Families of layers that any optical sensor feeds: reflectance and its shape, band by band.

The logarithm turns illumination, which multiplies all bands, into a constant; taking the mean over
the bands away (the centred log-ratio, Aitchison 1986, The Statistical Analysis of Compositional
Data) leaves the shape of the spectrum, and the mean itself is the brightness.
"""

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
Family = Callable[[Array], Array]
"""Reflectance (band, y, x) -> layers (layer, y, x)."""

FLOOR = np.float32(1e-3)
"""Reflectance below this is noise: the logarithm takes it as this much."""


def bands(reflectance: Array) -> Array:
    """Return the reflectance itself, one layer a band."""
    return reflectance


def log_bands(reflectance: Array) -> Array:
    """Return the natural logarithm of reflectance, one layer a band."""
    logs: Array = np.log(np.maximum(reflectance, FLOOR))  # maximum keeps NaN
    return logs


def log_shape(reflectance: Array) -> Array:
    """Return the centred log-ratio, one layer a band: log reflectance less its mean over bands."""
    logs = log_bands(reflectance)
    shape: Array = logs - _mean_over_bands(logs)
    return shape


def log_brightness(reflectance: Array) -> Array:
    """Return the mean over bands of log reflectance, one layer in all."""
    return _mean_over_bands(log_bands(reflectance))[None]


def log_ratios(reflectance: Array) -> Array:
    """Return the logarithm of the ratio of every two bands, first over second."""
    logs = log_bands(reflectance)
    first, second = np.triu_indices(len(logs), k=1)
    pairs: Array = logs[first] - logs[second]
    return pairs


FAMILIES: Mapping[str, Family] = {
    family.__name__: family for family in (bands, log_bands, log_shape, log_brightness, log_ratios)
}
"""Every family by its name, as a model recipe calls it."""


def layer_names(family: str, band_names: tuple[str, ...]) -> tuple[str, ...]:
    """Return the names of a family's layers, in their order.

    >>> layer_names("log_ratios", ("red", "nir", "swir"))
    ('log_ratios.red.nir', 'log_ratios.red.swir', 'log_ratios.nir.swir')
    """
    if family == "log_brightness":
        return (family,)
    if family == "log_ratios":
        first, second = np.triu_indices(len(band_names), k=1)
        pairs = zip(first, second, strict=True)
        return tuple(f"{family}.{band_names[a]}.{band_names[b]}" for a, b in pairs)
    return tuple(f"{family}.{name}" for name in band_names)


def _mean_over_bands(layers: Array) -> Array:
    """Return the mean over bands, added up in their order.

    (NumPy's own mean adds in an order that depends on the block's shape, and so on its cut.)
    """
    total = layers[0].copy()
    for layer in layers[1:]:
        total += layer
    mean: Array = total / np.float32(len(layers))
    return mean
