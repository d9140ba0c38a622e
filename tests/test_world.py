"""The demo world: the same bytes every time, believable ground, and a truth nobody maps from."""

import json
from dataclasses import replace
from pathlib import Path

import geopandas as gpd
import numpy as np
import pystac
import pytest
import rasterio
from odc.geo.geobox import GeoBox
from odc.geo.geom import box
from pystac.validation import validate_dict
from pystac.validation.stac_validator import JsonSchemaSTACValidator
from rasterio.features import geometry_mask
from rio_cogeo import cog_validate
from shapely.geometry import shape
from worlds import make_baselines

from pipeline.cube import Imagery, make_scenes, native_grid, read_reflectance
from pipeline.errors import CatalogError, PlanError
from pipeline.files import sha256
from pipeline.grid import region_grid
from pipeline.plan import BUILT_IN, Configs, load_workflow
from pipeline.world import CLASSES, NOW, SENSOR, World, make_world
from pipeline.world.deposits import move, templates, zones
from pipeline.world.fields import draws, field
from pipeline.world.ground import make_ground
from pipeline.world.imagery import Scenery, View, make_scene, make_surface
from pipeline.world.items import Frame
from pipeline.world.landsat import LANDSAT, landsat_grid, write_landsat
from pipeline.world.places import ALMERIA, HARMONISED, NEVADA, NEW, OLD, WRONG_FLAG
from pipeline.world.sentinel2 import SENTINEL2
from pipeline.world.sites import draw_sites
from pipeline.world.spectra import SPECTRA, WAVELENGTHS, band_values, reflectance

SEED = 7
SIDE = 160  # pixels
SMALL = replace(
    NEVADA,
    deposits=2,
    passes=(replace(NEVADA.passes[1], cloud=0.2), replace(NEVADA.passes[3], cloud=0.1)),
)
BANDS = Configs.at().sensor(SENSOR).bands


@pytest.fixture(scope="module")
def configs(tmp_path_factory: pytest.TempPathFactory) -> Configs:
    folder = tmp_path_factory.mktemp("configs")
    (folder / "regions").mkdir()
    side = SIDE * 20
    (folder / "regions" / "demo_nevada.yaml").write_text(
        "title: small\ncrs: EPSG:32611\nrelease: public\n"
        f"bbox: [476540, 4144620, {476540 + side}, {4144620 + side}]\n"
    )
    return Configs((folder, BUILT_IN))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, configs: Configs) -> World:
    return make_world(tmp_path_factory.mktemp("world"), SEED, places=(SMALL,), configs=configs)


def _root(world: World) -> Path:
    return world.catalog.parent.parent


