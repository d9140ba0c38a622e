"""Errors: one sentence, one exit code, and a safe journey between processes."""

import copy
import pickle
import re

import pytest

from pipeline import errors
from pipeline.errors import FormulaError, PlanError, ProspectraError, did_you_mean

KINDS = sorted(
    (k for k in vars(errors).values() if isinstance(k, type) and issubclass(k, ProspectraError)),
    key=lambda kind: kind.__name__,
)


def test_an_error_is_one_sentence_of_what_where_and_remedy():
    error = PlanError("unknown key 'sensr'", where="study.yaml", remedy="did you mean 'sensor'?")
    assert str(error) == "study.yaml: unknown key 'sensr'; did you mean 'sensor'?."


def test_every_error_has_its_own_exit_code_as_documented():
    codes = {kind.__name__: kind.exit_code for kind in KINDS}
    assert codes["ProspectraError"] == 1
    assert codes.pop("FormulaError") == codes["PlanError"]
    assert len(set(codes.values())) == len(codes)
    assert not {0, 2, 130} & set(codes.values())
    for name, code in codes.items():
        assert re.search(rf"\b{name} +{code}  ", errors.__doc__ or ""), (
            f"{name} is not in the drawing"
        )


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_an_error_survives_the_way_from_another_process(kind):
    error = kind("what", where="where", remedy="remedy")
    for arrived in (pickle.loads(pickle.dumps(error)), copy.copy(error)):  # noqa: S301
        assert type(arrived) is kind
        assert (arrived.what, arrived.where, arrived.remedy) == ("what", "where", "remedy")
        assert str(arrived) == str(error)


def test_a_formula_error_is_a_plan_error():
    assert issubclass(FormulaError, PlanError)


def test_did_you_mean_names_the_nearest_and_lists_the_rest():
    told = did_you_mean("sensr", ["sensor", "model"])
    assert "did you mean 'sensor'?" in told
    assert "model, sensor" in told
    assert did_you_mean("zzz", ["b", "a"]) == "known: a, b"
    assert did_you_mean("zzz", []) == "known: none"
