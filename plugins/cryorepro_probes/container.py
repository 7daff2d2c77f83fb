"""Whether this runs in a container, from the traces each kind leaves."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cryorepro_probes.kernel import read
from cryorepro_probes.mounts import mount_of, mounts


class ContainerProbe:
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

    def _cgroup_version(self) -> int | None:
        lines = (read(self.root / "proc/self/cgroup") or "").splitlines()
        if not lines:
            return None
        return 2 if all(line.startswith("0::") for line in lines) else 1
