"""The crash-safe write: every file this package leaves behind goes through here.

A file is written beside its target under a temporary name, read back, flushed to disk and renamed;
a reader sees the old version or the new one, never anything between. (An error that GDAL raises
only when it closes a file is swallowed, so the read-back is what notices a full disk.)
"""

import errno
import fcntl
import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.errors import BusyError, OutputError

_PART = ".part."  # marks a temporary name: ".<random>.part.<final name>"
_CHUNK = 1 << 20  # bytes read at a time when hashing
_PAGE = 1 << 16  # bytes

Json = dict[str, "Json"] | list["Json"] | str | int | float | bool | None


def write(
    path: Path,
    writer: Callable[[Path], None],
    check: Callable[[Path], None] | None = None,
) -> str:
    """Write one file so that it is there whole or not at all, and return its SHA-256.

    Parameters
    ----------
    path : the final name; its folder is made if it is missing.
    writer : writes the content to the path it is given (same folder, same suffix).
    check : reads the written file back and raises if it is not what was meant.

    Raises
    ------
    OutputError : the folder is not writable, the disk is full, or the read-back failed.
    """
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.parent / f".{secrets.token_hex(4)}{_PART}{path.name}"
        try:
            writer(part)
            if check is not None:
                check(part)
            digest = sha256(part)
            _fsync(part)
            part.replace(path)
            _fsync(path.parent)
        finally:
            part.unlink(missing_ok=True)
    return digest


def write_bytes(path: Path, content: bytes) -> str:
    """Write bytes crash-safely and return their SHA-256."""

    def same(part: Path) -> None:
        if part.read_bytes() != content:
            raise OSError(errno.EIO, "the file does not read back as written")

    return write(path, lambda part: _write_all(part, content), same)


def write_json(path: Path, value: Json) -> str:
    """Write a JSON document (sorted keys, so equal values are equal bytes); return its SHA-256."""
    return write_bytes(path, to_json(value).encode())


def to_json(value: Json) -> str:
    """Return the one JSON text of a value: sorted keys, two spaces, final newline."""
    return json.dumps(value, sort_keys=True, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def write_folder(path: Path, writer: Callable[[Path], None]) -> None:
    """Write a whole folder (web tiles) under a temporary name; swap it in when complete."""
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.parent / f".{secrets.token_hex(4)}{_PART}{path.name}"
        old = path.parent / f".{secrets.token_hex(4)}{_PART}{path.name}"
        try:
            part.mkdir()
            writer(part)
            if path.exists():
                path.replace(old)  # a folder half removed must never stand under the final name
            part.replace(path)
            _fsync(path.parent)
            shutil.rmtree(old, ignore_errors=True)
        finally:
            shutil.rmtree(part, ignore_errors=True)


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def digest_of(value: Json) -> str:
    """Return the SHA-256 of a JSON value, whatever the order of its keys."""
    return hashlib.sha256(to_json(value).encode()).hexdigest()


def sweep(folder: Path) -> list[Path]:
    """Remove what a killed run left under temporary names; the caller holds the folder's lock."""
    left = sorted(folder.rglob(f".*{_PART}*"))
    for path in left:
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
    return left


@contextmanager
def hold(folder: Path) -> Iterator[None]:
    """Hold an output folder against a second run; the kernel lets go of it if this process dies.

    Raises
    ------
    BusyError : another process holds it.
    OutputError : the folder cannot be made or written.
    """
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / ".lock").open("w")
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BusyError(
                "another run is writing here",
                where=str(folder),
                remedy="wait for it to end, or give this run its own folder with --out",
            ) from None
        yield


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn what the operating system says about a write to `path` into one clear sentence."""
    try:
        yield
    except OSError as error:
        # GDAL gives no errno, so a volume without room for one more page counts as full too.
        full = error.errno in (errno.ENOSPC, errno.EDQUOT) or _free_bytes(path) < _PAGE
        raise OutputError(
            "the disk is full" if full else f"cannot be written ({error.strerror or error})",
            where=str(path),
            remedy="free some space and run again; what is complete is kept"
            if full
            else "choose a folder you can write to with --out",
        ) from error


def _write_all(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def _free_bytes(path: Path) -> int:
    there = next((p for p in (path, *path.parents) if p.exists()), Path("/"))
    return shutil.disk_usage(there).free


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
