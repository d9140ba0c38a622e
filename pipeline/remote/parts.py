"""Files behind addresses, read part by part: every part is checked for place, length and age."""

import io
import re
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock, local
from typing import BinaryIO, cast

from pipeline import files
from pipeline.errors import ReadError
from pipeline.files import Json
from pipeline.remote.address import Access, check, is_address, shown
from pipeline.remote.connection import Answer
from pipeline.remote.fetch import FaultError, Wanted, fetch, is_page
from pipeline.remote.sound import is_deflated, judge

AHEAD = 1 << 16  # bytes: a small read brings this much, for another follows beside it
_WHOLE = 1 << 24  # bytes of a file that is taken whole where a host cannot send parts
_PAGES = 16  # parts that an open file remembers
_HEADS = 512  # beginnings that a process remembers
_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)")


@dataclass(frozen=True)
class Head:
    """The beginning of a file, and what tells one version of it from another."""

    size: int
    etag: str | None
    start: bytes = field(repr=False)


@dataclass
class _Page:
    """A part of a file."""

    start: int
    content: bytes
    agreed: bool = False
    """Whether it came the same twice."""

    def holds(self, start: int, end: int) -> bool:
        return self.start <= start and end <= self.start + len(self.content)

    def piece(self, start: int, end: int) -> bytes:
        return self.content[start - self.start : end - self.start]


class Parts:
    """The bytes of one file behind an address, for one thread."""

    def __init__(self, href: str, access: Access) -> None:
        self.href, self.access = href, access
        self.head = _head(href, access)
        self.twice = False
        """Whether every part must come the same twice, checksum or not: what a file says of itself
        has none, and a wrong word in it would go unseen."""
        self._pages: deque[_Page] = deque([_Page(0, self.head.start, agreed=True)], _PAGES)

    def read(self, start: int, length: int) -> bytes:
        """Return bytes from a place in the file; fewer only at its end.

        Raises
        ------
        ReadError : they cannot be had.
        """
        end = min(start + length, self.head.size)
        if end <= start:
            return b""
        page = next((page for page in self._pages if page.holds(start, end)), None)
        if page is None:
            page = _Page(start, self._get(start, min(max(end, start + AHEAD), self.head.size)))
            if end - start < AHEAD:
                self._remember(page)
        if not page.agreed and not self._believed(page.piece(start, end)):
            self._settle(page, start, end)
        return page.piece(start, end)

    def _get(self, start: int, end: int) -> bytes:
        return _part(self.href, self.access, start, end, self.head).start

    def _remember(self, page: _Page) -> None:
        if len(self._pages) == _PAGES:
            del self._pages[1]  # the beginning stays
        self._pages.append(page)

    def _believed(self, piece: bytes) -> bool:
        """Return whether a piece can be believed at its first coming.

        By its own checksum, if it has one; else by that of the connection, if that is secure.
        """
        if self.twice:
            return False
        if is_deflated(piece):
            return judge(piece) == "sound"
        return self.href.lower().startswith("https:")

    def _settle(self, page: _Page, start: int, end: int) -> None:
        """Ask again for a page, until a piece of it is sound or two readings agree."""
        seen = {page.content}
        for _ in range(max(self.access.tries, 1)):
            page.content = self._get(page.start, page.start + len(page.content))
            page.agreed = page.content in seen
            if page.agreed or self._believed(page.piece(start, end)):
                break
            seen.add(page.content)
        else:
            raise _never_the_same(self.href)
        if judge(page.piece(start, end)) == "damaged":
            raise ReadError(
                "is damaged where its host keeps it (a checksum is wrong)",
                where=shown(self.href),
                remedy="tell its provider, or leave its item out",
            )


