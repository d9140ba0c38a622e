"""Web tiles of a map: XYZ PNG with TileJSON 3.0, and the same PNG bytes as MBTiles 1.3.

Tiles are 256 x 256 pixels of the WebMercatorQuad tile matrix set (EPSG:3857). A tile with nothing
mapped in it is left out. Classes are read by nearest neighbour; other maps by averaging where the
tile is coarser than the map and bilinearly where it is finer.
"""

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing
from io import BytesIO
from math import cos, radians
from pathlib import Path

import morecantile
import numpy as np
import rasterio
from affine import Affine
from morecantile import Tile, TileMatrixSet
from numpy.typing import NDArray
from PIL import Image
from rasterio.enums import Resampling
from rasterio.io import DatasetReader
from rasterio.vrt import WarpedVRT
from rasterio.warp import transform_bounds
from rasterio.windows import Window

from pipeline import files
from pipeline.publish.legend import LEVELS, Legend, ramp_table, rgb

SIZE = 256  # pixels on a side

Bounds = tuple[float, float, float, float]
"""West, south, east, north, degrees."""

_SPAN = 2  # the smallest zoom still needs at most this many tiles a side
_APPLICATION_ID = 0x4D504258  # "MPBX", registered for MBTiles with SQLite


def write_tiles(cog: Path, legend: Legend, folder: Path, release: str) -> list[Path]:
    """Write a map as a folder of XYZ tiles and as an MBTiles file beside it.

    Parameters
    ----------
    cog : one band, with its nodata, scale and offset in the file.
    legend : its colours.
    folder : made anew: `<z>/<x>/<y>.png` and `tilejson.json`; the MBTiles is `<folder>.mbtiles`.
    release : level named in the attribution.

    Returns
    -------
    The TileJSON and the MBTiles.

    Raises
    ------
    OutputError : a file cannot be written.
    """
    with rasterio.open(cog, driver="GTiff") as source:
        # One call each for bounds and zooms: both files must say the same.
        bounds: Bounds = transform_bounds(source.crs, "EPSG:4326", *source.bounds)
        tms = morecantile.tms.get("WebMercatorQuad")
        zooms = _zooms(tms, bounds, source.res[0])
        about = {"name": legend.title, "attribution": f"release: {release}"}

        def writer(part: Path) -> None:
            for zoom in zooms:
                for x, y, png in _tiles(source, legend, tms, zoom, bounds):
                    tile = part / str(zoom) / str(x) / f"{y}.png"
                    tile.parent.mkdir(parents=True, exist_ok=True)
                    tile.write_bytes(png)
            tilejson = _tilejson(about, bounds, zooms)
            (part / "tilejson.json").write_text(files.to_json(tilejson), encoding="utf-8")

        files.write_folder(folder, writer)
    mbtiles = folder.with_name(f"{folder.name}.mbtiles")
    metadata = _metadata(about, bounds, zooms)
    files.write(mbtiles, lambda part: _pack(folder, part, metadata), _whole)
    return [folder / "tilejson.json", mbtiles]


def _zooms(tms: TileMatrixSet, bounds: Bounds, resolution: float) -> range:
    """Return the zooms from one that shows the map in a few tiles to one that loses no detail."""
    # A metre on the ground is longer on the Mercator map, by the latitude.
    latitude = radians((bounds[1] + bounds[3]) / 2)
    highest = tms.zoom_for_res(resolution / cos(latitude), zoom_level_strategy="upper")
    lowest = highest
    while lowest > 0 and max(_counts(tms, bounds, lowest)) > _SPAN:
        lowest -= 1
    return range(lowest, highest + 1)


def _counts(tms: TileMatrixSet, bounds: Bounds, zoom: int) -> tuple[int, int]:
    x0, x1, y0, y1 = _range(tms, bounds, zoom)
    return x1 - x0 + 1, y1 - y0 + 1


def _range(tms: TileMatrixSet, bounds: Bounds, zoom: int) -> tuple[int, int, int, int]:
    first = tms.tile(bounds[0], bounds[3], zoom)
    last = tms.tile(bounds[2], bounds[1], zoom)
    return first.x, last.x, first.y, last.y


def _tiles(
    source: DatasetReader, legend: Legend, tms: TileMatrixSet, zoom: int, bounds: Bounds
) -> Iterator[tuple[int, int, bytes]]:
    """Yield x, y and PNG of every tile of a zoom that has anything in it, row by row."""
    x0, x1, y0, y1 = _range(tms, bounds, zoom)
    corner, cell = tms.xy_bounds(Tile(x0, y0, zoom)), tms.matrix(zoom).cellSize
    width, height = (x1 - x0 + 1) * SIZE, (y1 - y0 + 1) * SIZE
    palette = _palette(legend)
    with WarpedVRT(
        source,
        crs="EPSG:3857",
        transform=Affine(cell, 0.0, corner.left, 0.0, -cell, corner.top),
        width=width,
        height=height,
        resampling=_resampling(source, legend, tms, zoom, bounds),
    ) as warped:
        for y in range(y0, y1 + 1):
            # Not `masked`: GDAL would warp everything twice.
            strip = warped.read(1, window=Window(0, (y - y0) * SIZE, width, SIZE))
            levels = _levels(strip, legend, source)
            for x in range(x0, x1 + 1):
                tile = levels[:, (x - x0) * SIZE : (x - x0 + 1) * SIZE]
                if tile.any():
                    yield x, y, _png(tile, palette)


