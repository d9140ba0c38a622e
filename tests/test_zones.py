"""Zones: planted ground is found where it lies, ranked by its score, with its reasons."""

import numpy as np
import pytest
from odc.geo.geom import box
from shapely.geometry import Point

from pipeline.grid import region_grid
from pipeline.plan import Zones
from pipeline.zones import find_zones, with_evidence

CLASSES = ("alunite", "barren")
LEFT, TOP, RES = 500000.0, 4150600.0, 20.0
SHAPE = (30, 40)
GRID = region_grid(box(LEFT, TOP - 600, LEFT + 800, TOP, "EPSG:32611"), RES)
PIXEL = 0.0004  # km2
COLUMNS = ["zone", "class", "rank", "score", "spread", "area_km2", "evidence", "geometry"]


class Maps(dict):
    """The maps of a region by name, as the store gives them."""

    def __call__(self, name):
        return self[name]


@pytest.fixture
def maps():
    """Two blobs of alunite, one of 12 pixels at 0.9 and one of 30 at 0.7; barren all around."""
    alunite = np.full(SHAPE, 0.1, np.float32)
    alunite[2:5, 3:7] = 0.9
    alunite[15:20, 20:26] = 0.7
    spread = np.full(SHAPE, 0.05, np.float32)
    spread[2:5, 3:7] = 0.2
    return Maps(score_alunite=alunite, score_barren=1 - alunite, spread=spread)


def find(maps, **wanted):
    wanted = {
        "classes": ("alunite",),
        "min_score": 0.5,
        "min_area_km2": 0.0,
        "area_share": 1.0,
    } | wanted
    return find_zones(CLASSES, maps, Zones(**wanted), GRID)


def test_planted_blobs_are_found_with_area_score_and_rank(maps):
    found = find(maps)
    assert list(found.columns) == COLUMNS
    assert found["zone"].tolist() == ["Z0001", "Z0002"]
    assert found["rank"].tolist() == [1, 2]
    assert found["score"].tolist() == [0.9, 0.7]
    assert found["spread"].tolist() == [0.2, 0.05]
    assert found["area_km2"].tolist() == pytest.approx([12 * PIXEL, 30 * PIXEL])
    assert found.crs == "EPSG:32611"
    bounds = found.geometry.iloc[0].bounds
    assert bounds == (LEFT + 60, TOP - 100, LEFT + 140, TOP - 40)
    np.testing.assert_allclose(found.area / 1e6, found["area_km2"])
    assert found.geometry.iloc[1].contains(Point(LEFT + 460, TOP - 350))


def test_equal_scores_are_ranked_by_area(maps):
    maps["score_alunite"][2:5, 3:7] = 0.7
    assert find(maps)["area_km2"].tolist() == pytest.approx([30 * PIXEL, 12 * PIXEL])


def test_the_threshold_and_the_least_area_are_kept(maps):
    assert find(maps, min_score=0.8)["score"].tolist() == [0.9]
    assert find(maps, min_score=0.7)["score"].tolist() == [0.9, 0.7]
    assert find(maps, min_area_km2=12.5 * PIXEL)["score"].tolist() == [0.7]
    assert len(find(maps, min_area_km2=12 * PIXEL)) == 2


def test_a_class_of_interest_gives_way_to_another_that_scores_higher(maps):
    maps["score_barren"][2:5, 3:7] = 0.95
    assert find(maps)["score"].tolist() == [0.9, 0.7]  # nobody is interested in barren
    both = find(maps, classes=CLASSES, min_score=0.0, area_share=0.02)
    assert both.query("`class` == 'alunite'")["score"].tolist() == [0.7]


def test_the_highest_share_of_the_area_is_taken_whatever_the_numbers_are(maps):
    share = 12 / np.prod(SHAPE)
    found = find(maps, min_score=0.0, area_share=share)
    assert found["score"].tolist() == [0.9]
    maps["score_alunite"] *= np.float32(0.1)
    again = find(maps, min_score=0.0, area_share=share)
    assert again.geometry.tolist() == found.geometry.tolist()


def test_no_class_named_means_every_class(maps):
    found = find(maps, classes=())
    assert set(found["class"]) == set(CLASSES)
    assert found["zone"].tolist() == [f"Z{k:04d}" for k in range(1, len(found) + 1)]
    assert (np.diff(found["score"]) <= 0).all()


