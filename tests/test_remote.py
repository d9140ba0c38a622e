"""Addresses: what may be opened, and what is said when it cannot be."""

import io
import os
import subprocess
import sys
import threading
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context

import h5py
import numpy as np
import pytest
import rasterio
from faults import faulty
from items import levels
from items import raster as save

from pipeline import remote
from pipeline.errors import ReadError
from pipeline.remote import Access, raster
from pipeline.remote.address import may_connect, trusts

HOSTS = ("example.org", "*.example.net", "127.0.0.1:8000", "localhost", "[::1]:8000")
ANYWHERE = (*HOSTS, "127.0.0.1", "::1", "169.254.169.254", "10.0.0.1", "internal")
REFUSED = [
    "/vsicurl/https://example.org/a.tif",
    "/vsizip/a.zip/a.tif",
    "/vsimem/a.tif",
    "file:///etc/passwd",
    "FILE:///etc/passwd",
    "ftp://example.org/a.tif",
    "s3://bucket/a.tif",
    "http://example.org/a.tif",
    "HTTP://example.org/a.tif",
    "http://127.0.0.1.example.org/a.tif",
    "http://127.0.0.1@example.org/a.tif",
    "https://user:secret@example.org/a.tif",
    "https://@example.org/a.tif",
    "https://example.org:8443/a.tif",
    "https://example.org:22/a.tif",
    "https://example.org:x/a.tif",
    "https://example.org\\@elsewhere.org/a.tif",
    "https://exam\tple.org/a.tif",
    "https://example.org/a.tif\r\nHost: internal",
    "https://",
    "http://[::1/a.tif",
    "http://10.0.0.1/a.tif",
    "http://169.254.169.254/latest/meta-data",
    "http://internal/a.tif",
    "data:text/plain,abc",
]


@pytest.mark.parametrize("href", REFUSED)
@pytest.mark.parametrize("local", [True, False])
def test_an_unsafe_address_is_refused_before_anything_connects(href, local, monkeypatch):
    monkeypatch.setattr("pipeline.remote.connection._dial", None)
    with pytest.raises(ReadError, match="is refused; use https addresses") as caught:
        remote.check(href, Access(local, ANYWHERE), where="item x")
    assert caught.value.where == "item x"
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "href",
    [
        "https://elsewhere.org/a.tif",
        "https://example.org.elsewhere.org/a.tif",
        "https://sub.example.org/a.tif",
        "https://example.net/a.tif",
        "https://badexample.net/a.tif",
        "https://169.254.169.254/latest/meta-data",
        "http://127.0.0.1:8001/a.tif",
        "http://127.0.0.1/a.tif",
        "http://2130706433:8000/a.tif",
    ],
)
def test_a_host_that_is_not_on_the_list_is_refused_before_anything_connects(href):
    for open_it in (remote.open_raster, remote.open_bytes, remote.stamp, remote.read_text):
        with pytest.raises(ReadError, match="is refused"):
            open_it(href, Access(hosts=HOSTS))


@pytest.mark.parametrize(
    "href",
    [
        "https://example.org/a.tif?sig=1",
        "https://EXAMPLE.org:443/a b.tif",
        "https://deep.example.net/a.tif",
        "http://127.0.0.1:8000/a.tif",
        "http://localhost:1234/a",
        "http://[::1]:8000/a",
    ],
)
def test_an_address_on_the_list_is_allowed(href):
    assert remote.check(href, Access(hosts=HOSTS), "item") == href


def test_a_plain_path_is_for_local_catalogs_only():
    assert remote.check("/data/a.tif", remote.LOCAL, "item") == "/data/a.tif"
    for href in ("/data/a.tif", "a.tif", "GTIFF_RAW:/etc/passwd:1"):
        with pytest.raises(ReadError, match="refused"):
            remote.check(href, Access(hosts=HOSTS), "item")
    # Where paths are allowed, an odd name is only a path: it never reaches GDAL unless it exists.
    for href in ("GTIFF_RAW:/etc/passwd:1", "/vsicurl/http://internal/a.tif"):
        with pytest.raises(ReadError, match=r"refused|does not exist"):
            remote.open_raster(href, remote.LOCAL)


