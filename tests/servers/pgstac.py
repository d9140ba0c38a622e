"""A real STAC API on this machine: stac-fastapi-pgstac over a private PostgreSQL with PostGIS.

Everything lies in one temporary folder, listens on 127.0.0.1 only, and is gone when the context
ends. PostgreSQL refuses to run as root, so a root user hands it to the `postgres` user.
"""

import json
import os
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.request import urlopen

ROOT = Path(__file__).resolve().parents[2]
STAC = ROOT / ".venv-stac" / "bin"
_USER = "postgres"
_START = 60.0  # seconds that a server is waited for


def postgres():
    """Return the folder of PostgreSQL's programs, or None where it is not installed."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return found[-1].parent if found else None


def ready():
    """Return whether everything that this needs is installed."""
    return postgres() is not None and (STAC / "uvicorn").is_file()


@contextmanager
def api(collections, items):
    """Run a STAC API that holds these collections and items; gives its address."""
    folder = Path(tempfile.mkdtemp(prefix="stac-"))
    try:
        with _database(folder) as env:
            _call([STAC / "pypgstac", "migrate"], env)
            _load(folder, "collections", collections, env)
            _load(folder, "items", items, env)
            with _server(folder, env) as address:
                yield address
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _database(folder):
    """Run a database cluster of its own; gives the environment that reaches it."""
    programs, data, port, word = postgres(), folder / "data", _free_port(), secrets.token_hex(16)
    secret = folder / "password"
    secret.write_text(word)
    hand_over = []
    if os.getuid() == 0:
        shutil.chown(folder, _USER)
        shutil.chown(secret, _USER)
        hand_over = ["setpriv", f"--reuid={_USER}", f"--regid={_USER}", "--clear-groups"]
    control = [*hand_over, programs / "pg_ctl", "-D", data, "-l", folder / "database.log", "-w"]
    make = [*hand_over, programs / "initdb", "-D", data, "-U", _USER, "--no-locale", "-E", "UTF8"]
    _call([*make, f"--pwfile={secret}", "--auth=scram-sha-256", "--no-sync"])
    options = f"-h 127.0.0.1 -p {port} -k {folder} -c fsync=off -c max_connections=50"
    _call([*control, "-o", options, "start"])
    try:
        yield {
            "PATH": os.environ["PATH"],
            "PGHOST": "127.0.0.1",
            "PGPORT": str(port),
            "PGUSER": _USER,
            "PGPASSWORD": word,
            "PGDATABASE": _USER,
        }
    finally:
        _call([*control, "-m", "immediate", "stop"])


@contextmanager
def _server(folder, env):
    """Run the API; gives its address as soon as it answers."""
    port = _free_port()
    address = f"http://127.0.0.1:{port}"
    command = [STAC / "uvicorn", "stac_fastapi.pgstac.app:create_app", "--factory"]
    with (folder / "api.log").open("w") as log:
        process = subprocess.Popen(
            [*command, "--host", "127.0.0.1", "--port", str(port)],
            env=env | {"ENABLED_EXTENSIONS": "query,sort,fields,filter,pagination"},
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=folder,
        )
    try:
        _wait_for(address, process, folder / "api.log")
        yield address
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_for(address, process, log):
    deadline = time.monotonic() + _START
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"the STAC API ended: {log.read_text()[-2000:]}")
        with suppress(OSError), urlopen(address, timeout=5) as answer:  # noqa: S310 (loopback)
            if answer.status == 200:
                return
        time.sleep(0.2)
    raise RuntimeError(f"the STAC API does not answer: {log.read_text()[-2000:]}")


def _load(folder, kind, documents, env):
    path = folder / f"{kind}.ndjson"
    path.write_text("".join(json.dumps(document) + "\n" for document in documents))
    _call([STAC / "pypgstac", "load", kind, path, "--method", "insert"], env)


def _call(command, env=None):
    done = subprocess.run(
        [str(c) for c in command], env=env, capture_output=True, text=True, cwd="/"
    )
    if done.returncode:
        raise RuntimeError(
            f"{Path(str(command[-1])).name}: {done.stdout[-1000:]}{done.stderr[-2000:]}"
        )


def _free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
