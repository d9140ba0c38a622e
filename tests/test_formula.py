"""Formulas: what is allowed, which band an operand falls on, and the numbers."""

import ast
import operator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pipeline.errors import FormulaError
from pipeline.formula import evaluate, parse, resolve

SENTINEL2 = {
    "blue": (490.0, 98.0),
    "green": (560.0, 45.0),
    "red": (665.0, 38.0),
    "rededge2": (740.0, 18.0),
    "nir": (842.0, 145.0),
    "nir08": (865.0, 33.0),
    "swir16": (1610.0, 143.0),
    "swir22": (2190.0, 242.0),
}
ASTER = {"a4": (1650.0, 100.0), "a5": (2165.0, 40.0), "a6": (2205.0, 40.0), "a7": (2260.0, 50.0)}
OPERANDS = ("r490", "r665", "r1610")

BINARY = {ast.Add: np.add, ast.Sub: np.subtract, ast.Mult: np.multiply, ast.Pow: np.power}
CALLS = {"log": np.log, "sqrt": np.sqrt, "exp": np.exp, "abs": np.abs}
FOLDS = {"min": np.minimum, "max": np.maximum}


def twin(text: str, values: dict[str, NDArray[np.float32]]) -> NDArray[np.float32]:
    """The same arithmetic in plain numpy, node by node, without the compiled steps."""

    def walk(node: ast.expr) -> NDArray[np.float32]:
        match node:
            case ast.Name(id=name):
                value = values[name]
            case ast.Constant(value=number):
                value = np.float32(number)
            case ast.UnaryOp(operand=inner):
                value = operator.neg(walk(inner))
            case ast.BinOp(left=left, op=ast.Div(), right=right):
                value = np.divide(walk(left), walk(right))
            case ast.BinOp(left=left, op=op, right=right):
                value = BINARY[type(op)](walk(left), walk(right))
            case ast.Call(func=ast.Name(id=name), args=[only]):
                value = CALLS[name](walk(only))
            case ast.Call(func=ast.Name(id=name), args=args):
                value = FOLDS[name].reduce(np.broadcast_arrays(*(walk(a) for a in args)))
        return np.where(np.isfinite(value), value, np.float32(np.nan)).astype(np.float32)

    with np.errstate(all="ignore"):
        return walk(ast.parse(text, mode="eval").body)


def ours(text: str, values: dict[str, NDArray[np.float32]]) -> NDArray[np.float32]:
    columns = {name: row for row, name in enumerate(values)}
    return evaluate([parse(text)], columns, np.stack(list(values.values())))[0]


def values(pixels: int = 3000, seed: int = 1) -> dict[str, NDArray[np.float32]]:
    numbers = np.random.default_rng(seed).normal(0.2, 0.15, (len(OPERANDS), pixels))
    numbers[:, ::17] = 0.0
    numbers[1, ::13] = np.nan
    return dict(zip(OPERANDS, numbers.astype(np.float32), strict=True))


def test_operands_are_named_once_and_by_wavelength() -> None:
    formula = parse("(r2165 + r560) / (2 * r2165)")
    assert formula.operands == ("r560", "r2165")
    assert formula == parse("(r2165 + r560) / (2 * r2165)")


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("__import__('os').system('true')", "__import__"),
        ("r490.real / r665", "r490.real"),
        ("r490[0]", "r490[0]"),
        ("[r490 for r490 in r665]", "[r490 for r490 in r665]"),
        ("(lambda: r490)()", "lambda"),
        ("r490 if r665 else 1", "if"),
        ("r490 < r665", "r490 < r665"),
        ("r490 and r665", "and"),
        ("r490 // r665", "r490 // r665"),
        ("r490 @ r665", "@"),
        ("~r490", "~"),
        ("+r490", "+r490"),
        ("'r490'", "'r490'"),
        ("f'{r490}'", "f'"),
        ("r490 * True", "True"),
        ("r490 * 2j", "2j"),
        ("r490 + nir", "nir"),
        ("r49", "r49"),
        ("log10(r490)", "log10"),
        ("log(r490, r665)", "log(r490, r665)"),
        ("max(r490)", "max(r490)"),
        ("min(*r490, r665)", "min"),
        ("sqrt(x=r490)", "sqrt"),
        ("log / r490 + log", "log"),
        ("(r490 := r665)", "r490"),
        ("r490 = r665", "= r665"),
        ("r490 +", "arithmetic"),
        ("", "arithmetic"),
        ("1 + 2", "names no band"),
        ("r490 * 1e99", "too large"),
        ("r490 " + "\0", "it"),
        ("(" * 240 + "r490" + ")" * 240, "arithmetic"),
    ],
)
def test_anything_but_arithmetic_is_refused_by_name(text: str, part: str) -> None:
    with pytest.raises(FormulaError) as caught:
        parse(text)
    assert part in caught.value.what
    assert f"formula '{text}'" in str(caught.value)


def test_a_formula_of_any_allowed_length_can_be_evaluated() -> None:
    assert ours("-" * 494 + "r490", {"r490": np.float32([0.5])}) == pytest.approx(0.5)
    with pytest.raises(FormulaError, match="longer than 500"):
        parse("-" * 5000 + "r490")


def test_an_unknown_function_gets_its_nearest_name() -> None:
    with pytest.raises(FormulaError, match="did you mean 'sqrt'"):
        parse("sqr(r490)")


