"""Which process of how many, as torchrun and Slurm tell it."""

from __future__ import annotations

import pytest

from cryorepro.em.devices.rendezvous import Place, place_in
from cryorepro.em.errors import InputError

TORCHRUN = {
    "RANK": "3", "WORLD_SIZE": "8", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "gpu7",
    "MASTER_PORT": "29501",
}  # fmt: skip
SRUN = {
    "SLURM_STEP_NUM_TASKS": "6", "SLURM_STEP_NUM_NODES": "3", "SLURM_PROCID": "4", "SLURM_LOCALID": "0",
    "SLURM_JOB_ID": "1234567", "SLURM_STEP_NODELIST": "gpu[03-04,11],cpu2", "SLURM_NTASKS": "6",
}  # fmt: skip


def test_torchruns_variables_are_taken_as_they_are() -> None:
    place = place_in(TORCHRUN)
    assert place == Place(3, 8, 1, 2, "gpu7", 29501)
    assert place.environment() == TORCHRUN


def test_sruns_variables_name_a_place_and_a_port_that_all_processes_agree_on() -> None:
    place = place_in(SRUN)
    assert place is not None
    assert (place.rank, place.size, place.local_rank, place.local_size) == (4, 6, 0, 2)
    assert place.address == "gpu03" and 20_000 <= place.port < 32_000
    other = place_in(SRUN | {"SLURM_PROCID": "0"})
    assert other is not None and (other.address, other.port) == (place.address, place.port)
    chosen = place_in(SRUN | {"MASTER_PORT": "4000", "MASTER_ADDR": "node1"})
    assert chosen is not None and (chosen.address, chosen.port) == ("node1", 4000)


@pytest.mark.parametrize("nodes", ["single", "single,other", "single[1-2]"])
def test_the_first_host_of_a_list(nodes: str) -> None:
    place = place_in(SRUN | {"SLURM_STEP_NODELIST": nodes})
    assert place is not None and place.address in ("single", "single1")


@pytest.mark.parametrize("alone", [{}, {"SLURM_NTASKS": "6", "SLURM_PROCID": "0"}, {"SLURM_STEP_NUM_TASKS": "1"}])
def test_without_them_and_in_a_batch_script_a_process_is_alone(alone: dict[str, str]) -> None:
    assert place_in(alone) is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"RANK": "8"}, "contradicts itself"),
        ({"RANK": "one"}, "RANK is 'one'"),
        ({"MASTER_PORT": ""}, "MASTER_PORT"),
        ({"LOCAL_RANK": "2"}, "contradicts itself"),
    ],
)
def test_contradictions_are_refused(change: dict[str, str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        place_in(TORCHRUN | change)
