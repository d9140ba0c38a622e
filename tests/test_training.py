"""Training sites and the ways to cut ground: every bad site is told, no block straddles folds."""

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
from conftest import make_samples
from odc.geo.geom import box as grid_box
from shapely.geometry import LineString, MultiPoint, Point, box

from pipeline.errors import SplitError, TrainingError
from pipeline.grid import Block, blocks, region_grid
from pipeline.training import (
    gather,
    layouts,
    load_samples,
    place_sites,
    read_sites,
    save_samples,
    sites_in,
)

UTM = "EPSG:32611"
LEFT, BOTTOM = 500000.0, 4150000.0
OUTLINE = box(LEFT, BOTTOM, LEFT + 200, BOTTOM + 100)
GRID = region_grid(grid_box(*OUTLINE.bounds, UTM), 10.0)
CLASSES = ("alunite", "barren")


def sites(points=((5, 95), (195, 5)), labels=CLASSES, crs=UTM, column="label"):
    places = [Point(LEFT + x, BOTTOM + y) for x, y in points]
    return gpd.GeoDataFrame({column: list(labels)}, geometry=places, crs=crs)


def saved(frame, tmp_path, name="sites.gpkg"):
    frame.to_file(tmp_path / name)
    return tmp_path / name


@pytest.mark.parametrize("name", ["sites.gpkg", "sites.geojson", "sites.shp"])
def test_sites_are_read_from_any_vector_file(tmp_path, name):
    path = saved(sites().to_crs("EPSG:4326"), tmp_path, name)
    found = read_sites(path, "label", CLASSES)
    assert list(found.columns) == ["label", "geometry"]
    assert found["label"].tolist() == list(CLASSES)
    assert found.crs.to_epsg() == 4326


def without_crs(tmp_path):
    path = saved(sites(), tmp_path, "sites.shp")
    path.with_suffix(".prj").unlink()
    return path


def of_lines(tmp_path):
    line = LineString([(LEFT, BOTTOM), (LEFT + 9, BOTTOM)])
    return saved(gpd.GeoDataFrame({"label": ["barren"]}, geometry=[line], crs=UTM), tmp_path)


def of_many_points(tmp_path):
    many = MultiPoint([(LEFT, BOTTOM), (LEFT + 9, BOTTOM)])
    return saved(gpd.GeoDataFrame({"label": ["barren"]}, geometry=[many], crs=UTM), tmp_path)


def with_no_place(tmp_path):
    frame = gpd.GeoDataFrame({"label": ["barren"]}, geometry=[None], crs=UTM)
    frame.to_file(tmp_path / "sites.gpkg", geometry_type="Point")
    return tmp_path / "sites.gpkg"


def with_an_empty_point(tmp_path):
    frame = gpd.GeoDataFrame({"label": ["barren"]}, geometry=[Point()], crs=UTM)
    return saved(frame, tmp_path)


def without_rows(tmp_path):
    sites().iloc[:0].to_file(tmp_path / "sites.gpkg", geometry_type="Point")
    return tmp_path / "sites.gpkg"


def as_a_table(tmp_path):
    pd.DataFrame({"label": ["barren"], "x": [1.0]}).to_csv(tmp_path / "sites.csv", index=False)
    return tmp_path / "sites.csv"


def as_text(tmp_path):
    (tmp_path / "sites.gpkg").write_text("not a vector file")
    return tmp_path / "sites.gpkg"


def not_at_all(tmp_path):
    return tmp_path / "sites.gpkg"


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (without_crs, "have no CRS; assign one"),
        (of_lines, "are not all points"),
        (of_many_points, "are not all points"),
        (with_no_place, "are not all points"),
        (with_an_empty_point, "are not all points"),
        (without_rows, "there are no sites in it"),
        (as_a_table, "there are no sites in it"),
        (as_text, "cannot be read as a vector file"),
        (not_at_all, "cannot be read as a vector file"),
    ],
)
def test_a_file_without_usable_sites_is_told(tmp_path, make, told):
    with pytest.raises(TrainingError, match=told):
        read_sites(make(tmp_path), "label", CLASSES)


def test_a_column_that_is_not_there_gets_its_nearest(tmp_path):
    path = saved(sites(column="labels"), tmp_path)
    with pytest.raises(TrainingError, match=r"no column 'label'; did you mean 'labels'"):
        read_sites(path, "label", CLASSES)


def test_a_class_that_is_not_in_the_workflow_gets_its_nearest(tmp_path):
    path = saved(sites(labels=("alunit", "barren")), tmp_path)
    with pytest.raises(TrainingError, match=r"class 'alunit' is not in .*did you mean 'alunite'"):
        read_sites(path, "label", CLASSES)


