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
from pipeline.grid import Block, block_side, blocks, halo_pixels
from pipeline.ground import Ground
from pipeline.model import fit_ensemble, load, save
from pipeline.plan import Configs
from pipeline.products import publish_region
from pipeline.publish.stac import write_collection
from pipeline.report import write_report
from pipeline.study import Study, derivation, load_study, prepare_region, resolve_catalog
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

WORK = ".work"  # no region can be called that

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
    block: int | None = None
    """Side of a block, pixels, if not what suits the region; it never changes a result."""

    def blocks(self, shape: tuple[int, int]) -> list[Block]:
        """Return the blocks of a region's grid of `shape` (rows, columns)."""
        return list(blocks(shape, self.side(shape)))

    def side(self, shape: tuple[int, int]) -> int:
        """Return the side of a region's blocks, pixels."""
        return self.block or block_side(shape)


@dataclass(frozen=True)
class Ready:
    """A job with its study loaded and its imagery found: all that the steps need."""

    job: Job
    study: Study
    grounds: Mapping[str, Ground]
    sites: Mapping[str, Path]
    identity: str
    """Digest of everything the products are made from."""
    told: Told

    @property
    def work(self) -> Path:
        """The folder of unfinished work; another identity has another."""
        return self.job.out / WORK / self.identity[:16]

    @property
    def sight(self) -> float:
        """How far any model looks around a pixel, to the far edge of the last one, metres."""
        halo = self.study.layers.halo
        steps = [ground.grid.resolution.x for ground in self.grounds.values()]
        return max((halo_pixels(halo, step) + 1) * step for step in steps) if halo else 0.0


def run(job: Job, told: Told) -> dict[str, Any]:
    """Do a study, and return its run record; a run that is current is not done again.

    Raises
    ------
    ProspectraError : one of its children, see `pipeline.errors`; nothing is left half-written.
    """
    ready = make_ready(job, told)
    with files.hold(job.out):
        files.sweep(job.out)
        if (known := record.current(job.out, ready.identity)) is not None:
            shutil.rmtree(job.out / WORK, ignore_errors=True)
            return known

        timings: dict[str, float] = {}
        with timed(timings, "sample"):
            samples = take_samples(ready)
        with timed(timings, "validate"):
            validation = try_model(ready, samples)
        with timed(timings, "fit"):
            model = fit_model(ready, samples)
        record.begin(job.out, ready.grounds)
        finished = []
        for name in ready.study.workflow.mapping.regions:
            ground, folder = ready.grounds[name], job.out / name
            with timed(timings, f"map {name}"):
                maps = map_region(ready, ground, model)
            with timed(timings, f"publish {name}"):
                origin = record.origin(ready.identity)
                finished.append(publish_region(ready.study, ground, maps, folder, origin, told))
        with timed(timings, "record"):
            workflow = ready.study.workflow
            write_collection(job.out / "stac", workflow.name, workflow.title, finished)
            files.write_bytes(job.out / "model.skops", model.read_bytes())
            chosen = load(model).chosen.model_dump(mode="json")
            made = record.make(
                ready.study, ready.grounds, ready.identity, validation, chosen, finished
            )
            write_report(made, job.out)
        done = record.finish(job.out, made, timings)
        shutil.rmtree(job.out / WORK)
    return done


def make_ready(job: Job, told: Told) -> Ready:
    """Load the study, search its imagery, find its sites, and work out the run's identity."""
    study = load_study(job.workflow, job.configs)
    catalog = resolve_catalog(study, job.catalog)
    sites = find_sites(study, catalog)
    grounds = {}
    for number, name in enumerate(study.regions):
        told("search", number, len(study.regions))
        grounds[name] = prepare_region(study, name, catalog)
    told("search", len(grounds), len(grounds))
    return Ready(job, study, grounds, sites, record.identity(study, grounds, sites), told)


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