def test_operands_fall_on_the_nearest_band_that_sees_them() -> None:
    assert resolve(parse("r660 / r480"), SENTINEL2) == {"r480": "blue", "r660": "red"}
    assert resolve(parse("r1630 / r2205"), SENTINEL2) == {"r1630": "swir16", "r2205": "swir22"}
    # 865 nm lies in both; the narrow band is nearer, and at 900 nm only the wide one still sees.
    assert resolve(parse("r865"), SENTINEL2) == {"r865": "nir08"}
    assert resolve(parse("r900"), SENTINEL2) == {"r900": "nir"}
    # Nine nanometres off the centre of a band 18 nm wide is the edge; the narrowest reach is 15.
    assert resolve(parse("r755"), SENTINEL2) == {"r755": "rededge2"}


def test_a_wavelength_that_no_band_sees_is_refused() -> None:
    with pytest.raises(FormulaError, match=r"no band at 756 nm \(the nearest is 'rededge2'"):
        resolve(parse("r756 / r665"), SENTINEL2)
    with pytest.raises(FormulaError, match="no band at 2335 nm"):
        resolve(parse("(r2260 + r2400) / (2 * r2335)"), SENTINEL2)


def test_two_operands_on_one_band_are_refused() -> None:
    text = "(r2165 + r2260) / (2 * r2205)"
    with pytest.raises(FormulaError, match="r2165 and r2205 both fall on the band 'swir22'"):
        resolve(parse(text), SENTINEL2)
    assert resolve(parse(text), ASTER) == {"r2165": "a5", "r2205": "a6", "r2260": "a7"}


def test_a_worked_value() -> None:
    pixel = {"r1610": np.float32([0.30]), "r2200": np.float32([0.24])}
    assert ours("r1610 / r2200", pixel) == pytest.approx(1.25)
    assert ours("log(r1610 / r2200)", pixel) == pytest.approx(0.2231436, abs=1e-6)
    assert ours("-r1610 ** 2 + min(r1610, r2200, 0.1)", pixel) == pytest.approx(0.01)


@pytest.mark.parametrize(
    "text",
    [
        "r1610 / r490",
        "1 / (1 / r490)",
        "log(r1610 / r490)",
        "1 / log(r490)",
        "exp(r490 * 1000)",
        "1 / exp(r490 * 1000)",
        "r490 ** 0.5",
        "r490 ** -1",
        "r490 ** 2 + r665 ** 3",
        "sqrt(r490)",
        "max(r490, r665, 0.1) - min(r665, r490)",
        "abs(-r490 - 3)",
        "(r1610 - r665) / (r1610 + r665)",
    ],
)
def test_the_kernel_agrees_with_numpy(text: str) -> None:
    given_values = values()
    expected = twin(text, given_values)
    found = ours(text, given_values)
    np.testing.assert_array_equal(np.isnan(found), np.isnan(expected))
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert not np.isinf(found).any()


def test_many_formulas_give_what_each_gives_alone() -> None:
    texts = ["r1610 / r490", "r1610 / r490 - r665", "2 * (r1610 / r490)", "r665", "r490 + 2"]
    inputs = values(pixels=5000)
    bands = np.stack([inputs[name] for name in reversed(OPERANDS)])
    columns = {name: row for row, name in enumerate(reversed(OPERANDS))}
    together = evaluate([parse(t) for t in texts], columns, bands)
    assert together.shape == (5, 5000)
    assert together.dtype == np.float32
    for row, text in zip(together, texts, strict=True):
        np.testing.assert_array_equal(row, ours(text, inputs))


def test_what_is_too_dark_is_missing_in_every_formula_that_uses_it() -> None:
    bands = np.float32([[0.019, 0.021, np.nan], [0.5, 0.5, 0.5]])
    found = evaluate([parse("r490 / r665"), parse("r665")], {"r490": 0, "r665": 1}, bands, 0.02)
    np.testing.assert_allclose(found, [[np.nan, 0.042, np.nan], [0.5, 0.5, 0.5]], rtol=1e-6)


def test_no_pixels_give_no_values() -> None:
    assert evaluate([parse("r490")], {"r490": 0}, np.empty((1, 0), np.float32)).shape == (1, 0)


NUMBERS = st.floats(0.01, 4.0).map(lambda x: f"{x:.3f}")
EXPRESSIONS = st.recursive(
    st.sampled_from(OPERANDS) | NUMBERS,
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from("+-*/"), inner).map(lambda p: f"({p[0]} {p[1]} {p[2]})"),
        inner.map(lambda e: f"(-{e})"),
        st.tuples(st.sampled_from(["log", "sqrt", "abs"]), inner).map(lambda p: f"{p[0]}({p[1]})"),
        st.tuples(st.sampled_from(["min", "max"]), inner, inner).map(
            lambda p: f"{p[0]}({p[1]}, {p[2]})"
        ),
    ),
    max_leaves=12,
)


@settings(max_examples=60, deadline=None)
@given(EXPRESSIONS)
def test_any_expression_agrees_with_numpy(expression: str) -> None:
    text = f"{expression} + 0 * r490"
    inputs = values(pixels=60)
    found, expected = ours(text, inputs), twin(text, inputs)
    np.testing.assert_array_equal(np.isnan(found), np.isnan(expected))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)
