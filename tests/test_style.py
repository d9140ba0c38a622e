"""The house rules that a machine can keep watch over."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FILES = sorted((ROOT / "pipeline").rglob("*.py"))
TREES = {path.relative_to(ROOT).as_posix(): ast.parse(path.read_text("utf-8")) for path in FILES}
UNSAFE = {"pickle", "marshal", "shelve", "dill", "cloudpickle", "joblib"}
HEAVY = ("numpy", "sklearn", "rasterio", "xarray", "dask", "pandas", "pyproj", "numba", "pystac")


def calls(tree):
    return [node for node in ast.walk(tree) if isinstance(node, ast.Call)]


def imports(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield str(node.module).partition(".")[0]


def test_there_is_something_to_look_at():
    assert len(FILES) > 20


def test_imports_go_down_and_rooms_on_one_floor_never_meet():
    done = subprocess.run(
        [sys.executable, "-c", "from importlinter.cli import lint_imports_command as c; c()"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 kept, 0 broken" in done.stdout


@pytest.mark.parametrize("name", TREES)
def test_nothing_runs_text_or_unpickles(name):
    named = {c.func.id for c in calls(TREES[name]) if isinstance(c.func, ast.Name)}
    assert not named & {"eval", "exec", "compile", "__import__"}
    assert not set(imports(TREES[name])) & UNSAFE
    for call in calls(TREES[name]):
        keywords = {k.arg: k.value for k in call.keywords}
        for risky in ("shell", "allow_pickle"):
            value = keywords.get(risky)
            assert value is None or (isinstance(value, ast.Constant) and value.value is False)
        if isinstance(call.func, ast.Attribute):
            assert ast.unparse(call.func) not in {"yaml.load", "yaml.unsafe_load", "os.system"}


@pytest.mark.parametrize("name", TREES)
def test_every_public_function_and_class_says_what_it_does(name):
    tree = TREES[name]
    assert ast.get_docstring(tree), "the file does not say what it is for"
    for node in tree.body:
        kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
        if isinstance(node, kinds) and not node.name.startswith("_"):
            assert ast.get_docstring(node), f"{node.name} has no docstring"


@pytest.mark.parametrize("name", [name for name in TREES if name != "pipeline/cli.py"])
def test_only_the_door_prints(name):
    named = {c.func.id for c in calls(TREES[name]) if isinstance(c.func, ast.Name)}
    assert "print" not in named
    assert "rich" not in set(imports(TREES[name]))
    assert not [n for n in ast.walk(TREES[name]) if ast_name(n) in ("sys.stdout", "sys.stderr")]


def ast_name(node):
    return ast.unparse(node) if isinstance(node, ast.Attribute) else ""


@pytest.mark.parametrize("name", TREES)
def test_missing_is_never_filled_with_a_number(name):
    called = {c.func.attr for c in calls(TREES[name]) if isinstance(c.func, ast.Attribute)}
    assert not called & {"fillna", "ffill", "bfill", "interpolate_na"}


@pytest.mark.parametrize("name", TREES)
def test_files_and_functions_stay_small(name):
    path = ROOT / name
    assert path.stem not in {"utils", "util", "helpers", "common", "misc"}
    assert len(path.read_text("utf-8").splitlines()) <= 450, "look whether a room is missing"
    for node in ast.walk(TREES[name]):
        if isinstance(node, ast.FunctionDef):
            start = node.body[1].lineno if ast.get_docstring(node) and len(node.body) > 1 else 0
            length = node.end_lineno - (start or node.body[0].lineno) + 1
            assert length <= 50, f"{node.name} is {length} lines long"
            given = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
            ours = [a for a in given if a.arg not in ("self", "cls")]
            if not node.name.startswith("_") and name != "pipeline/cli.py":  # options of commands
                assert len(ours) <= 6, f"{node.name} has {len(ours)} parameters"


@pytest.mark.parametrize("command", [["--help"], ["run", "--help"], ["world", "--help"]])
def test_help_is_told_without_loading_what_is_heavy(command):
    code = (
        "import sys\n"
        "from pipeline.cli import main\n"
        "sys.argv = ['prospectra', *sys.argv[1:]]\n"
        "try:\n"
        "    main()\n"
        "except SystemExit as end:\n"
        "    assert not end.code, end.code\n"
        f"print('loaded:', sorted(set({HEAVY!r}) & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *command], capture_output=True, text=True, check=True
    )
    assert "Usage" in done.stdout
    assert done.stdout.splitlines()[-1] == "loaded: []"
