"""The main job on a small world: every output, and what must not change them."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import yaml
from rio_cogeo.cogeo import cog_validate
from worlds import QUIET, Small, make_small, small_workflow

from pipeline import files, open_region
from pipeline.blocks import Workers
from pipeline.errors import BusyError, OutputError, SplitError
from pipeline.plan import Configs
from pipeline.reference import Reference, score
from pipeline.run import run

REGIONS = ("demo_nevada", "demo_almeria")
APART = {"timings.json", ".lock"}


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> Small:
    return make_small(tmp_path_factory.mktemp("small"))


@pytest.fixture(scope="module")
def done(small, tmp_path_factory) -> Path:
    """Return the folder of a finished run."""
    out = tmp_path_factory.mktemp("done") / "run"
    run(small.job(out), QUIET)
    return out


def contents(folder: Path) -> dict[str, str]:
    """Return the digest of every file of a run, timings apart."""
    return {
        p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in sorted(folder.rglob("*"))
        if p.is_file() and p.name not in APART
    }


def in_another_process(small: Small, out: Path, block: int) -> subprocess.Popen:
    """Start the same run in a process of its own, so that it can be killed."""
    code = (
        "import sys; from pathlib import Path; from pipeline.plan import *; "
        "from pipeline.job import *; from pipeline.run import *; "
        "flow, out, catalog, own, block = sys.argv[1:]; "
        "run(Job(Path(flow), Path(out), catalog, Configs((Path(own), BUILT_IN)), "
        "Workers('threads', 1), int(block)), lambda *_: None)"
    )
    own = str(small.configs.folders[0])
    given = [str(small.workflow), str(out), str(small.world.catalog), own, str(block)]
    return subprocess.Popen([sys.executable, "-c", code, *given])


def test_every_output_is_there(done):
    maps = ["class", "spread", "support", "evidence_clay_hydroxyl", "evidence_ndvi"]
    maps += [f"score_{name}" for name in small_workflow()["training"]["classes"]]
    for region in REGIONS:
        for name in maps:
            for suffix in (".tif", ".png", ".qml"):
                assert (done / region / f"{name}{suffix}").stat().st_size > 0
            assert cog_validate(done / region / f"{name}.tif", strict=True)[0]
            if not name.startswith("evidence"):
                assert json.loads((done / region / "tiles" / name / "tilejson.json").read_text())
                assert (done / region / "tiles" / f"{name}.mbtiles").is_file()
        assert len(gpd.read_file(done / region / "zones.gpkg", layer="zones")) > 0
        assert len(gpd.read_parquet(done / region / "zones.parquet")) > 0
    assert (done / "stac" / "collection.json").is_file()
    assert (done / "report.html").is_file()
    assert (done / "model.skops").is_file()
    assert not (done / ".work").exists()
    record = json.loads((done / "run.json").read_text())
    assert record["level"] == "operator"
    assert record["purpose"]
    assert record["commodities"]
    assert {"random", "paired", "verdict", "models"} <= record["validation"].keys()
    assert "permuted labels (control)" in record["validation"]["models"]
    assert record["validation"]["buffer_m"] == (3 + 1) * 20  # 60 m, to the far edge of the pixel


def test_nothing_is_mapped_outside_a_region_that_is_no_box(done):
    folder = done / "demo_almeria"
    for name, nothing in (("class", 0), ("score_argillic", 65535), ("support", 65535)):
        with rasterio.open(folder / f"{name}.tif") as source:
            values = source.read(1)
        assert (values[:10, -10:] == nothing).all()
        assert (values[60:100, 60:100] != nothing).mean() > 0.9
    with rasterio.open(folder / "evidence_ndvi.tif") as source:
        assert np.isnan(source.read(1)[:10, -10:]).all()


def test_the_class_map_is_the_winner_of_the_published_scores(done):
    classes = small_workflow()["training"]["classes"]
    folder = done / "demo_almeria"
    with rasterio.open(folder / "class.tif") as source:
        winner = source.read(1)
    counts = []
    for name in classes:
        with rasterio.open(folder / f"score_{name}.tif") as source:
            counts.append(source.read(1).astype(int))
            assert source.scales == (1e-4,)
    stack = np.where(np.stack(counts) == 65535, -1, np.stack(counts))
    expected = np.where(stack.max(axis=0) < 0, 0, stack.argmax(axis=0) + 1)
    np.testing.assert_array_equal(winner, expected)
    known = winner > 0
    assert known.mean() > 0.5
    np.testing.assert_allclose(stack.sum(axis=0)[known], 10_000, atol=5)


def test_a_run_that_is_current_does_nothing(small, done):
    before = {p: p.stat().st_mtime_ns for p in done.rglob("*") if p.is_file()}
    steps = []
    again = run(small.job(done), lambda step, *_: steps.append(step))
    assert set(steps) == {"search", "already current"}
    assert again == json.loads((done / "run.json").read_text())
    assert {p: p.stat().st_mtime_ns for p in before if p.name != ".lock"} == {
        p: t for p, t in before.items() if p.name != ".lock"
    }


def test_a_damaged_output_is_made_again(small, done, tmp_path):
    out = tmp_path / "run"
    run(small.job(out), QUIET)
    whole = contents(out)
    assert whole == contents(done)
    (out / "demo_almeria" / "class.tif").write_bytes(b"damaged")
    run(small.job(out), QUIET)
    assert contents(out) == whole


def test_processes_and_other_blocks_give_the_same_bytes(small, done, tmp_path):
    out = tmp_path / "run"
    run(small.job(out, workers=Workers("processes", 2), block=96), QUIET)
    assert contents(out) == contents(done)


def test_a_cluster_of_two_workers_gives_the_same_bytes(small, done, tmp_path):
    from distributed import LocalCluster

    out = tmp_path / "run"
    with LocalCluster(
        n_workers=2,
        threads_per_worker=1,
        processes=True,
        host="127.0.0.1",
        dashboard_address=None,
        silence_logs="ERROR",
    ) as cluster:
        workers = Workers.at(cluster.scheduler_address)
        run(small.job(out, workers=workers, block=64), QUIET)
    assert contents(out) == contents(done)


def test_a_run_killed_midway_goes_on_and_ends_the_same(small, done, tmp_path):
    out = tmp_path / "run"
    process = in_another_process(small, out, block=32)
    deadline = time.monotonic() + 120
    while len(kept := sorted(out.glob(".work/*/demo_nevada.zarr/done/y*.json"))) < 5:
        assert process.poll() is None, "the run ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (out / "run.json").exists()
    times = {p: p.stat().st_mtime_ns for p in kept}
    seen = {}

    def look(step, _done, _total):
        if step == "publish demo_nevada":  # the maps are whole, the work folder not yet cleared
            seen.update({p: p.stat().st_mtime_ns for p in kept})

    run(small.job(out, block=32), look)
    assert contents(out) == contents(done)
    assert seen == times, "blocks that were whole have been computed again"


def test_what_a_study_no_longer_makes_is_taken_away(small, tmp_path):
    flow = small_workflow() | {"mapping": {"regions": ["demo_nevada"]}}
    path = tmp_path / "flow.yaml"
    job = replace(small.job(tmp_path / "run"), workflow=path)
    path.write_text(yaml.safe_dump(flow))
    run(job, QUIET)
    path.write_text(yaml.safe_dump(flow | {"validation": flow["validation"] | {"block": 9000}}))
    with pytest.raises(SplitError):
        run(job, QUIET)
    assert (job.out / "run.json").exists(), "a run that fails must not take the last one away"
    path.write_text(yaml.safe_dump(flow | {"evidence": ["ndvi"]}))
    record = run(job, QUIET)
    assert not list(job.out.rglob("*clay_hydroxyl*"))
    assert not [name for name in record["files"] if "clay_hydroxyl" in name]
    (job.out / "report.html").unlink()
    run(job, QUIET)
    assert (job.out / "report.html").exists()


def test_two_runs_on_one_folder_are_refused(small, done):
    with files.hold(done), pytest.raises(BusyError, match="another run"):
        run(small.job(done), QUIET)


def test_permuted_labels_have_no_skill(small, tmp_path):
    sites = gpd.read_file(small.world.sites["demo_nevada"])
    shuffled = np.random.default_rng(5).permutation(sites["label"].to_numpy())
    sites.assign(label=shuffled).to_file(tmp_path / "shuffled.gpkg")
    flow = small_workflow()
    flow["training"]["sites"] = {"demo_nevada": str(tmp_path / "shuffled.gpkg")}
    path = tmp_path / "shuffled.yaml"
    path.write_text(yaml.safe_dump(flow))
    found = run(replace(small.job(tmp_path / "run"), workflow=path), QUIET)
    assert not found["validation"]["verdict"]["skill"]
    assert "No skill here" in found["validation"]["verdict"]["sentence"]
    assert np.mean(found["validation"]["models"]["logistic-around"]["auc"]) == pytest.approx(
        0.5, abs=0.08
    )


def test_the_truth_changes_no_byte_of_a_map(done, tmp_path):
    other = make_small(tmp_path)
    for path in (*other.world.truth.values(), *other.world.deposits.values()):
        path.unlink()
    run(other.job(tmp_path / "run"), QUIET)
    ours, theirs = contents(done), contents(tmp_path / "run")
    assert ours == theirs


def test_moving_a_deposit_moves_the_zones(small, done, tmp_path):
    deposits = gpd.read_file(small.world.deposits["demo_almeria"])
    first = deposits.geometry.iloc[0]
    moved = make_small(tmp_path, moves={("demo_almeria", 0): (700.0, -500.0)})
    places = gpd.read_file(moved.world.deposits["demo_almeria"])
    assert places.geometry.iloc[0].distance(first) > 800
    run(moved.job(tmp_path / "run"), QUIET)
    before, after = done / "demo_almeria", tmp_path / "run" / "demo_almeria"
    there = places.geometry.iloc[0]
    assert zone_area(after, there) > zone_area(before, there)
    assert zone_area(after, first) < zone_area(before, first)
    assert mean_score(after, there) > mean_score(before, there) + 0.02
    assert mean_score(after, first) < mean_score(before, first) - 0.02


def zone_area(folder: Path, place) -> float:
    """Return how much of the ground within 400 m of a place lies in zones, m2."""
    zones = gpd.read_file(folder / "zones.gpkg", layer="zones")
    return zones.intersection(place.buffer(400)).area.sum()


def mean_score(folder: Path, place) -> float:
    """Return the mean score of alteration within 160 m of a place."""
    total = 0.0
    for name in ("advanced_argillic", "argillic", "phyllic"):
        with rasterio.open(folder / f"score_{name}.tif") as source:
            row, column = source.index(place.x, place.y)
            band = source.read(1, masked=True)[row - 8 : row + 9, column - 8 : column + 9]
            total += float(band.mean()) * 1e-4
    return total


def test_open_region_is_what_a_run_maps(small, done):
    own = small.configs.folders[0]
    data = open_region(
        small.workflow, "demo_almeria", catalog=str(small.world.catalog), configs=own
    )
    assert data["reflectance"].chunks is not None
    assert data.odc.crs == "EPSG:32630"
    loaded = data.compute()
    with rasterio.open(done / "demo_almeria" / "evidence_clay_hydroxyl.tif") as source:
        np.testing.assert_array_equal(source.read(1), loaded["clay_hydroxyl"].values)
        assert source.transform.c == loaded["x"].values[0] - 10
    assert loaded["clear_count"].max() <= 2


def test_a_new_index_is_one_file(small, tmp_path):
    own = tmp_path / "own"
    (own / "indices").mkdir(parents=True)
    for kind in ("regions", "models"):
        (own / kind).symlink_to(small.configs.folders[0] / kind)
    (own / "indices" / "mine.yaml").write_text(
        "title: My ratio\nformula: r1610 / r665\nhigh_means: mine\nstatus: experimental\n"
        "source: a test\nchecks:\n  - operands: {r1610: 0.3, r665: 0.2}\n    value: 1.5\n"
    )
    flow = small_workflow() | {"evidence": "all", "mapping": {"regions": ["demo_nevada"]}}
    path = tmp_path / "all.yaml"
    path.write_text(yaml.safe_dump(flow))
    job = replace(small.job(tmp_path / "run"), workflow=path, configs=Configs.at(own))
    run(job, QUIET)
    with rasterio.open(tmp_path / "run" / "demo_nevada" / "evidence_mine.tif") as source:
        values = source.read(1)
    assert 0.5 < np.nanmedian(values) < 3.0


def test_scores_against_the_planted_truth(small, done):
    references = {
        name: Reference(small.world.truth[name], small.world.deposits[name]) for name in REGIONS
    }
    found = score(small.job(done), references, QUIET, held_out=True)
    assert found["regions"]["demo_almeria"]["auc"] > 0.6
    assert not found["regions"]["demo_almeria"]["trained_here"]
    assert found["regions"]["demo_nevada"]["deposits"]["known"] == 3
    assert found["validation"]["samples"]["test"] > 1000
    assert found["validation"]["model"] == "logistic-around"
    run(small.job(done), QUIET)
    assert json.loads((done / "reference.json").read_text()) == found


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root")
def test_a_full_disk_is_said_in_one_sentence_and_leaves_nothing_half_written(small, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1500k", "tmpfs", disk]).returncode:
        pytest.skip("this machine does not let root mount a tmpfs")
    try:
        with pytest.raises(OutputError, match="the disk is full"):
            run(small.job(disk / "run"), QUIET)
        assert not (disk / "run" / "run.json").exists()
        for path in disk.rglob("*.tif"):
            with rasterio.open(path) as source:
                source.checksum(1)
    finally:
        subprocess.run(["umount", disk], check=True)
