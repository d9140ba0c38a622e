"""The main job, in order: search, lock, sample, validate, fit, map, find zones, publish, record.

Each step leaves its result as a file in a work folder that is named by the run's identity: what
exists there is done. So a run that was killed goes on where it was, and one that is current does
nothing.
"""

import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

from pipeline import files, record, store
from pipeline.blocks import Workers, run_blocks
from pipeline.contracts import Samples
from pipeline.grid import BLOCK, blocks
from pipeline.model import fit_ensemble, load, save
from pipeline.plan import Configs
from pipeline.products import publish_region
from pipeline.publish.stac import write_collection
from pipeline.report import write_report
from pipeline.study import Ground, Study, derivation, load_study, prepare, resolve_catalog
from pipeline.tasks import MapBlock, TakeSamples, map_fills
from pipeline.training import (
    Layout,
    gather,
    layouts,
    load_samples,
    place_sites,
    read_sites,
    save_samples,
    sites_in,
)
from pipeline.validation import Contender, Trial, validate

Told = Callable[[str, int, int], None]
"""Hears of progress: the step, how much of it is done, how much there is."""


@dataclass(frozen=True)
class Job:
    """What a user asks for."""

    workflow: Path
    out: Path
    catalog: str | None = None
    configs: Configs = field(default_factory=Configs.at)
    workers: Workers = field(default_factory=Workers)
    block: int = BLOCK
    """Side of a block, pixels; it never changes a result."""


def run(job: Job, told: Told) -> dict[str, Any]:
    """Do a study, and return its run record; a run that is current is not done again.

    Raises
    ------
    ProspectraError : one of its children, see `pipeline.errors`; nothing is left half-written.
    """
    study = load_study(job.workflow, job.configs)
    catalog = resolve_catalog(study, job.catalog)
    sites = find_sites(study, catalog)
    with files.hold(job.out):
        files.sweep(job.out)
        told("search", 0, 1)
        grounds = {name: prepare(study, name, catalog) for name in study.regions}
        identity = record.identity(study, grounds, sites)
        if (known := record.current(job.out, identity)) is not None:
            return known

        work = job.out / "work" / identity[:16]
        timings: dict[str, float] = {}
        files.write_json(job.out / record.LOCK, {n: g.items.lock for n, g in grounds.items()})
        with timed(timings, "sample"):
            samples = take_samples(study, grounds, sites, job, work, told)
        with timed(timings, "validate"):
            validation = try_model(study, grounds, samples, work, told)
        with timed(timings, "fit"):
            model = fit_model(study, grounds, samples, work)
        finished = {}
        for name in study.workflow.mapping.regions:
            with timed(timings, f"map {name}"):
                maps = map_region(study, grounds[name], model, work, job, told)
            with timed(timings, f"publish {name}"):
                finished[name] = publish_region(
                    study, grounds[name], maps, job.out / name, identity, told
                )
        with timed(timings, "record"):
            write_collection(
                job.out / "stac", study.workflow.name, study.workflow.title, list(finished.values())
            )
            chosen = load(model).chosen.model_dump(mode="json")
            shutil.copyfile(model, job.out / "model.skops")
            done = record.make(study, grounds, identity, validation, chosen, finished)
            write_report(done, job.out)
            done = record.finish(job.out, done, timings)
        shutil.rmtree(job.out / "work")
    return done


def find_sites(study: Study, catalog: str) -> dict[str, Path]:
    """Return the file of training sites of each training region.

    A relative path is looked up beside the workflow, then beside a local catalog.
    """
    found = {}
    for name in study.workflow.training.regions:
        named = study.workflow.training.sites[name]
        places = [study.folder / named, Path(catalog).parent / named]
        found[name] = next((p for p in places if p.is_file()), places[0])
    return found


def take_samples(
    study: Study,
    grounds: Mapping[str, Ground],
    sites: Mapping[str, Path],
    work: Path,
    job: Job,
    told: Told,
) -> Samples:
    """Take the evidence at every training site, visiting only blocks that hold sites."""
    path = work / "samples.npz"
    if path.is_file():
        return load_samples(path)
    training = study.workflow.training
    columns = tuple(dict.fromkeys(c for name in study.recipes for c in columns_of(study, name)))
    parts = []
    for name in training.regions:
        ground = grounds[name]
        found = read_sites(sites[name], training.label, training.classes)
        placed = place_sites(found, ground.grid, ground.outline, name)
        visited = [b for b in blocks(ground.grid.shape, job.block) if len(sites_in(placed, b))]
        task = TakeSamples(derivation(study, ground), name, placed, columns)
        parts += run_blocks(task, visited, job.workers, partial(told, f"sample {name}"))
    samples = gather(parts, f"workflow {study.workflow.name}")
    save_samples(samples, path)
    return samples


def try_model(
    study: Study, grounds: Mapping[str, Ground], samples: Samples, work: Path, told: Told
) -> dict[str, Any]:
    """Try the model against its baselines on ground held out in space."""
    path = work / "validation.json"
    if path.is_file():
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return found
    trial = Trial(
        samples, samples, study.workflow.training.classes, study.layers.halo, study.workflow.seed
    )
    validation = validate(trial, contenders(study), cuts(study, grounds), partial(told, "validate"))
    files.write_json(path, validation)
    return validation


def fit_model(study: Study, grounds: Mapping[str, Ground], samples: Samples, work: Path) -> Path:
    """Fit the model on every sample, and store it."""
    path = work / "model.skops"
    if not path.is_file():
        columns = columns_of(study, study.workflow.model)
        values = samples["layers"].sel(layer=list(columns)).values
        folds = cuts(study, grounds)[0].folds_of(samples)
        labels = samples["label"].values
        names = columns, study.workflow.training.classes
        recipe = study.recipes[study.workflow.model]
        save(fit_ensemble(values, labels, folds, recipe, study.workflow.seed, names), path)
    return path


def map_region(study: Study, ground: Ground, model: Path, work: Path, job: Job, told: Told) -> Path:
    """Map every block of a region that is not mapped yet, into a store."""
    maps = work / f"{ground.name}.zarr"
    fills = map_fills(study.workflow.training.classes, study.layers.mapped)
    store.create(maps, ground.items.digest, ground.grid.shape, job.block, fills)
    task = MapBlock(derivation(study, ground), model, maps)
    left = list(blocks(ground.grid.shape, job.block))
    run_blocks(task, left, job.workers, partial(told, f"map {ground.name}"))
    return maps


def columns_of(study: Study, model: str) -> tuple[str, ...]:
    """Return the evidence layers a model looks at."""
    recipe = study.recipes[model]
    return tuple(dict.fromkeys(c for f in recipe.features for c in study.layers.layers_of(f)))


def contenders(study: Study) -> list[Contender]:
    """Return the workflow's model and its baselines."""
    return [Contender(n, r, columns_of(study, n)) for n, r in study.recipes.items()]


def cuts(study: Study, grounds: Mapping[str, Ground]) -> list[Layout]:
    """Return the ways of cutting the training regions into blocks and folds."""
    bounds = {name: grounds[name].bounds for name in study.workflow.training.regions}
    wanted = study.workflow.validation
    return layouts(bounds, wanted.block, wanted.folds, wanted.layouts, study.workflow.seed)


@contextmanager
def timed(timings: dict[str, float], step: str) -> Iterator[None]:
    """Note the seconds a step takes."""
    start = perf_counter()
    yield
    timings[step] = round(perf_counter() - start, 3)
