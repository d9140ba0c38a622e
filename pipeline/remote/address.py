"""What may be opened: an address is judged before anything connects to it.

What a catalog says is not trusted. An href may be a path only where the catalog itself is a local
file, and an address only over https (plain http is for a server on this machine), of a host on the
list, which must be a public one.
"""

import ipaddress
from dataclasses import dataclass
from typing import Literal
from urllib.parse import SplitResult, urlsplit

from pipeline.errors import ReadError

_LOOPBACK = {"127.0.0.1", "::1", "localhost"}
_EMBEDS_V4 = ipaddress.IPv6Network("64:ff9b::/96")  # NAT64: the last four bytes are an IPv4 address


@dataclass(frozen=True)
class Access:
    """What may be opened and how a read is authorised: it travels with every address.

    Nothing secret is in it: a token comes from the environment of the process that reads.
    """

    local: bool = False
    """Whether plain paths may be opened: only where the catalog itself is a local file."""
    hosts: tuple[str, ...] = ()
    """Hosts that may be asked; `host:port` where the port is not the usual one, `*.example.org`
    for any below it."""
    scheme: Literal["open", "planetary-computer", "bearer", "basic"] = "open"
    credentials: tuple[str, ...] = ()
    """Environment variables: of the token, or of the user name and the password."""
    signing: str | None = None
    """Address that gives signatures."""
    tries: int = 12
    """How often one range or document is asked for before it counts as unreadable."""
    pause: float = 0.5
    """Seconds before the second try; it doubles from there, up to 30."""
    patience: float = 300.0
    """Seconds that one process may lose to faults of one host; once lost, nothing is retried."""
    trusted: tuple[str, ...] | None = None
    """Hosts that credentials are sent to, of those above; None: all that are named in full. A
    wildcard is never given a credential."""


LOCAL = Access(local=True)
"""Plain paths only."""


def is_address(href: str) -> bool:
    """Return whether an href names a host (rather than a file on this machine).

    >>> is_address("https://example.org/a.tif"), is_address("/data/a.tif")
    (True, False)
    """
    return href.lower().startswith(("http:", "https:"))


def check(href: str, access: Access, where: str) -> str:
    """Return the href if it may be opened, before anything connects to it.

    Parameters
    ----------
    where : the item or catalog that names it, for the message.

    Raises
    ------
    ReadError : for a GDAL virtual path, another scheme, plain http to a foreign host, a user name
        in the address, a host that is not on the list, or a local path that a remote catalog names.
    """
    try:
        allowed = _allowed(href, access)
    except ValueError:  # brackets or a port that no address has
        allowed = False
    if not allowed:
        raise ReadError(
            f"the address '{shown(href)}' is refused",
            where=where,
            remedy="use https addresses of the catalog's own hosts (search.hosts adds one), or "
            "plain paths in a local catalog",
        )
    return href


def is_loopback(host: str) -> bool:
    """Return whether a host's name is literally this machine."""
    return host in _LOOPBACK


def may_connect(host: str, address: str) -> bool:
    """Return whether a host's name may lead to an IP address.

    A public name must not lead into a private network, wherever its DNS entry points; only the
    names of this machine lead to this machine.
    """
    found = ipaddress.ip_address(address.partition("%")[0])
    if is_loopback(host):
        return found.is_loopback
    return all(inner.is_global and not inner.is_multicast for inner in _layers(found))


def trusts(href: str, access: Access) -> bool:
    """Return whether credentials may be sent to an address."""
    hosts = access.hosts if access.trusted is None else access.trusted
    return _listed(urlsplit(href), tuple(host for host in hosts if not host.startswith("*")))


def shown(href: str) -> str:
    """Return an href without what may be secret: its query and its user name and password.

    >>> shown("https://me:secret@example.org/a.tif?sig=secret")
    'https://example.org/a.tif'
    """
    scheme, slashes, rest = href.partition("#")[0].partition("?")[0].partition("://")
    host, slash, path = rest.partition("/")
    return f"{scheme}{slashes}{host.rpartition('@')[2]}{slash}{path}"


def _allowed(href: str, access: Access) -> bool:
    if not is_address(href):
        return access.local and not urlsplit(href).scheme and not href.startswith("/vsi")
    if not href.isprintable() or "\\" in href:
        return False  # parsers differ on these
    parts = urlsplit(href)
    here = is_loopback(parts.hostname or "")
    if parts.username is not None or not parts.hostname or not (parts.scheme == "https" or here):
        return False
    if parts.port not in (None, 443) and not here:
        return False
    return _listed(parts, access.hosts)


def _listed(parts: SplitResult, hosts: tuple[str, ...]) -> bool:
    name, place = parts.hostname or "", parts.netloc.lower()
    return any(
        name.endswith(host[1:].lower()) if host.startswith("*.") else host.lower() in (name, place)
        for host in hosts
    )


def _layers(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> list[ipaddress.IPv4Address | ipaddress.IPv6Address]:
    """Return an address and whatever IPv4 address it carries inside."""
    if isinstance(address, ipaddress.IPv4Address):
        return [address]
    if address.ipv4_mapped is not None:
        return [address.ipv4_mapped]
    inner = [address.sixtofour, *(address.teredo or ())]
    if address in _EMBEDS_V4:
        inner.append(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
    return [address, *(found for found in inner if found is not None)]
