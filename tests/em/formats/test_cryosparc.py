"""CryoSPARC's tables: read, refused, converted, and converted back."""

from __future__ import annotations

import io
import pickle
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.spatial.transform import Rotation

from cryorepro.em.errors import InputError
from cryorepro.em.formats.cryosparc import CsTable, join, read_cs, write_cs
from cryorepro.em.formats.cryosparc_back import particles_to_cs
from cryorepro.em.formats.cryosparc_convert import convert
from cryorepro.em.formats.cryosparc_particles import cs_particles
from cryorepro.em.formats.cryosparc_poses import euler_to_rotation_vectors, rotation_vectors_to_euler
from cryorepro.em.formats.maps import write_stack
from cryorepro.em.formats.particles import read_particles
from cryorepro.em.formats.stacks import ParticleStack
from cryorepro.em.formats.star import read_star

TABLES = ("cryodrgn_cryosparc_P12_J24_001_particles.cs", "cryodrgn_empiar_10076_7.cs")


def npy(array: np.ndarray[Any, Any]) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=True)
    return stream.getvalue()


def particle_columns(n: int = 5) -> dict[str, Any]:
    rng = np.random.default_rng(7)
    f4, u4 = np.float32, np.uint32
    vectors = {"ctf/tilt_A": rng.normal(0, 3000, (n, 2)), "alignments3D/shift": rng.normal(0, 5, (n, 2))}
    pose = Rotation.random(n, rng=rng).as_rotvec()
    return {
        "uid": rng.integers(2**63, 2**64, n, dtype=np.uint64),
        "blob/path": np.array([f">J3/extract/m{k // 2}.mrc" for k in range(n)], dtype=object),
        "blob/idx": np.arange(n, dtype=u4),
        "blob/shape": np.full((n, 2), 128, u4),
        "blob/psize_A": np.full(n, 1.06, f4),
        "ctf/exp_group_id": (np.arange(n) % 2 + 3).astype(u4),
        "ctf/accel_kv": np.full(n, 300, f4),
        "ctf/cs_mm": np.full(n, 2.7, f4),
        "ctf/amp_contrast": np.full(n, 0.1, f4),
        "ctf/df1_A": rng.normal(15000, 300, n).astype(f4),
        "ctf/df2_A": rng.normal(14800, 300, n).astype(f4),
        "ctf/df_angle_rad": rng.uniform(-1.5, 1.5, n).astype(f4),
        "ctf/phase_shift_rad": rng.uniform(0, 1, n).astype(f4),
        "alignments3D/pose": pose.astype(f4),
        "alignments3D/psize_A": np.full(n, 1.06, f4),
        "alignments3D/class": np.arange(n, dtype=u4) % 3,
        "alignments3D/split": np.arange(n, dtype=u4) % 2,
        "alignments3D/alpha": rng.uniform(0.5, 1.5, n).astype(f4),
        "location/micrograph_path": np.array(["J2/motioncorrected/a.mrc"] * n, dtype=object),
        "location/micrograph_shape": np.tile(np.array([7676, 7420], u4), (n, 1)),
        "location/center_x_frac": rng.uniform(0, 1, n).astype(f4),
        "location/center_y_frac": rng.uniform(0, 1, n).astype(f4),
        **{name: values.astype(f4) for name, values in vectors.items()},
    }


def write(path: Path, columns: dict[str, Any]) -> Path:
    write_cs(path, columns)
    return path


rotvecs = hnp.arrays(np.float64, (4, 3), elements=st.floats(-6.2, 6.2, allow_nan=False))


@given(rotvecs)
def test_poses_are_scipys_rotations(vectors: np.ndarray[Any, Any]) -> None:
    angles = rotation_vectors_to_euler(vectors)
    expected = Rotation.from_rotvec(vectors)
    assert (Rotation.from_euler("ZYZ", angles, degrees=True) * expected.inv()).magnitude().max() < 1e-8
    assert (angles[:, 1] >= 0).all()
    again = euler_to_rotation_vectors(angles)
    assert (Rotation.from_rotvec(again) * expected.inv()).magnitude().max() < 1e-8
    assert np.linalg.norm(again, axis=1).max() <= np.pi + 1e-12


