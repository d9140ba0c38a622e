"""pyproject.toml, requirements.lock, environment.yml and the code name the same packages."""

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
LOCK = (ROOT / "requirements.lock").read_text(encoding="utf-8")
RUNTIME = [Requirement(text) for text in PROJECT["project"]["dependencies"]]
DEV = [Requirement(text) for text in PROJECT["dependency-groups"]["dev"]]
BUILD = [Requirement(text) for text in PROJECT["build-system"]["requires"]]


def locked():
    """Each package of the lock with the versions it is pinned to and the count of their hashes."""
    found = {}
    for entry in re.split(r"\n(?=\S)", LOCK.strip()):
        pin = re.match(r"([A-Za-z0-9._-]+)(?:\[[^\]]*\])?==([^ ;\\]+)", entry)
        assert pin, f"not a pin: {entry[:60]}"
        hashes = re.findall(r"--hash=sha256:[0-9a-f]{64}\b", entry)
        found.setdefault(canonicalize_name(pin[1]), []).append((Version(pin[2]), len(hashes)))
    return found


PINS = locked()
PROVIDERS = {
    module: {canonicalize_name(name) for name in names}
    for module, names in packages_distributions().items()
}


@pytest.mark.parametrize("wanted", [*RUNTIME, *DEV, *BUILD], ids=str)
def test_what_the_project_asks_for_is_in_the_lock(wanted):
    pins = PINS[canonicalize_name(wanted.name)]
    for version, _ in pins:
        assert version in wanted.specifier, f"{wanted} is locked at {version}"


def test_every_pin_has_its_hashes():
    bare = [name for name, pins in PINS.items() if any(count < 1 for _, count in pins)]
    assert bare == []


def test_the_lock_names_no_place_to_fetch_from():
    assert "://" not in LOCK
    options = [line for line in LOCK.splitlines() if re.match(r"\s*-(?!-hash=sha256:)", line)]
    assert options == []


def test_the_lock_holds_what_is_needed_for_the_oldest_and_the_newest_python():
    supported = SpecifierSet(PROJECT["project"]["requires-python"])
    assert all(f"3.{minor}" in supported for minor in (11, 12, 13))
    assert "3.10" not in supported


def test_conda_takes_python_and_then_this_very_lock():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    plain = [entry for entry in environment["dependencies"] if isinstance(entry, str)]
    pythons = [entry for entry in plain if entry.startswith("python")]
    assert len(pythons) == 1
    version = pythons[0].partition("=")[2].strip("=")
    assert version in SpecifierSet(PROJECT["project"]["requires-python"])
    assert sorted(plain) == sorted([*pythons, "pip"])
    nested = [entry for entry in environment["dependencies"] if isinstance(entry, dict)]
    assert nested == [{"pip": ["--require-hashes", "-r requirements.lock"]}]


def third_party():
    """Every module outside the standard library that a file of the package imports, and where."""
    found = {}
    for path in sorted((ROOT / "pipeline").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                names = [str(node.module)]
            for name in names:
                top = name.partition(".")[0]
                if top not in sys.stdlib_module_names and top != "pipeline":
                    found.setdefault(top, path.relative_to(ROOT).as_posix())
    return found


@pytest.mark.parametrize(("module", "path"), third_party().items(), ids=str)
def test_what_the_package_imports_is_a_dependency_of_its_own(module, path):
    providers = PROVIDERS[module]
    direct = {canonicalize_name(wanted.name) for wanted in RUNTIME}
    # Namespaces (odc) are shared by several distributions: one of them is asked for.
    assert providers & direct, f"{path} imports {module} of {sorted(providers)}"


def test_every_dependency_is_imported_somewhere_or_needed_to_read_a_format():
    provided = {name for module in third_party() for name in PROVIDERS[module]}
    engines = {"pyarrow"}  # GeoPandas writes GeoParquet with it
    unused = {canonicalize_name(wanted.name) for wanted in RUNTIME} - provided - engines
    assert unused == set()


def test_the_version_is_the_newest_in_the_changelog():
    changelog = ROOT / "CHANGELOG.md"
    if not changelog.is_file():
        pytest.skip("there is no CHANGELOG.md")
    headings = re.findall(
        r"^## \[?v?(\d+\.\d+\.\d+\S*?)\]?(?:\s|$)", changelog.read_text(), re.MULTILINE
    )
    assert headings, "CHANGELOG.md has no heading '## <version>'"
    assert headings[0] == PROJECT["project"]["version"]
