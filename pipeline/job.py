"""What a user asks for, made ready: the study loaded, its imagery found, its identity known."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline import record
from pipeline.blocks import Workers
from pipeline.coverage import Gap, coverage, gaps_at_start, require
from pipeline.grid import Block, block_side, blocks, halo_pixels
from pipeline.ground import Ground
from pipeline.plan import Configs, Learning
from pipeline.study import Study, load_study, prepare_region, resolve_catalog

WORK = ".work"  # no region can be called that

Told = Callable[[str, int, int], None]
"""Hears of progress: the step, how much of it is done, how much there is."""


@dataclass(frozen=True)
class Job:
    """What a user asks for."""

    workflow: Path
    out: Path
    catalog: str | None = None
    configs: Configs = field(default_factory=Configs.at)
    workers: Workers = field(default_factory=Workers)
    block: int | None = None
    """Side of a block, pixels, if not what suits the region; it never changes a result."""
    locked: bool = False
    """Use the items of the lock-file in `out`, and refuse any that changed since."""

    def blocks(self, shape: tuple[int, int]) -> list[Block]:
        """Return the blocks of a region's grid of `shape` (rows, columns)."""
        return list(blocks(shape, self.side(shape)))

    def side(self, shape: tuple[int, int]) -> int:
        """Return the side of a region's blocks, pixels."""
        return self.block or block_side(shape)


@dataclass(frozen=True)
class Ready:
    """A job with its study loaded and its imagery found: all that the steps need."""

    job: Job
    study: Study
    grounds: Mapping[str, Ground]
    sites: Mapping[str, Path]
    identity: str
    """Digest of everything the products are made from."""
    told: Told

    @property
    def learning(self) -> Learning:
        """What the workflow says of learning; only where it says so."""
        return self.study.workflow.learning

    @property
    def work(self) -> Path:
        """The folder of unfinished work; another identity has another."""
        return self.job.out / WORK / self.identity[:16]

    @property
    def sight(self) -> float:
        """How far any model looks around a pixel, to the far edge of the last one, metres."""
        halo = self.study.layers.halo
        steps = [ground.grid.resolution.x for ground in self.grounds.values()]
        return max((halo_pixels(halo, step) + 1) * step for step in steps) if halo else 0.0


def make_ready(job: Job, told: Told) -> Ready:
    """Load the study, search its imagery, find its sites, and work out the run's identity."""
    study = load_study(job.workflow, job.configs)
    catalog = resolve_catalog(study, job.catalog)
    sites = find_sites(study, catalog)
    locks = record.read_lock(job.out, study.regions) if job.locked else {}
    grounds = {}
    for number, name in enumerate(study.regions):
        told("search", number, len(study.regions))
        grounds[name] = prepare_region(study, name, catalog, locks.get(name))
        require_readable(grounds[name], ())
    told("search", len(grounds), len(grounds))
    return Ready(job, study, grounds, sites, record.identity(study, grounds, sites), told)


def find_sites(study: Study, catalog: str) -> dict[str, Path]:
    """Return the file of training sites of each training region.

    A relative path is looked up beside the workflow, then beside a local catalog.
    """
    found: dict[str, Path] = {}
    if not study.workflow.learns:
        return found
    for name, named in study.workflow.learning.training.sites.items():
        places = [study.folder / named, Path(catalog).parent / named]
        found[name] = next((p for p in places if p.is_file()), places[0])
    return found


def require_readable(ground: Ground, gaps: Iterable[Gap]) -> dict[str, Any]:
    """Return what could be read of a region; raise ReadError if it is less than is wanted."""
    covered = coverage(ground, [*gaps_at_start(ground), *gaps])
    require(ground, covered)
    return covered
