"""Connections: to which address, through what, how many at once."""

import json
import shutil
import socket
import ssl
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler

import pytest
import rasterio
from faults import faulty, only
from items import levels
from items import raster as save

from pipeline import remote
from pipeline.errors import ReadError
from pipeline.remote import Access, connection, fetch, patience


@pytest.fixture(autouse=True)
def hasty(monkeypatch):
    """Wait for no answer for long; gives the waits between tries, which take no time."""
    waits = []
    monkeypatch.setattr(fetch, "TIMEOUT", 0.5)
    monkeypatch.setattr(patience, "sleep", waits.append)
    for name in ("HTTPS_PROXY", "https_proxy", "NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    return waits


@pytest.fixture
def folder(tmp_path):
    """A folder of one document and one raster."""
    (tmp_path / "a.json").write_text('{"a": 1}')
    save(tmp_path / "a.tif", levels((300, 300), 1, 5000))
    return tmp_path


def test_a_name_that_leads_to_a_private_address_is_not_connected_to(monkeypatch):
    monkeypatch.setattr(socket, "create_connection", None)
    access = Access(hosts=("example.org",))
    for found in (["10.0.0.1"], ["93.184.216.34", "127.0.0.1"], []):
        monkeypatch.setattr(connection, "resolve", lambda _host, _port, f=found: f)
        with pytest.raises(ReadError, match=r"example.org leads to an address that is not public"):
            remote.read_text("https://example.org/a.json", access)


def test_the_address_that_was_judged_is_the_one_connected_to(monkeypatch):
    dialled = []

    def dial(place, _timeout):
        dialled.append(place)
        raise ConnectionRefusedError("nobody there")

    answers = iter([["93.184.216.34", "93.184.216.35"], ["127.0.0.1"]])  # a name that changes
    monkeypatch.setattr(connection, "resolve", lambda *_: next(answers))
    monkeypatch.setattr(socket, "create_connection", dial)
    with pytest.raises(ReadError, match="nobody there"):
        remote.read_text("https://example.org/a", Access(hosts=("example.org",), tries=1))
    assert dialled == [("93.184.216.34", 443), ("93.184.216.35", 443)]


def test_a_connection_is_kept_and_a_closed_one_is_no_fault(folder, monkeypatch):
    opened = []
    dial = connection._dial
    monkeypatch.setattr(connection, "_dial", lambda *given: opened.append(given) or dial(*given))
    with faulty(folder) as (address, script):
        for _ in range(5):
            remote.read_text(f"{address}/a.json", only(address))
        assert len(opened) == 1
        script.queue = [None] * 5 + ["timeout"]  # then the server hangs up on its own
        with pytest.raises(ReadError, match="no answer in time"):
            remote.read_text(f"{address}/a.json", only(address, tries=1))
        before = remote.traffic()
        remote.read_text(f"{address}/a.json", only(address, tries=1))
        after = remote.traffic()
        assert after.requests - before.requests == 1
        assert after.bytes - before.bytes == 8


def test_a_host_is_asked_four_things_at_once_at_most(serve):
    now, most, lock = [0], [0], threading.Lock()

    class Slow(BaseHTTPRequestHandler):
        def do_GET(self):
            with lock:
                now[0] += 1
                most[0] = max(most[0], now[0])
            time.sleep(0.03)
            with lock:
                now[0] -= 1
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_args):
            pass

    with serve(Slow) as address, ThreadPoolExecutor(12) as pool:
        list(pool.map(lambda _: remote.read_text(f"{address}/a", only(address)), range(24)))
    assert 2 <= most[0] <= 4


def test_traffic_counts_requests_retries_and_bytes(folder):
    before = remote.traffic()
    with faulty(folder, queue=["503", "429"]) as (address, _):
        remote.read_text(f"{address}/a.json", only(address))
    after = remote.traffic()
    assert after.requests - before.requests == 3
    assert after.retries - before.retries == 2
    assert after.bytes - before.bytes == 8


@pytest.fixture
def secure(folder, monkeypatch):
    """A TLS server that calls itself example.org, and a resolver that says so too."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl is not installed")
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    made = [openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-keyout"]
    made += [str(key), "-out", str(certificate), "-subj", "/CN=example.org"]
    made += ["-addext", "subjectAltName=DNS:example.org"]
    subprocess.run(made, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    trusting = ssl.create_default_context(cafile=certificate)
    monkeypatch.setattr(connection, "_tls", lambda: trusting)
    monkeypatch.setattr(connection, "may_connect", lambda *_: True)
    monkeypatch.setattr(connection, "resolve", lambda *_: ["127.0.0.1"])
    with faulty(folder, tls=context) as (address, script):
        port = int(address.rpartition(":")[2])
        connect = socket.create_connection
        monkeypatch.setattr(
            socket, "create_connection", lambda place, wait: connect((place[0], port), wait)
        )
        yield script


def test_the_certificate_must_be_of_the_name_that_was_asked_for(secure):
    access = Access(hosts=("example.org", "another.org"), tries=2)
    assert json.loads(remote.read_text("https://example.org/a.json", access)) == {"a": 1}
    assert secure.asked[-1].headers["Host"] == "example.org"
    with pytest.raises(ReadError, match=r"its certificate is not valid: Hostname mismatch.*\)"):
        remote.read_text("https://another.org/a.json", access)
    assert len(secure.asked) == 1


def test_what_a_file_says_of_itself_is_not_believed_at_its_first_coming(secure, folder):
    """A secure connection vouches for pixels, but a wrong word here would change them all."""
    path = folder / "b.tif"
    save(path, levels((300, 300), 1, 5000))
    with rasterio.open(path, "r+") as file:
        file.update_tags(note="x" * 200)  # GDAL now keeps the directory at the end of the file
    with rasterio.open(path) as file:
        expected = file.profile, file.tags()
    href, access = "https://example.org/b.tif", Access(hosts=("example.org",))
    for seed in range(8):
        secure.asked.clear()
        secure.seed, secure.queue = seed, [None, None, "flipped"]
        remote.look_again()
        with rasterio.Env(**remote.GDAL_SETTINGS), remote.open_raster(href, access) as file:
            assert (file.profile, file.tags()) == expected
        assert secure.faults == {"flipped": 1}
        assert int(secure.asked[2].headers["Range"][6:].partition("-")[0]) > 65_536


def test_a_proxy_of_the_environment_is_asked_to_connect(serve, monkeypatch):
    lines = []

    class Proxy(BaseHTTPRequestHandler):
        def do_CONNECT(self):
            lines.append((self.path, self.headers.get("Proxy-Authorization")))
            self.send_error(502)

        def log_message(self, *_args):
            pass

    access = Access(hosts=("example.org",), tries=1)
    with serve(Proxy) as address:
        monkeypatch.setenv("HTTPS_PROXY", f"http://me:secret@{address[7:]}")
        with pytest.raises(ReadError, match="Tunnel connection failed: 502") as caught:
            remote.read_text("https://example.org/a.json", access)
        assert lines == [("example.org:443", "Basic bWU6c2VjcmV0")]
        assert "secret" not in str(caught.value)
        with pytest.raises(ReadError, match="is refused"):
            remote.read_text("https://internal/a.json", access)
        assert len(lines) == 1
