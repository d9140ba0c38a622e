"""Runs that ask more of the imagery: evidence only, gaps, locks, several sensors, slopes."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import rasterio
import yaml
from rasterio.features import rasterize
from rasterio.warp import transform_geom
from worlds import QUIET, Small, make_small, small_workflow

from pipeline import open_region
from pipeline.errors import CatalogError, OutputError, PlanError, ReadError
from pipeline.job import Job
from pipeline.reference import Reference, score
from pipeline.run import run

REGION = "demo_nevada"


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> Small:
    return make_small(tmp_path_factory.mktemp("small"))


@pytest.fixture
def own(small, tmp_path) -> Path:
    """Return a copy of the small world's catalog that a test may damage."""
    shutil.copytree(small.world.catalog.parent, tmp_path / "catalog")
    return tmp_path / "catalog" / "catalog.json"


def evidence_only(folder: Path, **changes) -> Path:
    """Write a study of one region that learns nothing; return its path."""
    full = small_workflow()
    kept = {k: full[k] for k in ("title", "purpose", "sensor", "search")}
    study = kept | {"name": "only", "mapping": {"regions": [REGION]}, "evidence": ["ndvi"]}
    path = folder / "only.yaml"
    path.write_text(yaml.safe_dump(study | changes))
    return path


def job(small: Small, flow: Path, out: Path, catalog: Path | None = None, **wanted) -> Job:
    return Job(flow, out, str(catalog or small.world.catalog), small.configs, **wanted)


def layer(path: Path) -> np.ndarray:
    with rasterio.open(path) as found:
        return found.read(1)


def test_a_study_without_training_maps_its_evidence_and_claims_nothing(small, tmp_path):
    flow, out = evidence_only(tmp_path), tmp_path / "run"
    done = run(job(small, flow, out), QUIET)
    maps = {p.stem for p in (out / REGION).glob("*.tif")}
    assert maps == {"evidence_ndvi", "clear_count"}
    assert not list(out.rglob("zones.*"))
    assert not (out / "model.skops").exists()
    assert "validation" not in done
    assert done["zones"] == {}
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "trained no model" in page
    assert "Prospective zones" not in page
    whole = open_region(
        flow, REGION, catalog=str(small.world.catalog), configs=small.configs.folders[0]
    )
    np.testing.assert_array_equal(layer(out / REGION / "evidence_ndvi.tif"), whole["ndvi"])
    np.testing.assert_array_equal(
        np.nan_to_num(layer(out / REGION / "clear_count.tif")), whole["clear_count"]
    )
    with pytest.raises(PlanError, match="learns nothing"):
        score(job(small, flow, out), {REGION: Reference(Path("none.tif"), None)}, QUIET)


def test_a_catalog_may_be_named_from_the_folder_one_stands_in(small, tmp_path, monkeypatch):
    monkeypatch.chdir(small.world.catalog.parent.parent)
    near = job(small, evidence_only(tmp_path), tmp_path / "near", Path("catalog/catalog.json"))
    far = job(small, evidence_only(tmp_path), tmp_path / "far")
    assert run(near, QUIET)["digest"] == run(far, QUIET)["digest"]


def test_the_same_files_over_the_network_are_the_same_run(small, own, web, tmp_path):
    near = run(job(small, evidence_only(tmp_path), tmp_path / "near", own), QUIET)
    there = Job(
        evidence_only(tmp_path), tmp_path / "far", f"{web}/catalog/catalog.json", small.configs
    )
    assert run(there, QUIET)["digest"] == near["digest"]
    for path in (tmp_path / "near" / REGION).glob("*.tif"):
        assert path.read_bytes() == (tmp_path / "far" / REGION / path.name).read_bytes()


def test_half_of_what_learning_needs_is_refused(tmp_path, small):
    flow = evidence_only(tmp_path, model="albedo")
    with pytest.raises(PlanError, match="'training' is missing"):
        run(job(small, flow, tmp_path / "run"), QUIET)
    flow = evidence_only(tmp_path, evidence=[])
    with pytest.raises(PlanError, match="nothing is asked for"):
        run(job(small, flow, tmp_path / "run"), QUIET)


