"""Parts of files: each of the right place, length and age, and looked at anew when told to."""

import numpy as np
import pytest
import rasterio
from faults import faulty, only, pixels
from items import levels
from items import raster as save

from pipeline import remote
from pipeline.errors import ReadError
from pipeline.remote import heads, patience

PLACE, LENGTH = 100_000, 60_000  # past the beginning that is read ahead


@pytest.fixture(autouse=True)
def hasty(monkeypatch):
    """Wait for nothing between tries."""
    monkeypatch.setattr(patience, "sleep", lambda _: None)


@pytest.fixture
def content(tmp_path):
    """The bytes of a file that has no checksum of its own."""
    found = np.random.default_rng(1).bytes(300_000)
    (tmp_path / "a.bin").write_bytes(found)
    return found


@pytest.mark.parametrize("kind", ["length", "elsewhere"])
@pytest.mark.parametrize("times", [1, 2, 3])
def test_a_part_that_is_not_the_one_asked_for_is_never_believed(tmp_path, content, kind, times):
    """Even where it comes the same twice: agreement alone would take it for right."""
    with faulty(tmp_path, queue=[None, None] + [kind] * times) as (address, script):
        with remote.open_bytes(f"{address}/a.bin", only(address)) as file:
            file.seek(PLACE)
            assert file.read(LENGTH) == content[PLACE : PLACE + LENGTH]
        assert script.faults == {kind: times}


@pytest.mark.parametrize("kind", ["length", "elsewhere", "page"])
def test_a_beginning_that_is_none_is_asked_for_again(tmp_path, kind):
    save(tmp_path / "a.tif", levels((300, 300), 1, 5000))
    expected = pixels(str(tmp_path / "a.tif"), remote.LOCAL)
    with faulty(tmp_path, queue=[kind] * 4) as (address, script):
        href, access = f"{address}/a.tif", only(address)
        assert remote.stamp(href, access)["size"] == (tmp_path / "a.tif").stat().st_size
        assert len(script.asked) == 6
        assert pixels(href, access) == expected


def test_a_file_that_changes_without_growing_is_refused_under_way(tmp_path):
    """Nothing but its ETag tells: without compression, its size stays and it has no checksum."""
    path = tmp_path / "a.tif"
    save(path, levels((300, 300), 1, 5000, seed=1), compress=None)
    size = path.stat().st_size
    with faulty(tmp_path) as (address, _):
        href, access = f"{address}/a.tif", only(address, tries=2)
        with rasterio.Env(**remote.GDAL_SETTINGS), remote.open_raster(href, access) as opened:
            save(path, levels((300, 300), 1, 5000, seed=2), compress=None)
            assert path.stat().st_size == size
            with pytest.raises(rasterio.errors.RasterioIOError):
                opened.read(1)
        with pytest.raises(ReadError, match="it changed while it was read"):
            remote.forget(href)
        assert pixels(href, access) == pixels(str(path), remote.LOCAL)


# Looking again


def test_a_file_is_asked_for_anew_when_told_to_look_again(tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes(b"one")
    with faulty(tmp_path) as (address, script):
        href, access = f"{address}/a.bin", only(address)
        first, version = remote.stamp(href, access), remote.version(href, access)
        path.write_bytes(b"three")
        assert remote.stamp(href, access) == first
        assert remote.version(href, access) == version
        assert len(script.asked) == 2
        remote.look_again()
        assert remote.version(href, access) != version
        assert len(script.asked) == 2  # nobody is asked before the file is due
        assert remote.stamp(href, access)["size"] == 5
        assert remote.stamp(href, access)["etag"] != first["etag"]
        assert len(script.asked) == 4


def test_what_was_asked_for_before_a_new_look_is_not_remembered(tmp_path, monkeypatch):
    (tmp_path / "a.bin").write_bytes(b"one")
    part = heads.part

    def late(*given):
        found = part(*given)
        remote.look_again()  # another thread was told to, meanwhile
        return found

    with faulty(tmp_path) as (address, script):
        href, access = f"{address}/a.bin", only(address)
        monkeypatch.setattr(heads, "part", late)
        remote.stamp(href, access)
        monkeypatch.setattr(heads, "part", part)
        remote.stamp(href, access)
        assert len(script.asked) == 4


def test_few_beginnings_are_remembered_and_the_least_used_go_first(tmp_path, monkeypatch):
    monkeypatch.setattr(heads, "_HEADS", 2)
    for name in "abc":
        (tmp_path / name).write_text(name)
    with faulty(tmp_path) as (address, script):
        for name in "abacab":
            remote.stamp(f"{address}/{name}", only(address))
        asked = [request.path for request in script.asked[::2]]
    assert asked == ["/a", "/b", "/c", "/b"]
    assert len(heads._KNOWN._heads) == 2


def test_a_great_file_taken_whole_is_not_remembered(tmp_path, content):
    with faulty(tmp_path, parts=False) as (address, _):
        assert remote.stamp(f"{address}/a.bin", only(address))["size"] == len(content)
        assert len(heads._KNOWN._heads) == 0
