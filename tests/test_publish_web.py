import numpy as np
import pytest
from finished_maps import CLASSES, NODATA, class_values, finished, score_values, write_cog, zones
from PIL import Image

from pipeline.plan import Configs
from pipeline.publish import WRITERS, Product
from pipeline.publish.legend import legend_of, rgb
from pipeline.publish.web import round_length, write_quicklook

STYLE = Configs().style("minerals")


def drawn(folder, values, kind="score", name="map", **more):
    nodata, scale = (0, None) if kind == "class" else (NODATA, 1e-4)
    cog = write_cog(folder / f"{name}.tif", values, nodata, scale)
    product = Product(name, kind, "A map", cog, classes=CLASSES if kind == "class" else ())
    path = folder / f"{name}.png"
    write_quicklook(
        path=path,
        cog=cog,
        legend=legend_of(product, STYLE),
        heading=("A map", "Here"),
        credit="release: operator",
        **more,
    )
    return np.asarray(Image.open(path).convert("RGB")).reshape(-1, 3)


def share(pixels, colour):
    return float((pixels == np.array(rgb(colour))).all(axis=1).mean())


def test_every_class_covers_its_part_of_the_map(tmp_path):
    pixels = drawn(tmp_path, class_values(), "class")
    shares = [share(pixels, STYLE.classes[name]) for name in ("alunite", "white_mica", "barren")]
    assert min(shares) > 0.05
    assert max(shares) - min(shares) < 0.01


def test_what_is_not_mapped_has_no_colour_of_the_ramp(tmp_path):
    whole = drawn(tmp_path, np.full((60, 80), 10000, np.uint16), name="whole")
    empty = drawn(tmp_path, np.full((60, 80), NODATA, np.uint16), name="empty")
    assert share(whole, STYLE.ramp[-1]) > 0.3
    assert share(empty, STYLE.ramp[-1]) < 0.01


def test_zones_are_outlined(tmp_path):
    plain = drawn(tmp_path, class_values(), "class", "plain")
    outlined = drawn(tmp_path, class_values(), "class", "outlined", zones=zones())
    dark_plain, dark_outlined = ((pixels.max(axis=1) < 90).sum() for pixels in (plain, outlined))
    assert dark_outlined > dark_plain + 500  # two outlines, a pixel or two wide


@pytest.mark.parametrize("shape", [(1, 1), (3, 400), (400, 3)])
def test_any_shape_can_be_drawn(tmp_path, shape):
    pixels = drawn(tmp_path, np.full(shape, 5000, np.uint16))
    assert 100_000 < len(pixels) < 4_000_000


def test_equal_maps_are_equal_bytes_and_name_no_software(tmp_path):
    for name in "ab":
        drawn(tmp_path, score_values(), name=name, zones=zones())
    first, second = ((tmp_path / f"{name}.png").read_bytes() for name in "ab")
    assert first == second
    assert b"Software" not in first
    assert b"atplotlib" not in first


def test_a_score_shows_only_the_zones_of_its_class(tmp_path):
    region = finished(tmp_path)
    WRITERS["quick-look"](region)
    before = (tmp_path / "score_alunite.png").read_bytes()
    region.zones.loc[1, "geometry"] = region.zones.geometry[1].buffer(100)
    WRITERS["quick-look"](region)
    assert (tmp_path / "score_alunite.png").read_bytes() == before


@pytest.mark.parametrize(
    ("longest", "expected"), [(1800, 1000), (49, 20), (50, 50), (9.9, 5), (0.3, 0.2), (1e6, 1e6)]
)
def test_a_scale_bar_is_a_round_length_that_fits(longest, expected):
    assert round_length(longest) == pytest.approx(expected)
