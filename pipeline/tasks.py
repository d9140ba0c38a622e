"""What a worker does with one block: take samples from it, or map it.

A task is a small frozen value that travels to the worker; it derives its block, and what it makes
either is small (samples) or goes to the store (maps).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import xarray as xr
from numpy.typing import NDArray

from pipeline import store
from pipeline.coverage import Gap, gaps_in
from pipeline.grid import Block, crop, inside
from pipeline.model import Fitted, load, predict
from pipeline.publish.raster import NODATA, quantise
from pipeline.study import Derivation
from pipeline.training import sites_in

UNMAPPED = 0  # class number of a pixel without a class


@dataclass(frozen=True)
class TakeSamples:
    """Take the evidence at the sites of a block."""

    derive: Derivation
    region: str
    sites: gpd.GeoDataFrame
    """With `row` and `column` on the region's grid, and `label`."""
    columns: tuple[str, ...]
    """The evidence layers to take."""

    def __call__(self, block: Block) -> xr.Dataset:
        """Return samples: `layers` (sample, layer), `label`, `region`, and `x`, `y` in metres.

        `unreadable` among the attributes names what could not be read here.
        """
        here = sites_in(self.sites, block)
        reflectance, evidence = self.derive(block)
        rows, columns = here["row"] - block.y0, here["column"] - block.x0
        values = [evidence[name].values[rows, columns] for name in self.columns]
        return xr.Dataset(
            {
                "layers": (("sample", "layer"), np.stack(values, axis=1)),
                "label": ("sample", here["label"].to_numpy(dtype=str)),
                "region": ("sample", np.full(len(here), self.region)),
                "x": ("sample", here.geometry.x.to_numpy()),
                "y": ("sample", here.geometry.y.to_numpy()),
            },
            {"layer": list(self.columns)},
            {"unreadable": gaps_in(block, reflectance.attrs["unreadable"])},
        )


@dataclass(frozen=True)
class MapBlock:
    """Map a block: scores, class, spread, support and evidence, into the store."""

    derive: Derivation
    model: Path | None
    """None: nothing was learnt, only evidence is mapped."""
    store: Path
    shares: tuple[str, ...] = ()
    """Layers of the evidence that say how often ground carries a flag."""

    def __call__(self, block: Block) -> tuple[Gap, ...]:
        """Derive, predict, encode and write the block, unless that has been done.

        Returns what could not be read, which is kept in the store with the block.
        """
        if store.is_done(self.store, block):
            return gaps_in(block, store.notes(self.store, block))
        reflectance, evidence = self.derive(block)
        layers = {str(name): layer.values for name, layer in evidence.data_vars.items()}
        within = inside(crop(self.derive.grid, block), self.derive.outline)
        maps = _predicted(self.model, layers, within) if self.model else {}
        maps |= {f"evidence_{name}": layers[name] for name in self.derive.layers.mapped}
        maps |= {name: quantise(layers[name]) for name in self.shares}
        count = reflectance["clear_count"].values
        maps["clear_count"] = np.where(within, count, np.nan).astype(np.float32)
        unreadable = reflectance.attrs["unreadable"]
        store.write(self.store, block, maps, unreadable)
        return gaps_in(block, unreadable)


def _predicted(
    path: Path, layers: Mapping[str, NDArray[Any]], within: NDArray[np.bool_]
) -> dict[str, NDArray[Any]]:
    """Return what a model says of a block, encoded; `within` (y, x) is the region."""
    model = _model(path)
    score, spread = predict(model, layers)
    known = [np.isfinite(layers[name]) for name in model.layers]
    support: NDArray[np.float32] = np.stack(known).mean(axis=0, dtype=np.float32)
    support[~within] = np.nan  # outside the region there is nothing to support
    codes = quantise(score)
    maps: dict[str, NDArray[Any]] = {
        f"score_{name}": codes[k] for k, name in enumerate(model.classes)
    }
    return maps | {
        "class": winners(codes),
        "spread": quantise(spread),
        "support": quantise(support),
    }


def map_fills(
    classes: tuple[str, ...], mapped: tuple[str, ...], shares: tuple[str, ...] = ()
) -> Mapping[str, tuple[str, Any]]:
    """Return the dtype and empty value of every map of a store."""
    learned = [*(f"score_{name}" for name in classes), "spread", "support"] if classes else []
    continuous = [*learned, *shares]
    fills: dict[str, tuple[str, Any]] = dict.fromkeys(continuous, ("uint16", NODATA))
    fills |= {f"evidence_{name}": ("float32", np.nan) for name in mapped}
    if classes:
        fills["class"] = ("uint8", UNMAPPED)
    return fills | {"clear_count": ("float32", np.nan)}


def winners(codes: NDArray[np.uint16]) -> NDArray[np.uint8]:
    """Return the number (from 1) of the class with the highest score; the first one wins a tie.

    Parameters
    ----------
    codes : quantised scores (class, y, x).
    """
    known = codes != NODATA
    best = np.where(known, codes, 0).argmax(axis=0) + 1
    return np.where(known.any(axis=0), best, UNMAPPED).astype(np.uint8)


@lru_cache(maxsize=2)
def _model(path: Path) -> Fitted:
    """Load a model once in each worker; the run's work folder is named by what made it."""
    return load(path)
