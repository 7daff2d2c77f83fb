"""Particles that cannot be used: one sentence naming file and field, exit code 2, and the run recorded as failed."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

Command = Callable[..., subprocess.CompletedProcess[str]]
STAR, STACK = "particles_64px_3.0A.star", "particles_64px_3.0A.mrcs"
BYTES_PER_IMAGE = 64 * 64 * 2


@pytest.fixture
def copy(real_data: Path, tmp_path: Path) -> Path:
    """A copy of the real apoferritin set that a test may damage; the model lies beside it, as it should."""
    target = tmp_path / "set"
    target.mkdir()
    for name in (STAR, STACK):
        shutil.copyfile(real_data / "apoferritin_EMPIAR-10146" / name, target / name)
    (tmp_path / "models").symlink_to(real_data / "models")
    return target


def truncate(where: Path) -> None:
    data = (where / STACK).read_bytes()
    (where / STACK).write_bytes(data[: -10 * BYTES_PER_IMAGE])


def put_nan(where: Path) -> None:
    with (where / STACK).open("r+b") as stream:
        stream.seek(1024 + 41 * BYTES_PER_IMAGE + 100)
        stream.write(np.array([np.nan], dtype=np.float16).tobytes())


def remove_stack(where: Path) -> None:
    (where / STACK).unlink()


def remove_table(where: Path) -> None:
    (where / STAR).unlink()


def change_pixel_size(where: Path) -> None:
    text = (where / STAR).read_text()
    (where / STAR).write_text(text.replace("1.500000\t3.000000\t64", "1.500000\t2.500000\t64"))


def change_voltage(where: Path) -> None:
    text = (where / STAR).read_text()
    (where / STAR).write_text(text.replace("opticsGroup1\t300.000000", "opticsGroup1\t200.000000"))


def add_stray_token(where: Path) -> None:
    lines = (where / STAR).read_text().splitlines()
    lines.insert(500, "9")
    (where / STAR).write_text("\n".join(lines) + "\n")


def drop_rows(where: Path) -> None:
    lines = (where / STAR).read_text().splitlines()
    (where / STAR).write_text("\n".join(lines[:-20]) + "\n")


def replace_by_page(where: Path) -> None:
    (where / STAR).write_text("<!DOCTYPE html><html><body>404</body></html>\n")


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (truncate, [STACK, "truncated"]),
        (put_nan, ["000042@", "NaN"]),
        (remove_stack, [STAR, STACK, "does not exist"]),
        (remove_table, [STAR]),
        (change_pixel_size, [STAR, "rlnImagePixelSize"]),
        (change_voltage, [STAR, "rlnVoltage"]),
        (add_stray_token, [STAR, "'9'", "line 501"]),
        (drop_rows, [STAR, "2387"]),
        (replace_by_page, [STAR]),
    ],
)
def test_damaged_particles_are_refused_and_the_run_is_kept(
    cryorepro: Command, home: Path, copy: Path, damage: Callable[[Path], None], words: list[str]
) -> None:
    before = (copy / STAR).read_bytes()
    damage(copy)
    changed = {path.name: path.read_bytes() for path in copy.iterdir()}
    assert damage in (truncate, put_nan, remove_stack) or changed.get(STAR) != before
    done = cryorepro("reproduce", "empiar-10146", "--data", str(copy))
    assert done.returncode == 2, done.stdout + done.stderr
    assert done.stderr.startswith("cryorepro: data: ")
    assert done.stderr.count("\n") == 1
    for word in words:
        assert word in done.stderr
    rows = json.loads(cryorepro("runs", "--json").stdout)
    assert [row["status"] for row in rows] == ["failed"]
    assert {path.name: path.read_bytes() for path in copy.iterdir()} == changed
