"""Models: every estimator fits, predicts, is stored without pickle, and keeps missing missing."""

from functools import cache

import numpy as np
import pytest
import skops.io
from sklearn.utils.estimator_checks import parametrize_with_checks
from skops.io.exceptions import UntrustedTypesFoundException

from pipeline.errors import PlanError
from pipeline.model import (
    Fitted,
    estimators,
    fit,
    fit_ensemble,
    load,
    predict,
    probabilities,
    save,
)
from pipeline.model.estimators import ESTIMATORS, PairwiseSVM, make
from pipeline.plan import Candidate, Configs, Model

CLASSES = ("alunite", "barren", "kaolinite")
LAYERS = ("a", "b", "c")
SMALL = {name: {"n_estimators": 8} for name in ESTIMATORS if name not in ("logistic", "svm")}
OWN = [
    kind()
    for kind in vars(estimators).values()
    if isinstance(kind, type) and kind.__module__ == estimators.__name__
]


def data(count=150, seed=0, classes=CLASSES):
    """Three overlapping clouds of points, in five folds."""
    rng = np.random.default_rng(seed)
    labels = np.array(classes)[np.arange(count) % len(classes)]
    centres = np.array([[0, 0, 0], [2, 0, 1], [0, 2, 2]], float)
    values = centres[np.arange(count) % len(classes)] + rng.normal(0, 0.7, (count, 3))
    return values.astype(np.float32), labels, np.arange(count) % 5


def recipe(*estimators, **params):
    candidates = tuple(
        Candidate(estimator=name, params=SMALL.get(name, {}) | params) for name in estimators
    )
    return Model(title="t", features=("bands",), candidates=candidates, source="made for tests")


@cache
def ensemble(name="logistic", classes=CLASSES, seed=0):
    values, labels, folds = data()
    return fit_ensemble(values, labels, folds, recipe(name), seed, (LAYERS, classes))


def picture(shape=(9, 11), seed=5):
    rng = np.random.default_rng(seed)
    return {name: rng.normal(0.7, 1.2, shape).astype(np.float32) for name in LAYERS}


@parametrize_with_checks(OWN)
def test_own_estimators_keep_the_rules_of_scikit_learn(estimator, check):
    check(estimator)


@pytest.mark.parametrize("name", sorted(ESTIMATORS))
def test_every_estimator_learns_and_gives_scores(name):
    values, labels, folds = data()
    estimator, chosen = fit(values, labels, folds, recipe(name), seed=0)
    assert chosen.estimator == name
    fresh, truth, _ = data(seed=9)
    scores = probabilities(estimator, fresh, CLASSES)
    np.testing.assert_allclose(scores.sum(axis=1), 1.0, atol=1e-6)
    assert (scores >= 0).all()
    assert (np.array(CLASSES)[scores.argmax(axis=1)] == truth).mean() > 0.75


@pytest.mark.parametrize("name", sorted(ESTIMATORS))
def test_every_estimator_comes_back_as_it_was_saved(name, tmp_path):
    fitted = ensemble(name)
    one = save(fitted, tmp_path / "1.skops")
    assert save(ensemble.__wrapped__(name), tmp_path / "2.skops") == one
    back = load(tmp_path / "1.skops")
    assert (back.layers, back.classes, back.chosen) == (LAYERS, CLASSES, fitted.chosen)
    assert len(back.members) == len(fitted.members)
    for mine, theirs in zip(predict(fitted, picture()), predict(back, picture()), strict=True):
        np.testing.assert_array_equal(mine, theirs)


@pytest.mark.parametrize("name", sorted(ESTIMATORS))
def test_the_same_seed_gives_the_same_model(name):
    one, two = (predict(made, picture()) for made in (ensemble(name), ensemble.__wrapped__(name)))
    np.testing.assert_array_equal(one[0], two[0])
    np.testing.assert_array_equal(one[1], two[1])


@pytest.mark.parametrize("name", Configs().names("models"))
def test_every_recipe_in_configs_makes_its_estimators(name):
    for candidate in Configs().model(name).candidates:
        assert hasattr(make(candidate, 0), "fit")


@pytest.mark.parametrize("name", sorted(ESTIMATORS))
def test_the_score_of_a_pixel_does_not_depend_on_its_neighbours(name):
    fitted, layers = ensemble(name), picture((40, 33))
    score, spread = predict(fitted, layers)
    for rows, columns in (
        (slice(0, 1), slice(0, 1)),
        (slice(3, 20), slice(5, 6)),
        (slice(7, 8),) * 2,
    ):
        part = {n: layer[rows, columns] for n, layer in layers.items()}
        found, width = predict(fitted, part)
        np.testing.assert_allclose(found, score[:, rows, columns], atol=1e-6)
        np.testing.assert_allclose(width, spread[rows, columns], atol=1e-6)


def test_a_pixel_with_a_missing_layer_has_no_score():
    layers = picture()
    layers["b"][2, 3] = np.nan
    layers["c"][4, :] = np.inf
    score, spread = predict(ensemble(), layers)
    missing = np.zeros((9, 11), bool)
    missing[2, 3] = missing[4, :] = True
    np.testing.assert_array_equal(np.isnan(spread), missing)
    for plane in score:
        np.testing.assert_array_equal(np.isnan(plane), missing)
    assert score.dtype == spread.dtype == np.float32
    untouched, _ = predict(ensemble(), picture())
    np.testing.assert_array_equal(score[:, ~missing], untouched[:, ~missing])


