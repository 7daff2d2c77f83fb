"""The expectation step of a 2D classification against the posterior worked out sample by sample in float64."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from cryorepro.em.class2d_chunk import prepare_plane
from cryorepro.em.class2d_expectation import PlaneSums, plane_expectation
from cryorepro.em.class2d_grid import PlaneModel, PlaneSampling
from cryorepro.em.class2d_turning import images_to_grids, plane_with_origin, turn
from cryorepro.em.ctf import ctf_phase
from cryorepro.em.imageset import ImageSet, Poses
from cryorepro.em.masks import soft_circle
from cryorepro.em.preparation import Preparation
from tests.em.views import ViewSet, view_set

BOX, RADIUS, CLASSES, COUNT = 32, 9, 3, 12


@pytest.fixture(scope="module")
def seen() -> ViewSet:
    return view_set(COUNT, CLASSES, box_px=BOX, pixel_size_angstrom=14.0, snr=0.1, seed=4, shift_px=0.7)


def _model(seen: ViewSet, images: ImageSet, angles: int, oversampling: int = 1, **changes: object) -> PlaneModel:
    averages = torch.stack([torch.from_numpy(seen.projection(k)).float() for k in range(CLASSES)])
    shells = BOX // 2 + 1
    preparation = Preparation(
        plane=plane_with_origin(BOX, RADIUS),
        mask=soft_circle(BOX, 12.0),
        sigma2=torch.full((images.noise_groups, shells), 8e-4, dtype=torch.float64),
        average_norm=1.1,
    )
    sampling = PlaneSampling(angles, oversampling, 3.0, 1.5, perturbation=0.2)
    fields: dict[str, object] = {
        "grids": images_to_grids(averages, RADIUS, 2), "sampling": sampling, "preparation": preparation,
        "image_radius": RADIUS, "padding": 2, "coarse_shell": 7,
        "log_prior": torch.tensor([0.5, 0.2, 0.3], dtype=torch.float64).log(), "offset_sigma_px": 1.3,
        "class_offset_px": torch.tensor([[0.3, -0.2], [0.0, 0.4], [-0.5, 0.1]], dtype=torch.float64),
        "scale": torch.tensor([0.9, 1.1], dtype=torch.float64), "adaptive_fraction": 1.0 - 1e-12,
    }  # fmt: skip
    return PlaneModel(**(fields | changes))  # type: ignore[arg-type]


def _poses(count: int) -> Poses:
    return Poses.start(count, torch.tensor([[1.0, -2.0]], dtype=torch.float64).expand(count, 2).clone())


def _brute_force(model: PlaneModel, images: ImageSet, poses: Poses) -> tuple[Tensor, Tensor, Tensor]:
    """Log weights ``[b, k, angles, t]`` of every fine sample, with the angles and shifts they stand for."""
    index = torch.arange(len(images))
    prepared, sampling, plane = prepare_plane(images, poses, index, model), model.sampling, model.plane
    children = sampling.children
    step = sampling.step_deg
    within = (torch.arange(children, dtype=torch.float64) + 0.5) / children - 0.5
    psi = (
        (torch.arange(sampling.angles, dtype=torch.float64) + sampling.perturbation)[:, None] + within
    ).flatten() * step
    shifts = sampling.fine_shifts()
    scale = model.scale[images.scale_group]
    out = torch.empty(len(images), model.classes, len(psi), len(shifts), dtype=torch.float64)
    frequencies = torch.stack([plane.kx, plane.ky]).double()
    ramps = torch.exp(-2j * math.pi / BOX * (shifts @ frequencies))
    for a, angle in enumerate(psi.tolist()):
        turned = turn(plane, angle, RADIUS, 2)
        real, imaginary = turned.read(model.columns.flatten(1)).double().chunk(2, dim=1)
        slices = torch.complex(real, imaginary).T
        for i in range(len(images)):
            modelled = slices[:, None] * (prepared.ctf[i].double() * scale[i])
            difference = (prepared.masked[i].to(torch.complex128) * ramps)[None] - modelled
            weight = prepared.inverse_sigma2[i].double()
            distance = (difference.abs() ** 2 * weight)[..., 1:].sum(dim=-1)
            offset = prepared.applied_origin[i] + shifts
            away = ((offset[None] - model.class_offset_px[:, None]) ** 2).sum(dim=-1)
            prior = model.log_prior[:, None] - away / (2.0 * model.offset_sigma_px**2)
            out[i, :, a] = prior - 0.5 * distance
    return out, psi, shifts


@pytest.mark.parametrize(("angles", "oversampling"), [(12, 1), (9, 1), (12, 0)], ids=["even", "odd", "one-pass"])
def test_class_angle_shift_and_every_sum_are_those_of_the_brute_force_posterior(
    seen: ViewSet, angles: int, oversampling: int
) -> None:
    images = seen.data.image_set(2)
    model, poses = _model(seen, images, angles, oversampling, coarse_shell=RADIUS), _poses(COUNT)
    sums = plane_expectation(images, poses, model)
    logs, psi, shifts = _brute_force(model, images, poses)
    weights = torch.softmax(logs.flatten(1), dim=1).reshape(logs.shape)
    best = weights.flatten(1).argmax(dim=1)
    number, angle, shift = (torch.from_numpy(v) for v in np.unravel_index(best.numpy(), logs.shape[1:]))
    found = sums.shared.poses
    assert torch.equal(found.class_index, number)
    assert torch.cos(torch.deg2rad(found.euler_deg[:, 2] - psi[angle])).min() > 1.0 - 1e-12
    assert torch.allclose(found.origin_px, torch.tensor([[1.0, -2.0]]).double() + shifts[shift])
    # what the coarse pass leaves out holds at most exp(-18) per row
    assert torch.allclose(found.max_probability, weights.flatten(1).amax(dim=1), atol=2e-4)
    assert torch.allclose(sums.shared.direction_weight[:, 0], weights.sum(dim=(0, 2, 3)), atol=2e-3)
    offsets = torch.tensor([1.0, -2.0]).double() + shifts
    centre = torch.einsum("bkat,tx->kx", weights, offsets)
    assert torch.allclose(sums.class_offset, centre, atol=5e-3)
    away = ((offsets[None] - model.class_offset_px[:, None]) ** 2).sum(dim=-1)
    assert sums.shared.offset_power == pytest.approx(float(torch.einsum("bkat,kt->", weights, away)), abs=5e-3)
    evidence = torch.logsumexp(logs.flatten(1), dim=1) - math.log(2 * math.pi * 8e-4) * (len(model.plane) - 1)
    assert torch.allclose(found.log_likelihood, evidence, atol=2e-3)


def test_averages_spread_what_reading_reads() -> None:
    """Spreading is the adjoint of reading: <P x, y> = <x, P^T y> over a random grid and random slices."""
    plane = plane_with_origin(BOX, RADIUS)
    turned, stream = turn(plane, 37.0, RADIUS, 2), torch.Generator().manual_seed(0)
    x = torch.randn(turned.starts.shape[0], 4, generator=stream)
    y = torch.randn(len(plane), 6, generator=stream)
    back = turned.spread(y)
    assert float((turned.read(x) * y[:, :4]).sum()) == pytest.approx(float((x * back[:, :4]).sum()), rel=1e-4)
    # weights know no Friedel sign: spread, ones keep their sum
    assert float(turned.spread(torch.ones(len(plane), 3))[:, 2].sum()) == pytest.approx(len(plane), rel=1e-5)


def test_a_turned_average_is_the_projection_turned(seen: ViewSet) -> None:
    """Against the exact projection at another in-plane angle: same convention, interpolation error small."""
    average = torch.from_numpy(seen.projection(1)).float()[None]
    grid = torch.view_as_real(images_to_grids(average, RADIUS, 2)[0].flatten())
    plane = plane_with_origin(BOX, RADIUS)
    found = torch.view_as_complex(turn(plane, 50.0, RADIUS, 2).read(grid.contiguous())).numpy()
    exact = np.fft.rfft2(seen.projection(1, 50.0)).flatten()[plane.columns.numpy()] / BOX**2
    exact = exact * (1 - 2 * ((plane.kx + plane.ky).numpy() % 2))
    error = np.abs(found - exact) ** 2
    assert error.sum() / (np.abs(exact) ** 2).sum() < 1e-3


def test_the_ctf_is_left_alone_up_to_its_first_peak() -> None:
    seen = view_set(COUNT, CLASSES, box_px=BOX, pixel_size_angstrom=7.0)
    images, index = seen.data.image_set(2), torch.arange(COUNT)
    model = _model(seen, images, 12, intact_first_peak=True)
    intact = prepare_plane(images, _poses(COUNT), index, model).ctf
    plain = prepare_plane(images, _poses(COUNT), index, _model(seen, images, 12)).ctf
    plane = model.plane
    phase = ctf_phase(images.ctf, plane.kx, plane.ky, BOX, images.pixel_size_angstrom)
    before = phase.abs() < math.pi / 2
    assert bool(before.any()) and bool((~before).any())
    assert torch.equal(intact[before], torch.ones_like(intact[before]))
    assert torch.equal(intact[~before], plain[~before])


def _bits(sums: PlaneSums) -> list[Tensor]:
    shared = sums.shared
    return [*shared.grids, shared.noise, shared.direction_weight, sums.class_offset, shared.poses.log_likelihood]


def test_any_number_of_workers_gives_the_same_bits(seen: ViewSet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cryorepro.em.class2d_expectation._SMALLEST_CHUNK", 3)
    images = seen.data.image_set(2)
    model = _model(seen, images, 12, adaptive_fraction=0.999)
    one, three = (_bits(plane_expectation(images, _poses(COUNT), model, workers)) for workers in (1, 3))
    assert all(torch.equal(a, b) for a, b in zip(one, three, strict=True))
