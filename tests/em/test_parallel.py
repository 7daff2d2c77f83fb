"""Forked workers: order, errors, deaths, and no orphans."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import torch

from cryorepro.em.errors import InputError
from cryorepro.em.parallel import WorkerError, map_in_order


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_results_come_in_task_order_whatever_finishes_first(workers: int) -> None:
    def task(index: int) -> int:
        time.sleep(0.02 if index % 3 == 0 else 0.0)
        return index * index

    assert list(map_in_order(task, 11, workers)) == [i * i for i in range(11)]


def test_workers_compute_on_one_thread_even_after_the_parent_used_more() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        float((torch.randn(400, 400) @ torch.randn(400, 400)).sum())

        def task(index: int) -> tuple[int, float]:
            return torch.get_num_threads(), float((torch.ones(300, 300) @ torch.ones(300, 300)).sum()) * index

        assert list(map_in_order(task, 4, 2)) == [(1, 27_000_000.0 * i) for i in range(4)]
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("workers", [1, 2])
def test_bad_input_found_by_a_worker_is_raised_as_it_is(workers: int) -> None:
    def task(index: int) -> int:
        if index == 2:
            raise InputError("stack.mrcs: image 3 has NaN pixels.")
        return index

    with pytest.raises(InputError, match="image 3 has NaN"):
        list(map_in_order(task, 5, workers))


def test_any_other_failure_names_its_cause() -> None:
    def task(index: int) -> float:
        return 1.0 / (index - 1)

    with pytest.raises(WorkerError, match="ZeroDivisionError"):
        list(map_in_order(task, 4, 2))


def test_a_killed_worker_is_an_error_and_not_a_hang() -> None:
    def task(index: int) -> int:
        if index == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return index

    with pytest.raises(WorkerError, match="worker died"):
        list(map_in_order(task, 6, 2))


def test_workers_end_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    program = tmp_path / "parent.py"
    program.write_text(
        "import time\nfrom cryorepro.em.parallel import map_in_order\n"
        "def task(index):\n    time.sleep(60)\nprint('ready', flush=True)\nlist(map_in_order(task, 2, 2))\n"
    )
    with subprocess.Popen([sys.executable, str(program)], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None and parent.stdout.readline() == b"ready\n"
        children = _wait_for_children(parent.pid, 2)
        parent.kill()
    _, alive = psutil.wait_procs(children, timeout=10)
    assert not alive


def _wait_for_children(pid: int, count: int) -> list[psutil.Process]:
    for _ in range(200):
        children = psutil.Process(pid).children()
        if len(children) == count:
            return children
        time.sleep(0.05)
    raise AssertionError("the workers did not start")
