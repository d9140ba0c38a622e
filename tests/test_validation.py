"""Validation: the numbers by hand, and honesty where a model has learnt nothing but places."""

import numpy as np
import pytest
from conftest import make_samples
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter
from sklearn.metrics import average_precision_score, roc_auc_score

from pipeline.errors import SplitError
from pipeline.model import fit, probabilities
from pipeline.plan import Candidate, Model
from pipeline.training import layouts
from pipeline.validation import (
    CONTROL,
    Contender,
    Split,
    Trial,
    class_scores,
    cross_validate,
    interval,
    macro,
    permuted,
    random_splits,
    spatial_splits,
    validate,
    verdict,
)

CLASSES = ("alunite", "barren")
SIDE = 1000.0
BOUNDS = {"here": (0.0, 0.0, SIDE, SIDE)}
CUTS = layouts(BOUNDS, 200.0, 5, 4, seed=0)


def recipe(estimator="logistic", **params):
    candidate = Candidate(estimator=estimator, params=params)
    return Model(title="t", features=("bands",), candidates=(candidate,), source="made for tests")


def contender(name="model", columns=("signal",), **kwargs):
    return Contender(name, recipe(**kwargs), columns)


def toy(count=300, seed=0, strength=1.5):
    """Labels at random over the ground; one layer knows them, one does not."""
    rng = np.random.default_rng(seed)
    x, y = rng.uniform(0, SIDE, (2, count))
    labels = np.where(rng.random(count) < 0.4, *CLASSES)
    signal = strength * (labels == "alunite") + rng.normal(0, 1, count)
    noise = rng.normal(0, 1, count)
    return make_samples(np.stack([signal, noise], axis=1), labels, x, y, ["signal", "noise"])


def test_auc_and_average_precision_by_hand():
    labels = np.array(["a", "a", "a", "b", "b", "b"])
    scores = np.array([0.9, 0.8, 0.3, 0.7, 0.2, 0.1])
    found = class_scores(labels, np.stack([scores, 1 - scores], axis=1), ("a", "b"))
    # Of the nine pairs only (0.3, 0.7) is the wrong way round.
    assert found[0, 0] == pytest.approx(8 / 9)
    assert found[1, 0] == pytest.approx(8 / 9)
    # The three of class a stand at ranks 1, 2 and 4.
    assert found[0, 1] == pytest.approx((1 / 1 + 2 / 2 + 3 / 4) / 3)
    assert found[1, 1] == pytest.approx((1 / 1 + 2 / 2 + 3 / 4) / 3)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10_000), st.integers(6, 60), st.integers(2, 9))
def test_scores_agree_with_scikit_learn_ties_included(seed, count, steps):
    rng = np.random.default_rng(seed)
    labels = np.where(rng.random(count) < 0.5, "a", "b")
    labels[:3], labels[3:6] = "a", "b"
    scores = np.round(rng.random((count, 1)) * steps) / steps
    found = class_scores(labels, scores, ("a",))[0]
    assert found[0] == pytest.approx(roc_auc_score(labels == "a", scores[:, 0]))
    assert found[1] == pytest.approx(average_precision_score(labels == "a", scores[:, 0]))


def test_a_class_with_too_few_in_or_out_is_not_estimated():
    labels = np.array(["a", "a", "b", "b", "b", "c", "c", "c"])
    scores = np.linspace(0, 1, 24).reshape(8, 3)
    found = class_scores(labels, scores, ("a", "b", "gold"))
    assert np.isnan(found[0]).all()
    assert np.isfinite(found[1]).all()
    assert np.isnan(found[2]).all()
    assert np.isnan(class_scores(np.array(["a"] * 5 + ["b"] * 2), scores[:7], ("a",))).all()
    scores[3, 1] = np.nan
    assert np.isnan(class_scores(labels, scores, ("a", "b"))[1]).all()


def test_the_mean_over_folds_leaves_out_folds_that_cannot_be_estimated():
    # Fold 2 holds one class alone; the other two folds can be scored.
    samples = toy(90)
    labels = samples["label"].values.copy()
    folds = np.arange(90) % 3
    labels[folds == 2] = "barren"
    samples = samples.assign(label=("sample", labels))
    trial = Trial(samples, samples, CLASSES)
    found = cross_validate(trial, contender(), Split(folds, folds))
    assert np.isfinite(found).all()
    both = [
        class_scores(
            labels[folds == k],
            probabilities(
                fit(
                    samples["layers"].values[folds != k, :1], labels[folds != k], folds, recipe(), 0
                )[0],
                samples["layers"].values[folds == k, :1],
                CLASSES,
            ),
            CLASSES,
        )
        for k in (0, 1)
    ]
    np.testing.assert_allclose(found, np.mean(both, axis=0))


