"""Tests of the engine run as its programs do: one thread in each process."""

from __future__ import annotations

import pytest
import torch


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    # with two, the ends of each thread's share are added in another way: the same result, not the same bits
    torch.set_num_threads(1)
