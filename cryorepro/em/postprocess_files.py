"""The tables RELION's post-processing writes: ``postprocess.star`` and EMDB's ``postprocess_fsc.xml``."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from cryorepro.em.formats.atomic import atomic_writer
from cryorepro.em.formats.star import StarBlock, make_block, write_star
from cryorepro.em.fsc import shell_to_angstrom
from cryorepro.em.postprocess import PostProcessed

_ORIGIN_ANGSTROM = 999.0
"""RELION writes this for the resolution of shell 0."""


def write_postprocess_star(path: Path, result: PostProcessed, half1: str, half2: str, mask: str | None) -> None:
    """Write ``data_general``, ``data_fsc`` and ``data_guinier`` with RELION's labels.

    ``half1``, ``half2`` and ``mask`` are the names recorded for the inputs; ``mask`` is None without one.
    """
    write_star(path, [_general(result, half1, half2, mask), _fsc(result), _guinier(result)])


def write_fsc_xml(path: Path, result: PostProcessed) -> None:
    """Write the corrected FSC in EMDB's exchange format: x in 1/Angstrom, y the correlation."""
    points = zip(_frequencies(result), result.fsc.corrected, strict=True)
    rows = "".join(f"  <coordinate>\n    <x>{x:.6g}</x>\n    <y>{y:.6g}</y>\n  </coordinate>\n" for x, y in points)
    head = '<fsc title="masked-corrected FSC" xaxis="Resolution (A-1)" yaxis="Correlation Coefficient">\n'
    with atomic_writer(path) as stream:
        stream.write(f"{head}{rows}</fsc>\n".encode())


def _resolutions(result: PostProcessed) -> list[float]:
    shells = range(1, result.box_px // 2 + 1)
    return [_ORIGIN_ANGSTROM] + [shell_to_angstrom(s, result.box_px, result.pixel_size_angstrom) for s in shells]


def _frequencies(result: PostProcessed) -> list[float]:
    return [1.0 / resolution for resolution in _resolutions(result)]


def _general(result: PostProcessed, half1: str, half2: str, mask: str | None) -> StarBlock:
    fit = result.guinier.fit
    start = shell_to_angstrom(result.fsc.randomised_from_shell, result.box_px, result.pixel_size_angstrom)
    values: dict[str, str | float] = {
        "rlnFinalResolution": result.resolution_angstrom,
        "rlnBfactorUsedForSharpening": result.bfactor_angstrom2,
        "rlnUnfilteredMapHalf1": half1,
        "rlnUnfilteredMapHalf2": half2,
    }
    if result.mask_fraction is not None and mask is not None:
        values["rlnParticleBoxFractionSolventMask"] = result.mask_fraction
        values["rlnMaskName"] = mask
        values["rlnRandomiseFrom"] = start
    if fit is not None:
        values["rlnFittedSlopeGuinierPlot"] = fit.slope
        values["rlnFittedInterceptGuinierPlot"] = fit.intercept
        values["rlnCorrelationFitGuinierPlot"] = fit.correlation
    return make_block("general", {label: [value] for label, value in values.items()}, is_loop=False)


def _fsc(result: PostProcessed) -> StarBlock:
    curves, fraction = result.fsc, result.mask_fraction
    columns = {
        "rlnSpectralIndex": list(range(len(curves.unmasked))),
        "rlnResolution": _frequencies(result),
        "rlnAngstromResolution": _resolutions(result),
        "rlnFourierShellCorrelationCorrected": curves.corrected.tolist(),
    }
    if fraction is not None:
        inside = fraction * curves.unmasked / (1.0 + (fraction - 1.0) * curves.unmasked)
        columns |= {
            "rlnFourierShellCorrelationParticleMaskFraction": np.nan_to_num(inside).tolist(),
            "rlnFourierShellCorrelationUnmaskedMaps": curves.unmasked.tolist(),
            "rlnFourierShellCorrelationMaskedMaps": curves.masked.tolist(),
            "rlnCorrectedFourierShellCorrelationPhaseRandomizedMaskedMaps": curves.randomised.tolist(),
        }
    return make_block("fsc", columns)


def _guinier(result: PostProcessed) -> StarBlock:
    guinier = result.guinier
    curves = {
        "Original": guinier.original,
        "MTFCorrected": guinier.mtf_corrected,
        "Weighted": guinier.weighted,
        "Sharpened": guinier.sharpened,
    }
    columns = {"rlnResolutionSquared": guinier.inverse_square.tolist()}
    columns |= {f"rlnLogAmplitudes{step}": curve.tolist() for step, curve in curves.items() if curve is not None}
    if guinier.fit is not None:
        columns["rlnLogAmplitudesIntercept"] = [guinier.fit.intercept] * len(guinier.original)
    return make_block("guinier", columns)
