"""The main job on real imagery: AVIRIS of 1995 over Cuprite, Nevada, as six broad bands."""

import json
from pathlib import Path

import geopandas as gpd
import numpy as np
import pystac
import pytest
import rasterio
import yaml
from rio_cogeo.cogeo import cog_validate
from stac_validator import offline_validator
from worlds import QUIET

from pipeline.job import Job
from pipeline.plan import BUILT_IN
from pipeline.reference import Reference, score
from pipeline.run import run

DATA = Path(__file__).parents[2] / "shared" / "data" / "cuprite95"
BASELINES = ("forest-bands", "forest-ratios", "logistic-bands", "svm-context")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not DATA.is_dir(), reason="the Cuprite imagery is not beside the project"),
]


@pytest.fixture(scope="module")
def job(tmp_path_factory) -> Job:
    """The Cuprite workflow with fewer layouts and one evidence layer, run."""
    folder = tmp_path_factory.mktemp("cuprite")
    flow = yaml.safe_load((BUILT_IN.parent / "workflows" / "cuprite.yaml").read_text())
    flow["evidence"] = ["clay_hydroxyl"]
    flow["validation"]["layouts"] = 4
    (folder / "cuprite.yaml").write_text(yaml.safe_dump(flow))
    made = Job(folder / "cuprite.yaml", folder / "run", str(DATA / "catalog.json"))
    run(made, QUIET)
    return made


def test_the_default_model_beats_every_baseline_on_unseen_ground(job):
    tried = json.loads((job.out / "run.json").read_text())["validation"]
    assert tried["verdict"]["skill"]
    for baseline in BASELINES:
        for metric in ("auc", "ap"):
            assert tried["paired"][baseline][metric]["low"] > 0
    spatial = np.mean(tried["models"]["spectral-context"]["auc"])
    assert 0.85 < spatial < tried["random"]["auc"] < 0.95
    assert np.mean(tried["models"]["permuted labels (control)"]["auc"]) < 0.58


def test_the_outputs_are_whole(job):
    folder = job.out / "cuprite"
    for name in ("class", "score_alunite", "spread", "support", "evidence_clay_hydroxyl"):
        assert cog_validate(folder / f"{name}.tif", strict=True)[0]
    with rasterio.open(folder / "class.tif") as source:
        assert source.shape == (560, 614)
        assert source.transform.c == 487000
        assert set(np.unique(source.read(1))) == set(range(1, 7))
    zones = gpd.read_file(folder / "zones.gpkg", layer="zones")
    assert set(zones["class"]) == {"alunite", "kaolinite"}
    assert zones["evidence"].str.len().min() > 0
    collection = pystac.Collection.from_file(str(job.out / "stac" / "collection.json"))
    items = list(collection.get_items())
    assert len(items) == 12
    for thing in (collection, *items):
        thing.validate(validator=offline_validator())


def test_the_map_agrees_with_the_reference_that_the_workflow_never_read(job):
    reference = {"cuprite": Reference(DATA / "cuprite95_north" / "mineral_group.tif")}
    found = score(job, reference, QUIET)["regions"]["cuprite"]
    assert found["auc"] > 0.85
    assert found["per_class"]["alunite"]["auc"] > 0.95
    assert found["pixels"] > 300_000
