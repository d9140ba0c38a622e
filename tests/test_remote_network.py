"""A hostile network: every fault, what is asked again, who is told what is secret."""

import json
import shutil
import socket
import ssl
import subprocess
import threading
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler

import pytest
import rasterio
from faults import KINDS, faulty, http_date
from items import levels
from items import raster as save

from pipeline import remote
from pipeline.errors import ReadError
from pipeline.remote import Access, connection, fetch, patience, signing
from pipeline.remote.connection import Question
from pipeline.remote.sound import judge


@pytest.fixture(autouse=True)
def hasty(monkeypatch):
    """Wait for no answer for long; gives the waits between tries, which take no time."""
    waits = []
    monkeypatch.setattr(fetch, "TIMEOUT", 0.5)
    monkeypatch.setattr(patience, "sleep", waits.append)
    monkeypatch.setattr(connection, "_THREAD", connection._Thread())  # nothing of another test's
    return waits


def only(*addresses, **given):
    return Access(hosts=tuple(a.removeprefix("http://") for a in addresses), **given)


@pytest.fixture
def folder(tmp_path):
    """A folder of one document and one raster."""
    (tmp_path / "a.json").write_text('{"a": 1}')
    save(tmp_path / "a.tif", levels((300, 300), 1, 5000))
    return tmp_path


def pixels(href, access):
    with rasterio.Env(**remote.GDAL_SETTINGS), remote.open_raster(href, access) as opened:
        return opened.read(1).tobytes()


# Each fault


@pytest.fixture
def clean(folder):
    """How many requests a raster takes where nothing goes wrong, and its pixels."""
    with faulty(folder) as (address, script):
        return pixels(f"{address}/a.tif", only(address)), len(script.asked)


@pytest.mark.parametrize("kind", [*KINDS, "408", "500", "502", "504"])
def test_a_raster_is_the_same_after_any_fault_at_any_request(folder, kind, clean):
    expected, requests = clean
    assert requests == 4  # its beginning twice, and two parts more
    for place in range(requests):
        with faulty(folder, queue=[None] * place + [kind]) as (address, script):
            assert pixels(f"{address}/a.tif", only(address)) == expected
            assert script.faults == {kind: 1}
            again = {"flipped": (1, 2)}.get(kind, (1,))  # until it is sound, or the same twice
            assert len(script.asked) - requests in again


@pytest.mark.parametrize("kind", [k for k in KINDS if k not in ("flipped", "length")])
def test_a_document_is_asked_for_again(folder, kind):
    with faulty(folder, queue=[kind, kind]) as (address, script):
        assert json.loads(remote.read_text(f"{address}/a.json", only(address))) == {"a": 1}
        assert len(script.asked) == 3


def flip(file, place):
    content = bytearray(file.read_bytes())
    content[place] ^= 16
    file.write_bytes(content)


def silent_place(file):
    """Return a place whose flipped bit GDAL does not notice: it reads other pixels."""
    expected, content = pixels(str(file), remote.LOCAL), file.read_bytes()
    for place in range(70_000, len(content), 1013):
        flip(file, place)
        try:
            if pixels(str(file), remote.LOCAL) != expected:
                return place
        except rasterio.errors.RasterioIOError:
            pass
        finally:
            file.write_bytes(content)
    raise AssertionError("GDAL notices everything, and this test has become needless")


def test_pixels_that_are_damaged_at_their_host_are_an_error_and_never_pixels(folder):
    place = silent_place(folder / "a.tif")
    flip(folder / "a.tif", place)
    with faulty(folder) as (address, _), rasterio.Env(**remote.GDAL_SETTINGS):
        opened = remote.open_raster(f"{address}/a.tif", only(address))
        with opened, pytest.raises(rasterio.errors.RasterioIOError):
            opened.read(1)
        with pytest.raises(ReadError, match="damaged where its host keeps it"):
            remote.forget(f"{address}/a.tif")


