"""A region's finished maps: out of the store into COGs, zones, and every format people open."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline import store
from pipeline.ground import Ground
from pipeline.publish import WRITERS, Finished, Product, title_of
from pipeline.publish.raster import CLASSES, EVIDENCE, QUANTISED, dequantise, write_cog
from pipeline.study import Study
from pipeline.zones import ProspectiveZones, find_zones, with_evidence

Told = Callable[[str, int, int], None]


def publish_region(
    study: Study,
    ground: Ground,
    maps: Path,
    folder: Path,
    origin: tuple[str, dict[str, str]],
    told: Told,
) -> Finished:
    """Write every output of a region, level `operator`, and return what was written.

    Parameters
    ----------
    maps : the store of the region's maps.
    folder : gets the files.
    origin : the run's identity and the software, for the files' provenance.
    """
    products = region_products(study, folder)
    step = f"publish {ground.name}"
    for number, product in enumerate(products):
        told(step, number, len(products) + len(WRITERS))
        _write_map(product, maps, ground, study, origin)
    finished = Finished(
        region=ground.name,
        title=ground.region.title,
        study=study.workflow.title,
        folder=folder,
        products=products,
        zones=region_zones(study, ground, maps) if study.workflow.learns else None,
        style=study.style,
        start=ground.items.start,
        end=ground.items.end,
        items=tuple(item.id for item in ground.items.items),
        digest=origin[0],
        software=origin[1],
    )
    for number, write in enumerate(WRITERS.values(), start=len(products)):
        told(step, number, len(products) + len(WRITERS))
        write(finished)
    told(step, len(products) + len(WRITERS), len(products) + len(WRITERS))
    return finished


def region_products(study: Study, folder: Path) -> tuple[Product, ...]:
    """Return the maps a study makes of a region, in the order a person looks at them."""
    indices = dict(study.layers.indices)
    return (
        *_learned_products(study.workflow.classes, folder),
        *(
            Product(
                f"evidence_{name}",
                "evidence",
                indices[name].title,
                folder / f"evidence_{name}.tif",
                unit=indices[name].units,
                description=f"{indices[name].formula}; {indices[name].source}",
            )
            for name in study.layers.mapped
        ),
        *(
            Product(name, "share", _share_title(name), folder / f"{name}.tif")
            for name in study.shares
        ),
        Product(
            "clear_count",
            "count",
            "Clear dates behind each pixel",
            folder / "clear_count.tif",
            description="dates that every band's composite rests on, by the quality masks",
        ),
    )


def _share_title(name: str) -> str:
    flag = title_of(name.removeprefix("share_"))
    return f"{flag}: share of the dates"


def _learned_products(classes: tuple[str, ...], folder: Path) -> tuple[Product, ...]:
    if not classes:
        return ()
    return (
        Product(
            "class", "class", "Class with the highest score", folder / "class.tif", classes=classes
        ),
        *(
            Product(
                f"score_{name}", "score", f"Score: {title_of(name)}", folder / f"score_{name}.tif"
            )
            for name in classes
        ),
        Product("spread", "spread", "Spread of the winning score", folder / "spread.tif"),
        Product("support", "support", "Share of evidence present", folder / "support.tif"),
    )


def region_zones(study: Study, ground: Ground, maps: Path) -> ProspectiveZones:
    """Return the prospective zones of a region, with their evidence cards."""

    def scores(name: str) -> NDArray[np.float32]:
        return dequantise(store.read(maps, name)[:])

    def evidence(name: str) -> NDArray[np.float32]:
        layer: NDArray[np.float32] = store.read(maps, f"evidence_{name}")[:]
        return layer

    zones = find_zones(study.workflow.classes, scores, study.workflow.zones, ground.grid)
    return with_evidence(zones, study.layers.mapped, evidence, ground.grid)


def _write_map(
    product: Product, maps: Path, ground: Ground, study: Study, origin: tuple[str, dict[str, str]]
) -> None:
    """Write a map as a COG that says itself what it is and what it was made from."""
    run_id, software = origin
    encoding = {"class": CLASSES, "evidence": EVIDENCE, "count": EVIDENCE}.get(
        product.kind, QUANTISED
    )
    tags = {
        "PROSPECTRA_RUN": run_id,
        "PROSPECTRA_VERSION": software["prospectra"],
        "PROSPECTRA_MODEL": study.workflow.model or "none",
        "PROSPECTRA_RELEASE": "operator",
    }
    layer = replace(encoding, description=product.title, unit=_unit(product), tags=tags)
    write_cog(product.path, store.read(maps, product.name), ground.grid, layer)


def _unit(product: Product) -> str:
    """Return a unit as a file says it: a plain number has none."""
    return "" if product.unit == "1" else product.unit