def test_relions_matrix_is_the_transpose_of_cryosparcs() -> None:
    """Against the engine's own matrices, and a rotation worked out by hand: 90 degrees about z is psi + rot = 90."""
    import torch

    from cryorepro.em.rotations import euler_to_matrix

    vectors = Rotation.random(50, rng=np.random.default_rng(1)).as_rotvec()
    matrices = euler_to_matrix(torch.tensor(rotation_vectors_to_euler(vectors))).numpy()
    assert np.abs(matrices - Rotation.from_rotvec(vectors).as_matrix().transpose(0, 2, 1)).max() < 1e-12
    assert np.allclose(rotation_vectors_to_euler(np.array([[0, 0, np.pi / 2]])), [[0, 0, 90]])


@pytest.mark.parametrize("name", TABLES)
def test_a_real_table_goes_to_star_and_comes_back_whole(name: str, real_data: Path, tmp_path: Path) -> None:
    source, star, back = real_data / "small_stacks" / name, tmp_path / "p.star", tmp_path / "p.cs"
    convert([source], star)
    convert([star], back, like=source)
    before, after = read_cs(source), read_cs(back)
    assert set(after.columns) >= set(before.columns)
    for field, values in before.columns.items():
        assert after.columns[field].dtype == values.dtype, field
        assert np.array_equal(after.columns[field], values), field


def test_the_large_table_in_relions_terms(real_data: Path, tmp_path: Path) -> None:
    """2,019 rows, each number worked out here from numpy's own reading of the file."""
    source = real_data / "small_stacks" / TABLES[0]
    convert([source], tmp_path / "p.star")
    particles, raw = read_particles(tmp_path / "p.star"), np.load(source, allow_pickle=False)
    assert len(particles) == len(raw) == 2019
    angles = Rotation.from_euler("ZYZ", particles.angles_degrees, degrees=True)
    poses = Rotation.from_rotvec(raw["alignments3D/pose"].astype(np.float64))
    assert (angles * poses.inv()).magnitude().max() < 4e-7  # within what a float32 can tell
    shift = raw["alignments3D/shift"].astype(np.float64) * 2.95
    assert np.abs(particles.origins_angstrom - shift).max() < 1e-5
    assert (particles.columns["rlnRandomSubset"] == raw["alignments3D/split"] + 1).all()
    assert np.allclose(particles.defocus_u_angstrom, raw["ctf/df1_A"])
    assert np.allclose(np.deg2rad(particles.defocus_angle_degrees), raw["ctf/df_angle_rad"], atol=1e-7)
    group = particles.optics[0]
    assert (group.voltage_kv, group.spherical_aberration_mm, group.pixel_size_angstrom) == (200.0, 2.0, 2.95)
    assert particles.image_names[0].startswith("000001@J19/extract/")


def test_ctf_of_a_table_that_exists_in_both_programs_own_words(real_data: Path, tmp_path: Path) -> None:
    """EMPIAR-10076's seven particles, written as STAR by others."""
    folder = real_data / "small_stacks"
    convert([folder / TABLES[1]], tmp_path / "p.star")
    ours, theirs = (read_particles(p) for p in (tmp_path / "p.star", folder / TABLES[1].replace(".cs", ".star")))
    for label, off in (("rlnDefocusU", 0.06), ("rlnDefocusV", 0.06), ("rlnDefocusAngle", 1e-5)):
        assert np.abs(ours.numbers(label) - theirs.numbers(label)).max() < off
    assert abs(ours.pixel_size_angstrom - theirs.pixel_size_angstrom) < 1e-4


