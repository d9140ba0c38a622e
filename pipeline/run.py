"""The main job, in order: search, lock, sample, validate, fit, map, find zones, publish, record.

Each step leaves its result as a file in a work folder that is named by the run's identity: what
exists there is done. So a run that was killed goes on where it was, and one that is current does
nothing. A study that names no training maps its evidence and learns nothing.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np

from pipeline import files, record, store
from pipeline.blocks import run_blocks
from pipeline.errors import CatalogError
from pipeline.ground import Ground
from pipeline.job import WORK, Job, Ready, Told, make_ready, require_readable
from pipeline.learn import fit_model, take_samples, try_model
from pipeline.model import load
from pipeline.products import publish_region
from pipeline.publish import Finished
from pipeline.publish.stac import write_collection
from pipeline.remote import traffic
from pipeline.report import write_report
from pipeline.study import derivation
from pipeline.tasks import MapBlock, map_fills


class Learned(NamedTuple):
    """What a study learned: how its model was tried, and the fitted model's file."""

    validation: dict[str, Any]
    model: Path


def run(job: Job, told: Told) -> dict[str, Any]:
    """Do a study, and return its run record; a run that is current is not done again.

    Raises
    ------
    ProspectraError : one of its children, see `pipeline.errors`; nothing is left half-written.
    """
    ready = make_ready(job, told)
    with files.hold(job.out):
        files.sweep(job.out)
        record.require_own(job.out, ready.study.workflow.name)
        if (known := record.current(job.out, ready.identity)) is not None:
            shutil.rmtree(job.out / WORK, ignore_errors=True)
            told("already current", 1, 1)
            return known

        timings: dict[str, float] = {}
        learned = learn(ready, timings) if ready.study.workflow.learns else None
        record.begin(job.out, ready.grounds)
        finished, coverage, mapped = [], {}, {}
        for name in ready.study.workflow.mapping.regions:
            ground, folder = ready.grounds[name], job.out / name
            with timed(timings, f"map {name}"):
                maps, coverage[name] = map_region(ready, ground, learned and learned.model)
                mapped[name] = share_mapped(ready, ground, maps)
            with timed(timings, f"publish {name}"):
                origin = record.origin(ready.identity)
                finished.append(publish_region(ready.study, ground, maps, folder, origin, told))
        with timed(timings, "record"):
            told_of = {"coverage": coverage, "mapped": mapped}
            made = conclude(ready, finished, learned) | told_of
            write_report(made, job.out)
        done = record.finish(job.out, made, timings | network())
        shutil.rmtree(job.out / WORK)
    return done


def learn(ready: Ready, timings: dict[str, float]) -> Learned:
    """Take samples, try the model, and fit it."""
    with timed(timings, "sample"):
        samples = take_samples(ready)
    with timed(timings, "validate"):
        validation = try_model(ready, samples)
    with timed(timings, "fit"):
        return Learned(validation, fit_model(ready, samples))


def conclude(ready: Ready, finished: list[Finished], learned: Learned | None) -> dict[str, Any]:
    """Write what speaks of the whole run, and return its record."""
    workflow, out = ready.study.workflow, ready.job.out
    write_collection(out / "stac", workflow.name, workflow.title, finished)
    made = record.make(ready.study, ready.grounds, ready.identity, finished)
    if learned is None:
        return made
    files.write_bytes(out / "model.skops", learned.model.read_bytes())
    chosen = load(learned.model).chosen.model_dump(mode="json")
    return made | {
        "validation": learned.validation,
        "model": record.model(ready.study, chosen),
    }


def map_region(ready: Ready, ground: Ground, model: Path | None) -> tuple[Path, dict[str, Any]]:
    """Map every block of a region that is not mapped yet.

    Returns
    -------
    The store of its maps, and how much of the imagery could be read (`pipeline.coverage`).
    """
    maps = ready.work / f"{ground.name}.zarr"
    size = ready.job.side(ground.shape)
    study = ready.study
    fills = map_fills(study.workflow.classes, study.layers.mapped, study.shares)
    store.create(maps, f"{ready.identity} {size}", ground.shape, size, fills)
    task = MapBlock(derivation(study, ground), model, maps, study.shares)
    progress = partial(ready.told, f"map {ground.name}")
    gaps = run_blocks(task, ready.job.blocks(ground.shape), ready.job.workers, progress)
    return maps, require_readable(ground, (gap for block in gaps for gap in block))


def share_mapped(ready: Ready, ground: Ground, maps: Path) -> float:
    """Return the share of a region's pixels that are clear on at least one date, 0..1.

    Raises
    ------
    CatalogError : none is, so that there is nothing to map.
    """
    counts, within, clear = store.read(maps, "clear_count"), 0, 0
    for block in ready.job.blocks(ground.shape):
        here = counts[block.slices]
        within += int(np.isfinite(here).sum())
        clear += int((here > 0).sum())
    if clear == 0:
        raise CatalogError(
            f"no pixel of it is clear on any of {len(ground.items.items)} dates",
            where=f"region {ground.name}",
            remedy="widen the search to other dates, or look at what composite.masks drops",
        )
    return clear / within


def network() -> dict[str, float]:
    """Return what this process has asked of the network, for the record; workers count apart."""
    return {f"network {what}": count for what, count in asdict(traffic()).items()}


@contextmanager
def timed(timings: dict[str, float], step: str) -> Iterator[None]:
    """Note the seconds a step takes."""
    start = perf_counter()
    yield
    timings[step] = round(perf_counter() - start, 3)
