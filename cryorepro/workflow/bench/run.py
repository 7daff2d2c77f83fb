"""A whole benchmark of this machine, from files to a record."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from pathlib import Path

import cryorepro
from cryorepro.em.errors import InputError
from cryorepro.model.bench import BenchRecord, BenchTest, Group
from cryorepro.model.fingerprint import ProbeResult
from cryorepro.workflow.bench.calibrate import calibrate
from cryorepro.workflow.bench.files import BenchFiles, make_files
from cryorepro.workflow.bench.rounds import ORDER, Policy, Task, carry_out
from cryorepro.workflow.bench.sizes import Sizes
from cryorepro.workflow.bench.watch import watched


@dataclass(frozen=True)
class BenchOptions:
    """What a person chose."""

    groups: tuple[Group, ...]
    size_name: str
    sizes: Sizes
    directory: Path
    cache_directory: Path | None = None
    threads: int = field(default_factory=lambda: len(os.sched_getaffinity(0)))
    device: str = "cpu"
    policy: Policy = field(default_factory=Policy)
    title: str | None = None
    only: tuple[str, ...] = ()
    """Patterns of the names of tests; all of the groups when there is none."""

    def wanted(self, name: str) -> bool:
        """Whether the test ``name`` was chosen."""
        return not self.only or any(fnmatchcase(name, pattern) for pattern in self.only)


def run_bench(
    options: BenchOptions,
    fingerprint: Callable[[], Sequence[ProbeResult]],
    say: Callable[[str], None] = lambda _: None,
) -> BenchRecord:
    """Make the files, measure, and remove them again.

    Raises:
        InputError: the directory is missing or has no room, or no test was chosen.
    """
    for path in (options.directory, options.cache_directory):
        if path is not None and not path.is_dir():
            raise InputError(f"{path}: no such directory")
    skipped: dict[str, str] = {}
    tests: list[BenchTest] = []
    with tempfile.TemporaryDirectory(prefix="cryorepro-bench-", dir=options.directory) as name:
        place = Path(name)
        say("making files")
        needs_files = {"fs", "cpu"} & set(options.groups)
        files = make_files(place, options.sizes, kinds=_kinds(options)) if needs_files else None
        with watched("bench") as seen:
            calibration = calibrate(options.sizes.calibration_seconds)
            for group in options.groups:
                tests += _group(group, options, files, place, skipped, say)
    if not tests:
        raise InputError(f"--only {' '.join(options.only)}: no test of {', '.join(options.groups)} is called so")
    return BenchRecord(
        created_at=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        cryorepro_version=cryorepro.__version__,
        title=options.title,
        settings={
            "size": options.size_name,
            "sizes": options.sizes.model_dump(),
            "threads": options.threads,
            "device": options.device,
            "wanted_spread": options.policy.wanted_spread,
            "most_repeats": options.policy.most,
            "limit_seconds_per_group": options.policy.limit_s,
            "only": list(options.only),
        },
        order=ORDER,
        tests=tuple(tests),
        calibration=calibration,
        perturbed=tuple(seen.flags),
        skipped=skipped,
        fingerprint=tuple(fingerprint()),
    )


def _group(
    group: Group,
    options: BenchOptions,
    files: BenchFiles | None,
    place: Path,
    skipped: dict[str, str],
    say: Callable[[str], None],
) -> list[BenchTest]:
    if group == "fs" and files is not None:
        return _fs(options, files, skipped, say)
    if group == "cpu" and files is not None:
        return _cpu(options, files, say)
    return _gpu(options, place, say)


def _fs(
    options: BenchOptions, files: BenchFiles, skipped: dict[str, str], say: Callable[[str], None]
) -> list[BenchTest]:
    from cryorepro.workflow.bench.fs import fs_tasks, supports_direct

    with contextlib.ExitStack() as stack:
        cached: list[Path] = []
        if options.wanted("fs_particles_random_cache") and options.cache_directory is None:
            skipped["fs_particles_random_cache"] = "no cache device was named (--cache-directory)"
        if options.cache_directory is not None:
            folder = tempfile.TemporaryDirectory(prefix="cryorepro-bench-", dir=options.cache_directory)
            place = Path(stack.enter_context(folder))
            cached = [Path(shutil.copyfile(path, place / path.name)) for path in files.stacks]
        tasks = fs_tasks(files, options.sizes, cached)
        if files.stacks and not supports_direct(files.stacks[0]):
            skipped["fs_particles_direct"] = "this filesystem takes no direct I/O (O_DIRECT)"
            tasks = [task for task in tasks if task.name != "fs_particles_direct"]
        return _carry_out(tasks, options, say)


def _cpu(options: BenchOptions, files: BenchFiles, say: Callable[[str], None]) -> list[BenchTest]:
    import torch

    from cryorepro.workflow.bench.processor import decode_tasks, rate_tasks

    torch.set_num_threads(options.threads)
    decoding, close = decode_tasks(files, options.sizes, options.threads)
    try:
        return _carry_out([*decoding, *rate_tasks(options.sizes, options.threads, "cpu")], options, say)
    finally:
        close()


def _gpu(options: BenchOptions, place: Path, say: Callable[[str], None]) -> list[BenchTest]:
    import torch

    from cryorepro.workflow.bench.engine import engine_tasks, fsc_tasks
    from cryorepro.workflow.bench.maps import map_tasks
    from cryorepro.workflow.bench.processor import rate_tasks

    torch.set_num_threads(options.threads)
    tasks = [*fsc_tasks(options.sizes), *map_tasks(options.sizes, options.device)]
    tasks += engine_tasks(options.sizes, place / "engine.mrcs", options.threads, options.device)
    if options.device != "cpu":
        rates = rate_tasks(options.sizes, options.threads, options.device)
        tasks += [Task(**{**vars(task), "name": f"{task.name}_gpu"}) for task in rates]
    return _carry_out(tasks, options, say)


def _carry_out(tasks: Sequence[Task], options: BenchOptions, say: Callable[[str], None]) -> list[BenchTest]:
    return carry_out([task for task in tasks if options.wanted(task.name)], options.policy, say)


def _kinds(options: BenchOptions) -> frozenset[str]:
    """Kinds of files that the chosen tests read."""
    names = {
        "tiff": ("fs_movies_tiff", "cpu_tiff_decompress", "cpu_tiff_decompress_multi"),
        "eer": ("fs_movies_eer", "cpu_eer_decompress", "cpu_eer_decompress_multi"),
        "mrc": ("fs_movies_mrc",),
        "stacks": tuple(f"fs_particles_{how}" for how in ("sequential", "random", "direct", "random_cache")),
    }
    groups = tuple(f"{group}_" for group in options.groups)
    return frozenset(
        kind for kind, tests in names.items() if any(options.wanted(name) and name.startswith(groups) for name in tests)
    )
