"""Where the real data for tests is; a test that needs it fails when it is absent."""

from __future__ import annotations

import os
from pathlib import Path


def real_data(*parts: str) -> Path:
    """A path below CRYOREPRO_TEST_DATA, by default ``../shared/data`` beside the repository."""
    default = Path(__file__).resolve().parents[3] / "shared" / "data"
    path = Path(os.environ.get("CRYOREPRO_TEST_DATA", default)).joinpath(*parts)
    assert path.exists(), f"{path} is missing: set CRYOREPRO_TEST_DATA to the folder with the real data"
    return path
