"""The library of spectral indices: every file is right, and no two say the same."""

from itertools import combinations

import numpy as np
import pytest
from scipy.stats import spearmanr

from pipeline import formula
from pipeline.errors import FormulaError
from pipeline.plan import Configs

CONFIGS = Configs.at()
NAMES = CONFIGS.names("indices")
OLI = {
    "blue": (482.0, 60.0),
    "green": (561.0, 57.0),
    "red": (655.0, 38.0),
    "nir08": (865.0, 28.0),
    "swir16": (1609.0, 85.0),
    "swir22": (2201.0, 187.0),
}
NARROW = {f"b{nm}": (float(nm), 10.0) for nm in range(400, 2500, 10)}
RED_EDGE = {"fe_hem_jar_rededge", "fe_mixed_rededge", "ndre"}


def _bands(sensor):
    return {
        name: (band.wavelength, band.fwhm) for name, band in CONFIGS.sensor(sensor).bands.items()
    }


def _fed(bands):
    found = set()
    for name in NAMES:
        try:
            formula.resolve(formula.parse(CONFIGS.index(name).formula), bands)
        except FormulaError:
            continue
        found.add(name)
    return found


@pytest.mark.parametrize("name", NAMES)
def test_worked_values(name):
    index = CONFIGS.index(name)
    checked = formula.parse(index.formula)
    rows = {operand: row for row, operand in enumerate(checked.operands)}
    for check in index.checks:
        assert set(check.operands) == set(checked.operands)
        bands = np.array([[check.operands[o]] for o in checked.operands], np.float32)
        assert formula.evaluate([checked], rows, bands)[0, 0] == pytest.approx(
            check.value, rel=1e-4, abs=1e-6
        )


def test_broad_sensors_feed_the_same_indices_and_narrow_ones_all():
    landsat = _fed(OLI)
    assert _fed(_bands("aviris95-tm")) == landsat
    assert _fed(_bands("sentinel2-l2a")) == landsat | RED_EDGE
    assert len(landsat) >= 16
    assert _fed(NARROW) == set(NAMES)


def test_no_two_indices_say_the_same():
    rng = np.random.default_rng(0)
    bands = _bands("sentinel2-l2a")
    names = sorted(_fed(bands))
    rows = {name: row for row, name in enumerate(bands)}
    spectra = rng.uniform(0.05, 0.6, (len(rows), 4000)).astype(np.float32)
    values = []
    for name in names:
        parsed = formula.parse(CONFIGS.index(name).formula)
        columns = {o: rows[band] for o, band in formula.resolve(parsed, bands).items()}
        values.append(formula.evaluate([parsed], columns, spectra)[0])
    alike = np.abs(spearmanr(np.transpose(values)).statistic)
    for (i, one), (j, other) in combinations(enumerate(names), 2):
        assert alike[i, j] < 0.995, (one, other)
