"""The fourteen engine tests A to N, and FSC under masks, on the GPU or labelled as run on the CPU.

The letters and what varies (where particles lie, threads, interpolation, pose assignment, symmetry) are those of
CryoSPARC's benchmark; the kernel is this package's own (:mod:`cryorepro.em.engine_kernel`). ``linear10`` and
``linear20`` are read as trilinear interpolation on a grid padded 1.0 and 2.0 times. Times are therefore compared
between machines, not with CryoSPARC's.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cryorepro.workflow.bench.rounds import Task, Timing
from cryorepro.workflow.bench.sizes import Sizes

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from cryorepro.em.engine_kernel import EngineStep, StepTimes

ENGINE_TESTS: dict[str, str] = {
    "A": "disk_single_linear10_max_C1",
    "B": "disk_single_linear20_max_C1",
    "C": "disk_multi_linear10_max_C1",
    "D": "disk_multi_linear20_max_C1",
    "E": "memory_single_linear10_max_C1",
    "F": "memory_single_linear10_marg_C1",
    "G": "memory_single_linear10_max_D7",
    "H": "memory_single_linear20_max_C1",
    "I": "memory_single_linear20_marg_C1",
    "J": "memory_multi_linear10_max_C1",
    "K": "memory_multi_linear10_marg_C1",
    "L": "memory_multi_linear10_max_D7",
    "M": "memory_multi_linear20_max_C1",
    "N": "memory_multi_linear20_marg_C1",
}
_NOISE_SIGMA = 1.0
_BATCH = 16
"""Particles taken at once, whatever the number of threads: the work is the same on every machine."""


def engine_tasks(sizes: Sizes, stack: Path, threads: int, device: str) -> list[Task]:
    """One task for each letter; ``stack`` is written here and read by those that read from disk.

    A letter with several threads deals its batches out to ``threads`` workers of one thread each, which add their
    sums up at the end; its parts are seconds of workers, added up.
    """
    bench = _Bench(sizes, stack, device)
    return [bench.task(letter, name.split("_"), threads) for letter, name in ENGINE_TESTS.items()]


class _Bench:
    """Reference, orientations and images that all letters share."""

    def __init__(self, sizes: Sizes, stack: Path, device: str) -> None:
        import torch

        from cryorepro.em.projection import Projector
        from cryorepro.em.rotations import random_rotations

        self.sizes, self.device, self.stack = sizes, device, stack
        generator = torch.Generator().manual_seed(1)
        self.reference = _reference(sizes.engine_box_px, generator)
        self.matrices = random_rotations(sizes.engine_orientations, generator).float()
        self.truth = torch.randint(sizes.engine_orientations, (sizes.engine_particles,), generator=generator)
        projector = Projector(self.reference, sizes.engine_box_px // 2)
        clean = _projections(projector, self.matrices[self.truth], sizes.engine_box_px)
        scale = 3.0 * _NOISE_SIGMA / clean.std()
        self.reference *= scale
        self.images = clean * scale + _NOISE_SIGMA * torch.randn(clean.shape, generator=generator)
        _write(stack, self.images)
        self.reference, self.images_there = self.reference.to(device), self.images.to(device)

    def task(self, letter: str, words: list[str], threads: int) -> Task:
        import torch

        from cryorepro.em.engine_kernel import EngineStep
        from cryorepro.em.symmetry import symmetry_matrices

        where, parallel, kernel, assignment, symmetry = words
        used = threads if parallel == "multi" else 1
        operators = torch.as_tensor(symmetry_matrices(symmetry))
        padding = 2 if kernel == "linear20" else 1

        def step() -> EngineStep:
            return EngineStep(self.reference, self.matrices, padding, assignment == "marg", operators, _NOISE_SIGMA)

        def run() -> Timing:
            steps = [step() for _ in range(used)]
            with _one_thread():
                began = time.perf_counter()
                parts, correct = self._pass(steps, from_disk=where == "disk")
                seconds = time.perf_counter() - began
            return Timing(parts, {"poses_right": round(correct, 4)}, seconds=seconds)

        workload = {
            "test": "_".join(words), "particles": self.sizes.engine_particles, "box_px": self.sizes.engine_box_px,
            "orientations": self.sizes.engine_orientations, "threads": used, "dtype": "float32",
        }  # fmt: skip
        name = f"engine_{letter}_{'_'.join(words)}"
        amount = float(self.sizes.engine_particles)
        return Task(name, "gpu", self.device, workload, run, None, amount, "particles/s", tuple(words))

    def _pass(self, steps: list[EngineStep], from_disk: bool) -> tuple[dict[str, float], float]:
        """Deal batches out to one worker for each of ``steps``; seconds by part, and the share of poses found."""
        import torch

        from cryorepro.em.engine_kernel import StepTimes

        starts = range(0, self.sizes.engine_particles, _BATCH)
        times = [StepTimes() for _ in steps]

        def work(worker: int) -> list[tuple[int, Tensor]]:
            torch.set_num_threads(1)  # of this worker: OpenMP counts threads for each of its masters
            return [
                (start, self._batch(steps[worker], times[worker], start, from_disk))
                for start in list(starts)[worker :: len(steps)]
            ]

        with ThreadPoolExecutor(len(steps)) as pool:
            found = [pair for pairs in pool.map(work, range(len(steps))) for pair in pairs]
        began = time.perf_counter()
        for step in steps[1:]:
            steps[0].sums.data += step.sums.data
        times[0].add("reduce", began, steps[0].device)
        poses = torch.cat([best for _, best in sorted(found, key=lambda pair: pair[0])])
        names = dict.fromkeys(name for one in times for name in one.parts)
        parts = {name: sum(one.parts.get(name, 0.0) for one in times) for name in names}
        return parts, float((poses == self.truth).double().mean())

    def _batch(self, step: EngineStep, times: StepTimes, start: int, from_disk: bool) -> Tensor:
        began = time.perf_counter()
        count = min(_BATCH, self.sizes.engine_particles - start)
        images = (
            _read(self.stack, start, count).to(self.device) if from_disk else self.images_there[start : start + count]
        )
        times.add("load", began, step.device)
        return step.step(images, times).cpu()


def fsc_tasks(sizes: Sizes, device: str = "cpu") -> list[Task]:
    """FSC of two half maps under a spherical, a loose and a tight mask, and with substituted noise; on the CPU."""
    import numpy as np

    from cryorepro.em.fsc import fsc_curve, masked_fsc
    from cryorepro.em.masks import soft_sphere

    box = sizes.fsc_box_px
    generator = np.random.default_rng(1)
    signal = _smooth(generator.standard_normal((box, box, box)))
    halves = [signal + 2.0 * generator.standard_normal(signal.shape) for _ in range(2)]
    radii = {"spherical": 0.45, "loose": 0.35, "tight": 0.25}
    masks = {name: soft_sphere(box, share * box).double().numpy() for name, share in radii.items()}

    def masked(name: str) -> Timing:
        curve = fsc_curve(halves[0] * masks[name], halves[1] * masks[name])
        return Timing(checks={"first_shell": round(float(curve[1]), 6)})

    def substituted() -> Timing:
        curves = masked_fsc(halves[0], halves[1], masks["tight"], np.random.default_rng(2))
        return Timing(checks={"randomised_from_shell": curves.randomised_from_shell})

    work = {"box_px": box, "dtype": "float64"}
    tasks = [
        Task(f"fsc_{name}", "gpu", "cpu", {**work, "mask": name}, lambda name=name: masked(name), tags=("fsc", name))  # type: ignore[misc]
        for name in masks
    ]
    return [
        *tasks,
        Task("fsc_noisesub", "gpu", "cpu", {**work, "mask": "tight"}, substituted, tags=("fsc", "noisesub")),
    ]


def _reference(box_px: int, generator: torch.Generator) -> Tensor:
    """A rough body without symmetry: noise smoothed to a few pixels, inside a soft sphere."""
    import torch

    from cryorepro.em.masks import soft_sphere

    noise = torch.randn(box_px, box_px, box_px, generator=generator)
    rough = torch.from_numpy(_smooth(noise.double().numpy())).float()
    return rough * soft_sphere(box_px, 0.35 * box_px)


def _smooth(volume: Any) -> Any:
    from scipy import ndimage

    return ndimage.gaussian_filter(volume, 2.0) * 40.0


def _projections(projector: Any, matrices: Tensor, box_px: int) -> Tensor:
    """Images ``[b, n, n]`` of slices: the inverse of ``image_coefficients``."""
    import torch

    from cryorepro.em.fourier import half_plane

    plane = half_plane(box_px, box_px // 2 - 1)
    slices = projector.slices(matrices, plane)
    sign = (1 - 2 * ((plane.kx + plane.ky) % 2)).to(slices.real)
    spectrum = torch.zeros(matrices.shape[0], box_px * (box_px // 2 + 1), dtype=slices.dtype)
    spectrum[:, plane.columns] = slices * sign * box_px * box_px
    spectrum = spectrum.reshape(-1, box_px, box_px // 2 + 1)
    # the half plane holds kx = 0 once: its mates complete the column
    mates = spectrum[:, 1:, 0].flip(1).conj()
    spectrum[:, 1:, 0] = torch.where(spectrum[:, 1:, 0] == 0, mates, spectrum[:, 1:, 0])
    images: Tensor = torch.fft.irfft2(spectrum, s=(box_px, box_px))
    return images


def _write(path: Path, images: Tensor) -> None:
    import mrcfile

    with mrcfile.new(path, overwrite=True) as stack:
        stack.set_data(images.numpy())


def _read(path: Path, start: int, count: int) -> Tensor:
    import mrcfile
    import numpy as np
    import torch

    with mrcfile.mmap(path, mode="r", permissive=False) as stack:
        return torch.from_numpy(np.array(stack.data[start : start + count]))


@contextmanager
def _one_thread() -> Iterator[None]:
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
