"""What is secret: who is sent it, and when it is made anew; where redirects lead."""

import json
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler

import pytest
from faults import faulty, only, pixels
from items import levels
from items import raster as save

from pipeline import remote
from pipeline.errors import ReadError
from pipeline.remote import Access, fetch, patience, signing


@pytest.fixture(autouse=True)
def hasty(monkeypatch):
    """Wait for no answer for long; gives the waits between tries, which take no time."""
    waits = []
    monkeypatch.setattr(fetch, "TIMEOUT", 0.5)
    monkeypatch.setattr(patience, "sleep", waits.append)
    return waits


@pytest.fixture
def folder(tmp_path):
    """A folder of one document and one raster."""
    (tmp_path / "a.json").write_text('{"a": 1}')
    save(tmp_path / "a.tif", levels((300, 300), 1, 5000))
    return tmp_path


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
