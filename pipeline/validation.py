"""Samples and model recipes -> Validation: how well a model does on ground it has not seen.

Every number is spatial unless it says otherwise: models learn on blocks of ground and are scored on
other blocks, over many ways of cutting the ground (layouts), side by side with the models they have
to beat. A random split is shown beside it, and is named what it is: optimistic.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypedDict

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from sklearn.metrics import average_precision_score, roc_auc_score
from threadpoolctl import threadpool_limits

from pipeline.blocks import Progress, Workers, run_blocks
from pipeline.contracts import Samples
from pipeline.errors import SplitError
from pipeline.model import fit, probabilities
from pipeline.plan import Model
from pipeline.training import Layout

FEWEST = 3
"""A class needs as many samples inside and outside it in a fold, or its score is not estimable."""
COMPARISONS = 5
"""Splits that the control and the random comparison are tried on, of as many layouts at most."""
INTERVAL = (2.5, 97.5)
"""Percent: the central 95 % of layouts."""
CONTROL = "permuted labels (control)"

Metric = Literal["auc", "ap"]
METRICS: tuple[Metric, ...] = ("auc", "ap")


class Interval(TypedDict):
    """A mean over layouts and the central 95 % of them."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Contender:
    """A model recipe under trial, with the layers (columns of the samples) it looks at."""

    name: str
    recipe: Model
    columns: tuple[str, ...]


@dataclass(frozen=True)
class Split:
    """One way of dealing training and test samples to folds; equal numbers belong together."""

    train: NDArray[np.intp]
    test: NDArray[np.intp]


@dataclass(frozen=True)
class Trial:
    """What is tried: the samples to learn from, the ones to be scored on, and how they are cut."""

    train: Samples
    test: Samples
    classes: tuple[str, ...]
    buffer: float = 0.0
    """Training samples closer than this to a held-out sample are left out, metres."""
    seed: int = 0


def spatial_splits(layouts: Iterable[Layout], train: Samples, test: Samples) -> list[Split]:
    """Return one split per layout."""
    return [Split(layout.folds_of(train), layout.folds_of(test)) for layout in layouts]


def random_splits(train: Samples, test: Samples, folds: int, count: int, seed: int) -> list[Split]:
    """Return splits that ignore space: only ever a comparison, never a result."""
    splits = []
    for number in range(count):
        rng = np.random.default_rng([seed, number])
        dealt = rng.permutation(np.arange(train.sizes["sample"]) % folds)
        same = test is train
        tested = dealt if same else rng.permutation(np.arange(test.sizes["sample"]) % folds)
        splits.append(Split(dealt, tested))
    return splits


def cross_validate(trial: Trial, contender: Contender, split: Split) -> NDArray[np.float64]:
    """Score a contender on every fold of a split.

    Returns
    -------
    (class, metric) for the metrics one-vs-rest ROC-AUC and average precision: the mean over the
    folds in which the class is estimable, NaN where it is in none.
    """
    threadpool_limits(1)  # a split is one task: its matrix products start no threads
    folds = [_score_fold(trial, contender, split, fold) for fold in np.unique(split.test)]
    return _mean(np.stack(folds), axis=0)


def macro(scores: NDArray[np.float64]) -> dict[Metric, list[float]]:
    """Return the mean over classes, one value a split, of scores (split, class, metric).

    Raises
    ------
    SplitError : a class is estimable in no fold of some layout.
    """
    if np.isnan(scores).any():
        raise SplitError(
            "some class has too few sites in every fold to be scored",
            where="validation",
            remedy="use smaller blocks, fewer folds or more sites; "
            "a random split is not a substitute",
        )
    return {m: scores[:, :, k].mean(axis=1).tolist() for k, m in enumerate(METRICS)}


def interval(values: Sequence[float] | NDArray[np.float64]) -> Interval:
    """Return the mean of values (one a layout) and their central 95 %."""
    low, high = np.percentile(values, INTERVAL)
    return {"mean": float(np.mean(values)), "low": float(low), "high": float(high)}


def permuted(samples: Samples, seed: int, number: int = 0) -> Samples:
    """Return samples whose labels have been dealt out again at random: the control."""
    labels = np.random.default_rng([seed, number]).permutation(samples["label"].values)
    return Samples(samples.assign(label=("sample", labels)))


class Verdict(TypedDict):
    """Whether the model may be believed, in one sentence."""

    skill: bool
    sentence: str


def verdict(
    name: str,
    model: dict[Metric, list[float]],
    paired: Mapping[str, Mapping[Metric, Interval]],
) -> Verdict:
    """Say whether a model has skill: better than chance, and than its best baseline.

    Parameters
    ----------
    model : its AUC and AP, one a layout.
    paired : for each baseline, the difference (model less baseline) over layouts, in both scores.
    """
    own = interval(model["auc"])
    text = f"AUC {own['mean']:.3f} ({own['low']:.3f} to {own['high']:.3f} over layouts)"
    if own["low"] <= 0.5:
        return {
            "skill": False,
            "sentence": f"No skill here: {name} is not distinguishable from chance, {text}.",
        }
    worst = min(paired, key=lambda b: paired[b]["auc"]["low"], default=None)
    unbeaten = [b for b in paired if min(paired[b][m]["low"] for m in METRICS) <= 0.0]
    if unbeaten:
        return {
            "skill": False,
            "sentence": f"No added skill here: {name} ({text}) is not clearly better than "
            f"{', '.join(sorted(unbeaten))}, in AUC and in AP.",
        }
    beaten = f", and beats every baseline, {worst} being the nearest" if worst else ""
    return {"skill": True, "sentence": f"{name} has skill on unseen ground: {text}{beaten}."}