class Reader(io.RawIOBase):
    """A file behind an address, as Python's own files are; quiet for those who cannot raise."""

    def __init__(self, parts: Parts, quiet: bool = False) -> None:
        super().__init__()
        self._parts, self._quiet, self._place = parts, quiet, 0

    def readable(self) -> bool:
        """Return that it can be read."""
        return True

    def seekable(self) -> bool:
        """Return that any place can be read."""
        return True

    def tell(self) -> int:
        """Return the place of the next byte."""
        return self._place

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a place, from the start, from here or from the end."""
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self._parts.head.size}
        self._place = max(start[whence] + offset, 0)
        return self._place

    def read(self, size: int | None = -1) -> bytes:
        """Return the next bytes, fewer only at the end; all of them where no size is given."""
        length = self._parts.head.size if size is None or size < 0 else size
        try:
            found = self._parts.read(self._place, length)
        except ReadError as error:
            if not self._quiet:
                raise
            _THREAD.errors[self._parts.href] = error
            found = b""  # too short: whoever reads will say that it failed, but not why
        self._place += len(found)
        return found

    def readall(self) -> bytes:
        """Return all bytes up to the end."""
        return self.read()

    def readinto(self, buffer: object) -> int:
        """Fill a buffer with the next bytes and return how many."""
        view = memoryview(buffer).cast("B")  # type: ignore[arg-type]
        found = self.read(len(view))
        view[: len(found)] = found
        return len(found)


def open_bytes(href: str, access: Access) -> BinaryIO:
    """Open a file by path or address for reading bytes anywhere in it; the caller closes it.

    Raises
    ------
    ReadError : the address is refused, or the file cannot be read.
    """
    if is_address(href):
        return cast(BinaryIO, Reader(Parts(href, access)))
    path = Path(check(href, access, shown(href)))
    try:
        return path.open("rb")
    except OSError as error:
        raise missing(href) from error


def stamp(href: str, access: Access) -> dict[str, Json]:
    """Return what tells one version of a file from another: `size` (bytes), and `etag` for an
    address whose host gives one or `sha256` for a path.

    Raises
    ------
    ReadError : the address is refused, or the file cannot be read.
    """
    if is_address(href):
        head = _head(href, access)
        return {"size": head.size} | ({} if head.etag is None else {"etag": head.etag})
    path = Path(check(href, access, shown(href)))
    try:
        return {"size": path.stat().st_size, "sha256": files.sha256(path)}
    except OSError as error:
        raise missing(href) from error


def forget(href: str) -> None:
    """Let a file that opened and then did not decode be opened and read anew from its host.

    Its beginning, which came the same twice, is kept; what an open file remembers goes with it.

    Raises
    ------
    ReadError : its bytes did not come at all, so that no new reading is due: what kept them.
    """
    if error := hidden_error(href):
        with _HEADS_LOCK:
            for key in [key for key in _KNOWN if key[0] == href]:
                del _KNOWN[key]  # the file may have changed
        raise error


def missing(href: str) -> ReadError:
    """Return the error for a path that leads to no file."""
    return ReadError(
        "does not exist", where=shown(href), remedy="check the asset's href in the catalog"
    )


class _Thread(local):
    """Why this thread's last reads failed, by address, where they could not say so themselves."""

    def __init__(self) -> None:
        self.errors: dict[str, ReadError] = {}


_THREAD = _Thread()
_HEADS_LOCK = Lock()
_KNOWN: OrderedDict[tuple[str, Access], Head] = OrderedDict()


def _head(href: str, access: Access) -> Head:
    """Return the beginning of a file, asked for twice and the same both times."""
    with _HEADS_LOCK:
        known = _KNOWN.get((href, access))
    if known is None:
        known = _agreed(lambda: _part(href, access, 0, AHEAD, None), href, access)
        if len(known.start) > AHEAD:
            return known  # whole, from a host that knows no parts: too much to remember
        with _HEADS_LOCK:
            _KNOWN[href, access] = known
            if len(_KNOWN) > _HEADS:
                _KNOWN.popitem(last=False)
    return known


def _agreed(get: Callable[[], Head], href: str, access: Access) -> Head:
    """Return what two readings agree on."""
    seen: list[Head] = []
    for _ in range(1 + max(access.tries, 1)):
        found = get()
        if found in seen:
            return found
        seen.append(found)
    raise _never_the_same(href)


def _never_the_same(href: str) -> ReadError:
    return ReadError(
        "is different at every reading",
        where=shown(href),
        remedy="run again later, or leave its item out",
    )


def _part(href: str, access: Access, start: int, end: int, known: Head | None) -> Head:
    """Ask for the bytes of a file from start to end (fewer where it ends before).

    Returns them as a head: `start` holds the bytes, or the whole of a small file.
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


def hidden_error(href: str) -> ReadError | None:
    """Return, once, why this thread's last reads of a file failed, if they could not say so."""
    return _THREAD.errors.pop(href, None)
