import json
import sqlite3
from contextlib import closing
from io import BytesIO

import numpy as np
import pytest
from finished_maps import CLASSES, LEFT, NODATA, RES, TOP, class_values, score_values, write_cog
from morecantile import Tile, tms
from PIL import Image
from rasterio.warp import transform

from pipeline.plan import Configs
from pipeline.publish import Product
from pipeline.publish.legend import legend_of, ramp_table, rgb
from pipeline.publish.tiles import write_tiles

STYLE = Configs().style("minerals")


def made(folder, kind="class", values=None):
    values = (class_values() if kind == "class" else score_values()) if values is None else values
    nodata, scale = (0, None) if kind == "class" else (NODATA, 1e-4)
    cog = write_cog(folder / f"{kind}.tif", values, nodata, scale)
    product = Product(kind, kind, "A map", cog, classes=CLASSES if kind == "class" else ())
    legend = legend_of(product, STYLE)
    write_tiles(cog, legend, folder / "tiles", "operator")
    return legend, json.loads((folder / "tiles" / "tilejson.json").read_text())


def colour_at(folder, x, y, zoom):
    """Colour of the tiles at a place in the map's own coordinates; None where no tile is."""
    (east,), (north,) = transform("EPSG:32611", "EPSG:3857", [x], [y])
    grid = tms.get("WebMercatorQuad")
    (lon,), (lat,) = transform("EPSG:32611", "EPSG:4326", [x], [y])
    tile = grid.tile(lon, lat, zoom)
    corner = grid.xy_bounds(tile)
    size = grid.matrix(zoom).cellSize
    path = folder / "tiles" / str(zoom) / str(tile.x) / f"{tile.y}.png"
    if not path.is_file():
        return None
    picture = Image.open(path).convert("RGBA")
    return picture.getpixel((int((east - corner.left) / size), int((corner.top - north) / size)))


def centre(row, column):
    return LEFT + (column + 0.5) * RES, TOP - (row + 0.5) * RES


def test_a_class_is_drawn_in_its_colour_where_it_lies(tmp_path):
    legend, about = made(tmp_path)
    for row, column, swatch in ((60, 20, 0), (100, 60, 1), (40, 100, 2), (110, 150, 3)):
        expected = (*rgb(legend.swatches[swatch].colour), 255)
        assert colour_at(tmp_path, *centre(row, column), about["maxzoom"]) == expected
    assert colour_at(tmp_path, *centre(10, 80), about["maxzoom"])[3] == 0


def test_a_score_is_drawn_on_the_ramp(tmp_path):
    _, about = made(tmp_path, "score")
    table = ramp_table(STYLE.ramp)
    for column in (10, 80, 150):
        share = score_values()[60, column] / 10000
        found = colour_at(tmp_path, *centre(60, column), about["maxzoom"])
        near = table[round(share * 254)].astype(int)
        assert np.abs(np.array(found[:3]) - near).max() <= 6
        assert found[3] == 255
    assert colour_at(tmp_path, *centre(10, 80), about["maxzoom"])[3] == 0


def test_mbtiles_holds_the_same_pictures_with_rows_from_the_south(tmp_path):
    _, about = made(tmp_path)
    pictures = {
        p.relative_to(tmp_path / "tiles").as_posix() for p in tmp_path.glob("tiles/*/*/*.png")
    }
    with closing(sqlite3.connect(tmp_path / "tiles.mbtiles")) as database:
        rows = database.execute("SELECT * FROM tiles").fetchall()
        metadata = dict(database.execute("SELECT * FROM metadata"))
    assert {f"{z}/{x}/{2**z - 1 - y}.png" for z, x, y, _ in rows} == pictures
    for z, x, y, png in rows:
        assert (tmp_path / "tiles" / f"{z}/{x}/{2**z - 1 - y}.png").read_bytes() == png
    assert metadata["format"] == "png"
    assert metadata["type"] == "overlay"
    assert metadata["minzoom"] == str(about["minzoom"])
    assert [float(v) for v in metadata["bounds"].split(",")] == about["bounds"]
    assert "operator" in metadata["attribution"]


def test_the_highest_zoom_loses_no_detail_and_the_lowest_is_a_few_tiles(tmp_path):
    _, about = made(tmp_path)
    latitude = np.radians(np.mean(about["bounds"][1::2]))
    grid = tms.get("WebMercatorQuad")
    assert grid.matrix(about["maxzoom"]).cellSize * np.cos(latitude) <= RES
    assert grid.matrix(about["maxzoom"] - 1).cellSize * np.cos(latitude) > RES
    lowest = list((tmp_path / "tiles" / str(about["minzoom"])).glob("*/*.png"))
    assert 1 <= len(lowest) <= 4
    assert about["tiles"] == ["{z}/{x}/{y}.png"]
    assert about["tilejson"] == "3.0.0"


def test_tiles_with_nothing_mapped_are_left_out(tmp_path):
    values = np.zeros((600, 600), np.uint8)
    values[:40, :40] = 1
    _, about = made(tmp_path, values=values)
    found = list((tmp_path / "tiles" / str(about["maxzoom"])).glob("*/*.png"))
    west, south, east, north = about["bounds"]
    grid = tms.get("WebMercatorQuad")
    first, last = grid.tile(west, north, about["maxzoom"]), grid.tile(east, south, about["maxzoom"])
    assert 0 < len(found) < (last.x - first.x + 1) * (last.y - first.y + 1)
    assert isinstance(first, Tile)


def test_a_map_with_nothing_mapped_gives_valid_empty_tiles(tmp_path):
    made(tmp_path, "score", np.full((40, 50), NODATA, np.uint16))
    assert not list(tmp_path.glob("tiles/*/*/*.png"))
    with closing(sqlite3.connect(tmp_path / "tiles.mbtiles")) as database:
        assert database.execute("SELECT count(*) FROM tiles").fetchone() == (0,)


@pytest.mark.parametrize("kind", ["class", "score"])
def test_equal_maps_are_equal_bytes(tmp_path, kind):
    for name in "ab":
        made(tmp_path / name, kind)
    first, second = (
        {
            p.relative_to(tmp_path / n): p.read_bytes()
            for p in (tmp_path / n).rglob("*")
            if p.is_file()
        }
        for n in "ab"
    )
    assert first == second
    assert Image.open(BytesIO(next(v for k, v in first.items() if k.suffix == ".png"))).mode == "P"
