"""A world small enough to be mapped in seconds, and a workflow that maps it."""

from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import yaml

from pipeline.job import Job
from pipeline.plan import BUILT_IN, Configs
from pipeline.world import World, make_world
from pipeline.world.places import ALMERIA, NEVADA, Baseline

SIDE = 160  # pixels
AROUND = {
    "title": "logistic regression on the bands of a pixel and of its surroundings",
    "features": ["log_bands", "log_bands@60"],
    "candidates": [{"estimator": "logistic", "params": {"C": 10.0}}],
    "source": "made for tests",
}
QUIET = lambda *_: None  # noqa: E731


@dataclass(frozen=True)
class Small:
    """A small world, its workflow file and its own configurations."""

    world: World
    workflow: Path
    configs: Configs

    def job(self, out: Path, **wanted) -> Job:
        return Job(self.workflow, out, str(self.world.catalog), self.configs, **wanted)


def make_small(folder: Path, moves=None) -> Small:
    """Make a world of two small regions in a folder, and a short workflow."""
    own = folder / "configs"
    (own / "regions").mkdir(parents=True)
    for name in ("demo_nevada", "demo_almeria"):
        region = yaml.safe_load((BUILT_IN / "regions" / f"{name}.yaml").read_text())
        left, _, _, top = region["bbox"]
        bottom, right = top - SIDE * 20, left + SIDE * 20
        region["bbox"] = [left, bottom, right, top]
        (own / "regions" / f"{name}.yaml").write_text(yaml.safe_dump(region))
    (own / "models").mkdir()
    (own / "models" / "logistic-around.yaml").write_text(yaml.safe_dump(AROUND))
    configs = Configs((own, BUILT_IN))
    places = tuple(replace(p, deposits=3, passes=p.passes[:2]) for p in (NEVADA, ALMERIA))
    world = make_world(folder / "world", places=places, configs=configs, moves=moves)
    cut_a_corner(own / "regions" / "demo_almeria.yaml")
    workflow = folder / "small.yaml"
    workflow.write_text(yaml.safe_dump(small_workflow()))
    return Small(world, workflow, configs)


def make_baselines(folder: Path, *baselines: Baseline, side: int = SIDE) -> World:
    """Make one small region, seen on as many dates as ways of writing counts are given.

    All dates are of the same clear look, so that their reflectance may be compared.
    """
    (folder / "configs" / "regions").mkdir(parents=True)
    region = yaml.safe_load((BUILT_IN / "regions" / "demo_nevada.yaml").read_text())
    left, _, _, top = region["bbox"]
    region["bbox"] = [left, top - side * 20, left + side * 20, top]
    (folder / "configs" / "regions" / "demo_nevada.yaml").write_text(yaml.safe_dump(region))
    look = replace(NEVADA.passes[2], cloud=0.02)
    passes = tuple(
        replace(look, when=look.when + timedelta(days=5 * number), baseline=baseline)
        for number, baseline in enumerate(baselines)
    )
    place = replace(NEVADA, deposits=2, passes=passes, landsat=())
    configs = Configs((folder / "configs", BUILT_IN))
    return make_world(folder / "world", places=(place,), configs=configs)


def cut_a_corner(path: Path) -> None:
    """Make a region a polygon that is no box: without its north-eastern corner of 600 m."""
    region = yaml.safe_load(path.read_text())
    left, bottom, right, top = region.pop("bbox")
    ring = [[left, bottom], [right, bottom], [right, top - 600], [right - 600, top]]
    ring += [[left, top], [left, bottom]]
    region["geometry"] = {"type": "Polygon", "coordinates": [ring]}
    path.write_text(yaml.safe_dump(region))


def small_workflow() -> dict:
    """Return the demo workflow with less of everything that takes time."""
    demo = yaml.safe_load((BUILT_IN.parent / "workflows" / "demo.yaml").read_text())
    return demo | {
        "name": "small",
        "evidence": ["clay_hydroxyl", "ndvi"],
        "model": "logistic-around",
        "validation": {"block": 800, "layouts": 3, "folds": 3, "baselines": ["albedo"]},
        "zones": {"classes": ["advanced_argillic", "argillic"], "area_share": 0.05},
    }