def _resampling(
    source: DatasetReader, legend: Legend, tms: TileMatrixSet, zoom: int, bounds: Bounds
) -> Resampling:
    if legend.swatches:
        return Resampling.nearest
    latitude = radians((bounds[1] + bounds[3]) / 2)
    coarser = tms.matrix(zoom).cellSize * cos(latitude) > source.res[0]
    return Resampling.average if coarser else Resampling.bilinear


def _levels(
    counts: NDArray[np.generic], legend: Legend, source: DatasetReader
) -> NDArray[np.uint8]:
    """Return palette positions (y, x) of a strip of the map as stored: 0 is not mapped."""
    if legend.swatches:
        return np.where(counts == source.nodata, 0, counts).astype(np.uint8)
    values = counts * source.scales[0] + source.offsets[0]
    share = np.clip((values - legend.low) / (legend.high - legend.low), 0, 1)
    mapped = np.isfinite(share) & (counts != source.nodata)
    return np.where(mapped, 1 + np.rint(share * (LEVELS - 1)), 0).astype(np.uint8)


def _palette(legend: Legend) -> bytes:
    """Return 256 colours, red green blue; colour 0 is drawn transparent."""
    table = np.zeros((LEVELS + 1, 3), np.uint8)
    for swatch in legend.swatches:
        table[swatch.value] = rgb(swatch.colour)
    if legend.ramp:
        table[1:] = ramp_table(legend.ramp)
    return table.tobytes()


def _png(levels: NDArray[np.uint8], palette: bytes) -> bytes:
    image = Image.fromarray(levels, mode="P")
    image.putpalette(palette)
    buffer = BytesIO()
    image.save(buffer, "PNG", transparency=0, optimize=False, compress_level=6)
    return buffer.getvalue()


def _tilejson(about: Mapping[str, str], bounds: Bounds, zooms: range) -> files.Json:
    return {
        "tilejson": "3.0.0",
        "tiles": ["{z}/{x}/{y}.png"],
        "scheme": "xyz",
        "bounds": list(_rounded(bounds)),
        "minzoom": zooms[0],
        "maxzoom": zooms[-1],
        **about,
    }


def _metadata(about: Mapping[str, str], bounds: Bounds, zooms: range) -> list[tuple[str, str]]:
    west, south, east, north = _rounded(bounds)
    return [
        ("name", about["name"]),
        ("format", "png"),
        ("bounds", f"{west},{south},{east},{north}"),
        ("center", f"{(west + east) / 2:.6f},{(south + north) / 2:.6f},{zooms[0]}"),
        ("minzoom", str(zooms[0])),
        ("maxzoom", str(zooms[-1])),
        ("attribution", about["attribution"]),
        ("type", "overlay"),
        ("version", "1"),
    ]


def _rounded(bounds: Bounds) -> Bounds:
    west, south, east, north = (round(degrees, 6) for degrees in bounds)
    return west, south, east, north


def _pack(folder: Path, part: Path, metadata: list[tuple[str, str]]) -> None:
    """Put the tiles of an XYZ folder into an MBTiles file, in the order of its index."""
    places = sorted(
        (int(path.parent.parent.name), int(path.parent.name), int(path.stem), path)
        for path in folder.glob("*/*/*.png")
    )
    try:
        with closing(sqlite3.connect(part, isolation_level=None)) as database:
            database.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
            database.execute("BEGIN")
            database.execute("CREATE TABLE metadata (name text, value text)")
            database.execute(
                "CREATE TABLE tiles (zoom_level integer, tile_column integer,"
                " tile_row integer, tile_data blob)"
            )
            database.executemany("INSERT INTO metadata VALUES (?, ?)", metadata)
            database.executemany(
                "INSERT INTO tiles VALUES (?, ?, ?, ?)",
                # MBTiles counts rows from the south (TMS), XYZ from the north.
                ((z, x, 2**z - 1 - y, path.read_bytes()) for z, x, y, path in places),
            )
            database.execute(
                "CREATE UNIQUE INDEX tile_index ON tiles (zoom_level, tile_column, tile_row)"
            )
            database.execute("COMMIT")
            database.execute("VACUUM")
    except sqlite3.Error as error:
        # So that files.writing can say in words what is wrong with the disk.
        raise OSError(str(error)) from error


def _whole(part: Path) -> None:
    with closing(sqlite3.connect(part)) as database:
        (answer,) = database.execute("PRAGMA integrity_check").fetchone()
    if answer != "ok":
        raise OSError(f"the MBTiles does not read back: {answer}")