def take_samples(ready: Ready) -> Samples:
    """Take the evidence at every training site, visiting only blocks that hold sites."""
    path = ready.work / "samples.npz"
    if path.is_file():
        return load_samples(path)
    study, training = ready.study, ready.study.workflow.training
    parts = []
    for name in training.regions:
        ground = ready.grounds[name]
        found = read_sites(ready.sites[name], training.label, training.classes)
        placed = place_sites(found, ground.grid, ground.outline, name)
        visited = [b for b in ready.job.blocks(ground.shape) if len(sites_in(placed, b))]
        task = TakeSamples(derivation(study, ground), name, placed, all_columns(study))
        parts += run_blocks(task, visited, ready.job.workers, partial(ready.told, f"sample {name}"))
    samples = gather(parts, f"workflow {study.workflow.name}")
    save_samples(samples, path)
    return samples


def try_model(ready: Ready, samples: Samples) -> dict[str, Any]:
    """Try the model against its baselines on ground held out in space."""
    path = ready.work / "validation.json"
    if not path.is_file():
        workflow = ready.study.workflow
        buffer = ready.sight
        trial = Trial(samples, samples, workflow.training.classes, buffer, workflow.seed)
        told = partial(ready.told, "validate")
        here = Workers("threads", ready.job.workers.count)
        files.write_json(path, validate(trial, contenders(ready.study), cuts(ready), told, here))
    # Read back even if just written, so that a resumed run cannot differ in the order of keys.
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def fit_model(ready: Ready, samples: Samples) -> Path:
    """Fit the model on every sample, store it, and return the file."""
    path = ready.work / "model.skops"
    if not path.is_file():
        workflow = ready.study.workflow
        columns = columns_of(ready.study, workflow.model)
        values = samples["layers"].sel(layer=list(columns)).values
        folds = cuts(ready)[0].folds_of(samples)
        recipe = ready.study.recipes[workflow.model]
        names = columns, workflow.training.classes
        model = fit_ensemble(values, samples["label"].values, folds, recipe, workflow.seed, names)
        save(model, path)
    return path


def map_region(ready: Ready, ground: Ground, model: Path) -> Path:
    """Map every block of a region that is not mapped yet, and return the store of its maps."""
    maps = ready.work / f"{ground.name}.zarr"
    size = ready.job.side(ground.shape)
    fills = map_fills(ready.study.workflow.training.classes, ready.study.layers.mapped)
    store.create(maps, f"{ready.identity} {size}", ground.shape, size, fills)
    task = MapBlock(derivation(ready.study, ground), model, maps)
    progress = partial(ready.told, f"map {ground.name}")
    run_blocks(task, ready.job.blocks(ground.shape), ready.job.workers, progress)
    return maps


def columns_of(study: Study, model: str) -> tuple[str, ...]:
    """Return the evidence layers a model looks at."""
    features = study.recipes[model].features
    return tuple(dict.fromkeys(c for f in features for c in study.layers.layers_of(f)))


def all_columns(study: Study) -> tuple[str, ...]:
    """Return the evidence layers that any model of the study looks at."""
    return tuple(dict.fromkeys(c for name in study.recipes for c in columns_of(study, name)))


def contenders(study: Study) -> list[Contender]:
    """Return the workflow's model and its baselines."""
    return [Contender(n, recipe, columns_of(study, n)) for n, recipe in study.recipes.items()]


def cuts(ready: Ready) -> list[Layout]:
    """Return the ways of cutting the training regions into blocks and folds."""
    workflow = ready.study.workflow
    bounds = {name: ready.grounds[name].bounds for name in workflow.training.regions}
    wanted = workflow.validation
    return layouts(bounds, wanted.block, wanted.folds, wanted.layouts, workflow.seed)


@contextmanager
def timed(timings: dict[str, float], step: str) -> Iterator[None]:
    """Note the seconds a step takes."""
    start = perf_counter()
    yield
    timings[step] = round(perf_counter() - start, 3)
