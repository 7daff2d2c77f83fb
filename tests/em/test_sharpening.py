"""Every sharpening option against the real relion_postprocess: given its FSC, the map must be the same."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import gemmi
import mrcfile
import numpy as np
import pytest

from cryorepro.em.errors import InputError
from cryorepro.em.formats.mtf import read_mtf
from cryorepro.em.maskcreate import spherical_mask
from cryorepro.em.postprocess import postprocess
from cryorepro.em.sharpening import Sharpening, sharpen
from tests.em.halves import PIXEL, half_maps, save

MTF = "data_mtf\nloop_\n_rlnResolutionInversePixel\n_rlnMtfValue\n"
CASES = {
    "mtf": (["--auto_bfac", "--autob_lowres", "20", "--mtf", "mtf.star"], {"lowest_resolution_angstrom": 20.0}),
    "mtf of other pixels": (
        ["--adhoc_bfac", "-100", "--mtf", "mtf.star", "--mtf_angpix", "1.5"],
        {"bfactor_angstrom2": -100.0, "mtf_pixel_size_angstrom": 1.5},
    ),
    "finest resolution in the fit": (
        ["--auto_bfac", "--autob_lowres", "25", "--autob_highres", "12"],
        {"lowest_resolution_angstrom": 25.0, "highest_resolution_angstrom": 12.0},
    ),
    "no FSC weights, low-pass": (
        ["--adhoc_bfac", "-150", "--skip_fsc_weighting", "--low_pass", "14"],
        {"bfactor_angstrom2": -150.0, "fsc_weighting": False, "lowpass_angstrom": 14.0},
    ),
}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("maps")
    mask = spherical_mask(48, 15.0, 5.0)
    for name, volume in zip(("half1", "half2", "mask"), (*half_maps(), mask), strict=True):
        save(directory / f"{name}.mrc", volume)
    rows = (f"{x:.3f} {np.sinc(x) * (1 - 0.4 * x):.6f}\n" for x in np.arange(0, 1, 0.01))
    (directory / "mtf.star").write_text(MTF + "".join(rows))
    return directory


def relion(files: Path, name: str, options: list[str]) -> Path:
    program = shutil.which("relion_postprocess")
    assert program is not None, "the real RELION must be installed for this test"
    out = files / name.replace(" ", "-")
    out.mkdir()
    argv = [program, "--i", "half1.mrc", "--i2", "half2.mrc", "--mask", "mask.mrc", "--angpix", str(PIXEL)]
    subprocess.run([*argv, "--o", f"{out.name}/postprocess", *options], cwd=files, check=False, capture_output=True)
    return out


def column(star: Path, block: str, label: str) -> np.ndarray:
    return np.array([float(v) for v in gemmi.cif.read(str(star)).find_block(block).find_values(f"_rln{label}")])


@pytest.mark.parametrize("name", CASES)
def test_the_map_is_relions_under_every_option(files: Path, name: str) -> None:
    options, how = CASES[name]
    out = relion(files, name, options)
    star = out / "postprocess.star"
    mtf = read_mtf(files / "mtf.star") if "mtf" in name else None
    first, second = half_maps()
    curve = column(star, "fsc", "FourierShellCorrelationCorrected")
    volume, guinier, bfactor = sharpen(0.5 * (first + second), curve, PIXEL, Sharpening(mtf=mtf, **how))  # type: ignore[arg-type]
    assert bfactor == pytest.approx(column(star, "general", "BfactorUsedForSharpening")[0], rel=2e-3)
    steps = {"MTFCorrected": guinier.mtf_corrected, "Weighted": guinier.weighted, "Sharpened": guinier.sharpened}
    for label, values in steps.items():
        theirs = column(star, "guinier", f"LogAmplitudes{label}")
        assert (values is None) == (theirs.size == 0), label
        if values is not None:
            np.testing.assert_allclose(values[2:], theirs[2:], atol=5e-3)
    theirs = mrcfile.read(out / "postprocess.mrc")
    np.testing.assert_allclose(volume, theirs, atol=5e-3 * theirs.std())


def test_phases_are_randomised_from_a_given_resolution_as_in_relion(files: Path) -> None:
    out = relion(files, "from", ["--adhoc_bfac", "-50", "--randomize_at_A", "21"])
    block = gemmi.cif.read(str(out / "postprocess.star")).find_block("general")
    mask = spherical_mask(48, 15.0, 5.0)
    how = {"sharpening": Sharpening(-50.0), "randomise_from_angstrom": 21.0}
    result = postprocess(*half_maps(), mask, PIXEL, np.random.default_rng(1), **how)  # type: ignore[arg-type]
    start = 48 * PIXEL / result.fsc.randomised_from_shell
    assert start == pytest.approx(float(block.find_value("_rlnRandomiseFrom")), abs=1e-4)
    with pytest.raises(InputError, match="cannot be randomised"):
        postprocess(*half_maps(), mask, PIXEL, np.random.default_rng(1), randomise_from_angstrom=2.0)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (MTF + "0.0 1.0\n", "two or more"),
        (MTF + "0.0 1.0\n0.2 0.5\n0.1 0.4\n", "ascending"),
        (MTF + "0.0 1.0\n0.5 0.0\n", "row 2"),
        (MTF.replace("rlnMtfValue", "rlnOther") + "0.0 1.0\n0.5 0.5\n", "rlnMtfValue is missing"),
        (MTF + "0.0 1.0\n0.5 nan\n", "row 2"),
    ],
)
def test_curves_that_cannot_be_divided_by_are_refused(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "mtf.star").write_text(text)
    with pytest.raises(InputError, match=words):
        read_mtf(tmp_path / "mtf.star")
