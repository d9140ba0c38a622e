"""What an item says of itself, in one set of words for all catalogs."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pipeline.catalog.query import moment

_TILE = re.compile(r"[._]T(\d{2}[A-Z]{3})[._]")
_BASELINE = re.compile(r"_N(\d{2})(\d{2})_")
_MADE = ("s2:generation_time", "created", "updated")


@dataclass(frozen=True)
class Facts:
    """What decides whether an item is taken."""

    when: datetime | None
    """UTC; the start, for an item over a span of time."""
    platform: str
    """In small letters with hyphens; empty: not told."""
    instruments: str
    cloud: float | None
    """Percent."""
    sun: float | None
    """Elevation, degrees."""
    cell: str | None
    """The cell of its grid (MGRS tile, path and row)."""
    take: str | None
    """The data take it was cut from."""
    baseline: float
    """Of the processing; -1: not told."""
    made: datetime | None
    """When it was processed, or last changed."""


def facts_of(content: Mapping[str, Any]) -> Facts:
    """Return what an item says of itself.

    Raises
    ------
    ValueError, TypeError : a number or a time is none.
    """
    fields = content["properties"]
    when = fields.get("datetime") or fields.get("start_datetime")
    made = [moment(str(fields[key])) for key in _MADE if fields.get(key)]
    return Facts(
        when=moment(str(when)) if when else None,
        platform=_word(fields.get("platform") or fields.get("eo:platform")),
        instruments=",".join(sorted(_word(i) for i in fields.get("instruments") or [])),
        cloud=_number(fields, "eo:cloud_cover"),
        sun=_sun(fields),
        cell=_cell(content["id"], fields),
        take=str(fields.get("s2:datatake_id") or "").rpartition("_N")[0] or None,
        baseline=_baseline(fields),
        made=max(made, default=None),
    )


def _word(value: Any) -> str:
    return str(value or "").strip().lower().replace("_", "-").replace(" ", "-")


def _number(fields: Mapping[str, Any], key: str) -> float | None:
    value = fields.get(key)
    return None if value is None else float(value)


def _sun(fields: Mapping[str, Any]) -> float | None:
    for key in ("view:sun_elevation", "eo:sun_elevation"):
        if (found := _number(fields, key)) is not None:
            return found
    zenith = _number(fields, "s2:mean_solar_zenith")
    return None if zenith is None else 90.0 - zenith


def _cell(name: str, fields: Mapping[str, Any]) -> str | None:
    if code := fields.get("grid:code"):
        kind, _, place = str(code).partition("-")
        return f"{kind}-{place.lstrip('0')}"
    if tile := fields.get("s2:mgrs_tile"):
        return f"MGRS-{str(tile).removeprefix('T').lstrip('0')}"
    for prefix in ("mgrs", "sentinel"):
        parts = [fields.get(f"{prefix}:{k}") for k in ("utm_zone", "latitude_band", "grid_square")]
        if all(parts):
            return "MGRS-" + "".join(str(part) for part in parts).lstrip("0")
    path, row = fields.get("landsat:wrs_path"), fields.get("landsat:wrs_row")
    if path is not None and row is not None:
        return f"WRS{fields.get('landsat:wrs_type', 2)}-{int(path):03d}{int(row):03d}"
    tile = _TILE.search(name)
    return f"MGRS-{tile[1].lstrip('0')}" if tile else None


def _baseline(fields: Mapping[str, Any]) -> float:
    for key in ("s2:processing_baseline", "processing:version"):
        text = str(fields.get(key) or "").lstrip("vVN")
        if re.fullmatch(r"\d+(\.\d+)?", text):
            return float(text)
    for key in ("s2:product_uri", "sentinel:product_id"):
        if found := _BASELINE.search(str(fields.get(key) or "")):
            return float(f"{found[1]}.{found[2]}")
    return -1.0
