"""Which runs a set is made of, and in which order."""

from __future__ import annotations

from collections.abc import Sequence

from cryorepro.em.errors import InputError
from cryorepro.model.base import Record
from cryorepro.workflow.options import RunOptions, parse_runners

MOST_MEMBERS = 1000


class Member(Record):
    """One run of a set; ``runner`` is the choice as it was typed, empty for the benchmark's own."""

    position: int
    runner: str
    seed: int


def parse_seeds(seeds: str | None, replicates: int | None, first: int) -> list[int]:
    """The seeds that ``--seeds 1,2,3`` or ``--replicates N`` (from ``--seed`` on) ask for; one without either.

    Raises:
        InputError: malformed, repeated, or both were given and disagree.
    """
    if seeds is None:
        return list(range(first, first + (replicates or 1)))
    try:
        found = [int(item) for item in seeds.split(",")]
    except ValueError as error:
        raise InputError(f"--seeds {seeds}: expected whole numbers separated by commas") from error
    if any(not 1 <= seed <= 2**31 - 1 for seed in found):
        raise InputError(f"--seeds {seeds}: a seed is a whole number from 1 to {2**31 - 1}")
    if len(set(found)) < len(found):
        raise InputError(f"--seeds {seeds}: a seed is given twice, and a repeated seed is no replicate")
    if replicates is not None and replicates != len(found):
        raise InputError(f"--replicates {replicates} and --seeds {seeds} disagree; give one of them")
    return found


def members(runners: Sequence[str], seeds: Sequence[int]) -> list[Member]:
    """One block per seed, every runner once in each, every other block in reverse: slow drift hits all alike.

    Raises:
        InputError: a runner is given twice, or there are too many members.
    """
    if len(set(runners)) < len(runners):
        raise InputError("--runner: the same choice is given twice")
    if len(runners) * len(seeds) > MOST_MEMBERS:
        raise InputError(f"a set has at most {MOST_MEMBERS} runs, not {len(runners) * len(seeds)}")
    order = [
        (runner, seed)
        for block, seed in enumerate(seeds)
        for runner in (runners if block % 2 == 0 else list(reversed(runners)))
    ]
    return [Member(position=place, runner=runner, seed=seed) for place, (runner, seed) in enumerate(order, 1)]


def options_of(member: Member, base: RunOptions) -> RunOptions:
    """The options of one member: the set's own, with its runner and seed."""
    runners = parse_runners(member.runner) if member.runner else base.runners
    return base.model_copy(update={"runners": runners, "seed": member.seed})