def test_a_class_that_no_fold_can_score_is_told():
    samples = toy(60)
    labels = samples["label"].values.copy()
    labels[:] = "barren"
    labels[:2] = "alunite"
    rare = samples.assign(label=("sample", labels))
    trial = Trial(rare, rare, CLASSES)
    scores = [cross_validate(trial, contender(), s) for s in spatial_splits(CUTS, rare, rare)]
    with pytest.raises(SplitError, match="too few sites in every fold") as caught:
        macro(np.stack(scores))
    assert "random split is not a substitute" in caught.value.remedy


def test_no_sample_is_ever_scored_by_a_model_that_learnt_from_its_fold(monkeypatch):
    samples = toy(100)
    seen = []

    def watch(values, labels, folds, *_rest):
        seen.append(set(np.unique(folds).tolist()))
        return original(values, labels, folds, *_rest)

    from pipeline import validation

    original = validation.fit
    monkeypatch.setattr(validation, "fit", watch)
    split = spatial_splits(CUTS[:1], samples, samples)[0]
    cross_validate(Trial(samples, samples, CLASSES), contender(), split)
    every = set(np.unique(split.test).tolist())
    assert len(seen) == len(every)
    assert [every - learnt for learnt in seen] == [{fold} for fold in sorted(every)]


def test_the_buffer_leaves_out_the_neighbours_of_held_out_samples(monkeypatch):
    from pipeline import validation

    x = np.arange(20) * 10.0
    samples = make_samples(np.arange(20.0)[:, None], list(CLASSES) * 10, x, x * 0, ["signal"])
    folds = (x >= 100).astype(int)
    learnt = []

    def watch(values, labels, folds, recipe, seed):
        learnt.append(sorted(values[:, 0].tolist()))
        return original(values, labels, folds, recipe, seed)

    original = validation.fit
    monkeypatch.setattr(validation, "fit", watch)
    trial = Trial(samples, samples, CLASSES, buffer=25.0)
    cross_validate(trial, contender(), Split(folds, folds))
    # Held out 0..90 m: the sites at 100 and 110 m are within 25 m of the one at 90 m.
    assert learnt == [list(range(12, 20)), list(range(8))]


def test_the_buffer_does_not_reach_into_another_region():
    from pipeline.validation import _near

    one = make_samples(np.ones((4, 1)), list(CLASSES) * 2, [0, 1, 2, 3], [0] * 4, region="a")
    other = one.assign(region=("sample", np.array(["b", "b", "a", "a"])))
    near = _near(Trial(one, other, CLASSES, buffer=100.0), np.array([True, True, False, False]))
    assert not near.any()
    near = _near(Trial(one, other, CLASSES, buffer=1.5), np.array([False, False, True, False]))
    assert near.tolist() == [False, True, True, True]


def tried(samples, model=None, baselines=(), **trial):
    return validate(
        Trial(samples, samples, CLASSES, **trial),
        [model or contender(), *baselines],
        CUTS,
    )


def test_a_model_with_signal_beats_one_without_and_the_control_is_chance():
    told = []
    samples = toy()
    found = validate(
        Trial(samples, samples, CLASSES),
        [contender(), contender("noise", ("noise",))],
        CUTS,
        lambda done, total: told.append((done, total)),
    )
    assert told == [(k, 16) for k in range(1, 17)]
    mean = {name: np.mean(found["models"][name]["auc"]) for name in found["models"]}
    # Normal scores a distance d apart have AUC Phi(d / sqrt 2): 0.856 for 1.5.
    assert mean["model"] == pytest.approx(0.856, abs=0.04)
    assert mean["noise"] == pytest.approx(0.5, abs=0.08)
    assert mean[CONTROL] == pytest.approx(0.5, abs=0.1)
    assert found["paired"]["noise"]["auc"]["low"] > 0
    assert found["verdict"]["skill"]
    assert "beats every baseline, noise being the nearest" in found["verdict"]["sentence"]
    assert found["per_class"]["alunite"]["prevalence"] == pytest.approx(0.4, abs=0.06)
    assert found["samples"] == {"train": 300, "test": 300}
    assert (found["layouts"], found["folds"], found["block_m"]) == (4, 5, 200.0)
    assert all(len(found["models"]["model"][m]) == 4 for m in ("auc", "ap"))


def test_paired_differences_are_taken_layout_by_layout():
    found = tried(toy(120), baselines=[contender("noise", ("noise",))])
    model, noise = (np.array(found["models"][n]["auc"]) for n in ("model", "noise"))
    assert found["paired"]["noise"]["auc"] == interval(model - noise)


