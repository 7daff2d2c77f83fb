"""The apoferritin data: what is given on is the local copy without its poses; what is not it, is refused."""

from __future__ import annotations

import shutil
from pathlib import Path

import mrcfile
import numpy as np
import pytest
from cryorepro_datasets.empiar_10146 import STAR_NAME, Empiar10146

from cryorepro.em.errors import InputError
from cryorepro.em.formats.maps import read_map
from cryorepro.em.formats.particles import read_particles
from cryorepro.em.formats.stacks import ParticleStack
from cryorepro.em.fsc import fsc_curve
from cryorepro.model.dataset import DataRequest, PreparedData
from tests.em.real_data import real_data

STACK_NAME = "particles_64px_3.0A.mrcs"


def _request(directory: Path, local: Path | None, **parameters: object) -> DataRequest:
    return DataRequest(
        tier="subset", directory=directory / "data", truth_directory=directory / "truth", seed=5,
        local_path=local, parameters=dict(parameters),
    )  # fmt: skip


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> PreparedData:
    directory = tmp_path_factory.mktemp("apoferritin")
    return Empiar10146().prepare(_request(directory, real_data("apoferritin_EMPIAR-10146")))


def test_the_pixels_are_the_deposits_and_no_pose_is_left(prepared: PreparedData) -> None:
    particles = read_particles(prepared.files["particles"])
    assert len(particles) == prepared.rows["particles"] == 2387
    assert not any(label in particles.columns for label in ("rlnAngleRot", "rlnOriginXAngst", "rlnRandomSubset"))
    ours = ParticleStack.open(particles).read([0, 1200, 2386])
    with mrcfile.mmap(real_data("apoferritin_EMPIAR-10146", STACK_NAME), permissive=True) as handle:
        theirs = np.asarray(handle.data[[0, 1200, 2386]], dtype=np.float32)
    np.testing.assert_array_equal(ours, theirs)
    original = read_particles(real_data("apoferritin_EMPIAR-10146", STAR_NAME))
    np.testing.assert_array_equal(particles.defocus_u_angstrom, original.defocus_u_angstrom)


def test_the_reference_is_low_passed_octahedral_and_on_the_particles_grey_scale(
    prepared: PreparedData,
) -> None:
    volume, pixel = read_map(prepared.files["reference"])
    assert volume.shape == (64, 64, 64) and pixel == 3.0
    power = np.abs(np.fft.fftn(volume)) ** 2
    k = np.fft.fftfreq(64, 1 / 64)
    radius = np.sqrt(k[:, None, None] ** 2 + k[None, :, None] ** 2 + k**2)
    assert power[radius > 192 / 20 + 2].sum() < 1e-4 * power[radius > 0].sum()
    quarter_turns = (np.rot90(volume[1:, 1:, 1:], 1, axes) for axes in ((0, 1), (0, 2), (1, 2)))
    for turned in quarter_turns:
        np.testing.assert_allclose(turned, volume[1:, 1:, 1:], atol=0.02 * volume.max())
    assert volume[32, 32, 32] < 0.2 * volume.max(), "the shell is hollow"
    # a reconstruction of these particles from their published poses reaches 0.122 in its densest voxel
    assert volume.max() == pytest.approx(0.122, rel=0.25)


def test_the_mask_holds_the_particle(prepared: PreparedData) -> None:
    mask, _ = read_map(prepared.files["mask"])
    reference, _ = read_map(prepared.files["reference"])
    assert mask.min() == 0.0 and mask.max() == 1.0
    assert mask[reference > 0.2 * reference.max()].min() > 0.99
    assert mask[0].max() == 0.0
    assert fsc_curve(reference, reference * mask)[1:6].min() > 0.98


def test_a_selection_is_the_seeds_own(tmp_path: Path) -> None:
    local = real_data("apoferritin_EMPIAR-10146")
    first, again = (
        Empiar10146().prepare(_request(tmp_path / name, local, particles=40)) for name in ("first", "again")
    )
    assert first.rows["particles"] == 40
    for role in first.files:
        assert first.files[role].read_bytes() == again.files[role].read_bytes(), role


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    folder = tmp_path / "copy"
    folder.mkdir()
    for name in (STAR_NAME, STACK_NAME):
        shutil.copyfile(real_data("apoferritin_EMPIAR-10146", name), folder / name)
    shutil.copyfile(real_data("models", "4v1w.cif"), folder / "4v1w.cif")
    return folder


def test_a_copy_that_is_not_the_dataset_is_refused(copy: Path, tmp_path: Path) -> None:
    source = Empiar10146()
    text = (copy / STAR_NAME).read_text()
    rows = [line for line in text.splitlines() if ".mrcs" in line]
    changes = {
        "rows is 2386": text.replace(rows[7] + "\n", ""),
        "rlnImagePixelSize is 2.5": text.replace("\t3.000000\t64\t2", "\t2.500000\t64\t2"),
        "rlnVoltage is 200": text.replace("opticsGroup1\t300.000000", "opticsGroup1\t200.000000"),
    }
    for sentence, changed in changes.items():
        assert changed != text
        (copy / STAR_NAME).write_text(changed)
        with pytest.raises(InputError, match=sentence):
            source.prepare(_request(tmp_path, copy))
    (copy / STAR_NAME).write_text(text)
    with (copy / STACK_NAME).open("r+b") as handle:
        handle.truncate(1024 + 64 * 64 * 2 * 2000)
    with pytest.raises(InputError, match=STACK_NAME):
        source.prepare(_request(tmp_path, copy))


