from xml.etree import ElementTree as ET

import pytest
from finished_maps import CLASSES, NODATA, class_values, finished, score_values, write_cog

from pipeline.plan import Configs, Style
from pipeline.publish import WRITERS, Product
from pipeline.publish.gis import write_raster_style, zone_style
from pipeline.publish.legend import class_colours, legend_of, ramp_table, rgb

STYLE = Configs().style("minerals")


def read(path):
    return ET.fromstring(path.read_text(encoding="utf-8"))  # noqa: S314 - our own file


def test_a_class_map_lists_its_values_titles_and_colours(tmp_path):
    product = Product(
        "class", "class", "Class", write_cog(tmp_path / "c.tif", class_values(), 0), classes=CLASSES
    )
    write_raster_style(legend_of(product, STYLE), tmp_path / "c.qml")
    entries = read(tmp_path / "c.qml").findall(".//paletteEntry")
    assert [(e.get("value"), e.get("label")) for e in entries] == [
        ("1", "Alunite"),
        ("2", "White mica"),
        ("3", "Barren"),
        ("4", "Mystery"),
    ]
    assert entries[0].get("color") == STYLE.classes["alunite"]
    assert entries[3].get("color") == STYLE.other[0]


def test_a_score_is_styled_in_its_own_values_not_in_counts(tmp_path):
    cog = write_cog(tmp_path / "s.tif", score_values(), NODATA, 1e-4)
    write_raster_style(legend_of(Product("s", "score", "S", cog), STYLE), tmp_path / "s.qml")
    items = read(tmp_path / "s.qml").findall(".//colorrampshader/item")
    assert [item.get("color") for item in items] == list(STYLE.ramp)
    values = [float(item.get("value")) for item in items]
    assert values == pytest.approx([i / 6 for i in range(7)])


def test_zones_are_styled_by_class_with_text_escaped():
    root = ET.fromstring(zone_style({"white_mica": "#2f6fb7", 'a"<b': "#000000"}))  # noqa: S314
    categories = root.findall(".//category")
    assert root.find("renderer-v2").get("attr") == "class"
    assert [c.get("value") for c in categories] == ["white_mica", 'a"<b']
    assert categories[0].get("label") == "White mica"


def test_limits_follow_kind_and_data(tmp_path):
    found = {p.kind: legend_of(p, STYLE) for p in finished(tmp_path).products}
    assert (found["score"].low, found["score"].high) == (0.0, 1.0)
    assert (found["spread"].low, found["spread"].high) == pytest.approx((0.0, 0.1))
    low, high = found["evidence"].low, found["evidence"].high
    assert 0.0 < low < 0.06
    assert 1.94 < high < 2.0
    fixed = Product("x", "evidence", "X", tmp_path / "clay.tif", unit="nm", limits=(1.0, 3.0))
    assert legend_of(fixed, STYLE).high == 3.0
    assert legend_of(fixed, STYLE).label == "Value (nm)"


def test_spare_colours_are_handed_out_in_order_and_again():
    style = Style(
        title="t",
        classes={"alunite": "#111111"},
        ramp=("#000000", "#ffffff"),
        spread_ramp=("#000000", "#ffffff"),
        support_ramp=("#000000", "#ffffff"),
        other=("#222222", "#333333"),
    )
    colours = class_colours(["p", "alunite", "q", "r"], style)
    assert colours == {"p": "#222222", "alunite": "#111111", "q": "#333333", "r": "#222222"}


def test_a_ramp_runs_from_its_first_colour_to_its_last():
    table = ramp_table(("#000000", "#ff0000", "#ffff00"), 5)
    assert table.tolist() == [[0, 0, 0], [128, 0, 0], [255, 0, 0], [255, 128, 0], [255, 255, 0]]


def test_the_style_keeps_every_pair_of_classes_apart():
    colours = [rgb(c) for c in STYLE.classes.values()]
    apart = [
        sum((a - b) ** 2 for a, b in zip(one, two, strict=True))
        for i, one in enumerate(colours)
        for two in colours[:i]
    ]
    assert min(apart) > 30**2


def test_every_writer_returns_files_that_exist_and_no_two_write_the_same(tmp_path):
    paths = [path for writer in WRITERS.values() for path in writer(finished(tmp_path))]
    assert all(path.is_file() for path in paths)
    assert len(set(paths)) == len(paths)
    suffixes = {path.suffix for path in paths}
    assert suffixes == {".qml", ".png", ".json", ".mbtiles", ".gpkg", ".parquet"}
