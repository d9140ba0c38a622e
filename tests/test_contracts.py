"""The types that pass between stages: what is off is named."""

import numpy as np
import pytest
import xarray as xr

from pipeline.contracts import as_evidence, as_reflectance, as_samples

ORIGIN = {"units": "1", "formula": "r1 / r2", "source": "somebody"}


def reflectance():
    return xr.Dataset(
        {
            "reflectance": (("band", "y", "x"), np.zeros((2, 3, 4), np.float32)),
            "clear_count": (("y", "x"), np.zeros((3, 4), np.uint16)),
        },
        {"wavelength": ("band", [490.0, 560.0]), "fwhm": ("band", [10.0, 10.0])},
        {"sensor": "s", "crs": "EPSG:32611"},
    )


def evidence():
    layer = (("y", "x"), np.zeros((3, 4), np.float32), ORIGIN)
    return xr.Dataset({"clay": layer}, attrs={"crs": "EPSG:32611"})


def samples():
    return xr.Dataset(
        {
            "layers": (("sample", "layer"), np.zeros((5, 2), np.float32)),
            **{name: ("sample", np.zeros(5)) for name in ("label", "region", "x", "y")},
        }
    )


GOOD = {
    as_reflectance: reflectance,
    as_evidence: evidence,
    as_samples: samples,
}


@pytest.mark.parametrize(("check", "make"), GOOD.items(), ids=lambda f: f.__name__)
def test_what_is_right_passes_unchanged(check, make):
    data = make()
    assert check(data) is data


@pytest.mark.parametrize(
    ("check", "data", "told"),
    [
        (as_reflectance, reflectance().astype(np.float64), "float64"),
        (as_reflectance, reflectance().drop_vars("clear_count"), "clear_count is missing"),
        (as_reflectance, reflectance().drop_vars("wavelength"), "band has no wavelength"),
        (as_reflectance, reflectance().drop_attrs(), "attribute sensor"),
        (as_reflectance, reflectance().transpose("y", "x", "band"), "dims"),
        (as_evidence, reflectance(), "dims"),
        (as_evidence, evidence().drop_attrs(deep=False), "attribute crs"),
        (as_evidence, evidence().assign(bare=evidence()["clay"].drop_attrs()), "bare lacks"),
        (as_evidence, evidence().astype(np.float64), "float64"),
        (as_samples, samples().drop_vars("region"), "region is missing"),
        (as_samples, samples().astype(np.float64), "float64"),
    ],
)
def test_what_is_off_is_named(check, data, told):
    with pytest.raises(TypeError, match=told):
        check(data)