@pytest.mark.parametrize("compress", ["deflate", "lzw", "none"])
def test_any_flipped_bit_on_the_way_is_noticed(folder, compress):
    save(folder / "b.tif", levels((200, 200), 1, 5000), compress=compress)
    expected = pixels(str(folder / "b.tif"), remote.LOCAL)
    with faulty(folder) as (address, script):
        assert pixels(f"{address}/b.tif", only(address)) == expected
        requests = len(script.asked)
    for seed in range(5):
        for place in range(requests):
            queue = [None] * place + ["flipped"]
            with faulty(folder, queue=queue, seed=seed) as (address, script):
                assert pixels(f"{address}/b.tif", only(address)) == expected
                assert 1 <= len(script.asked) - requests <= 2


def test_a_checksum_is_looked_at():
    packed = zlib.compress(b"abc" * 50_000, 0)
    assert judge(packed) == "sound"
    assert judge(packed[:70_000] + b"x" + packed[70_001:]) == "damaged"
    assert judge(packed[:-3]) == judge(packed[5:]) == judge(b"") == "unknown"


def test_what_kept_the_pixels_away_is_told_and_not_gdals_words(folder):
    href = "/a.tif"
    with faulty(folder) as (address, script):
        access = only(address, tries=3)
        with rasterio.Env(**remote.GDAL_SETTINGS), remote.open_raster(address + href, access) as it:
            script.permanent[href] = "503"
            with pytest.raises(rasterio.errors.RasterioIOError):
                it.read(1)
        with pytest.raises(ReadError, match=r"a.tif: cannot be read \(HTTP 503 after 3 tries\)"):
            remote.forget(address + href)
        remote.forget(address + href)  # told once


@pytest.mark.parametrize("status", ["400", "401", "403", "404", "410", "416", "501"])
def test_what_does_not_pass_is_believed_at_once(folder, status, hasty):
    with faulty(folder, permanent={"/a.tif": status}) as (address, script):
        with pytest.raises(ReadError, match=rf"a\.tif: cannot be read \(HTTP {status}\)"):
            remote.open_raster(f"{address}/a.tif", only(address))
        assert len(script.asked) == 1
    assert hasty == []


def test_a_search_that_is_forbidden_is_asked_again(folder):
    with faulty(folder, queue=["403", "403"]) as (address, script):
        found = remote.request_text(
            f"{address}/a.json", only(address), "POST", '{"limit": 1}', {"X-Own": "x"}
        )
        assert json.loads(found) == {"a": 1}
    assert [(r.method, r.body, r.headers["X-Own"]) for r in script.asked] == [
        ("POST", b'{"limit": 1}', "x")
    ] * 3


def test_a_file_that_is_never_the_same_is_refused(folder):
    with faulty(folder, share=1.0, kinds=("flipped",)) as (address, script):
        with pytest.raises(ReadError, match=r"a\.tif: is different at every reading"):
            remote.open_raster(f"{address}/a.tif", only(address, tries=4))
        assert len(script.asked) == 5


def test_a_file_that_changes_under_way_is_refused(folder):
    with faulty(folder) as (address, _):
        access = only(address, tries=2)
        with rasterio.Env(**remote.GDAL_SETTINGS):
            opened = remote.open_raster(f"{address}/a.tif", access)
            save(folder / "a.tif", levels((300, 300), 1, 5000, seed=2))
            with pytest.raises(rasterio.errors.RasterioIOError):
                opened.read(1)
            with pytest.raises(ReadError, match="it changed while it was read"):
                remote.forget(f"{address}/a.tif")
            opened.close()
        assert pixels(f"{address}/a.tif", access)  # and the new one is read as such


def test_a_host_that_knows_no_parts_is_read_if_the_file_is_small(folder, monkeypatch):
    expected = pixels(str(folder / "a.tif"), remote.LOCAL)
    with faulty(folder, parts=False) as (address, script):
        assert pixels(f"{address}/a.tif", only(address)) == expected
        assert len(script.asked) == 2
        monkeypatch.setattr("pipeline.remote.parts._WHOLE", 1000)
        with pytest.raises(ReadError, match=r"it is \d+ bytes long, and 65536 are allowed"):
            remote.open_raster(f"{address}/a.tif", only(address))
        assert len(script.asked) == 3


