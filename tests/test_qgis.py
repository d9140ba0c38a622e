"""What was published, opened in real QGIS (its own Python, no screen)."""

import json
import os
import subprocess
from functools import cache
from pathlib import Path

import pytest
from finished_maps import COLUMNS, LEFT, RES, ROWS, TOP, finished, score_values

from pipeline.publish import write_all

PYTHON = "/usr/bin/python3"
SCRIPT = Path(__file__).parent / "qgis" / "open_outputs.py"


@cache
def has_qgis():
    asked = [PYTHON, "-c", "import qgis.core"]
    return Path(PYTHON).exists() and subprocess.run(asked, capture_output=True).returncode == 0


pytestmark = [
    pytest.mark.qgis,
    pytest.mark.skipif("not has_qgis()", reason="QGIS's Python is not installed"),
]


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    """Everything a region has, as QGIS sees it, by name."""
    folder = tmp_path_factory.mktemp("qgis")
    region = finished(folder)
    write_all(region)
    at = [LEFT + 80.5 * RES, TOP - 60.5 * RES]
    jobs = [job(p.name, p.path, "raster", at) for p in region.products]
    jobs += [
        job(f"{p.name} tiles", p.mbtiles, "raster", None)
        for p in region.products
        if p.kind != "evidence"  # evidence is not tiled
    ]
    jobs += [job("zones", region.geopackage, "vector", None)]
    (folder / "job.json").write_text(json.dumps(jobs))
    environment = {**os.environ, "QT_QPA_PLATFORM": "offscreen", "XDG_RUNTIME_DIR": str(folder)}
    environment |= {"HOME": str(folder), "QGIS_CUSTOM_CONFIG_PATH": str(folder)}
    command = [PYTHON, str(SCRIPT), str(folder / "job.json"), str(folder / "result.json")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    result = json.loads((folder / "result.json").read_text())
    assert not result["messages"], "QGIS has nothing to complain about"
    return {layer["name"]: layer for layer in result["layers"]}


def job(name, path, kind, at):
    png = str(path.with_name(f"{name.replace(' ', '-')}-in-qgis.png"))
    return {"name": name, "path": str(path), "type": kind, "at": at, "png": png}


def test_everything_opens_and_shows_something(opened):
    assert len(opened) == 8
    for layer in opened.values():
        assert layer["valid"], layer
        assert layer["colours"] > 2, layer["name"]


def test_the_class_map_opens_with_titles_and_colours(opened):
    layer = opened["class"]
    assert layer["renderer"] == "paletted"
    assert layer["value"] == 3
    assert layer["classes"][:2] == [[1, "Alunite", "#d81e5b"], [2, "White mica", "#2f6fb7"]]


def test_a_score_opens_as_values_from_0_to_1_on_its_ramp(opened):
    layer = opened["score_alunite"]
    assert layer["renderer"] == "singlebandpseudocolor"
    assert layer["value"] == pytest.approx(score_values()[60, 80] * 1e-4)
    assert layer["limits"] == [0, 1]
    assert layer["ramp"][0] == [0, "#ffffe5"]
    assert layer["ramp"][-1] == [1, "#800026"]
    assert layer["size"] == [COLUMNS, ROWS]
    assert layer["crs"] == "EPSG:32611"


def test_spread_and_evidence_open_with_limits_of_their_own(opened):
    assert opened["spread"]["limits"] == pytest.approx([0, 0.1])
    assert opened["spread"]["ramp"][-1][1] == "#4a1486"
    assert opened["clay"]["limits"][1] == pytest.approx(1.96, abs=0.02)


def test_the_zones_open_with_the_style_inside_their_geopackage(opened):
    layer = opened["zones"]
    assert layer["renderer"] == "categorizedSymbol"
    assert layer["count"] == 2
    assert layer["classes"][:2] == [
        ["alunite", "Alunite", "#d81e5b"],
        ["white_mica", "White mica", "#2f6fb7"],
    ]
    assert {"zone", "class", "rank", "score", "area_km2", "evidence"} <= set(layer["fields"])


def test_the_mbtiles_open_in_web_mercator(opened):
    layer = opened["class tiles"]
    assert layer["crs"] == "EPSG:3857"
    assert min(layer["size"]) >= ROWS