def test_what_is_secret_in_an_address_is_never_shown():
    with pytest.raises(ReadError) as caught:
        remote.check("http://example.org/a.tif?token=secret#secret", Access(hosts=HOSTS), "item")
    assert "secret" not in str(caught.value)
    assert "http://example.org/a.tif" in str(caught.value)


@pytest.mark.parametrize(
    ("host", "address", "allowed"),
    [
        ("example.org", "93.184.216.34", True),
        ("example.org", "2606:2800:220:1:248:1893:25c8:1946", True),
        ("example.org", "127.0.0.1", False),
        ("example.org", "10.1.2.3", False),
        ("example.org", "169.254.169.254", False),
        ("example.org", "100.64.0.1", False),
        ("example.org", "0.0.0.0", False),  # noqa: S104 (an address, and nothing listens)
        ("example.org", "224.0.0.1", False),
        ("example.org", "::1", False),
        ("example.org", "fe80::1%eth0", False),
        ("example.org", "fd00::1", False),
        ("example.org", "::ffff:10.0.0.1", False),
        ("example.org", "::ffff:93.184.216.34", True),
        ("example.org", "64:ff9b::a00:1", False),
        ("example.org", "2002:7f00:1::", False),
        ("localhost", "127.0.0.1", True),
        ("localhost", "93.184.216.34", False),
    ],
)
def test_a_public_name_must_lead_to_a_public_address(host, address, allowed):
    assert may_connect(host, address) is allowed


def test_credentials_are_for_hosts_named_in_full():
    access = Access(hosts=("example.org", "*.example.net", "added.org"))
    assert trusts("https://example.org/a", access)
    assert not trusts("https://x.example.net/a", access)
    own = Access(hosts=access.hosts, trusted=("example.org",))
    assert trusts("https://example.org/a", own)
    assert not trusts("https://added.org/a", own)


# Text


def only(address, **given):
    """Return quick access to one server of the test."""
    return Access(hosts=(address.removeprefix("http://"),), pause=0.001, **given)


def test_text_comes_from_a_path_or_an_address(tmp_path, web):
    (tmp_path / "a.json").write_text("µ", encoding="utf-8")
    assert remote.read_text(str(tmp_path / "a.json"), remote.LOCAL) == "µ"
    assert remote.read_text(f"{web}/a.json", only(web)) == "µ"
    assert remote.request_text(f"{web}/a.json", only(web)) == "µ"


def test_text_that_cannot_be_read_is_told(tmp_path, web):
    (tmp_path / "latin").write_bytes("µ".encode("latin-1"))
    access = Access(local=True, hosts=(web[7:], "127.0.0.1:1"), pause=0.001)
    for href, told in [
        (str(tmp_path / "none"), "No such file"),
        (str(tmp_path / "latin"), "not UTF-8"),
        (f"{web}/latin", "not UTF-8"),
        (f"{web}/none", "HTTP 404"),
        ("http://127.0.0.1:1/x", "Connection refused after 4 tries"),
        ("http://example.org/x", "is refused"),
    ]:
        with pytest.raises(ReadError, match=told):
            remote.read_text(href, access)


# Bytes


def test_bytes_are_read_anywhere(tmp_path):
    content = np.random.default_rng(1).bytes(300_000)
    (tmp_path / "a.bin").write_bytes(content)
    with (
        faulty(tmp_path) as (address, script),
        remote.open_bytes(f"{address}/a.bin", only(address)) as file,
    ):
        file.seek(-10, io.SEEK_END)
        assert file.read() == content[-10:]
        assert file.read(5) == b""
        file.seek(100_000)
        assert file.read(10) == content[100_000:100_010]
        file.seek(5, io.SEEK_CUR)
        assert file.read(60_000) == content[100_015:160_015]
        before = len(script.asked)
        file.seek(100_100)
        assert file.read(10) == content[100_100:100_110]  # it came with the first
        assert len(script.asked) == before
        file.seek(0)
        assert file.read() == content
    with remote.open_bytes(str(tmp_path / "a.bin"), remote.LOCAL) as file:
        assert file.read() == content
    with pytest.raises(ReadError, match="does not exist"):
        remote.open_bytes(str(tmp_path / "none"), remote.LOCAL)


