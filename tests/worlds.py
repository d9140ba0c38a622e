"""A world small enough to be mapped in seconds, and a workflow that maps it."""

from dataclasses import dataclass, replace
from pathlib import Path

import yaml

from pipeline.plan import BUILT_IN, Configs
from pipeline.run import Job
from pipeline.world import World, make_world
from pipeline.world.places import ALMERIA, NEVADA

SIDE = 160  # pixels
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
        region["bbox"] = [left, top - SIDE * 20, left + SIDE * 20, top]
        (own / "regions" / f"{name}.yaml").write_text(yaml.safe_dump(region))
    configs = Configs((own, BUILT_IN))
    places = tuple(replace(p, deposits=3, passes=p.passes[:2]) for p in (NEVADA, ALMERIA))
    world = make_world(folder / "world", places=places, configs=configs, moves=moves)
    workflow = folder / "small.yaml"
    workflow.write_text(yaml.safe_dump(small_workflow()))
    return Small(world, workflow, configs)


def small_workflow() -> dict:
    """Return the demo workflow with less of everything that takes time."""
    demo = yaml.safe_load((BUILT_IN.parent / "workflows" / "demo.yaml").read_text())
    return demo | {
        "name": "small",
        "evidence": ["clay_hydroxyl", "ndvi"],
        "model": "logistic-bands",
        "validation": {"block": 800, "layouts": 3, "folds": 3, "baselines": ["albedo"]},
        "zones": {"classes": ["advanced_argillic", "argillic"], "area_share": 0.05},
    }
