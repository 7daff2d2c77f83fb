"""EMPIAR-10028: the twin's bytes, statistics and signs; the real tiers from a copy shaped like the deposit."""

from __future__ import annotations

import gzip
import hashlib
import os
import shutil
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cryorepro_datasets.ctf_table import load_ctf_table
from cryorepro_datasets.empiar_10028 import INFO, Empiar10028
from cryorepro_datasets.reference_map import copy_reference
from scipy.stats import ks_2samp, kstest

from cryorepro.em.errors import InputError
from cryorepro.em.formats.maps import read_map
from cryorepro.em.formats.particles import read_particles, write_particles
from cryorepro.em.formats.stacks import ParticleStack
from cryorepro.em.formats.star import read_star
from cryorepro.em.streams import random_stream
from cryorepro.model.dataset import DataRequest, PreparedData
from cryorepro.plugins.loader import load_catalogue
from cryorepro.plugins.types import Dataset
from tests.em.formats.deposit_table import ROWS, deposit
from tests.em.real_data import real_data

ROOT = Path(__file__).resolve().parents[2]
SMALL = {"particles": 300, "snr": 100.0, "micrograph_particles": [15, 25]}


def request(base: Path, tier: str = "twin", **changes: Any) -> DataRequest:
    values = {"tier": tier, "directory": base / "data", "truth_directory": base / "truth", "seed": 11}
    return DataRequest.model_validate(values | changes)


@pytest.fixture(scope="module")
def twin(tmp_path_factory: pytest.TempPathFactory) -> tuple[PreparedData, dict[str, Path]]:
    wanted = request(tmp_path_factory.mktemp("twin"), parameters=SMALL)
    prepared = Empiar10028().prepare(wanted)
    return prepared, dict(Empiar10028().truth(wanted))


