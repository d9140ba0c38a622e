"""What every test gets: no network beyond this machine, and a few small inputs."""

import json
import socket
import threading
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
import xarray as xr

from pipeline.contracts import as_samples
from pipeline.plan import Band, Sensor

collect_ignore = ["qgis"]  # run by QGIS, with its own Python

LOOPBACK = {"127.0.0.1", "::1", "localhost"}


@pytest.fixture(autouse=True)
def only_this_machine(monkeypatch):
    """Refuse every connection that would leave the machine."""

    def guarded(connect):
        def call(self, address):
            if self.family != socket.AF_UNIX and address[0] not in LOOPBACK:
                raise AssertionError(f"a test tried to reach {address}")
            return connect(self, address)

        return call

    for name in ("connect", "connect_ex"):
        monkeypatch.setattr(socket.socket, name, guarded(getattr(socket.socket, name)))


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_args):
        pass


@contextmanager
def served(handler):
    """Run a handler on a port of this machine; gives the address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def serve():
    """Serve with a handler of one's own."""
    return served


@pytest.fixture
def web(tmp_path):
    """Serve the test's own folder; gives the address."""
    with served(partial(_Quiet, directory=tmp_path)) as address:
        yield address


@pytest.fixture
def sensor():
    """Three broad bands: red, near infrared, short-wave infrared."""
    return three_bands()


def three_bands():
    bands = {"red": (660.0, 60.0), "nir": (865.0, 40.0), "swir": (1610.0, 140.0)}
    return Sensor(
        title="three bands",
        bands={n: Band(assets=(n,), wavelength=w, fwhm=f) for n, (w, f) in bands.items()},
        resolution=10.0,
        source="made for tests",
    )


@pytest.fixture
def samples_of():
    """Make Samples from columns."""
    return make_samples


def make_samples(values, labels, x, y, names=None, region="here"):
    values = np.asarray(values, np.float32)
    count = len(values)
    data = xr.Dataset(
        {
            "layers": (("sample", "layer"), values),
            "label": ("sample", np.asarray(labels, str)),
            "region": ("sample", np.full(count, region)),
            "x": ("sample", np.asarray(x, float)),
            "y": ("sample", np.asarray(y, float)),
        },
        {"layer": list(names or [f"layer{k}" for k in range(values.shape[1])])},
        {"without_evidence": 0},
    )
    return as_samples(data)


BOX = (-117.3, 37.4, -117.1, 37.6)  # west, south, east, north


def stac_item(name, when="2024-06-01T18:00:00Z", bbox=BOX, cloud=1.0, href="./red.tif", **extra):
    """Return one STAC item as a dictionary."""
    west, south, east, north = bbox
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "stac_extensions": [],
        "id": name,
        "collection": "things",
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "bbox": list(bbox),
        "properties": {"datetime": when, "eo:cloud_cover": cloud},
        "assets": {"red": {"href": href, "type": "image/tiff"}},
        "links": [],
    } | extra


def write_catalog(folder, items):
    """Write a static catalog with one collection; returns the path of its root."""
    folder.mkdir(parents=True, exist_ok=True)
    box, span = [-180, -90, 180, 90], ["2000-01-01T00:00:00Z", None]
    collection = {
        "type": "Collection",
        "stac_version": "1.0.0",
        "id": "things",
        "description": "things",
        "license": "other",
        "extent": {"spatial": {"bbox": [box]}, "temporal": {"interval": [span]}},
        "links": [
            {"rel": "root", "href": "./catalog.json"},
            *({"rel": "item", "href": f"./{number}.json"} for number in range(len(items))),
        ],
    }
    root = {
        "type": "Catalog",
        "stac_version": "1.0.0",
        "id": "root",
        "description": "root",
        "links": [
            {"rel": "root", "href": "./catalog.json"},
            {"rel": "child", "href": "./collection.json"},
        ],
    }
    for number, item in enumerate(items):
        (folder / f"{number}.json").write_text(json.dumps(item))
    (folder / "collection.json").write_text(json.dumps(collection))
    (folder / "catalog.json").write_text(json.dumps(root))
    return folder / "catalog.json"