def test_sites_are_put_on_the_pixel_they_lie_in():
    points = [(0, 100), (9.9, 90.1), (10, 90), (199.9, 0.1)]
    placed = place_sites(sites(points, ["barren"] * 4), GRID, OUTLINE, "here")
    assert placed["row"].tolist() == [0, 0, 1, 9]
    assert placed["column"].tolist() == [0, 0, 1, 19]


def test_sites_arrive_in_the_regions_crs():
    lonlat = sites().to_crs("EPSG:4326")
    placed = place_sites(lonlat, GRID, OUTLINE, "here")
    assert placed.crs == UTM
    assert placed["row"].tolist() == [0, 9]
    np.testing.assert_allclose(placed.geometry.x, [LEFT + 5, LEFT + 195], atol=1e-4)


@pytest.mark.parametrize("point", [(-1, 50), (201, 50), (50, -1), (50, 101), (50, 1e6)])
def test_a_site_outside_the_region_is_told(point):
    with pytest.raises(TrainingError, match=r"1 of 2 training sites lie outside") as caught:
        place_sites(sites([(5, 5), point]), GRID, OUTLINE, "here")
    assert caught.value.where == "region here"


def test_a_site_on_the_grid_but_outside_the_outline_is_told():
    half = box(LEFT, BOTTOM, LEFT + 100, BOTTOM + 100)
    with pytest.raises(TrainingError, match=r"first at x 500195, y 4150005"):
        place_sites(sites(), GRID, half, "here")


def test_sites_with_longitude_and_latitude_exchanged_are_told_and_not_warned_of():
    turned = gpd.GeoDataFrame(
        {"label": ["barren"]}, geometry=[Point(37.5, -117.2)], crs="EPSG:4326"
    )
    with pytest.raises(TrainingError, match="1 of 1 training sites lie outside"):
        place_sites(turned, GRID, OUTLINE, "here")


def test_every_site_is_in_exactly_one_block():
    rng = np.random.default_rng(0)
    points = np.stack([rng.uniform(0, 200, 50), rng.uniform(0.01, 100, 50)], axis=1)
    placed = place_sites(sites(points, ["barren"] * 50), GRID, OUTLINE, "here")
    cut = [sites_in(placed, block) for block in blocks(GRID.shape, 6)]
    assert sorted(i for part in cut for i in part.index) == list(range(50))
    assert len(sites_in(placed, Block(0, 0, 0, 0))) == 0


def test_samples_are_joined_in_one_order_whatever_the_blocks():
    rng = np.random.default_rng(1)
    values, labels = rng.normal(size=(20, 2)), np.array(["alunite", "barren"] * 10)
    x, y = rng.uniform(0, 100, 20), rng.uniform(0, 100, 20)
    parts = [
        make_samples(values[part], labels[part], x[part], y[part])
        for part in (slice(0, 7), slice(7, 8), slice(8, 20))
    ]
    one, two = gather(parts, "study"), gather(parts[::-1], "study")
    assert one.identical(two)
    order = np.lexsort([x, y])
    np.testing.assert_array_equal(one["x"], x[order])
    np.testing.assert_array_equal(one["label"], labels[order])
    np.testing.assert_allclose(one["layers"], values[order], rtol=1e-6)


def test_sites_without_evidence_are_left_out_and_counted():
    values = np.array([[1.0, 2.0], [np.nan, 2.0], [3.0, 4.0]])
    parts = [make_samples(values, ["alunite", "barren", "barren"], [1, 2, 3], [1, 2, 3])]
    found = gather(parts, "study")
    assert found["label"].values.tolist() == ["alunite", "barren"]
    assert found.attrs["without_evidence"] == 1


@pytest.mark.parametrize(
    ("labels", "values", "told"),
    [
        (["barren", "barren"], [[1.0], [2.0]], r"one class only \(barren; 0 of 2"),
        (["alunite", "barren"], [[np.nan], [2.0]], r"one class only \(barren; 1 of 2"),
        (["alunite", "barren"], [[np.nan], [np.nan]], r"one class only \(none; 2 of 2"),
    ],
)
def test_one_class_only_is_told(labels, values, told):
    with pytest.raises(TrainingError, match=told) as caught:
        gather([make_samples(values, labels, [1, 2], [1, 2])], "workflow study")
    assert caught.value.where == "workflow study"


