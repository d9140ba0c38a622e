"""Scores against a reference map: what a run says, held against ground that is known otherwise.

A workflow never reads a reference. This room reads it afterwards, for two questions: how well does
the map agree with it, and (where it covers the training region) how well do the model and its
baselines do on every labelled pixel of blocks they were not trained on.
"""

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import rasterio
import xarray as xr
from numpy.typing import NDArray
from rasterio.enums import Resampling
from rasterio.vrt import WarpedVRT

from pipeline import files, record
from pipeline.blocks import run_blocks
from pipeline.contracts import as_samples
from pipeline.errors import PlanError, ReadError
from pipeline.grid import Block, crop
from pipeline.ground import Ground
from pipeline.job import WORK, Job, Ready, Told, make_ready
from pipeline.learn import all_columns, contenders, cuts, take_samples
from pipeline.publish.vector import LAYER
from pipeline.remote import LOCAL, open_raster
from pipeline.report import write_report
from pipeline.study import Derivation, derivation
from pipeline.validation import Trial, class_scores, validate

REFERENCE = "reference.json"


@dataclass(frozen=True)
class Reference:
    """What is known of a region: a class map, and perhaps the places of deposits."""

    classes: Path
    """A raster of class numbers, 0 for unknown; its tag `classes` may name them (JSON)."""
    deposits: Path | None = None
    """Points."""


@dataclass(frozen=True)
class TakeReference:
    """Take the evidence at every labelled pixel of a block."""

    derive: Derivation
    region: str
    classes: Path
    names: Mapping[int, str]
    columns: tuple[str, ...]

    def __call__(self, block: Block) -> xr.Dataset:
        """Return samples as `pipeline.tasks.TakeSamples` does, one for each labelled pixel."""
        grid = crop(self.derive.grid, block)
        truth = read_classes(self.classes, grid)
        _, evidence = self.derive(block)
        layers = np.stack([evidence[name].values for name in self.columns])
        labelled = np.isin(truth, list(self.names)) & np.isfinite(layers).all(axis=0)
        rows, columns = np.nonzero(labelled)
        x = grid.coordinates["x"].values[columns]
        y = grid.coordinates["y"].values[rows]
        names = np.array([self.names[int(number)] for number in truth[labelled]], dtype=str)
        return xr.Dataset(
            {
                "layers": (("sample", "layer"), layers[:, labelled].T),
                "label": ("sample", names),
                "region": ("sample", np.full(len(names), self.region)),
                "x": ("sample", x),
                "y": ("sample", y),
            },
            {"layer": list(self.columns)},
        )


def score(
    job: Job, references: Mapping[str, Reference], told: Told, *, held_out: bool = False
) -> dict[str, Any]:
    """Score a finished run against reference maps, and put the scores in its report.

    Parameters
    ----------
    held_out : also train on the sites of some blocks and score every labelled pixel of the
        others, for the model and its baselines over every layout (long).

    Raises
    ------
    PlanError : the folder holds no current run of this workflow, or a region is not one of its own.
    ReadError : a reference cannot be read.
    """
    ready = make_ready(job, told)
    regions = ready.study.regions
    if not ready.study.workflow.learns:
        raise PlanError(
            "learns nothing, so there are no scores to hold against a reference",
            where=str(job.workflow),
            remedy="name training, model and validation in the workflow",
        )
    for name in references:
        if name not in regions:
            raise PlanError(
                f"the region '{name}' is not one of the workflow's ({', '.join(regions)})",
                where="--reference",
                remedy="write --reference REGION=PATH with one of them",
            )
    done = record.current(job.out, ready.identity)
    if done is None:
        raise PlanError(
            "holds no current run of this workflow on this catalog",
            where=str(job.out),
            remedy="run 'prospectra run' with the same workflow, catalog and folder first",
        )
    asked: list[files.Json] = [[name, *_digest(r)] for name, r in references.items()]
    key, fuller = (files.digest_of([done["digest"], full, *asked]) for full in (held_out, True))
    path = job.out / REFERENCE
    if path.is_file():
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if found.get("key") in (key, fuller):
            write_report(done, job.out, found)
            return found

    with files.hold(job.out):
        workflow = ready.study.workflow
        shown = [name for name in references if name in workflow.mapping.regions]
        learnt = {n: r for n, r in references.items() if n in ready.learning.training.regions}
        scores: dict[str, Any] = {"key": key, "regions": {}}
        for number, name in enumerate(shown, start=1):
            scores["regions"][name] = _score_maps(ready, name, references[name])
            told("score maps", number, len(shown))
        if held_out and learnt:
            scores["validation"] = _try_everywhere(ready, learnt)
        shutil.rmtree(job.out / WORK, ignore_errors=True)
        files.write_json(path, scores)
        write_report(done, job.out, scores)
    return scores


