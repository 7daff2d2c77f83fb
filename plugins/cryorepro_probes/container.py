"""Whether this runs in a container, from the traces each kind leaves."""

from __future__ import annotations

import hashlib
import json
import os
import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cryorepro_probes.kernel import Recorded, read
from cryorepro_probes.mounts import mount_of, mounts

_IMAGE_FILES = ("APPTAINER_CONTAINER", "SINGULARITY_CONTAINER")
_HASH_SECONDS = 8.0


class ContainerProbe(Recorded):
    """Kind of container with the signs that say so, and the control group version."""

    def __init__(self, root: Path = Path("/"), environment: Mapping[str, str] | None = None) -> None:
        self.root = root
        self.environment = os.environ if environment is None else environment

    def measure(self, roles: Mapping[str, Path]) -> dict[str, Any]:
        """``kind`` is None when there is no sign; a container can hide all of them."""
        signs = self._signs()
        mount = mount_of(Path("/"), mounts(self.root))
        return {
            "kind": signs[0][0] if signs else None,
            "signs": [sign for _, sign in signs],
            **self._image(),
            "root_filesystem": mount.filesystem if mount else None,
            "cgroup_version": self._cgroup_version(),
        }

    def _signs(self) -> list[tuple[str, str]]:
        signs = []
        for kind in ("apptainer", "singularity"):
            if f"{kind.upper()}_CONTAINER" in self.environment or (self.root / f".{kind}.d").exists():
                signs.append((kind, f"{kind} environment"))
        if "KUBERNETES_SERVICE_HOST" in self.environment:
            signs.append(("kubernetes", "kubernetes service variable"))
        if (self.root / "run/.containerenv").exists():
            signs.append(("podman", "containerenv file"))
        if (self.root / ".dockerenv").exists():
            signs.append(("docker", "dockerenv file"))
        groups = f"{read(self.root / 'proc/1/cgroup')}\n{read(self.root / 'proc/self/cgroup')}"
        for word in re.findall(r"kubepods|docker|libpod|containerd|lxc|garden|slurm", groups):
            if word != "slurm" and (word, "control group name") not in signs:
                signs.append((word, "control group name"))
        return signs

    def _image(self) -> dict[str, Any]:
        """Which image: its digest as hashed here, or as the person who started it declared; labels of its build.

        From inside, an image's digest can be measured only where its file is visible (Apptainer). For others
        CRYOREPRO_IMAGE_DIGEST=sha256:… declares it, and is marked as declared.
        """
        file = next((self.environment[name] for name in _IMAGE_FILES if name in self.environment), None)
        measured = file_digest(Path(file)) if file else None
        declared = self.environment.get("CRYOREPRO_IMAGE_DIGEST", "")
        plain = declared if re.fullmatch(r"sha256:[0-9a-f]{64}", declared) else None
        labels = self._labels()
        return {
            "image_sha256": measured,
            "image_declared": plain,
            "image_from": labels.get("org.label-schema.usage.singularity.deffile.from"),
            "image_built": labels.get("org.label-schema.build-date"),
        }

    def _labels(self) -> dict[str, str]:
        try:
            content = json.loads(read(self.root / ".singularity.d/labels.json") or "{}")
        except ValueError:
            return {}
        pairs = content.items() if isinstance(content, dict) else ()
        return {
            key: value for key, value in pairs if isinstance(value, str) and re.fullmatch(r"[\w.:/+ -]{1,128}", value)
        }

    def _cgroup_version(self) -> int | None:
        lines = (read(self.root / "proc/self/cgroup") or "").splitlines()
        if not lines:
            return None
        return 2 if all(line.startswith("0::") for line in lines) else 1


def file_digest(path: Path) -> str | None:
    """sha256 of an image file; None when it is not a readable file or would take longer than 8 s."""
    deadline = time.monotonic() + _HASH_SECONDS
    digest = hashlib.sha256()
    try:
        with path.open("rb") as stream:
            while block := stream.read(1 << 22):
                digest.update(block)
                if time.monotonic() > deadline:
                    return None
    except OSError:
        return None
    return digest.hexdigest()
