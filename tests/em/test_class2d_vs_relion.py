"""The real RELION and this engine give the same particles the same class, in-plane angle and shift."""

from __future__ import annotations

from pathlib import Path

from benchmarks.engine.class2d_check import run_check


def test_one_iteration_agrees_with_relion_particle_by_particle(tmp_path: Path) -> None:
    found = run_check(tmp_path, particles=200, views=4, psi_step_degrees=12.0)
    assert found.same_class >= 0.98
    assert found.same_all >= 0.98
    assert abs(found.mean_pmax[0] - found.mean_pmax[1]) < 0.005
    assert abs(found.mean_significant[0] / found.mean_significant[1] - 1.0) < 0.02
    assert found.worst_noise_ratio < 0.01
    assert found.worst_average_correlation > 0.995


def test_a_strict_limit_holds_for_what_is_compared_and_not_for_the_averages(tmp_path: Path) -> None:
    found = run_check(tmp_path, particles=200, views=3, strict_angstrom=60.0)
    assert found.same_all >= 0.98
    assert abs(found.mean_significant[0] / found.mean_significant[1] - 1.0) < 0.02
    assert found.worst_average_correlation > 0.995
