"""Atomic models as maps: read PDB or mmCIF, build the assembly, compute the electrostatic density on a grid.

The density is the sum of the atoms' electron scattering factors (Peng et al., Acta Cryst. A52 (1996) 257, as
tabulated in gemmi), blurred by one B-factor for all atoms: the B-factors of a deposit describe another
experiment than the one that is compared.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path

import gemmi
import numpy as np
import numpy.typing as npt
from scipy import fft

from cryorepro.em.errors import InputError
from cryorepro.em.lowpass import Volume, fourier_radius, lowpass_map

Positions = npt.NDArray[np.float64]

MAX_MODEL_BYTES = 512 * 1024**2
MAX_ATOMS = 5_000_000
_FINEST_STEP_ANGSTROM = 1.5
_MAX_FINE_BOX = 1024


@dataclass(frozen=True)
class AtomicModel:
    """Atoms without hydrogens, and the C-alpha (or C1') traces by chain.

    ``positions_angstrom`` is float64 ``[n, 3]``, (x, y, z); ``elements`` holds ``n`` symbols; ``traces`` maps
    a chain to (residue number, row of ``positions_angstrom``) pairs.
    """

    name: str
    positions_angstrom: Positions
    elements: tuple[str, ...]
    traces: dict[str, dict[int, int]]

    def moved(self, rotation: Positions, shift_angstrom: Positions) -> AtomicModel:
        """Return the model with ``x -> rotation @ x + shift``."""
        return replace(self, positions_angstrom=self.positions_angstrom @ rotation.T + shift_angstrom)

    def centred(self) -> AtomicModel:
        """Return the model with the mean of its atoms at the origin."""
        return self.moved(np.eye(3), -self.positions_angstrom.mean(axis=0))


def read_model(path: Path, assembly: bool = True) -> AtomicModel:
    """Read the first model of a PDB or mmCIF file (``.gz`` too).

    Args:
        path: the file.
        assembly: build the first biological assembly when the file describes one.

    Raises:
        InputError: the file is missing, too large, unreadable, or has no or too many atoms.
    """
    if not path.is_file():
        raise InputError(f"{path}: the atomic model does not exist")
    if path.stat().st_size > MAX_MODEL_BYTES:
        raise InputError(f"{path}: larger than the {MAX_MODEL_BYTES} bytes an atomic model may have")
    try:
        structure = gemmi.read_structure(str(path))
    except (RuntimeError, ValueError, IndexError, OSError) as error:
        raise InputError(f"{path}: not a readable PDB or mmCIF model ({str(error).splitlines()[0]})") from error
    structure.remove_hydrogens()
    structure.remove_alternative_conformations()
    structure.remove_waters()
    if assembly and structure.assemblies and len(structure):
        structure.transform_to_assembly(structure.assemblies[0].name, gemmi.HowToNameCopiedChain.AddNumber)
    if len(structure) == 0 or structure[0].count_atom_sites() == 0:
        raise InputError(f"{path}: the model holds no atoms")
    if structure[0].count_atom_sites() > MAX_ATOMS:
        raise InputError(f"{path}: more than {MAX_ATOMS} atoms")
    return _collect(structure.name or path.stem, structure[0], path)


def _collect(name: str, model: gemmi.Model, path: Path) -> AtomicModel:
    positions: list[list[float]] = []
    elements: list[str] = []
    traces: dict[str, dict[int, int]] = {}
    for site in model.all():
        if site.atom.name in ("CA", "C1'") and site.atom.element.name == "C":
            traces.setdefault(site.chain.name, {})[int(site.residue.seqid.num or 0)] = len(elements)
        positions.append(site.atom.pos.tolist())
        elements.append(site.atom.element.name)
    coordinates = np.asarray(positions, dtype=np.float64)
    if not np.isfinite(coordinates).all():
        raise InputError(f"{path}: an atom has coordinates that are not numbers")
    return AtomicModel(name, coordinates, tuple(elements), traces)


def model_density(
    model: AtomicModel,
    box_px: int,
    pixel_size_angstrom: float,
    bfactor_angstrom2: float = 100.0,
    lowpass_angstrom: float | None = None,
) -> Volume:
    """Electrostatic density of a model on a cubic grid, ``float64 [z, y, x]``.

    The model's own origin (0, 0, 0) falls on voxel ``box_px // 2``.  It is sampled finely and cropped in
    Fourier space, so that nothing beyond Nyquist folds back.

    Raises:
        InputError: the model does not fit into the box, or the box cannot be sampled in reasonable memory.
    """
    half_box = (box_px // 2 - 1) * pixel_size_angstrom
    reach = float(np.abs(model.positions_angstrom).max())
    if reach >= half_box:
        raise InputError(f"model {model.name} reaches {reach:.0f} A from the centre; the box only {half_box:.0f} A")
    factor = max(1, math.ceil(pixel_size_angstrom / _FINEST_STEP_ANGSTROM))
    fine_box = box_px * factor
    if fine_box > _MAX_FINE_BOX:
        raise InputError(f"a model density of {box_px} px at {pixel_size_angstrom} A needs a grid of {fine_box}")
    fine = _sample(model, fine_box, box_px * pixel_size_angstrom, (box_px // 2) * factor, bfactor_angstrom2)
    density = _fourier_crop(fine, box_px)
    return density if lowpass_angstrom is None else lowpass_map(density, lowpass_angstrom, pixel_size_angstrom)


def _sample(model: AtomicModel, box: int, edge_angstrom: float, origin: int, bfactor: float) -> npt.NDArray[np.float32]:
    calculator = gemmi.DensityCalculatorE()
    calculator.d_min = 2.0 * edge_angstrom / box
    calculator.grid.set_unit_cell(gemmi.UnitCell(edge_angstrom, edge_angstrom, edge_angstrom, 90, 90, 90))
    calculator.grid.spacegroup = gemmi.SpaceGroup("P1")
    calculator.grid.set_size(box, box, box)
    calculator.add_model_density_to_grid(_gemmi_model(model, origin * edge_angstrom / box, bfactor))
    # gemmi's array is indexed [u, v, w] with u fastest; maps here are [z, y, x].
    return np.ascontiguousarray(np.array(calculator.grid, copy=False).transpose(2, 1, 0))


def _gemmi_model(model: AtomicModel, shift: float, bfactor: float) -> gemmi.Model:
    residue = gemmi.Residue()
    residue.name = "UNL"
    for element, position in zip(model.elements, model.positions_angstrom + shift, strict=True):
        atom = gemmi.Atom()
        atom.element = gemmi.Element(element)
        atom.pos = gemmi.Position(*position)
        atom.b_iso = bfactor
        residue.add_atom(atom)
    chain = gemmi.Chain("A")
    chain.add_residue(residue)
    built = gemmi.Model(1)
    built.add_chain(chain)
    return built


def _fourier_crop(fine: npt.NDArray[np.float32], box: int) -> Volume:
    spectrum = fft.rfftn(fine.astype(np.float64), overwrite_x=True)
    keep = np.r_[0 : box // 2, fine.shape[0] - box // 2 : fine.shape[0]]
    cropped = spectrum[np.ix_(keep, keep, np.arange(box // 2 + 1))] / (fine.shape[0] / box) ** 3
    cropped[fourier_radius(box) >= box // 2] = 0.0
    return np.asarray(fft.irfftn(cropped, s=(box, box, box)))
