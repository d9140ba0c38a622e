"""What an item's assets are called, declare and weigh, and whether they lie where it says."""

import hashlib
from collections.abc import Iterable, Mapping
from contextlib import suppress
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pystac
from rasterio.errors import RasterioError
from rasterio.warp import transform_bounds
from shapely.errors import ShapelyError
from shapely.geometry import box, shape

from pipeline import remote
from pipeline.cube.source import Source, opened, told
from pipeline.errors import CatalogError, ReadError
from pipeline.files import Json
from pipeline.plan import Band, Sensor
from pipeline.plan.names import goes_by, kind_of

_HASHES = {"1114": "sha1", "1220": "sha256", "1340": "sha512"}  # how a multihash of each begins
_CODE = 4  # digits of that beginning: the kind of hash and its length
_TWIN = "-jp2"  # Earth Search lists the original of each asset under this ending
_SLACK = 0.05  # degrees: footprints are simplified
_STEP = 1e-3  # pixels by which a declared grid may differ from the file's


def find(item: pystac.Item, names: Iterable[str]) -> str | None:
    """Return the key of the asset that goes by the first of some names; `*` stands for anything.

    A name with `*` is of the last part of a key, which may lack the extension if its file has it.

    Raises
    ------
    CatalogError : several assets go by one name, and not one of them alone is of its kind of file.
    """
    offered = offers(item)
    for name in names:
        found = [key for key in offered if goes_by(key, name)]
        right = [key for key in found if _is_kind(item.assets[key], name)]
        # A key without the extension may be that of a picture, so then its file has to have it.
        found = right or [key for key in found if key == name or fnmatchcase(_last(key), name)]
        if len(found) > 1:
            raise CatalogError(
                f"several of its assets go by the name {name} ({', '.join(found)})",
                where=f"item {item.id}",
                remedy="put the key of the right one first in the sensor's YAML, or leave the "
                "item out",
            )
        if found:
            return found[0]
    return None


def _last(key: str) -> str:
    return key.rsplit("/", 1)[-1]


def _is_kind(asset: pystac.Asset, name: str) -> bool:
    """Return whether an asset's file has the extension that a name asks for."""
    return kind_of(urlsplit(asset.href).path).lower() == kind_of(name).lower()


def offers(item: pystac.Item) -> list[str]:
    """Return the keys of an item's assets, in order, without twins of other formats."""
    return sorted(key for key in item.assets if not key.endswith(_TWIN))


def declared(asset: pystac.Asset, number: int = 1) -> dict[str, float]:
    """Return what an asset says of a band's numbers: scale, offset, nodata.

    STAC 1.1 moved the place from `raster:bands` to `bands` and renamed the keys.
    """
    fields = asset.extra_fields
    places: list[Mapping[str, Any]] = [fields]
    for key in ("bands", "raster:bands"):
        bands = fields.get(key)
        if isinstance(bands, list) and bands:
            band = bands[min(number, len(bands)) - 1]
            places += [band] if isinstance(band, dict) else []
    found = {}
    for place in places:
        for key in ("scale", "offset", "nodata"):
            value: Any = place.get(f"raster:{key}", place.get(key))
            with suppress(TypeError, ValueError):  # a null, or a word that is no number
                found[key] = float(value)
    if found.get("scale") == 0.0:
        del found["scale"]  # it would make every pixel the same
    return found


def stamp(asset: pystac.Asset, source: Source) -> dict[str, Json]:
    """Return what tells a changed asset from the same one, wherever it lies.

    Its address is given less its signature, a file of this machine by its name.

    Raises
    ------
    ReadError : it cannot be read, or is not the file that the asset declares: of another size
        (`file:size`), or, where it lies on this machine, with another hash (`file:checksum`: SHA-1,
        SHA-256 or SHA-512; of others nothing is said).
    """
    href = source.href
    shown = href.split("?", 1)[0] if remote.is_address(href) else Path(href).name
    with told(source):
        found = remote.stamp(href, source.access)
    said = asset.extra_fields
    checksum = str(said.get("file:checksum", "")).lower()
    promised = {"size": said.get("file:size"), _HASHES.get(checksum[:_CODE]): checksum[_CODE:]}
    for what, value in promised.items():
        has = found.get(what) if what in found else _digest(source, what)
        if value is not None and has is not None and has != value:
            raise ReadError(
                f"is not the file its item declares: its {what} is {has}, not {value}",
                where=f"{source.label} ({shown})",
                remedy="fetch the asset again, or leave its item out",
            )
    return {"href": shown, **found}


def _digest(source: Source, kind: str | None) -> str | None:
    """Return a hash of a file of this machine; None for a remote one."""
    if kind is None or kind not in _HASHES.values() or remote.is_address(source.href):
        return None
    with Path(source.href).open("rb") as file:
        made = hashlib.file_digest(file, lambda: hashlib.new(kind, usedforsecurity=False))
    return made.hexdigest()


def bands_of(item: pystac.Item, sensor: Sensor) -> dict[str, tuple[str, Band]]:
    """Return by band the key of the asset that an item has for it, where it has one."""
    found = {name: (find(item, band.assets), band) for name, band in sensor.bands.items()}
    return {name: (key, band) for name, (key, band) in found.items() if key is not None}


def contradictions(item: pystac.Item, asset: pystac.Asset, source: Source) -> list[str]:
    """Return, in sentences, where an item's word on an asset's grid differs from the file's."""
    file = opened(source)
    said = {**item.properties, **asset.extra_fields}
    told = []
    size = said.get("proj:shape")
    if isinstance(size, list) and tuple(size) != file.shape:
        told.append(f"it declares {_times(size)} pixels, the file has {_times(file.shape)}")
    steps = said.get("proj:transform")
    ours = np.array(file.grid.affine[:6])
    if isinstance(steps, list) and len(steps) >= len(ours):
        with suppress(TypeError, ValueError):
            apart = np.abs(np.array(steps[: len(ours)], float) - ours).max()
            if apart > _STEP * abs(file.grid.resolution.x):
                told.append("it declares another geotransform than the file has")
    code = said.get("proj:code") or said.get("proj:epsg")
    crs = str(file.grid.crs)
    if code is not None and crs.startswith("EPSG:") and str(code).split(":")[-1] != crs[5:]:
        told.append(f"it declares {code}, the file is in {crs}")
    return [f"{sentence}; the file is believed" for sentence in told]


def elsewhere(item: pystac.Item, source: Source) -> bool:
    """Return whether a file lies wholly outside the footprint of its item."""
    if item.geometry is None:
        return False
    dataset = opened(source).dataset
    try:
        footprint = shape(item.geometry)
        west, south, east, north = transform_bounds(dataset.crs, "EPSG:4326", *dataset.bounds)
    except (RasterioError, ShapelyError, ValueError, TypeError, KeyError):
        return False  # a footprint or an extent that cannot be drawn says nothing
    if not np.isfinite([west, south, east, north]).all():
        return False
    crosses = west > east  # the antimeridian
    parts = [(west, 180.0), (-180.0, east)] if crosses else [(west, east)]
    grown = [box(w - _SLACK, south - _SLACK, e + _SLACK, north + _SLACK) for w, e in parts]
    return not any(footprint.intersects(part) for part in grown)


def _times(size: Iterable[Any]) -> str:
    return " x ".join(str(side) for side in size)
