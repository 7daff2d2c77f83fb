"""The program behind the runner: ``python -m cryorepro_example.program MAP MASK THRESHOLD``."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from cryorepro.em.formats.maps import read_map, write_map


def main(source: Path, destination: Path, threshold: float) -> None:
    """Write 1 where the map is above ``threshold`` and 0 elsewhere."""
    volume, pixel_size_angstrom = read_map(source)
    mask = (volume > threshold).astype(np.float32)
    write_map(destination, mask, pixel_size_angstrom)
    print(f"{int(mask.sum())} voxels above {threshold:g}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3]))
