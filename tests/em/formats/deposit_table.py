"""A particle table shaped like the deposited one of EMPIAR-10028, made without the package under test."""

from __future__ import annotations

from pathlib import Path

ROWS = 105_247
LABELS = [
    "rlnVoltage", "rlnDefocusU", "rlnDefocusV", "rlnDefocusAngle", "rlnSphericalAberration", "rlnDetectorPixelSize",
    "rlnCtfFigureOfMerit", "rlnMagnification", "rlnAmplitudeContrast", "rlnImageName", "rlnCoordinateX",
    "rlnCoordinateY", "rlnNormCorrection", "rlnMicrographName", "rlnGroupNumber", "rlnOriginX", "rlnOriginY",
    "rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi",
]  # fmt: skip


def deposit(path: Path, rows: int, stray_line: int | None, token: str = "9") -> Path:
    """A table of the deposit's shape, with a token alone on a 1-based line."""
    head = ["", "data_images", "", "loop_ ", *(f"_{label} #{i} " for i, label in enumerate(LABELS, start=1))]
    body = [
        f"  300.000000 20132.210938 20241.300781 {i % 90:12.6f}     2.000000    14.000000     0.100000 "
        f"104478.000000     0.100000 {i % 100 + 1:06d}@Particles/MRC/{i // 100:04d}.mrcs 11 22 0.9 m/{i // 100}.mrc "
        f"{i // 100 + 1} -1.5 2.25 10 20 30 "
        for i in range(rows)
    ]
    lines = [*head, *body, " ", ""]
    if stray_line is not None:
        lines.insert(stray_line - 1, token)
    path.write_text("\n".join(lines))
    return path
