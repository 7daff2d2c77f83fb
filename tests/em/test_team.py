"""A team of workers: order, sharing, memory, errors, deaths."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass

import pytest
import torch

from cryorepro.em.errors import InputError
from cryorepro.em.parallel import WorkerError
from cryorepro.em.team import Team


@dataclass(frozen=True)
class Table:
    values: torch.Tensor


def _fill(number: int, table: Table, factor: float) -> float:
    time.sleep(0.01 if number % 3 == 0 else 0.0)
    table.values[number] = number * factor
    return number * factor


def _view(number: int, worker: int, space: torch.Tensor) -> torch.Tensor:
    own = space[worker]
    own.fill_(float(number))
    time.sleep(0.01 if number % 2 == 0 else 0.0)
    return own


def _bad(number: int, kind: str) -> int:
    if number == 2 and kind == "input":
        raise InputError("stack.mrcs: image 3 has NaN pixels.")
    if number == 2 and kind == "other":
        raise ZeroDivisionError("by design")
    if number == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def _threads(number: int) -> tuple[int, int]:
    return torch.get_num_threads(), os.getpid()


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_tasks_come_in_order_and_write_what_everyone_sees(workers: int) -> None:
    with Team(workers, {"factor": 1.0}) as team:
        table = Table(team.empty((11, 4)))
        team.share("table", table)
        for factor in (2.0, 3.0):
            team.share("factor", factor)
            assert list(team.map(_fill, 11, "table", "factor")) == [i * factor for i in range(11)]
            assert table.values[:, 3].tolist() == [i * factor for i in range(11)]


@pytest.mark.parametrize("workers", [1, 3])
def test_a_result_in_shared_memory_is_whole_when_it_is_handed_over(workers: int) -> None:
    with Team(workers, {}) as team:
        team.share("space", team.empty((workers, 1000)))
        for number, got in enumerate(team.map(_view, 20, "worker", "space")):
            assert set(got.tolist()) == {float(number)}


def test_workers_are_the_same_processes_of_one_thread_in_every_step() -> None:
    with Team(2, {}) as team:
        seen = [set(team.map(_threads, 30)) for _ in range(3)]
        assert {threads for step in seen for threads, _ in step} == {1}
        pids = {pid for step in seen for _, pid in step}
        assert len(pids) <= 2 and os.getpid() not in pids


def test_memory_is_handed_out_and_taken_back_in_order() -> None:
    with Team(2, {}) as team:
        first = team.empty((1000,))
        before = team.used
        second = team.copy(torch.arange(5))
        assert second.tolist() == [0, 1, 2, 3, 4] and team.used > before
        team.release(before)
        assert team.empty((5,), torch.int64).data_ptr() == second.data_ptr() != first.data_ptr()
        with pytest.raises(MemoryError, match="more than the machine's memory"):
            team.empty((1 << 50,))


@pytest.mark.parametrize("workers", [1, 2])
def test_bad_input_is_raised_as_it_is(workers: int) -> None:
    with Team(workers, {"kind": "input"}) as team, pytest.raises(InputError, match="image 3 has NaN"):
        list(team.map(_bad, 5, "kind"))


@pytest.mark.parametrize(("kind", "message"), [("other", "by design"), ("death", "a worker died")])
def test_failures_and_deaths_are_reported(kind: str, message: str) -> None:
    with Team(2, {"kind": kind}) as team, pytest.raises(WorkerError, match=message):
        list(team.map(_bad, 5, "kind"))


def test_closing_ends_the_workers() -> None:
    team = Team(2, {})
    pids = {pid for _, pid in team.map(_threads, 30)}
    team.close()
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
