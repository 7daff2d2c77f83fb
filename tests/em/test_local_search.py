"""Local searches against the whole grid written out: windows, posterior, sums; groups, blocks and workers."""

from __future__ import annotations

import math
import resource
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch

from cryorepro.em import local_search_groups, local_search_pass
from cryorepro.em.estep_model import EstepModel
from cryorepro.em.expectation import Expectation, expectation
from cryorepro.em.fourier import half_plane
from cryorepro.em.imageset import ImageSet, Poses
from cryorepro.em.local_search import LocalGrid, Window
from cryorepro.em.local_search_expectation import local_expectation
from cryorepro.em.local_search_groups import make_grouping
from cryorepro.em.masks import soft_circle
from cryorepro.em.preparation import Preparation, prepare
from cryorepro.em.projection import Projector
from cryorepro.em.reconstruction import SliceAccumulator, hermitian
from cryorepro.em.rotations import euler_to_matrix, matrix_to_euler, random_rotations, rotation_angle_deg
from cryorepro.em.sampling import Sampling, into_asymmetric_unit, make_sampling
from cryorepro.em.symmetry import symmetry_matrices
from tests.em.simulated import simulated_set

BOX, RADIUS, ORDER = 24, 9, 2
C1 = torch.eye(3, dtype=torch.float64)[None]


def _grid(order: int, oversampling: int = 1, perturbation: float = 0.3) -> LocalGrid:
    return LocalGrid(make_sampling(order, oversampling, 2.0, 2.0, perturbation))


def _written_out_window(grid: LocalGrid, centre: torch.Tensor) -> dict[int, float]:
    """Prior of every orientation of the sphere within the cut-off, by rotations about explicit axes."""
    everything = grid.sampling.orientations().matrices().double()
    found = {}
    for pixel, of_direction in enumerate(everything):
        goal, own = of_direction[0, 2], centre[2]
        axis = torch.linalg.cross(own, goal)
        apart = math.atan2(float(axis.norm()), float(own @ goal))
        moved = centre @ _about(axis, apart).T
        for psi, matrix in enumerate(of_direction):
            across = math.degrees(math.atan2(float(matrix[0] @ moved[1]), float(matrix[0] @ moved[0])))
            if math.degrees(apart) <= 3 * grid.sigma_deg and abs(across) <= 3 * grid.sigma_deg:
                exponent = (math.degrees(apart) ** 2 + across**2) / (2 * grid.sigma_deg**2)
                found[pixel * grid.n_psi + psi] = math.exp(-exponent)
    total = sum(found.values())
    return {row: weight / total for row, weight in found.items()}


def _about(axis: torch.Tensor, angle: float) -> torch.Tensor:
    """Rodrigues' rotation that turns column vectors about ``axis``."""
    x, y, z = (axis / axis.norm().clamp(min=1e-30)).tolist()
    skew = torch.tensor([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]], dtype=torch.float64)
    return torch.eye(3, dtype=torch.float64) + math.sin(angle) * skew + (1 - math.cos(angle)) * skew @ skew


@pytest.mark.parametrize(("order", "oversampling"), [(1, 1), (2, 1), (2, 0), (2, 2)])
def test_a_window_holds_what_lies_within_three_deviations_in_direction_and_in_plane(
    order: int, oversampling: int
) -> None:
    grid = _grid(order, oversampling)
    centres = random_rotations(3, torch.Generator().manual_seed(order))
    poles = euler_to_matrix(torch.tensor([[20.0, 0.4, 70.0], [-100.0, 179.0, 10.0]], dtype=torch.float64))
    centres = torch.cat([centres, poles])
    for centre, window in zip(centres, grid.windows(centres), strict=True):
        expected = _written_out_window(grid, centre)
        assert set(window.rows.tolist()) == set(expected)
        prior = torch.tensor([expected[row] for row in window.rows.tolist()], dtype=torch.float64)
        torch.testing.assert_close(window.log_prior.exp(), prior, rtol=1e-6, atol=1e-9)


