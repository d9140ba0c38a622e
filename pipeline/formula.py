"""Spectral index formulas: text -> a checked Formula -> numbers, without ever running the text.

A formula is arithmetic on operands r<nm>, the surface reflectance at that wavelength in nanometres:

    (r2165 + r2260) / (2 * r2205)

The text is parsed, held against a short list of what is allowed, and turned into a table of steps
that one compiled kernel walks for all formulas at once, a few thousand pixels at a time, so that
every intermediate value stays in the processor's cache.
"""

import ast
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NoReturn

import numba
import numpy as np
from numpy.typing import NDArray

from pipeline.errors import FormulaError, did_you_mean

NARROWEST = 15.0
"""nm: a band counts as seeing at least this far on each side of its centre, so that a formula
written with one sensor's band centre (2209 nm) finds the matching narrow band of another (2205)."""

_LARGEST = float(np.finfo(np.float32).max)
_LONGEST = 500  # characters: no published index comes near, and nesting stays shallow
_OPERAND = re.compile(r"r(\d{3,5})")
_CHUNK = 1024  # pixels a step works on: 4 kB a row, so the rows of some 20 formulas fit in L2
_PRODUCT = 4  # powers up to this one are products, which cost a tenth

_ADD, _SUBTRACT, _MULTIPLY, _DIVIDE, _POWER, _MIN, _MAX, _NEGATE, _LOG, _SQRT, _EXP, _ABS = range(
    12
)
_BINARY = {
    ast.Add: _ADD,
    ast.Sub: _SUBTRACT,
    ast.Mult: _MULTIPLY,
    ast.Div: _DIVIDE,
    ast.Pow: _POWER,
}
_UNARY_CALLS = {"log": _LOG, "sqrt": _SQRT, "exp": _EXP, "abs": _ABS}
_FOLDED_CALLS = {"min": _MIN, "max": _MAX}
_ALLOWED = "use numbers, r<nm>, + - * / **, parentheses, log sqrt exp abs min max"


@dataclass(frozen=True)
class Formula:
    """A formula that has been checked; only `parse` makes one."""

    text: str
    operands: tuple[str, ...]
    """Each operand once, by wavelength: ("r1610", "r2200")."""


@dataclass(frozen=True, eq=False)
class _Program:
    """Steps over rows of values: first the operands, then the constants, then the results."""

    operands: tuple[str, ...]
    constants: NDArray[np.float32]
    steps: NDArray[np.int32]
    """(step, 3): operation, left row, right row; each writes the next row after the constants."""
    outputs: NDArray[np.int32]
    """(formula,): the row that holds the value of each formula."""


@lru_cache(maxsize=256)
def parse(text: str) -> Formula:
    """Check the text of a formula.

    Raises
    ------
    FormulaError : it is not arithmetic, or holds anything that is not on the list of the allowed.
    """
    tree = _tree(text)
    nodes = list(ast.walk(tree))
    called = [node.func for node in nodes if isinstance(node, ast.Call)]
    for node in nodes:
        if node not in called:
            _allow(node, text)
    operands = {node.id for node in nodes if isinstance(node, ast.Name) and _is_operand(node.id)}
    if not operands:
        _refuse(text, "it names no band", "name at least one band by its wavelength, such as r2200")
    return Formula(text, tuple(sorted(operands, key=wavelength)))


def wavelength(operand: str) -> float:
    """Return the wavelength of an operand, nm.

    >>> wavelength("r2205")
    2205.0
    """
    return float(operand[1:])


def resolve(formula: Formula, bands: Mapping[str, tuple[float, float]]) -> dict[str, str]:
    """Return the band of a sensor that each operand falls on.

    A band is taken for a wavelength that lies within half its full width at half maximum, where it
    still responds with half its strength (or within NARROWEST of its centre); of several such
    bands the one with the nearest centre. Two operands on one band are refused: on Sentinel-2
    (r2165 + r2260) / (2 * r2205) would be one band three times over, a constant 1.

    Parameters
    ----------
    bands : (centre, full width at half maximum) of each band, nm.

    Raises
    ------
    FormulaError : no band sees a wavelength, or one band would stand for two.
    """
    found = {operand: _band_at(operand, formula.text, bands) for operand in formula.operands}
    users: dict[str, str] = {}
    for operand, band in found.items():
        if other := users.get(band):
            _refuse(
                formula.text,
                f"{other} and {operand} both fall on the band '{band}' of this sensor",
                "leave the index out for this sensor, or use one with narrower bands",
            )
        users[band] = operand
    return found


