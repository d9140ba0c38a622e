"""A run record -> a page that a person reads: one HTML file that needs nothing else.

The page holds its pictures and its style; it runs no script and asks no address for anything. What
the numbers mean, and what they do not, is said beside them.
"""

from base64 import b64encode
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from pipeline import files

REPORT = "report.html"

_TEMPLATE = "report.html.j2"
_RANGE = (5, 50, 95)  # percentiles over layouts: low, median, high
_CHART = 420  # units of the chart's inner width
_METRICS = (("auc", "ROC-AUC"), ("ap", "average precision"))


class Span(NamedTuple):
    """How a score is spread over layouts."""

    low: float
    median: float
    high: float
    values: list[float]


class Row(NamedTuple):
    """One contender: the model, a baseline or the control."""

    name: str
    role: str
    auc: Span
    ap: Span
    paired: Mapping[str, Mapping[str, float]] | None
    """The model less this one."""


def write_report(
    run: Mapping[str, Any], folder: Path, scores: Mapping[str, Any] | None = None
) -> Path:
    """Write the report of a run as `report.html` in its folder, and return its path.

    Parameters
    ----------
    run : the run record.
    folder : the run folder; the record names its pictures relative to it.
    scores : what a comparison with reference maps found, if there was one.

    Raises
    ------
    OutputError : the report cannot be written.
    """
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"number": _number, "signed": _signed, "plain": _plain}
    page = environment.get_template(_TEMPLATE).render(
        run=run,
        maps={name: _maps(products, folder) for name, products in run["products"].items()},
        trial=_trial(run["validation"]) if "validation" in run else None,
        reference=_reference(scores),
        titles=run["regions"].get("titles", {}),
    )
    files.write_bytes(folder / REPORT, page.encode())
    return folder / REPORT


def _maps(products: Sequence[Mapping[str, Any]], folder: Path) -> dict[str, Any]:
    """Return the maps that are shown, with their pictures, and the evidence that is linked.

    Where nothing but evidence was mapped, the evidence is what is shown.
    """
    linked = [p for p in products if p["kind"] in ("evidence", "count")]
    shown = [p for p in products if p not in linked]
    if not any(p["kind"] == "class" for p in shown):
        shown, linked = [*products], []
    return {
        "shown": [{**p, "picture": _picture(folder / p["quicklook"])} for p in shown],
        "evidence": linked,
    }


def _picture(path: Path) -> str:
    return "data:image/png;base64," + b64encode(path.read_bytes()).decode()


def _reference(scores: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if scores is None:
        return None
    validation = scores.get("validation")
    return {
        "regions": scores.get("regions", {}),
        "trial": _trial(validation) if validation is not None else None,
    }


def _trial(validation: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the page says of one cross-validation: its rows, its chart, its random gap."""
    rows = _rows(validation)
    model = rows[0]
    spatial = {m: float(np.mean(getattr(model, m).values)) for m, _ in _METRICS}
    return {
        "about": validation,
        "rows": rows,
        "charts": [_chart(rows, metric, title) for metric, title in _METRICS],
        "gap": {m: validation["random"][m] - spatial[m] for m in spatial},
        "spatial": spatial,
    }


def _rows(validation: Mapping[str, Any]) -> list[Row]:
    """Return the contenders: the model first, its baselines as named, then the control."""
    paired = validation["paired"]
    model = validation.get("model") or next(n for n in validation["models"] if n not in paired)

    def role(name: str) -> str:
        return "model" if name == model else "baseline" if name in paired else "control"

    rows = [
        Row(name, role(name), _span(scores["auc"]), _span(scores["ap"]), paired.get(name))
        for name, scores in validation["models"].items()
    ]
    return sorted(rows, key=lambda row: ("model", "baseline", "control").index(row.role))


def _span(values: Sequence[float]) -> Span:
    low, median, high = np.percentile(values, _RANGE)
    return Span(float(low), float(median), float(high), list(values))


def _chart(rows: Sequence[Row], metric: str, title: str) -> dict[str, Any]:
    """Return a dot chart's numbers: one line per contender, one dot per layout."""
    spans = [getattr(row, metric) for row in rows]
    every = [value for span in spans for value in span.values]
    chance = 0.5 if metric == "auc" else None
    reach = [*every, *([chance] if chance is not None else [])]
    low = np.floor(min(reach) * 10 - 1e-9) / 10
    high = min(1.0, np.ceil(max(reach) * 10 + 1e-9) / 10)
    width = max(high - low, 0.1)

    def x(value: float) -> float:
        return round(float((value - low) / width) * _CHART, 1)

    ticks = [round(low + step * 0.1, 1) for step in range(round(width * 10) + 1)]
    return {
        "title": title,
        "width": _CHART,
        "ticks": [(x(tick), f"{tick:.1f}") for tick in ticks],
        "chance": x(chance) if chance is not None else None,
        "lines": [
            {
                "name": row.name,
                "role": row.role,
                "dots": [x(value) for value in span.values],
                "low": x(span.low),
                "median": x(span.median),
                "high": x(span.high),
            }
            for row, span in zip(rows, spans, strict=True)
        ],
    }


def _number(value: float | None, digits: int = 3) -> str:
    return "not known" if value is None else f"{value:.{digits}f}"


def _signed(value: float | None, digits: int = 3) -> str:
    # A real minus sign: a hyphen is easily read over in a table.
    return "not known" if value is None else f"{value:+.{digits}f}".replace("-", "−")


def _plain(name: str) -> str:
    return name.replace("_", " ")
