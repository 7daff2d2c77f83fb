"""A run as a bundle: an RO-Crate in one zip file, which anyone can verify offline and repeat."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any


class BundleExporter:
    """Writes a bundle with the default choices; ``cryorepro export`` takes others on its command line."""

    def export(self, run: Mapping[str, Any], run_directory: Path, destination: Path) -> None:
        """Write the run in ``run_directory`` to ``destination``.

        Raises:
            InputError: the run has not ended, or something personal would leave.
        """
        from cryorepro.bundle.export import write_bundle
        from cryorepro.bundle.registered import dataset_of

        del run
        write_bundle(run_directory, destination, dataset_of(run_directory))