def evaluate(
    formulas: Sequence[Formula],
    columns: Mapping[str, int],
    bands: NDArray[np.float32],
    darkest: float = -np.inf,
) -> NDArray[np.float32]:
    """Return the value of every formula at every pixel, as (formula, pixel).

    NaN wherever a step has no finite value: an operand is missing, a division by zero, the
    logarithm of zero or less, an overflow.

    Parameters
    ----------
    columns : the row of `bands` that holds each operand.
    bands : surface reflectance (band, pixel), unitless.
    darkest : reflectance below this is no measurement: it counts as missing.
    """
    program = _compiled(tuple(formulas))
    rows = np.array([columns[operand] for operand in program.operands], np.int32)
    out = np.empty((len(program.outputs), bands.shape[1]), np.float32)
    if out.size:
        floor = np.float32(darkest)
        _run(rows, program.constants, program.steps, program.outputs, bands, floor, out)
    return out


def _tree(text: str) -> ast.expr:
    if len(text) > _LONGEST:
        _refuse(text[:40] + " ...", f"it is longer than {_LONGEST} characters", "split the index")
    try:
        return ast.parse(text.strip(), mode="eval").body
    except SyntaxError as error:
        part = (error.text or "").strip()[max((error.offset or 1) - 1, 0) :]
        near = f" at '{part[:30]}'" if part else ""
        _refuse(text, f"it is not an arithmetic expression{near}", _ALLOWED)
    except ValueError:
        _refuse(text, "it holds a character that no formula has", _ALLOWED)


def _allow(node: ast.AST, text: str) -> None:
    """Refuse a node that is not on the list; what holds it has been looked at already."""
    match node:
        case ast.BinOp(op=op) if type(op) in _BINARY:
            return
        case ast.UnaryOp(op=ast.USub()):
            return
        case ast.Constant(value=int() | float() as value) if not isinstance(value, bool):
            if abs(value) <= _LARGEST:
                return
            _refuse(text, "a number in it is too large", "keep numbers below 3e38")
        case ast.Name(id=name) if _is_operand(name):
            return
        case ast.Name(id=name):
            _refuse(text, f"'{name}' is not an operand", _ALLOWED)
        case ast.Call():
            _allow_call(node, text)
        case ast.operator() | ast.unaryop() | ast.Load():
            return  # judged with the expression they belong to
        case _:
            part = ast.unparse(node) if isinstance(node, ast.expr) else type(node).__name__
            _refuse(text, f"'{part}' is not allowed", _ALLOWED)


def _allow_call(node: ast.Call, text: str) -> None:
    name = node.func.id if isinstance(node.func, ast.Name) else ast.unparse(node.func)
    known = _UNARY_CALLS | _FOLDED_CALLS
    if name not in known:
        _refuse(text, f"'{name}' is not a function of formulas", did_you_mean(name, known))
    plain = not node.keywords and not any(isinstance(a, ast.Starred) for a in node.args)
    if not plain or (len(node.args) != 1 if name in _UNARY_CALLS else len(node.args) < 2):
        wanted = "one value" if name in _UNARY_CALLS else "two values or more"
        _refuse(text, f"'{ast.unparse(node)}' has the wrong arguments", f"give {name} {wanted}")


def _is_operand(name: str) -> bool:
    return _OPERAND.fullmatch(name) is not None


def _refuse(text: str, what: str, remedy: str) -> NoReturn:
    raise FormulaError(what, where=f"formula '{text}'", remedy=remedy)


def _band_at(operand: str, text: str, bands: Mapping[str, tuple[float, float]]) -> str:
    nm = wavelength(operand)
    by_distance = sorted((abs(centre - nm), width, name) for name, (centre, width) in bands.items())
    for distance, width, name in by_distance:
        if distance <= max(width / 2, NARROWEST):
            return name
    nearest = by_distance[0][2] if by_distance else "none"
    _refuse(
        text,
        f"this sensor has no band at {nm:g} nm (the nearest is '{nearest}')",
        "leave the index out for this sensor",
    )


@lru_cache(maxsize=64)
def _compiled(formulas: tuple[Formula, ...]) -> _Program:
    """Turn formulas into one table of steps; what two formulas share is worked out once."""
    operands = sorted({o for formula in formulas for o in formula.operands}, key=wavelength)
    trees = [_tree(formula.text) for formula in formulas]
    constants = sorted(
        {float(n.value) for t in trees for n in ast.walk(t) if isinstance(n, ast.Constant)}  # type: ignore[arg-type]
    )
    rows: dict[object, int] = {key: row for row, key in enumerate([*operands, *constants])}
    first = len(rows)
    outputs = [_row_of(tree, rows) for tree in trees]
    steps = [key for key, row in rows.items() if row >= first]
    return _Program(
        tuple(operands),
        np.array(constants, np.float32),
        np.array(steps, np.int32).reshape(-1, 3),
        np.array(outputs, np.int32),
    )


