"""Model densities against closed forms and a direct sum; the symmetry axes of a real model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from cryorepro.em.atomic import AtomicModel, model_density, read_model
from cryorepro.em.errors import InputError
from cryorepro.em.fsc import fsc_curve
from cryorepro.em.model_symmetry import chain_operators, orient_to_symmetry, superposition
from cryorepro.em.symmetry import symmetry_matrices
from tests.em.real_data import real_data

# Peng et al. 1996, elastic scattering factor of carbon at s = 0 (Angstrom)
CARBON_FORWARD_ANGSTROM = 2.5088


def _atoms(*positions: tuple[float, float, float]) -> AtomicModel:
    return AtomicModel("few", np.array(positions, dtype=np.float64), ("C",) * len(positions), {})


def test_one_atom_lies_where_it_should_with_the_weight_it_should_have() -> None:
    density = model_density(_atoms((9.0, -6.0, 3.0)), 32, 3.0)
    assert density[16 + 1, 16 - 2, 16 + 3] == density.max()
    assert density.sum() * 27.0 == pytest.approx(CARBON_FORWARD_ANGSTROM, rel=2e-3)


def test_the_density_is_the_sum_of_the_atoms_waves() -> None:
    """Structure factors: F(k) = sum_j f(|k|) exp(-2 pi i k x_j), f from a lone atom at the origin."""
    generator = np.random.default_rng(4)
    model = _atoms(*generator.uniform(-20, 20, (12, 3)))
    box, pixel = 32, 2.5
    form = np.fft.fftn(np.fft.ifftshift(model_density(_atoms((0, 0, 0)), box, pixel))).real
    ours = np.fft.fftn(np.fft.ifftshift(model_density(model, box, pixel)))
    k = np.fft.fftfreq(box, pixel)
    phases = np.zeros((box, box, box), dtype=complex)
    for x, y, z in model.positions_angstrom:
        waves = [np.exp(-2j * np.pi * k * coordinate) for coordinate in (z, y, x)]
        phases += waves[0][:, None, None] * waves[1][None, :, None] * waves[2][None, None, :]
    radius = np.sqrt(k[:, None, None] ** 2 + k[None, :, None] ** 2 + k**2)
    inside = radius < 0.45 / pixel
    np.testing.assert_allclose(ours[inside], (form * phases)[inside], atol=2e-3 * np.abs(form).max())


def test_a_model_larger_than_the_box_is_refused() -> None:
    with pytest.raises(InputError, match="reaches 60 A"):
        model_density(_atoms((60.0, 0.0, 0.0)), 32, 3.0)
    with pytest.raises(InputError, match="needs a grid"):
        model_density(_atoms((0.0, 0.0, 0.0)), 1000, 3.0)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("absent.cif", None),
        ("empty.cif", ""),
        ("words.pdb", "not a model\n"),
        ("broken.cif", "data_x\nloop_\n_a"),
    ],
)
def test_files_without_a_model_are_refused(name: str, content: str | None, tmp_path: Path) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_text(content)
    with pytest.raises(InputError, match=name):
        read_model(path)


def test_an_assembly_is_built_from_its_operators(tmp_path: Path) -> None:
    lines = [
        "REMARK 350 BIOMOLECULE: 1",
        "REMARK 350 APPLY THE FOLLOWING TO CHAINS: A",
        "REMARK 350   BIOMT1   1  1.000000  0.000000  0.000000        0.00000",
        "REMARK 350   BIOMT2   1  0.000000  1.000000  0.000000        0.00000",
        "REMARK 350   BIOMT3   1  0.000000  0.000000  1.000000        0.00000",
        "REMARK 350   BIOMT1   2 -1.000000  0.000000  0.000000        0.00000",
        "REMARK 350   BIOMT2   2  0.000000 -1.000000  0.000000        0.00000",
        "REMARK 350   BIOMT3   2  0.000000  0.000000  1.000000        0.00000",
        "ATOM      1  CA  ALA A   1      10.000   5.000   2.000  1.00 20.00           C",
        "END",
    ]
    (tmp_path / "dimer.pdb").write_text("\n".join(lines) + "\n")
    found = read_model(tmp_path / "dimer.pdb").positions_angstrom
    np.testing.assert_allclose(sorted(found.tolist()), [[-10, -5, 2], [10, 5, 2]], atol=1e-6)
    assert len(read_model(tmp_path / "dimer.pdb", assembly=False).positions_angstrom) == 1


def test_superposition_returns_the_motion_that_was_made() -> None:
    generator = np.random.default_rng(2)
    points = generator.normal(size=(30, 3)) * 10
    turn = Rotation.from_euler("zyz", [10, 70, -40], degrees=True).as_matrix()
    rotation, shift, rmsd = superposition(points, points @ turn.T + [1.0, 2.0, 3.0])
    np.testing.assert_allclose(rotation, turn, atol=1e-12)
    np.testing.assert_allclose(shift, [1.0, 2.0, 3.0], atol=1e-10)
    assert rmsd < 1e-10


@pytest.fixture(scope="module")
def apoferritin() -> AtomicModel:
    return read_model(real_data("models", "4v1w.cif"))


def test_the_real_model_shows_its_octahedral_symmetry(apoferritin: AtomicModel) -> None:
    assert len(chain_operators(apoferritin)) == 24
    turn = Rotation.from_euler("zyz", [15, 40, 70], degrees=True).as_matrix()
    tilted = apoferritin.moved(np.asarray(turn), np.array([30.0, 0.0, 5.0]))
    with pytest.raises(InputError, match="symmetry I"):
        orient_to_symmetry(tilted, "I")
    oriented = orient_to_symmetry(tilted, "O")
    density = model_density(oriented, 48, 4.0)
    for operator in symmetry_matrices("O")[[1, 5, 11, 20]]:
        turned = model_density(oriented.moved(operator, np.zeros(3)), 48, 4.0)
        assert fsc_curve(density, turned)[1:22].min() > 0.99


def test_beta_galactosidase_has_d2_and_not_d3() -> None:
    model = read_model(real_data("models", "5a1a.pdb"))
    oriented = orient_to_symmetry(model, "D2")
    density = model_density(oriented, 48, 5.0)
    for operator in symmetry_matrices("D2"):
        turned = model_density(oriented.moved(operator, np.zeros(3)), 48, 5.0)
        assert fsc_curve(density, turned)[1:20].min() > 0.99
    with pytest.raises(InputError, match="D3"):
        orient_to_symmetry(model, "D3")
