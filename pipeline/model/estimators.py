"""The estimators a model recipe may name.

All are scikit-learn estimators that give class probabilities. Whatever they learn, scaling
included, they learn from the training samples alone: nothing is ever normalised on the area that
is mapped.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.ensemble import ExtraTreesClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures, StandardScaler
from sklearn.svm import SVC
from sklearn.utils.extmath import softmax
from sklearn.utils.validation import check_is_fitted

from pipeline.errors import PlanError, did_you_mean
from pipeline.plan import Candidate


class MarginClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """A support vector machine whose class scores are the softmax of its one-vs-rest margins.

    The scores rank pixels; they are not calibrated probabilities. (Cortes & Vapnik 1995, Machine
    Learning 20:273.)
    """

    def __init__(self, C: float = 1.0, gamma: float | str = "scale") -> None:  # noqa: N803
        self.C = C
        self.gamma = gamma

    def fit(self, X: NDArray[Any], y: NDArray[Any]) -> "MarginClassifier":  # noqa: N803
        """Fit on samples (sample, layer) and their labels."""
        self.machine_ = SVC(C=self.C, gamma=self.gamma).fit(X, y)
        self.classes_ = self.machine_.classes_
        self.n_features_in_ = self.machine_.n_features_in_
        return self

    def predict_proba(self, X: NDArray[Any]) -> NDArray[np.float64]:  # noqa: N803
        """Return scores (sample, class) in 0..1 that sum to one."""
        check_is_fitted(self)
        margins = self.machine_.decision_function(X)
        if margins.ndim == 1:  # two classes share one margin
            margins = np.stack([-margins, margins], axis=1) / 2
        scores: NDArray[np.float64] = softmax(margins)
        return scores

    def predict(self, X: NDArray[Any]) -> NDArray[Any]:  # noqa: N803
        """Return the class with the highest score."""
        labels: NDArray[Any] = self.classes_[self.predict_proba(X).argmax(axis=1)]
        return labels


def _logistic(seed: int, degree: int = 1, **params: Any) -> BaseEstimator:
    model = LogisticRegression(max_iter=5000, random_state=seed, **params)
    if degree == 1:
        return make_pipeline(StandardScaler(), model)
    products = PolynomialFeatures(degree, include_bias=False)
    return make_pipeline(StandardScaler(), products, StandardScaler(), model)


def _svm(seed: int, **params: Any) -> BaseEstimator:  # noqa: ARG001 (nothing random in it)
    return make_pipeline(StandardScaler(), MarginClassifier(**params))


def _forest(seed: int, **params: Any) -> BaseEstimator:
    return RandomForestClassifier(random_state=seed, n_jobs=1, **params)


def _extra_trees(seed: int, **params: Any) -> BaseEstimator:
    return ExtraTreesClassifier(random_state=seed, n_jobs=1, **params)


ESTIMATORS: Mapping[str, Callable[..., BaseEstimator]] = {
    "logistic": _logistic,
    "svm": _svm,
    "forest": _forest,
    "extra-trees": _extra_trees,
}
"""Every estimator by the name a recipe calls it."""


def make(candidate: Candidate, seed: int) -> BaseEstimator:
    """Return an unfitted estimator.

    Raises
    ------
    PlanError : an unknown estimator, or a parameter it does not take.
    """
    if candidate.estimator not in ESTIMATORS:
        raise PlanError(
            f"the estimator '{candidate.estimator}' is not known",
            where="model recipe",
            remedy=did_you_mean(candidate.estimator, ESTIMATORS),
        )
    try:
        return ESTIMATORS[candidate.estimator](seed, **candidate.params)
    except TypeError as error:
        raise PlanError(
            f"the estimator '{candidate.estimator}' does not take these parameters ({error})",
            where="model recipe",
            remedy="check its params",
        ) from error