def _bytes(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): sha256(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def _items(world: World, collection: str | None = SENTINEL2.name) -> list[pystac.Item]:
    found = pystac.Catalog.from_file(world.catalog).get_items(recursive=True)
    return [item for item in found if collection in (None, item.collection_id)]


def test_the_same_seed_gives_the_same_bytes(world, configs, tmp_path):
    again = make_world(tmp_path, SEED, places=(SMALL,), configs=configs)
    assert _bytes(_root(again)) == _bytes(_root(world))


def test_another_seed_gives_other_ground():
    one, other = (make_ground(SMALL, seed, (96, 96), {}, 20.0) for seed in (1, 2))
    assert not np.array_equal(one.height, other.height)
    assert one.deposits != other.deposits


def test_what_is_current_is_not_made_again_and_what_is_missing_is(world, configs):
    before = {path: path.stat().st_mtime_ns for path in world.catalog.parent.rglob("*.tif")}
    make_world(_root(world), SEED, places=(SMALL,), configs=configs)
    assert all(path.stat().st_mtime_ns == when for path, when in before.items())

    was = _bytes(_root(world))
    world.truth["demo_nevada"].unlink()
    make_world(_root(world), SEED, places=(SMALL,), configs=configs)
    assert _bytes(_root(world)) == was


def test_nothing_a_workflow_sees_names_the_truth(world):
    seen = [*world.catalog.parent.rglob("*.json"), BUILT_IN.parent / "workflows" / "demo.yaml"]
    hidden = {world.truth["demo_nevada"].name, world.deposits["demo_nevada"].name, "truth/"}
    for path in seen:
        text = path.read_text(encoding="utf-8")
        assert not [name for name in hidden if name in text], path
    assert world.truth["demo_nevada"].parent not in world.catalog.parents


def test_items_say_what_is_in_the_files(world):
    for item in _items(world):
        assert set(item.assets) == {*BANDS, "scl"}
        with rasterio.open(item.assets["scl"].get_absolute_href()) as mask:
            classes = mask.read(1)
        valid = classes != 0
        assert item.properties["s2:nodata_pixel_percentage"] == pytest.approx(
            100 * (1 - valid.mean()), abs=0.01
        )
        for name in BANDS:
            asset = item.assets[name]
            path = Path(asset.get_absolute_href())
            assert asset.extra_fields["file:checksum"] == f"1220{sha256(path)}"
            declared = asset.extra_fields["raster:bands"][0]
            with rasterio.open(path) as raster:
                assert list(raster.transform)[:6] == item.properties["proj:transform"]
                assert list(raster.shape) == item.properties["proj:shape"]
                assert f"EPSG:{raster.crs.to_epsg()}" == item.properties["proj:code"]
                counts = raster.read(1)
            assert np.array_equal(counts != declared["nodata"], valid)
            clear = np.isin(classes, (4, 5, 7))
            level = counts[clear] * declared["scale"] + declared["offset"]
            assert 0.02 < np.median(level) < 0.6


def test_every_sensor_has_a_collection_and_every_item_lies_over_the_region(world):
    found = {item.collection_id for item in _items(world, None)}
    assert found == {"sentinel-2-l2a-demo", "landsat-c2-l2-demo", "cop-dem-demo"}
    box = gpd.GeoSeries([shape(_items(world)[0].geometry)], crs=4326).to_crs(32611).total_bounds
    for item in _items(world, None):
        there = gpd.GeoSeries([shape(item.geometry)], crs=4326).to_crs(32611)[0]
        assert there.bounds == pytest.approx(box, abs=1400.0)  # 600 m of swath, 30 m of pixels
        assert item.properties["platform"] == "synthetic"


def test_a_world_without_landsat_has_no_empty_collection(tmp_path):
    world = make_baselines(tmp_path, NEW, side=64)
    assert not (world.catalog.parent / LANDSAT.name).exists()
    assert {item.collection_id for item in _items(world, None)} == {SENTINEL2.name, "cop-dem-demo"}


def test_baselines_write_the_same_ground_in_their_own_counts(tmp_path):
    ways = (NEW, OLD, HARMONISED, WRONG_FLAG)
    found = []
    for number, way in enumerate(ways):
        (item,) = _items(make_baselines(tmp_path / str(number), way, side=64))
        declared = item.assets["red"].extra_fields["raster:bands"][0]
        with rasterio.open(item.assets["red"].get_absolute_href()) as raster:
            found.append((item.properties, declared["offset"], raster.read(1).astype(int)))
    new, old, right, wrong = found
    assert [offset for _, offset, _ in found] == [-0.1, 0.0, 0.0, -0.1]
    assert [p["s2:processing_baseline"] for p, *_ in found] == ["05.10", "02.14", "05.10", "05.10"]
    applied = [p.get("earthsearch:boa_offset_applied") for p, *_ in found]
    assert applied == [None, None, True, False]
    dark = np.maximum(new[2] - 1000, 1)  # a count of 0 is no data, so nothing falls below 1
    for other in (old, right, wrong):
        assert np.abs(other[2] - dark).max() <= 1  # float32
    assert (new[2] > 1000).mean() > 0.99


def test_every_baseline_is_read_as_the_same_reflectance(tmp_path):
    sensor, found = Configs.at().sensor(SENSOR), {}
    for way in (NEW, OLD, HARMONISED, WRONG_FLAG):
        folder = tmp_path / f"{way.number} {way.applied}"
        (item,) = _items(make_baselines(folder, way, side=64))
        item.make_asset_hrefs_absolute()
        if way is WRONG_FLAG:
            with pytest.raises(CatalogError, match="its offset is in doubt"):
                make_scenes([item], sensor)
        made = make_scenes([item], sensor, trust="observed" if way is WRONG_FLAG else None)
        imagery = Imagery(SENSOR, sensor, made.scenes)
        crs, resolution, anchor = native_grid(made.scenes, sensor)
        outline = box(anchor[0], anchor[1] - 88 * 20, anchor[0] + 88 * 20, anchor[1], str(crs))
        read = read_reflectance(imagery, region_grid(outline, resolution, anchor))
        found[way] = read["reflectance"].values
    seen = found[NEW] > 0.0  # below, only the new baseline has a count to say it with
    assert seen.mean() > 0.6
    assert np.nanmedian(found[NEW]) > 0.15
    for values in found.values():
        np.testing.assert_allclose(values[seen], found[NEW][seen], atol=1.5e-4)


def test_the_shipped_world_has_an_old_baseline_and_no_wrong_flag():
    for place in (NEVADA, ALMERIA):
        ways = [look.baseline for look in place.passes]
        assert OLD in ways
        assert set(ways) == {NEW, OLD}


def test_landsat_pixels_are_the_mean_of_the_ground_below_them(tmp_path):
    ground = GeoBox.from_bbox(
        (500_000, 4_000_000, 500_600, 4_000_600), "EPSG:32611", shape=(30, 30)
    )
    grid = landsat_grid(ground)
    assert (grid.affine.c % 30, grid.affine.f % 30) == (15, 15)
    edges, whole = grid.boundingbox, ground.boundingbox
    assert 0 <= edges.left - whole.left < 30
    assert 0 <= whole.top - edges.top < 30
    # Brightness rises eastwards and southwards: the mean over a pixel is the value at its centre.
    rows, columns = np.indices((30, 30)) + 0.5
    plane = (0.1 + 0.004 * columns + 0.002 * rows).astype(np.float32)
    classes = np.full((30, 30), 5, np.uint8)
    classes[6:9, 6:9] = 9
    classes[20, 20], classes[24, 24], classes[27:, :] = 3, 10, 0
    bands = {"red": BANDS["red"]}
    item = write_landsat(
        tmp_path,
        Frame(SMALL, SMALL.landsat[0], ground, bands, NOW),
        View(plane[None], classes),
    )
    there = tmp_path / LANDSAT.name / item["id"]
    with rasterio.open(there / "red.tif") as raster:
        counts, transform = raster.read(1), raster.transform
    with rasterio.open(there / "qa_pixel.tif") as raster:
        quality = raster.read(1)
    x, y = transform * (np.indices(counts.shape)[::-1] + 0.5)
    expected = 0.1 + 0.004 * (x - 500_000) / 20 + 0.002 * (4_000_600 - y) / 20
    seen = counts > 0
    np.testing.assert_allclose(counts[seen] * 2.75e-5 - 0.2, expected[seen], atol=1.5e-5)
    # USGS: 21824 clear, 22280 cloud, 23888 shadow, 54596 cirrus, 21762 dilated cloud, 1 fill.
    assert set(np.unique(quality)) == {21824, 22280, 23888, 54596, 21762, 1}
    assert np.array_equal(quality == 1, ~seen)
    near_cloud = quality[np.hypot(x - 500_150, y - 4_000_450) < 25]
    assert set(near_cloud) == {22280}


def test_the_elevation_is_the_ground_that_casts_the_shade(world):
    (item,) = _items(world, "cop-dem-demo")
    with rasterio.open(item.assets["data"].get_absolute_href()) as raster:
        height, side = raster.read(1), raster.shape
    ground = make_ground(SMALL, SEED, side, {}, 20.0)
    np.testing.assert_allclose(height, ground.height, atol=0.006)
    assert side == (SIDE + 24, SIDE + 24)  # a margin, so that there is a slope at the region's edge


def test_rasters_are_valid_cogs(world):
    paths = [*world.catalog.parent.rglob("*.tif"), *world.truth.values()]
    assert all(cog_validate(path, strict=True, quiet=True)[0] for path in paths)


def test_catalog_and_items_are_valid_stac(world):
    schemas = {
        schema["$id"].rstrip("#"): schema
        for path in (Path(__file__).parent / "stac_schemas").glob("*.json")
        if (schema := json.loads(path.read_text(encoding="utf-8")))
    }
    validator = JsonSchemaSTACValidator()
    validator.schema_cache |= schemas
    for item in _items(world, None):
        document = json.loads(Path(item.get_self_href()).read_text(encoding="utf-8"))
        known = [uri for uri in document["stac_extensions"] if uri in schemas]
        assert len(known) >= 3
        document["stac_extensions"] = known
        validate_dict(document, validator=validator)
    for path in (world.catalog, *world.catalog.parent.glob("*/collection.json")):
        validate_dict(json.loads(path.read_text(encoding="utf-8")), validator=validator)


def test_the_footprint_holds_all_data_and_leaves_out_what_the_swath_cut_off(world):
    for item in _items(world):
        with rasterio.open(item.assets["scl"].get_absolute_href()) as mask:
            outline = gpd.GeoSeries([shape(item.geometry)], crs=4326).to_crs(mask.crs)
            valid = mask.read(1) != 0
            outside = geometry_mask(outline, valid.shape, mask.transform)
        # The outline follows the edge; the pixels on it may fall on either side.
        assert (outside & valid).mean() < 0.01
        assert (~outside & ~valid).mean() < 0.01


def test_a_move_takes_one_system_along_and_leaves_the_rest():
    moves = {1: (400.0, -200.0)}  # 20 pixels east, 10 south
    stays, moved = (make_ground(SMALL, SEED, (240, 240), m, 20.0) for m in ({}, moves))
    assert np.array_equal(stays.height, moved.height)
    assert np.array_equal(stays.plants, moved.plants)
    assert moved.deposits[0] == stays.deposits[0]
    was, now = stays.deposits[1], moved.deposits[1]
    assert (now.row - was.row, now.column - was.column) == pytest.approx((10, 20))

    noise = templates(SEED, SMALL.name, "deposit", 1)
    before, after = (zones(centre, noise, (240, 240)) for centre in (was, now))
    assert np.allclose(before[:, :-10, :-20], after[:, 10:, 20:], atol=1e-4)
    assert before[0].max() > 0.3
    untouched = (before.sum(axis=0) == 0) & (after.sum(axis=0) == 0)
    assert untouched.any()
    assert np.array_equal(stays.classes[untouched], moved.classes[untouched])
    assert not np.array_equal(stays.classes, moved.classes)


def test_a_move_of_nothing_is_refused(tmp_path, configs):
    with pytest.raises(PlanError, match="no deposit 9 in 'demo_nevada'"):
        make_world(tmp_path, moves={("demo_nevada", 9): (1.0, 1.0)}, configs=configs)
    assert list(tmp_path.iterdir()) == []
    assert move((), {}, 20.0) == ()


def test_shares_are_shares():
    for place in (NEVADA, ALMERIA):
        ground = make_ground(place, SEED, (128, 128), {}, 20.0)
        total = sum(ground.shares.values())
        assert np.allclose(total, 1, atol=1e-5)
        assert min(share.min() for share in ground.shares.values()) > -1e-6
        assert set(np.unique(ground.classes)) <= set(range(1, len(CLASSES) + 1))


def test_sites_are_mostly_right_and_inside(world):
    sites = gpd.read_file(world.sites["demo_nevada"])
    with rasterio.open(world.truth["demo_nevada"]) as truth:
        bounds = truth.bounds
        found = [CLASSES[value[0] - 1] for value in truth.sample(_xy(sites))]
    assert set(sites["label"]) == set(CLASSES)
    assert sites.within(gpd.GeoSeries.from_wkt([_box(bounds)], crs=sites.crs)[0]).all()
    right = np.mean(sites["label"].to_numpy() == np.array(found))
    assert 0.6 < right < 0.97  # misplaced by a pixel, and one in twenty wrong on purpose


def _xy(sites):
    return list(zip(sites.geometry.x, sites.geometry.y, strict=True))


def _box(b):
    corners = [(b.left, b.bottom), (b.right, b.bottom), (b.right, b.top), (b.left, b.top)]
    ring = ", ".join(f"{x} {y}" for x, y in [*corners, corners[0]])
    return f"POLYGON (({ring}))"


def test_without_its_errors_every_site_has_the_true_label(monkeypatch):
    monkeypatch.setattr("pipeline.world.sites._WRONG", 0.0)
    monkeypatch.setattr("pipeline.world.sites._MISPLACED", 0.0)
    ground = make_ground(SMALL, SEED, (200, 200), {}, 20.0)
    sites = draw_sites(SMALL, SEED, ground, 12)
    rows, columns = sites.spots.astype(int).T
    assert [CLASSES[v - 1] for v in ground.classes[rows, columns]] == list(sites.labels)


def test_the_mask_finds_most_cloud_but_not_all():
    ground = make_ground(SMALL, SEED, (256, 256), {}, 20.0)
    scenery = Scenery(SMALL, SEED, ground, make_surface(SMALL, SEED, ground, BANDS))
    look = replace(NEVADA.passes[2], cloud=0.2)
    cloudy = make_scene(scenery, look, BANDS)
    clear = make_scene(scenery, replace(look, cloud=1e-6), BANDS)
    added = (cloudy.counts[0].astype(float) - clear.counts[0]) * 1e-4
    flagged = np.isin(cloudy.classes, (8, 9, 10))
    assert flagged[added > 0.3].mean() > 0.95
    slipped = (added > 0.02) & ~flagged
    assert 0.001 < slipped.mean() < 0.05
    ground_called_cloud = flagged & (np.abs(added) < 0.01)
    assert 0 < ground_called_cloud.mean() < 0.05


def test_spectra_have_their_absorptions_where_they_are_published():
    deepest = {
        "alunite": (2100, 2240, 2170),
        "kaolinite": (2140, 2260, 2206),
        "white_mica": (2140, 2280, 2208),
        "chlorite": (2280, 2400, 2330),
        "calcite": (2250, 2420, 2340),
        "goethite": (820, 1020, 920),
        "hematite": (780, 980, 870),
    }
    for name, (low, high, centre) in deepest.items():
        within = (low <= WAVELENGTHS) & (high >= WAVELENGTHS)
        nm, level = WAVELENGTHS[within], reflectance(SPECTRA[name])[within]
        line = np.interp(nm, nm[[0, -1]], level[[0, -1]])
        assert abs(nm[np.argmin(level / line)] - centre) <= 15, name


def test_bands_see_what_they_should():
    names = list(BANDS)
    seen = {name: dict(zip(names, band_values(name, BANDS), strict=True)) for name in SPECTRA}
    for name in ("alunite", "kaolinite", "white_mica"):
        assert seen[name]["swir16"] / seen[name]["swir22"] > 1.12, name
    for name in ("rhyolite", "andesite", "basalt"):
        assert seen[name]["swir16"] / seen[name]["swir22"] < 1.1, name
    green = seen["green"]
    assert (green["nir08"] - green["red"]) / (green["nir08"] + green["red"]) > 0.7
    assert seen["hematite"]["red"] / seen["hematite"]["blue"] > 2
    assert all(0 < value < 0.8 for values in seen.values() for value in values.values())


def test_fields_are_standard_and_keyed():
    made = field(draws(1, "a"), (128, 128), 10)
    assert made.mean() == pytest.approx(0, abs=1e-4)
    assert made.std() == pytest.approx(1, abs=1e-4)
    assert np.array_equal(made, field(draws(1, "a"), (128, 128), 10))
    assert not np.array_equal(made, field(draws(1, "b"), (128, 128), 10))
    smooth = field(draws(1, "a"), (128, 128), 30)
    assert np.abs(np.diff(smooth, axis=0)).mean() < np.abs(np.diff(made, axis=0)).mean()


def test_the_demo_workflow_names_what_the_world_has():
    workflow = load_workflow(BUILT_IN.parent / "workflows" / "demo.yaml")
    assert workflow.training.classes == CLASSES
    assert set(workflow.mapping.regions) == {NEVADA.name, ALMERIA.name}
    assert workflow.sensor == SENSOR
    for name in workflow.mapping.regions:
        assert Configs.at().region(name).release == "public"
