"""The types that pass between stages: xarray Datasets that have been checked.

Only the `as_*` functions here make them, so a type checker refuses Evidence where Reflectance was
wanted, and a stage can rely on dims, dtypes and attributes without looking.
"""

from typing import NewType

import numpy as np
import xarray as xr

Reflectance = NewType("Reflectance", xr.Dataset)
"""`reflectance` (band, y, x) float32, unitless, NaN = none, with `wavelength` and `fwhm` (nm) on
band; `clear_count` (y, x) clear dates per pixel; attrs sensor, crs."""

Evidence = NewType("Evidence", xr.Dataset)
"""One float32 variable (y, x) per evidence layer; attrs crs; per layer units, formula, source."""

Samples = NewType("Samples", xr.Dataset)
"""`layers` (sample, layer) float32, `label` and `region` (sample), `x`, `y` (sample, metres in the
region's CRS); attrs plan."""


def as_reflectance(data: xr.Dataset) -> Reflectance:
    """Check a Dataset as Reflectance; raise TypeError naming what is off."""
    _dims(data, "reflectance", ("band", "y", "x"), np.float32)
    _dims(data, "clear_count", ("y", "x"))
    _coords(data, "band", ("wavelength", "fwhm"))
    _attrs(data, ("sensor", "crs"))
    return Reflectance(data)


def as_evidence(data: xr.Dataset) -> Evidence:
    """Check a Dataset as Evidence; raise TypeError naming what is off."""
    _attrs(data, ("crs",))
    for name, layer in data.data_vars.items():
        _dims(data, str(name), ("y", "x"), np.float32)
        _require({"units", "formula", "source"} <= layer.attrs.keys(), f"{name} lacks its origin")
    return Evidence(data)


def as_samples(data: xr.Dataset) -> Samples:
    """Check a Dataset as Samples; raise TypeError naming what is off."""
    _dims(data, "layers", ("sample", "layer"), np.float32)
    for name in ("label", "region", "x", "y"):
        _dims(data, name, ("sample",))
    return Samples(data)


def _dims(data: xr.Dataset, name: str, dims: tuple[str, ...], dtype: type | None = None) -> None:
    _require(name in data, f"{name} is missing")
    found = data[name]
    _require(found.dims == dims, f"{name} has dims {found.dims}, not {dims}")
    _require(dtype is None or found.dtype == dtype, f"{name} is {found.dtype}, not {dtype}")


def _coords(data: xr.Dataset, dim: str, names: tuple[str, ...]) -> None:
    for name in names:
        _require(name in data.coords and data[name].dims == (dim,), f"{dim} has no {name}")


def _attrs(data: xr.Dataset, names: tuple[str, ...]) -> None:
    for name in names:
        _require(name in data.attrs, f"the attribute {name} is missing")


def _require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise TypeError(otherwise)
