"""The run record: what a run was made from, and whether what lies in a folder is that run.

A run's identity is the digest of its resolved configuration, its items, its training sites, its
code and the libraries that decide its numbers. The same identity gives the same bytes; timings lie
apart in timings.json.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypedDict

import rasterio

from pipeline import __version__, files
from pipeline.errors import TrainingError
from pipeline.files import Json
from pipeline.ground import Ground
from pipeline.plan import Region, Search, Training
from pipeline.publish import Finished
from pipeline.remote import is_address
from pipeline.study import Study

RECORD = "run.json"
LOCK = "items.lock.json"
REPORT = "report.html"
_LIBRARIES = ("numpy", "numba", "rasterio", "scikit-learn", "scipy", "xarray")
_TOP = 10  # zones named in the record; all of them are in zones.gpkg
_LEVELS = ("operator", "participants", "public")


class Release(TypedDict):
    """Who may see something: a level, and everyone whose data is in it."""

    level: str
    originators: list[str]


def versions() -> dict[str, Json]:
    """Return the versions of the code and of the libraries that decide the numbers."""
    found: dict[str, Json] = {name: version(name) for name in _LIBRARIES}
    return found | {"prospectra": __version__, "code": _code(), "gdal": rasterio.__gdal_version__}


def identity(study: Study, grounds: Mapping[str, Ground], sites: Mapping[str, Path]) -> str:
    """Return the identity of a run: the digest of everything its products are made from.

    Raises
    ------
    TrainingError : a file of training sites does not exist.
    """
    plan: dict[str, Json] = {
        "workflow": study.workflow.model_dump(mode="json"),
        "sensor": study.sensor.model_dump(mode="json"),
        "recipes": {n: r.model_dump(mode="json") for n, r in study.recipes.items()},
        "indices": {n: i.model_dump(mode="json") for n, i in study.layers.indices},
        "regions": {n: r.model_dump(mode="json") for n, r in study.regions.items()},
        "style": study.style.model_dump(mode="json"),
        "items": {n: dict(g.lock) for n, g in grounds.items()},
        "sites": {n: _digest_of_sites(p) for n, p in sites.items()},
        "assets": [_stamp(href) for href in _hrefs(grounds.values())],
        "versions": versions(),
    }
    return files.digest_of(plan)


def release(study: Study) -> Release:
    """Return the release of what the study makes: the lowest level of its inputs, all originators.

    A run's own products are always level `operator`; this is what they could be raised to.
    """
    workflow = study.workflow
    inputs: list[Search | Training | Region] = [workflow.search, workflow.training]
    inputs += study.regions.values()
    level = min((i.release for i in inputs), key=_LEVELS.index)
    return {"level": level, "originators": sorted({o for i in inputs for o in i.originators})}


def origin(identity: str) -> tuple[str, dict[str, str]]:
    """Return what files say of where they come from: the run's identity and the software."""
    return identity, {"prospectra": __version__, "gdal": rasterio.__gdal_version__}


def begin(folder: Path, grounds: Mapping[str, Ground]) -> None:
    """Lock the items of a run that is about to be made, and take the record of an older one away.

    A folder without a record holds nothing that anybody should rely on.
    """
    stale = _known(folder / RECORD).get("files", {})
    for name in (RECORD, "reference.json", REPORT, *stale):
        (folder / name).unlink(missing_ok=True)
    files.write_json(folder / LOCK, {name: dict(ground.lock) for name, ground in grounds.items()})


def current(folder: Path, run_id: str) -> dict[str, Any] | None:
    """Return the record in a folder if it is this very run and every file in it is still whole."""
    found = _known(folder / RECORD)
    if found.get("digest") != run_id or not (folder / REPORT).is_file():
        return None
    whole = all(
        (folder / name).is_file() and files.sha256(folder / name) == digest
        for name, digest in found["files"].items()
    )
    return found if whole else None


