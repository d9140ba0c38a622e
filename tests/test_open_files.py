"""Files that stay open in a thread are let go of without a word."""

import gc
from contextvars import copy_context
from threading import Thread

import numpy as np
import rasterio
from faults import faulty

from pipeline.cube.source import Source, opened
from pipeline.remote import Access


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
