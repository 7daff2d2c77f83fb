"""Particle tables: every dialect brought to one meaning, held against the real RELION's own conversion."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from cryorepro.em.errors import InputError
from cryorepro.em.formats.particles import Particles, read_particles, write_particles
from cryorepro.em.formats.star import read_star
from cryorepro.em.formats.support import check_supported
from tests.em.real_data import real_data

LEGACY = ["t20s_EMPIAR-10025/particles.star", "small_stacks/aspire_sample_relion_data.star"]
OPTICS = (
    "data_optics\n\nloop_\n_rlnOpticsGroup\n_rlnVoltage\n_rlnSphericalAberration\n_rlnAmplitudeContrast\n"
    "_rlnImagePixelSize\n"
)
TABLE = "\ndata_particles\n\nloop_\n_rlnImageName\n_rlnOpticsGroup\n_rlnDefocusU\n_rlnDefocusV\n_rlnDefocusAngle\n"


def modern(optics: str = "1 300 2.7 0.1 1.5", row: str = "1@a.mrcs 1 10000 11000 30") -> str:
    return f"{OPTICS}{optics}\n\n{TABLE}{row}\n"


def read_text(text: str, directory: Path) -> Particles:
    (directory / "p.star").write_text(text)
    return read_particles(directory / "p.star")


@pytest.mark.parametrize("name", LEGACY)
def test_old_tables_mean_what_relion_makes_of_them(name: str, tmp_path: Path) -> None:
    source = real_data(*name.split("/"))
    shutil.copy(source, tmp_path / "old.star")
    command = ["relion_convert_star", "--i", "old.star", "--o", "new.star"]
    subprocess.run(command, cwd=tmp_path, capture_output=True, check=True)
    ours = read_particles(source)
    theirs = read_star(tmp_path / "new.star")
    table = theirs["particles"]
    assert table.row_count == len(ours)
    for label in ("rlnOriginXAngst", "rlnOriginYAngst", "rlnDefocusU", "rlnAngleTilt"):
        np.testing.assert_allclose(ours.numbers(label), table.numbers(label), atol=2e-5, rtol=1e-6)
    optics = theirs["optics"]
    np.testing.assert_allclose(ours.optics[0].pixel_size_angstrom, optics.numbers("rlnImagePixelSize")[0], atol=1e-6)
    np.testing.assert_allclose(ours.optics[0].voltage_kv, optics.numbers("rlnVoltage")[0])
    np.testing.assert_allclose(ours.optics[0].amplitude_contrast, optics.numbers("rlnAmplitudeContrast")[0])


def test_six_optics_groups() -> None:
    particles = read_particles(real_data("small_stacks", "cryodrgn_relion31.6opticsgroups.star"))
    assert (len(particles), len(particles.optics)) == (139, 6)
    pixel = particles.per_particle("pixel_size_angstrom")
    by_number = {g.group: g.pixel_size_angstrom for g in particles.optics}
    assert pixel.tolist() == [by_number[n] for n in particles.column("rlnOpticsGroup").tolist()]
    with pytest.raises(InputError, match="different rlnImagePixelSize"):
        _ = particles.pixel_size_angstrom
    part = particles.subset(np.flatnonzero(particles.column("rlnOpticsGroup") == particles.optics[2].group))
    assert [g.group for g in part.optics] == [particles.optics[2].group] and set(part.optics_index) == {0}


def test_distinct_conditions_of_an_old_table_become_groups(tmp_path: Path) -> None:
    head = "data_\n\nloop_\n" + "".join(
        f"_rln{label}\n"
        for label in ("ImageName", "Voltage", "SphericalAberration", "AmplitudeContrast", "Magnification",
                      "DetectorPixelSize", "DefocusU", "DefocusV", "DefocusAngle", "OriginX")
    )  # fmt: skip
    rows = ["1@a 300 2 .1 50000 5 1 2 3 1", "2@a 200 2 .1 50000 5 1 2 3 -2", "3@a 300 2 .1 50000 5 1 2 3 4"]
    particles = read_text(head + "\n".join(rows) + "\n", tmp_path)
    assert particles.column("rlnOpticsGroup").tolist() == [1, 2, 1]
    assert [g.voltage_kv for g in particles.optics] == [300.0, 200.0]
    assert particles.origins_angstrom[:, 0].tolist() == [1.0, -2.0, 4.0]  # 5 um / 50000 is 1 A per pixel
    assert "rlnOriginX" not in particles.columns and "rlnMagnification" not in particles.columns


@pytest.mark.parametrize("name", [*LEGACY, "small_stacks/cryodrgn_relion5.star", "small_stacks/cryodrgn_relion31.star"])
def test_written_tables_read_back_equal(name: str, tmp_path: Path) -> None:
    particles = read_particles(real_data(*name.split("/")))
    write_particles(tmp_path / "t.star", particles)
    back = read_particles(tmp_path / "t.star")
    assert back.optics == particles.optics and set(back.columns) == set(particles.columns)
    for label, values in particles.columns.items():
        assert (back.columns[label] == values).all(), label
    assert "# version 30001" in (tmp_path / "t.star").read_text()


def test_relion_accepts_a_converted_table(tmp_path: Path) -> None:
    particles = read_particles(real_data("t20s_EMPIAR-10025", "particles.star")).with_box(440)
    write_particles(tmp_path / "t.star", particles)
    command = ["relion_star_handler", "--i", "t.star", "--o", "half.star", "--select", "rlnRandomSubset"]
    command += ["--minval", "0.5", "--maxval", "1.5"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    chosen = particles.subset(np.flatnonzero(particles.column("rlnRandomSubset") == 1))
    assert read_particles(tmp_path / "half.star").image_names == chosen.image_names


REFUSED = {
    "voltage": (modern(optics="1 30 2.7 0.1 1.5"), "rlnVoltage in optics group 1 is 30, outside 50 to 1000 kV"),
    "pixel size": (modern(optics="1 300 2.7 0.1 0.01"), "rlnImagePixelSize .* outside 0.1 to 50 Angstrom"),
    "aberration": (modern(optics="1 300 27 0.1 1.5"), "rlnSphericalAberration .* outside"),
    "amplitude contrast": (modern(optics="1 300 2.7 7 1.5"), "rlnAmplitudeContrast .* outside"),
    "voltage NaN": (modern(optics="1 nan 2.7 0.1 1.5"), "rlnVoltage"),
    "defocus NaN": (modern(row="1@a.mrcs 1 nan 11000 30"), "rlnDefocusU of particle 1 is nan"),
    "defocus beyond reason": (modern(row="1@a.mrcs 1 1e12 11000 30"), "rlnDefocusU of particle 1"),
    "defocus text": (modern(row="1@a.mrcs 1 x 11000 30"), "rlnDefocusU in row 1"),
    "group missing": (modern(row="1@a.mrcs 2 10000 11000 30"), "rlnOpticsGroup 2 is not in data_optics"),
    "group twice": (modern(optics="1 300 2.7 0.1 1.5\n1 300 2.7 0.1 1.5"), "numbers two groups alike"),
    "no defocus": (modern().replace("_rlnDefocusV", "_rlnOther"), "column rlnDefocusV is missing"),
    "no voltage": (modern().replace("_rlnVoltage", "_rlnOther"), "column rlnVoltage is missing from data_optics"),
    "no particles": (f"{OPTICS}1 300 2.7 0.1 1.5\n\n{TABLE}\n", "no particles"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_wrong_is_named(name: str, tmp_path: Path) -> None:
    text, message = REFUSED[name]
    with pytest.raises(InputError, match=message) as caught:
        read_text(text, tmp_path)
    assert "p.star" in str(caught.value)


def test_a_missing_legacy_column_is_named_and_can_be_supplied() -> None:
    path = real_data("small_stacks", "cryodrgn_FinalRefinement-OriginalParticles-PfCRT.star")
    with pytest.raises(InputError, match=r"PfCRT\.star: column rlnAmplitudeContrast is missing"):
        read_particles(path)
    assert read_particles(path, defaults={"rlnAmplitudeContrast": 0.07}).optics[0].amplitude_contrast == 0.07


def test_coordinates_are_not_particles() -> None:
    with pytest.raises(InputError, match="rlnImageName is missing"):
        read_particles(real_data("micrograph_bad_ice", "Ucsf_stack_1142_DW_autopick.star"))


def test_unsupported_features_are_refused_by_name_only_where_they_matter() -> None:
    check_supported(read_particles(real_data("small_stacks", "cryodrgn_relion31.star")))
    path = real_data("small_stacks", "cryodrgn_relion31.6opticsgroups.star")
    with pytest.raises(InputError, match=r"6opticsgroups\.star: optics group 1 .*rlnMagMat00"):
        check_supported(read_particles(path))


@pytest.mark.parametrize(
    ("label", "harmless", "harmful", "message"),
    [
        ("rlnMagMat01", "0.000000", "0.01", "anisotropic magnification"),
        ("rlnBeamTiltX", "0", "0.3", "beam tilt"),
        ("rlnOddZernike", "[0,0,0]", "[0,0.1,0]", "rlnOddZernike"),
        ("rlnCtfDataAreCtfPremultiplied", "0", "1", "premultiplied"),
        ("rlnImageDimensionality", "2", "3", "rlnImageDimensionality"),
    ],
)
def test_optics_features(label: str, harmless: str, harmful: str, message: str, tmp_path: Path) -> None:
    for value in (harmless, harmful):
        text = modern(optics=f"1 300 2.7 0.1 1.5 {value}").replace("Size\n", f"Size\n_{label}\n", 1)
        particles = read_text(text, tmp_path)
        if value == harmless:
            check_supported(particles)
        else:
            with pytest.raises(InputError, match=message):
                check_supported(particles)


def test_odd_aberrations_pass_as_far_as_they_are_modelled(tmp_path: Path) -> None:
    def table(value: str) -> Particles:
        text = modern(optics=f"1 300 2.7 0.1 1.5 {value}").replace("Size\n", "Size\n_rlnOddZernike\n", 1)
        return read_text(text, tmp_path)

    check_supported(table("[0,0,1.5,0,0,-2]"), beam_tilt=True)
    with pytest.raises(InputError, match="rlnOddZernike"):
        check_supported(table("[0,0,1,0,0,0,0,0.1]"), beam_tilt=True)
    with pytest.raises(InputError, match="no number"):
        check_supported(table("[0,x]"), beam_tilt=True)


def test_helical_segments_are_refused(tmp_path: Path) -> None:
    particles = read_text(modern(), tmp_path)
    check_supported(particles.with_columns(rlnHelicalTubeID=[0]))
    with pytest.raises(InputError, match="rlnHelicalTubeID"):
        check_supported(particles.with_columns(rlnHelicalTubeID=[3]))


def test_columns_of_another_length_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="rlnClassNumber"):
        read_text(modern(), tmp_path).with_columns(rlnClassNumber=[1, 2])