def test_a_document_that_is_too_long_is_given_up(folder, serve):
    class Endless(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b" " * 101)  # and no length

        def log_message(self, *_args):
            pass

    asked = []
    (folder / "long.json").write_text(" " * 101)
    with faulty(folder) as (address, script), serve(Endless) as endless:
        access = only(address, endless)
        with pytest.raises(ReadError, match="it is 101 bytes long, and 100 are allowed"):
            fetch.fetch(fetch.Wanted(f"{address}/long.json", access, most=100), len)
        with pytest.raises(ReadError, match="it is longer than 100 bytes"):
            fetch.fetch(fetch.Wanted(f"{endless}/long.json", access, most=100), len)
        assert len(script.asked) == len(asked) == 1


# Waiting


def test_the_wait_doubles_with_full_jitter(hasty, monkeypatch):
    drawn = []
    monkeypatch.setattr(
        patience._RANDOM, "uniform", lambda low, high: drawn.append((low, high)) or high
    )
    host = patience.Patience()
    for number in range(1, 9):
        assert host.wait(number, 0.5, 0.0, 1000.0)
    assert drawn == [(0.0, high) for high in (0.5, 1, 2, 4, 8, 16, 30, 30)]
    assert hasty == [high for _, high in drawn]


@pytest.mark.parametrize("asked", ["7", "date"])
def test_a_host_that_asks_for_time_is_given_it(folder, hasty, asked):
    after = http_date(7.9) if asked == "date" else asked
    with faulty(folder, queue=["429"], retry_after=after) as (address, _):
        remote.read_text(f"{address}/a.json", only(address))
    assert len(hasty) == 1
    assert 5 < hasty[0] <= 8


@pytest.mark.parametrize("after", ["soon", "-3", "", "Mon, 99 Foo 2020"])
def test_an_odd_wish_for_time_is_none(folder, hasty, after):
    with faulty(folder, queue=["503"], retry_after=after) as (address, _):
        remote.read_text(f"{address}/a.json", only(address, pause=0.001))
    assert hasty[0] <= 0.001


def test_patience_with_a_host_ends(folder, hasty):
    with faulty(folder, share=1.0, kinds=("503",), retry_after="4") as (address, script):
        access = only(address, patience=10.0)
        with pytest.raises(ReadError, match="after 3 tries, and the patience with 127"):
            remote.read_text(f"{address}/a.json", access)
        assert hasty == [4.0, 4.0]
        with pytest.raises(ReadError, match=r"HTTP 503, and the patience"):
            remote.read_text(f"{address}/a.json", access)  # nothing is asked again any more
        assert len(script.asked) == 4
    assert len(hasty) == 2


def test_a_longer_wait_than_patience_is_not_begun(folder, hasty):
    with faulty(folder, queue=["429"], retry_after="3600") as (address, script):
        with pytest.raises(ReadError, match="HTTP 429, and the patience"):
            remote.read_text(f"{address}/a.json", only(address))
        assert len(script.asked) == 1
    assert hasty == []


def test_answers_give_patience_back():
    host = patience.Patience()
    host.lose(10.0)
    assert host.timeout(30.0, 10.0) == 5.0
    host.repay()
    assert host.timeout(30.0, 10.0) == 30.0
    for _ in range(200):
        host.repay()
    assert host.lost == 0.0


