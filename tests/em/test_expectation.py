"""The expectation step against the same sums written out sample by sample in float64."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch

from cryorepro.em.devices.plan import Plan
from cryorepro.em.estep_model import EstepModel
from cryorepro.em.expectation import Expectation, expectation
from cryorepro.em.fourier import half_plane, image_coefficients, shell_pixel_counts
from cryorepro.em.imageset import ImageSet, Poses
from cryorepro.em.masks import mask_images, soft_circle
from cryorepro.em.maximisation import ReconstructionPlan, reconstruct_classes, updated_directions
from cryorepro.em.preparation import Preparation, prepare, shift_whole_pixels
from cryorepro.em.projection import Projector
from cryorepro.em.rotations import euler_to_matrix, rotation_angle_deg
from cryorepro.em.sampling import make_sampling
from tests.em.simulated import simulated_set

BOX, RADIUS = 24, 9


@dataclass(frozen=True)
class Case:
    images: ImageSet
    poses: Poses
    model: EstepModel


def _case(count: int = 12, fraction: float = 1.0, snr: float = 0.05) -> Case:
    data = simulated_set(count, box_px=BOX, pixel_size_angstrom=20.0, snr=snr, seed=3)
    images = data.image_set(micrographs=2)
    sampling = make_sampling(0, 1, 2.0, 2.0, perturbation=0.2)
    generator = torch.Generator().manual_seed(0)
    prior = torch.rand(2, sampling.pixels.shape[0], generator=generator, dtype=torch.float64) + 0.2
    sigma2 = torch.full((1, BOX // 2 + 1), 0.5 / BOX**2, dtype=torch.float64)
    sigma2 = sigma2 * torch.linspace(1.5, 0.7, BOX // 2 + 1, dtype=torch.float64)
    poses = Poses.start(count, origin_px=torch.randn(count, 2, generator=generator) * 1.5)
    model = EstepModel(
        projectors=tuple(Projector(data.volume(k), RADIUS) for k in (0, 1)),
        sampling=sampling,
        preparation=Preparation(half_plane(BOX, RADIUS), soft_circle(BOX, 9.0, 3.0), sigma2, average_norm=0.9),
        coarse_shell=6,
        log_prior=torch.log(prior / prior.sum()),
        offset_sigma_px=1.7,
        scale=torch.tensor([0.8, 1.2], dtype=torch.float64),
        adaptive_fraction=fraction,
    )
    return Case(images, poses, model)


def _samples(case: Case) -> list[tuple[int, int, torch.Tensor, torch.Tensor]]:
    """(class, coarse direction, matrix, shift) of every fine sample."""
    grid = case.model.sampling.orientations(1)
    matrices, shifts = grid.matrices(), case.model.sampling.translations(1)
    found = []
    for k, d, p, t in itertools.product(range(2), range(grid.shape[0]), range(grid.shape[1]), range(len(shifts))):
        found.append((k, d // 4, matrices[d, p], shifts[t]))
    return found


def _written_out(case: Case) -> dict[str, np.ndarray]:
    """Posterior, evidence, direction weights and noise sums, one sample at a time."""
    model, plane = case.model, case.model.plane
    samples = _samples(case)
    prepared = prepare(case.images, case.poses, torch.arange(len(case.images)), model.preparation)
    slices = [model.projectors[k].slices(torch.stack([s[2] for s in samples if s[0] == k]), plane) for k in (0, 1)]
    stacked = torch.cat(slices).to(torch.complex128)
    ramps = plane.phase_ramps(torch.stack([s[3] for s in samples])).to(torch.complex128)
    prior = torch.stack([model.log_prior[s[0], s[1]] for s in samples])
    shifts = torch.stack([s[3] for s in samples])
    classes, coarse = torch.tensor([s[0] for s in samples]), torch.tensor([s[1] for s in samples])
    noise = torch.zeros(BOX // 2 + 1, dtype=torch.float64)
    directions = torch.zeros(2, 12, dtype=torch.float64)
    evidence, best, offset = [], [], 0.0
    for i in range(len(case.images)):
        scale = model.scale[case.images.scale_group[i]]
        modelled = stacked * prepared.ctf[i].double() * scale
        residual = (prepared.masked[i].to(torch.complex128) * ramps - modelled).abs().square()
        total = shifts + prepared.applied_origin[i]
        log_weight = prior - (total**2).sum(dim=1) / (2 * model.offset_sigma_px**2)
        log_weight = log_weight - 0.5 * (residual * prepared.inverse_sigma2[i].double()).sum(dim=1)
        top = log_weight.max()
        weight = torch.exp(log_weight - top)
        evidence.append(float(top + weight.sum().log() - prepared.log_normaliser[i]))
        weight = weight / weight.sum()
        best.append(int(weight.argmax()))
        directions.index_put_((classes, coarse), weight, accumulate=True)
        offset += float((weight * (total**2).sum(dim=1)).sum())
        noise.index_add_(0, plane.shell, (weight[:, None] * residual).sum(dim=0))
    return {
        "evidence": np.array(evidence), "best": np.array(best), "directions": directions.numpy(),
        "noise": noise.numpy(), "offset": np.array(offset),
    }  # fmt: skip


def test_everything_equals_the_sum_over_every_sample_when_nothing_is_pruned() -> None:
    case = _case(count=5, fraction=1.0, snr=0.002)
    expected, samples = _written_out(case), _samples(case)
    got = expectation(case.images, case.poses, case.model)
    np.testing.assert_allclose(got.poses.log_likelihood.numpy(), expected["evidence"], atol=2e-2)
    np.testing.assert_allclose(got.direction_weight.numpy(), expected["directions"], atol=2e-3)
    assert got.offset_power == pytest.approx(float(expected["offset"]), rel=2e-3)
    # shells wholly inside the radius: at its rim the engine also counts pixels beyond it
    np.testing.assert_allclose(got.noise[0, 1:RADIUS].numpy(), expected["noise"][1:RADIUS], rtol=1e-3)
    for i, place in enumerate(expected["best"]):
        k, _, matrix, shift = samples[place]
        assert int(got.poses.class_index[i]) == k
        assert rotation_angle_deg(euler_to_matrix(got.poses.euler_deg[i]), matrix) < 1e-4
        torch.testing.assert_close(got.poses.origin_px[i], case.poses.origin_px[i].round() + shift)


def test_pruning_loses_little_of_the_evidence_and_most_of_the_samples() -> None:
    cases = (_case(count=30, snr=0.02), _case(count=30, fraction=0.999, snr=0.02))
    full, pruned = (expectation(c.images, c.poses, c.model) for c in cases)
    lost = full.poses.log_likelihood - pruned.poses.log_likelihood
    assert lost.min() > -0.01 and lost.median() < 0.5
    assert float(pruned.direction_weight.sum()) == pytest.approx(30.0, abs=0.06)
    assert float(pruned.poses.significant.double().mean()) < 0.9 * float(full.poses.significant.double().mean())


def _bits(result: Expectation) -> list[bytes]:
    tensors = [*result.grids, result.direction_weight, result.noise, result.signal_product, result.reference_power]
    tensors += [getattr(result.poses, name) for name in Poses.__dataclass_fields__]
    return [tensor.numpy().tobytes() for tensor in tensors]


def test_one_and_several_workers_give_the_same_bits() -> None:
    case = _case(count=30, fraction=0.999, snr=0.3)
    results = [_bits(expectation(case.images, case.poses, case.model, w, chunk_size=7)) for w in (1, 2, 3)]
    assert results[0] == results[1] == results[2]


def test_a_table_too_small_for_all_chunks_changes_no_pose() -> None:
    case = _case(count=20, fraction=0.999, snr=0.3)
    whole = expectation(case.images, case.poses, case.model, chunk_size=5)
    small = replace(case.model, plan=Plan(table_bytes=1, sample_bytes=1))
    pieces = expectation(case.images, case.poses, small, chunk_size=5)
    assert _bits(whole) == _bits(pieces)


def test_a_subset_is_treated_as_if_it_were_alone() -> None:
    case = _case(count=20, fraction=0.999, snr=0.1)
    half = torch.arange(0, 20, 2)
    part = expectation(case.images, case.poses, case.model, index=half)
    whole = expectation(case.images, case.poses, case.model)
    torch.testing.assert_close(part.poses.log_likelihood, whole.poses.log_likelihood[half])
    assert float(part.noise_count.sum()) == 10.0


def test_classes_can_be_prescribed() -> None:
    case = _case(count=16, snr=0.3)
    prescribed = torch.arange(16) % 2
    got = expectation(case.images, case.poses, replace(case.model, only_class=prescribed))
    assert torch.equal(got.poses.class_index, prescribed)


def test_cross_correlation_takes_the_best_sample_alone_and_ignores_the_grey_scale() -> None:
    case = _case(count=10, snr=0.3)
    model = replace(case.model, cross_correlation=True, log_prior=torch.full((2, 12), -math.log(24)).double())
    got = expectation(case.images, case.poses, model)
    loud = replace(model, projectors=tuple(Projector(7.0 * _volume(k), RADIUS) for k in (0, 1)))
    again = expectation(case.images, case.poses, loud)
    assert torch.equal(got.poses.euler_deg, again.poses.euler_deg)
    assert torch.all(got.poses.max_probability == 1.0)
    assert float(got.direction_weight.sum()) == pytest.approx(10.0)


def _volume(conformer: int) -> torch.Tensor:
    return simulated_set(12, box_px=BOX, pixel_size_angstrom=20.0, snr=0.3, seed=3).volume(conformer)


def test_whole_pixel_recentring_fills_with_zeros_and_equals_the_phase_ramp() -> None:
    image = torch.zeros(1, 16, 16)
    image[0, 5, 6] = 1.0
    moved = shift_whole_pixels(image, torch.tensor([[3, -2]]))
    assert moved[0, 3, 9] == 1.0 and moved.sum() == 1.0
    assert shift_whole_pixels(image, torch.tensor([[12, 0]])).sum() == 0.0
    plane = half_plane(16, 7)
    ramp = plane.phase_ramps(torch.tensor([[3.0, -2.0]]))
    torch.testing.assert_close(image_coefficients(moved, plane), image_coefficients(image, plane) * ramp)


def test_noise_fill_has_the_noise_spectrum_and_is_repeatable() -> None:
    case = _case(count=12)
    how = replace(case.model.preparation, fill_seed=5, mask=torch.zeros(BOX, BOX))
    first = prepare(case.images, case.poses, torch.arange(12), how)
    again = prepare(case.images, case.poses, torch.arange(5, 12), how)
    torch.testing.assert_close(first.masked[5:], again.masked)
    measured = first.shell_power.mean(dim=0) / (2 * shell_pixel_counts(BOX))
    shells = slice(3, BOX // 2 - 1)
    torch.testing.assert_close(measured[shells].double(), how.sigma2[0, shells], rtol=0.4, atol=0)


def test_the_mask_is_applied_after_recentring() -> None:
    case = _case(count=4)
    prepared = prepare(case.images, case.poses, torch.arange(4), case.model.preparation)
    pixels = case.images.read(torch.arange(4)) * 0.9
    moved = shift_whole_pixels(pixels, case.poses.origin_px.round().long())
    expected = image_coefficients(mask_images(moved, case.model.preparation.mask), case.model.plane)
    torch.testing.assert_close(prepared.masked, expected, rtol=1e-4, atol=1e-7)


def test_a_class_that_nothing_may_join_stays_empty_and_finite() -> None:
    case = _case(count=6, snr=0.3)
    prior = case.model.log_prior.clone()
    prior[1] = -torch.inf
    got = expectation(case.images, case.poses, replace(case.model, log_prior=prior))
    assert set(got.poses.class_index.tolist()) == {0}
    tau2 = torch.ones(2, BOX // 2 + 1)
    made = reconstruct_classes(got.grids, tau2, ReconstructionPlan(BOX, RADIUS, 4.0, 2, None), workers=1)
    assert torch.all(made[1].volume == 0.0) and torch.isfinite(made[0].volume).all()
    assert torch.all(made[1].data_vs_prior == 0.0)
    assert torch.all(updated_directions(got)[1] == 0.0)
