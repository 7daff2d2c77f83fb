"""Post-processing against the real relion_postprocess on the same half maps, and against a known B-factor."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from xml.etree import ElementTree

import gemmi
import mrcfile
import numpy as np
import pytest

from cryorepro.em.errors import InputError
from cryorepro.em.fsc import corrected_curve
from cryorepro.em.maskcreate import spherical_mask
from cryorepro.em.postprocess import PostProcessed, postprocess
from cryorepro.em.postprocess_files import write_fsc_xml, write_postprocess_star
from cryorepro.em.sharpening import Sharpening, fit_guinier, sharpen
from tests.em.halves import PIXEL, half_maps, save

MASK = spherical_mask(48, 15.0, 5.0).astype(np.float32)
FIT = Sharpening(lowest_resolution_angstrom=20.0)
CORRECTED = "FourierShellCorrelationCorrected"


@pytest.fixture(scope="module")
def ours() -> PostProcessed:
    return postprocess(*half_maps(), MASK, PIXEL, np.random.default_rng(1), FIT)


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    program = shutil.which("relion_postprocess")
    assert program is not None, "the real RELION must be installed for this test"
    directory = tmp_path_factory.mktemp("relion")
    for name, volume in zip(("half1", "half2", "mask"), (*half_maps(), MASK), strict=True):
        save(directory / f"{name}.mrc", volume)
    (directory / "out").mkdir()
    argv = [program, "--i", "half1.mrc", "--i2", "half2.mrc", "--mask", "mask.mrc", "--angpix", str(PIXEL)]
    argv += ["--o", "out/postprocess", "--auto_bfac", "--autob_lowres", "20"]
    subprocess.run(argv, cwd=directory, check=False, capture_output=True)
    return directory / "out"


def _column(path: Path, block: str, label: str) -> np.ndarray:
    values = gemmi.cif.read(str(path)).find_block(block).find_values(f"_rln{label}")
    return np.array([float(value) for value in values])


def test_curves_without_chance_in_them_are_relions(ours: PostProcessed, theirs: Path) -> None:
    star = theirs / "postprocess.star"
    pairs = {
        "FourierShellCorrelationUnmaskedMaps": ours.fsc.unmasked,
        "FourierShellCorrelationMaskedMaps": ours.fsc.masked,
    }
    for label, curve in pairs.items():
        np.testing.assert_allclose(curve[1:], _column(star, "fsc", label)[1:], atol=1e-4)


def test_the_corrected_curve_differs_from_relions_by_its_random_phases_only(ours: PostProcessed, theirs: Path) -> None:
    relion = _column(theirs / "postprocess.star", "fsc", CORRECTED)
    start = ours.fsc.randomised_from_shell
    np.testing.assert_allclose(ours.fsc.corrected[1 : start + 2], relion[1 : start + 2], atol=1e-4)
    repeats = [
        postprocess(*half_maps(), MASK, PIXEL, np.random.default_rng(seed), Sharpening(0.0)) for seed in range(5)
    ]
    spread = np.std([repeat.fsc.corrected for repeat in repeats], axis=0)
    assert (np.abs(ours.fsc.corrected - relion)[1:] < 6.0 * spread[1:] + 0.01).all()


def test_given_relions_random_phases_the_corrected_curve_is_relions(ours: PostProcessed, theirs: Path) -> None:
    """Stated limit 1e-3, as for every curve without chance in it."""
    star = theirs / "postprocess.star"
    randomised = _column(star, "fsc", "CorrectedFourierShellCorrelationPhaseRandomizedMaskedMaps")
    curve = corrected_curve(ours.fsc.masked, randomised, ours.fsc.randomised_from_shell)
    np.testing.assert_allclose(curve[1:], _column(star, "fsc", CORRECTED)[1:], atol=1e-3)
    inside = _column(star, "fsc", "FourierShellCorrelationParticleMaskFraction")
    assert ours.mask_fraction is not None
    factor, plain = ours.mask_fraction, ours.fsc.unmasked
    np.testing.assert_allclose((factor * plain / (1 + (factor - 1) * plain))[1:], inside[1:], atol=1e-3)


def test_resolution_is_relions_within_a_shell(ours: PostProcessed, theirs: Path) -> None:
    block = gemmi.cif.read(str(theirs / "postprocess.star")).find_block("general")
    relion = 48 * PIXEL / float(block.find_value("_rlnFinalResolution"))
    assert abs(ours.resolution_shell - relion) <= 1.0
    assert ours.mask_fraction == pytest.approx(float(block.find_value("_rlnParticleBoxFractionSolventMask")), rel=1e-4)


def test_given_relions_curve_the_sharpened_map_and_b_factor_are_relions(theirs: Path) -> None:
    star = theirs / "postprocess.star"
    first, second = half_maps()
    curve = _column(star, "fsc", CORRECTED)
    sharpened, guinier, bfactor = sharpen(0.5 * (first + second), curve, PIXEL, FIT)
    general = gemmi.cif.read(str(star)).find_block("general")
    assert bfactor == pytest.approx(float(general.find_value("_rlnBfactorUsedForSharpening")), rel=1e-3)
    assert guinier.fit is not None
    correlation = float(general.find_value("_rlnCorrelationFitGuinierPlot"))
    assert guinier.fit.correlation == pytest.approx(correlation, abs=1e-4)
    for label, values in (("Original", guinier.original), ("Sharpened", guinier.sharpened)):
        np.testing.assert_allclose(values, _column(star, "guinier", f"LogAmplitudes{label}"), atol=1e-3)
    relion = mrcfile.read(theirs / "postprocess.mrc")
    np.testing.assert_allclose(sharpened, relion, atol=1e-3 * relion.std())


def test_a_b_factor_put_into_a_map_is_found() -> None:
    """A spectrum exp(-B/4 / d^2) has the Guinier slope -B/4, so flattening it needs the B-factor -B."""
    inverse_square = np.linspace(0.0, 0.02, 30)
    fit = fit_guinier(inverse_square, 2.0 - 150.0 / 4.0 * inverse_square, 20.0)
    assert fit.bfactor_angstrom2 == pytest.approx(-150.0)
    assert fit.intercept == pytest.approx(2.0) and fit.correlation == pytest.approx(1.0)


def test_a_given_b_factor_is_applied_and_no_fit_made() -> None:
    first, second = half_maps()
    result = postprocess(first, second, MASK, PIXEL, np.random.default_rng(1), Sharpening(-200.0))
    plain = postprocess(first, second, MASK, PIXEL, np.random.default_rng(1), Sharpening(0.0))
    assert result.bfactor_angstrom2 == -200.0 and result.guinier.fit is None
    shell = 10
    gain = result.guinier.sharpened[shell] - plain.guinier.sharpened[shell]
    assert gain == pytest.approx(200 / 4 * (shell / (48 * PIXEL)) ** 2, abs=0.02)


def test_the_tables_read_back_with_relions_labels(ours: PostProcessed, theirs: Path, tmp_path: Path) -> None:
    write_postprocess_star(tmp_path / "postprocess.star", ours, "a.mrc", "b.mrc", "m.mrc")
    mine, relion = (gemmi.cif.read(str(d / "postprocess.star")) for d in (tmp_path, theirs))
    assert [block.name for block in mine] == [block.name for block in relion]
    for block in relion:
        for item in block:
            tags = list(item.loop.tags) if item.loop is not None else [str(item.pair[0])]
            for tag in tags:
                assert mine.find_block(block.name).find_values(tag), tag
    corrected = _column(tmp_path / "postprocess.star", "fsc", CORRECTED)
    np.testing.assert_array_equal(corrected, ours.fsc.corrected)


def test_the_xml_is_emdbs_exchange_format(ours: PostProcessed, tmp_path: Path) -> None:
    write_fsc_xml(tmp_path / "fsc.xml", ours)
    root = ElementTree.parse(tmp_path / "fsc.xml").getroot()
    points = [(float(c[0].text or ""), float(c[1].text or "")) for c in root]
    assert root.tag == "fsc" and len(points) == 25
    assert points[24][0] == pytest.approx(1 / (2 * PIXEL), rel=1e-4)
    assert points[5][1] == pytest.approx(ours.fsc.corrected[5], rel=1e-4)


def test_bad_masks_and_too_few_shells_are_refused() -> None:
    first, second = half_maps()
    with pytest.raises(InputError, match="between 0 and 1"):
        postprocess(first, second, 3.0 * MASK, PIXEL, np.random.default_rng(1))
    with pytest.raises(InputError, match="shape"):
        postprocess(first, second, MASK[:40, :40, :40], PIXEL, np.random.default_rng(1))
    with pytest.raises(InputError, match="fit needs three"):
        fit_guinier(np.linspace(0, 0.001, 10), np.zeros(10), 20.0)


def test_without_a_mask_the_unmasked_curve_decides(tmp_path: Path) -> None:
    first, second = half_maps()
    result = postprocess(first, second, None, PIXEL, np.random.default_rng(1), Sharpening(0.0))
    np.testing.assert_array_equal(result.fsc.corrected, result.fsc.unmasked)
    write_postprocess_star(tmp_path / "postprocess.star", result, "a.mrc", "b.mrc", None)
    general = gemmi.cif.read(str(tmp_path / "postprocess.star")).find_block("general")
    assert general.find_value("_rlnMaskName") is None
    assert float(general.find_value("_rlnFinalResolution")) == pytest.approx(result.resolution_angstrom)


def test_halves_that_do_not_correlate_are_refused() -> None:
    generator = np.random.default_rng(9)
    first, second = generator.normal(size=(2, 24, 24, 24))
    with pytest.raises(InputError, match="do not correlate"):
        postprocess(first, np.roll(-first, 1) + second, None, PIXEL, generator, Sharpening(0.0))