def test_a_slow_trickle_is_given_up(serve):
    class Trickle(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            with suppress(OSError):
                for _ in range(40):
                    self.wfile.write(b" ")
                    time.sleep(0.02)

        def log_message(self, *_args):
            pass

    with serve(Trickle) as address:
        question = Question(f"{address}/a", timeout=0.2)
        with pytest.raises(TimeoutError, match="too slowly"):
            connection.ask(question)


# Redirects and secrets


@pytest.mark.parametrize("name", ["a.json", "a.tif"])
def test_a_redirect_is_followed_only_to_an_allowed_host(folder, name):
    read = remote.read_text if name == "a.json" else pixels
    with faulty(folder) as (inner, internal), faulty(folder) as (address, script):
        script.redirect[f"/{name}"] = f"{inner}/{name}"
        with pytest.raises(ReadError, match=rf"the address '{inner}/{name}' is refused"):
            read(f"{address}/{name}", only(address))
        assert internal.asked == []
        assert read(f"{address}/{name}", only(address, inner))
        assert internal.asked
        for away in ("http://169.254.169.254/latest", "file:///etc/passwd", "https://u@x/y"):
            script.redirect[f"/{name}"] = away
            with pytest.raises(ReadError, match="is refused"):
                read(f"{address}/{name}?new={away}", only(address, inner))


def test_redirects_end(folder):
    with faulty(folder) as (address, script):
        script.redirect["/a.json"] = "/a.json"
        with pytest.raises(ReadError, match="it redirects more than 5 times"):
            remote.read_text(f"{address}/a.json", only(address))
        assert len(script.asked) == 6


@pytest.mark.parametrize("scheme", ["bearer", "basic"])
def test_credentials_go_to_their_host_and_no_further(folder, scheme, monkeypatch):
    monkeypatch.setenv("OUR_USER", "ourselves")
    monkeypatch.setenv("OUR_SECRET", " hidden\n")
    names = ("OUR_SECRET",) if scheme == "bearer" else ("OUR_USER", "OUR_SECRET")
    sent = "Bearer hidden" if scheme == "bearer" else "Basic b3Vyc2VsdmVzOmhpZGRlbg=="
    with faulty(folder) as (other, elsewhere), faulty(folder) as (address, script):
        access = only(address, other, scheme=scheme, credentials=names, trusted=(address[7:],))
        remote.read_text(f"{address}/a.json", access)
        script.redirect["/a.tif"] = f"{other}/a.tif"
        pixels(f"{address}/a.tif", access)
        remote.read_text(f"{other}/a.json", access)
        assert {r.headers.get("Authorization") for r in script.asked} == {sent}
        assert {r.headers.get("Authorization") for r in elsewhere.asked} == {None}
        script.permanent["/a.json"] = "401"
        with pytest.raises(ReadError, match=r"HTTP 401.*check the credentials") as caught:
            remote.read_text(f"{address}/a.json", access)
    assert "hidden" not in f"{caught.value} {access!r} {script.asked[-1].query}"


@pytest.mark.parametrize("value", [None, "", " ", "two\nlines", "ünicode"])
def test_a_missing_credential_is_named_before_anything_connects(folder, value, monkeypatch):
    if value is not None:
        monkeypatch.setenv("OUR_SECRET", value)
    with faulty(folder) as (address, script):
        access = only(address, scheme="bearer", credentials=("OUR_SECRET",))
        for read in (remote.read_text, remote.open_raster, remote.stamp):
            with pytest.raises(ReadError, match="the environment variable OUR_SECRET") as caught:
                read(f"{address}/a.tif", access)
            assert "two" not in str(caught.value)
        assert script.asked == []


def test_nothing_of_the_environment_is_sent(folder, monkeypatch):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.setenv(name, "hidden")
    monkeypatch.setenv("GDAL_HTTP_HEADERS", "X-Secret: hidden")
    monkeypatch.setenv("GDAL_HTTP_USERPWD", "hidden:hidden")
    monkeypatch.setenv("GDAL_HTTP_COOKIE", "hidden")
    with faulty(folder) as (address, script):
        pixels(f"{address}/a.tif", only(address))
        remote.read_text(f"{address}/a.json", only(address))
    assert script.asked
    assert "hidden" not in str(script.asked)
    names = {name for request in script.asked for name in request.headers}
    assert names == {"Host", "User-Agent", "Accept-Encoding", "Range"}


# Signatures


class Signer:
    """Gives signatures that live for as long as it is told."""

    def __init__(self, serve, life):
        self.given, self.life, self.serve = [], life, serve

    def __enter__(self):
        signer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                signer.given.append(self.path)
                end = datetime.now(UTC) + timedelta(seconds=signer.life)
                told = {
                    "msft:expiry": end.isoformat().replace("+00:00", "Z"),
                    "token": f"sig=hidden{len(signer.given)}",
                }
                body = json.dumps(told).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_args):
                pass

        self.running = self.serve(Handler)
        self.address = self.running.__enter__() + "/token"
        return self

    def __exit__(self, *error):
        self.running.__exit__(*error)

    def access(self, address, **given):
        return only(address, scheme="planetary-computer", signing=self.address, **given)


