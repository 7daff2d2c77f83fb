"""Devices by name, and the sentence for those that are not there."""

from __future__ import annotations

import pytest
import torch

from cryorepro.em.devices.choice import CPU, chosen_device, product_precision
from cryorepro.em.errors import InputError


@pytest.mark.parametrize("name", ["gpu", "cuda:", "cuda:x", "cuda:-1", "CPU", "", "mps", "cuda:0 "])
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(InputError, match="stage class3d: device .* is none of cpu, cuda and cuda:N"):
        chosen_device(name, "stage class3d")


@pytest.mark.parametrize("name", ["cuda", "cuda:0"])
def test_a_gpu_that_torch_does_not_see_is_refused_in_one_sentence(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(InputError, match=rf"^stage s: device '{name}' is not there: torch sees no GPU\.$"):
        chosen_device(name, "stage s")


def test_processes_of_a_node_take_one_gpu_each_and_go_around(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[torch.device] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", taken.append)
    found = [chosen_device("cuda", "stage s", local_rank=rank) for rank in (0, 1, 2)]
    assert [device.index for device in found] == [0, 1, 0] and found == taken
    assert chosen_device("cuda:1", "stage s", local_rank=0).index == 1
    with pytest.raises(InputError, match="torch sees 2 GPU"):
        chosen_device("cuda:2", "stage s")


def test_the_cpu_is_always_there() -> None:
    assert chosen_device("cpu", "stage s", local_rank=3) == CPU


@pytest.mark.parametrize(
    ("reduced", "device", "word"),
    [(True, CPU, "medium"), (True, torch.device("cuda", 0), "high"), (False, torch.device("cuda", 0), "highest")],
)
def test_precision_holds_within_and_is_put_back(reduced: bool, device: torch.device, word: str) -> None:
    before = torch.get_float32_matmul_precision()
    with pytest.raises(ZeroDivisionError), product_precision(reduced, device):
        assert torch.get_float32_matmul_precision() == word
        raise ZeroDivisionError
    assert torch.get_float32_matmul_precision() == before
