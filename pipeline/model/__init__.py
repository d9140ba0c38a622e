"""Samples -> a model, and a model -> scores of a block.

A fitted model is an ensemble: one estimator fitted on every sample gives the score, and one for
each left-out spatial fold shows how far the score depends on where the sites happen to be.
"""

import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import skops.io
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.metrics import log_loss

from pipeline import files
from pipeline.model.estimators import fitted
from pipeline.plan import Candidate, Model

Columns = NDArray[np.float32]  # (sample, layer)
Labels = NDArray[np.str_]

_OWN_TYPES = [
    "pipeline.model.estimators.BlockRotation",
    "pipeline.model.estimators.PairwiseSVM",
    "sklearn.tree._tree.Tree",
]
"""Types a stored model may hold beside what skops trusts by itself."""


@dataclass(frozen=True)
class Fitted:
    """A fitted ensemble, and what it needs to read a block."""

    layers: tuple[str, ...]
    classes: tuple[str, ...]
    """In the workflow's order; a class without samples scores NaN everywhere."""
    members: tuple[BaseEstimator, ...]
    """The first is fitted on every sample; each other one leaves a spatial fold out."""
    chosen: Candidate


def fit(
    values: Columns, labels: Labels, folds: NDArray[np.intp], recipe: Model, seed: int
) -> tuple[BaseEstimator, Candidate]:
    """Fit the recipe's estimator; of several candidates, spatial cross-validation chooses.

    Parameters
    ----------
    values : (sample, layer), the recipe's layers, finite.
    folds : the spatial fold of each sample; used only to choose among candidates.

    Returns
    -------
    The estimator fitted on every sample, and the candidate it was made from: the one with the
    lowest mean log loss over held-out folds (a proper score: Gneiting & Raftery 2007, JASA
    102:359).
    """
    chosen = recipe.candidates[0]
    if len(recipe.candidates) > 1:
        losses = [_held_out_loss(values, labels, folds, c, seed) for c in recipe.candidates]
        chosen = recipe.candidates[int(np.argmin(losses))]
    return fitted(chosen, seed, values, labels), chosen


def fit_ensemble(
    values: Columns,
    labels: Labels,
    folds: NDArray[np.intp],
    recipe: Model,
    seed: int,
    names: tuple[Sequence[str], Sequence[str]],
) -> Fitted:
    """Fit a recipe on every sample, and once more without each spatial fold.

    Parameters
    ----------
    names : the layers (columns of `values`) and the classes of the workflow.
    """
    layers, classes = names
    first, chosen = fit(values, labels, folds, recipe, seed)
    rest = []
    for fold in np.unique(folds):
        kept = folds != fold
        if set(labels[kept]) == set(labels):
            rest.append(fitted(chosen, seed, values[kept], labels[kept]))
    return Fitted(tuple(layers), tuple(classes), (first, *rest), chosen)


def probabilities(
    estimator: BaseEstimator, values: Columns, classes: Sequence[str]
) -> NDArray[np.float64]:
    """Return scores (sample, class) in the order of `classes`; NaN for a class it never saw."""
    out = np.full((len(values), len(classes)), np.nan)
    if len(values):
        known = list(estimator.classes_)
        scores = estimator.predict_proba(values)
        for column, name in enumerate(classes):
            if name in known:
                out[:, column] = scores[:, known.index(name)]
    return out


def predict(
    model: Fitted, layers: Mapping[str, NDArray[np.float32]]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return score (class, y, x) and spread (y, x), in 0..1, NaN where a layer is missing.

    The spread is the standard deviation, over the members that left a fold out, of the score of
    the winning class.
    """
    stack = np.stack([layers[name] for name in model.layers])
    shape = stack.shape[1:]
    flat = stack.reshape(len(stack), -1)
    known = np.isfinite(flat).all(axis=0)
    values = np.ascontiguousarray(flat[:, known].T)
    score = np.full((len(model.classes), known.size), np.nan, dtype=np.float32)
    spread = np.full(known.size, np.nan, dtype=np.float32)
    scores = [probabilities(member, values, model.classes) for member in model.members]
    score[:, known] = scores[0].T
    if len(scores) > 1 and len(values):
        winner = np.nan_to_num(scores[0], nan=-1.0).argmax(axis=1)[:, None]
        winning = [np.take_along_axis(s, winner, axis=1)[:, 0] for s in scores[1:]]
        spread[known] = np.std(winning, axis=0)
    return score.reshape(-1, *shape), spread.reshape(shape)


def save(model: Fitted, path: Path) -> str:
    """Write a model without pickle (skops) and return the file's SHA-256."""
    content: dict[str, Any] = {
        "layers": list(model.layers),
        "classes": list(model.classes),
        "members": list(model.members),
        "chosen": model.chosen.model_dump(mode="json"),
    }
    return files.write_bytes(path, _settled(skops.io.dumps(content)))


def load(path: Path) -> Fitted:
    """Read a model back; types outside the short allow-list are refused by skops."""
    content = skops.io.load(path, trusted=_OWN_TYPES)
    chosen = Candidate.model_validate(content["chosen"])
    members = tuple(content["members"])
    return Fitted(tuple(content["layers"]), tuple(content["classes"]), members, chosen)


def _held_out_loss(
    values: Columns, labels: Labels, folds: NDArray[np.intp], candidate: Candidate, seed: int
) -> float:
    losses = []
    for fold in np.unique(folds):
        test = folds == fold
        if not set(labels[test]) <= set(labels[~test]):
            continue
        estimator = fitted(candidate, seed, values[~test], labels[~test])
        scores = estimator.predict_proba(values[test])
        losses.append(log_loss(labels[test], scores, labels=estimator.classes_))
    return float(np.mean(losses)) if losses else np.inf


def _settled(content: bytes) -> bytes:
    """Return a skops file of the same content whose bytes repeat.

    skops names what it stores by its place in memory, and stamps it with the time of day.
    """
    numbers: dict[int, int] = {}
    names: dict[str, str] = {}

    def renumbered(node: dict[str, Any]) -> dict[str, Any]:
        if isinstance(number := node.get("__id__"), int):
            node["__id__"] = numbers.setdefault(number, len(numbers) + 1)
        if isinstance(name := node.get("file"), str):
            node["file"] = names.setdefault(name, f"{len(names) + 1}{Path(name).suffix}")
        return node

    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as found, zipfile.ZipFile(out, "w") as settled:
        schema = json.loads(found.read("schema.json"), object_hook=renumbered)
        settled.writestr(zipfile.ZipInfo("schema.json"), json.dumps(schema))
        for old, new in names.items():
            settled.writestr(zipfile.ZipInfo(new), found.read(old))
    return out.getvalue()