@pytest.fixture
def container(folder):
    """A folder laid out as storage is: account and container first."""
    inside = folder / "account" / "container"
    inside.mkdir(parents=True)
    shutil.copy(folder / "a.tif", inside)
    return folder


HREF = "/account/container/a.tif"


def test_an_address_is_signed_when_it_is_read_and_once_for_all(container, serve):
    with Signer(serve, 3600) as signer, faulty(container, words="sig=hidden") as (address, script):
        access = signer.access(address)
        with ThreadPoolExecutor(4) as pool:
            assert len(set(pool.map(pixels, [address + HREF] * 8, [access] * 8))) == 1
        assert signer.given == ["/token/account/container"]
        assert {request.query for request in script.asked} == {"sig=hidden1"}


def test_a_signature_is_made_anew_before_its_end(container, serve, monkeypatch):
    with Signer(serve, 2000) as signer, faulty(container, words="sig=") as (address, _):
        access = signer.access(address)
        remote.stamp(address + HREF, access)
        (kept,) = [
            s for place, s in signing._SIGNATURES.items() if place.startswith(signer.address)
        ]
        left = (kept.until - datetime.now(UTC)).total_seconds()
        assert 1690 < left <= 1700  # five minutes before its end
        monkeypatch.setattr(signing, "_SIGNATURES", {})
        pixels(address + HREF, access)
        assert len(signer.given) == 2


def test_a_short_signature_that_ran_out_is_made_anew(container, serve):
    with Signer(serve, 0.2) as signer, faulty(container, words="sig=") as (address, _):
        access = signer.access(address)
        expected = pixels(address + HREF, access)
        threading.Event().wait(0.25)
        assert pixels(address + HREF, access) == expected
        assert len(signer.given) == 2


@pytest.mark.parametrize("status", ["401", "403", "404"])
def test_a_refused_signature_is_made_anew_once_and_then_believed(container, serve, status, hasty):
    with Signer(serve, 3600) as signer, faulty(container, queue=[status]) as (address, script):
        access = signer.access(address)
        assert pixels(address + HREF, access)
        assert len(signer.given) == 2
        script.permanent[HREF] = status
        before = len(script.asked)
        with pytest.raises(ReadError, match=rf"a\.tif: cannot be read \(HTTP {status}\)") as caught:
            remote.open_raster(address + HREF + "?x=1", access)
        assert len(script.asked) == before + 2
    assert hasty == []
    assert "hidden" not in str(caught.value)


def test_what_is_no_storage_is_not_signed(folder, serve):
    with Signer(serve, 3600) as signer, faulty(folder) as (address, _):
        remote.stamp(f"{address}/a.tif", signer.access(address))
        assert signer.given == []
        place = signing._signer(
            "https://store.blob.core.windows.net/box/a/b.tif", Access(signing="s")
        )
        assert place == "s/store/box"
        for href in (
            "https://x.org/account/container/a",
            "https://a.blob.core.windows.net/..%2f/a",
        ):
            assert signing._signer(href, Access(signing="s")) is None


def test_a_signer_that_gives_nonsense_is_named(container):
    (container / "token" / "account").mkdir(parents=True)
    (container / "token" / "account" / "container").write_text('{"token": 1}')
    with faulty(container) as (address, _):
        access = only(address, scheme="planetary-computer", signing=f"{address}/token")
        with pytest.raises(ReadError, match="/token/account/container: gives no signature"):
            remote.open_raster(address + HREF, access)


# Connections


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
        monkeypatch.delenv("NO_PROXY", raising=False)
        monkeypatch.delenv("no_proxy", raising=False)
        with pytest.raises(ReadError, match="Tunnel connection failed: 502") as caught:
            remote.read_text("https://example.org/a.json", access)
        assert lines == [("example.org:443", "Basic bWU6c2VjcmV0")]
        assert "secret" not in str(caught.value)
        with pytest.raises(ReadError, match="is refused"):
            remote.read_text("https://internal/a.json", access)
        assert len(lines) == 1