def test_everything_both_express_survives_without_the_original(tmp_path: Path) -> None:
    columns = particle_columns()
    source, star, back = write(tmp_path / "a.cs", columns), tmp_path / "a.star", tmp_path / "b.cs"
    done = convert([source], star)
    convert([star], back)
    after = read_cs(back)
    assert done.notes == ()
    for field, values in columns.items():
        if field == "alignments3D/alpha":
            assert field not in after
        elif field == "blob/path":
            assert [f">{text}" for text in after.texts(field)] == values.tolist()
        elif field == "alignments3D/pose":
            turned = Rotation.from_rotvec(after.column(field)) * Rotation.from_rotvec(values).inv()
            assert turned.magnitude().max() < 1e-6
        elif field == "ctf/tilt_A":  # in mrad and back through a sine
            assert np.abs(after.column(field) - values).max() < 1e-2
        else:
            assert np.array_equal(after.column(field), values), field


def test_a_beam_tilt_is_cs_times_its_sine(tmp_path: Path) -> None:
    columns = particle_columns(1)
    columns["ctf/tilt_A"] = np.array([[27000.0, -13500.0]], dtype=np.float32)  # Cs 2.7 mm: 1 and -0.5 mrad
    group = cs_particles(read_cs(write(tmp_path / "t.cs", columns))).optics[0]
    assert group.beam_tilt_x_mrad == pytest.approx(1.0, rel=1e-6)
    assert group.beam_tilt_y_mrad == pytest.approx(-0.5, rel=1e-6)


def test_a_changed_star_changes_the_original_only_where_it_speaks(tmp_path: Path) -> None:
    columns = particle_columns()
    source, star, back = write(tmp_path / "a.cs", columns), tmp_path / "a.star", tmp_path / "b.cs"
    convert([source], star)
    particles = read_particles(star).subset([3, 1])
    moved = particles.with_columns(rlnOriginXAngst=particles.numbers("rlnOriginXAngst") + 2.12)
    write_cs(back, particles_to_cs(moved, read_cs(source)))
    after = read_cs(back)
    assert after.column("uid").tolist() == columns["uid"][[3, 1]].tolist()
    assert np.allclose(after.column("alignments3D/shift")[:, 0], columns["alignments3D/shift"][[3, 1], 0] + 2)
    for field in ("alignments3D/alpha", "alignments3D/pose", "blob/path", "ctf/df1_A"):
        assert np.array_equal(after.column(field), columns[field][[3, 1]]), field


@settings(max_examples=25, deadline=None)
@given(
    hnp.arrays(np.float32, (3, 3), elements=st.floats(-3, 3, width=32)),
    hnp.arrays(np.float32, (3, 2), elements=st.floats(-60, 60, width=32)),
    hnp.arrays(np.float32, 3, elements=st.floats(0, 1, width=32)),
    st.floats(0.5, 8.0, width=32),
    st.lists(st.integers(0, 2**64 - 1), min_size=3, max_size=3, unique=True),
)
def test_round_trips_of_any_numbers(
    tmp_path_factory: pytest.TempPathFactory,
    poses: np.ndarray[Any, Any],
    shifts: np.ndarray[Any, Any],
    places: np.ndarray[Any, Any],
    pixel: float,
    uids: list[int],
) -> None:
    folder = tmp_path_factory.mktemp("cs")
    pixels = np.full(3, pixel, np.float32)
    columns = particle_columns(3) | {
        "uid": np.array(uids, dtype=np.uint64),
        "alignments3D/pose": poses,
        "alignments3D/shift": shifts,
        "alignments3D/psize_A": pixels,
        "blob/psize_A": pixels,
        "location/center_x_frac": places,
    }
    convert([write(folder / "a.cs", columns)], folder / "a.star")
    convert([folder / "a.star"], folder / "b.cs")
    after = read_cs(folder / "b.cs")
    assert after.column("uid").tolist() == uids
    assert np.allclose(after.column("location/center_x_frac"), places, rtol=6e-8, atol=1e-11)
    assert np.array_equal(after.column("blob/psize_A"), pixels)
    assert np.allclose(after.column("alignments3D/shift"), shifts, rtol=1e-6, atol=1e-7)
    angle = (Rotation.from_rotvec(after.column("alignments3D/pose")) * Rotation.from_rotvec(poses).inv()).magnitude()
    assert angle.max() < 2e-6


