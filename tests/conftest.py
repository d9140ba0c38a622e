"""What every test gets: no network beyond this machine, and a few small inputs."""

import json
import socket
import threading
from contextlib import contextmanager
from functools import partial
from http.server import (
    BaseHTTPRequestHandler,
    SimpleHTTPRequestHandler,
    ThreadingHTTPServer,
)
from urllib.parse import parse_qs, urlencode

import numpy as np
import pytest
import xarray as xr

from pipeline.contracts import as_samples
from pipeline.plan import Band, Sensor
from pipeline.remote import connection, look_again, patience

collect_ignore = ["qgis"]  # run by QGIS, with its own Python

LOOPBACK = {"127.0.0.1", "::1", "localhost"}


@pytest.fixture(autouse=True)
def only_this_machine(request, monkeypatch):
    """Refuse every connection that would leave the machine, but for tests of real catalogs."""
    if request.node.get_closest_marker("live"):
        return

    def guarded(connect):
        def call(self, address):
            if self.family != socket.AF_UNIX and address[0] not in LOOPBACK:
                raise AssertionError(f"a test tried to reach {address}")
            return connect(self, address)

        return call

    for name in ("connect", "connect_ex"):
        monkeypatch.setattr(socket.socket, name, guarded(getattr(socket.socket, name)))


@pytest.fixture(autouse=True)
def no_memory_of_other_servers(monkeypatch):
    """Forget what was learned of servers: a later one may get the same port."""
    monkeypatch.setattr(connection, "_THREAD", connection._Thread())
    look_again()
    monkeypatch.setattr(patience, "_BY_HOST", {})


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
    """Write a static catalog with a collection for each that items name; returns its root."""
    folder.mkdir(parents=True, exist_ok=True)
    names = sorted({item.get("collection") or "things" for item in items} | {"things"})
    files = {name: f"{name}.json" if name != "things" else "collection.json" for name in names}
    for name, file in files.items():
        held = [n for n, i in enumerate(items) if (i.get("collection") or "things") == name]
        (folder / file).write_text(json.dumps(collection_document(name, held)))
    for number, item in enumerate(items):
        (folder / f"{number}.json").write_text(json.dumps(item))
    root = {
        "type": "Catalog",
        "stac_version": "1.0.0",
        "id": "root",
        "description": "root",
        "links": [
            {"rel": "root", "href": "./catalog.json"},
            *({"rel": "child", "href": f"./{file}"} for file in files.values()),
        ],
    }
    (folder / "catalog.json").write_text(json.dumps(root))
    return folder / "catalog.json"


def collection_document(name, held=()):
    box, span = [-180, -90, 180, 90], ["2000-01-01T00:00:00Z", None]
    return {
        "type": "Collection",
        "stac_version": "1.0.0",
        "id": name,
        "description": "things",
        "license": "other",
        "extent": {"spatial": {"bbox": [box]}, "temporal": {"interval": [span]}},
        "links": [
            {"rel": "root", "href": "./catalog.json"},
            *({"rel": "item", "href": f"./{number}.json"} for number in held),
        ],
    }


class Api(BaseHTTPRequestHandler):
    """The least a STAC API can be: a root, a search that gives one item a page, a collection."""

    items = ()
    link = "{here}/search"
    methods = ("POST",)
    can_filter = False
    refuses = False
    asked = None

    def do_GET(self):
        place, _, query = self.path.partition("?")
        if place == "/collections":
            self.answer({"collections": [collection_document("things", [])], "links": []})
        elif place == "/collections/things":
            if self.refuses:
                self.send_error(403)
                return
            links = [{"rel": "items", "href": "/items"}, {"rel": "root", "href": self.here}]
            self.answer(collection_document("things", []) | {"links": links})
        elif place == "/search":
            self.search({k: v[0] for k, v in parse_qs(query).items()}, "GET")
        elif place in ("", "/"):
            self.answer(self.root())
        else:
            self.send_error(404)

    def root(self):
        search = {"rel": "search", "type": "application/geo+json"}
        links = [
            search | {"method": m, "href": self.link.format(here=self.here)} for m in self.methods
        ]
        conforms = ["core", "item-search", "collections"]
        conforms += ["item-search#filter"] if self.can_filter else []
        return {
            "type": "Catalog",
            "stac_version": "1.0.0",
            "id": "api",
            "description": "api",
            "conformsTo": [f"https://api.stacspec.org/v1.0.0/{c}" for c in conforms],
            "links": [
                {"rel": "self", "href": self.here},
                {"rel": "root", "href": self.here},
                {"rel": "data", "href": f"{self.here}/collections"},
                *links,
            ],
        }

    def do_POST(self):
        if self.path == "/broken":
            self.send_error(500)
            return
        if self.path == "/elsewhere":
            self.send_response(307)
            self.send_header("Location", "http://example.org/search")
            self.end_headers()
            return
        length = int(self.headers["Content-Length"])
        self.search(json.loads(self.rfile.read(length)), "POST")

    def search(self, asked, method):
        if self.refuses:
            self.send_error(403)
            return
        type(self).asked = type(self).asked or asked
        page, links = int(asked.get("page", 0)), []
        if page + 1 < len(self.items):
            following = asked | {"page": page + 1}
            href = f"{self.here}/search"
            if method == "GET":
                links = [{"rel": "next", "href": f"{href}?{urlencode(following)}"}]
            else:
                links = [{"rel": "next", "href": href, "method": "POST", "body": following}]
        features = list(self.items[page : page + 1])
        self.answer({"type": "FeatureCollection", "features": features, "links": links})

    @property
    def here(self):
        return f"http://{self.headers['Host']}"

    def answer(self, content):
        body = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_args):
        pass
