"""Virtual machine and cloud instance: by the firmware's words, and by the metadata service where one is known.

The metadata service is asked only when the firmware says that this is a known cloud, or when
CRYOREPRO_CLOUD_METADATA=1; with 0 never. Each request may take 200 ms. Only the type of the instance and its
region are asked for: no identifier, account, address or tag.
"""

from __future__ import annotations

import json
import os
import re
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cryorepro_probes.kernel import Recorded, keep, key_values, read

TIMEOUT_S = 0.2
_SERVICE = "http://169.254.169.254"
_CLOUDS = {"Amazon EC2": "aws", "Google": "gcp", "Microsoft Corporation": "azure", "OpenStack Foundation": "openstack"}
_LARGEST_BYTES = 65_536


class CloudProbe(Recorded):
    """Hypervisor, cloud, instance type and region."""

    def __init__(
        self, root: Path = Path("/"), service: str = _SERVICE, environment: Mapping[str, str] | None = None
    ) -> None:
        self.root = root
        self.service = service
        self.environment = os.environ if environment is None else environment

    def measure(self, roles: Mapping[str, Path]) -> dict[str, Any]:
        """``asked`` says whether the metadata service was; ``instance_type`` is None when it did not answer."""
        dmi = self.root / "sys/class/dmi/id"
        vendor = read(dmi / "sys_vendor")
        cloud = _CLOUDS.get(vendor or "")
        if cloud == "azure" and read(dmi / "chassis_asset_tag") != "7783-7084-3265-9085-8269-3286-77":
            cloud = None  # Hyper-V or a Surface; the tag is Azure's
        switch = self.environment.get("CRYOREPRO_CLOUD_METADATA")
        asked = switch == "1" or (cloud is not None and switch != "0")
        answer = self._instance(cloud) if asked else {}
        flags = key_values(read(self.root / "proc/cpuinfo"), ":").get("flags", "").split()
        return {
            "virtual": "hypervisor" in flags,
            "hypervisor": read(self.root / "sys/hypervisor/type"),
            "cloud": answer.get("cloud") or cloud,
            "asked": asked,
            "instance_type": _word(answer.get("type")),
            "region": _word(answer.get("region")),
        }

    def _instance(self, cloud: str | None) -> dict[str, str]:
        ways = {"aws": self._aws, "gcp": self._gcp, "azure": self._azure}
        for name in [cloud] if cloud in ways else list(ways):
            found = ways[str(name)]()
            if found:
                return {"cloud": str(name), **found}
        return {}

    def _aws(self) -> dict[str, str]:
        token = self._ask("/latest/api/token", {"X-aws-ec2-metadata-token-ttl-seconds": "60"}, "PUT", secret=True)
        headers = {"X-aws-ec2-metadata-token": token or ""}
        kind = self._ask("/latest/meta-data/instance-type", headers) if token else None
        return {"type": kind, "region": self._ask("/latest/meta-data/placement/region", headers) or ""} if kind else {}

    def _gcp(self) -> dict[str, str]:
        headers = {"Metadata-Flavor": "Google"}
        kind = self._ask("/computeMetadata/v1/instance/machine-type", headers)
        zone = self._ask("/computeMetadata/v1/instance/zone", headers) if kind else None
        return {"type": kind.rpartition("/")[2], "region": (zone or "").rpartition("/")[2]} if kind else {}

    def _azure(self) -> dict[str, str]:
        text = self._ask("/metadata/instance/compute?api-version=2021-02-01", {"Metadata": "true"}, secret=True)
        try:
            compute = json.loads(text or "{}")
        except ValueError:
            return {}
        return {"type": compute["vmSize"], "region": compute.get("location", "")} if "vmSize" in compute else {}

    def _ask(self, path: str, headers: Mapping[str, str], method: str = "GET", secret: bool = False) -> str | None:
        request = urllib.request.Request(self.service + path, headers=dict(headers), method=method)
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # a proxy is no metadata service
        try:
            with opener.open(request, timeout=TIMEOUT_S) as answer:
                text = answer.read(_LARGEST_BYTES).decode(errors="replace").strip()
        except (OSError, urllib.error.URLError, ValueError):
            return None
        if not secret:
            keep(path, text)
        return str(text)


def _word(text: str | None) -> str | None:
    return text if text and re.fullmatch(r"[\w.-]{1,64}", text) else None
