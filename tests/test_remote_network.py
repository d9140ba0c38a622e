"""A hostile network: every fault, what is asked again, and for how long."""

import json
import time
import zlib
from contextlib import suppress
from http.server import BaseHTTPRequestHandler

import pytest
import rasterio
from faults import KINDS, faulty, http_date, only, pixels
from items import levels
from items import raster as save

from pipeline import remote
from pipeline.errors import ReadError
from pipeline.remote import connection, fetch, patience
from pipeline.remote.connection import Question
from pipeline.remote.sound import judge


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


@pytest.mark.parametrize("kind", [k for k in KINDS if k not in ("flipped", "length", "elsewhere")])
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
        monkeypatch.setattr("pipeline.remote.heads._WHOLE", 1000)
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
