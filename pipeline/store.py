"""The results of blocks: one Zarr chunk a block and map, each with its digest beside it.

The store lies where every worker sees it, so nothing is gathered; a chunk counts as done only when
it reads back to the digest recorded for it, so a run that was killed goes on where it was.
"""

import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from pipeline import files
from pipeline.files import Json
from pipeline.grid import Block

Fill = Mapping[str, tuple[str, float | int]]
"""For each map of a store, its dtype and its value where nothing was written."""


def create(path: Path, key: str, shape: tuple[int, int], block: int, maps: Fill) -> None:
    """Make a store for a region, or keep the one there is if it was made for the same key.

    Parameters
    ----------
    key : digest of everything the results depend on.
    shape : rows and columns of the region's grid.
    block : side of a block, pixels.
    """
    stamp = path / "key.json"
    if stamp.is_file() and stamp.read_bytes() == files.to_json(key).encode():
        return
    with files.writing(path):
        shutil.rmtree(path, ignore_errors=True)
        group = zarr.open_group(_maps(path), mode="w")
        for name, (dtype, fill) in maps.items():
            group.create_array(
                name,
                shape=shape,
                chunks=(block, block),
                dtype=dtype,
                fill_value=fill,
                compressors=None,
                dimension_names=("y", "x"),
            )
    files.write_json(stamp, key)


def write(
    path: Path, block: Block, maps: Mapping[str, NDArray[Any]], notes: Sequence[Json] = ()
) -> None:
    """Write the maps of one block, then what there is to note, then the digests of the maps."""
    with files.writing(path):
        for name, values in maps.items():
            _write_chunk(_maps(path) / name, block, values)
    files.write_json(_notes(path, block), [*notes])
    files.write_json(_stamp(path, block), {name: _digest(maps[name]) for name in sorted(maps)})


def is_done(path: Path, block: Block) -> bool:
    """Return whether a block's maps are all there and read back to their digests."""
    stamp = _stamp(path, block)
    if not stamp.is_file():
        return False
    try:
        recorded: dict[str, str] = json.loads(stamp.read_text())
        return all(_digest(read(path, n)[block.slices]) == d for n, d in recorded.items())
    except (ValueError, KeyError, AttributeError, OSError):  # a stamp or a chunk that was damaged
        return False


def notes(path: Path, block: Block) -> Any:
    """Return what was noted of a block that is done."""
    return json.loads(_notes(path, block).read_bytes())


def read(path: Path, name: str) -> Any:
    """Return one map (y, x) of a store, sliced lazily."""
    return zarr.open_group(_maps(path), mode="r")[name]


def _write_chunk(array: Path, block: Block, values: NDArray[Any]) -> None:
    """Write one chunk as Zarr lays it out: Zarr itself would take ten times as long over it."""
    layout = json.loads((array / "zarr.json").read_bytes())
    side = layout["chunk_grid"]["configuration"]["chunk_shape"][0]
    whole = values.astype(np.dtype(layout["data_type"]).newbyteorder("<"), copy=False)
    if whole.shape != (side, side):  # at the region's edge; what lies past it is never read
        whole = np.pad(whole, [(0, side - size) for size in whole.shape])
    chunk = array / "c" / str(block.y0 // side) / str(block.x0 // side)
    chunk.parent.mkdir(parents=True, exist_ok=True)
    chunk.write_bytes(np.ascontiguousarray(whole).data)


def _maps(path: Path) -> Path:
    """Return the Zarr group, which holds nothing but Zarr, so that any reader opens it."""
    return path / "maps"


def _stamp(path: Path, block: Block) -> Path:
    return path / "done" / f"{block.name}.json"


def _notes(path: Path, block: Block) -> Path:
    return path / "notes" / f"{block.name}.json"


def _digest(values: NDArray[Any]) -> str:
    return hashlib.sha256(np.ascontiguousarray(values).data).hexdigest()
