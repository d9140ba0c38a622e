"""Reflectance -> Evidence: the layers a model looks at and a map shows.

A feature is a name, and perhaps a distance: `clay_hydroxyl` is an index, `log_shape` a family of
layers, `log_shape@60` the mean of that family within 60 m, `evidence` every index that the
workflow maps.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from pipeline.contracts import Evidence, Reflectance, as_evidence
from pipeline.errors import PlanError, did_you_mean
from pipeline.evidence.context import mean_within
from pipeline.evidence.indices import feasible, index_layers
from pipeline.evidence.spectroscopy import FAMILIES, layer_names
from pipeline.grid import halo_pixels
from pipeline.plan import Configs, Index, Sensor

_METRES = re.compile(r"\d{1,5}(\.\d{1,3})?")
_SHAPE = "Aitchison 1986, centred log-ratio"


@dataclass(frozen=True)
class LayerPlan:
    """Which layers are derived, worked out once and carried to every block."""

    sensor: Sensor
    indices: tuple[tuple[str, Index], ...]
    """Every index that is mapped or looked at, by name."""
    mapped: tuple[str, ...]
    """The indices that become layers of the maps."""
    features: tuple[str, ...]
    """What models look at: names, families, and either with `@metres`."""

    @cached_property
    def halo(self) -> float:
        """The widest distance a feature looks around itself, metres."""
        return max((_split(feature)[1] for feature in self.features), default=0.0)

    def layers_of(self, feature: str) -> tuple[str, ...]:
        """Return the names of the layers a feature stands for."""
        name, metres = _split(feature)
        names = self._plain_layers(name)
        return tuple(f"{layer}@{metres:g}" for layer in names) if metres else names

    def _plain_layers(self, name: str) -> tuple[str, ...]:
        if name == "evidence":
            return self.mapped
        if name in FAMILIES:
            return layer_names(name, tuple(self.sensor.bands))
        return (name,)


def plan_layers(
    mapped: Iterable[str] | str, features: Iterable[str], sensor: Sensor, configs: Configs
) -> LayerPlan:
    """Work out which layers a workflow and its models need.

    Parameters
    ----------
    mapped : names of indices to map, or "all" for every one the sensor feeds.
    features : what the models look at.

    Raises
    ------
    PlanError : an unknown index or family, or an index that this sensor cannot feed.
    """
    known = {name: configs.index(name) for name in configs.names("indices")}
    fed, refused = feasible(known, sensor)
    names = tuple(fed) if mapped == "all" else tuple(mapped)
    wanted = tuple(dict.fromkeys(features))
    needed = dict.fromkeys([*names, *(_split(feature)[0] for feature in wanted)])
    for name in needed:
        if name in refused:
            raise PlanError(
                f"the index '{name}' cannot be fed by this sensor ({refused[name]})",
                where=f"sensor '{sensor.title}'",
                remedy="leave it out, or use a sensor that resolves its wavelengths",
            )
        if name not in fed and (name in names or name not in {*FAMILIES, "evidence"}):
            raise PlanError(
                f"the index or family '{name}' is not known"
                if name not in FAMILIES
                else f"'{name}' is a family for models, not an index that can be mapped",
                where="configs/indices",
                remedy=did_you_mean(name, known if name in names else [*known, *FAMILIES]),
            )
    if "evidence" in needed and not names:
        raise PlanError(
            "a model looks at the feature 'evidence', but the workflow maps no index",
            where="workflow",
            remedy="set evidence to 'all' or to a list of indices",
        )
    used = tuple((name, fed[name]) for name in needed if name in fed)
    return LayerPlan(sensor, used, names, wanted)


def derive(reflectance: Reflectance, plan: LayerPlan) -> Evidence:
    """Derive every layer of a plan, one variable (y, x) a layer.

    The result is right only where the block reaches `plan.halo` metres past what is kept.
    """
    arrays = derive_arrays(reflectance["reflectance"].values, plan, _resolution(reflectance))
    indices = dict(plan.indices)
    layers = {}
    for name, array in arrays.items():
        index = indices.get(name)
        attrs = {
            "units": index.units if index else "1",
            "formula": index.formula if index else name,
            "source": index.source if index else _SHAPE,
        }
        layers[name] = xr.DataArray(array, dims=("y", "x"), attrs=attrs)
    data = xr.Dataset(layers, coords=reflectance[["y", "x"]].coords, attrs={})
    return as_evidence(data.assign_attrs(crs=reflectance.attrs["crs"]))


def derive_arrays(
    reflectance: NDArray[np.float32], plan: LayerPlan, resolution: float
) -> dict[str, NDArray[np.float32]]:
    """Derive every layer of a plan as arrays (y, x) by name.

    Parameters
    ----------
    reflectance : (band, y, x), unitless, bands in the sensor's order.
    resolution : pixel size, metres.
    """
    indices = dict(plan.indices)
    stack = index_layers(reflectance, indices, plan.sensor)
    out = dict(zip(indices, stack, strict=True))
    for feature in plan.features:
        name, metres = _split(feature)
        names = plan.layers_of(feature)
        layers = (
            FAMILIES[name](reflectance)
            if name in FAMILIES
            else np.stack([out[layer] for layer in plan.layers_of(name)])
        )
        if metres:
            layers = mean_within(layers, halo_pixels(metres, resolution))
        out |= dict(zip(names, layers, strict=True))
    return out


def _split(feature: str) -> tuple[str, float]:
    """Return a feature's name and its distance in metres (0 for the pixel itself)."""
    name, at, metres = feature.partition("@")
    if not at:
        return name, 0.0
    if not _METRES.fullmatch(metres) or float(metres) == 0.0:
        raise PlanError(
            f"the feature '{feature}' has no distance in metres after '@'",
            where="model recipe",
            remedy="write for example 'log_shape@60'",
        )
    return name, float(metres)


def _resolution(reflectance: Reflectance) -> float:
    x = reflectance["x"].values
    return float(abs(x[1] - x[0])) if len(x) > 1 else 1.0
