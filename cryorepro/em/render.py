"""Pictures of maps: three central sections and a projection in one PNG."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import numpy as np

from cryorepro.em.formats.atomic import atomic_writer
from cryorepro.em.lowpass import Map, check_cubic

_DOTS_PER_INCH = 100


def write_sections_png(
    path: Path, volume: Map, pixel_size_angstrom: float, title: str = "", bar_angstrom: float | None = None
) -> None:
    """Write the central sections across x, y and z and the projection along z as a PNG.

    Args:
        path: file to write; replaced in one step.
        volume: map ``[z, y, x]``.
        pixel_size_angstrom: pixel size, for the scale bar.
        title: a line above the panels.
        bar_angstrom: length of the scale bar; a round fifth of the box unless given.

    Raises:
        InputError: the map is not a finite cube.
    """
    box = check_cubic(volume)
    bar = bar_angstrom or _round_length(box * pixel_size_angstrom / 5.0)
    data = _draw(section_panels(volume), bar / pixel_size_angstrom, f"{bar:g} Å", title)
    with atomic_writer(path) as stream:
        stream.write(data)


def section_panels(volume: Map) -> dict[str, np.ndarray]:
    """The panels by label: sections through voxel ``n // 2`` and the sum along z, each ``[n, n]``."""
    middle = volume.shape[0] // 2
    return {
        "section z": np.asarray(volume[middle]),
        "section y": np.asarray(volume[:, middle]),
        "section x": np.asarray(volume[:, :, middle]),
        "projection z": np.asarray(volume.sum(axis=0)),
    }


def _round_length(length: float) -> float:
    step = 10.0 ** np.floor(np.log10(length))
    return float(max(1.0, np.floor(length / step)) * step)


def _draw(panels: dict[str, np.ndarray], bar_px: float, bar_label: str, title: str) -> bytes:
    # matplotlib takes half a second to import and is needed for nothing else here.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3.0 * len(panels), 3.5), dpi=_DOTS_PER_INCH, layout="constrained")
    FigureCanvasAgg(figure)
    for axes, (label, image) in zip(figure.subplots(1, len(panels)), panels.items(), strict=True):
        low, high = np.percentile(image, (0.5, 99.8))
        axes.imshow(image, cmap="gray", origin="lower", vmin=low, vmax=max(high, low + 1e-12))
        axes.set_title(label, fontsize=9)
        axes.set_xticks([])
        axes.set_yticks([])
        edge = image.shape[0] * 0.04
        axes.plot([edge, edge + bar_px], [edge, edge], color="white", linewidth=3)
        axes.text(edge + bar_px / 2, 1.6 * edge, bar_label, color="white", ha="center", va="bottom", fontsize=8)
    if title:
        figure.suptitle(title, fontsize=10)
    buffer = BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()
