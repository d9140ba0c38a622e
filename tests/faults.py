"""A server on this machine that sends parts of files, and goes wrong as it is told to.

Which requests go wrong is drawn by their number from a seed, so that the share of them is the same
at every run; which file each fault meets depends on the threads that ask.
"""

import random
import socket
import ssl
import struct
import threading
import time
from collections import Counter
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

import rasterio

from pipeline import remote
from pipeline.remote import Access

KINDS = ("429", "503", "reset", "timeout", "short", "length", "elsewhere", "flipped", "page")
SLOW = 0.8  # seconds that a "timeout" takes: longer than the tests let a client wait
_PAGE = b"<!DOCTYPE html><html><body>Please sign in</body></html>"


@dataclass(frozen=True)
class Request:
    """What a client asked for, and what it got."""

    method: str
    path: str
    query: str
    headers: dict[str, str]
    body: bytes
    fault: str | None


@dataclass
class Script:
    """What a server does."""

    folder: Path
    share: float = 0.0
    """Of requests that go wrong."""
    seed: int = 0
    kinds: tuple[str, ...] = KINDS
    """The faults that are drawn from."""
    queue: list[str | None] = field(default_factory=list)
    """Faults of the first requests, in order, instead of drawn ones; None: no fault."""
    permanent: dict[str, str] = field(default_factory=dict)
    """By path, a fault that always happens: "404" for instance."""
    retry_after: str = "0"
    words: str | None = None
    """What must be in the query, or it is a 403."""
    parts: bool = True
    """Whether it sends parts, or only whole files."""
    redirect: dict[str, str] = field(default_factory=dict)
    """By path, where it sends the client instead."""
    asked: list[Request] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def faults(self) -> Counter:
        return Counter(request.fault for request in self.asked if request.fault)

    def draw(self, path: str) -> str | None:
        """Return the fault of the next request; the lock is held."""
        if path in self.permanent:
            return self.permanent[path]
        number = len(self.asked)
        if number < len(self.queue):
            return self.queue[number]
        chance = _chance(self.seed, number)
        return chance.choice(self.kinds) if chance.random() < self.share else None


class _Handler(BaseHTTPRequestHandler):
    """Follows a script."""

    script: Script
    protocol_version = "HTTP/1.1"
    timeout = 5
    disable_nagle_algorithm = True

    def do_GET(self):
        fault, path, query = self.note()
        script = self.script
        if fault is None and script.words and script.words not in query:
            fault = "403"
        if path in script.redirect:
            self.say(302, b"", {"Location": script.redirect[path]})
        elif fault is not None and fault.isdigit():
            self.say(int(fault), b"", {"Retry-After": script.retry_after})
        elif fault == "page":
            self.say(200, _PAGE, {"Content-Type": "text/html"})
        elif fault == "timeout":
            time.sleep(SLOW)
            self.close_connection = True
        elif fault == "reset":
            self.reset()
        else:
            self.send_file(script.folder / path.lstrip("/"), fault)

    do_POST = do_GET  # noqa: N815

    def note(self):
        """Write a request down, with the fault that it will meet."""
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        parts = urlsplit(self.path)
        path, told = unquote(parts.path), dict(self.headers.items())
        with self.script.lock:
            fault = self.script.draw(path)
            self.script.asked.append(Request(self.command, path, parts.query, told, body, fault))
        return fault, path, parts.query

    def send_file(self, file, fault):
        if not file.is_file():
            return self.say(404, b"")
        content = file.read_bytes()
        status, extra = 200, {"ETag": f'"{file.stat().st_mtime_ns}"'}
        asked = self.headers.get("range")
        if asked and self.script.parts:
            first, last = (int(n) for n in asked.removeprefix("bytes=").split("-"))
            last = min(last, len(content) - 1)
            if first > last:
                return self.say(416, b"")
            if fault == "elsewhere":  # another part than was asked for, and it says so
                first, last = (first + 1, min(last + 1, len(content) - 1))
            extra["Content-Range"] = f"bytes {first}-{last}/{len(content)}"
            status, content = 206, content[first : last + 1]
        length = len(content)
        if fault == "flipped":
            place = _chance(self.script.seed, len(self.script.asked)).randrange(length)
            content = content[:place] + bytes([content[place] ^ 16]) + content[place + 1 :]
        if fault in ("short", "length"):
            content = content[: length // 2]
        self.say(status, content, extra, length if fault == "short" else len(content))
        self.close_connection |= fault == "short"
        return None

    def say(self, status, body, extra=None, length=None):
        self.send_response(status)
        for name, value in (extra or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        self.wfile.write(body)

    def reset(self):
        linger = struct.pack("ii", 1, 0)  # close at once, with a reset instead of a farewell
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.close_connection = True
        self.rfile.close()
        self.connection.close()

    def finish(self):
        with suppress(OSError, ValueError):  # it was reset
            super().finish()

    def log_message(self, *_args):
        pass


def _chance(seed, number):
    return random.Random(f"{seed} {number}")  # noqa: S311


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, *_args):
        pass  # clients that hang up are part of the game

    def shutdown_request(self, request):
        with suppress(OSError):
            super().shutdown_request(request)


@contextmanager
def faulty(folder: Path, tls: ssl.SSLContext | None = None, **wanted):
    """Serve a folder by a script; gives the address and the script."""
    script = Script(Path(folder), **wanted)
    server = _Server(("127.0.0.1", 0), type("Handler", (_Handler,), {"script": script}))
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", script
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def http_date(seconds: float) -> str:
    """Return a moment from now as a header says it."""
    return formatdate(time.time() + seconds, usegmt=True)


def only(*addresses, **given):
    """Return access to servers of the test, and to nothing else."""
    return Access(hosts=tuple(a.removeprefix("http://") for a in addresses), **given)


def pixels(href, access):
    """Return the pixels of a raster, as bytes."""
    with rasterio.Env(**remote.GDAL_SETTINGS), remote.open_raster(href, access) as opened:
        return opened.read(1).tobytes()
