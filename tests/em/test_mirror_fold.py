"""Folded products against the products with every slice made and compared by itself."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from cryorepro.em.coarse_grid import make_coarse_grid
from cryorepro.em.coarse_pass import coarse_pass
from cryorepro.em.fourier import half_plane
from cryorepro.em.mirror_fold import base_rows, hadamard_, make_fold, opposite_directions
from cryorepro.em.preparation import prepare
from cryorepro.em.projection import Projector
from cryorepro.em.sampling import OrientationGrid, make_sampling
from cryorepro.em.symmetry import symmetry_matrices
from cryorepro.em.team import Team
from tests.em.simulated import simulated_set
from tests.em.test_expectation import Case, _case


def _grid(order: int = 1, symmetry: str = "C1") -> OrientationGrid:
    return make_sampling(order, 0, 1.0, 1.0, 0.3, torch.from_numpy(symmetry_matrices(symmetry).copy())).orientations()


@pytest.mark.parametrize(("order", "symmetry", "variants"), [(0, "C1", 4), (2, "C1", 4), (2, "C2", 2), (2, "O", 2)])
def test_variants_name_every_orientation_of_the_grid_once(order: int, symmetry: str, variants: int) -> None:
    grid = _grid(order, symmetry)
    base = base_rows(grid)
    directions, n_psi = grid.shape
    named = (base.row + base.turned * directions * n_psi // 2).flatten()
    assert base.row.shape[0] == variants
    assert torch.equal(named.sort().values, torch.arange(directions * n_psi))


@pytest.mark.parametrize("symmetry", ["C1", "D2"])
def test_folded_products_are_those_with_slices_of_the_named_orientations(symmetry: str) -> None:
    grid, plane = _grid(1, symmetry), half_plane(24, 7)
    projector = Projector(simulated_set(1, box_px=24, pixel_size_angstrom=20.0).volume(0).double(), 8)
    base = base_rows(grid)
    fold = make_fold(plane, base.mirrored)
    assert fold.order.sort().values.tolist() == list(range(len(plane)))
    matrices = grid.matrices()
    sliced = projector.slices(matrices[base.direction, base.psi], plane.select(fold.order))
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(len(plane), dtype=torch.complex128, generator=generator)
    weight = torch.rand(len(plane), dtype=torch.float64, generator=generator)
    left, right = fold.parts(image[fold.order], of_table=False), fold.parts(sliced, of_table=True)
    got = hadamard_(torch.stack([r @ x for x, r in zip(left, right, strict=True)]))
    left = fold.power_parts(weight[fold.order], of_table=False)
    right = fold.power_parts(sliced.abs().square(), of_table=True)
    power = hadamard_(torch.stack([r @ x for x, r in zip(left, right, strict=True)]))
    half = grid.shape[1] // 2
    for variant, (row, turned) in enumerate(zip(base.row, base.turned, strict=True)):
        named = projector.slices(matrices[row // half, row % half + half * turned], plane)
        torch.testing.assert_close(got[variant], (named.conj() @ image).real)
        torch.testing.assert_close(power[variant % power.shape[0]], named.abs().square() @ weight)


def test_a_grid_with_a_direction_missing_is_not_mirrored() -> None:
    directions = _grid(1).directions_deg
    opposite = opposite_directions(directions)
    assert opposite is not None
    assert torch.equal(opposite[opposite], torch.arange(directions.shape[0]))
    assert opposite_directions(directions[1:]) is None


def _rows(case: Case) -> list[set[tuple[int, bool]]]:
    prepared = prepare(case.images, case.poses, torch.arange(len(case.images)), case.model.preparation)
    scale = torch.ones(len(case.images))
    found = coarse_pass(case.model, make_coarse_grid(case.model, Team(1, {})), prepared, scale)
    return [set(zip(one.rows.tolist(), one.turned.tolist(), strict=True)) for one in found]


def test_rounding_the_inputs_of_the_coarse_pass_changes_few_significant_orientations() -> None:
    case = _case(count=30, fraction=0.999, snr=0.3)
    exact = replace(case, model=replace(case.model, reduced_precision=False))
    shared = [len(a & b) / len(a | b) for a, b in zip(_rows(case), _rows(exact), strict=True)]
    assert sum(shared) / len(shared) > 0.97
    assert torch.get_float32_matmul_precision() == "highest"
