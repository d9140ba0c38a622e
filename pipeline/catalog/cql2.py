"""CQL2 filters, decided here: servers differ in what they support, and files support nothing.

The part of CQL2 JSON that speaks of an item's own fields: logic, comparisons, in, between, isNull,
like and s_intersects. Source: OGC 21-065r2, Common Query Language (CQL2).
"""

import operator
import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from shapely.geometry import shape

from pipeline.catalog.query import moment

_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq,
    "eq": operator.eq,
    "<>": operator.ne,
    "neq": operator.ne,
    "<": operator.lt,
    "lt": operator.lt,
    "<=": operator.le,
    "lte": operator.le,
    ">": operator.gt,
    "gt": operator.gt,
    ">=": operator.ge,
    "gte": operator.ge,
}
"""With the names that an early draft gave them; servers still take both."""


class UndecidedError(ValueError):
    """A filter uses a part of CQL2 that is not decided here."""


def holds(expression: Any, item: Mapping[str, Any]) -> bool | None:
    """Return whether an item meets a filter; None: it does not say (a field is missing).

    Parameters
    ----------
    item : a STAC item.

    Raises
    ------
    UndecidedError : the filter uses something that is not decided here.
    """
    if isinstance(expression, bool):
        return expression
    if not isinstance(expression, Mapping) or not isinstance(expression.get("args"), list):
        raise UndecidedError(f"'{expression}' is no condition")
    op, args = str(expression.get("op")), expression["args"]
    if op in ("and", "or"):
        return _logic(op, [holds(arg, item) for arg in args])
    if op == "not":
        inner = holds(args[0], item)
        return None if inner is None else not inner
    decide = _DECIDE.get(op) or (_compared(_COMPARE[op]) if op in _COMPARE else None)
    if decide is None:
        raise UndecidedError(f"'{op}' is not known here")
    return decide([_value(arg, item) for arg in args])


def check(expression: Any) -> None:
    """Raise UndecidedError if a filter uses something that is not decided here.

    >>> check({"op": "<=", "args": [{"property": "eo:cloud_cover"}, 10]})
    """
    try:
        holds(expression, {})
    except (IndexError, TypeError, AttributeError) as error:
        raise UndecidedError(f"'{expression}' is no condition") from error


def _logic(op: str, found: list[bool | None]) -> bool | None:
    decisive = op == "or"
    if decisive in found:
        return decisive
    return None if None in found else not decisive


def _compared(compare: Callable[[Any, Any], bool]) -> Callable[[list[Any]], bool | None]:
    def decide(args: list[Any]) -> bool | None:
        left, right = _alike(*args)
        if left is None or right is None:
            return None
        try:
            return bool(compare(left, right))
        except TypeError:  # a word against a number
            return None

    return decide


def _between(args: list[Any]) -> bool | None:
    above, below = _compared(operator.ge), _compared(operator.le)
    return _logic("and", [above([args[0], args[1]]), below([args[0], args[2]])])


def _in(args: list[Any]) -> bool | None:
    return _logic("or", [_compared(operator.eq)([args[0], each]) for each in args[1]])


def _like(args: list[Any]) -> bool | None:
    text, pattern = args
    if not isinstance(text, str):
        return None
    wild = {"%": ".*", "_": "."}
    return bool(re.fullmatch("".join(wild.get(c, re.escape(c)) for c in pattern), text, re.DOTALL))


def _intersects(args: list[Any]) -> bool | None:
    if any(arg is None for arg in args):
        return None
    return bool(shape(args[0]).intersects(shape(args[1])))


_DECIDE: dict[str, Callable[[list[Any]], bool | None]] = {
    "between": _between,
    "in": _in,
    "isNull": lambda args: args[0] is None,
    "like": _like,
    "s_intersects": _intersects,
}


def _value(arg: Any, item: Mapping[str, Any]) -> Any:
    if isinstance(arg, list):
        return [_value(each, item) for each in arg]
    if not isinstance(arg, Mapping):
        return arg
    if "property" in arg:
        name = str(arg["property"]).removeprefix("properties.")
        if name in ("id", "collection", "geometry"):
            return item.get(name)
        return item.get("properties", {}).get(name)
    for key in ("timestamp", "date"):
        if key in arg:
            return moment(str(arg[key]))
    if "coordinates" in arg:
        return arg
    raise UndecidedError(f"'{dict(arg)}' is not known here")


def _alike(left: Any, right: Any) -> tuple[Any, Any]:
    """Turn a text into a time where it is compared with one."""
    if isinstance(left, str) and isinstance(right, datetime):
        return _time(left), right
    if isinstance(right, str) and isinstance(left, datetime):
        return left, _time(right)
    return left, right


def _time(text: str) -> datetime | None:
    try:
        return moment(text)
    except ValueError:
        return None
