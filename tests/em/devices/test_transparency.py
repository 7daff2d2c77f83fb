"""The engine on a device that only pretends to be a GPU: nothing is made elsewhere, and results are the CPU's."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from cryorepro.em.class3d import Class3DJob, iterate, start_state
from cryorepro.em.class3d_state import Class3DSettings, Class3DState
from cryorepro.em.devices.choice import CPU
from cryorepro.em.devices.plan import Plan
from cryorepro.em.estep_model import EstepModel
from cryorepro.em.imageset import Poses
from cryorepro.em.projection import Projector
from tests.em.devices.pretend import GPU, Marked, pretend_gpu
from tests.em.simulated import SimulatedSet, simulated_set

SETTINGS = Class3DSettings(
    particle_diameter_angstrom=330.0, number_of_classes=2, iterations=3, tau2_fudge=4.0, ini_high_angstrom=70.0,
    healpix_order=0, offset_range_px=3.0, offset_step_px=2.0, firstiter_cc=True, ctf_corrected_ref=True,
    flatten_solvent=True, zero_mask=True, norm=True, scale=True, symmetry="C2", reduced_precision=False,
)  # fmt: skip


@pytest.fixture(scope="module")
def data() -> SimulatedSet:
    return simulated_set(40, box_px=32, pixel_size_angstrom=14.0, snr=0.6, seed=2, shift_px=0.7)


@pytest.fixture(autouse=True)
def _memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a GPU has free is not to be asked of one that is not there; its plan is the CPU's, for the same bits."""
    monkeypatch.setattr("cryorepro.em.projection._POINTS_PER_BLOCK_ON_GPU", 1 << 16)
    _plan(monkeypatch, apart=False)


def _plan(monkeypatch: pytest.MonkeyPatch, apart: bool) -> None:
    def planned(model: EstepModel, *rest: object) -> Plan:
        return Plan(block_particles=15, exact=bool(rest[3]), grids_apart=apart and model.device == GPU)

    monkeypatch.setattr("cryorepro.em.class3d.planned", planned)

    def placed(projector: Projector, _classes: int) -> Projector:
        return projector.on(CPU) if apart else projector

    monkeypatch.setattr("cryorepro.em.class3d.placed", placed)


def _three(data: SimulatedSet, device: torch.device, exact: bool) -> Class3DState:
    job = Class3DJob(data.image_set(), SETTINGS, 3, device=device, exact=exact)
    state = start_state(job, data.volume(0)[None], Poses.start(len(job.images)))
    for _ in range(3):
        state = iterate(job, state)
    return state


@pytest.mark.parametrize("apart", [False, True], ids=["together", "grids apart"])
@pytest.mark.parametrize("exact", [False, True], ids=["default", "exact"])
def test_a_classification_runs_on_the_device_and_has_the_bits_of_the_cpu(
    data: SimulatedSet, exact: bool, apart: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    _plan(monkeypatch, apart)
    here = _three(data, CPU, exact)
    with pretend_gpu() as device:
        there = _three(data, GPU, exact)
    assert device.operations > 3000
    for name in Class3DState.__dataclass_fields__:
        ours, theirs = getattr(here, name), getattr(there, name)
        if isinstance(ours, Tensor):
            assert not isinstance(theirs, Marked), f"{name} stayed on the device"
            assert torch.equal(ours, theirs), name
        elif isinstance(ours, Poses):
            fields = Poses.__dataclass_fields__
            assert all(torch.equal(getattr(ours, f), getattr(theirs, f)) for f in fields)
        else:
            assert ours == theirs, name


@pytest.mark.parametrize("how", ["add", "index", "in place", "cat", "numpy"])
def test_the_pretended_device_finds_what_was_made_elsewhere(how: str) -> None:
    with pretend_gpu():
        there, here = torch.zeros(4, device=GPU), torch.arange(4)
        assert there.device == GPU and here.device == CPU
        with pytest.raises((RuntimeError, TypeError), match=r"same device|numpy"):
            if how == "add":
                there + here
            elif how == "index":
                there[here]
            elif how == "in place":
                here += there.long()
            elif how == "cat":
                torch.cat([there, here])
            else:
                there.numpy()
        assert (there + here.to(GPU)).cpu().tolist() == [0.0, 1.0, 2.0, 3.0]


@pytest.mark.parametrize("shape", [(3, 4), (1, 1)])
def test_shapes_of_slices_hold_on_the_meta_device(shape: tuple[int, int]) -> None:
    from cryorepro.em.fourier import half_plane
    from cryorepro.em.projection import Projector
    from cryorepro.em.reconstruction import SliceAccumulator

    meta = torch.device("meta")
    plane = half_plane(24, 9).to(meta)
    projector = Projector(torch.empty(24, 24, 24, device=meta), 9)
    rows = shape[0] * shape[1]
    slices = projector.slices(torch.empty(rows, 3, 3, device=meta), plane)
    assert slices.shape == (rows, len(plane)) and slices.device == meta
    sums = SliceAccumulator(9, device=meta)
    sums.insert(slices, slices.real, torch.empty(rows, 3, 3, device=meta), plane)
    assert sums.data.shape == (3, projector.cells)
