"""The engine: one task per block, run by dask on threads, processes or a cluster.

It does not know what a block is asked to do. A task writes what it makes where every worker can
see it and returns little; nothing is gathered, so memory does not grow with the region.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from dask.base import compute
from dask.callbacks import Callback
from dask.delayed import delayed

from pipeline.errors import ClusterError

Piece = TypeVar("Piece")
Result = TypeVar("Result")
Progress = Callable[[int, int], None]
"""Called with the blocks done and the blocks in all."""

_ANSWER_WITHIN = 10  # seconds for a scheduler to answer


@dataclass(frozen=True)
class Workers:
    """Where tasks run: threads or processes of this machine, or a cluster by its address."""

    kind: Literal["threads", "processes", "cluster"] = "threads"
    count: int = os.cpu_count() or 1
    address: str | None = None

    @classmethod
    def at(cls, cluster: str | None, count: int | None = None) -> "Workers":
        """Return the workers a user named: nothing or "threads", "processes", or an address."""
        count = count or os.cpu_count() or 1
        if cluster is None or cluster == "threads":
            return cls("threads", count)
        if cluster == "processes":
            return cls("processes", count)
        return cls("cluster", count, cluster)


def run_blocks(
    task: Callable[[Piece], Result],
    blocks: Sequence[Piece],
    workers: Workers,
    progress: Progress | None = None,
) -> list[Result]:
    """Run a task on every block and return what the tasks returned, in the order of the blocks.

    A block is a piece of ground; any other list of independent pieces of work will do as well.

    Parameters
    ----------
    task : must survive being sent to another process where the workers are not threads.
    progress : told after every block.

    Raises
    ------
    ClusterError : the cluster's address does not answer, or workers were lost.
    """
    told = progress or (lambda _done, _all: None)
    if not blocks:
        return []
    if workers.kind == "cluster":
        return _on_cluster(task, blocks, workers, told)
    graph = [delayed(task, pure=False)(block) for block in blocks]
    try:
        with _Count(len(blocks), told):
            results: tuple[Result, ...] = compute(
                *graph, scheduler=workers.kind, num_workers=workers.count, optimize_graph=False
            )
    except BrokenProcessPool as error:
        raise _lost("a worker process died", "this machine") from error
    return list(results)


class _Count(Callback):
    """Counts finished tasks of a local scheduler."""

    def __init__(self, total: int, progress: Progress) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._done, self._total, self._progress = 0, total, progress

    def _posttask(self, *_args: Any) -> None:
        self._done += 1
        self._progress(min(self._done, self._total), self._total)


def _on_cluster(
    task: Callable[[Piece], Result], blocks: Sequence[Piece], workers: Workers, progress: Progress
) -> list[Result]:
    from distributed import CancelledError, as_completed
    from distributed.comm.core import CommClosedError
    from distributed.scheduler import KilledWorker

    with _client(str(workers.address)) as client:
        try:
            futures = client.map(task, blocks, pure=False)
            for done, future in enumerate(as_completed(futures, loop=client.loop), start=1):
                future.result()
                progress(done, len(blocks))
            results: list[Result] = client.gather(futures)
        except KilledWorker as error:
            raise _lost(f"workers died on {error.task}", str(workers.address)) from error
        except (CancelledError, CommClosedError) as error:
            raise _lost("the scheduler went away", str(workers.address)) from error
    return results


def _lost(what: str, where: str) -> ClusterError:
    return ClusterError(
        what,
        where=where,
        remedy="give the workers more memory; what is complete is kept, so run again",
    )


@contextmanager
def _client(address: str) -> Iterator[Any]:
    from distributed import Client

    try:
        client = Client(address, timeout=_ANSWER_WITHIN, set_as_default=False)
    except (OSError, TimeoutError, ValueError) as error:
        raise ClusterError(
            "no scheduler answers",
            where=address,
            remedy="start one with 'dask scheduler', or leave --cluster out to use this machine",
        ) from error
    with client:
        yield client
