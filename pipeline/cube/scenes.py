"""What an item offers, as a sensor sees it: which asset is which band, and what its counts mean."""

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pystac
import rasterio
from odc.geo.crs import CRS

from pipeline.cube.source import Source, opened
from pipeline.errors import CatalogError, RegionError
from pipeline.files import Json
from pipeline.plan import Composite, Sensor
from pipeline.remote import GDAL_SETTINGS, LOCAL, Access

_MEDIAN = Composite()


@dataclass(frozen=True)
class Scene:
    """One item, ready to be read: a source per band and per mask, in the sensor's order."""

    item: str
    datetime: datetime | None
    bands: tuple[Source, ...]
    masks: tuple[Source | None, ...] = ()
    """None: the item lacks that mask, and the sensor lets it."""
    sun: tuple[float, float] | None = None
    """Elevation and azimuth, degrees, if the item says."""


@dataclass(frozen=True)
class Imagery:
    """The scenes of one sensor over a region, and how they become one picture."""

    name: str
    """The sensor's name in configs/sensors/."""
    sensor: Sensor
    scenes: tuple[Scene, ...]
    composite: Composite = _MEDIAN
    tolerant: bool = False
    """Whether a scene that cannot be read in a block is left out there and reported, rather than
    ending the run."""


@dataclass(frozen=True)
class Made:
    """What became of items: scenes, and the reasons of those that did not become one."""

    scenes: tuple[Scene, ...]
    dropped: Mapping[str, str]
    """By item id, why it is left out: its offset cannot be decided, an asset is missing."""
    notes: Mapping[str, dict[str, Json]]
    """By item id, for the lock: what its counts are taken to mean and why, what its files are."""


def make_scenes(
    items: Iterable[pystac.Item],
    sensor: Sensor,
    access: Access = LOCAL,
    trust: str | None = None,
) -> Made:
    """Turn items into scenes, in their order, with every asset that the sensor needs.

    Scale and offset are what the asset declares (`raster:bands`, or `bands` since STAC 1.1), else
    the sensor's; so is nodata, and the file's own if neither says.

    Parameters
    ----------
    trust : whom to believe where what is declared and what is seen differ ("declared", "baseline",
        "observed"); None: nobody.

    Raises
    ------
    CatalogError : an item lacks the asset of a band or of the mask.
    """
    del trust  # nobody is in doubt yet
    return Made(tuple(_scene(item, sensor, access) for item in items), {}, {})


def native_grid(scene: Scene, sensor: Sensor) -> tuple[CRS, float, tuple[float, float]]:
    """Return the CRS, the pixel size and a pixel corner (x, y), in metres, of a scene's own pixels.

    They are those of the band whose pixels are nearest to the sensor's resolution, and are read
    from its file: what items say of them is often stale.

    Raises
    ------
    ReadError : a band cannot be opened.
    RegionError : its pixels are not square, or not in metres.
    """
    with rasterio.Env(**GDAL_SETTINGS):
        grids = [opened(source).grid for source in scene.bands]
    grid = min(grids, key=lambda g: abs(abs(g.resolution.x) - sensor.resolution))
    width, height = abs(grid.resolution.x), abs(grid.resolution.y)
    crs = grid.crs
    if crs is None or not crs.projected or abs(width - height) > 1e-6 * width:
        raise RegionError(
            "its pixels are not squares in metres",
            where=f"item {scene.item}",
            remedy="give the maps a projected CRS and a resolution: grid.crs and grid.resolution",
        )
    return crs, width, (grid.affine.c, grid.affine.f)


def _scene(item: pystac.Item, sensor: Sensor, access: Access) -> Scene:
    bands = tuple(
        _source(item, f"band '{name}'", band.assets, sensor, access, band.number)
        for name, band in sensor.bands.items()
    )
    masks = tuple(
        _source(item, "quality mask", mask.assets, sensor, access, mask.number)
        for mask in sensor.masks
    )
    when = item.datetime or item.common_metadata.start_datetime
    return Scene(item.id, when, bands, masks)


def _source(
    item: pystac.Item,
    role: str,
    names: tuple[str, ...],
    sensor: Sensor,
    access: Access,
    number: int,
) -> Source:
    name = next((name for name in names if name in item.assets), None)
    if name is None:
        raise CatalogError(
            f"it has no asset for the {role} (looked for {', '.join(names)}; "
            f"it offers {', '.join(sorted(item.assets)) or 'none'})",
            where=f"item {item.id}",
            remedy="add the name its asset goes by to the sensor's YAML, or leave the item out",
        )
    asset = item.assets[name]
    declared = _declared(asset)
    scale, offset = sensor.scale, sensor.offset
    # Scale and offset are one statement: an item that gives a scale alone means an offset of zero.
    if "scale" in declared or "offset" in declared:
        scale, offset = declared.get("scale", 1.0), declared.get("offset", 0.0)
    return Source(
        label=f"item {item.id}, asset {name}",
        href=asset.get_absolute_href() or asset.href,
        scale=scale,
        offset=offset,
        nodata=declared.get("nodata", None if role == "quality mask" else sensor.nodata),
        number=number,
        access=access,
    )


def _declared(asset: pystac.Asset) -> dict[str, float]:
    """Return what an asset itself says of its numbers; STAC 1.1 moved and renamed the place."""
    fields = asset.extra_fields
    places: list[Mapping[str, Any]] = [fields]
    for key in ("bands", "raster:bands"):
        bands = fields.get(key)
        if isinstance(bands, list) and bands and isinstance(bands[0], dict):
            places.append(bands[0])
    found = {}
    for place in places:
        for key in ("scale", "offset", "nodata"):
            value: Any = place.get(f"raster:{key}", place.get(key))
            with suppress(TypeError, ValueError):  # a null, or a word that is no number
                found[key] = float(value)
    if found.get("scale") == 0.0:
        del found["scale"]  # it would make every pixel the same: take the sensor's
    return found
