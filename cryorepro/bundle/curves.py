"""The Fourier shell correlation curves behind outcomes: as CSV, and as EMDB's fsc.xml."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from xml.sax.saxutils import quoteattr

_MEANING = {
    "half_map_fsc": "half-map FSC",
    "postprocess_resolution": "mask-corrected half-map FSC",
    "map_model_fsc": "map-model FSC",
    "map_truth_fsc": "FSC of a class map with the twin's true map (not a half-map FSC)",
}
TRUTH_THRESHOLD = 0.5
"""Of ``map_truth_fsc``, which does not say it among its details."""


@dataclass(frozen=True)
class FscCurve:
    """One curve, shell 0 to Nyquist."""

    outcome: str
    part: str
    meaning: str
    values: list[float]
    threshold: float
    box_px: int
    pixel_size_angstrom: float

    @property
    def name(self) -> str:
        """Name for files: the outcome, and the class where there are several."""
        return f"{self.outcome}-{self.part}" if self.part else self.outcome

    def frequency(self, shell: int) -> float:
        """Spatial frequency of a shell in 1/Angstrom."""
        return shell / (self.box_px * self.pixel_size_angstrom)


def curves_of(outcomes: dict[str, Any]) -> list[FscCurve]:
    """Every curve that the outcomes of a record carry among their details."""
    found = []
    for name, outcome in outcomes.items():
        value = outcome["value"]
        if not value or not value["box_px"] or not value["pixel_size_angstrom"]:
            continue
        details = value["details"]
        parts = {"": details.get("curve"), **_mapping(details.get("curves"))}
        threshold = details.get("threshold", TRUTH_THRESHOLD)
        meaning = _MEANING.get(outcome["metric"], outcome["metric"])
        found += [
            FscCurve(name, part, meaning, points, float(threshold), value["box_px"], value["pixel_size_angstrom"])
            for part, points in parts.items()
            if _is_curve(points, value["box_px"]) and isinstance(threshold, int | float)
        ]
    return found


def _mapping(value: Any) -> dict[str, Any]:
    """Curves by class; a class's name becomes part of a file's name."""
    return {part: points for part, points in value.items() if part.isalnum()} if isinstance(value, dict) else {}


def _is_curve(points: Any, box_px: int) -> bool:
    """Whether ``points`` run from shell 0 to Nyquist of the box that the outcome names."""
    return (
        isinstance(points, list)
        and len(points) == box_px // 2 + 1
        and all(isinstance(point, int | float) for point in points)
    )


def curve_csv(curve: FscCurve) -> bytes:
    """Shell, frequency, resolution and correlation."""
    lines = ["shell,frequency_per_angstrom,resolution_angstrom,fsc"]
    for shell, value in enumerate(curve.values):
        resolution = f"{1 / curve.frequency(shell):.6g}" if shell else ""
        lines.append(f"{shell},{curve.frequency(shell):.6g},{resolution},{value:.6g}")
    return "\n".join([*lines, ""]).encode()


def fsc_xml(curve: FscCurve) -> bytes:
    """EMDB's exchange format: x in 1/Angstrom, y the correlation; the title says what was correlated."""
    title = quoteattr(f"{curve.meaning}, {curve.name}")
    head = f'<fsc title={title} xaxis="Resolution (A-1)" yaxis="Correlation Coefficient">'
    points = [
        f"  <coordinate>\n    <x>{curve.frequency(shell):.6g}</x>\n    <y>{value:.6g}</y>\n  </coordinate>"
        for shell, value in enumerate(curve.values)
    ]
    return "\n".join([head, *points, "</fsc>", ""]).encode()
