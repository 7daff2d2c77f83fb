"""Which of how many processes this one is, as torchrun or Slurm's srun tell it by their environment."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from cryorepro.em.errors import InputError

# Slurm names no port: one that follows from the job's number, above those that systems give away.
_FIRST_PORT, _PORTS = 20_000, 12_000
_HOST = re.compile(r"^([^\[,]+)(?:\[([^\],\-]+))?")


@dataclass(frozen=True)
class Place:
    """One process of several.

    Attributes:
        rank, size: of all processes; ``local_rank``, ``local_size``: of those on this node.
        address, port: where process 0 listens.
    """

    rank: int
    size: int
    local_rank: int
    local_size: int
    address: str
    port: int

    def environment(self) -> dict[str, str]:
        """The variables by which torchrun tells a process its place."""
        return {
            "RANK": str(self.rank), "WORLD_SIZE": str(self.size), "LOCAL_RANK": str(self.local_rank),
            "LOCAL_WORLD_SIZE": str(self.local_size), "MASTER_ADDR": self.address, "MASTER_PORT": str(self.port),
        }  # fmt: skip


def place_in(environment: Mapping[str, str]) -> Place | None:
    """The place that torchrun's variables give, else srun's; None for a process of its own.

    A batch script that is not started by srun is alone, whatever its job's size.

    Raises:
        InputError: a variable is missing or no number, or ranks and sizes contradict each other.
    """
    if "RANK" in environment and "WORLD_SIZE" in environment:
        return _checked(
            Place(
                _number(environment, "RANK"), _number(environment, "WORLD_SIZE"),
                _number(environment, "LOCAL_RANK", "0"), _number(environment, "LOCAL_WORLD_SIZE", "1"),
                environment.get("MASTER_ADDR", "127.0.0.1"), _number(environment, "MASTER_PORT"),
            )
        )  # fmt: skip
    if int(environment.get("SLURM_STEP_NUM_TASKS", "1") or 1) < 2:
        return None
    nodes = max(1, _number(environment, "SLURM_STEP_NUM_NODES", "1"))
    size = _number(environment, "SLURM_STEP_NUM_TASKS")
    port = environment.get("MASTER_PORT", str(_FIRST_PORT + _number(environment, "SLURM_JOB_ID", "0") % _PORTS))
    return _checked(
        Place(
            _number(environment, "SLURM_PROCID"), size, _number(environment, "SLURM_LOCALID", "0"), -(-size // nodes),
            environment.get("MASTER_ADDR", _first_host(environment.get("SLURM_STEP_NODELIST", "127.0.0.1"))),
            _number({"MASTER_PORT": port}, "MASTER_PORT"),
        )
    )  # fmt: skip


def _first_host(nodes: str) -> str:
    """The first of Slurm's list: ``gpu01`` of ``gpu[01-04,07],cpu1``."""
    match = _HOST.match(nodes)
    return match[1] + (match[2] or "") if match else nodes


def _number(environment: Mapping[str, str], name: str, default: str | None = None) -> int:
    text = environment.get(name, default)
    if text is None or not text.strip().isdigit():
        raise InputError(f"environment: {name} is {'not set' if text is None else repr(text)}, not a whole number.")
    return int(text)


def _checked(place: Place) -> Place:
    if not (place.rank < place.size and place.local_rank < max(place.local_size, 1) <= place.size):
        raise InputError(
            f"environment: process {place.rank} of {place.size} ({place.local_rank} of {place.local_size} on its node)"
            " contradicts itself."
        )
    return place
