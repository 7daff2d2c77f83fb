"""The real RELION and this engine assign the same classes, orientations and shifts to the same particles.

At order 2 RELION needs over a minute of CPU for this; ``python -m benchmarks.engine.estep_check`` does that.
"""

from __future__ import annotations

from pathlib import Path

from benchmarks.engine.estep_check import run_check, show


def test_one_iteration_agrees_with_relion_particle_by_particle(tmp_path: Path) -> None:
    found = run_check(tmp_path, particles=200, healpix_order=1, threads=2)
    show(found)
    assert found.same_class_and_pose >= 0.99
    assert found.same_shift >= 0.99
    assert abs(found.mean_pmax[0] - found.mean_pmax[1]) < 0.005
    assert abs(found.mean_significant[0] / found.mean_significant[1] - 1.0) < 0.01
    assert found.within_15_degrees_of_truth[1] >= found.within_15_degrees_of_truth[0] - 0.01
    assert 0.98 < found.noise_ratio[0] <= found.noise_ratio[1] < 1.02
