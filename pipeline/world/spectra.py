"""Reflectance spectra by parameters, and what the bands of a sensor see of them.

A spectrum is a continuum times absorption bands of Gaussian shape. Positions are those of
Clark et al. 1990 (J. Geophys. Res. 95:12653), Hunt & Ashley 1979 (Econ. Geol. 74:1613) and, for
plants, Elvidge 1990 (Int. J. Remote Sens. 11:1775); depths and continua are of the same order as in
those papers, for ground as a satellite sees it and not for pure powders.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.plan import Band

WAVELENGTHS = np.arange(400.0, 2501.0, 5.0)
"""Where spectra are sampled, nm."""

_FWHM_PER_SIGMA = 2 * np.sqrt(2 * np.log(2))


@dataclass(frozen=True)
class Spectrum:
    """A continuum and its absorption bands."""

    continuum: tuple[tuple[float, float], ...]
    """Wavelength (nm) and reflectance (0..1) of points joined by straight lines."""
    bands: tuple[tuple[float, float, float], ...] = ()
    """Centre (nm), full width at half maximum (nm) and depth (0..1)."""


_WATER = ((1410, 60, 0.20), (1910, 80, 0.30))  # hydroxyl and molecular water of clays
_LEAF = (
    *((400, 0.04), (500, 0.04), (555, 0.10), (680, 0.035), (740, 0.36), (900, 0.47)),
    *((1300, 0.46), (1650, 0.34), (2200, 0.24), (2500, 0.14)),
)
_STRAW = (
    *((400, 0.08), (560, 0.17), (700, 0.26), (900, 0.36), (1300, 0.44), (1650, 0.45)),
    *((2200, 0.38), (2500, 0.26)),
)
_LEAF_WATER = ((970, 60, 0.06), (1200, 80, 0.12), (1450, 150, 0.60), (1940, 180, 0.75))

SPECTRA: Mapping[str, Spectrum] = {
    # Minerals of altered rock.
    "alunite": Spectrum(
        ((400, 0.31), (700, 0.46), (1300, 0.52), (2000, 0.49), (2500, 0.38)),
        ((1480, 120, 0.36), (1760, 80, 0.28), (2170, 85, 0.55), (2320, 50, 0.20)),
    ),
    "kaolinite": Spectrum(
        ((400, 0.26), (700, 0.42), (1300, 0.50), (2000, 0.47), (2500, 0.33)),
        ((1400, 50, 0.30), (1910, 60, 0.12), (2162, 35, 0.25), (2206, 55, 0.50), (2380, 60, 0.20)),
    ),
    "white_mica": Spectrum(
        ((400, 0.24), (700, 0.38), (1300, 0.46), (2000, 0.48), (2500, 0.36)),
        ((1410, 40, 0.15), (1910, 60, 0.12), (2208, 70, 0.38), (2350, 60, 0.24), (2440, 50, 0.15)),
    ),
    "chlorite": Spectrum(
        ((400, 0.13), (560, 0.20), (700, 0.19), (1300, 0.26), (2000, 0.31), (2500, 0.22)),
        ((720, 220, 0.10), (1050, 350, 0.16), (2250, 40, 0.16), (2330, 90, 0.32)),
    ),
    "epidote": Spectrum(
        ((400, 0.14), (560, 0.26), (700, 0.28), (1300, 0.38), (2000, 0.42), (2500, 0.28)),
        ((1050, 250, 0.12), (1550, 60, 0.08), (2256, 40, 0.14), (2335, 80, 0.32)),
    ),
    "calcite": Spectrum(
        ((400, 0.40), (700, 0.55), (1300, 0.60), (2000, 0.58), (2500, 0.46)),
        ((1880, 60, 0.10), (2000, 70, 0.10), (2340, 80, 0.32)),
    ),
    "silica": Spectrum(
        ((400, 0.27), (700, 0.38), (1300, 0.42), (2000, 0.40), (2500, 0.37)),
        ((1410, 60, 0.08), (1910, 80, 0.15), (2250, 160, 0.10)),
    ),
    "montmorillonite": Spectrum(
        ((400, 0.30), (700, 0.46), (1300, 0.56), (2000, 0.52), (2500, 0.40)),
        (*_WATER, (2206, 60, 0.24)),
    ),
    "goethite": Spectrum(
        ((400, 0.10), (560, 0.22), (760, 0.40), (1300, 0.46), (1700, 0.50), (2500, 0.40)),
        ((480, 90, 0.45), (650, 100, 0.12), (920, 220, 0.38)),
    ),
    "hematite": Spectrum(
        ((400, 0.07), (560, 0.12), (740, 0.34), (1300, 0.40), (2500, 0.38)),
        ((530, 90, 0.45), (670, 70, 0.08), (870, 160, 0.32)),
    ),
    # Rocks.
    "rhyolite": Spectrum(
        ((400, 0.19), (560, 0.27), (700, 0.32), (1300, 0.37), (2000, 0.37), (2500, 0.34)),
        ((900, 200, 0.04), (2200, 80, 0.05)),
    ),
    "red_tuff": Spectrum(
        ((400, 0.14), (560, 0.21), (740, 0.33), (1300, 0.38), (2000, 0.37), (2500, 0.33)),
        ((530, 90, 0.14), (870, 160, 0.12), (2206, 80, 0.09)),
    ),
    "andesite": Spectrum(
        ((400, 0.11), (560, 0.15), (700, 0.17), (1300, 0.20), (2000, 0.22), (2500, 0.19)),
        ((1000, 300, 0.08), (2320, 110, 0.09)),
    ),
    "basalt": Spectrum(
        ((400, 0.07), (560, 0.09), (700, 0.11), (1300, 0.13), (2000, 0.14), (2500, 0.13)),
        ((1020, 300, 0.12),),
    ),
    "limestone": Spectrum(
        ((400, 0.29), (560, 0.38), (700, 0.42), (1300, 0.48), (2000, 0.47), (2500, 0.37)),
        ((2340, 90, 0.24),),
    ),
    "marl": Spectrum(
        ((400, 0.24), (560, 0.34), (700, 0.40), (1300, 0.47), (2000, 0.45), (2500, 0.35)),
        (*_WATER, (2206, 60, 0.26), (2340, 80, 0.16)),
    ),
    "schist": Spectrum(
        ((400, 0.13), (560, 0.18), (700, 0.22), (1300, 0.28), (2000, 0.31), (2500, 0.25)),
        ((900, 200, 0.06), (2208, 70, 0.16), (2350, 80, 0.14)),
    ),
    "granite": Spectrum(
        ((400, 0.19), (560, 0.25), (700, 0.29), (1300, 0.33), (2000, 0.34), (2500, 0.31)),
        ((2200, 80, 0.07), (2330, 80, 0.04)),
    ),
    # Soils.
    "alluvium": Spectrum(
        ((400, 0.13), (560, 0.21), (700, 0.28), (1300, 0.36), (2000, 0.37), (2500, 0.31)),
        ((900, 200, 0.05), (1910, 80, 0.10), (2206, 70, 0.09), (2340, 80, 0.04)),
    ),
    "red_soil": Spectrum(
        ((400, 0.08), (560, 0.15), (740, 0.32), (1300, 0.41), (2000, 0.39), (2500, 0.30)),
        ((530, 90, 0.25), (880, 170, 0.20), (1910, 80, 0.20), (2206, 60, 0.36)),
    ),
    "playa": Spectrum(
        ((400, 0.30), (560, 0.41), (700, 0.47), (1300, 0.54), (2000, 0.46), (2500, 0.34)),
        ((1450, 110, 0.25), (1750, 60, 0.06), (1930, 120, 0.40), (2206, 60, 0.26)),
    ),
    # Plants.
    "green": Spectrum(_LEAF, _LEAF_WATER),
    "dry": Spectrum(_STRAW, ((1720, 50, 0.06), (2100, 90, 0.14), (2300, 80, 0.14))),
}


def reflectance(spectrum: Spectrum) -> NDArray[np.float64]:
    """Return a spectrum (wavelength) at WAVELENGTHS: continuum times its absorption bands, 0..1."""
    nm, level = np.transpose(spectrum.continuum)
    found = np.interp(WAVELENGTHS, nm, level)
    for centre, fwhm, depth in spectrum.bands:
        found = found * (1 - depth * _gaussian(centre, fwhm))
    return np.asarray(found, dtype=np.float64)


def band_values(name: str, bands: Mapping[str, Band]) -> NDArray[np.float64]:
    """Return what each band of a sensor sees of a spectrum (band), reflectance 0..1.

    The response of a band is a Gaussian of its centre and full width at half maximum.
    """
    responses = np.stack([_gaussian(*band.light) for band in bands.values()])
    responses /= responses.sum(axis=1, keepdims=True)
    return np.asarray(responses @ reflectance(SPECTRA[name]), dtype=np.float64)


def _gaussian(centre: float, fwhm: float) -> NDArray[np.float64]:
    sigma = fwhm / _FWHM_PER_SIGMA
    return np.asarray(np.exp(-0.5 * ((WAVELENGTHS - centre) / sigma) ** 2), dtype=np.float64)
