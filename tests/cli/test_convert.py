"""``cryorepro convert`` as a person runs it, and the real RELION reading what it wrote."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np

from cryorepro.em.formats.star import read_star
from tests.conftest import Command


def test_there_and_back(cryorepro: Command, real_data: Path, tmp_path: Path) -> None:
    source = real_data / "small_stacks" / "cryodrgn_cryosparc_P12_J24_001_particles.cs"
    there = cryorepro("convert", str(source), str(tmp_path / "p.star"))
    assert there.returncode == 0 and "2,019 particles" in there.stdout
    back = cryorepro("convert", str(tmp_path / "p.star"), str(tmp_path / "p.cs"), "--like", str(source))
    assert back.returncode == 0, back.stderr
    before, after = (np.load(path, allow_pickle=False) for path in (source, tmp_path / "p.cs"))
    assert set(after.dtype.names) == set(before.dtype.names)
    assert all((after[name] == before[name]).all() for name in before.dtype.names)


def test_relion_reads_it_and_keeps_the_uids(real_data: Path, tmp_path: Path, cryorepro: Command) -> None:
    source = real_data / "small_stacks" / "cryodrgn_empiar_10076_7.cs"
    cryorepro("convert", str(source), str(tmp_path / "p.star"))
    command = ["relion_star_handler", "--i", "p.star", "--o", "selected.star", "--select", "rlnDefocusU"]
    limits = ["--minval", "15200", "--maxval", "99999"]
    subprocess.run([*command, *limits], cwd=tmp_path, check=True, capture_output=True, timeout=60)
    whole = read_star(tmp_path / "p.star")["particles"]
    selected = read_star(tmp_path / "selected.star")["particles"]
    keep = whole.numbers("rlnDefocusU") > 15200
    uids = [uid for uid, kept in zip(whole.text("cryosparcUidName"), keep, strict=True) if kept]
    assert 0 < len(uids) < 7 and selected.text("cryosparcUidName") == uids


def test_what_cannot_be_converted_is_one_sentence_and_exit_code_2(cryorepro: Command, tmp_path: Path) -> None:
    (tmp_path / "bad.cs").write_bytes(b"no table at all")
    for arguments in (["bad.cs", "x.star"], ["none.cs", "x.star"], ["bad.cs"], ["bad.cs", "x.txt"]):
        done = cryorepro("convert", *(str(tmp_path / name) for name in arguments))
        assert done.returncode == 2 and done.stderr.count("\n") == 1, done.stderr
    assert not (tmp_path / "x.star").exists()