def fsc(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    n = first.shape[0]
    a, b = np.fft.fftn(first), np.fft.fftn(second)
    k = np.fft.fftfreq(n) * n
    shell = np.rint(np.sqrt(k[:, None, None] ** 2 + k[:, None] ** 2 + k**2)).astype(int).ravel()
    sums = [np.bincount(shell, v.ravel()) for v in ((a * b.conj()).real, np.abs(a) ** 2, np.abs(b) ** 2)]
    return (sums[0] / np.sqrt(sums[1] * sums[2]))[: n // 2]


def reconstruct(star: Path, cwd: Path, number: int, name: str) -> np.ndarray:
    command = ["relion_reconstruct", "--i", str(star), "--o", name, "--ctf", "--class", str(number)]
    subprocess.run(command, cwd=cwd, check=True, capture_output=True)
    return read_map(cwd / name)[0]


@pytest.mark.parametrize("number", [1, 2, 3])
def test_relion_rebuilds_the_truth_from_the_true_poses(number: int, twin: tuple[PreparedData, dict[str, Path]]) -> None:
    """Every sign of the simulation at once: with any of them wrong the FSC falls early."""
    prepared, truth = twin
    folder = prepared.files["particles"].parent
    true_map = read_map(truth[f"class{number:03d}"])[0]
    built = reconstruct(truth["particles"], folder, number, f"built{number}.mrc")
    curve = fsc(built, true_map)
    assert curve[1:31].min() > 0.5, curve  # shell 30 of 482.56 A is 16.1 A; Nyquist is shell 32
    assert curve[1:18].min() > 0.95, curve
    for other in {1, 2, 3} - {number}:
        wrong = fsc(built, read_map(truth[f"class{other:03d}"])[0])
        assert wrong[4:20].mean() < curve[4:20].mean() - 0.1


@pytest.mark.parametrize("label", ["rlnAnglePsi", "rlnAngleRot", "rlnOriginXAngst", "rlnOriginYAngst"])
def test_a_wrong_sign_would_be_seen(label: str, twin: tuple[PreparedData, dict[str, Path]]) -> None:
    prepared, truth = twin
    folder = prepared.files["particles"].parent
    right = read_particles(truth["particles"])
    write_particles(folder / "wrong.star", right.with_columns(**{label: -right.numbers(label)}))
    true_map = read_map(truth["class001"])[0]
    curve = fsc(reconstruct(folder / "wrong.star", folder, 1, "wrong.mrc"), true_map)
    assert curve[10:27].mean() < 0.5, (label, curve)


def sha256_of_all(base: Path) -> dict[str, str]:
    files = sorted(p for p in base.rglob("*") if p.is_file())
    return {str(p.relative_to(base)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def make_elsewhere(base: Path, threads: int, seed: int) -> dict[str, str]:
    """Prepare in a process of its own, with another hash seed and number of threads."""
    wanted = request(base, parameters={"particles": 150}, seed=seed)
    code = (
        "import sys; from cryorepro.model.dataset import DataRequest; "
        "from cryorepro_datasets.empiar_10028 import Empiar10028; "
        "Empiar10028().prepare(DataRequest.model_validate_json(sys.argv[1]))"
    )
    settings = {f"{name}_NUM_THREADS": str(threads) for name in ("OMP", "OPENBLAS", "MKL")}
    settings |= {"PYTHONHASHSEED": str(threads), "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'plugins'}"}
    subprocess.run([sys.executable, "-c", code, wanted.model_dump_json()], check=True, env=os.environ | settings)
    return sha256_of_all(base)


def test_the_twin_is_the_same_bytes_whatever_the_threads(tmp_path: Path) -> None:
    first, second, other = (
        make_elsewhere(tmp_path / name, threads, seed)
        for name, threads, seed in (("a", 1, 3), ("b", 2, 3), ("c", 1, 4))
    )
    assert len(first) == 8 and first == second
    assert all(first[name] != other[name] for name in first)


def test_no_truth_reaches_the_runner(twin: tuple[PreparedData, dict[str, Path]]) -> None:
    prepared, truth = twin
    labels = set().union(*(block.columns for block in read_star(prepared.files["particles"]).values()))
    forbidden = ("Angle", "OriginX", "OriginY", "Class", "RandomSubset")
    assert [label for label in labels if any(part in label for part in forbidden)] == ["rlnDefocusAngle"]
    folder = prepared.files["particles"].parent
    assert all(path.parent == folder for path in prepared.files.values())
    assert all(folder not in path.parents for path in truth.values()) and prepared.has_truth


def test_the_prepared_record_is_true(twin: tuple[PreparedData, dict[str, Path]]) -> None:
    prepared, truth = twin
    particles = read_particles(prepared.files["particles"])
    stack = ParticleStack.open(particles)
    assert prepared.rows == {"particles": 300} and len(particles) == len(stack) == 300
    assert (stack.box_px, particles.pixel_size_angstrom, prepared.voltage_kv) == (64, 7.54, 300.0)
    assert prepared.parameters["snr"] == 100.0 and prepared.parameters["seed"] == 11
    group = particles.optics[0]
    assert (group.spherical_aberration_mm, group.amplitude_contrast, group.box_px) == (2.0, 0.1, 64)
    volume, pixel = read_map(prepared.files["reference"])
    assert volume.shape == (64, 64, 64) and pixel == 7.54
    curve = fsc(volume, read_map(truth["class001"])[0])
    assert curve[1:10].min() > 0.999  # the reference is the first conformer to 40 A and nothing beyond
    power = np.abs(np.fft.fftn(volume)) ** 2
    k = np.fft.fftfreq(64, 7.54)
    assert power[np.sqrt(k[:, None, None] ** 2 + k[:, None] ** 2 + k**2) > 1 / 36].max() < 1e-6 * power.max()


def test_the_truth_is_complete(twin: tuple[PreparedData, dict[str, Path]]) -> None:
    prepared, truth = twin
    true, given = read_particles(truth["particles"]), read_particles(prepared.files["particles"])
    for label, values in given.columns.items():
        assert (true.columns[label] == values).all(), label
    shares = np.bincount(true.column("rlnClassNumber"), minlength=4)[1:] / len(true)
    np.testing.assert_allclose(shares, (0.40, 0.25, 0.35), atol=4 * np.sqrt(0.25 / 300))
    assert kstest(np.cos(np.deg2rad(true.numbers("rlnAngleTilt"))), "uniform", args=(-1, 2)).pvalue > 1e-3
    assert kstest(true.numbers("rlnAngleRot"), "uniform", args=(-180, 360)).pvalue > 1e-3
    shifts = true.origins_angstrom / 7.54
    assert np.abs(shifts).max() <= 4.0001 and shifts.std() == pytest.approx(1.5, abs=0.15)


def test_groups_share_a_micrograph_and_its_defocus(twin: tuple[PreparedData, dict[str, Path]]) -> None:
    particles = read_particles(twin[0].files["particles"])
    names = particles.column("rlnMicrographName")
    sizes = []
    for name in dict.fromkeys(names):
        rows = np.flatnonzero(names == name)
        assert len(np.unique(particles.defocus_u_angstrom[rows])) == 1
        sizes.append(len(rows))
    assert all(15 <= size <= 25 for size in sizes[:-1]) and 0 < sizes[-1] <= 25


def test_the_shipped_percentiles_are_those_of_the_real_table() -> None:
    with np.load(real_data("ctf_tables", "empiar_10028_ctf.npz"), allow_pickle=False) as table:
        names = [str(name) for name in table["columns"]]
        real = {name: table["ctf"][:, i].astype(np.float64) for i, name in enumerate(names)}
    summary = load_ctf_table("empiar_10028_ctf")
    drawn = summary.draw(20_000, random_stream(1, "test"))
    u, v = real["defocus_u_A"], real["defocus_v_A"]
    for ours, theirs in (
        ((drawn[:, 0] + drawn[:, 1]) / 2, (u + v) / 2),
        (drawn[:, 1] - drawn[:, 0], v - u),
        (drawn[:, 2], real["defocus_angle_deg"]),
    ):
        assert ks_2samp(ours, theirs).statistic < 0.025
    assert summary.voltage_kv == np.unique(real["voltage_kV"]).item()
    assert summary.spherical_aberration_mm == np.unique(real["cs_mm"]).item()
    assert summary.amplitude_contrast == pytest.approx(np.unique(real["amplitude_contrast"]).item())
    assert len(u) == ROWS == next(t.particles for t in INFO.tiers if t.tier == "full")


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"particle": 3}, "parameter particle: "),
        ({"snr": -1}, "parameter snr: "),
        ({"box_px": 65}, "parameter box_px: "),
        ({"class_shares": [0.5, 0.5, 0.5]}, "parameter class_shares: .*sum to 1"),
        ({"particles": "many"}, "parameter particles: "),
    ],
)
def test_unknown_or_impossible_parameters_are_named(parameters: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"empiar-10028 twin: {message}"):
        Empiar10028().prepare(request(tmp_path, parameters=parameters))
    assert not (tmp_path / "data").exists()


