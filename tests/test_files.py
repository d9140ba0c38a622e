"""The crash-safe write: whole or not at all, and every failure in one sentence."""

import errno
import hashlib
import os
import subprocess
import sys

import pytest

from pipeline import files
from pipeline.errors import BusyError, OutputError


def names(folder):
    return sorted(p.name for p in folder.iterdir())


def test_a_write_makes_its_folder_and_returns_the_digest(tmp_path):
    path = tmp_path / "a" / "b" / "map.tif"
    assert files.write_bytes(path, b"map") == hashlib.sha256(b"map").hexdigest()
    assert path.read_bytes() == b"map"
    assert names(path.parent) == ["map.tif"]
    assert files.sha256(path) == hashlib.sha256(b"map").hexdigest()


def test_the_writer_sees_the_final_suffix_and_folder(tmp_path):
    seen = []

    def writer(part):
        seen.append(part)
        part.write_bytes(b"x")

    files.write(tmp_path / "zones.gpkg", writer)
    assert seen[0].parent == tmp_path
    assert seen[0].suffix == ".gpkg"
    assert seen[0].name != "zones.gpkg"


def test_a_writer_that_fails_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "map.tif"
    files.write_bytes(path, b"old")

    def writer(part):
        part.write_bytes(b"half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        files.write(path, writer)
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["map.tif"]


def test_a_file_that_does_not_read_back_never_gets_its_name(tmp_path, monkeypatch):
    path = tmp_path / "map.tif"
    files.write_bytes(path, b"old")
    monkeypatch.setattr(files, "_write_all", lambda part, content: part.write_bytes(content[:-1]))
    with pytest.raises(OutputError, match="does not read back"):
        files.write_bytes(path, b"new")
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["map.tif"]


def test_a_writer_that_writes_nothing_is_an_error(tmp_path):
    with pytest.raises(OutputError):
        files.write(tmp_path / "map.tif", lambda _part: None)
    assert names(tmp_path) == []


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_called_full(tmp_path, code):
    def writer(part):
        part.write_bytes(b"half")
        raise OSError(code, os.strerror(code))

    with pytest.raises(OutputError, match="the disk is full; free some space") as caught:
        files.write(tmp_path / "map.tif", writer)
    assert caught.value.where == str(tmp_path / "map.tif")
    assert names(tmp_path) == []


def test_another_failure_is_not_called_full(tmp_path):
    def writer(_part):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with pytest.raises(OutputError, match="cannot be written") as caught:
        files.write(tmp_path / "map.tif", writer)
    assert "full" not in str(caught.value)


@pytest.fixture
def tiny_disk(tmp_path):
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(place)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("needs the right to mount a small disk")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_a_disk_that_is_really_full(tiny_disk):
    files.write_bytes(tiny_disk / "old", b"o" * 100_000)
    with pytest.raises(OutputError, match="the disk is full"):
        files.write_bytes(tiny_disk / "old", b"n" * 200_000)
    assert (tiny_disk / "old").read_bytes() == b"o" * 100_000
    assert names(tiny_disk) == ["old"]

    def many(folder):
        for number in range(10):
            (folder / str(number)).write_bytes(b"t" * 50_000)

    with pytest.raises(OutputError, match="the disk is full"):
        files.write_folder(tiny_disk / "tiles", many)
    assert names(tiny_disk) == ["old"]


def test_a_folder_that_cannot_be_made_is_told(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(OutputError, match=r"choose a folder you can write to with --out"):
        files.write_bytes(tmp_path / "file" / "map.tif", b"x")
    with pytest.raises(OutputError), files.hold(tmp_path / "file" / "out"):
        pass
    with pytest.raises(OutputError):
        files.write_folder(tmp_path / "file" / "tiles", lambda _part: None)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_the_right_to_write_is_told(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(OutputError, match="Permission denied"):
        files.write_bytes(tmp_path / "map.tif", b"x")
    tmp_path.chmod(0o700)


def test_json_is_the_same_bytes_whatever_the_order_of_its_keys(tmp_path):
    one = files.write_json(tmp_path / "1.json", {"b": [1, 2.5, None], "a": "µm"})
    two = files.write_json(tmp_path / "2.json", {"a": "µm", "b": [1, 2.5, None]})
    assert one == two
    assert (tmp_path / "1.json").read_text(encoding="utf-8").startswith('{\n  "a": "µm"')
    assert files.digest_of({"x": 1, "y": 2}) == files.digest_of({"y": 2, "x": 1})
    assert files.digest_of([1, 2]) != files.digest_of([2, 1])
    with pytest.raises(ValueError, match="JSON compliant"):
        files.to_json(float("nan"))


def test_a_folder_is_swapped_in_whole(tmp_path):
    tiles = tmp_path / "tiles"

    def writer_of(name):
        return lambda part: (part / name).write_bytes(b"tile")

    files.write_folder(tiles, writer_of("old"))
    assert names(tiles) == ["old"]
    files.write_folder(tiles, writer_of("new"))
    assert names(tiles) == ["new"]
    assert names(tmp_path) == ["tiles"]

    def fails(part):
        (part / "half").write_bytes(b"tile")
        raise OSError(errno.ENOSPC, "full")

    with pytest.raises(OutputError, match="full"):
        files.write_folder(tiles, fails)
    assert names(tiles) == ["new"]
    assert names(tmp_path) == ["tiles"]


def test_a_folder_is_never_half_removed_under_its_final_name(tmp_path, monkeypatch):
    tiles = tmp_path / "tiles"
    files.write_folder(tiles, lambda part: (part / "old").write_bytes(b"tile"))
    removed = []
    monkeypatch.setattr(files.shutil, "rmtree", lambda path, **_: removed.append(path.name))
    files.write_folder(tiles, lambda part: (part / "new").write_bytes(b"tile"))
    assert names(tiles) == ["new"]
    assert "tiles" not in removed


def test_what_a_killed_run_left_is_swept(tmp_path):
    keep = tmp_path / "deep" / "keep.part.tif"
    files.write_bytes(keep, b"x")
    code = (
        "import os, sys; from pathlib import Path; from pipeline import files\n"
        "def die(part):\n"
        "    part.mkdir(exist_ok=True); (part / 'half').write_bytes(b'x'); os._exit(9)\n"
        "files.write(Path(sys.argv[1]), die)"
    )
    path = tmp_path / "deep" / "tiles"
    assert subprocess.run([sys.executable, "-c", code, str(path)]).returncode == 9
    assert len(names(path.parent)) == 2
    assert len(files.sweep(tmp_path)) == 1
    assert names(path.parent) == ["keep.part.tif"]
    assert files.sweep(tmp_path) == []


def test_a_second_run_on_the_same_folder_is_refused_and_a_later_one_is_not(tmp_path):
    code = (
        "import sys; from pathlib import Path; from pipeline import errors, files\n"
        "try:\n"
        "    with files.hold(Path(sys.argv[1])): pass\n"
        "except errors.BusyError as error: sys.exit(error.exit_code)"
    )
    other = [sys.executable, "-c", code, str(tmp_path / "out")]
    with files.hold(tmp_path / "out"):
        assert subprocess.run(other).returncode == BusyError.exit_code
        with pytest.raises(BusyError, match="another run"), files.hold(tmp_path / "out"):
            pass
    assert subprocess.run(other).returncode == 0


def test_a_killed_run_lets_go_of_its_folder(tmp_path):
    code = (
        "import os, sys; from pathlib import Path; from pipeline import files\n"
        "with files.hold(Path(sys.argv[1])): os._exit(9)"
    )
    assert subprocess.run([sys.executable, "-c", code, str(tmp_path)]).returncode == 9
    with files.hold(tmp_path):
        pass
