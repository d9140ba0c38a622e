"""The estimators a model recipe may name.

All are scikit-learn estimators that give class probabilities. Whatever they learn, scaling
included, they learn from the training samples alone: nothing is ever normalised on the area that
is mapped.
"""

from collections.abc import Callable, Mapping
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit
from sklearn.base import BaseEstimator, ClassifierMixin, TransformerMixin
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import ExtraTreesClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline, make_union
from sklearn.preprocessing import PolynomialFeatures, StandardScaler
from sklearn.svm import SVC
from sklearn.utils._param_validation import InvalidParameterError
from sklearn.utils.validation import check_is_fitted, validate_data

from pipeline.errors import PlanError, did_you_mean
from pipeline.plan import Candidate

Values = NDArray[np.floating[Any]]


class PairwiseSVM(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """A support vector machine whose class scores are the mean of its pairwise ones.

    Each pair of classes has a margin; its logistic is the score of one class against the other,
    and a class scores the mean over its pairs (the start of pairwise coupling, Hastie & Tibshirani
    1998, Annals of Statistics 26:451). Scores rank pixels; they are not calibrated probabilities.
    """

    def __init__(self, C: float = 1.0, slope: float = 2.0) -> None:  # noqa: N803
        self.C = C
        self.slope = slope

    def fit(self, X: Values, y: NDArray[Any]) -> "PairwiseSVM":  # noqa: N803
        """Fit on samples (sample, layer) and their labels."""
        X, y = validate_data(self, X, y)  # noqa: N806
        self.machine_ = SVC(C=self.C, decision_function_shape="ovo").fit(X, y)
        self.classes_ = self.machine_.classes_
        return self

    def predict_proba(self, X: Values) -> NDArray[np.float64]:  # noqa: N803
        """Return scores (sample, class) in 0..1 that sum to one."""
        check_is_fitted(self)
        X = validate_data(self, X, reset=False)  # noqa: N806
        margins = self.machine_.decision_function(X)
        if margins.ndim == 1:  # of two classes, scikit-learn gives the margin of the second
            margins = -margins[:, None]
        count = len(self.classes_)
        scores = np.zeros((len(margins), count))
        wins = expit(self.slope * margins)
        for pair, (first, second) in enumerate(combinations(range(count), 2)):
            scores[:, first] += wins[:, pair]
            scores[:, second] += 1.0 - wins[:, pair]
        return scores / (count * (count - 1) / 2)

    def predict(self, X: Values) -> NDArray[Any]:  # noqa: N803
        """Return the class with the highest score."""
        winners = self.predict_proba(X).argmax(axis=1)
        labels: NDArray[Any] = self.classes_[winners]
        return labels


class BlockRotation(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Turns each block of columns to its own principal and discriminant axes.

    Trees split along axes; what tells minerals apart in broad bands lies across them. Each block
    (the bands at one distance) is standardised, then becomes its whitened principal components
    and its linear discriminant scores, side by side (compare Rodriguez, Kuncheva & Alonso 2006,
    Rotation Forest, IEEE TPAMI 28:1619).
    """

    def __init__(self, blocks: int = 1) -> None:
        self.blocks = blocks

    def fit(self, X: Values, y: NDArray[Any]) -> "BlockRotation":  # noqa: N803
        """Fit on samples (sample, layer), blocks of equal width in order, and their labels."""
        X, y = validate_data(self, X, y)  # noqa: N806
        self.rotations_ = [
            make_pipeline(
                StandardScaler(),
                make_union(PCA(whiten=True), LinearDiscriminantAnalysis()),
            ).fit(part, y)
            for part in self._parts(X)
        ]
        return self

    def transform(self, X: Values) -> Values:  # noqa: N803
        """Return the rotated columns (sample, axis)."""
        check_is_fitted(self)
        X = validate_data(self, X, reset=False)  # noqa: N806
        parts = zip(self.rotations_, self._parts(X), strict=True)
        return np.hstack([rotation.transform(part) for rotation, part in parts])

    def _parts(self, X: Values) -> list[Values]:  # noqa: N803
        return np.array_split(X, min(self.blocks, X.shape[1]), axis=1)


def _logistic(seed: int, degree: int = 1, **params: Any) -> BaseEstimator:
    model = LogisticRegression(max_iter=5000, random_state=seed, **params)
    if degree == 1:
        return make_pipeline(StandardScaler(), model)
    products = PolynomialFeatures(degree, include_bias=False)
    return make_pipeline(StandardScaler(), products, StandardScaler(), model)


def _svm(seed: int, **params: Any) -> BaseEstimator:  # noqa: ARG001 (nothing random in it)
    return make_pipeline(StandardScaler(), PairwiseSVM(**params))


def _forest(seed: int, **params: Any) -> BaseEstimator:
    return RandomForestClassifier(random_state=seed, n_jobs=1, **params)


def _extra_trees(seed: int, **params: Any) -> BaseEstimator:
    return ExtraTreesClassifier(random_state=seed, n_jobs=1, **params)


def _rotated_trees(seed: int, blocks: int = 1, **params: Any) -> BaseEstimator:
    return make_pipeline(BlockRotation(blocks), _extra_trees(seed, **params))


ESTIMATORS: Mapping[str, Callable[..., BaseEstimator]] = {
    "logistic": _logistic,
    "svm": _svm,
    "forest": _forest,
    "extra-trees": _extra_trees,
    "rotated-trees": _rotated_trees,
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
    except (TypeError, ValueError) as error:
        raise _refused(candidate, error) from error


def fitted(
    candidate: Candidate, seed: int, values: Values, labels: NDArray[np.str_]
) -> BaseEstimator:
    """Return an estimator fitted on samples (sample, layer) and their labels.

    Raises
    ------
    PlanError : an unknown estimator, or a parameter that it does not take.
    """
    try:
        return make(candidate, seed).fit(values, labels)
    except InvalidParameterError as error:  # scikit-learn looks at values only now
        raise _refused(candidate, error) from error


def _refused(candidate: Candidate, error: Exception) -> PlanError:
    return PlanError(
        f"the estimator '{candidate.estimator}' does not take these parameters ({error})",
        where="model recipe",
        remedy="check its params",
    )