def test_a_block_with_nothing_in_it_has_no_scores():
    empty = {name: np.full((3, 4), np.nan, np.float32) for name in LAYERS}
    score, spread = predict(ensemble(), empty)
    assert np.isnan(score).all()
    assert np.isnan(spread).all()
    assert score.shape == (3, 3, 4)


def test_a_class_without_samples_scores_nothing_and_the_rest_keep_their_places():
    classes = ("alunite", "gold", "barren", "kaolinite")
    score, spread = predict(ensemble(classes=classes), picture())
    plain, plain_spread = predict(ensemble(), picture())
    assert np.isnan(score[1]).all()
    np.testing.assert_array_equal(score[[0, 2, 3]], plain)
    np.testing.assert_array_equal(spread, plain_spread)


def test_layers_are_taken_by_name_and_not_by_place():
    layers = picture()
    turned = {name: layers[name] for name in reversed(LAYERS)} | {"more": layers["a"] * 9}
    np.testing.assert_array_equal(predict(ensemble(), turned)[0], predict(ensemble(), layers)[0])


def test_the_spread_is_that_of_the_winning_class_over_the_members():
    fitted = ensemble()
    assert len(fitted.members) == 6
    layers = picture()
    values = np.stack([layers[name].ravel() for name in LAYERS], axis=1)
    scores = [probabilities(member, values, CLASSES) for member in fitted.members]
    winner = scores[0].argmax(axis=1)
    rows = np.arange(len(values))
    expected = np.std([s[rows, winner] for s in scores[1:]], axis=0)
    np.testing.assert_allclose(predict(fitted, layers)[1].ravel(), expected, rtol=1e-5)


def test_a_fold_that_holds_all_of_a_class_is_not_left_out():
    values, labels, _ = data()
    folds = np.where(labels == "alunite", 0, 1 + np.arange(len(labels)) // 3 % 3)
    fitted = fit_ensemble(values, labels, folds, recipe("logistic"), 0, (LAYERS, CLASSES))
    assert len(fitted.members) == 1 + 3


def test_spatial_folds_choose_among_candidates():
    # What separates the classes changes from fold to fold in layer a; layer b is true everywhere.
    rng = np.random.default_rng(0)
    folds = np.repeat(np.arange(4), 50)
    labels = np.where(rng.random(200) < 0.5, "alunite", "barren")
    sign = np.where(labels == "alunite", 1.0, -1.0)
    values = np.stack([folds * 3.0 + sign * 0.2, sign + rng.normal(0, 0.8, 200)], axis=1)
    two = Model(
        title="t",
        features=("bands",),
        source="s",
        candidates=(
            Candidate(estimator="svm", params={"C": 10000.0}),
            Candidate(estimator="logistic", params={"C": 0.1}),
        ),
    )
    _, chosen = fit(values.astype(np.float32), labels, folds, two, 0)
    assert chosen == two.candidates[1]
    turned = two.model_copy(update={"candidates": two.candidates[::-1]})
    assert fit(values.astype(np.float32), labels, folds, turned, 0)[1] == two.candidates[1]


@pytest.mark.parametrize("count", [2, 3])
def test_the_scores_of_a_machine_follow_its_margins(count):
    values, labels, _ = data(classes=CLASSES[:count])
    machine = PairwiseSVM().fit(values, labels)
    scores = machine.predict_proba(values)
    np.testing.assert_allclose(scores.sum(axis=1), 1.0)
    assert (machine.predict(values) == labels).mean() > 0.85
    if count == 2:
        margin = machine.machine_.decision_function(values)
        np.testing.assert_array_equal(scores[:, 1] > 0.5, margin > 0)
        assert (np.diff(scores[np.argsort(margin), 1]) >= 0).all()


@pytest.mark.parametrize(
    ("candidate", "told"),
    [
        (Candidate(estimator="forrest"), "'forrest' is not known; did you mean 'forest'"),
        (Candidate(estimator="forest", params={"trees": 5}), "does not take these parameters"),
        (Candidate(estimator="svm", params={"c": 5.0}), "does not take these parameters"),
        (Candidate(estimator="logistic", params={"random_state": 5}), "does not take these"),
        (Candidate(estimator="logistic", params={"C": -1.0}), "does not take these parameters"),
        (Candidate(estimator="forest", params={"max_depth": "deep"}), "does not take these"),
        (Candidate(estimator="svm", params={"C": "wide"}), "does not take these parameters"),
    ],
)
def test_a_candidate_that_cannot_be_made_is_told(candidate, told):
    values, labels, folds = data()
    wrong = Model(title="t", features=("bands",), candidates=(candidate,), source="s")
    with pytest.raises(PlanError, match=told):
        fit(values, labels, folds, wrong, 0)


class Intruder:
    """Something that no model of ours holds."""


def test_a_stored_model_with_a_foreign_type_is_refused(tmp_path):
    path = tmp_path / "model.skops"
    path.write_bytes(skops.io.dumps({"layers": Intruder()}))
    with pytest.raises(UntrustedTypesFoundException, match="Intruder"):
        load(path)


def test_a_fitted_model_cannot_be_changed():
    fitted = ensemble()
    assert isinstance(fitted, Fitted)
    with pytest.raises(AttributeError):
        fitted.layers = ("x",)