def test_a_cog_says_itself_what_it_is_and_what_it_was_made_from(small, tmp_path):
    done = run(job(small, evidence_only(tmp_path), tmp_path / "run"), QUIET)
    with rasterio.open(tmp_path / "run" / REGION / "evidence_ndvi.tif") as found:
        assert found.tags()["PROSPECTRA_RUN"] == done["digest"]
        assert found.tags()["PROSPECTRA_RELEASE"] == "operator"
        assert found.descriptions[0]


def test_another_workflow_does_not_write_over_results(small, tmp_path):
    run(job(small, evidence_only(tmp_path), tmp_path / "run"), QUIET)
    other = evidence_only(tmp_path, name="another")
    with pytest.raises(OutputError, match="another workflow, 'only'"):
        run(job(small, other, tmp_path / "run"), QUIET)


# What cannot be read


def first_item(catalog: Path) -> Path:
    folder = catalog.parent / "sentinel-2-l2a-demo"
    return min(p for p in folder.glob(f"*{REGION}*") if p.is_dir())


def pixels_of(item: Path, like: Path) -> int:
    """Count the region's pixels inside an item's footprint, with another tool than the run's."""
    document = json.loads(next(item.glob("*.json")).read_text())
    with rasterio.open(like) as found:
        shape = transform_geom("EPSG:4326", found.crs, document["geometry"])
        return int(rasterize([shape], found.shape, transform=found.transform).sum())


def forget_checksums(item: Path) -> None:
    path = next(item.glob("*.json"))
    document = json.loads(path.read_text())
    for asset in document["assets"].values():
        del asset["file:checksum"], asset["file:size"]
    path.write_text(json.dumps(document))


