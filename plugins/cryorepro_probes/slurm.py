"""The shape of the Slurm allocation. Accounts, users, nodes, partitions and paths are not in the list."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ALLOWED = (
    "SLURM_JOB_ID", "SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID", "SLURM_RESTART_COUNT", "SLURM_JOB_NUM_NODES",
    "SLURM_NTASKS", "SLURM_NTASKS_PER_NODE", "SLURM_TASKS_PER_NODE", "SLURM_CPUS_PER_TASK",
    "SLURM_CPUS_ON_NODE", "SLURM_JOB_CPUS_PER_NODE", "SLURM_THREADS_PER_CORE", "SLURM_MEM_PER_NODE",
    "SLURM_MEM_PER_CPU", "SLURM_MEM_PER_GPU", "SLURM_GPUS", "SLURM_GPUS_ON_NODE", "SLURM_GPUS_PER_NODE",
    "SLURM_GPUS_PER_TASK", "SLURM_JOB_GPUS", "SLURM_STEP_GPUS", "SLURM_PROCID", "SLURM_LOCALID",
    "SLURM_NODEID", "SLURM_DISTRIBUTION", "SLURM_CPU_BIND_TYPE", "SLURM_MEM_BIND_TYPE", "SLURM_HINT",
    "SLURM_OVERSUBSCRIBE",
)  # fmt: skip


class SlurmProbe:
    """Slurm variables by allow-list; ``in_job`` is false outside an allocation."""

    def measure(self, roles: Mapping[str, Path]) -> dict[str, Any]:
        """A listed variable whose value is not a plain word or number is left out and counted."""
        present = {name: os.environ[name] for name in ALLOWED if name in os.environ}
        plain = {name: value for name, value in present.items() if re.fullmatch(r"[\w.,()*:+-]{1,64}", value)}
        return {
            "in_job": "SLURM_JOB_ID" in os.environ,
            "variables": plain,
            "left_out": len(present) - len(plain),
        }