def read_classes(path: Path, grid: Any) -> NDArray[np.uint8]:
    """Return a reference's class numbers on a grid, by nearest neighbour; 0 where it has none."""
    with (
        open_raster(str(path), LOCAL) as source,
        WarpedVRT(
            source,
            crs=str(grid.crs),
            transform=grid.affine,
            width=grid.shape[1],
            height=grid.shape[0],
            resampling=Resampling.nearest,
            nodata=0,
        ) as aligned,
    ):
        numbers: NDArray[np.uint8] = aligned.read(1)
    return numbers


def class_names(path: Path, classes: Sequence[str]) -> dict[int, str]:
    """Return which number of a reference means which class of the workflow.

    The raster's tag `classes` (a JSON object of number to name) says so; without it the numbers
    follow the workflow's classes, from 1.
    """
    with open_raster(str(path), LOCAL) as source:
        told = source.tags().get("classes")
    if told is None:
        return dict(enumerate(classes, start=1))
    named = {int(number): str(name) for number, name in json.loads(told).items()}
    return {number: name for number, name in named.items() if name in classes}


def _score_maps(ready: Ready, name: str, reference: Reference) -> dict[str, Any]:
    """Return per-class agreement of a region's score maps with its reference."""
    ground, folder = ready.grounds[name], ready.job.out / name
    classes = ready.study.workflow.classes
    names = class_names(reference.classes, classes)
    truth = read_classes(reference.classes, ground.grid)
    scores = np.stack([_read(folder / f"score_{name}.tif") for name in classes], axis=-1)
    known = np.isin(truth, list(names)) & np.isfinite(scores).all(axis=-1)
    labels = np.array([names[int(n)] for n in truth[known]], dtype=str)
    found = class_scores(labels, scores[known], classes)
    result: dict[str, Any] = {
        "pixels": int(known.sum()),
        "trained_here": ground.name in ready.learning.training.regions,
        "auc": _known_mean(found[:, 0]),
        "ap": _known_mean(found[:, 1]),
        "per_class": {
            name: {
                "auc": _plain(found[k, 0]),
                "ap": _plain(found[k, 1]),
                "prevalence": float((labels == name).mean()),
            }
            for k, name in enumerate(classes)
        },
    }
    if reference.deposits is not None:
        result["deposits"] = _capture(ground, reference.deposits, folder)
    return result


def _capture(ground: Ground, deposits: Path, folder: Path) -> dict[str, Any]:
    """Return how many known deposits the zones hold, and on how much of the region."""
    places = gpd.read_file(deposits).to_crs(str(ground.grid.crs))
    zones = gpd.read_file(folder / "zones.gpkg", layer=LAYER)
    held = places.within(zones.union_all()) if len(zones) else np.zeros(len(places), bool)
    return {
        "known": len(places),
        "in_zones": int(held.sum()),
        "zones": len(zones),
        "area_share": float(zones.area.sum() / ground.outline.area),
    }


def _try_everywhere(ready: Ready, references: Mapping[str, Reference]) -> dict[str, Any]:
    """Validate as the run did, but score every labelled pixel of the held-out blocks."""
    classes = ready.study.workflow.classes
    columns = all_columns(ready.study)
    parts = []
    for name, reference in references.items():
        ground = ready.grounds[name]
        numbers = class_names(reference.classes, classes)
        derive = derivation(ready.study, ground)
        task = TakeReference(derive, name, reference.classes, numbers, columns)
        cut = ready.job.blocks(ground.shape)
        parts += run_blocks(task, cut, ready.job.workers, partial(ready.told, f"reference {name}"))
    pixels = as_samples(xr.concat(parts, dim="sample", coords="minimal", compat="override"))
    trial = Trial(take_samples(ready), pixels, classes, 0.0, ready.study.workflow.seed)
    hear = partial(ready.told, "validate on the reference")
    return validate(trial, contenders(ready.study), cuts(ready), hear)


def _read(path: Path) -> NDArray[np.float32]:
    with rasterio.open(path, driver="GTiff") as source:
        band = source.read(1, masked=True)
        values = band.astype(np.float32) * source.scales[0] + source.offsets[0]
    read: NDArray[np.float32] = values.filled(np.nan)
    return read


def _digest(reference: Reference) -> list[files.Json]:
    paths = [p for p in (reference.classes, reference.deposits) if p is not None]
    for path in paths:
        if not path.is_file():
            raise ReadError("does not exist", where=str(path), remedy="check --reference")
    return [files.sha256(path) for path in paths]


def _known_mean(values: NDArray[np.float64]) -> float | None:
    return float(np.nanmean(values)) if np.isfinite(values).any() else None


def _plain(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