RELION_TABLES: dict[str, tuple[str, ...]] = {
    "cryodrgn_relion31.star": ("coordinates stay behind",),
    "cryodrgn_relion31.6opticsgroups.star": (
        "rlnMagMat is not the identity", "rlnOddZernike is not zero", "rlnEvenZernike is not zero",
        "coordinates stay behind",
    ),
    "cryojax_trpv1_small_stack.star": (),
}  # fmt: skip


@pytest.mark.parametrize("name", RELION_TABLES)
def test_relions_own_tables_go_to_cryosparc_and_come_back(name: str, real_data: Path, tmp_path: Path) -> None:
    source = real_data / "small_stacks" / name
    done = convert([source], tmp_path / "p.cs")
    convert([tmp_path / "p.cs"], tmp_path / "p.star")
    before, after = read_particles(source, require_ctf=False), read_particles(tmp_path / "p.star", require_ctf=False)
    assert [note.split(":")[0].removesuffix(" and stays behind") for note in done.notes] == list(RELION_TABLES[name])
    assert after.image_names == [f"{int(a):06d}@{b}" for a, b in (text.split("@") for text in before.image_names)]
    assert len(after.optics) == len(before.optics)
    for label in ("rlnDefocusU", "rlnDefocusV", "rlnOriginXAngst", "rlnOriginYAngst"):
        assert np.allclose(after.numbers(label, 0.0), before.numbers(label, 0.0), rtol=2e-7, atol=1e-4), label
    if "rlnAngleRot" in before.columns:
        angles = (Rotation.from_euler("ZYZ", table.angles_degrees, degrees=True) for table in (before, after))
        first, second = angles
        assert (first * second.inv()).magnitude().max() < 1e-6
    tilts = [[table.per_particle(f"beam_tilt_{axis}_mrad") for axis in "xy"] for table in (before, after)]
    assert np.allclose(tilts[1], tilts[0], atol=1e-5)
    for attribute in ("voltage_kv", "spherical_aberration_mm", "amplitude_contrast", "pixel_size_angstrom"):
        assert np.allclose(after.per_particle(attribute), before.per_particle(attribute), rtol=1e-6), attribute


def test_stacks_get_the_suffix_relion_takes_and_lose_it_on_the_way_back(tmp_path: Path) -> None:
    columns = particle_columns()
    source, star = write(tmp_path / "a.cs", columns), tmp_path / "out" / "a.star"
    star.parent.mkdir()
    for k in range(3):
        path = tmp_path / "project" / "J3" / "extract" / f"m{k}.mrc"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_stack(path, np.full((5, 128, 128), float(k), np.float32), 1.06)
    convert([source], star, stacks=tmp_path / "project")
    particles = read_particles(star)
    assert particles.image_names[4] == "000005@J3/extract/m2.mrcs"
    assert ParticleStack.open(particles).read([2, 4]).max(axis=(1, 2)).tolist() == [1.0, 2.0]
    convert([star], tmp_path / "b.cs", like=source)
    assert read_cs(tmp_path / "b.cs").texts("blob/path") == columns["blob/path"].tolist()
    (tmp_path / "project" / "J3" / "extract" / "m1.mrc").unlink()
    with pytest.raises(InputError, match="m1.mrc does not exist"):
        convert([source], star.parent / "c.star", stacks=tmp_path / "project")


@pytest.mark.parametrize("name", ["../../x.mrc", "/etc/x.mrc"])
def test_a_stack_that_leads_elsewhere_is_refused(name: str, tmp_path: Path) -> None:
    columns = particle_columns(1) | {"blob/path": np.array([name], dtype=object)}
    with pytest.raises(InputError, match="leads out"):
        convert([write(tmp_path / "a.cs", columns)], tmp_path / "a.star", stacks=tmp_path)


