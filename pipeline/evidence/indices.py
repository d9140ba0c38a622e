"""Spectral indices: the formulas of configs/indices/, on the bands of one sensor."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from pipeline import formula
from pipeline.errors import FormulaError
from pipeline.plan import Index, Sensor

DARKEST = 0.02
"""Below this reflectance in any band it uses, an index is noise and becomes NaN."""


def feasible(
    indices: Mapping[str, Index], sensor: Sensor
) -> tuple[dict[str, Index], dict[str, str]]:
    """Return the indices a sensor can feed, and for each of the others the reason why not."""
    fed: dict[str, Index] = {}
    refused: dict[str, str] = {}
    for name, index in indices.items():
        try:
            operand_bands(index, sensor)
        except FormulaError as error:
            refused[name] = error.what
        else:
            fed[name] = index
    return fed, refused


def operand_bands(index: Index, sensor: Sensor) -> Mapping[str, str]:
    """Return which band each operand of an index is read from, all of one part of the sensor.

    Raises
    ------
    FormulaError : the formula is wrong, or the sensor cannot feed it.
    """
    parsed, refusals = formula.parse(index.formula), []
    whole = (tuple(sensor.bands),) if sensor.quantity == "reflectance" else ()
    for part in sensor.parts or whole:
        bands = {name: sensor.bands[name] for name in part}
        centres = {n: (b.wavelength, b.fwhm) for n, b in bands.items() if b.wavelength and b.fwhm}
        try:
            return formula.resolve(parsed, centres)
        except FormulaError as error:
            refusals.append(error)
    if not refusals:
        raise FormulaError(
            f"an index is of surface reflectance, and this sensor gives {sensor.quantity}",
            where=index.formula,
            remedy="name a sensor of surface reflectance",
        )
    raise refusals[0]


def index_layers(
    reflectance: NDArray[np.float32], indices: Mapping[str, Index], sensor: Sensor
) -> NDArray[np.float32]:
    """Return one layer (index, y, x) per index, in the order given.

    Parameters
    ----------
    reflectance : (band, y, x), unitless, bands in the sensor's order.

    Raises
    ------
    FormulaError : an index that the sensor cannot feed.
    """
    rows = {name: row for row, name in enumerate(sensor.bands)}
    flat = np.ascontiguousarray(reflectance).reshape(len(reflectance), -1)
    operands: dict[str, int] = {}
    for index in indices.values():
        operands |= {op: rows[band] for op, band in operand_bands(index, sensor).items()}
    formulas = [formula.parse(index.formula) for index in indices.values()]
    layers: NDArray[np.float32] = formula.evaluate(formulas, operands, flat, DARKEST)
    return layers.reshape(len(formulas), *reflectance.shape[1:])
