"""YAML -> a frozen model, or one sentence about what is wrong with the file."""

import json
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from pipeline.errors import PlanError, did_you_mean
from pipeline.plan.base import Plan

AnyPlan = TypeVar("AnyPlan", bound=Plan)


def read(path: Path, model: type[AnyPlan]) -> AnyPlan:
    """Read a YAML file as a model.

    Raises
    ------
    PlanError : it cannot be read, is not YAML, or is not what the model allows; the sentence names
        the key and the nearest one that is known.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise PlanError(
            f"cannot be read ({getattr(error, 'strerror', None) or 'it is not UTF-8 text'})",
            where=str(path),
            remedy="check the path",
        ) from error
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a date that no calendar has
        mark = getattr(error, "problem_mark", None)
        line = f" at line {mark.line + 1}" if mark else ""
        raise PlanError(
            f"is not YAML{line}", where=str(path), remedy="mend the indentation or the quotes there"
        ) from error
    if not isinstance(content, dict):
        raise PlanError(
            "holds no keys", where=str(path), remedy="write one 'key: value' line per setting"
        )
    try:
        # YAML has lists where the models have tuples: JSON mode reads one as the other, strictly.
        return model.model_validate_json(_as_json(content, path), strict=True)
    except ValidationError as error:
        raise _plan_error(path, model, content, error.errors()) from error


def _as_json(content: dict[Any, Any], path: Path) -> str:
    try:
        return json.dumps(content, default=str)
    except (TypeError, ValueError) as error:  # a key that is a date, an alias that holds itself
        raise PlanError(
            "holds more than plain keys and values",
            where=str(path),
            remedy="write keys as words, and no aliases that hold themselves",
        ) from error


def _plan_error(
    path: Path, model: type[Plan], content: dict[Any, Any], details: list[ErrorDetails]
) -> PlanError:
    detail, said = _deepest(content, details)
    place = ".".join(_place(content, detail))
    if detail["type"] == "extra_forbidden":
        key = place.rpartition(".")[2]
        return PlanError(
            f"unknown key '{place}'", where=str(path), remedy=did_you_mean(key, _keys(model, place))
        )
    if detail["type"] == "missing":
        return PlanError(f"the key '{place}' is missing", where=str(path), remedy="add it")
    if not place:
        return PlanError(said, where=str(path), remedy="correct it")
    return PlanError(
        f"'{place}' is {_short(detail['input'])}", where=str(path), remedy=said.lower()
    )


def _deepest(content: dict[Any, Any], details: list[ErrorDetails]) -> tuple[ErrorDetails, str]:
    """Return one fault and what is said of it.

    A value that may be one of several kinds has a fault for each: the deepest is the one meant.
    """
    # A mistyped key leaves the right one missing too: the mistake is what should be told.
    details = sorted(details, key=lambda d: d["type"] != "extra_forbidden")
    first = _place(content, details[0])
    kin = [d for d in details if _place(content, d)[: len(first)] == first]
    detail = max(kin, key=lambda d: len(_place(content, d)))
    same = [d["msg"] for d in kin if _place(content, d) == _place(content, detail)]
    return detail, " or ".join(dict.fromkeys(m.removeprefix("Value error, ") for m in same))


def _place(content: Any, detail: ErrorDetails) -> list[str]:
    """Return the keys that lead to a fault, without pydantic's own names for kinds of value."""
    place, inner = [], content
    for part in detail["loc"]:
        if isinstance(inner, dict) and (part in inner or detail["type"] == "missing"):
            inner = inner.get(part)
        elif isinstance(inner, list) and isinstance(part, int):
            inner = inner[part] if part < len(inner) else None
        else:
            continue
        place.append(str(part))
    return place


def _keys(model: type[Plan], place: str) -> list[str]:
    """Return the keys allowed where an unknown one was found, walking down the dotted place."""
    fields = model.model_fields
    for part in place.split(".")[:-1]:
        inner = [
            kind
            for kind in _models_in(fields[part].annotation if part in fields else None)
            if issubclass(kind, Plan)
        ]
        if inner:
            fields = inner[0].model_fields
    return list(fields)


def _models_in(annotation: Any) -> list[type[Plan]]:
    if isinstance(annotation, type) and issubclass(annotation, Plan):
        return [annotation]
    return [m for arg in getattr(annotation, "__args__", ()) for m in _models_in(arg)]


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
