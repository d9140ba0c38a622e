"""Several sensors on one grid: their bands side by side, the first sensor's first."""

from collections.abc import Mapping, Sequence

import numpy as np
import xarray as xr

from pipeline.contracts import Reflectance, as_reflectance
from pipeline.plan import Sensor


def join_sensors(sensors: Mapping[str, Sensor]) -> Sensor:
    """Return several sensors as one; bands of all but the first carry their sensor's name.

    An index never mixes the bands of two sensors: their light, time and calibration differ.

    Parameters
    ----------
    sensors : by their name in configs/sensors/, in order.
    """
    (_, first), *others = sensors.items()
    if not others:
        return first
    bands = dict(first.bands)
    parts = [tuple(bands)] if first.quantity == "reflectance" else []
    for name, sensor in others:
        named = {f"{_prefix(name)}_{band}": value for band, value in sensor.bands.items()}
        bands |= named
        if sensor.quantity == "reflectance":  # an index is of nothing else
            parts.append(tuple(named))
    title = " with ".join(sensor.title for sensor in sensors.values())
    return first.model_copy(update={"title": title, "bands": bands, "parts": tuple(parts)})


def join(parts: Sequence[Reflectance], sensor: Sensor) -> Reflectance:
    """Return the composites of several sensors on one grid as one.

    Parameters
    ----------
    parts : in the order of the sensors that `sensor` joins; all on the same grid.

    Returns
    -------
    Reflectance (band, y, x) with the bands of `sensor`; `clear_count` is the least of the parts'.
    """
    if len(parts) == 1:
        return parts[0]
    plain = [part[["reflectance"]].drop_vars(["band", "wavelength", "fwhm"]) for part in parts]
    joined = xr.concat(plain, dim="band", join="exact", combine_attrs="override")
    joined = joined.assign_coords(
        band=list(sensor.bands),
        wavelength=("band", np.array([b.wavelength for b in sensor.bands.values()], float)),
        fwhm=("band", np.array([b.fwhm for b in sensor.bands.values()], float)),
    )
    fewest = np.minimum.reduce([part["clear_count"].values for part in parts])
    return as_reflectance(
        joined.assign(clear_count=(("y", "x"), fewest)).assign_attrs(
            parts[0].attrs, sensor=" ".join(part.attrs["sensor"] for part in parts)
        )
    )


def share_name(sensor: str | None, flag: str) -> str:
    """Return the name of the map of a flag; only the first sensor (None) goes unnamed.

    >>> share_name(None, "snow"), share_name("hls-l30", "snow")
    ('share_snow', 'share_hls_l30_snow')
    """
    return "_".join(["share", *([_prefix(sensor)] if sensor else []), flag])


def flag_shares(parts: Sequence[Reflectance]) -> dict[str, xr.DataArray]:
    """Return, by the name of its map, the share (y, x) of the dates that carry each flag, 0..1."""
    found = {}
    for number, part in enumerate(parts):
        sensor = part.attrs["sensor"] if number else None
        if "flag_share" in part:
            for flag in part["flag"].values.tolist():
                share = part["flag_share"].sel(flag=flag, drop=True)
                about = {"units": "1", "formula": f"share of dates flagged {flag}"}
                found[share_name(sensor, flag)] = share.assign_attrs(about, source="quality masks")
    return found


def _prefix(sensor: str) -> str:
    return sensor.replace("-", "_")