def test_what_is_missing_is_named(copy: Path, tmp_path: Path) -> None:
    source = Empiar10146()
    with pytest.raises(InputError, match="--data PATH"):
        source.prepare(_request(tmp_path, None))
    with pytest.raises(InputError, match=STAR_NAME):
        source.prepare(_request(tmp_path, tmp_path))
    (copy / "4v1w.cif").unlink()
    with pytest.raises(InputError, match=r"4v1w\.cif"):
        source.prepare(_request(tmp_path, copy))
    with pytest.raises(InputError, match="parameter nonsense"):
        source.prepare(_request(tmp_path, copy, nonsense=1))
    with pytest.raises(InputError, match="tier 'full'"):
        source.prepare(_request(tmp_path, copy).model_copy(update={"tier": "full"}))


def _twin(directory: Path, seed: int = 2, **parameters: object) -> PreparedData:
    request = DataRequest(
        tier="twin", directory=directory / "data", truth_directory=directory / "truth", seed=seed,
        parameters={"particles": 60} | parameters,
    )  # fmt: skip
    return Empiar10146().prepare(request)


def test_the_twin_is_its_seeds_byte_for_byte(tmp_path: Path) -> None:
    first, again = _twin(tmp_path / "a"), _twin(tmp_path / "b")
    assert first.has_truth and set(first.files) == {"particles", "stack", "reference", "mask"}
    for role, path in first.files.items():
        assert path.read_bytes() == again.files[role].read_bytes(), role
    other = _twin(tmp_path / "c", seed=3)
    assert other.files["stack"].read_bytes() != first.files["stack"].read_bytes()


def test_the_twins_truth_is_kept_apart_and_rebuilds_its_map(tmp_path: Path) -> None:
    import torch

    from cryorepro.em.half_sets import unregularised
    from cryorepro.em.particle_images import open_particle_images
    from cryorepro.em.pose_reconstruction import sums_from_poses
    from cryorepro.em.symmetry import symmetry_matrices

    prepared = _twin(tmp_path, snr=5.0)
    assert "rlnAngleRot" not in read_particles(prepared.files["particles"]).columns
    truth = tmp_path / "truth"
    assert not any(path.is_relative_to(truth) for path in prepared.files.values())
    shutil.copyfile(prepared.files["stack"], truth / prepared.files["stack"].name)
    loaded = open_particle_images(truth / "truth_particles.star")
    group = torch.from_numpy(symmetry_matrices("O"))
    grid = sums_from_poses(loaded.images, loaded.start_poses(), torch.arange(60), 20, group)
    rebuilt = unregularised([grid], 64, 20)[0].numpy()
    assert fsc_curve(rebuilt, read_map(truth / "truth_map.mrc")[0])[1:17].min() > 0.7


def test_a_twin_out_of_range_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="parameter snr"):
        _twin(tmp_path, snr=-1.0)
    with pytest.raises(InputError, match="below the lowest"):
        _twin(tmp_path, lowest_defocus_angstrom=20_000.0, highest_defocus_angstrom=10_000.0)


def test_micrographs_are_the_pictures_with_their_optics_and_labels(tmp_path: Path) -> None:
    import imagecodecs

    from cryorepro.em.ctf_estimation_files import read_micrograph_table
    from cryorepro.em.picking.tables import read_picks
    from cryorepro.em.reextraction import read_micrograph

    local = real_data("apoferritin_EMPIAR-10146")
    prepared = Empiar10146().prepare(_request(tmp_path, local, micrographs=True))
    table = read_micrograph_table(prepared.files["micrographs"])
    assert len(table.names) == prepared.rows["micrographs"] == 10 and prepared.box_px is None
    assert table.groups[0].pixel_size_angstrom == 1.5 and table.groups[0].voltage_kv == 300.0
    picture = local / "micrographs_avg" / "May08_03.13.02.bin_avg.png"
    np.testing.assert_array_equal(read_micrograph(table.paths[0]), imagecodecs.png_decode(picture.read_bytes()))
    labels = read_picks(prepared.files["labels"])
    assert "micrographs/May08_06.09.02.mrc" not in labels.names and set(labels.names) < set(table.names)
    rows = [line.split(",") for line in (local / "human_labels.csv").read_text().splitlines()[1:]]
    wanted = [[float(x), float(y)] for name, x, y in rows if name == "May08_03.13.02.bin_avg.png"]
    assert labels.picks[labels.names.index("micrographs/May08_03.13.02.mrc")].at_px.tolist() == wanted
    assert set(prepared.files) == {"micrographs", "labels", "model", "reference", "mask"}


def test_pictures_that_are_no_micrographs_are_refused(tmp_path: Path) -> None:
    local = tmp_path / "copy"
    (local / "micrographs_avg").mkdir(parents=True)
    shutil.copyfile(real_data("models", "4v1w.cif"), local / "4v1w.cif")
    with pytest.raises(InputError, match="holds no micrographs_avg"):
        Empiar10146().prepare(_request(tmp_path, local, micrographs=True))
    (local / "micrographs_avg" / "a.bin_avg.png").write_bytes(b"no picture")
    with pytest.raises(InputError, match="not a readable PNG"):
        Empiar10146().prepare(_request(tmp_path, local, micrographs=True))