def test_it_is_registered_and_described_without_numerics() -> None:
    assert load_catalogue().get(Dataset, "empiar-10028").descriptor.info == INFO
    code = "import sys, cryorepro_datasets.plugin as p; list(p.cryorepro_datasets()); print('numpy' in sys.modules)"
    environment = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'plugins'}"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    assert done.stdout.strip() == "False"


# -- real tiers ---------------------------------------------------------------------------------------------


def sparse_mrc(path: Path, shape: tuple[int, int, int], pixel: float, space_group: int) -> None:
    """A file of the full size whose zeros take no disk."""
    nz, ny, nx = shape
    header = bytearray(1024)
    struct.pack_into("<10i", header, 0, nx, ny, nz, 2, 0, 0, 0, nx, ny, nz)
    struct.pack_into("<6f3i", header, 40, nx * pixel, ny * pixel, nz * pixel, 90, 90, 90, 1, 2, 3)
    struct.pack_into("<i", header, 88, space_group)
    header[208:216] = b"MAP DD\x00\x00"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(bytes(header))
    os.truncate(path, 1024 + 4 * nx * ny * nz)


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """105,247 rows with the stray token, their stacks and the reference, all sparse."""
    base = tmp_path_factory.mktemp("deposit")
    for i in range(ROWS // 100 + 1):
        sparse_mrc(base / f"data/Particles/MRC/{i:04d}.mrcs", (100, 360, 360), 1.34, 0)
    deposit(base / "data/Particles/shiny_2sets.star", ROWS, 5476)
    sparse_mrc(base / "emd_2660.map", (360, 360, 360), 1.34, 1)
    yield base
    shutil.rmtree(base)


def mark(copy: Path, row: int) -> None:
    """Put a row's number into the corner of its image."""
    with (copy / f"data/Particles/MRC/{row // 100:04d}.mrcs").open("r+b") as handle:
        handle.seek(1024 + (row % 100) * 4 * 360**2)
        handle.write(struct.pack("<f", row))


def test_full_is_checked_linked_and_its_erratum_recorded(copy: Path, tmp_path: Path) -> None:
    prepared = Empiar10028().prepare(request(tmp_path, "full", local_path=copy))
    assert [e.id for e in prepared.errata] == ["empiar-10028-stray-token"]
    assert prepared.errata[0].file == "shiny_2sets.star"
    assert (prepared.rows, prepared.box_px, prepared.has_truth) == ({"particles": ROWS}, 360, False)
    particles = read_particles(prepared.files["particles"])
    stack = ParticleStack.open(particles)
    mark(copy, ROWS - 1)
    assert len(particles) == ROWS and stack.read([ROWS - 1])[0, 0, 0] == ROWS - 1
    assert str(copy) not in prepared.files["particles"].read_text() + prepared.origin
    assert Empiar10028().truth(request(tmp_path, "full", local_path=copy)) == {}
    prepared.files["reference"].unlink()  # 187 MB


def test_subset_is_a_seeded_copy_with_its_rows(copy: Path, tmp_path: Path) -> None:
    def make(name: str, seed: int) -> PreparedData:
        return Empiar10028().prepare(
            request(tmp_path / name, "subset", seed=seed, local_path=copy, parameters={"particles": 25})
        )

    rows = read_star(make("first", 5).files["origin_rows"])["origin"].integers("cryoreproDepositRow")
    assert len(np.unique(rows)) == 25 and rows.min() >= 1 and rows.max() <= ROWS
    for row in rows:
        mark(copy, int(row) - 1)
    again, other = make("again", 5), make("other", 6)
    np.testing.assert_array_equal(read_star(again.files["origin_rows"])["origin"].integers("cryoreproDepositRow"), rows)
    particles = read_particles(again.files["particles"])
    np.testing.assert_array_equal(ParticleStack.open(particles).read()[:, 0, 0], rows - 1)
    np.testing.assert_array_equal(particles.defocus_angle_degrees, (rows - 1) % 90)
    assert particles.optics[0].box_px == 360 and len(again.errata) == 1
    different = read_star(other.files["origin_rows"])["origin"].integers("cryoreproDepositRow")
    assert not np.array_equal(different, rows)
    for name in ("first", "again", "other"):
        shutil.rmtree(tmp_path / name)


@pytest.mark.parametrize("tier", ["subset", "full"])
def test_without_a_copy_one_sentence_says_what_is_needed(tier: str, tmp_path: Path) -> None:
    for path in (None, tmp_path):
        with pytest.raises(InputError) as caught:
            Empiar10028().prepare(request(tmp_path, tier, local_path=path))
        for part in ("--data PATH", "shiny_2sets.star", "54.6 GB", "https://", "wget", "emd_2660.map"):
            assert part in str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("104478.000000", "59000.000000", r"pixel size 2\.37288 A .* is not the 1\.34 A"),
        ("  300.000000 ", "  200.000000 ", "rlnVoltage 200 is not the 300 kV"),
    ],
)
def test_a_copy_that_is_not_the_deposit_is_refused(
    old: str, new: str, message: str, copy: Path, tmp_path: Path
) -> None:
    star = copy / "data/Particles/other" / "shiny_2sets.star"
    star.parent.mkdir(exist_ok=True)
    star.write_text((copy / "data/Particles/shiny_2sets.star").read_text().replace(old, new))
    with pytest.raises(InputError, match=message):
        Empiar10028().prepare(request(tmp_path, "full", local_path=star))


