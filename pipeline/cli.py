"""The door: the only room that prints. Whatever is heavy is imported when a command needs it."""

import json
import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from signal import SIGTERM, default_int_handler, signal
from time import monotonic
from typing import Annotated, Any

import typer
from rich.console import Console

from pipeline.errors import PlanError, ProspectraError

app = typer.Typer(
    name="prospectra",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Map prospective mineral zones from earth observation.",
    epilog="Exit codes: 0 done, 2 wrong command line, 3 workflow or configuration, 4 catalog, "
    "5 imagery cannot be read, 6 region, 7 training sites, 8 spatial split, 9 output folder, "
    "10 folder in use, 11 cluster, 130 interrupted (run again to go on).",
)

Workflow = Annotated[Path, typer.Argument(help="The workflow file, workflows/<study>.yaml.")]
Catalog = Annotated[
    str | None,
    typer.Option(
        help="A catalog by name (configs/catalogs), path or address, instead of the workflow's."
    ),
]
Out = Annotated[
    Path | None, typer.Option(help="Folder for the results.  [default: runs/<workflow name>]")
]
Cluster = Annotated[
    str | None,
    typer.Option(help="'threads' (default), 'processes', or a dask scheduler's address."),
]
Count = Annotated[int | None, typer.Option("--workers", min=1, help="Threads or processes.")]
Own = Annotated[
    Path | None,
    typer.Option(
        "--configs",
        envvar="PROSPECTRA_CONFIGS",
        help="A folder of your own catalogs/, sensors/, indices/, models/, regions/, styles/.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as one JSON document.")]