def test_passthrough_files_are_joined_by_uid(tmp_path: Path) -> None:
    columns = particle_columns()
    through = {name: values[::-1] for name, values in columns.items() if name.startswith(("uid", "location", "ctf"))}
    main = {name: values for name, values in columns.items() if not name.startswith(("location", "ctf"))}
    convert([write(tmp_path / "m.cs", main), write(tmp_path / "t.cs", through)], tmp_path / "both.star")
    convert([write(tmp_path / "w.cs", columns)], tmp_path / "whole.star")
    both, whole = (read_particles(tmp_path / name) for name in ("both.star", "whole.star"))
    for label in ("rlnDefocusU", "rlnCoordinateX", "rlnImageName"):
        assert both.columns[label].tolist() == whole.columns[label].tolist()
    through["uid"] = through["uid"] + np.uint64(1)
    with pytest.raises(InputError, match="uid .* is not in it"):
        join([read_cs(tmp_path / "m.cs"), read_cs(write(tmp_path / "o.cs", through))])


def test_corrections_without_a_documented_meaning_are_named(tmp_path: Path) -> None:
    columns = particle_columns() | {
        "ctf/trefoil_A": np.ones((5, 2), np.float32),
        "ctf/bfactor": np.zeros(5, np.float32),
    }
    done = convert([write(tmp_path / "a.cs", columns)], tmp_path / "a.star")
    assert len(done.notes) == 1 and done.notes[0].startswith("ctf/trefoil_A is not zero")


def test_micrographs_movies_and_picks(tmp_path: Path) -> None:
    n, f4 = 3, np.float32
    uid = np.arange(10, 10 + n, dtype=np.uint64)
    path = np.array([f"J2/motioncorrected/m{k}.mrc" for k in range(n)], dtype=object)
    scope = {"mscope_params/accel_kv": np.full(n, 300, f4), "mscope_params/cs_mm": np.full(n, 2.7, f4)}
    mics = {"uid": uid, "micrograph_blob/path": path, "micrograph_blob/psize_A": np.full(n, 0.86, f4), **scope}
    mics |= {"ctf/df1_A": np.full(n, 9000, f4), "ctf/df2_A": np.full(n, 8800, f4)}
    mics |= {"ctf/df_angle_rad": np.full(n, 0.5, f4), "ctf/ctf_fit_to_A": np.full(n, 3.5, f4)}
    mics |= {"mscope_params/exp_group_id": np.array([4, 4, 9], dtype=np.uint32)}
    movies = {"uid": uid, "movie_blob/path": path, "movie_blob/psize_A": np.full(n, 0.43, f4), **scope}
    picks = {name: values[:n] for name, values in particle_columns().items() if name.startswith(("uid", "location"))}
    picks |= {
        "pick_stats/ncc_score": np.array([0.2, 0.4, 0.9], f4),
        "pick_stats/power": np.array([900, 1000, 1500], f4),
    }
    for kind, columns in (("micrographs", mics), ("movies", movies), ("picks", picks)):
        source, star, back = tmp_path / f"{kind}.cs", tmp_path / f"{kind}.star", tmp_path / f"{kind}_back.cs"
        done = convert([write(source, columns)], star)
        assert (done.kind, done.rows) == (kind, n)
        convert([star], back)
        after = read_cs(back)
        for field, values in columns.items():
            assert np.array_equal(after.column(field), values), (kind, field)
    blocks = read_star(tmp_path / "micrographs.star")
    assert blocks["micrographs"].numbers("rlnDefocusAngle")[0] == pytest.approx(np.rad2deg(0.5))
    assert blocks["optics"].integers("rlnOpticsGroup").tolist() == [1, 2]
    drawn = read_star(tmp_path / "picks.star")["particles"]
    assert drawn.numbers("rlnCoordinateX") == pytest.approx(picks["location/center_x_frac"] * 7420.0)


def headed(descr: str, shape: str, body: bytes = b"") -> bytes:
    header = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + body


