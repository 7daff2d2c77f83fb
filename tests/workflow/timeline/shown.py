"""Timelines made up, of machines of known behaviour."""

from __future__ import annotations

import random

from cryorepro.workflow.timeline.columns import COLUMNS, GPU_COLUMNS
from cryorepro.workflow.timeline.series import Column, Timeline


def quiet(seed: int = 1, samples: int = 60, cores: int = 2, gpus: int = 0) -> Timeline:
    """A stage that has the machine to itself: daemons wake up, turbo clocks wander, a cold page is swapped."""
    draw = random.Random(seed)
    columns: dict[str, Column] = {name: [0.0] * samples for name in COLUMNS}
    columns["seconds"] = [place + draw.uniform(-0.02, 0.05) for place in range(samples)]
    columns["stage_cores"] = [cores * draw.uniform(0.7, 1.0) for _ in range(samples)]
    columns["other_cores"] = [draw.choice([0.0, 0.01, 0.03, 0.15]) for _ in range(samples)]
    columns["stolen_cores"] = [draw.uniform(0.0, 0.004) * cores for _ in range(samples)]
    columns["clock_mhz"] = [3400.0 * draw.uniform(0.96, 1.0) for _ in range(samples)]
    columns["swap_pages"] = [draw.choice([0.0] * 9 + [12.0]) for _ in range(samples)]
    columns["read_bytes"] = [draw.uniform(0, 400e6) for _ in range(samples)]
    columns["pressure_io"] = [draw.uniform(0.0, 0.3) for _ in range(samples)]
    columns["stage_blocked"] = [draw.choice([0.0, 0.0, 1.0]) for _ in range(samples)]
    columns["memory_limit_hits"] = [draw.choice([0.0, 30.0]) for _ in range(samples)]
    columns["inputs_cached"] = [0.01 if place % 30 == 0 else None for place in range(samples)]
    columns["package_watts"] = [120.0] * samples
    return Timeline(
        "s",
        1,
        0.0,
        1.0,
        cores,
        columns,
        ["NVIDIA H200"] * gpus,
        [card(draw, samples, number) for number in range(gpus)],
    )


def card(draw: random.Random, samples: int, number: int) -> dict[str, Column]:
    """A card that works at 600 W, its clock held by the power limit as is usual."""
    columns: dict[str, Column] = {name: [0.0] * samples for name in GPU_COLUMNS}
    columns["index"] = [float(number)] * samples
    columns["load"] = [draw.uniform(0.8, 1.0) for _ in range(samples)]
    columns["sm_clock_mhz"] = [1800.0 + draw.uniform(-60, 60) for _ in range(samples)]
    columns["throttle_mask"] = [4.0] * samples
    columns["watts"] = [600.0] * samples
    columns["energy_joules"] = [1e6 + 600.0 * place for place in range(samples)]
    return columns
