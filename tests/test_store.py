"""The store of blocks: done means that it reads back."""

import numpy as np
import pytest
import xarray as xr

from pipeline import store
from pipeline.errors import OutputError
from pipeline.grid import Block, blocks

SHAPE, SIDE = (20, 30), 16
FILLS = {"score": ("uint16", 65535), "clay": ("float32", np.nan), "class": ("uint8", 0)}
BLOCKS = list(blocks(SHAPE, SIDE))


def maps_of(block, seed=0):
    rng = np.random.default_rng([seed, block.y0, block.x0])
    clay = rng.normal(size=block.shape).astype(np.float32)
    clay[0, 0] = np.nan
    return {
        "score": rng.integers(0, 10000, block.shape).astype(np.uint16),
        "clay": clay,
        "class": rng.integers(1, 4, block.shape).astype(np.uint8),
    }


@pytest.fixture
def path(tmp_path):
    made = tmp_path / "maps.zarr"
    store.create(made, "key", SHAPE, SIDE, FILLS)
    return made


def test_a_new_store_holds_nothing(path):
    assert not any(store.is_done(path, block) for block in BLOCKS)
    assert (store.read(path, "score")[:] == 65535).all()
    assert np.isnan(store.read(path, "clay")[:]).all()
    assert (store.read(path, "class")[:] == 0).all()


def test_a_block_that_was_written_is_done_and_reads_back(path):
    store.write(path, BLOCKS[1], maps_of(BLOCKS[1]))
    assert [store.is_done(path, block) for block in BLOCKS] == [False, True, False, False]
    for name, values in maps_of(BLOCKS[1]).items():
        found = store.read(path, name)[BLOCKS[1].slices]
        assert found.dtype == values.dtype
        np.testing.assert_array_equal(found, values)
        rest = store.read(path, name)[:]
        rest[BLOCKS[1].slices] = FILLS[name][1]
        np.testing.assert_array_equal(rest, np.full(SHAPE, FILLS[name][1], rest.dtype))


def test_blocks_lie_in_chunks_of_their_own(path):
    for block in BLOCKS:
        store.write(path, block, maps_of(block))
    chunks = [p for p in (path / "maps" / "clay" / "c").rglob("*") if p.is_file()]
    assert len(chunks) == len(BLOCKS)


def test_a_store_is_plain_zarr_and_keeps_what_was_noted_of_a_block(path):
    for block in BLOCKS:
        store.write(path, block, maps_of(block), [block.name])
    opened = xr.open_zarr(path / "maps", consolidated=False)
    assert opened["clay"].dims == ("y", "x")
    assert opened["clay"].shape == SHAPE
    np.testing.assert_array_equal(
        opened["score"][BLOCKS[3].slices].values, maps_of(BLOCKS[3])["score"]
    )
    assert store.notes(path, BLOCKS[3]) == [BLOCKS[3].name]


@pytest.mark.parametrize("name", ["score", "clay", "class"])
def test_a_flipped_byte_undoes_its_block_and_no_other(path, name):
    for block in BLOCKS:
        store.write(path, block, maps_of(block))
    chunk = path / "maps" / name / "c" / "0" / "1"
    content = bytearray(chunk.read_bytes())
    content[5] ^= 1
    chunk.write_bytes(content)
    assert [store.is_done(path, block) for block in BLOCKS] == [True, False, True, True]
    store.write(path, BLOCKS[1], maps_of(BLOCKS[1]))
    assert all(store.is_done(path, block) for block in BLOCKS)


def test_a_chunk_that_is_gone_or_short_undoes_its_block(path):
    for block in BLOCKS:
        store.write(path, block, maps_of(block))
    (path / "maps" / "class" / "c" / "0" / "0").unlink()
    short = path / "maps" / "clay" / "c" / "1" / "0"
    short.write_bytes(short.read_bytes()[:100])
    assert [store.is_done(path, block) for block in BLOCKS] == [False, True, False, True]


@pytest.mark.parametrize("content", ["", "{", "[]", '{"gone": "0"}', '{"score": 5}'])
def test_a_stamp_that_says_nothing_true_is_not_believed(path, content):
    store.write(path, BLOCKS[0], maps_of(BLOCKS[0]))
    (path / "done" / f"{BLOCKS[0].name}.json").write_text(content)
    assert not store.is_done(path, BLOCKS[0])


def test_a_block_without_its_stamp_is_not_done(path):
    store.write(path, BLOCKS[0], maps_of(BLOCKS[0]))
    (path / "done" / f"{BLOCKS[0].name}.json").unlink()
    assert not store.is_done(path, BLOCKS[0])


def test_the_same_key_goes_on_and_another_starts_anew(path):
    store.write(path, BLOCKS[0], maps_of(BLOCKS[0]))
    store.create(path, "key", SHAPE, SIDE, FILLS)
    assert store.is_done(path, BLOCKS[0])
    store.create(path, "other", SHAPE, SIDE, FILLS)
    assert not store.is_done(path, BLOCKS[0])
    assert (store.read(path, "score")[:] == 65535).all()


def test_a_store_whose_making_was_cut_short_is_made_again(path):
    store.write(path, BLOCKS[0], maps_of(BLOCKS[0]))
    for content in (None, b"", b'"ke'):
        stamp = path / "key.json"
        stamp.unlink() if content is None else stamp.write_bytes(content)
        store.create(path, "key", SHAPE, SIDE, FILLS)
        assert not store.is_done(path, BLOCKS[0])


def test_the_bytes_of_a_store_do_not_depend_on_the_order_of_writing(tmp_path):
    written = []
    for number, order in enumerate((BLOCKS, BLOCKS[::-1])):
        made = tmp_path / f"{number}.zarr"
        store.create(made, "key", SHAPE, SIDE, FILLS)
        for block in order:
            store.write(made, block, maps_of(block))
        files = sorted(p for p in made.rglob("*") if p.is_file())
        written.append({str(p.relative_to(made)): p.read_bytes() for p in files})
    assert written[0] == written[1]


def test_a_store_that_cannot_be_made_is_told(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(OutputError):
        store.create(tmp_path / "file" / "maps.zarr", "key", SHAPE, SIDE, FILLS)


def test_a_store_that_is_gone_cannot_be_written(tmp_path):
    with pytest.raises(OutputError):
        store.write(tmp_path / "none.zarr", Block(0, 16, 0, 16), maps_of(Block(0, 16, 0, 16)))