def _row_of(node: ast.expr, rows: dict[object, int]) -> int:
    """Return the row that will hold a node's value, adding the steps that are not there yet."""
    match node:
        case ast.Name(id=name):
            return rows[name]
        case ast.Constant(value=int() | float() as value):
            return rows[float(value)]
        case ast.UnaryOp(operand=operand):
            inner = _row_of(operand, rows)
            return rows.setdefault((_NEGATE, inner, inner), len(rows))
        case ast.BinOp(left=left, op=ast.Pow(), right=ast.Constant(value=int() as power)) if (
            1 < power <= _PRODUCT
        ):
            base = row = _row_of(left, rows)
            for _ in range(power - 1):
                row = rows.setdefault((_MULTIPLY, row, base), len(rows))
            return row
        case ast.BinOp(left=left, op=op, right=right):
            step = (_BINARY[type(op)], _row_of(left, rows), _row_of(right, rows))
            return rows.setdefault(step, len(rows))
        case ast.Call(func=ast.Name(id=name), args=[only]):
            inner = _row_of(only, rows)
            return rows.setdefault((_UNARY_CALLS[name], inner, inner), len(rows))
        case ast.Call(func=ast.Name(id=name), args=[begin, *others]):
            row = _row_of(begin, rows)
            for other in others:
                step = (_FOLDED_CALLS[name], row, _row_of(other, rows))
                row = rows.setdefault(step, len(rows))
            return row
    raise AssertionError(f"{ast.dump(node)} passed the list of what is allowed")


@numba.njit(inline="always", error_model="numpy")
def _finite(value):  # type: ignore[no-untyped-def]
    return value if abs(value) < np.float32(np.inf) else np.float32(np.nan)


@numba.njit(cache=True, nogil=True, fastmath=False, error_model="numpy")
def _run(rows, constants, steps, outputs, bands, floor, out):  # type: ignore[no-untyped-def]
    """Walk the steps over one chunk of pixels after another, in scratch that is used again."""
    first = len(rows) + len(constants)
    work = np.empty((first + len(steps), _CHUNK), np.float32)
    for i in range(len(constants)):
        work[len(rows) + i, :] = constants[i]
    for start in range(0, bands.shape[1], _CHUNK):
        size = min(_CHUNK, bands.shape[1] - start)
        for i in range(len(rows)):
            _copy(bands[rows[i], start : start + size], floor, work[i])
        for i in range(len(steps)):
            operation, left, right = steps[i]
            _step(operation, work[left], work[right], work[first + i], size)
        for i in range(len(outputs)):
            _copy(work[outputs[i], :size], -np.float32(np.inf), out[i, start : start + size])


@numba.njit(cache=True, nogil=True, fastmath=False, error_model="numpy")
def _copy(source, floor, target):  # type: ignore[no-untyped-def]
    for p in range(len(source)):
        value = source[p]
        there = (value >= floor) & (abs(value) < np.float32(np.inf))
        target[p] = value if there else np.float32(np.nan)


@numba.njit(cache=True, nogil=True, fastmath=False, error_model="numpy")
def _step(operation, a, b, out, n):  # type: ignore[no-untyped-def]  # noqa: C901
    """Write one operation on rows, NaN where it is not finite; one plain loop each vectorises."""
    if operation == _ADD:
        for p in range(n):
            out[p] = _finite(a[p] + b[p])
    elif operation == _SUBTRACT:
        for p in range(n):
            out[p] = _finite(a[p] - b[p])
    elif operation == _MULTIPLY:
        for p in range(n):
            out[p] = _finite(a[p] * b[p])
    elif operation == _DIVIDE:
        for p in range(n):
            out[p] = _finite(a[p] / b[p])
    elif operation == _POWER:
        for p in range(n):
            out[p] = _finite(a[p] ** b[p])
    elif operation == _MIN:
        for p in range(n):
            out[p] = a[p] if a[p] < b[p] or a[p] != a[p] else b[p]
    elif operation == _MAX:
        for p in range(n):
            out[p] = a[p] if a[p] > b[p] or a[p] != a[p] else b[p]
    elif operation == _NEGATE:
        for p in range(n):
            out[p] = -a[p]
    elif operation == _LOG:
        for p in range(n):
            out[p] = _finite(np.log(a[p]))
    elif operation == _SQRT:
        for p in range(n):
            out[p] = np.sqrt(a[p])
    elif operation == _EXP:
        for p in range(n):
            out[p] = _finite(np.exp(a[p]))
    else:
        for p in range(n):
            out[p] = abs(a[p])