def _known(path: Path) -> dict[str, Any]:
    """Return the record in a file; one that is missing or torn says nothing."""
    try:
        found: Any = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) and isinstance(found.get("files"), dict) else {}


def make(
    study: Study,
    grounds: Mapping[str, Ground],
    identity: str,
    validation: Json,
    chosen: Json,
    finished: Sequence[Finished],
) -> dict[str, Any]:
    """Return the record of a run: everything about it that is the same each time it is run."""
    workflow = study.workflow
    return {
        "name": workflow.name,
        "title": workflow.title,
        "purpose": workflow.purpose,
        "commodities": list(workflow.commodities),
        "digest": identity,
        "level": "operator",
        "release": release(study),
        "regions": {
            "training": list(workflow.training.regions),
            "mapping": list(workflow.mapping.regions),
            "titles": {name: region.title for name, region in study.regions.items()},
        },
        "sensor": {"name": workflow.sensor, "title": study.sensor.title},
        "items": {name: ground.lock["items"] for name, ground in grounds.items()},
        "model": {
            "name": workflow.model,
            "title": study.recipes[workflow.model].title,
            "features": list(study.recipes[workflow.model].features),
            "chosen": chosen,
        },
        "classes": list(workflow.training.classes),
        "validation": validation,
        "products": {done.region: _products(done) for done in finished},
        "zones": {done.region: _zones(done) for done in finished},
        "seed": workflow.seed,
        "caveats": list(workflow.caveats),
        "versions": versions(),
    }


def finish(folder: Path, written: dict[str, Any], timings: Mapping[str, float]) -> dict[str, Any]:
    """Write the record last, with the digest of every file it speaks for; timings lie apart."""
    apart = {RECORD, REPORT, "timings.json", "reference.json", ".lock"}
    paths = [
        p
        for p in sorted(folder.rglob("*"))
        if p.is_file() and p.relative_to(folder).parts[0] not in {*apart, ".work"}
    ]
    written = written | {
        "files": {p.relative_to(folder).as_posix(): files.sha256(p) for p in paths}
    }
    files.write_json(folder / "timings.json", dict(timings))
    files.write_json(folder / RECORD, written)
    return written


def _products(done: Finished) -> list[Json]:
    return [
        {
            "name": product.name,
            "kind": product.kind,
            "title": product.title,
            "path": f"{done.region}/{product.path.name}",
            "quicklook": f"{done.region}/{product.path.stem}.png",
            "sha256": files.sha256(product.path),
        }
        for product in done.products
    ]


def _zones(done: Finished) -> Json:
    top = done.zones.head(_TOP).drop(columns="geometry").to_dict("records")
    return {"count": len(done.zones), "top": [{str(k): v for k, v in z.items()} for z in top]}


def _digest_of_sites(path: Path) -> Json:
    if not path.is_file():
        raise TrainingError(
            "the file of training sites does not exist",
            where=str(path),
            remedy="put it beside the workflow or beside the catalog, or mend training.sites",
        )
    # A Shapefile keeps its labels in a file beside it.
    return {p.name: files.sha256(p) for p in sorted(path.parent.glob(f"{path.stem}.*"))}


def _hrefs(grounds: Iterable[Ground]) -> list[str]:
    return sorted(
        {
            source.href
            for ground in grounds
            for imagery in ground.imagery
            for scene in imagery.scenes
            for source in (*scene.bands, *scene.masks)
            if source is not None
        }
    )


def _stamp(href: str) -> Json:
    """Return what tells a changed local asset from the same one, wherever it lies."""
    if is_address(href) or not Path(href).is_file():
        return Path(href).name
    return [Path(href).name, files.sha256(Path(href))]


@cache
def _code() -> str:
    here = Path(__file__).resolve().parent
    sources = sorted(p for p in here.rglob("*") if p.suffix in (".py", ".j2"))
    return files.digest_of({p.relative_to(here).as_posix(): files.sha256(p) for p in sources})
