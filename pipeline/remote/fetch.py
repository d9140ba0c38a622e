"""Documents and parts of files, whatever the network does: asked again with care, or an error.

What passes (too many requests, a busy server, a time-out, a connection that breaks, an answer cut
short, a page where a file was due) is asked for again with exponential back-off; what does not
pass is believed at once. A signature that may have run out is made anew once.
"""

import socket
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http.client import HTTPException
from math import inf
from pathlib import Path
from urllib.parse import urljoin, urlsplit

from pipeline.errors import ReadError
from pipeline.remote import signing
from pipeline.remote.address import Access, check, is_address, shown
from pipeline.remote.connection import (
    METER,
    TIMEOUT,
    Answer,
    CutShortError,
    NotPublicError,
    Question,
    TooLongError,
    ask,
)
from pipeline.remote.patience import Patience, patience_with

MOST = 1 << 26  # bytes of a document
_PASSING = {408, 425, 429, 500, 502, 503, 504}
_DENIED = {401, 403, 404}
_ELSEWHERE = {301, 302, 303, 307, 308}
_REDIRECTS = 5
_NOBODY = 4  # tries of a port that nobody listens on: a server that starts again is there soon
_LATER = "run again later: what is complete is kept"
_Judge = Callable[[Answer], None]


@dataclass(frozen=True)
class Wanted:
    """A document or a part of a file, and how it may be had."""

    href: str
    access: Access
    method: str = "GET"
    body: bytes | None = field(default=None, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    most: int = MOST
    """Bytes of an answer."""
    patient: frozenset[int] = frozenset(_PASSING)
    """Statuses that are asked again."""


class FaultError(Exception):
    """What went wrong with one try."""

    def __init__(
        self, reason: str, passing: bool = True, status: int = 0, asked: float = 0.0
    ) -> None:
        super().__init__(reason)
        self.reason, self.passing, self.status, self.asked = reason, passing, status, asked

    @property
    def tries(self) -> float:
        """How often it is worth asking, where this goes wrong."""
        if not self.passing:
            return 1
        return _NOBODY if isinstance(self.__cause__, ConnectionRefusedError) else inf


def request_text(
    href: str,
    access: Access,
    method: str = "GET",
    body: str | bytes | None = None,
    headers: Mapping[str, str] | None = None,
) -> str:
    """Return what a search service answers; "Forbidden" is asked again, for so some say "busy".

    Raises
    ------
    ReadError : the address is refused, does not answer, or its answer is not UTF-8 text.
    """
    content = body.encode() if isinstance(body, str) else body
    patient = frozenset(_PASSING | {403})
    return _text(Wanted(href, access, method, content, headers or {}, patient=patient))


def read_text(href: str, access: Access) -> str:
    """Return the text behind a path or address.

    Raises
    ------
    ReadError : it is refused, does not exist, does not answer, or is not UTF-8 text.
    """
    if is_address(href):
        return _text(Wanted(href, access))
    check(href, access, shown(href))
    try:
        return Path(href).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise _not_text(href) from error
    except OSError as error:
        raise ReadError(
            f"cannot be read ({error.strerror or error})", where=href, remedy="check the path"
        ) from error


def fetch(wanted: Wanted, judge: _Judge) -> Answer:
    """Return a whole and fitting answer, after as many tries as the access allows.

    Parameters
    ----------
    judge : raises FaultError where an answer of status 200 or 206 is not what was asked for.

    Raises
    ------
    ReadError : the address is refused, credentials are missing, or no try succeeded.
    """
    access = wanted.access
    check(wanted.href, access, shown(wanted.href))
    patience = patience_with(urlsplit(wanted.href).netloc)
    number, renewed = 1, False
    while True:
        began = time.monotonic()
        try:
            answer = _followed(wanted, patience)
            judge(answer)
        except FaultError as fault:
            if fault.status in _DENIED and not renewed and signing.renew(wanted.href, access):
                renewed = True
            else:
                patience.lose(time.monotonic() - began)
                if number >= min(fault.tries, access.tries):
                    raise _unreadable(wanted, fault, number) from fault
                if not patience.wait(number, access.pause, fault.asked, access.patience):
                    raise _unreadable(wanted, fault, number, out=True) from fault
                number += 1
            METER.add(retries=1)
        else:
            patience.repay()
            return answer


def is_page(answer: Answer) -> bool:
    """Return whether an answer is a web page: what gateways say when they mean an error."""
    start = answer.body[:512].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    return start.startswith((b"<!doctype html", b"<html", b"<head"))


def _text(wanted: Wanted) -> str:
    def no_page(answer: Answer) -> None:
        if is_page(answer):
            raise FaultError("it is a web page where a document was due")

    try:
        return fetch(wanted, no_page).body.decode()
    except UnicodeDecodeError as error:
        raise _not_text(wanted.href) from error


def _followed(wanted: Wanted, patience: Patience) -> Answer:
    """Ask once, and follow redirects to where the catalog could have sent us itself."""
    access = wanted.access
    href, headers = signing.authorise(wanted.href, access, read_text)
    timeout = patience.timeout(TIMEOUT, access.patience)
    question = Question(
        href, wanted.method, wanted.body, dict(wanted.headers) | headers, wanted.most, timeout
    )
    for _ in range(_REDIRECTS + 1):
        answer = _asked(question)
        if answer.status not in _ELSEWHERE:
            _check_status(answer, wanted)
            return answer
        target = urljoin(question.href, answer.headers.get("location", ""))
        check(target, access, shown(wanted.href))
        question = _redirected(question, target, answer.status)
    raise FaultError(f"it redirects more than {_REDIRECTS} times", passing=False)


def _redirected(question: Question, target: str, status: int) -> Question:
    old, new = urlsplit(question.href), urlsplit(target)
    headers = dict(question.headers)
    if (old.scheme, old.netloc) != (new.scheme, new.netloc):
        headers.pop("Authorization", None)  # credentials never follow to another host
    if question.method == "POST" and status in (301, 302, 303):
        headers.pop("Content-Type", None)
        return replace(question, href=target, method="GET", body=None, headers=headers)
    return replace(question, href=target, headers=headers)


def _asked(question: Question) -> Answer:
    """Ask once; say as a fault whatever kept the answer away."""
    try:
        return ask(question)
    except CutShortError as error:
        raise FaultError(str(error)) from error
    except (TooLongError, NotPublicError) as error:
        raise FaultError(str(error), passing=False) from error
    except ssl.SSLCertVerificationError as error:
        raise FaultError(f"its certificate is not valid: {error.verify_message}", False) from error
    except socket.gaierror as error:
        raise FaultError(str(error.strerror), passing=error.errno == socket.EAI_AGAIN) from error
    except TimeoutError as error:
        raise FaultError("no answer in time") from error
    except OSError as error:
        raise FaultError(error.strerror or str(error)) from error
    except HTTPException as error:
        raise FaultError(f"a broken answer, {type(error).__name__}") from error


def _check_status(answer: Answer, wanted: Wanted) -> None:
    if answer.status not in (200, 206):
        raise FaultError(
            f"HTTP {answer.status}",
            answer.status in wanted.patient,
            answer.status,
            _asked_wait(answer.headers.get("retry-after", "")),
        )


def _asked_wait(text: str) -> float:
    """Return the seconds that a Retry-After header asks for: a number, or a date."""
    try:
        if text.strip().isdigit():
            return float(text)
        when = parsedate_to_datetime(text)
        when = when if when.tzinfo else when.replace(tzinfo=UTC)
        return max((when - datetime.now(UTC)).total_seconds(), 0.0)
    except ValueError:
        return 0.0


def _unreadable(wanted: Wanted, fault: FaultError, number: int, out: bool = False) -> ReadError:
    tried = f" after {number} tries" if number > 1 else ""
    if out:
        place = urlsplit(wanted.href).netloc
        tried += f", and the patience with {place} is at its end"
    if fault.status in (401, 403):
        remedy = "check the credentials, and that the provider's terms have been accepted"
        if wanted.access.scheme == "open":
            remedy = "it is not open: give the catalog by its name in configs/catalogs/"
    elif fault.status == 404:
        remedy = "check the path"
    else:
        remedy = _LATER
    return ReadError(
        f"cannot be read ({fault.reason}{tried})", where=shown(wanted.href), remedy=remedy
    )


def _not_text(href: str) -> ReadError:
    return ReadError(
        "cannot be read (it is not UTF-8 text)", where=shown(href), remedy="check the path"
    )
