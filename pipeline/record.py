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

import geopandas as gpd
import rasterio

from pipeline import __version__, files
from pipeline.catalog import essence
from pipeline.errors import CatalogError, OutputError, TrainingError
from pipeline.files import Json
from pipeline.ground import Ground
from pipeline.plan import Composite, Region, Search, Training
from pipeline.publish import Finished
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
        "items": {n: essence(g.lock) for n, g in grounds.items()},
        "sites": {n: _digest_of_sites(p) for n, p in sites.items()},
        "versions": versions(),
    }
    return files.digest_of(plan)


def release(study: Study) -> Release:
    """Return the release of what the study makes: the lowest level of its inputs, all originators.

    A run's own products are always level `operator`; this is what they could be raised to.
    """
    workflow = study.workflow
    inputs: list[Search | Training | Region] = [workflow.search, *study.regions.values()]
    inputs += [more.search for more in workflow.also]
    inputs += [workflow.terrain.search] if workflow.terrain else []
    inputs += [workflow.training] if workflow.training else []
    level = min((i.release for i in inputs), key=_LEVELS.index)
    return {"level": level, "originators": sorted({o for i in inputs for o in i.originators})}


def origin(identity: str) -> tuple[str, dict[str, str]]:
    """Return what files say of where they come from: the run's identity and the software."""
    return identity, {"prospectra": __version__, "gdal": rasterio.__gdal_version__}


def _told(lock: Mapping[str, Any]) -> list[Json]:
    """Return what became of each item, without what only the lock-file needs to find it again."""
    apart = {"item", "assets", "self", "base"}
    return [{k: v for k, v in entry.items() if k not in apart} for entry in lock["items"]]


def read_lock(folder: Path, regions: Iterable[str]) -> dict[str, Any]:
    """Return the lock of each region from the lock-file of a run's folder.

    Raises
    ------
    CatalogError : there is none, it is torn, or it knows nothing of a region.
    """
    path = folder / LOCK
    try:
        found: Any = json.loads(path.read_text(encoding="utf-8"))
        return {name: found[name] for name in regions}
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise CatalogError(
            "is not an item lock of this workflow's regions",
            where=str(path),
            remedy="run once without --locked, or put the lock-file of an earlier run there",
        ) from error


def begin(folder: Path, grounds: Mapping[str, Ground]) -> None:
    """Lock the items of a run that is about to be made, and take the record of an older one away.

    A folder without a record holds nothing that anybody should rely on.
    """
    stale = _known(folder / RECORD).get("files", {})
    for name in (RECORD, "reference.json", REPORT, *stale):
        (folder / name).unlink(missing_ok=True)
    files.write_json(folder / LOCK, {name: ground.lock for name, ground in grounds.items()})


def require_own(folder: Path, name: str) -> None:
    """Refuse a folder that holds the results of another workflow.

    Raises
    ------
    OutputError : it does; they are not to be written over without a word.
    """
    other = _known(folder / RECORD).get("name", name)
    if other != name:
        raise OutputError(
            f"holds the results of another workflow, '{other}'",
            where=str(folder),
            remedy="give --out another folder, or remove this one",
        )


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
            "training": list(workflow.training.regions) if workflow.training else [],
            "mapping": list(workflow.mapping.regions),
            "titles": {name: region.title for name, region in study.regions.items()},
        },
        "sensor": {"name": workflow.sensor, "title": study.sensor.title},
        "composites": {name: composite_told(how) for name, how in workflow.composites.items()},
        "workflow": workflow.model_dump(mode="json"),
        "items": {name: _told(ground.lock) for name, ground in grounds.items()},
        "classes": list(workflow.classes),
        "products": {done.region: _products(done) for done in finished},
        "zones": {done.region: _zones(done.zones) for done in finished if done.zones is not None},
        "seed": workflow.seed,
        "caveats": list(workflow.caveats),
        "versions": versions(),
    }


def composite_told(composite: Composite) -> str:
    """Return in words how dates became one picture."""
    method = composite.method.replace("-", " ")
    if composite.method == "percentile":
        method = f"percentile {composite.percentile:g}"
    told = [f"{method} of the clear dates"]
    masks = composite.masks
    if masks.drop is not None:
        told.append(f"dropped where flagged {', '.join(masks.drop) or 'nothing'}")
    told += [f"{flag} grown by {metres:g} m" for flag, metres in sorted(masks.dilate.items())]
    if masks.bright_guard:
        told.append("ground that is flagged as cloud on nearly every date is kept as bright")
    if composite.illumination != "none":
        told.append(
            f"light on slopes corrected ({composite.illumination}) where a band follows the sun; "
            "which band of which date is in the item lock"
        )
    return "; ".join(told)


def model(study: Study, chosen: Json) -> dict[str, Json]:
    """Return what the record says of the model: its recipe, and the estimator that was chosen."""
    name = study.workflow.learning.model
    recipe = study.recipes[name]
    return {
        "name": name,
        "title": recipe.title,
        "features": list(recipe.features),
        "chosen": chosen,
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


def _zones(zones: gpd.GeoDataFrame) -> Json:
    top = zones.head(_TOP).drop(columns="geometry").to_dict("records")
    return {"count": len(zones), "top": [{str(k): v for k, v in z.items()} for z in top]}


def _digest_of_sites(path: Path) -> Json:
    if not path.is_file():
        raise TrainingError(
            "the file of training sites does not exist",
            where=str(path),
            remedy="put it beside the workflow or beside the catalog, or mend training.sites",
        )
    # A Shapefile keeps its labels in a file beside it.
    return {p.name: files.sha256(p) for p in sorted(path.parent.glob(f"{path.stem}.*"))}


@cache
def _code() -> str:
    here = Path(__file__).resolve().parent
    sources = sorted(p for p in here.rglob("*") if p.suffix in (".py", ".j2"))
    return files.digest_of({p.relative_to(here).as_posix(): files.sha256(p) for p in sources})
