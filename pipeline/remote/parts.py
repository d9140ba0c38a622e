"""Files behind addresses, read part by part as an open file is; pieces are believed with care."""

import io
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from threading import local
from typing import BinaryIO, cast

from pipeline import files
from pipeline.errors import ReadError
from pipeline.files import Json
from pipeline.remote.address import Access, check, is_address, shown
from pipeline.remote.heads import AHEAD, drop_head, head, never_the_same, part
from pipeline.remote.sound import is_deflated, judge

_PAGES = 16  # parts that an open file remembers


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
        self.head = head(href, access)
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
        return part(self.href, self.access, start, end, self.head).start

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
            raise never_the_same(self.href)
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
        found = head(href, access)
        return {"size": found.size} | ({} if found.etag is None else {"etag": found.etag})
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
        drop_head(href)  # the file may have changed
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


def hidden_error(href: str) -> ReadError | None:
    """Return, once, why this thread's last reads of a file failed, if they could not say so."""
    return _THREAD.errors.pop(href, None)