@app.command()
def run(
    workflow: Workflow,
    catalog: Catalog = None,
    out: Out = None,
    cluster: Cluster = None,
    workers: Count = None,
    configs: Own = None,
    locked: Annotated[
        bool,
        typer.Option(
            "--locked", help="Use the items of the results' lock-file; refuse any that changed."
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Run a study: from imagery and training sites to maps, zones, tiles and a report."""
    with _one_sentence():
        from pipeline.run import run as do

        job = replace(_job(workflow, catalog, out, cluster, workers, configs), locked=locked)
        with _progress() as told:
            done = do(job, told)
    if as_json:
        _print_json(done)
        return
    if "validation" in done:
        _say(done["validation"]["verdict"]["sentence"])
    for region, zones in done["zones"].items():
        _say(f"{region}: {zones['count']} prospective zones")
    _say(f"results: {job.out}\nreport:  {job.out / 'report.html'}")


@app.command()
def score(
    workflow: Workflow,
    reference: Annotated[
        list[str], typer.Option(help="REGION=PATH of a raster of class numbers; may be repeated.")
    ],
    deposits: Annotated[
        list[str] | None, typer.Option(help="REGION=PATH of known deposits (points).")
    ] = None,
    held_out: Annotated[
        bool,
        typer.Option(
            "--held-out",
            help="Also validate on every labelled pixel of held-out blocks (some minutes).",
        ),
    ] = False,
    catalog: Catalog = None,
    out: Out = None,
    cluster: Cluster = None,
    workers: Count = None,
    configs: Own = None,
    as_json: AsJson = False,
) -> None:
    """Score a finished run against reference maps that the workflow never saw."""
    with _one_sentence():
        from pipeline.reference import Reference
        from pipeline.reference import score as do

        job = _job(workflow, catalog, out, cluster, workers, configs)
        known = _pairs("--deposits", deposits or [])
        references = {
            region: Reference(path, known.get(region))
            for region, path in _pairs("--reference", reference).items()
        }
        with _progress() as told:
            scores = do(job, references, told, held_out=held_out)
    if as_json:
        _print_json(scores)
    else:
        _say_scores(scores, job.out)


@app.command()
def sensors(configs: Own = None) -> None:
    """Print which sensors, catalogs and indices go together, as Markdown tables."""
    with _one_sentence():
        from pipeline.plan import Configs
        from pipeline.tables import sensor_tables

        tables = sensor_tables(Configs.at(configs))
    _say(tables.rstrip())


@app.command()
def world(
    out: Annotated[Path, typer.Argument(help="Folder for the catalog, the sites and the truth.")],
    seed: Annotated[int, typer.Option(help="Another seed makes another world.")] = 0,
) -> None:
    """Make the demo world: imagery of two regions with planted deposits."""
    with _one_sentence():
        from pipeline.world import make_world

        made = make_world(out, seed)
    _say(f"world: {made.catalog}")


def _version(wanted: bool) -> None:
    if wanted:
        from pipeline import __version__

        _say(f"prospectra {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Map prospective mineral zones from earth observation."""


def main() -> None:
    """Run the command line; a scheduler that asks it to end is heard like a person who does."""
    signal(SIGTERM, default_int_handler)
    logging.captureWarnings(True)  # what libraries tell their developers is not for users
    app()


Told = Callable[[str, int, int], None]


def _job(
    workflow: Path,
    catalog: str | None,
    out: Path | None,
    cluster: str | None,
    workers: int | None,
    configs: Path | None,
) -> Any:
    from pipeline.blocks import Workers
    from pipeline.job import Job
    from pipeline.plan import Configs, load_workflow

    folder = out or Path("runs") / load_workflow(workflow).name
    found = Configs.at(configs)
    return Job(workflow, folder.resolve(), catalog, found, Workers.at(cluster, workers))


@contextmanager
def _one_sentence() -> Iterator[None]:
    """Tell an error in one sentence on standard error, and leave with its exit code."""
    try:
        yield
    except ProspectraError as error:
        Console(stderr=True, soft_wrap=True).print(f"error: {error}", markup=False, highlight=False)
        raise typer.Exit(error.exit_code) from None
    except KeyboardInterrupt:
        Console(stderr=True).print("interrupted; what is complete is kept, run again to go on")
        raise typer.Exit(130) from None


@contextmanager
def _progress() -> Iterator[Told]:
    """Show progress on standard error: a bar on a terminal, plain lines in a log."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _plain_lines()
        return
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()
    read = TextColumn("{task.fields[read]}")
    with Progress(*columns, TimeRemainingColumn(), read, console=console) as bars:
        tasks: dict[str, Any] = {}

        def told(step: str, done: int, total: int) -> None:
            if step not in tasks:
                tasks[step] = bars.add_task(step, total=total, read="")
            bars.update(tasks[step], completed=done, total=total, read=_downloaded())

        yield told


def _plain_lines() -> Told:
    tenths: dict[str, int] = {}
    starts: dict[str, float] = {}

    def told(step: str, done: int, total: int) -> None:
        start = starts.setdefault(step, monotonic())
        tenth = 10 * done // max(total, 1)
        if tenth > tenths.get(step, -1):
            tenths[step] = tenth
            left = (monotonic() - start) / done * (total - done) if done else 0.0
            parts = [f"{step}: {done} of {total}", _downloaded()]
            parts += [f"about {left:.0f} s left"] if left >= 1 else []
            print(", ".join(filter(None, parts)), file=sys.stderr, flush=True)

    return told


def _downloaded() -> str:
    """Return how much this process has read over the network, if anything."""
    from pipeline.remote import traffic

    count = traffic().bytes
    return f"{count / 1e6:.1f} MB read" if count else ""


def _pairs(option: str, given: list[str]) -> dict[str, Path]:
    pairs = {}
    for text in given:
        region, equals, path = text.partition("=")
        if not (region and equals and path):
            raise PlanError(f"'{text}' is not REGION=PATH", where=option, remedy="write it so")
        pairs[region] = Path(path)
    return pairs


def _say_scores(scores: dict[str, Any], out: Path) -> None:
    for region, found in scores["regions"].items():
        where = "trained here" if found["trained_here"] else "not trained here"
        line = f"{region} ({where}): macro AUC {found['auc']:.3f}, AP {found['ap']:.3f}"
        if known := found.get("deposits"):
            line += (
                f"; {known['in_zones']} of {known['known']} known deposits lie in zones that "
                f"cover {100 * known['area_share']:.1f} % of the region"
            )
        _say(line)
    if tried := scores.get("validation"):
        _say(tried["verdict"]["sentence"])
    _say(f"report:  {out / 'report.html'}")


def _say(text: str) -> None:
    print(text, flush=True)


def _print_json(value: Any) -> None:
    json.dump(value, sys.stdout, indent=2, sort_keys=True)
    sys.stdout.write("\n")
