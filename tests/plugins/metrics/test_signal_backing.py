"""The random-pose trap of a round particle, on real images: true poses are backed by signal, random ones are named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from cryorepro_metrics.backing import BackedResolution, HalfSetProvenance
from cryorepro_metrics.half_maps import HalfMapFsc
from cryorepro_metrics.series import ParticleBFactor

from cryorepro.em.errors import InputError
from cryorepro.em.formats.maps import write_map
from cryorepro.em.formats.particles import Particles, read_particles, write_particles
from cryorepro.em.formats.stack_links import find_root
from cryorepro.em.fsc import crossing
from cryorepro.em.particle_images import open_particle_images
from cryorepro.em.rotations import matrix_to_euler, random_rotations
from cryorepro.em.signal_backing import reconstruct_half
from cryorepro.em.symmetry import symmetry_matrices
from cryorepro.model.dataset import PreparedData
from cryorepro.plugins.interfaces import MetricContext

BOX, PIXEL = 64, 3.0
OCTAHEDRAL = torch.as_tensor(symmetry_matrices("O"))


def reconstructed(directory: Path, particles: Particles, **swap: Any) -> MetricContext:
    """A finished refinement: the table with its poses, and the half maps of those poses."""
    table = directory / "run_data.star"
    write_particles(table, particles)
    opened = open_particle_images(table)
    halves = torch.as_tensor(particles.column("rlnRandomSubset"))
    artifacts = {"particles": table}
    for half in (1, 2):
        volume = reconstruct_half(opened.images, opened.start_poses(), halves == half, OCTAHEDRAL)
        artifacts[f"half{half}"] = directory / f"half{half}.mrc"
        write_map(artifacts[f"half{half}"], volume, PIXEL)
    return context(artifacts)


def context(artifacts: dict[str, Path]) -> MetricContext:
    data = PreparedData(files={}, box_px=BOX, pixel_size_angstrom=PIXEL, voltage_kv=300, origin="real particles")
    return MetricContext(artifacts=artifacts, data=data, truth={}, stage_parameters={"symmetry": "O"}, numbers={})


@pytest.fixture(scope="module")
def deposited(tmp_path_factory: pytest.TempPathFactory) -> Particles:
    """The real particles with their deposited poses, images named by absolute path."""
    from tests.em.real_data import real_data

    particles = read_particles(real_data("apoferritin_EMPIAR-10146", "particles_64px_3.0A.star"))
    root, _ = find_root(particles)
    numbers = [name.partition("@") for name in particles.image_names]
    names = np.array([f"{number}@{root / stack}" for number, _, stack in numbers], dtype=object)
    return particles.with_columns(rlnImageName=names)


@pytest.fixture(scope="module")
def true_poses(deposited: Particles, tmp_path_factory: pytest.TempPathFactory) -> MetricContext:
    return reconstructed(tmp_path_factory.mktemp("true"), deposited)


@pytest.fixture(scope="module")
def random_poses(deposited: Particles, tmp_path_factory: pytest.TempPathFactory) -> MetricContext:
    generator = torch.Generator().manual_seed(77)
    angles = matrix_to_euler(random_rotations(len(deposited), generator)).numpy()
    labels = ("rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi")
    thrown = deposited.with_columns(**{label: angles[:, i] for i, label in enumerate(labels)})
    return reconstructed(tmp_path_factory.mktemp("random"), thrown)


def test_true_poses_are_backed_by_signal(true_poses: MetricContext) -> None:
    nominal = HalfMapFsc().measure(true_poses)
    value = BackedResolution().measure(true_poses)
    assert value.details["backed"] is True and "diagnosis" not in value.details
    assert value.shell is not None and nominal.shell is not None
    assert 0.9 * nominal.shell <= value.shell
    assert value.shell >= 17, "11.3 A or better"
    assert value.details["random_pose_shell"] < value.shell / 3


def test_random_poses_look_resolved_and_are_named(random_poses: MetricContext) -> None:
    nominal = HalfMapFsc().measure(random_poses)
    assert nominal.shell is not None and nominal.shell >= 14, "the trap: 13.7 A or better from no structure at all"
    value = BackedResolution().measure(random_poses)
    assert value.shell == 0 and value.details["aspherical_shell"] < nominal.shell / 3
    (sentence,) = value.details["diagnosis"]
    assert sentence.startswith("resolution not backed by signal: the half maps agree to ")
    assert "round particle" in sentence and "random poses" in sentence
    assert value.details["aspherical_shell"] <= crossing(np.array(value.details["aspherical_curve"]), 0.143).shell


def test_half_maps_hold_the_noise_of_their_own_halves(true_poses: MetricContext) -> None:
    value = HalfSetProvenance().measure(true_poses)
    (own1, other1), (other2, own2) = value.details["noise_correlation"]
    assert min(own1, own2) > 0.9 > 0.15 > max(abs(other1), abs(other2))


@pytest.mark.parametrize(
    "case, reason",
    [
        ("swapped", "half sets swapped"),
        ("same half", "both half maps were made from the particles of half 1"),
        ("same map", "the same half twice"),
        ("other run", "stale map"),
        ("one other", "stale map: half map 2 does not hold"),
    ],
)
def test_half_maps_of_other_origin_are_refused_by_name(
    case: str, reason: str, true_poses: MetricContext, random_poses: MetricContext, tmp_path: Path
) -> None:
    half1, half2 = true_poses.artifacts["half1"], true_poses.artifacts["half2"]
    filtered = tmp_path / "filtered.mrc"
    if case == "same half":
        from cryorepro.em.formats.maps import read_map

        write_map(filtered, read_map(half1)[0] + 0.01 * read_map(half2)[0], PIXEL)
    chosen = {
        "swapped": (half2, half1),
        "same half": (half1, filtered),
        "same map": (half1, half1),
        "other run": (random_poses.artifacts["half1"], random_poses.artifacts["half2"]),
        "one other": (half1, random_poses.artifacts["half2"]),
    }[case]
    wrong = context({**true_poses.artifacts, "half1": chosen[0], "half2": chosen[1]})
    with pytest.raises(InputError, match=reason):
        HalfSetProvenance().measure(wrong)


def test_resolution_grows_with_particles_by_the_line_of_the_bfactor(true_poses: MetricContext) -> None:
    value = ParticleBFactor().measure(true_poses)
    points = value.details["points"]
    assert value.unit == "angstrom2"
    assert [point["particles"] for point in points] == sorted(point["particles"] for point in points)
    assert points[0]["angstrom"] > points[-1]["angstrom"]
    # ln N against 1 / d^2 of the points as they are printed
    x = np.log([point["particles"] for point in points])
    slope = np.polyfit(x, [point["angstrom"] ** -2 for point in points], 1)[0]
    assert value.value == pytest.approx(2.0 / slope, rel=1e-2)


def test_a_bundle_derives_the_same_figures_from_what_is_kept(
    true_poses: MetricContext, random_poses: MetricContext
) -> None:
    from cryorepro.bundle.rederive import _RULES

    for name, metric, given in (
        ("backed_resolution", BackedResolution(), random_poses), ("particle_bfactor", ParticleBFactor(), true_poses),
    ):  # fmt: skip
        value = metric.measure(given).model_dump(mode="json")
        assert _RULES[name](value, {}) == pytest.approx(value["value"], rel=4e-4)
        value["details"] |= {"aspherical_curve": value["details"].get("half_map_curve"), "points": []}
        try:
            tampered = _RULES[name](value, {})
        except InputError:
            tampered = np.inf
        assert tampered != pytest.approx(value["value"], rel=4e-4)
