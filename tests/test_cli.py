"""The command line: what it says, and what it says of bad input."""

import json
import shutil
from pathlib import Path

import geopandas as gpd
import pytest
import yaml
from shapely.geometry import Point
from typer.testing import CliRunner
from worlds import Small, make_small, small_workflow

from pipeline import files
from pipeline.cli import app

ITEMS = "sentinel-2-l2a-demo"


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> Small:
    return make_small(tmp_path_factory.mktemp("small"))


@pytest.fixture
def bad(small, tmp_path):
    """A copy of the small world that a test may spoil, and a way to run it."""
    return Bad(small, tmp_path)


class Bad:
    """A world to spoil."""

    def __init__(self, small: Small, folder: Path):
        self.folder = folder
        self.catalog = folder / "catalog" / "catalog.json"
        shutil.copytree(small.world.catalog.parent, self.catalog.parent)
        self.own = folder / "own"
        shutil.copytree(small.configs.folders[0], self.own)
        self.flow = small_workflow() | {"mapping": {"regions": ["demo_nevada"]}}
        self.out = folder / "out"

    def item(self, number: int = 0) -> Path:
        return sorted(p for p in self.catalog.parent.rglob("S2X*nevada*.json"))[number]

    def edit_sites(self, change) -> None:
        path = self.catalog.parent / "demo_nevada_sites.gpkg"
        sites = change(gpd.read_file(path))
        path.unlink()
        sites.to_file(path)

    def run(self, *more: str):
        workflow = self.folder / "flow.yaml"
        workflow.write_text(yaml.safe_dump(self.flow))
        given = ["run", str(workflow), "--catalog", str(self.catalog), "--out", str(self.out)]
        return CliRunner().invoke(app, [*given, "--configs", str(self.own), *more])

    def refused(self, code: int, *said: str, more: tuple[str, ...] = ()) -> None:
        """Run, and check the one sentence, the exit code, and that nothing is half-written."""
        result = self.run(*more)
        assert result.exit_code == code, result.stderr
        lines = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
        assert len(lines) == 1, result.stderr
        assert lines[0].endswith(".")
        assert "Traceback" not in result.stderr
        for text in said:
            assert text in lines[0]
        assert not (self.out / "run.json").exists()
        assert not list(self.out.rglob(".*.part.*")) if self.out.is_dir() else True


def test_help_names_the_commands_and_the_exit_codes():
    said = CliRunner().invoke(app, ["--help"]).stdout
    for word in ("run", "score", "world", "Exit codes"):
        assert word in said


def test_json_is_one_document_and_progress_is_plain_lines_apart(bad):
    result = bad.run("--json")
    assert result.exit_code == 0, result.stderr
    record = json.loads(result.stdout)
    assert record == json.loads((bad.out / "run.json").read_text())
    assert "map demo_nevada: 1 of 1" in result.stderr
    again = bad.run()
    assert again.exit_code == 0
    assert "report.html" in again.stdout


def test_unknown_key(bad):
    bad.flow["sensr"] = "sentinel2-l2a"
    bad.refused(3, "sensr", "flow.yaml", "did you mean 'sensor'?")


def test_unknown_nested_key(bad):
    bad.flow["validation"]["layuots"] = 3
    bad.refused(3, "validation.layuots", "did you mean 'layouts'?")


def test_wrong_type(bad):
    bad.flow["validation"]["layouts"] = "many"
    bad.refused(3, "validation.layouts", "'many'", "flow.yaml")


def test_unknown_key_in_a_configuration(bad):
    path = bad.own / "regions" / "demo_nevada.yaml"
    path.write_text(path.read_text() + "outlin: 1\n")
    bad.refused(3, "outlin", "demo_nevada.yaml")


@pytest.mark.parametrize(
    ("key", "value", "kind", "hint"),
    [
        ("sensor", "sentinel2-l2", "sensors", "sentinel2-l2a"),
        ("model", "logistic-band", "models", "logistic-bands"),
        ("evidence", ["clay_hydroxil"], "indices", "clay_hydroxyl"),
        ("mapping", {"regions": ["demo_nevad"]}, "regions", "demo_nevada"),
        ("style", "mineral", "styles", "minerals"),
    ],
)
def test_unknown_name(bad, key, value, kind, hint):
    bad.flow[key] = value
    bad.refused(3, f"configs/{kind}", f"did you mean '{hint}'?")


def test_an_index_that_the_sensor_cannot_feed(bad):
    bad.flow["evidence"] = ["kaolin_group"]
    bad.refused(3, "kaolin_group", "cannot be fed by this sensor")


def test_empty_search(bad):
    bad.flow["search"]["datetime"] = "1999-01-01/1999-12-31"
    bad.refused(4, "no item fits region demo_nevada", "outside the time wanted", "catalog.json")


def test_an_item_without_a_needed_asset(bad):
    content = json.loads(bad.item().read_text())
    del content["assets"]["swir22"]
    bad.item().write_text(json.dumps(content))
    bad.refused(4, content["id"], "swir22")


def test_an_href_that_does_not_exist(bad):
    content = json.loads(bad.item().read_text())
    content["assets"]["red"]["href"] = "./nothing.tif"
    bad.item().write_text(json.dumps(content))
    bad.refused(5, "nothing.tif", "does not exist")


