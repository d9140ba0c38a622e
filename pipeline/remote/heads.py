"""Parts of files as they come, each checked for place, length and age, and how files begin.

The beginnings are remembered for the whole process, until it is told to look again.
"""

import re
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Lock

from pipeline.errors import ReadError
from pipeline.remote.address import Access, shown
from pipeline.remote.connection import Answer
from pipeline.remote.fetch import FaultError, Wanted, fetch, is_page

AHEAD = 1 << 16  # bytes: a small read brings this much, for another follows beside it
_WHOLE = 1 << 24  # bytes of a file that is taken whole where a host cannot send parts
_HEADS = 512  # beginnings that a process remembers, of AHEAD bytes at most: 32 MB
_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)")


@dataclass(frozen=True)
class Head:
    """The beginning of a file, and what tells one version of it from another."""

    size: int
    etag: str | None
    start: bytes = field(repr=False)


class _Known:
    """The beginnings that this process remembers, the least used of them given up first."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._heads: OrderedDict[tuple[str, Access, int], Head] = OrderedDict()
        self.looks = 0
        """How often it was told to look again; what was asked for before counts no more."""

    def find(self, href: str, access: Access) -> Head | None:
        key = href, access, self.looks
        with self._lock:
            if key in self._heads:
                self._heads.move_to_end(key)
            return self._heads.get(key)

    def keep(self, href: str, access: Access, look: int, found: Head) -> None:
        if len(found.start) > AHEAD:
            return  # whole, from a host that knows no parts: too much to remember
        with self._lock:
            self._heads[href, access, look] = found
            if len(self._heads) > _HEADS:
                self._heads.popitem(last=False)

    def drop(self, href: str) -> None:
        with self._lock:
            for key in [key for key in self._heads if key[0] == href]:
                del self._heads[key]

    def look_again(self) -> None:
        with self._lock:
            self.looks += 1
            self._heads.clear()


_KNOWN = _Known()


def look_again() -> None:
    """Forget how every file behind an address began, so that each is asked for anew.

    Whoever holds a file open sees by `version` that it is to be opened again.
    """
    _KNOWN.look_again()


def drop_head(href: str) -> None:
    """Forget how one file began."""
    _KNOWN.drop(href)


def version(href: str, access: Access) -> object:
    """Return what changes when a file behind an address is to be opened anew; asks no host.

    That is when its size or its ETag was found to be another, and after `look_again`.
    """
    known = _KNOWN.find(href, access)
    return _KNOWN.looks, known and (known.size, known.etag)


def head(href: str, access: Access) -> Head:
    """Return the beginning of a file, asked for twice and the same both times.

    Raises
    ------
    ReadError : it cannot be had, or is different at every reading.
    """
    look = _KNOWN.looks
    found = _KNOWN.find(href, access)
    if found is None:
        found = _agreed(lambda: part(href, access, 0, AHEAD, None), href, access)
        _KNOWN.keep(href, access, look, found)
    return found


def _agreed(get: Callable[[], Head], href: str, access: Access) -> Head:
    """Return what two readings agree on."""
    seen: list[Head] = []
    for _ in range(1 + max(access.tries, 1)):
        found = get()
        if found in seen:
            return found
        seen.append(found)
    raise never_the_same(href)


def never_the_same(href: str) -> ReadError:
    """Return the error for a file whose bytes never come the same twice."""
    return ReadError(
        "is different at every reading",
        where=shown(href),
        remedy="run again later, or leave its item out",
    )


def part(href: str, access: Access, start: int, end: int, known: Head | None) -> Head:
    """Ask for the bytes of a file from start to end (fewer where it ends before).

    Returns them as a head: `start` holds the bytes, or the whole of a small file.

    Raises
    ------
    ReadError : they cannot be had, or the file is no longer the known one.
    """
    wanted = Wanted(
        href, access, headers={"Range": f"bytes={start}-{end - 1}"}, most=max(end - start, _WHOLE)
    )
    found: list[Head] = []

    def judge(answer: Answer) -> None:
        if is_page(answer):
            raise FaultError("it is a web page where a file was due")
        got = _placed(answer, start, end)
        if known is not None and (got.size, got.etag) != (known.size, known.etag):
            raise FaultError("it changed while it was read")
        found.append(got)

    fetch(wanted, judge)
    return found[-1]


def _placed(answer: Answer, start: int, end: int) -> Head:
    """Return the bytes of an answer if they are those that were asked for."""
    etag = answer.headers.get("etag")
    if answer.headers.get("content-encoding", "identity") != "identity":
        raise FaultError("it is packed, although nobody asked for that", passing=False)
    if answer.status == 200:  # the whole file, from a host that knows no parts
        size = len(answer.body)
        body = answer.body if start == 0 else answer.body[start:end]
        return Head(size, etag, body)
    told = _RANGE.fullmatch(answer.headers.get("content-range", "").strip())
    if told is None:
        raise FaultError("it does not say which part it sends")
    first, last, size = (int(number) for number in told.groups())
    if (first, last + 1) != (start, min(end, size)):
        raise FaultError("it sends another part than was asked for")
    if len(answer.body) != last + 1 - first:
        raise FaultError(f"it was cut short: {len(answer.body)} of {last + 1 - first} bytes")
    return Head(size, etag, answer.body)