GOOD = "[('uid', '<u8')]"
HOSTILE = {
    "empty": b"",
    "text": b"hello, I am not a table",
    "pickle": pickle.dumps({"uid": 1}),
    "pickled-objects": npy(np.array([{"a": 1}], dtype=object)),
    "object-field": npy(np.array([(1, "x")], dtype=[("uid", "<u8"), ("name", "O")])),
    "plain-array": npy(np.zeros(3)),
    "two-dimensions": npy(np.zeros((2, 2), dtype=[("uid", "<u8")])),
    "truncated": npy(np.zeros(9, dtype=[("uid", "<u8")]))[:-3],
    "trailing": npy(np.zeros(9, dtype=[("uid", "<u8")])) + b"more",
    "a-petabyte": headed(GOOD, "(140737488355328,)", bytes(64)),
    "negative-rows": headed(GOOD, "(-1,)"),
    "huge-field": headed("[('uid', '<u8', (4611686018427387904,))]", "(1,)"),
    "code-for-a-header": headed("__import__('os').system('exit 3')", "(1,)"),
    "deep-header": headed("[" * 4000 + "]" * 4000, "(1,)"),
    "no-fields": headed("[]", "(1,)"),
    "stream": b"\x95CSDAT" + bytes(40),
    "not-utf-8": npy(np.array([(1, b"\xff\xfe")], dtype=[("uid", "<u8"), ("blob/path", "S2")])),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_is_no_table_is_refused_in_one_sentence(name: str, tmp_path: Path) -> None:
    path = tmp_path / f"{name}.cs"
    path.write_bytes(HOSTILE[name])
    with pytest.raises(InputError) as caught:
        read_cs(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


@given(st.binary(max_size=200))
@settings(max_examples=60)
def test_any_bytes_are_a_table_or_an_input_error(tmp_path_factory: pytest.TempPathFactory, tail: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "any.cs"
    path.write_bytes(b"\x93NUMPY\x01\x00" + tail)
    with pytest.raises(InputError):
        read_cs(path)


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("ctf/df1_A", np.nan, "ctf/df1_A in row 1 is not a finite"),
        ("ctf/accel_kv", 3.0, "outside 50 to 1000"),
        ("blob/psize_A", 0.0, "rlnImagePixelSize"),
        ("ctf/df2_A", 1e9, "beyond"),
    ],
    ids=["nan", "voltage", "pixel", "defocus"],
)
def test_impossible_numbers_are_refused(field: str, value: float, said: str) -> None:
    columns = particle_columns()
    columns[field] = np.full(5, value, np.float32)
    with pytest.raises(InputError, match=said):
        cs_particles(CsTable(columns, "x.cs"))


def test_poses_of_several_classes_and_rows_that_are_one_are_refused(tmp_path: Path) -> None:
    columns = {k: v for k, v in particle_columns().items() if not k.startswith("alignments3D")}
    columns["alignments3D_multi/pose"] = np.zeros((5, 3, 3), np.float32)
    with pytest.raises(InputError, match="several classes"):
        cs_particles(CsTable(columns, "x.cs"))
    twice = particle_columns()
    twice["uid"][:] = 5
    source = write(tmp_path / "t.cs", twice)
    convert([source], tmp_path / "t.star")
    with pytest.raises(InputError, match="one cryosparcUidName"):
        convert([tmp_path / "t.star"], tmp_path / "u.cs")


def test_suffixes_that_do_not_go_together(tmp_path: Path) -> None:
    source = write(tmp_path / "a.cs", particle_columns())
    for sources, target in (([source], "b.cs"), ([source, tmp_path / "c.star"], "d.star"), ([tmp_path / "x"], "y.cs")):
        with pytest.raises(InputError, match="suffixes"):
            convert(sources, tmp_path / target)
    (tmp_path / "there.star").write_text("")
    with pytest.raises(InputError, match="exists already"):
        convert([source], tmp_path / "there.star")
