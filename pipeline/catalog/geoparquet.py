"""A stac-geoparquet file as an index: light columns decide which rows become items."""

from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import shapely
from numpy.typing import NDArray
from shapely.geometry import mapping

from pipeline import remote
from pipeline.catalog.place import Place
from pipeline.catalog.query import Document, Offer, Offered, Query, base_of, few
from pipeline.errors import ReadError

_SUFFIXES = (".parquet", ".geoparquet")
_TIMES = ("datetime", "start_datetime")
_EDGES = ("xmin", "ymin", "xmax", "ymax")
_MEMBERS = (
    *("type", "stac_version", "stac_extensions", "id", "geometry"),
    *("bbox", "links", "assets", "collection"),
)


def is_geoparquet(href: str) -> bool:
    """Return whether an href names a stac-geoparquet file, by its suffix."""
    return href.split("?", 1)[0].lower().endswith(_SUFFIXES)


def search_geoparquet(place: Place, query: Query) -> Offered:
    """Return the items of a stac-geoparquet file that meet a query's box, time and collections.

    Source: the stac-geoparquet specification 1.0 and 1.1 (bbox as a struct, earlier as a list).

    Raises
    ------
    ReadError : the file does not exist or cannot be fetched.
    ValueError : it is not a stac-geoparquet file.
    """
    try:
        with _opened(place) as source, pq.ParquetFile(source) as file:
            if missing := {"id", "geometry", "assets"} - set(file.schema_arrow.names):
                raise ValueError(f"it has no column {', '.join(sorted(missing))}")
            kept, held = _rows(file, query)
            items = _items(_taken(file, kept))
    except pa.ArrowException as error:
        raise ValueError(f"it is not a readable Parquet file: {error}") from error
    offers = few(Offer(item, base_of(item, place.href)) for item in items)
    return Offered(offers, frozenset(held))


def _opened(place: Place) -> BinaryIO:
    if remote.is_address(place.href):
        return remote.open_bytes(place.href, place.documents)
    try:
        return Path(place.href).open("rb")
    except OSError as error:
        raise ReadError(
            f"cannot be read ({error.strerror})", where=place.shown, remedy="check the path"
        ) from error


def _rows(file: pq.ParquetFile, query: Query) -> tuple[NDArray[np.bool_], set[str]]:
    """Return which rows may answer the query, and the collections of the file."""
    names = set(file.schema_arrow.names)
    light = file.read(columns=[n for n in ("collection", "bbox", *_TIMES) if n in names])
    keep = np.ones(light.num_rows, bool)
    held: set[str] = set()
    if "collection" in names:
        column = light["collection"].combine_chunks()
        held = {name for name in column.unique().to_pylist() if name is not None}
        if query.collections:
            keep &= _true(pc.is_in(column, pa.array(query.collections, column.type)))
    if "bbox" in names:
        keep &= _near(light["bbox"].combine_chunks(), query)
    times = [light[n].combine_chunks() for n in _TIMES if n in names]
    if times and (query.start or query.end) and all(pa.types.is_timestamp(t.type) for t in times):
        keep &= _in_time(times, query)
    return keep, held


def _near(boxes: pa.Array, query: Query) -> NDArray[np.bool_]:
    """Return which boxes meet the region's; a box that is missing or odd is looked at later."""
    if pa.types.is_struct(boxes.type):
        edges = [boxes.field(edge) for edge in _EDGES]
    else:
        sizes = pc.list_value_length(boxes).fill_null(0).to_numpy(zero_copy_only=False)
        if not np.isin(sizes, (4,)).all():  # boxes with heights, or none: rare, so not worth more
            return np.ones(len(boxes), bool)
        edges = [pc.list_element(boxes, k) for k in range(4)]
    west, south, east, north = (
        pc.cast(edge, pa.float64()).to_numpy(zero_copy_only=False) for edge in edges
    )
    parts = [part.bounds for part in getattr(query.outline, "geoms", [query.outline])]
    with np.errstate(invalid="ignore"):
        odd = ~((west >= -180) & (west <= east) & (east <= 180))  # also true where NaN
        meets = np.zeros(len(boxes), bool)
        for left, bottom, right, top in parts:
            meets |= (west <= right) & (east >= left) & (south <= top) & (north >= bottom)
    near: NDArray[np.bool_] = meets | odd
    return near


def _in_time(columns: list[pa.Array], query: Query) -> NDArray[np.bool_]:
    """Return which rows lie in the time wanted; a row that names no time is looked at later."""
    when = pc.coalesce(*(pc.cast(c, pa.timestamp("us", c.type.tz)) for c in columns))
    micros = pc.cast(when, pa.int64()).fill_null(0).to_numpy(zero_copy_only=False)
    keep = np.ones(len(micros), bool)
    if query.start:
        keep &= micros >= int(query.start.timestamp() * 1e6)
    if query.end:
        keep &= micros <= int(query.end.timestamp() * 1e6)
    return keep | ~_true(pc.is_valid(when))


def _true(found: pa.Array) -> NDArray[np.bool_]:
    kept: NDArray[np.bool_] = found.fill_null(False).to_numpy(zero_copy_only=False).astype(bool)
    return kept


def _taken(file: pq.ParquetFile, keep: NDArray[np.bool_]) -> pa.Table:
    """Return the kept rows, decoding only the row groups that hold any."""
    ends = np.cumsum([file.metadata.row_group(k).num_rows for k in range(file.num_row_groups)])
    parts, start = [], 0
    for group, end in enumerate(ends):
        rows = np.flatnonzero(keep[start:end])
        if rows.size:
            parts.append(file.read_row_group(group).take(pa.array(rows)))
        start = int(end)
    return pa.concat_tables(parts) if parts else file.schema_arrow.empty_table()


def _items(table: pa.Table) -> list[Document]:
    """Return rows as STAC items: what is not a member of an item is one of its properties."""
    items = []
    for row in table.to_pylist():
        item = _plain({name: value for name, value in row.items() if name in _MEMBERS})
        if isinstance(item.get("bbox"), dict):
            item["bbox"] = [item["bbox"][edge] for edge in _EDGES]
        if row.get("geometry") is not None:
            item["geometry"] = mapping(shapely.from_wkb(row["geometry"]))
        fields = {name: value for name, value in row.items() if name not in _MEMBERS}
        items.append(item | {"type": "Feature", "properties": _plain(fields)})
    return items


def _plain(value: Any) -> Any:
    """Return a value as JSON has it, without nulls: a table gives every item what others have."""
    if isinstance(value, dict):
        return {key: _plain(v) for key, v in value.items() if v is not None}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, datetime):
        return value.isoformat()
    return value
