"""A table of the size of EMPIAR-10028's, with as many different values as poses and coordinates have."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np

from tests.em.formats.deposit_table import LABELS, ROWS

ROOT = Path(__file__).resolve().parents[3]
# VmHWM rather than getrusage: the latter remembers the process this one was started from.
PROGRAM = """
import json, sys, time
from cryorepro.em.formats.particles import read_particles
began = time.process_time()
table = read_particles(sys.argv[1])
taken = time.process_time() - began
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1]
print(json.dumps([len(table), float(table.numbers("rlnAngleRot").sum()), taken, int(peak) / 1e3]))
"""


def test_a_full_table_is_read_in_a_second_and_300_megabytes(tmp_path: Path) -> None:
    random = np.random.default_rng(3)
    poses = np.round(random.uniform(-180, 180, (ROWS, 8)), 6)
    lines = ["", "data_images", "", "loop_", *(f"_{label} #{i}" for i, label in enumerate(LABELS, start=1))]
    for i, row in enumerate(poses):
        head = (
            f"300.000000 20132.21 20241.30 {i % 90:.6f} 2.0 14.0 0.1 104478.0 0.1 {i % 99 + 1:06d}@P/{i // 99:04d}.mrcs"
        )
        lines.append(f"{head} {row[0]} {row[1]} {row[2]} m/{i // 99}.mrc {i // 99 + 1} " + " ".join(map(str, row[3:])))
    path = tmp_path / "table.star"
    path.write_text("\n".join(lines) + "\n")
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(path)], capture_output=True, text=True, cwd=ROOT, timeout=120
    )
    assert done.returncode == 0, done.stderr
    rows, total, seconds, megabytes = json.loads(done.stdout)
    assert rows == ROWS and abs(total - poses[:, LABELS.index("rlnAngleRot") - 12].sum()) < 1e-3
    print(f"{seconds:.2f} s of CPU, {megabytes:.0f} MB")
    assert seconds < 1.0 and megabytes < 300