def test_pixels_that_touch_at_a_corner_are_one_valid_zone(maps):
    maps["score_alunite"][:] = 0.1
    for step in range(4):
        maps["score_alunite"][10 + step, 10 + step] = 0.8
    maps["score_barren"] = 1 - maps["score_alunite"]
    found = find(maps)
    assert len(found) == 1
    assert found["area_km2"].iloc[0] == pytest.approx(4 * PIXEL)
    assert found.area.iloc[0] / 1e6 == pytest.approx(4 * PIXEL)
    assert found.is_valid.all()


def test_a_zone_with_a_hole_keeps_it(maps):
    maps["score_alunite"][16, 22] = maps["score_alunite"][17, 23] = 0.1
    maps["score_barren"] = 1 - maps["score_alunite"]
    found = find(maps, min_score=0.6)
    ring = found[found["score"] == 0.7]
    assert ring["area_km2"].iloc[0] == pytest.approx(28 * PIXEL)
    assert ring.area.iloc[0] / 1e6 == pytest.approx(28 * PIXEL)
    assert ring.is_valid.all()


def test_unmapped_ground_is_in_no_zone(maps):
    for name in maps:
        maps[name][:, :21] = np.nan
    found = find(maps)
    assert found["area_km2"].tolist() == pytest.approx([25 * PIXEL])
    assert np.isfinite(found["score"]).all()


def test_nothing_found_keeps_the_columns_and_the_crs(maps):
    found = find(maps, min_score=0.99)
    assert found.empty
    assert list(found.columns) == COLUMNS
    assert found.crs == "EPSG:32611"
    full = find(maps)
    assert found["rank"].dtype == full["rank"].dtype
    assert found["score"].dtype == full["score"].dtype
    assert with_evidence(found, ["clay"], maps, GRID) is found


def test_the_card_names_the_layer_that_stands_out_and_how(maps):
    rng = np.random.default_rng(0)
    for name in ("clay", "iron", "plants", "flat"):
        maps[name] = rng.normal(1.0, 0.1, SHAPE).astype(np.float32)
    maps["clay"][2:5, 3:7] += 1.0
    maps["iron"][15:20, 20:26] -= 0.8
    maps["flat"][:] = 3.0
    found = with_evidence(find(maps), ["iron", "clay", "plants", "flat"], maps, GRID)
    first, second = found["evidence"]
    assert first.startswith("clay high (+")
    assert second.startswith("iron low (-")
    assert "flat" not in first + second
    assert len(first.split("; ")) == 3
    # A rise of 1.0 over a spread of 0.1 is some ten spreads.
    stated = float(first.split("(")[1].split()[0])
    values = maps["clay"]
    centre = np.median(values)
    width = 1.4826 * np.median(np.abs(values - centre))
    assert stated == pytest.approx((np.median(values[2:5, 3:7]) - centre) / width, abs=0.05)


def test_a_layer_that_is_missing_all_over_a_zone_is_not_on_its_card(maps):
    rng = np.random.default_rng(0)
    maps["clay"] = rng.normal(1.0, 0.1, SHAPE).astype(np.float32)
    maps["iron"] = rng.normal(1.0, 0.1, SHAPE).astype(np.float32)
    maps["iron"][2:5, 3:7] = np.nan
    maps["gone"] = np.full(SHAPE, np.nan, np.float32)
    found = with_evidence(find(maps), ["iron", "clay", "gone"], maps, GRID)
    assert "iron" not in found["evidence"].iloc[0]
    assert "clay" in found["evidence"].iloc[0]
    assert "iron" in found["evidence"].iloc[1]
    assert not found["evidence"].str.contains("gone").any()


def test_cards_do_not_change_with_the_order_of_the_layers(maps):
    rng = np.random.default_rng(0)
    names = ["a", "b", "c", "d", "e"]
    for name in names:
        maps[name] = rng.normal(1.0, 0.1, SHAPE).astype(np.float32)
    one = with_evidence(find(maps), names, maps, GRID)["evidence"].tolist()
    assert one == with_evidence(find(maps), names[::-1], maps, GRID)["evidence"].tolist()
