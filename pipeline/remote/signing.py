"""How a read is authorised, at the moment of reading: what is secret stays in here.

Planetary Computer gives a short-lived signature for each storage container
(https://planetarycomputer.microsoft.com/docs/concepts/sas/, "token" endpoint); others take a token
or a user name and password, which come from the environment of the process that reads.
"""

import json
import os
import re
from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from threading import Lock
from urllib.parse import urlsplit

from pipeline.errors import ReadError
from pipeline.remote.address import Access, is_loopback, shown, trusts

_MARGIN = 300.0  # seconds before its end at which a signature is not used any more
_STORAGE = ".blob.core.windows.net"
_ACCOUNT = re.compile(r"[a-z0-9]{3,24}")
_CONTAINER = re.compile(r"[a-z0-9$][a-z0-9-]{2,62}")


@dataclass(frozen=True)
class _Signature:
    """A signature of one container, and until when it is used."""

    token: str = field(repr=False)
    until: datetime


_LOCK = Lock()
_SIGNATURES: dict[str, _Signature] = {}  # by the address that gives them


def authorise(
    href: str, access: Access, ask: Callable[[str, Access], str]
) -> tuple[str, dict[str, str]]:
    """Return the address to ask and the headers to send, authorised as the access says.

    Parameters
    ----------
    ask : reads a document by address; used where a signature has to be fetched.

    Raises
    ------
    ReadError : an environment variable is missing, or no signature can be had.
    """
    if access.scheme == "planetary-computer":
        place = _signer(href, access)
        return (href, {}) if place is None else (_signed(href, place, access, ask), {})
    if access.scheme == "open" or not trusts(href, access):
        return href, {}
    if access.scheme == "bearer":
        return href, {"Authorization": f"Bearer {_secret(access.credentials[0])}"}
    user, password = (_secret(name) for name in access.credentials[:2])
    return href, {"Authorization": "Basic " + b64encode(f"{user}:{password}".encode()).decode()}


def renew(href: str, access: Access) -> bool:
    """Drop the signature of an address; return whether a new one may help."""
    place = _signer(href, access) if access.scheme == "planetary-computer" else None
    if place is None:
        return False
    with _LOCK:
        _SIGNATURES.pop(place, None)
    return True


def require_credentials(access: Access) -> None:
    """Raise ReadError for an environment variable that reads will need and that is not set."""
    if access.scheme in ("bearer", "basic"):
        for name in access.credentials:
            _secret(name)


def _secret(name: str) -> str:
    value = os.environ.get(name, "").strip()
    if not value:
        raise ReadError(
            f"the environment variable {name} is not set",
            where="credentials",
            remedy=f"set {name} to what the catalog's provider gave you, and run again",
        )
    if not (value.isascii() and value.isprintable()):
        raise ReadError(
            f"the environment variable {name} holds what no token can hold",
            where="credentials",
            remedy=f"set {name} again: plain letters, figures and signs on one line",
        )
    return value


def _signer(href: str, access: Access) -> str | None:
    """Return the address that signs an address, if it is one of Azure's storage.

    A server on this machine is laid out as the storage emulator is: account and container are the
    first two parts of the path.
    """
    parts = urlsplit(href)
    host, path = parts.hostname or "", parts.path.split("/")[1:]
    if host.endswith(_STORAGE):
        path.insert(0, host.removesuffix(_STORAGE))
    elif not is_loopback(host):
        return None
    if access.signing is None or len(path) < 3:
        return None
    account, container = path[:2]
    if not (_ACCOUNT.fullmatch(account) and _CONTAINER.fullmatch(container)):
        return None
    return f"{access.signing.rstrip('/')}/{account}/{container}"


def _signed(href: str, place: str, access: Access, ask: Callable[[str, Access], str]) -> str:
    # One thread asks and the others wait for what it gets: signing services are slow and strict.
    with _LOCK:
        signature = _SIGNATURES.get(place)
        if signature is None or datetime.now(UTC) >= signature.until:
            signature = _SIGNATURES[place] = _fetched(place, access, ask)
    return f"{href}{'&' if '?' in href else '?'}{signature.token}"


def _fetched(place: str, access: Access, ask: Callable[[str, Access], str]) -> _Signature:
    signers = Access(
        hosts=(urlsplit(place).netloc,),
        tries=access.tries,
        pause=access.pause,
        patience=access.patience,
    )
    answer = ask(place, signers)
    try:
        content = json.loads(answer)
        token, end = (
            str(content["token"]).lstrip("?"),
            datetime.fromisoformat(content["msft:expiry"]),
        )
        now = datetime.now(UTC)
        life = (end - now).total_seconds()
        # A signature that lives shortly is still worth keeping for half of its life.
        margin = min(_MARGIN, max(life, 0.0) / 2)
        return _Signature(token, datetime.fromtimestamp(end.timestamp() - margin, UTC))
    except (ValueError, TypeError, KeyError) as error:
        raise ReadError(
            "gives no signature that can be used",
            where=shown(place),
            remedy="check 'signing' in the catalog's YAML, or run again later",
        ) from error
