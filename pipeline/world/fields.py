"""Random draws keyed by name, and the smooth random fields that ground and sky are made of."""

import hashlib

import numpy as np
from numpy.typing import NDArray
from scipy import fft

Field = NDArray[np.float32]


def draws(seed: int, *names: str | int) -> np.random.Generator:
    """Return a generator of its own for each thing, so that changing one thing moves no other.

    Parameters
    ----------
    seed : of the whole world.
    names : what the draws are for, from the general to the particular.
    """
    key = hashlib.sha256("/".join(map(str, names)).encode()).digest()[:8]
    return np.random.default_rng([seed, int.from_bytes(key, "big")])


def field(
    rng: np.random.Generator, shape: tuple[int, int], scale: float, roughness: float = 3.0
) -> Field:
    """Return a periodic random field (y, x) of mean 0 and standard deviation 1.

    Parameters
    ----------
    rng : where the noise comes from.
    shape : rows and columns.
    scale : pixels over which values stay alike.
    roughness : fall of the amplitude spectrum beyond that scale; 3 is smooth, 1.5 is rugged.

    The spectrum is von Kármán's, as used for self-affine relief (Goff & Jordan 1988, J. Geophys.
    Res. 93:13589).
    """
    rows = fft.fftfreq(shape[0])[:, None]
    columns = fft.rfftfreq(shape[1])[None, :]
    wavenumber = 2 * np.pi * scale * np.hypot(rows, columns)
    amplitude = (1 + wavenumber**2) ** (-roughness / 2)
    amplitude[0, 0] = 0.0
    noise = fft.rfft2(rng.standard_normal(shape, dtype=np.float32))
    made = fft.irfft2(noise * amplitude.astype(np.float32), s=shape)
    return np.asarray(made / made.std(), dtype=np.float32)


def ramp(values: Field, low: float, high: float) -> Field:
    """Return 0 below `low`, 1 above `high` and a smooth rise between (Hermite's cubic)."""
    part = np.clip((values - np.float32(low)) / np.float32(high - low), 0, 1)
    return np.asarray(part * part * (3 - 2 * part), dtype=np.float32)