def test_too_few_rows_or_another_box_are_refused(copy: Path, tmp_path: Path) -> None:
    star = deposit(tmp_path / "shiny_2sets.star", 5600, 5476)
    with pytest.raises(InputError, match="5600 particles are not the 105247"):
        Empiar10028().prepare(request(tmp_path, "full", local_path=star))
    small = tmp_path / "small"
    for i in range(ROWS // 100 + 1):
        sparse_mrc(small / f"Particles/MRC/{i:04d}.mrcs", (100, 128, 128), 1.34, 0)
    shutil.copy(copy / "data/Particles/shiny_2sets.star", small / "shiny_2sets.star")
    with pytest.raises(InputError, match="box 128 is not the 360"):
        Empiar10028().prepare(request(tmp_path, "full", local_path=small))
    os.truncate(copy / "data/Particles/MRC/0007.mrcs", 50_000_000)
    try:
        with pytest.raises(InputError, match=r"0007\.mrcs: truncated"):
            Empiar10028().prepare(request(tmp_path, "full", local_path=copy))
    finally:
        os.truncate(copy / "data/Particles/MRC/0007.mrcs", 1024 + 100 * 4 * 360**2)


def test_the_reference_is_found_unpacked_and_checked(copy: Path, tmp_path: Path) -> None:
    wrong = tmp_path / "emd_2660.map"
    star, out = copy / "data/Particles/shiny_2sets.star", tmp_path / "reference.mrc"
    for shape, pixel, message in (((320, 320, 320), 1.34, "a box of"), ((360, 360, 360), 1.03, r"voxels of 1\.03 A")):
        sparse_mrc(wrong, shape, pixel, 1)
        with pytest.raises(InputError, match=rf"emd_2660\.map: {message}"):
            copy_reference(star, wrong, out, "full")
    assert not out.exists()
    lonely = tmp_path / "a/b/c/d/e/shiny_2sets.star"
    with pytest.raises(InputError, match="wget https.*emd_2660"):
        copy_reference(lonely, None, out, "full")


def test_a_packed_reference_is_unpacked_within_bounds(tmp_path: Path) -> None:
    sparse_mrc(tmp_path / "m.map", (360, 360, 360), 1.34, 1)
    with (tmp_path / "m.map").open("r+b") as handle:
        handle.seek(1024 + 4 * 1000)
        handle.write(struct.pack("<f", 7.0))
    packed = tmp_path / "emd_2660.map.gz"
    with (tmp_path / "m.map").open("rb") as plain, gzip.open(packed, "wb", compresslevel=1) as stream:
        shutil.copyfileobj(plain, stream)
    volume, pixel = read_map(copy_reference(tmp_path / "s.star", None, tmp_path / "reference.mrc", "full"))
    assert volume.shape == (360, 360, 360) and volume.flat[1000] == 7.0 and pixel == 1.34
    with gzip.open(packed, "ab", compresslevel=1) as stream:
        stream.write(bytes(2**22))
    with pytest.raises(InputError, match="unpacks to more than a map"):
        copy_reference(tmp_path / "s.star", None, tmp_path / "other.mrc", "full")
    packed.write_bytes(packed.read_bytes()[:1000])
    with pytest.raises(InputError, match="cannot be unpacked"):
        copy_reference(tmp_path / "s.star", None, tmp_path / "other.mrc", "full")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["emd_2660.map.gz", "m.map", "reference.mrc"]
    (tmp_path / "reference.mrc").unlink()
