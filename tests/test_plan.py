"""Plans: every file in configs/ loads, and every slip in one is named with its remedy."""

import math

import numpy as np
import pytest
import yaml

from pipeline import formula
from pipeline.errors import PlanError
from pipeline.plan import BUILT_IN, Configs, Search, load_workflow

KINDS = {
    "catalogs": Configs.catalog,
    "sensors": Configs.sensor,
    "indices": Configs.index,
    "models": Configs.model,
    "regions": Configs.region,
    "styles": Configs.style,
}
EVERY = [(kind, name) for kind in KINDS for name in Configs().names(kind)]
WORKFLOWS = sorted((BUILT_IN.parent / "workflows").glob("*.yaml"))

STUDY = """
name: study
title: A study
sensor: sentinel2-l2a
search: {datetime: 2024-05-01/2024-09-30, max_cloud: 20}
training:
  regions: [cuprite]
  sites: {cuprite: sites.gpkg}
  classes: [alunite, barren]
mapping: {regions: [cuprite]}
evidence: [clay_hydroxyl]
model: logistic
validation: {block: 1700}
zones: {classes: [alunite], min_score: 0.6}
"""


def workflow(folder, **changes):
    """Write the study with changes at dotted keys (None drops the key); return its path."""
    content = yaml.safe_load(STUDY)
    for place, value in changes.items():
        *way, key = place.split("__")
        inner = content
        for step in way:
            inner = inner[step]
        if value is None:
            del inner[key]
        else:
            inner[key] = value
    path = folder / "study.yaml"
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return path


@pytest.mark.parametrize(("kind", "name"), EVERY, ids=str)
def test_every_configuration_loads(kind, name):
    assert KINDS[kind](Configs(), name).title


def test_no_configuration_lies_beside_the_folders_that_are_looked_at():
    strays = [p for p in BUILT_IN.rglob("*") if p.is_file() and p.suffix != ".yaml"]
    assert strays == []
    assert {p.name for p in BUILT_IN.iterdir()} == set(KINDS)


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_every_workflow_loads_and_names_what_there_is(path):
    study, configs = load_workflow(path), Configs()
    configs.sensor(study.sensor)
    configs.style(study.style)
    if study.learns:
        for name in (study.learning.model, *study.learning.validation.baselines):
            configs.model(name)
    for name in study.regions:
        configs.region(name)
    if study.search.catalog:
        configs.catalog(study.search.catalog)


@pytest.mark.parametrize("name", Configs().names("indices"))
def test_every_index_gives_its_worked_values(name):
    index = Configs().index(name)
    parsed = formula.parse(index.formula)
    for check in index.checks:
        assert set(check.operands) == set(parsed.operands)
        columns = {operand: row for row, operand in enumerate(check.operands)}
        values = np.array(list(check.operands.values()), np.float32)[:, None]
        found = float(formula.evaluate([parsed], columns, values)[0, 0])
        assert math.isclose(found, check.value, rel_tol=2e-5, abs_tol=2e-6), (check, found)


def test_a_workflow_as_it_should_be(tmp_path):
    study = load_workflow(workflow(tmp_path))
    assert study.training.classes == ("alunite", "barren")
    assert study.search.datetime == "2024-05-01/2024-09-30"
    assert study.validation.layouts == 10
    assert study.search.release == "operator"
    assert study.purpose is None
    assert load_workflow(workflow(tmp_path, evidence="all").rename(tmp_path / "b.yaml")).evidence


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"sensr": "x"}, r"unknown key 'sensr'; did you mean 'sensor'\?"),
        ({"zones__min_scor": 0.5}, r"unknown key 'zones.min_scor'; did you mean 'min_score'\?"),
        ({"training__label_column": "x"}, r"unknown key 'training.label_column'.*known: classes"),
        ({"model": None}, r"the key 'model' is missing; add it"),
        ({"training__classes": None}, r"the key 'training.classes' is missing"),
        ({"model": 3}, r"'model' is 3; input should be a valid string"),
        ({"validation__layouts": "ten"}, r"'validation.layouts' is 'ten'; input should be a valid"),
        ({"validation__layouts": 1}, r"'validation.layouts' is 1; .*greater than or equal to 2"),
        ({"validation__block": -5}, r"'validation.block' is -5"),
        ({"validation__block": math.inf}, r"'validation.block' is"),
        ({"zones__min_score": 1.5}, r"'zones.min_score' is 1.5"),
        ({"seed": True}, r"'seed' is True"),
        ({"name": "My Study"}, r"'name' is 'My Study'"),
        ({"training__classes": ["alunite", "alunite"]}, r"a class is named twice"),
        ({"training__classes": ["alunite"]}, r"'training.classes' is"),
        ({"training__classes": ["alunite", "Barren!"]}, r"'training.classes.1' is 'Barren!'"),
        ({"training__regions": ["cuprite", "b"]}, r"no sites are named for b"),
        ({"zones__classes": ["gold"]}, r"zones.classes names 'gold', which is not a training"),
        ({"search__datetime": "summer/2024-09-30"}, r"Invalid isoformat string: 'summer'|summer"),
        ({"search__datetime": "2024-05-01"}, r"'search.datetime' is '2024-05-01'; give start/end"),
        ({"search__max_cloud": 101}, r"'search.max_cloud' is 101"),
        ({"search__release": "secret"}, r"'search.release' is 'secret'"),
        ({"evidence": 5}, r"'evidence' is 5"),
        ({"evidence": ["ndvi", 5]}, r"'evidence.1' is 5"),
    ],
)
def test_a_slip_in_a_workflow_is_named(tmp_path, changes, told):
    path = workflow(tmp_path, **changes)
    with pytest.raises(PlanError, match=told) as caught:
        load_workflow(path)
    assert caught.value.where == str(path)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"name: [unclosed\nb: 1", r"is not YAML at line \d"),
        (b"name: 'a\x00b'", "is not YAML"),
        (b"date: 2024-13-45", "is not YAML"),
        (b"", "holds no keys"),
        (b"- a\n- b", "holds no keys"),
        (b"just words", "holds no keys"),
        ("name: Almería".encode("latin-1"), "not UTF-8"),
        (b"2024-01-01: x", "plain keys and values"),
        (b"name: &a [*a]", "plain keys and values"),
        (b"name: !!python/object/apply:os.system ['true']", "is not YAML"),
    ],
)
def test_a_file_that_is_not_a_plan_is_told(tmp_path, content, told):
    path = tmp_path / "study.yaml"
    path.write_bytes(content)
    with pytest.raises(PlanError, match=told):
        load_workflow(path)


