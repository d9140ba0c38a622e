"""Which catalog a user means, and how what it names may be read."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pipeline import remote
from pipeline.errors import PlanError, did_you_mean
from pipeline.plan import Catalog, Configs, Search
from pipeline.remote import Access


@dataclass(frozen=True)
class Place:
    """A catalog that can be searched: where it is, and how what it names may be read."""

    href: str
    """Path or address of a STAC catalog, collection, item file, stac-geoparquet file or API."""
    access: Access
    name: str | None = None
    """Its name in configs/catalogs/, if it is one of those."""
    alternate: str | None = None
    """Name of the alternate href to read, where assets offer one."""
    https: tuple[tuple[str, str], ...] = ()
    """How addresses that begin in one way (an open bucket, s3://) begin over https."""

    @property
    def shown(self) -> str:
        """Where it is, without what may be secret in an address."""
        return remote.shown(self.href)

    def href_of(self, asset: Mapping[str, Any]) -> str:
        """Return the href of an asset as it is to be read here."""
        other = asset.get("alternate", {}).get(self.alternate) if self.alternate else None
        href = str(other["href"] if other else asset["href"])
        for start, secure in self.https:
            if href.startswith(start):
                return secure + href.removeprefix(start)
        return href

    @property
    def documents(self) -> Access:
        """How the catalog itself is read: its search is open unless the user holds a key to it."""
        held = [name for name in self.access.credentials if os.environ.get(name)]
        if self.access.scheme in ("bearer", "basic") and len(held) == len(self.access.credentials):
            return self.access
        return replace(self.access, scheme="open", credentials=(), signing=None)


def locate(given: str, wanted: Search, configs: Configs) -> Place:
    """Return the catalog that a user named: one of configs/catalogs/, an address or a path.

    Items of a local catalog may also be read from the hosts of the known catalogs that are open.

    Raises
    ------
    PlanError : it is none of these, or its configuration is wrong.
    """
    names = configs.names("catalogs")
    if given in names:
        return _known(given, configs.catalog(given), wanted)
    catalogs = {name: configs.catalog(name) for name in names}
    if remote.is_address(given):
        for name, catalog in catalogs.items():
            if catalog.address.rstrip("/") == given.rstrip("/"):
                return _known(name, catalog, wanted)
        return Place(given, Access(hosts=(urlsplit(given).netloc, *wanted.hosts)))
    if not Path(given).suffix and not Path(given).exists():
        raise PlanError(
            f"the catalog '{Path(given).name}' is not known, and is no address and no file",
            where="search.catalog",
            remedy=did_you_mean(Path(given).name, names),
        )
    open_hosts = [h for c in catalogs.values() if c.access == "open" for h in _hosts(c)]
    access = Access(local=True, hosts=tuple(dict.fromkeys([*open_hosts, *wanted.hosts])))
    # Absolute, so that what its items name is found from wherever a worker stands.
    return Place(str(Path(given).absolute()), access)


def _known(name: str, catalog: Catalog, wanted: Search) -> Place:
    access = Access(
        hosts=(*_hosts(catalog), *wanted.hosts),
        scheme=catalog.access,
        credentials=catalog.credentials,
        signing=catalog.signing,
        trusted=_hosts(catalog),  # and not the hosts that a workflow adds
    )
    return Place(catalog.address, access, name, catalog.alternate, tuple(catalog.https.items()))


def _hosts(catalog: Catalog) -> tuple[str, ...]:
    return (urlsplit(catalog.address).netloc, *catalog.hosts)
