"""Learning: take samples where the sites are, try the model in space, fit it on all of them.

Each step leaves its result as a file in the run's work folder; what exists there is done.
"""

import json
from functools import partial
from pathlib import Path
from typing import Any

from pipeline import files
from pipeline.blocks import Workers, run_blocks
from pipeline.contracts import Samples
from pipeline.job import Ready, require_readable
from pipeline.model import fit_ensemble, save
from pipeline.study import Study, derivation
from pipeline.tasks import TakeSamples
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


def take_samples(ready: Ready) -> Samples:
    """Take the evidence at every training site, visiting only blocks that hold sites."""
    path = ready.work / "samples.npz"
    if path.is_file():
        return load_samples(path)
    study, training = ready.study, ready.learning.training
    parts = []
    for name in training.regions:
        ground = ready.grounds[name]
        found = read_sites(ready.sites[name], training.label, training.classes)
        placed = place_sites(found, ground.grid, ground.outline, name)
        visited = [b for b in ready.job.blocks(ground.shape) if len(sites_in(placed, b))]
        task = TakeSamples(derivation(study, ground), name, placed, all_columns(study))
        taken = run_blocks(task, visited, ready.job.workers, partial(ready.told, f"sample {name}"))
        require_readable(ground, (gap for part in taken for gap in part.attrs["unreadable"]))
        parts += taken
    samples = gather(parts, f"workflow {study.workflow.name}")
    save_samples(samples, path)
    return samples


def try_model(ready: Ready, samples: Samples) -> dict[str, Any]:
    """Try the model against its baselines on ground held out in space."""
    path = ready.work / "validation.json"
    if not path.is_file():
        workflow = ready.study.workflow
        buffer = ready.sight
        trial = Trial(samples, samples, workflow.classes, buffer, workflow.seed)
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
        columns = columns_of(ready.study, ready.learning.model)
        values = samples["layers"].sel(layer=list(columns)).values
        folds = cuts(ready)[0].folds_of(samples)
        recipe = ready.study.recipes[ready.learning.model]
        names = columns, workflow.classes
        model = fit_ensemble(values, samples["label"].values, folds, recipe, workflow.seed, names)
        save(model, path)
    return path


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
    wanted, seed = ready.learning.validation, ready.study.workflow.seed
    bounds = {name: ready.grounds[name].bounds for name in ready.learning.training.regions}
    return layouts(bounds, wanted.block, wanted.folds, wanted.layouts, seed)