def validate(
    trial: Trial,
    contenders: Sequence[Contender],
    layouts: Sequence[Layout],
    told: Progress | None = None,
    workers: Workers | None = None,
) -> dict[str, Any]:
    """Try a model against its baselines, in space and (for comparison only) at random.

    Parameters
    ----------
    contenders : the model first, then its baselines.
    workers : threads of this machine, as many as it has if not given.
    layouts : the ways of cutting space; the random splits are fewer.

    Returns
    -------
    What the run record keeps: for each contender its macro AUC and AP per layout, the paired
    differences to each baseline with their intervals, the per-class scores, the random-split
    number, and the verdict.

    Raises
    ------
    SplitError : a class cannot be scored in space.
    """
    model, *baselines = contenders
    splits = spatial_splits(layouts, trial.train, trial.test)
    beside = min(COMPARISONS, len(splits))
    at_random = random_splits(trial.train, trial.test, layouts[0].folds, beside, trial.seed)
    pieces = [(trial, contender, split) for contender in contenders for split in splits]
    pieces += [(_control(trial, k), model, splits[k]) for k in range(beside)]
    pieces += [(replace(trial, buffer=0.0), model, split) for split in at_random]
    found = np.stack(
        run_blocks(lambda piece: cross_validate(*piece), pieces, workers or Workers(), told)
    )
    tried, dealt_out, random_ = np.split(found, [-2 * beside, -beside])
    own, *others = tried.reshape(len(contenders), len(splits), *found.shape[1:])
    models = {model.name: macro(own)}
    models |= {c.name: macro(scores) for c, scores in zip(baselines, others, strict=True)}
    models[CONTROL] = macro(dealt_out)
    random = macro(random_)
    paired = {c.name: _paired(models[model.name], models[c.name]) for c in baselines}
    return {
        "block_m": layouts[0].side,
        "layouts": len(layouts),
        "folds": layouts[0].folds,
        "buffer_m": trial.buffer,
        "samples": {"train": trial.train.sizes["sample"], "test": trial.test.sizes["sample"]},
        "model": model.name,
        "models": models,
        "paired": paired,
        "random": {m: float(np.mean(random[m])) for m in METRICS},
        "per_class": _per_class(own, trial),
        "verdict": verdict(model.name, models[model.name], paired),
    }


def _control(trial: Trial, number: int) -> Trial:
    """Return the trial with its labels dealt out at random, the ones to be scored on too."""
    train = permuted(trial.train, trial.seed, number)
    same = trial.test is trial.train
    return replace(trial, train=train, test=train if same else permuted(trial.test, trial.seed))


def _paired(
    model: dict[Metric, list[float]], baseline: dict[Metric, list[float]]
) -> dict[Metric, Interval]:
    return {m: interval(np.subtract(model[m], baseline[m])) for m in METRICS}


def _per_class(scores: NDArray[np.float64], trial: Trial) -> dict[str, dict[str, float]]:
    labels = trial.test["label"].values
    return {
        name: {
            "auc": float(scores[:, k, 0].mean()),
            "ap": float(scores[:, k, 1].mean()),
            "prevalence": float((labels == name).mean()),
        }
        for k, name in enumerate(trial.classes)
    }


def _score_fold(trial: Trial, contender: Contender, split: Split, fold: int) -> NDArray[np.float64]:
    """Return (class, metric) of one held-out fold."""
    tested = split.test == fold
    learnt = split.train != fold
    if trial.buffer:
        learnt &= ~_near(trial, tested)
    labels = trial.train["label"].values[learnt]
    if len(set(labels.tolist())) < 2:
        return np.full((len(trial.classes), len(METRICS)), np.nan)
    values = trial.train["layers"].sel(layer=list(contender.columns)).values
    estimator, _ = fit(values[learnt], labels, split.train[learnt], contender.recipe, trial.seed)
    unseen = trial.test["layers"].sel(layer=list(contender.columns)).values[tested]
    scores = probabilities(estimator, unseen, trial.classes)
    return class_scores(trial.test["label"].values[tested], scores, trial.classes)


def class_scores(
    labels: NDArray[np.str_], scores: NDArray[np.floating[Any]], classes: Sequence[str]
) -> NDArray[np.float64]:
    """Return one-vs-rest AUC and average precision (class, metric), NaN where not estimable.

    Parameters
    ----------
    labels : (sample,), the true class names.
    scores : (sample, class), any monotone scores.
    """
    out = np.full((len(classes), len(METRICS)), np.nan)
    for number, name in enumerate(classes):
        truth = labels == name
        column = scores[:, number]
        if min(truth.sum(), (~truth).sum()) >= FEWEST and np.isfinite(column).all():
            out[number] = roc_auc_score(truth, column), average_precision_score(truth, column)
    return out


def _near(trial: Trial, tested: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return which training samples lie within the buffer of a held-out sample."""
    near = np.zeros(trial.train.sizes["sample"], dtype=bool)
    for region in np.unique(trial.train["region"].values):
        ours = trial.train["region"].values == region
        held = tested & (trial.test["region"].values == region)
        if held.any():
            tree = cKDTree(_places(trial.test)[held])
            # A model looks around itself in a square, so the larger of the two offsets counts.
            distance, _ = tree.query(_places(trial.train)[ours], p=np.inf)
            near[ours] = distance < trial.buffer
    return near


def _places(samples: Samples) -> NDArray[np.float64]:
    return np.stack([samples["x"].values, samples["y"].values], axis=1)


def _mean(values: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
    """Return the mean of what is known; NaN where nothing is."""
    known = np.isfinite(values)
    count = known.sum(axis=axis)
    total = np.where(known, values, 0.0).sum(axis=axis)
    mean: NDArray[np.float64] = total / np.where(count > 0, count, np.nan)
    return mean