def test_a_truncated_asset(bad):
    for path in bad.catalog.parent.rglob("*nevada*/red.tif"):
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    bad.refused(5, "red")


def test_an_asset_that_is_no_raster(bad):
    for path in bad.catalog.parent.rglob("*nevada*/red.tif"):
        path.write_text("<html>sign in</html>")
    bad.refused(5, "red.tif", "is not a readable GeoTIFF")


def test_a_virtual_path_in_an_href_is_refused(bad):
    content = json.loads(bad.item().read_text())
    content["assets"]["red"]["href"] = "/vsicurl/http://192.0.2.1/red.tif"
    bad.item().write_text(json.dumps(content))
    bad.refused(5, content["id"], "refused")


def test_a_region_outside_the_imagery(bad):
    path = bad.own / "regions" / "demo_nevada.yaml"
    region = yaml.safe_load(path.read_text())
    region["bbox"] = [left + 90_000 for left in region["bbox"]]
    path.write_text(yaml.safe_dump(region))
    bad.refused(6, "demo_nevada", "lie outside the region")


def test_an_unknown_crs(bad):
    bad.flow["grid"] = {"crs": "EPSG:999999"}
    bad.refused(3, "EPSG:999999", "grid.crs")
    path = bad.own / "regions" / "demo_nevada.yaml"
    path.write_text(path.read_text().replace("EPSG:32611", "utm eleven"))
    bad.refused(3, "utm eleven")


def test_sites_outside_the_region(bad):
    bad.edit_sites(lambda s: s.assign(geometry=s.geometry.translate(50_000)))
    bad.refused(7, "training sites lie outside the region", "demo_nevada")


def test_sites_of_an_unknown_class(bad):
    bad.edit_sites(lambda s: s.assign(label=s["label"].replace("argillic", "argilic")))
    bad.refused(7, "'argilic'", "did you mean 'argillic'?")


def test_sites_of_one_class(bad):
    bad.edit_sites(lambda s: s.assign(label="argillic"))
    bad.refused(7, "one class only (argillic")


def test_sites_without_a_crs(bad):
    stripped = gpd.GeoDataFrame({"label": ["argillic"]}, geometry=[Point(0, 0)], crs=None)
    path = bad.catalog.parent / "demo_nevada_sites.gpkg"
    path.unlink()
    with pytest.warns(UserWarning, match="crs"):
        stripped.to_file(path)
    bad.refused(7, "demo_nevada_sites.gpkg", "no CRS")


def test_sites_that_are_not_there(bad):
    (bad.catalog.parent / "demo_nevada_sites.gpkg").unlink()
    bad.refused(7, "demo_nevada_sites.gpkg", "does not exist")


def test_blocks_too_large_for_the_folds(bad):
    bad.flow["validation"]["block"] = 5000
    bad.refused(8, "too few for 3 folds", "random split is not a substitute")


def test_an_output_folder_that_cannot_be_written(bad):
    (bad.folder / "file").write_text("")
    bad.out = bad.folder / "file" / "out"
    bad.refused(9, "file/out", "--out")


def test_a_folder_in_use(bad):
    with files.hold(bad.out):
        bad.refused(10, str(bad.out), "another run")


@pytest.mark.parametrize("content", ["{}", "not JSON", '{"type": "FeatureCollection"}'])
def test_a_catalog_that_is_not_stac(bad, content):
    bad.catalog.write_text(content)
    bad.refused(4, "catalog.json", "not a usable STAC catalog")


def test_no_catalog_there(bad):
    bad.catalog = bad.folder / "nowhere.json"
    bad.refused(4, "nowhere.json")


def test_a_cluster_that_does_not_answer(bad, monkeypatch):
    monkeypatch.setattr("pipeline.blocks._ANSWER_WITHIN", 0.5)
    bad.refused(
        11, "tcp://127.0.0.1:1", "no scheduler answers", more=("--cluster", "tcp://127.0.0.1:1")
    )


def test_no_catalog_named(tmp_path):
    flow = tmp_path / "flow.yaml"
    flow.write_text(yaml.safe_dump(small_workflow() | {"model": "logistic-bands"}))
    result = CliRunner().invoke(app, ["run", str(flow), "--out", str(tmp_path / "out")])
    assert result.exit_code == 3
    assert "give --catalog" in result.stderr
    assert not (tmp_path / "out").exists()


def test_a_reference_without_a_run(bad, small):
    bad.flow["mapping"] = {"regions": ["demo_nevada"]}
    workflow = bad.folder / "flow.yaml"
    workflow.write_text(yaml.safe_dump(bad.flow))
    truth = small.world.truth["demo_nevada"]
    given = ["score", str(workflow), "--catalog", str(bad.catalog), "--out", str(bad.out)]
    more = ["--configs", str(bad.own), "--reference", f"demo_nevada={truth}"]
    result = CliRunner().invoke(app, [*given, *more])
    assert result.exit_code == 3
    assert "holds no current run" in result.stderr
    wrong = CliRunner().invoke(app, [*given, *more[:2], "--reference", f"mars={truth}"])
    assert wrong.exit_code == 3
    assert "'mars'" in wrong.stderr