@pytest.mark.parametrize("damage", ["missing", "cut short", "replaced", "pixels"])
def test_what_cannot_be_read_stops_the_run_by_name_unless_it_is_allowed(
    small, own, tmp_path, damage
):
    item = first_item(own)
    band = item / "swir16.tif"
    content = bytearray(band.read_bytes())
    if damage == "missing":
        band.unlink()
    elif damage == "cut short":
        band.write_bytes(content[:200])
    elif damage == "replaced":  # a whole raster, but not the one the catalog gave a checksum of
        shutil.copy(item / "swir22.tif", band)
    else:  # the header stays whole, the pixels do not decode, and no checksum tells beforehand
        forget_checksums(item)
        content[len(content) // 2 :] = bytes(len(content) - len(content) // 2)
        band.write_bytes(content)
    with pytest.raises(ReadError, match=item.name):
        run(job(small, evidence_only(tmp_path), tmp_path / "strict", own), QUIET)
    assert not (tmp_path / "strict" / "run.json").exists()

    search = small_workflow()["search"] | {"min_readable": 0.4}
    flow, out = evidence_only(tmp_path, search=search, evidence=["clay_hydroxyl"]), tmp_path / "run"
    done = run(job(small, flow, out, own), QUIET)
    found = done["coverage"][REGION]["sentinel2-l2a"]
    assert [gap["item"] for gap in found["gaps"]] == [item.name]
    like = out / REGION / "evidence_clay_hydroxyl.tif"
    items = sorted(p for p in item.parent.glob(f"*{REGION}*") if p.is_dir())
    by_hand = {p.name: pixels_of(p, like) for p in items}
    assert found["lost"] == by_hand[item.name] > 0
    assert found["wanted"] == sum(by_hand.values())
    assert found["share"] == pytest.approx(1 - found["lost"] / found["wanted"])
    assert item.name in (out / "report.html").read_text(encoding="utf-8")

    # What is left is the map of the other date alone, as if the item had not been offered.
    without = small_workflow()["search"] | {"datetime": "2025-05-01/.."}
    flow = evidence_only(tmp_path, name="less", search=without, evidence=["clay_hydroxyl"])
    run(job(small, flow, tmp_path / "less", own), QUIET)
    np.testing.assert_array_equal(
        layer(like), layer(tmp_path / "less" / REGION / "evidence_clay_hydroxyl.tif")
    )

    stricter = evidence_only(tmp_path, search=search | {"min_readable": 0.99})
    with pytest.raises(ReadError, match=r"only 0\.\d+ of the imagery can be read, and 0.99"):
        run(job(small, stricter, tmp_path / "stricter", own), QUIET)


# The lock


def test_a_locked_run_uses_what_was_locked_and_refuses_what_changed(small, own, tmp_path):
    flow, out = evidence_only(tmp_path), tmp_path / "run"
    with pytest.raises(CatalogError, match="run once without --locked"):
        run(job(small, flow, out, own, locked=True), QUIET)
    first = run(job(small, flow, out, own), QUIET)
    assert run(job(small, flow, out, own, locked=True), QUIET) == first

    new = first_item(own).with_name("one-more")  # a search would find it, a locked run does not
    shutil.copytree(first_item(own), new)
    assert run(job(small, flow, out, own, locked=True), QUIET)["digest"] == first["digest"]

    forget_checksums(first_item(own))
    first = run(job(small, flow, out, own), QUIET)
    band = first_item(own) / "red.tif"
    kept = band.read_bytes()
    with rasterio.open(band, "r+", IGNORE_COG_LAYOUT_BREAK="YES") as target:
        values = target.read(1)
        values[0, 0] += 1
        target.write(values, 1)
    with pytest.raises(CatalogError, match=f"{first_item(own).name}.*red"):
        run(job(small, flow, out, own, locked=True), QUIET)
    band.write_bytes(kept)

    document = next(first_item(own).glob("*.json"))
    changed = json.loads(document.read_text())
    changed["properties"]["eo:cloud_cover"] = 99.0
    document.write_text(json.dumps(changed))
    with pytest.raises(CatalogError, match=f"{first_item(own).name}.*has changed"):
        run(job(small, flow, out, own, locked=True), QUIET)


def test_the_lock_names_every_item_with_its_reason_and_holds_no_folder_of_this_machine(
    small, own, tmp_path
):
    run(job(small, evidence_only(tmp_path), tmp_path / "run", own), QUIET)
    text = (tmp_path / "run" / "items.lock.json").read_text()
    assert str(tmp_path) not in text
    entries = json.loads(text)[REGION]["items"]
    dropped = [entry for entry in entries if not entry["kept"]]
    assert dropped
    assert all(entry["reason"] for entry in dropped)
    assert all(entry["counts"]["how"] for entry in entries if entry["kept"])


# Several sensors, slopes, flags


def test_two_sensors_share_a_grid_and_slopes_and_flags_have_their_maps(small, tmp_path):
    search = small_workflow()["search"]
    flow = evidence_only(
        tmp_path,
        evidence=["ndvi"],
        composite={
            "method": "geomedian",
            "illumination": "c",
            "masks": {"publish": ["cloud", "vegetation"], "dilate": {"cloud": 60.0}},
        },
        also=[
            {
                "sensor": "landsat-oli-c2-l2",
                "search": search | {"collections": ["landsat-c2-l2-demo"]},
            }
        ],
        terrain={"sensor": "copernicus-dem", "search": {"collections": ["cop-dem-demo"]}},
    )
    out = tmp_path / "run"
    run(job(small, flow, out), QUIET)
    shares = layer(out / REGION / "share_vegetation.tif")
    assert (shares[shares != 65535] <= 10000).all()
    entries = json.loads((out / "items.lock.json").read_text())[REGION]["items"]
    used = {entry["sensor"] for entry in entries if entry["kept"]}
    assert used == {"sentinel2-l2a", "landsat-oli-c2-l2", "copernicus-dem"}
    assert all(
        entry["illumination"]["method"] == "c"
        for entry in entries
        if entry["kept"] and entry["sensor"] == "sentinel2-l2a"
    )
    data = open_region(
        flow, REGION, catalog=str(small.world.catalog), configs=small.configs.folders[0]
    )
    red = data["reflectance"].sel(band=["red", "landsat_oli_c2_l2_red"]).values
    both = np.isfinite(red).all(axis=0)
    assert both.mean() > 0.5
    assert np.corrcoef(red[:, both])[0, 1] > 0.8
    assert abs(np.median(red[0][both] - red[1][both])) < 0.02


# What a new user tried


def test_the_report_says_how_the_picture_was_made(small, tmp_path):
    flow = evidence_only(
        tmp_path,
        composite={
            "method": "percentile",
            "percentile": 20.0,
            "masks": {"dilate": {"cloud": 60.0}, "publish": ["cloud"]},
        },
    )
    done = run(job(small, flow, tmp_path / "run"), QUIET)
    told = "percentile 20 of the clear dates; cloud grown by 60 m"
    assert done["composites"] == {"sentinel2-l2a": told}
    assert done["workflow"]["composite"]["percentile"] == 20.0
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert told in page
    assert f"{100 * done['mapped'][REGION]:.2f} % of the region was clear" in page


def test_a_region_without_a_clear_pixel_is_no_success(small, own, tmp_path):
    every = ["vegetation", "bare", "unclassified", "water", "snow", "dark", "cloud", "cirrus"]
    flow = evidence_only(tmp_path, composite={"masks": {"drop": [*every, "cloud_shadow"]}})
    with pytest.raises(CatalogError, match="no pixel of it is clear on any of 2 dates"):
        run(job(small, flow, tmp_path / "run", own), QUIET)
    assert not (tmp_path / "run" / "run.json").exists()


def test_an_item_without_a_time_is_dropped_and_the_report_is_still_made(small, own, tmp_path):
    document = next(first_item(own).glob("*.json"))
    said = json.loads(document.read_text())
    said["properties"]["datetime"] = None
    document.write_text(json.dumps(said))
    done = run(job(small, evidence_only(tmp_path), tmp_path / "run", own), QUIET)
    reasons = [entry["reason"] for entry in done["items"][REGION] if not entry["kept"]]
    assert any("no time" in reason for reason in reasons)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (
            {
                "composite": {"illumination": "c"},
                "terrain": {"sensor": "landsat-oli-c2-l2"},
            },
            "gives reflectance, not elevation",
        ),
        ({"composite": {"masks": {"publish": ["cloud", "cloud"]}}}, "publish names a flag twice"),
        ({"composite": {"masks": {"dilate": {"cloud": 1e7}}}}, "dilate.cloud"),
        ({"composite": {"masks": {"drop": ["clouds"]}}}, "clouds"),
        ({"grid": {"resolution": 0.001}}, "more than 4e\\+09"),
        (
            {"search": {"datetime": "2025-09-01/2025-03-01"}},
            "search.datetime.*ends before",
        ),
        ({"search": {"months": [13]}}, "search.months.0"),
    ],
)
def test_what_a_study_cannot_mean_is_told_by_its_key(small, tmp_path, changes, told):
    with pytest.raises(PlanError, match=told):
        run(job(small, evidence_only(tmp_path, **changes), tmp_path / "run"), QUIET)
    assert not (tmp_path / "run" / "run.json").exists()


def test_a_token_that_is_missing_is_named_before_anything_is_asked(small, tmp_path, monkeypatch):
    monkeypatch.delenv("EARTHDATA_TOKEN", raising=False)
    asked = Job(evidence_only(tmp_path), tmp_path / "run", "lpcloud", small.configs)
    with pytest.raises(ReadError, match="EARTHDATA_TOKEN is not set"):
        run(asked, QUIET)  # the tests' guard would tell of any connection