def test_hdf5_is_read_through_an_address_and_its_errors_come_out(tmp_path):
    values = np.random.default_rng(1).random((200, 300))
    with h5py.File(tmp_path / "a.nc", "w") as out:
        out.create_dataset("reflectance", data=values, chunks=(50, 300))
    with (
        faulty(tmp_path) as (address, script),
        remote.open_bytes(f"{address}/a.nc", only(address, tries=2)) as file,
        h5py.File(file, "r") as found,
    ):
        assert (found["reflectance"][:50] == values[:50]).all()
        script.permanent["/a.nc"] = "503"
        with pytest.raises((ReadError, OSError)):
            found["reflectance"][150:]


def test_a_stamp_tells_one_version_from_another(tmp_path):
    file = tmp_path / "a.bin"
    file.write_bytes(b"one")
    with faulty(tmp_path) as (address, _):
        stamp = remote.stamp(f"{address}/a.bin", only(address))
        assert stamp == {"size": 3, "etag": f'"{file.stat().st_mtime_ns}"'}
    local = remote.stamp(str(file), remote.LOCAL)
    assert local["size"] == 3
    assert str(local["sha256"]).startswith("7692c3ad3540bb80")
    with pytest.raises(ReadError, match="does not exist"):
        remote.stamp(str(tmp_path / "none"), remote.LOCAL)


# Threads and processes


def settings():
    return rasterio.Env(**remote.GDAL_SETTINGS)


def total(href, access):
    """Return the sum of a raster's pixels, and leave it open."""
    with settings():
        opened = remote.open_raster(href, access)
        return int(opened.read(1).astype(np.int64).sum())


def test_threads_and_processes_read_many_files(tmp_path):
    stacks = [levels((300, 300), 1, 5000, seed) for seed in range(6)]
    for number, values in enumerate(stacks):
        save(tmp_path / f"{number}.tif", values)
    expected = [int(values.astype(np.int64).sum()) for values in stacks]
    with faulty(tmp_path) as (address, _):
        hrefs = [f"{address}/{number}.tif" for number in range(6)] * 4
        access = [only(address)] * len(hrefs)
        with ThreadPoolExecutor(4) as pool:
            assert list(pool.map(total, hrefs, access)) == expected * 4
        with ProcessPoolExecutor(2, get_context("spawn")) as pool:
            assert list(pool.map(total, hrefs[:6], access[:6])) == expected


def test_a_file_stays_valid_in_its_thread_and_leaves_nothing_behind(tmp_path):
    values = levels((300, 300), 1, 5000)
    save(tmp_path / "a.tif", values)
    held = len(raster._HELD)
    kept = threading.local()

    def work(address):
        with settings():
            kept.files = [remote.open_raster(f"{address}/a.tif", only(address)) for _ in range(5)]
        for file in kept.files[::-1]:
            for column in (0, 100, 200):
                window = ((0, 300), (column, column + 100))
                assert (file.read(1, window=window) == values[:, column : column + 100]).all()

    with faulty(tmp_path) as (address, _), ThreadPoolExecutor(1) as pool:
        pool.submit(work, address).result()
        assert len(raster._HELD) == held + 5
        pool.shutdown()  # the thread ends with its files open
    assert len(raster._HELD) == held


def test_a_process_that_ends_with_files_open_ends_well(tmp_path):
    save(tmp_path / "a.tif", levels((300, 300), 1, 5000))
    with faulty(tmp_path) as (address, _):
        program = (
            "import rasterio; from pipeline.remote import *\n"
            f"access = Access(hosts=({address[7:]!r},))\n"
            f"kept = open_raster({address + '/a.tif'!r}, access)\n"
            "print(kept.shape, flush=True)"
        )
        ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "(300, 300)\n", "")


def test_a_forked_process_begins_with_no_connection_of_its_parents(tmp_path):
    save(tmp_path / "a.tif", levels((300, 300), 1, 5000))
    with faulty(tmp_path) as (address, _):
        program = (
            "import os, sys; from pipeline.remote import *\n"
            f"access = Access(hosts=({address[7:]!r},))\n"
            f"href = {address + '/a.tif'!r}\n"
            "stamp(href, access)\n"
            "child = os.fork()\n"
            "with open_raster(href, access) as file: found = int(file.read(1).sum())\n"
            "if not child: os._exit(found % 100)\n"
            "sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) != found % 100)\n"
        )
        ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert os.getpid()
