"""Files that stay open in a thread: let go of without a word, and when they have changed."""

import gc
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from threading import Thread

import numpy as np
import pytest
import rasterio
from faults import faulty, only
from items import levels, raster
from rasterio.windows import Window

from pipeline.cube.source import Source, opened, read_pixels
from pipeline.errors import ReadError
from pipeline.remote import Access, look_again


def test_a_file_behind_an_address_closes_quietly_when_its_thread_ends(tmp_path, capfd):
    """A task runs in a context of its own, which is over when the thread is."""
    place = {"crs": "EPSG:32611", "transform": rasterio.Affine(10, 0, 5e5, 0, -10, 4e6)}
    shape = {"driver": "GTiff", "width": 64, "height": 64, "count": 1, "dtype": "uint8"}
    with rasterio.open(tmp_path / "a.tif", "w", **shape, **place) as file:
        file.write(np.ones((64, 64), np.uint8), 1)
    found = []
    with faulty(tmp_path) as (address, _):
        access = Access(hosts=(address.removeprefix("http://"),))
        source = Source("a", f"{address}/a.tif", access=access)

        def work():
            copy_context().run(lambda: found.append(opened(source).dataset.read(1).sum()))

        thread = Thread(target=work)
        thread.start()
        thread.join()
        gc.collect()
    assert found == [64 * 64]
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("parts", [True, False])
def test_a_thread_reads_a_file_anew_that_changed_on_its_host(tmp_path, parts):
    first, second = (levels((200, 200), 1, 5000, seed) for seed in (1, 2))
    path = tmp_path / "a.tif"
    raster(path, first, compress=None)
    with faulty(tmp_path, parts=parts) as (address, script):
        source = Source("a", f"{address}/a.tif", access=only(address))
        out = np.empty((200, 200), np.uint16)
        read_pixels(source, Window(0, 0, 200, 200), out)
        assert (out == first).all()
        file, asked = opened(source), len(script.asked)
        read_pixels(source, Window(0, 0, 200, 200), out)
        assert opened(source) is file  # a file that stays the same stays open
        assert len(script.asked) == asked
        raster(path, second, compress=None)
        look_again()
        read_pixels(source, Window(0, 0, 200, 200), out)
        assert (out == second).all()


def test_a_thread_reopens_what_another_found_changed(tmp_path):
    path = tmp_path / "a.tif"
    raster(path, levels((64, 64), 1, 5000, 1), compress=None)
    with faulty(tmp_path) as (address, _), ThreadPoolExecutor(1) as another:
        source = Source("a", f"{address}/a.tif", access=only(address))
        kept = another.submit(opened, source).result()
        raster(path, levels((64, 64), 1, 5000, 2), compress=None)
        look_again()
        fresh = opened(source)
        assert another.submit(opened, source).result() not in (kept, fresh)


def test_a_thread_reopens_what_another_found_changed_under_way(tmp_path):
    path = tmp_path / "a.tif"
    raster(path, levels((200, 200), 1, 5000, 1), compress=None)
    with faulty(tmp_path) as (address, _), ThreadPoolExecutor(1) as another:
        source = Source("a", f"{address}/a.tif", access=only(address, tries=1))
        kept = another.submit(opened, source).result()
        opened(source)
        raster(path, levels((200, 200), 1, 5000, 2), compress=None)
        with pytest.raises(ReadError, match="it changed while it was read"):
            read_pixels(source, Window(0, 0, 200, 200), np.empty((200, 200), np.uint16))
        opened(source)
        assert another.submit(opened, source).result() is not kept
