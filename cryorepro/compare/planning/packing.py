"""Jobs of one GPU each on the GPUs of one machine: the shortest time in which all can end."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp

from cryorepro.em.errors import InputError

MOST_JOBS = 64


def shortest_makespan(hours: Sequence[float], gpus: int) -> float:
    """Smallest possible end of the last job on ``gpus`` identical GPUs (P||Cmax), in hours; exact.

    Raises:
        InputError: there are more jobs than the exact solver is given.
    """
    if len(hours) > MOST_JOBS:
        raise InputError(f"{len(hours)} jobs side by side in one group; the exact plan takes at most {MOST_JOBS}")
    if len(hours) <= gpus:
        return max(hours, default=0.0)
    count = len(hours)
    # x[job, gpu] and, last, the makespan; the jobs come longest first and job j uses only GPUs 0..j, for symmetry.
    ordered = np.array(sorted(hours, reverse=True))
    objective = np.append(np.zeros(count * gpus), 1.0)
    once = np.zeros((count, count * gpus + 1))
    ends = np.zeros((gpus, count * gpus + 1))
    upper = np.append(np.ones(count * gpus), ordered.sum())
    for job in range(count):
        once[job, job * gpus : (job + 1) * gpus] = 1
        upper[job * gpus + min(job + 1, gpus) : (job + 1) * gpus] = 0
        ends[np.arange(gpus), job * gpus + np.arange(gpus)] = ordered[job]
    ends[:, -1] = -1
    result = milp(
        objective,
        integrality=np.append(np.ones(count * gpus), 0),
        bounds=Bounds(np.append(np.zeros(count * gpus), max(ordered[0], ordered.sum() / gpus)), upper),
        constraints=[LinearConstraint(once, 1, 1), LinearConstraint(ends, -np.inf, 0)],
        options={"mip_rel_gap": 0.0},
    )
    if result.status != 0 or result.x is None:
        raise RuntimeError(f"the solver ended without an answer: {result.message}")
    slots = np.round(result.x[:-1]).reshape(count, gpus)
    return float((slots * ordered[:, None]).sum(axis=0).max())
