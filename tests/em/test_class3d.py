"""Classification end to end on small simulated sets: classes found, bits repeated, growth of the image size."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from cryorepro.em.class3d import Class3DJob, classify, coarse_shell, image_radius, iterate, start_state
from cryorepro.em.class3d_state import Class3DSettings, Class3DState
from cryorepro.em.fsc import crossing, fsc_curve
from cryorepro.em.imageset import Poses
from cryorepro.em.sampling import make_sampling
from tests.em.simulated import SimulatedSet, simulated_set

SETTINGS = Class3DSettings(
    particle_diameter_angstrom=330.0, number_of_classes=2, iterations=11, tau2_fudge=4.0, ini_high_angstrom=70.0,
    healpix_order=1, offset_range_px=3.0, offset_step_px=2.0, firstiter_cc=True, ctf_corrected_ref=True,
    flatten_solvent=True, zero_mask=True, norm=True, scale=True,
)  # fmt: skip


@pytest.fixture(scope="module")
def data() -> SimulatedSet:
    return simulated_set(
        300, box_px=32, pixel_size_angstrom=14.0, snr=0.6, seed=2, shift_px=0.7, shares=(0.6, 0.4, 0.0)
    )


@pytest.fixture(scope="module")
def few() -> SimulatedSet:
    return simulated_set(60, box_px=32, pixel_size_angstrom=14.0, snr=0.6, seed=2, shift_px=0.7)


def _job(data: SimulatedSet, settings: Class3DSettings = SETTINGS, seed: int = 3, workers: int = 2) -> Class3DJob:
    return Class3DJob(data.image_set(), settings, seed, workers)


def _run(job: Class3DJob, reference: torch.Tensor) -> list[Class3DState]:
    start = start_state(job, reference[None], Poses.start(len(job.images)))
    return list(classify(job, start))


@pytest.fixture(scope="module")
def run(data: SimulatedSet) -> list[Class3DState]:
    return _run(_job(data), data.volume(0))


def test_particles_without_the_small_subunit_are_found(data: SimulatedSet, run: list[Class3DState]) -> None:
    alone = data.views.conformers == 1
    classes = run[-1].poses.class_index.numpy()
    agreement = max(np.mean((classes == k) == alone) for k in (0, 1))
    assert agreement > 0.9
    holder = int(np.argmax([np.mean(alone[classes == k]) for k in (0, 1)]))
    assert run[-1].class_fractions[holder].item() == pytest.approx(alone.mean(), abs=0.08)


def test_the_whole_particles_map_is_right_and_resolution_grows(data: SimulatedSet, run: list[Class3DState]) -> None:
    best = max(_resolved(volume, data) for volume in run[-1].volumes)
    assert best >= 32 * 14.0 / 50.0
    assert run[-1].resolution_shell > run[0].resolution_shell
    likelihoods = [state.log_likelihood for state in run[1:]]
    assert likelihoods[-1] > likelihoods[0]


def _resolved(volume: torch.Tensor, data: SimulatedSet) -> int:
    """Last shell at which the map's FSC with the whole particle is above one half."""
    return crossing(fsc_curve(volume.numpy(), data.volume(0).numpy()), 0.5).shell


def test_the_first_iteration_uses_one_class_and_the_second_deals_particles_out(run: list[Class3DState]) -> None:
    assert torch.equal(run[0].volumes[0], run[0].volumes[1])
    assert set(run[0].poses.class_index.tolist()) == {0}
    dealt = torch.bincount(run[1].poses.class_index, minlength=2)
    assert dealt.tolist() == [150, 150]
    assert not torch.equal(run[1].volumes[0], run[1].volumes[1])


def test_same_seed_same_bits_on_one_and_two_workers_and_from_any_iteration(few: SimulatedSet) -> None:
    settings = replace(SETTINGS, iterations=3)
    first = _run(_job(few, settings, workers=1), few.volume(0))
    second = _run(_job(few, settings, workers=2), few.volume(0))
    assert torch.equal(first[-1].volumes, second[-1].volumes)
    assert torch.equal(first[-1].poses.euler_deg, second[-1].poses.euler_deg)
    resumed = iterate(_job(few, settings), second[1])
    assert torch.equal(resumed.volumes, second[2].volumes)


def test_another_seed_gives_another_perturbation_and_other_seeds_of_classes(few: SimulatedSet) -> None:
    settings = replace(SETTINGS, iterations=2)
    first, second = (_run(_job(few, settings, seed=s), few.volume(0)) for s in (1, 2))
    assert first[0].perturbation != second[0].perturbation
    assert not torch.equal(first[1].poses.class_index, second[1].poses.class_index)


def test_a_reference_in_another_grey_scale_gives_nearly_the_same_maps(few: SimulatedSet) -> None:
    settings = replace(SETTINGS, iterations=2)
    same = _run(_job(few, settings), few.volume(0))
    loud = _run(_job(few, settings), 40.0 * few.volume(0))
    curve = fsc_curve(same[1].volumes[0].numpy(), loud[1].volumes[0].numpy())
    assert curve[1:5].min() > 0.9
    assert float(loud[1].volumes.std() / same[1].volumes.std()) == pytest.approx(1.0, abs=0.3)


def test_symmetry_is_imposed_on_every_map(few: SimulatedSet) -> None:
    settings = replace(SETTINGS, iterations=1, symmetry="C2", number_of_classes=1)
    volume = _run(_job(few, settings), few.volume(0))[-1].volumes[0].numpy()
    turned = np.roll(volume[:, ::-1, ::-1], (1, 1), (1, 2))
    inner = (slice(4, 28),) * 3
    assert np.corrcoef(volume[inner].ravel(), turned[inner].ravel())[0, 1] > 0.999


def test_options_off_still_classify(few: SimulatedSet) -> None:
    plain = Class3DSettings(
        particle_diameter_angstrom=330.0, iterations=2, healpix_order=0, oversampling=0, ini_high_angstrom=70.0,
        strict_highres_angstrom=60.0, fix_offset_sigma=True,
    )  # fmt: skip
    states = _run(_job(few, plain), few.volume(0))
    # what is compared is limited; what is inserted, and the map, follow the resolution
    assert states[-1].image_radius > round(32 * 14.0 / 60.0)
    assert states[-1].offset_sigma_angstrom == plain.offset_sigma_angstrom
    assert torch.all(states[-1].poses.norm == 1.0) and torch.all(states[-1].scale == 1.0)
    assert torch.isfinite(states[-1].volumes).all()


def test_sizes_follow_relions_rules(few: SimulatedSet) -> None:
    """The EMPIAR-10028 job: box 360 at 1.34 A, diameter 360, order 2 gives a coarse image of 26 pixels."""
    large = few.image_set()
    settings = Class3DSettings(particle_diameter_angstrom=360.0)
    job = Class3DJob(replace(large, box_px=360, pixel_size_angstrom=1.34), settings, 1)
    assert 2 * coarse_shell(job, make_sampling(2, 1, 5.0, 2.0), 180) == 26
    start = start_state(_job(few), few.volume(0)[None], Poses.start(60))
    assert start.resolution_shell == round(32 * 14.0 / 70.0)
    assert image_radius(_job(few), start) == start.resolution_shell + 10
