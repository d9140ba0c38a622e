"""The engine: the same results in the same order, wherever the tasks run."""

import os
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
from distributed import LocalCluster

from pipeline import blocks as engine
from pipeline.blocks import Workers, run_blocks
from pipeline.errors import ClusterError, ReadError
from pipeline.grid import Block, blocks

BLOCKS = list(blocks((40, 30), size=10))


@dataclass(frozen=True)
class Sum:
    """A task with something to carry, like the real ones."""

    add: int

    def __call__(self, block):
        # The first blocks end last, so that the order of ending is not the order of the blocks.
        time.sleep(0.02 if block.y0 == 0 else 0.0)
        return block.y0 + block.x0 + self.add


EXPECTED = [b.y0 + b.x0 + 5 for b in BLOCKS]


def fails(block):
    if block == BLOCKS[3]:
        raise ReadError("is cut short", where=f"asset of {block.name}", remedy="fetch it again")
    return block.name


def slips(block):
    return 1 / block.y0


def dies(block):
    if block == BLOCKS[3]:
        os._exit(9)
    return block.name


def process_id(_block):
    return os.getpid()


def same_results(workers):
    told = []
    found = run_blocks(Sum(5), BLOCKS, workers, lambda done, total: told.append((done, total)))
    assert found == EXPECTED
    assert told == [(k, len(BLOCKS)) for k in range(1, len(BLOCKS) + 1)]


def the_very_error(workers):
    with pytest.raises(ReadError) as caught:
        run_blocks(fails, BLOCKS, workers)
    assert type(caught.value) is ReadError
    name = BLOCKS[3].name
    assert str(caught.value) == f"asset of {name}: is cut short; fetch it again."


def test_workers_are_named_by_one_word_or_an_address():
    assert Workers.at(None).kind == "threads"
    assert Workers.at("threads", 3) == Workers("threads", 3)
    assert Workers.at("processes", 2) == Workers("processes", 2)
    assert Workers.at("tls://host:8786", 2) == Workers("cluster", 2, "tls://host:8786")


def test_no_blocks_need_no_workers():
    assert run_blocks(Sum(1), [], Workers.at("tcp://127.0.0.1:1")) == []


@pytest.mark.parametrize("kind", ["threads", "processes"])
def test_results_come_in_order_and_progress_counts_every_block(kind):
    same_results(Workers.at(kind, 2))


@pytest.mark.parametrize("kind", ["threads", "processes"])
def test_an_error_in_a_task_arrives_as_that_very_error(kind):
    the_very_error(Workers.at(kind, 2))


def test_a_bug_in_a_task_is_not_dressed_up():
    with pytest.raises(ZeroDivisionError):
        run_blocks(slips, BLOCKS, Workers.at(None, 2))


def test_processes_are_other_processes():
    found = run_blocks(process_id, BLOCKS, Workers.at("processes", 2))
    assert os.getpid() not in found
    assert set(run_blocks(process_id, BLOCKS, Workers.at("threads", 2))) == {os.getpid()}


def test_a_process_that_dies_is_told():
    with pytest.raises(ClusterError, match="a worker process died") as caught:
        run_blocks(dies, BLOCKS, Workers.at("processes", 2))
    assert "run again" in caught.value.remedy


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:1", "127.0.0.1:1", "bogus://x", "nonsense"])
def test_a_cluster_that_does_not_answer_is_told(address, monkeypatch):
    monkeypatch.setattr(engine, "_ANSWER_WITHIN", 0.3)
    with pytest.raises(ClusterError, match="no scheduler answers") as caught:
        run_blocks(Sum(5), BLOCKS, Workers.at(address))
    assert caught.value.where == address


@contextmanager
def cluster():
    """Two worker processes and a scheduler on this machine."""
    with LocalCluster(
        n_workers=2,
        threads_per_worker=1,
        processes=True,
        host="127.0.0.1",
        dashboard_address="127.0.0.1:0",
        silence_logs=50,
    ) as made:
        yield made


@pytest.fixture(scope="module")
def address():
    with cluster() as made:
        yield made.scheduler_address


@pytest.mark.slow
def test_a_cluster_gives_the_same_results(address):
    same_results(Workers.at(address))
    assert os.getpid() not in run_blocks(process_id, BLOCKS, Workers.at(address))


@pytest.mark.slow
def test_an_error_on_a_cluster_arrives_as_that_very_error(address):
    the_very_error(Workers.at(address))
    same_results(Workers.at(address))  # and the cluster is as good as before


@pytest.mark.slow
def test_a_task_that_kills_its_workers_is_told():
    with (
        cluster() as made,
        pytest.raises(ClusterError, match="workers died on dies"),
    ):
        run_blocks(dies, BLOCKS, Workers.at(made.scheduler_address))


def waits(block, until):
    while block != BLOCKS[0] and not Path(until).exists():
        time.sleep(0.05)


@pytest.mark.slow
def test_a_scheduler_that_goes_away_is_told(tmp_path):
    task = partial(waits, until=str(tmp_path / "stop"))
    with cluster() as made, ThreadPoolExecutor() as other:
        running = other.submit(run_blocks, task, BLOCKS, Workers.at(made.scheduler_address))
        time.sleep(1.5)
        made.close()
        (tmp_path / "stop").touch()
        with pytest.raises(ClusterError, match="went away"):
            running.result(timeout=60)


def test_a_block_knows_its_own_name_on_every_worker():
    found = run_blocks(fails, [Block(0, 1, 2, 3)], Workers.at("processes", 1))
    assert found == ["y000000-x000002"]