def test_rows_are_the_orientations_of_the_grid_and_their_children() -> None:
    grid = _grid(1)
    rows = torch.tensor([0, 5, 13, 47 * grid.n_psi + 11])
    whole = grid.sampling.orientations().matrices().flatten(0, 1)
    torch.testing.assert_close(grid.matrices(rows), whole[rows])
    fine = grid.sampling.orientations(1).matrices()
    expected = torch.cat([
        fine[4 * (row // grid.n_psi) :][:4, 2 * (row % grid.n_psi) :][:, :2].reshape(8, 3, 3) for row in rows.tolist()
    ])  # fmt: skip
    torch.testing.assert_close(grid.fine_matrices(rows), expected)


@pytest.mark.parametrize("order", [4, 5, 6, 7])
def test_fine_orders_cost_no_more_than_coarse_ones(order: int) -> None:
    grid = LocalGrid(Sampling(order, 1, 2.0, 1.0, -0.4, torch.arange(0)))
    centres = random_rotations(50, torch.Generator().manual_seed(order))
    for centre, window in zip(centres, grid.windows(centres), strict=True):
        assert 140 <= window.rows.shape[0] <= 200
        angles = rotation_angle_deg(centre[None], grid.matrices(window.rows))
        assert angles.min() < 0.8 * grid.sampling.psi_step_deg
        assert angles.max() < 3 * math.sqrt(2) * grid.sigma_deg


@dataclass(frozen=True)
class Case:
    images: ImageSet
    poses: Poses
    model: EstepModel


def _case(count: int = 8, fraction: float = 1.0, snr: float = 0.05) -> Case:
    data = simulated_set(count, box_px=BOX, pixel_size_angstrom=20.0, snr=snr, seed=3, shares=(1.0, 0.0, 0.0))
    images = data.image_set(micrographs=2)
    sigma2 = torch.full((1, BOX // 2 + 1), 0.5 / BOX**2, dtype=torch.float64)
    generator = torch.Generator().manual_seed(0)
    euler = torch.from_numpy(data.views.angles_degrees) + torch.randn(count, 3, generator=generator).double() * 4
    origin = torch.randn(count, 2, generator=generator).double() * 1.5
    model = EstepModel(
        projectors=(Projector(data.volume(0), RADIUS),),
        sampling=make_sampling(ORDER, 1, 2.0, 2.0, perturbation=0.2),
        preparation=Preparation(half_plane(BOX, RADIUS), soft_circle(BOX, 9.0, 3.0), sigma2, average_norm=0.9),
        coarse_shell=4,
        log_prior=torch.zeros(1, 1, dtype=torch.float64),
        offset_sigma_px=1.7,
        scale=torch.tensor([0.8, 1.2], dtype=torch.float64),
        adaptive_fraction=fraction,
    )
    return Case(images, Poses.start(count, origin, euler), model)


@dataclass
class Written:
    evidence: list[float]
    matrices: list[torch.Tensor]
    origins: list[torch.Tensor]
    noise: torch.Tensor
    grid: torch.Tensor
    offset_power: float = 0.0


def _written_out(case: Case) -> Written:
    """The fine grid of the whole sphere in float64, restricted to each particle's window of coarse parents."""
    model, plane, grid = case.model, case.model.plane, LocalGrid(case.model.sampling)
    prepared = prepare(case.images, case.poses, torch.arange(len(case.images)), model.preparation)
    shifts = model.sampling.translations(1)
    ramps = plane.phase_ramps(shifts).to(torch.complex128)
    sums = SliceAccumulator(RADIUS, 2, torch.float64)
    found = Written([], [], [], torch.zeros(BOX // 2 + 1, dtype=torch.float64), torch.empty(0))
    for i, centre in enumerate(euler_to_matrix(case.poses.euler_deg)):
        prior = _written_out_window(grid, centre)
        rows = torch.tensor(sorted(prior))
        matrices = grid.fine_matrices(rows)
        slices = model.projectors[0].slices(matrices, plane).to(torch.complex128)
        log_prior = torch.tensor([math.log(prior[row]) for row in rows.tolist()]).double().repeat_interleave(8)
        scale, ctf = float(model.scale[case.images.scale_group[i]]), prepared.ctf[i].double()
        inverse, moved = prepared.inverse_sigma2[i].double(), prepared.masked[i].to(torch.complex128) * ramps
        residual = (moved[:, None] - slices * ctf * scale).abs().square()
        total = shifts + prepared.applied_origin[i]
        score = log_prior[None] - (total**2).sum(dim=1)[:, None] / (2 * model.offset_sigma_px**2)
        score = score - 0.5 * (residual @ inverse)
        weight = torch.softmax(score.flatten(), dim=0).reshape(score.shape)
        found.evidence.append(float(torch.logsumexp(score.flatten(), 0) - prepared.log_normaliser[i]))
        shift, row = divmod(int(weight.argmax()), score.shape[1])
        found.matrices.append(matrices[row])
        found.origins.append(total[shift])
        per_shell = torch.zeros(BOX // 2 + 1, dtype=torch.float64)
        per_shell.index_add_(0, plane.shell, torch.einsum("tq,tqn->n", weight, residual))
        beyond = prepared.shell_power[i].double().clone()
        beyond.index_add_(0, plane.shell, -prepared.masked[i].to(torch.complex128).abs().square())
        found.noise += per_shell + beyond
        found.offset_power += float((weight.sum(dim=1) * (total**2).sum(dim=1)).sum())
        plain = weight.T.to(torch.complex128) @ (prepared.plain[i].to(torch.complex128) * ramps)
        power = weight.sum(dim=0)[:, None] * ((ctf * scale) ** 2 * inverse)
        sums.insert(plain * (ctf * scale * inverse), power, matrices, plane)
    found.grid = hermitian(sums.data.reshape(3, *sums.shape))
    return found


def test_everything_equals_the_whole_grid_restricted_to_the_window() -> None:
    case = _case()
    result, expected = local_expectation(case.images, case.poses, case.model, C1), _written_out(case)
    torch.testing.assert_close(
        result.poses.log_likelihood, torch.tensor(expected.evidence).double(), rtol=1e-5, atol=2e-3
    )
    found = euler_to_matrix(result.poses.euler_deg)
    assert rotation_angle_deg(found, torch.stack(expected.matrices)).max() < 1e-3
    torch.testing.assert_close(result.poses.origin_px, torch.stack(expected.origins))
    torch.testing.assert_close(result.noise[0], expected.noise, rtol=1e-4, atol=1e-9)
    assert result.offset_power == pytest.approx(expected.offset_power, rel=1e-4)
    assert float(result.direction_weight.sum()) == pytest.approx(len(case.images), rel=1e-5)
    difference = (result.grids[0] - expected.grid).flatten(1).norm(dim=1) / expected.grid.flatten(1).norm(dim=1)
    assert float(difference.max()) < 1e-4


@pytest.mark.parametrize("order", [4, 6, 7])
def test_a_search_at_any_order_needs_no_table(order: int) -> None:
    """Slices of all orientations of order 4 would take 0.1 GB here, those of order 7 take 53 GB."""
    case = _case(5, 0.999)
    sampling = Sampling(order, 1, 2.0, 1.0, 0.1, torch.arange(0))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = local_expectation(case.images, case.poses, replace(case.model, sampling=sampling), C1)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300_000, "kB"
    moved = rotation_angle_deg(euler_to_matrix(case.poses.euler_deg), euler_to_matrix(found.poses.euler_deg))
    reach = 3 * math.sqrt(2) * LocalGrid(sampling).sigma_deg
    assert float(moved.min()) > 0.0 and float(moved.max()) < reach + sampling.psi_step_deg
    assert bool(torch.isfinite(found.grids[0]).all()) and bool((found.poses.norm > 0).all())


def test_pruning_loses_little_of_the_evidence() -> None:
    whole, pruned = _case(), _case(fraction=0.999)
    first = local_expectation(whole.images, whole.poses, whole.model, C1)
    second = local_expectation(pruned.images, pruned.poses, pruned.model, C1)
    torch.testing.assert_close(second.poses.log_likelihood, first.poses.log_likelihood, rtol=0.0, atol=0.05)
    torch.testing.assert_close(second.poses.euler_deg, first.poses.euler_deg)
    assert second.poses.significant.sum() < 0.7 * first.poses.significant.sum()


def _coarse_points(case: Case, monkeypatch: pytest.MonkeyPatch) -> tuple[int, list[local_search_pass.Kept]]:
    """How many points of slices a coarse search for each particle by itself makes, and what it keeps."""
    made: list[int] = []
    own, everything = local_search_pass._slices, torch.arange(len(case.images))
    local = local_search_pass.make_local_model(case.model)
    windows = local.grid.windows(euler_to_matrix(case.poses.euler_deg))
    prepared = prepare(case.images, case.poses, everything, case.model.preparation)
    group = local_search_pass.Group(prepared, case.model.scale[case.images.scale_group].float(), windows)

    def counted(*asked: Any) -> torch.Tensor:
        made.append(asked[1].shape[0] * len(asked[2]))
        return own(*asked)

    with monkeypatch.context() as patch:
        patch.setattr(local_search_pass, "_slices", counted)
        kept = local_search_pass.coarse_search_apart(local, group)
    return sum(made), kept


@pytest.mark.parametrize("noise", [1.0, 1000.0])
def test_rows_that_the_inner_shells_rule_out_go_no_further(monkeypatch: pytest.MonkeyPatch, noise: float) -> None:
    """Fewer slices where particles are clear, all of them where they are not; what is kept is the same."""
    case = _case(8, 0.999, snr=1.0)
    preparation = replace(case.model.preparation, sigma2=case.model.preparation.sigma2 * noise)
    sampling = Sampling(3, 1, 2.0, 2.0, 0.1, torch.arange(0))
    model = replace(case.model, coarse_shell=RADIUS, sampling=sampling, preparation=preparation)
    case = replace(case, model=model)
    points, found = _coarse_points(case, monkeypatch)
    monkeypatch.setattr(local_search_pass, "_STAGES", ())
    all_points, expected = _coarse_points(case, monkeypatch)
    for first, second in zip(found, expected, strict=True):
        assert first.rows.tolist() == second.rows.tolist() and first.shifts.tolist() == second.shifts.tolist()
        assert bool((first.pairs == second.pairs).all())
    assert points < 0.85 * all_points if noise == 1.0 else points == all_points


@pytest.mark.parametrize("perturbation", [0.0, 0.45, -0.45])
def test_shifts_are_searched_around_the_particles_own(perturbation: float) -> None:
    """Its fraction of a pixel included: a short search reaches every true shift, wherever the grid lies."""
    case = _case(24, 0.999, snr=3.0)
    data = simulated_set(24, box_px=BOX, pixel_size_angstrom=20.0, snr=3.0, seed=3, shares=(1.0, 0.0, 0.0))
    true = -torch.from_numpy(data.views.shifts_angstrom) / 20.0
    poses = replace(case.poses, euler_deg=torch.from_numpy(data.views.angles_degrees), origin_px=true)
    assert float((true - true.round()).abs().max()) > 0.4, "halfway between whole pixels"
    sampling = Sampling(4, 1, 0.2, 0.2, perturbation, torch.arange(0))

    def error(fractions: bool) -> float:
        preparation = replace(case.model.preparation, fractions=fractions)
        model = replace(case.model, sampling=sampling, preparation=preparation, offset_sigma_px=100.0)
        found = local_expectation(case.images, poses, model, C1).poses.origin_px
        return float((found - true).square().mean().sqrt())

    assert error(fractions=True) < 0.07
    assert error(fractions=False) > 0.14, "from the nearest whole pixel it does not"


def _same(first: Expectation, second: Expectation, exactly: bool) -> None:
    rtol, atol = (0.0, 0.0) if exactly else (1e-4, 1e-6)
    for name in Poses.__dataclass_fields__:
        torch.testing.assert_close(
            getattr(first.poses, name), getattr(second.poses, name), rtol=rtol, atol=atol, msg=name
        )
    for name in ("noise", "noise_count", "signal_product", "reference_power"):
        torch.testing.assert_close(getattr(first, name), getattr(second, name), rtol=rtol, atol=atol, msg=name)
    scale = float(first.grids[0].abs().max())
    torch.testing.assert_close(
        first.grids[0], second.grids[0], rtol=0.0, atol=0.0 if exactly else 1e-5 * scale, msg="grid"
    )


def test_any_number_of_workers_gives_the_same_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_search_groups, "LARGEST_GROUP", 3)
    case = _case(12, 0.999)
    results = [local_expectation(case.images, case.poses, case.model, C1, workers) for workers in (1, 2, 3)]
    _same(results[0], results[1], exactly=True)
    _same(results[0], results[2], exactly=True)


@pytest.mark.parametrize("slice_cost", [0.0, 1e6])
def test_neither_groups_nor_blocks_change_the_result(monkeypatch: pytest.MonkeyPatch, slice_cost: float) -> None:
    """Every particle for itself, all in one cell, a few rows at a time: the same up to rounding."""
    case = _case(10, 0.999)
    near = replace(case.poses, euler_deg=case.poses.euler_deg[:1] + torch.randn(10, 3).double() * 3)
    usual = local_expectation(case.images, near, case.model, C1)
    monkeypatch.setattr(local_search_groups, "_SLICE_COST", slice_cost)
    _same(usual, local_expectation(case.images, near, case.model, C1), exactly=False)
    monkeypatch.setattr(local_search_pass, "_SLICE_BYTES", 8 * 20 * 8 * 150)
    _same(usual, local_expectation(case.images, near, case.model, C1), exactly=False)


def test_a_subset_is_searched_as_if_it_were_alone() -> None:
    case = _case(10, 0.999)
    some = torch.tensor([7, 1, 4])
    part = local_expectation(case.images, case.poses, case.model, C1, index=some)
    whole = local_expectation(case.images, case.poses, case.model, C1)
    torch.testing.assert_close(part.poses.euler_deg, whole.poses.euler_deg[some])
    torch.testing.assert_close(part.poses.norm, whole.poses.norm[some])


@pytest.mark.parametrize("group", ["C4", "D2", "O", "I1"])
def test_equivalent_poses_are_one_search(group: str) -> None:
    """Whichever equivalent of its pose a particle came with, it is searched in the asymmetric unit."""
    symmetry = torch.from_numpy(symmetry_matrices(group).copy())
    case = _case(6, 0.999)
    picks = torch.arange(6) * 7 % symmetry.shape[0]
    turned = euler_to_matrix(case.poses.euler_deg) @ symmetry[picks]
    other = replace(case.poses, euler_deg=matrix_to_euler(turned))
    first = local_expectation(case.images, case.poses, case.model, symmetry)
    second = local_expectation(case.images, other, case.model, symmetry)
    _same(first, second, exactly=False)
    unit = into_asymmetric_unit(turned, symmetry)
    torch.testing.assert_close(into_asymmetric_unit(euler_to_matrix(case.poses.euler_deg), symmetry), unit)


@pytest.mark.parametrize("search", ["local", "global"])
def test_fewer_shells_may_be_compared_than_are_inserted(search: str) -> None:
    """As strict_highres_exp asks: what is beyond changes no pose, and is inserted all the same."""
    case = _case(6, 0.999)
    directions = case.model.sampling.pixels.shape[0]
    model = replace(case.model, log_prior=torch.zeros(1, directions).double(), reduced_precision=False)
    short = replace(model, preparation=replace(model.preparation, plane=half_plane(BOX, 4)))

    def find(asked: EstepModel) -> Expectation:
        if search == "global":
            return expectation(case.images, case.poses, asked)
        return local_expectation(case.images, case.poses, asked, C1)

    limited, alone = find(replace(model, score_shell=4)), find(short)
    torch.testing.assert_close(limited.poses.euler_deg, alone.poses.euler_deg)
    torch.testing.assert_close(limited.poses.origin_px, alone.poses.origin_px)
    torch.testing.assert_close(limited.poses.max_probability, alone.poses.max_probability, rtol=1e-3, atol=1e-4)
    assert float(limited.grids[0].abs().sum()) > 1.5 * float(alone.grids[0].abs().sum())


def test_neighbours_are_grouped_and_every_particle_once() -> None:
    generator = torch.Generator().manual_seed(2)
    many = torch.randint(0, 48 * 12, (5000,), generator=generator)
    grouping = make_grouping(many, 12, 1)
    assert sorted(grouping.order.tolist()) == list(range(5000))
    members = [grouping.members(group) for chunk in grouping.chunks for group in chunk]
    assert sum(len(part) for part in members) == 5000 and max(len(part) for part in members) == 64
    assert sum(len(part) for part in members) / len(members) > 20
    few = make_grouping(torch.randint(0, 3072 * 96, (50,), generator=generator), 96, 4)
    assert [len(few.members(group)) for chunk in few.chunks for group in chunk] == [1] * 50


def test_a_window_knows_its_nearest_orientation() -> None:
    assert Window(torch.tensor([3, 8, 9]), torch.tensor([-2.0, -0.5, -3.0])).nearest == 8