def test_a_file_that_is_not_there_is_told(tmp_path):
    with pytest.raises(PlanError, match=r"cannot be read \(No such file or directory\)"):
        load_workflow(tmp_path / "none.yaml")
    with pytest.raises(PlanError, match="cannot be read"):
        load_workflow(tmp_path)


@pytest.mark.parametrize(
    ("kind", "slip", "meant"),
    [
        ("sensors", "sentinel2-l2b", "sentinel2-l2a"),
        ("indices", "clay_hydroxil", "clay_hydroxyl"),
        ("models", "forest-band", "forest-bands"),
        ("regions", "cuprit", "cuprite"),
        ("styles", "mineral", "minerals"),
    ],
)
def test_an_unknown_name_gets_the_nearest_one(kind, slip, meant):
    with pytest.raises(PlanError, match=f"'{slip}' is not known; did you mean '{meant}'") as caught:
        KINDS[kind](Configs(), slip)
    assert caught.value.where == f"configs/{kind}"


@pytest.mark.parametrize("name", ["../sensors/sentinel2-l2a", "/etc/passwd", "", "*"])
def test_a_name_is_never_a_path(name):
    with pytest.raises(PlanError, match="is not known"):
        Configs().sensor(name)


def region(folder, text):
    (folder / "regions").mkdir(exist_ok=True)
    (folder / "regions" / "mine.yaml").write_text(f"title: mine\n{text}")
    return Configs.at(folder).region("mine")


def test_a_region_has_one_outline_the_right_way_round(tmp_path):
    assert region(tmp_path, "bbox: [1, 2, 3, 4]").bbox == (1, 2, 3, 4)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("bbox: [1, 2, 3]", "'bbox.*' is|'bbox.3' is missing"),
        ("bbox: [1, 2, 3, .nan]", "'bbox.3'"),
        ("crs: EPSG:4326", "either bbox or geometry"),
        ("bbox: [1, 2, 3, 4]\ngeometry: {type: Polygon}", "either bbox or geometry"),
    ],
)
def test_a_region_without_a_right_outline_is_refused(tmp_path, text, told):
    with pytest.raises(PlanError, match=told):
        region(tmp_path, text)


def test_a_slip_deep_in_a_sensor_is_named_with_the_keys_of_that_place(tmp_path):
    (tmp_path / "sensors").mkdir()
    (tmp_path / "sensors" / "mine.yaml").write_text(
        "title: t\nsource: s\nresolution: 10\n"
        "bands: {red: {assets: [r], wavelenght: 660, wavelength: 660, fwhm: 30}}"
    )
    with pytest.raises(PlanError, match=r"did you mean 'wavelength'\?  known: assets, fwhm, gains"):
        Configs.at(tmp_path).sensor("mine")


def test_a_slip_in_a_models_parameters_is_named(tmp_path):
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "mine.yaml").write_text(
        "title: t\nsource: s\nfeatures: [bands]\n"
        "candidates: [{estimator: svm, params: {gamma: [1]}}]"
    )
    with pytest.raises(PlanError, match=r"'candidates.0.params.gamma' is \[1\]"):
        Configs.at(tmp_path).model("mine")


def test_the_users_own_folder_goes_first_and_adds(tmp_path):
    (tmp_path / "styles").mkdir()
    kinds = ("ramp", "spread_ramp", "support_ramp")
    body = "\n".join(f'{kind}: ["#000000", "#ffffff"]' for kind in kinds) + '\nother: ["#777777"]'
    for name in ("minerals", "plain"):
        (tmp_path / "styles" / f"{name}.yaml").write_text(f"title: my {name}\n{body}")
    configs = Configs.at(tmp_path)
    assert configs.style("minerals").title == "my minerals"
    assert configs.names("styles") == sorted({*Configs().names("styles"), "plain"})
    assert configs.sensor("sentinel2-l2a").bands["nir"].wavelength == 842
    assert Configs().style("minerals").title != "my minerals"
    with pytest.raises(PlanError, match="is not a folder"):
        Configs.at(tmp_path / "none")


def test_a_plan_cannot_be_changed():
    with pytest.raises(ValueError, match="frozen"):
        Search().max_cloud = 3.0
