"""What an item's assets are called, declare and weigh, and whether they lie where it says."""

from collections.abc import Iterable, Mapping
from contextlib import suppress
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np
import pystac
from rasterio.errors import RasterioError
from rasterio.warp import transform_bounds
from shapely.errors import ShapelyError
from shapely.geometry import box, shape

from pipeline import remote
from pipeline.cube.source import Source, opened, told
from pipeline.errors import ReadError
from pipeline.files import Json
from pipeline.plan import Band, Sensor

_SHA256 = "1220"  # how a multihash of 32 bytes of SHA-256 begins
_TWIN = "-jp2"  # Earth Search lists the original of each asset under this ending
_SLACK = 0.05  # degrees: footprints are simplified
_STEP = 1e-3  # pixels by which a declared grid may differ from the file's


def find(item: pystac.Item, names: Iterable[str]) -> str | None:
    """Return the key of the asset that goes by the first of some names; `*` stands for anything."""
    offered = offers(item)
    for name in names:
        if name in offered:
            return name
        if "*" in name and (found := [key for key in offered if fnmatchcase(key, name)]):
            return found[0]
    return None


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
        (`file:size`), or, where it lies on this machine, with another SHA-256 (`file:checksum`).
    """
    href = source.href
    shown = href.split("?", 1)[0] if remote.is_address(href) else Path(href).name
    with told(source):
        found = remote.stamp(href, source.access)
    said = asset.extra_fields
    checksum = str(said.get("file:checksum", ""))
    promised = {"size": said.get("file:size")}
    if checksum.startswith(_SHA256):
        promised["sha256"] = checksum.removeprefix(_SHA256)
    for what, value in promised.items():
        if value is not None and what in found and found[what] != value:
            raise ReadError(
                f"is not the file its item declares: its {what} is {found[what]}, not {value}",
                where=f"{source.label} ({shown})",
                remedy="fetch the asset again, or leave its item out",
            )
    return {"href": shown, **found}


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