def test_samples_come_back_as_they_were_saved(tmp_path):
    parts = [make_samples([[1.5, 2.5], [3.5, 4.5]], CLASSES, [1, 2], [3, 4], ["a", "b@60"])]
    made = gather(parts, "study")
    one = save_samples(made, tmp_path / "1.npz")
    assert load_samples(tmp_path / "1.npz").identical(made.drop_attrs().assign_attrs(made.attrs))
    assert save_samples(made, tmp_path / "2.npz") == one
    with np.load(tmp_path / "1.npz", allow_pickle=False) as raw:
        assert all(raw[name].dtype != object for name in raw.files)


BOUNDS = {"here": (0.0, 0.0, 1000.0, 800.0), "there": (5000.0, 0.0, 5600.0, 700.0)}


def places(region, count=400, seed=0):
    left, bottom, right, top = BOUNDS[region]
    rng = np.random.default_rng(seed)
    return rng.uniform(left, right, count), rng.uniform(bottom, top, count)


@pytest.mark.parametrize("region", sorted(BOUNDS))
def test_no_block_straddles_two_folds(region):
    side = 170.0
    left, bottom, right, top = BOUNDS[region]
    x, y = np.meshgrid(np.arange(left, right, 5.0), np.arange(bottom, top, 5.0))
    for layout in layouts(BOUNDS, side, 5, 6, seed=3):
        folds = layout.fold_of(region, x, y)
        assert folds.shape == x.shape
        assert set(np.unique(folds)) == set(range(5))
        # Changes of fold along a row fall on lines a whole number of sides apart.
        for lines, along in ((np.diff(folds, axis=1), x[0]), (np.diff(folds, axis=0).T, y[:, 0])):
            edges = along[1:][(lines != 0).any(axis=0)]
            steps = (edges - edges[0]) / side
            assert np.abs(steps - np.round(steps)).max() <= 5.0 / side + 1e-9


def test_layouts_repeat_with_the_seed_and_shift_between_layouts():
    x, y = places("here")
    one, two, other = (layouts(BOUNDS, 170.0, 5, 4, seed) for seed in (7, 7, 8))
    dealt = [layout.fold_of("here", x, y) for layout in one]
    for first, second in zip(one, two, strict=True):
        assert first == second
        np.testing.assert_array_equal(first.fold_of("here", x, y), second.fold_of("here", x, y))
    assert len({folds.tobytes() for folds in dealt}) == len(dealt)
    assert (other[0].fold_of("here", x, y) != dealt[0]).any()
    # Not only dealt anew: the blocks themselves move, so that neighbours change too.
    together = [folds[:, None] == folds[None] for folds in dealt]
    near = np.hypot(x[:, None] - x, y[:, None] - y) < 20
    assert len({np.where(near, t, False).tobytes() for t in together}) == len(dealt)


def test_the_fold_of_a_place_does_not_depend_on_what_is_asked_with_it():
    layout = layouts(BOUNDS, 170.0, 5, 2, seed=1)[1]
    x, y = places("there")
    whole = layout.fold_of("there", x, y)
    alone = [int(layout.fold_of("there", x[k : k + 1], y[k : k + 1])[0]) for k in range(50)]
    assert alone == whole[:50].tolist()


def test_folds_of_samples_are_the_folds_of_their_places():
    x, y = places("here", 30)
    x2, y2 = places("there", 20)
    labels = ["alunite", "barren"]
    parts = [
        make_samples(np.ones((30, 1)), labels * 15, x, y, region="here"),
        make_samples(np.ones((20, 1)), labels * 10, x2, y2, region="there"),
    ]
    samples = gather(parts, "study")
    layout = layouts(BOUNDS, 170.0, 4, 2, seed=1)[0]
    folds = layout.folds_of(samples)
    for region in BOUNDS:
        here = samples["region"].values == region
        np.testing.assert_array_equal(
            folds[here],
            layout.fold_of(region, samples["x"].values[here], samples["y"].values[here]),
        )


def test_the_edges_of_a_region_belong_to_a_fold():
    for layout in layouts(BOUNDS, 170.0, 5, 10, seed=2):
        x, y = np.array([0.0, 1000.0, 0.0, 1000.0]), np.array([0.0, 800.0, 800.0, 0.0])
        folds = layout.fold_of("here", x, y)
        assert ((folds >= 0) & (folds < 5)).all()


def test_a_region_too_small_for_its_folds_is_told():
    with pytest.raises(SplitError, match=r"about 4 blocks of 500 m, too few for 5 folds") as caught:
        layouts({"here": (0.0, 0.0, 1000.0, 1000.0)}, 500.0, 5, 10, seed=0)
    assert "random split is not a substitute" in caught.value.remedy
    assert layouts({"here": (0.0, 0.0, 1000.0, 1000.0)}, 500.0, 4, 10, seed=0)