def test_the_same_seed_gives_the_same_numbers():
    samples = toy(120)
    first = tried(samples)
    assert tried(samples) == first
    assert tried(samples, seed=1)["random"] != first["random"]


def field(rng):
    """Smooth over some 90 m, mean 0, standard deviation 1, on pixels of 10 m."""
    values = gaussian_filter(rng.normal(size=(100, 100)), 9, mode="wrap")
    return (values - values.mean()) / values.std()


def clumped(seed):
    """Labels in clumps, and layers as smooth that have nothing to do with them."""
    rng = np.random.default_rng(seed)
    layers, truth = [field(rng) for _ in range(4)], field(rng)
    row, column = rng.integers(0, 100, (2, 300))
    labels = np.where(truth[row, column] > 0, *CLASSES)
    values = np.stack([layer[row, column] for layer in layers], axis=1)
    return make_samples(values, labels, column * 10.0 + 5, row * 10.0 + 5)


@pytest.mark.parametrize("seed", [2, 3])
def test_a_random_split_flatters_a_model_that_only_remembers_places(seed):
    samples = clumped(seed)
    columns = tuple(samples["layer"].values.tolist())
    model = contender("forest", columns, estimator="forest", n_estimators=10)
    trial = Trial(samples, samples, CLASSES, buffer=150.0)
    found = validate(trial, [model], layouts(BOUNDS, 250.0, 5, 3, seed=0))
    assert found["random"]["auc"] > 0.75
    assert np.mean(found["models"]["forest"]["auc"]) == pytest.approx(0.5, abs=0.12)


def test_samples_to_be_scored_may_be_others_than_those_learnt_from():
    train, test = toy(200), toy(500, seed=5)
    found = validate(Trial(train, test, CLASSES), [contender()], CUTS)
    assert found["samples"] == {"train": 200, "test": 500}
    assert np.mean(found["models"]["model"]["auc"]) == pytest.approx(0.856, abs=0.04)
    assert np.mean(found["models"][CONTROL]["auc"]) == pytest.approx(0.5, abs=0.2)


def test_random_splits_deal_evenly_and_repeat():
    samples = toy(103)
    splits = random_splits(samples, samples, 5, 3, seed=1)
    for split in splits:
        assert split.train is split.test
        assert sorted(np.bincount(split.train).tolist()) == [20, 20, 21, 21, 21]
    again = random_splits(samples, samples, 5, 3, seed=1)
    for one, two in zip(splits, again, strict=True):
        np.testing.assert_array_equal(one.train, two.train)
    assert (splits[0].train != splits[1].train).any()


def test_permuted_labels_are_the_same_labels_elsewhere():
    samples = toy(80)
    found = permuted(samples, 3)
    assert sorted(found["label"].values) == sorted(samples["label"].values)
    assert (found["label"].values != samples["label"].values).any()
    np.testing.assert_array_equal(found["layers"], samples["layers"])
    np.testing.assert_array_equal(permuted(samples, 3)["label"], found["label"])


def test_an_interval_is_the_mean_and_the_central_part():
    found = interval(np.arange(1001.0))
    assert found == {"mean": 500.0, "low": 25.0, "high": 975.0}


def scores(auc):
    return {"auc": auc, "ap": auc}


def both(mean, low, high):
    return {key: {"mean": mean, "low": low, "high": high} for key in ("auc", "ap")}


def test_the_verdict_needs_average_precision_too():
    paired = {"b": both(0.1, 0.05, 0.2) | {"ap": {"mean": -0.1, "low": -0.2, "high": 0.0}}}
    assert not verdict("trees", scores([0.8, 0.82]), paired)["skill"]


def test_the_verdict_on_a_model_no_better_than_chance():
    said = verdict("trees", scores([0.45, 0.55, 0.6]), {})
    assert not said["skill"]
    assert said["sentence"].startswith("No skill here: trees is not distinguishable from chance")


def test_the_verdict_on_a_model_with_skill_of_its_own():
    said = verdict("trees", scores([0.8, 0.82]), {"b": both(0.1, 0.05, 0.2)})
    assert said["skill"]
    assert said["sentence"].startswith("trees has skill on unseen ground: AUC 0.810 (0.80")
    assert verdict("trees", scores([0.8, 0.82]), {})["skill"]


def test_the_verdict_on_a_model_that_one_baseline_holds():
    paired = {
        "weak": both(0.2, 0.1, 0.3),
        # Further away on average, but not surely: it has not been beaten.
        "unsteady": both(0.3, -0.01, 0.6),
    }
    said = verdict("trees", scores([0.8, 0.82]), paired)
    assert not said["skill"]
    assert "not clearly better than unsteady" in said["sentence"]
