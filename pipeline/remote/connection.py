"""One exchange with one host: to the very address that was judged, once, within a time.

Every thread keeps its connections open; a host is never asked more than four things at once. A
proxy that the environment names (HTTPS_PROXY) is asked to CONNECT: it then looks the host up, so
that only the host list protects behind a proxy.
"""

import os
import socket
import ssl
from base64 import b64encode
from collections import defaultdict
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from http.client import HTTPConnection, HTTPResponse, HTTPSConnection
from threading import BoundedSemaphore, Lock, local
from time import monotonic
from typing import Any
from urllib.parse import SplitResult, quote, unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

from pipeline.remote.address import is_loopback, may_connect

TIMEOUT = 30.0  # seconds without an answer
_CONNECT = 10.0  # seconds to connect
_SLOWEST = 20_000  # bytes a second: an answer that trickles more slowly is given up
_AT_ONCE = 4  # exchanges with one host, for the whole process
_CHUNK = 1 << 18  # bytes
_HEADERS = {"User-Agent": "prospectra", "Accept-Encoding": "identity"}


@dataclass(frozen=True)
class Question:
    """What is sent: an address that has been checked, authorised if need be."""

    href: str
    method: str = "GET"
    body: bytes | None = field(default=None, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    most: int = 1 << 26
    """Bytes of an answer that are read at most."""
    timeout: float = TIMEOUT


@dataclass(frozen=True)
class Answer:
    """What came back, whole."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    """Names in small letters."""
    body: bytes = field(repr=False)


class CutShortError(Exception):
    """An answer ended before the length that it gave."""


class TooLongError(Exception):
    """An answer is longer than is read."""


class NotPublicError(OSError):
    """The name of a host leads to an address that must not be connected to."""


@dataclass(frozen=True)
class Traffic:
    """What this process has asked for so far."""

    requests: int = 0
    retries: int = 0
    bytes: int = 0


class _Meter:
    """Counts what all threads ask for."""

    def __init__(self) -> None:
        self._lock = Lock()
        self.total = Traffic()

    def add(self, requests: int = 0, retries: int = 0, content: int = 0) -> None:
        with self._lock:
            was = self.total
            self.total = Traffic(
                was.requests + requests, was.retries + retries, was.bytes + content
            )


METER = _Meter()


def traffic() -> Traffic:
    """Return what this process has asked for: requests, those of them asked again, bytes."""
    return METER.total


def ask(question: Question) -> Answer:
    """Send one question and return its whole answer; nothing is asked again, no redirect followed.

    Raises
    ------
    OSError, http.client.HTTPException : the host cannot be reached, or breaks off.
    CutShortError, TooLongError : the answer is shorter than it said, or longer than is read.
    """
    parts = urlsplit(question.href)
    with _turn(parts.netloc):
        kept = _THREAD.take(parts)
        if kept is not None:
            # The host may have closed what we kept open: that is no fault of this question.
            with suppress(ConnectionError, ssl.SSLEOFError):
                return _exchange(kept, parts, question)
            METER.add(retries=1)
        return _exchange(_connection(parts, question.timeout), parts, question)


def resolve(host: str, port: int) -> list[str]:
    """Return the IP addresses of a host, from the system."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def _exchange(connection: HTTPConnection, parts: SplitResult, question: Question) -> Answer:
    """Send a question through a connection, and keep it if it can be used again."""
    METER.add(requests=1)
    target = quote(parts.path or "/", safe="/%:@!$&'()*+,;=~-._")
    if parts.query:
        target += "?" + quote(parts.query, safe="/?%:@!$&'()*+,;=~-._")
    try:
        if connection.sock is not None:
            connection.sock.settimeout(question.timeout)
        headers = _HEADERS | dict(question.headers)
        connection.request(question.method, target, question.body, headers)
        connection.sock.settimeout(question.timeout)
        with connection.getresponse() as response:
            body = _body(response, question)
            answer = Answer(response.status, _headers(response), body)
            reusable = not response.will_close
    except BaseException:
        connection.close()
        raise
    if reusable:
        _THREAD.keep(parts, connection)
    else:
        connection.close()
    return answer


def _headers(response: HTTPResponse) -> dict[str, str]:
    return {name.lower(): value for name, value in response.getheaders()}


def _body(response: HTTPResponse, question: Question) -> bytes:
    """Read an answer to its end, and no further than allowed."""
    due = response.length  # None: the host does not say, and ends by chunks or by hanging up
    if due is not None and due > question.most:
        raise TooLongError(f"it is {due} bytes long, and {question.most} are allowed")
    until = monotonic() + question.timeout + (due or question.most) / _SLOWEST
    chunks, length = [], 0
    while chunk := response.read1(_CHUNK):
        chunks.append(chunk)
        length += len(chunk)
        if length > question.most:
            raise TooLongError(f"it is longer than {question.most} bytes")
        if monotonic() > until:
            raise TimeoutError("it comes too slowly")
    METER.add(content=length)
    if due is not None and length != due:
        raise CutShortError(f"it was cut short: {length} of {due} bytes")
    return b"".join(chunks)


def _connection(parts: SplitResult, timeout: float) -> HTTPConnection:
    """Return a connection to a host, not yet open."""
    host, port = parts.hostname or "", parts.port
    if parts.scheme == "http":
        return _Plain(host, port or 80, timeout=timeout)
    proxy = None if is_loopback(host) or proxy_bypass(host) else getproxies().get("https")
    if proxy is None:
        return _Secure(host, port or 443, timeout=timeout, context=_tls())
    through = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
    connection = _Secure(
        through.hostname or "", through.port or 80, timeout=timeout, context=_tls(), judged=False
    )
    user = f"{unquote(through.username or '')}:{unquote(through.password or '')}"
    token = b64encode(user.encode()).decode()
    headers = {"Proxy-Authorization": f"Basic {token}"} if through.username else {}
    connection.set_tunnel(host, port or 443, headers)
    return connection


def _dial(address: tuple[str, int], timeout: float, _source: Any = None) -> socket.socket:
    """Connect to one of a host's addresses, if all of them are fit to be connected to."""
    host, port = address
    found = resolve(host, port)
    if not found or not all(may_connect(host, ip) for ip in found):
        raise NotPublicError(f"the name {host} leads to an address that is not public")
    for ip in found[:-1]:
        with suppress(OSError):
            return socket.create_connection((ip, port), min(timeout, _CONNECT))
    return socket.create_connection((found[-1], port), min(timeout, _CONNECT))


class _Plain(HTTPConnection):
    """Plain http, which only this machine is asked by."""

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self._create_connection = _dial

    def __del__(self) -> None:
        self.close()  # a thread ends with connections open


class _Secure(HTTPSConnection):
    """TLS with the host's own name, over a connection to the address that was judged."""

    def __init__(self, *given: Any, judged: bool = True, **named: Any) -> None:
        super().__init__(*given, **named)
        if judged:
            self._create_connection = _dial

    def __del__(self) -> None:
        self.close()


@cache
def _tls() -> ssl.SSLContext:
    return ssl.create_default_context()


class _Thread(local):
    """The connections that one thread keeps open, by host; a forked process begins with none."""

    def __init__(self) -> None:
        self._kept: dict[tuple[int, str, str], HTTPConnection] = {}

    def take(self, parts: SplitResult) -> HTTPConnection | None:
        return self._kept.pop((os.getpid(), parts.scheme, parts.netloc), None)

    def keep(self, parts: SplitResult, connection: HTTPConnection) -> None:
        self._kept[os.getpid(), parts.scheme, parts.netloc] = connection


_THREAD = _Thread()
_TURNS: dict[tuple[int, str], BoundedSemaphore] = defaultdict(lambda: BoundedSemaphore(_AT_ONCE))
_TURNS_LOCK = Lock()


def _turn(place: str) -> BoundedSemaphore:
    with _TURNS_LOCK:
        return _TURNS[os.getpid(), place]
