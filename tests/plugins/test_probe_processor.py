"""The processor and memory probes, held against lscpu and free, and shown other machines as files."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryorepro_probes.cpu import CpuProbe, ranges
from cryorepro_probes.memory import MemoryProbe

from tests.plugins.showing import told, write


def test_cpu_agrees_with_coreutils_and_lscpu() -> None:
    measured = CpuProbe().measure({})
    assert measured["affinity_cores"] == int(told("nproc"))
    assert 0 < measured["usable_cores"] <= measured["affinity_cores"] <= measured["cores_logical"]
    lines = told("lscpu").splitlines()
    said = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    assert measured["architecture"] == said["Architecture"]
    assert measured["model"] == said["Model name"]
    assert set(measured["flags"]) == set(said["Flags"].split())


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({"proc/self/cgroup": "0::/job\n", "sys/fs/cgroup/job/cpu.max": "150000 100000\n"}, 1.5),
        ({"proc/self/cgroup": "0::/job\n", "sys/fs/cgroup/job/cpu.max": "max 100000\n"}, None),
        # the tighter limit is on a group above
        (
            {
                "proc/self/cgroup": "0::/a/b\n",
                "sys/fs/cgroup/a/cpu.max": "400000 100000",
                "sys/fs/cgroup/a/b/cpu.max": "800000 100000",
            },
            4.0,
        ),
        # a container sees its own group at the top of the mount
        ({"proc/self/cgroup": "0::/kubepods/x\n", "sys/fs/cgroup/cpu.max": "200000 100000"}, 2.0),
        (
            {
                "proc/self/cgroup": "4:cpu,cpuacct:/slurm/job_7\n1:name=systemd:/\n",
                "sys/fs/cgroup/cpu,cpuacct/slurm/job_7/cpu.cfs_quota_us": "350000",
                "sys/fs/cgroup/cpu,cpuacct/slurm/job_7/cpu.cfs_period_us": "100000",
            },
            3.5,
        ),
        (
            {
                "proc/self/cgroup": "4:cpu:/\n",
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1",
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000",
            },
            None,
        ),
        ({"proc/self/cgroup": "0::/../../etc\n", "sys/fs/cgroup/cpu.max": "garbage"}, None),
        ({}, None),
    ],
)
def test_cpu_quota_of_control_groups(tmp_path: Path, files: dict[str, str], cores: float | None) -> None:
    assert CpuProbe(write(tmp_path, files)).quota_cores() == cores


def test_cpu_frequency_policy_caches_and_topology(tmp_path: Path) -> None:
    cpu = "sys/devices/system/cpu"
    root = write(
        tmp_path,
        {
            "proc/cpuinfo": "processor: 0\nmodel name\t: Example 9000\nflags\t\t: fpu avx2\n\nmodel name : Other\n",
            f"{cpu}/cpu0/cpufreq/scaling_governor": "powersave\n",
            f"{cpu}/cpu1/cpufreq/scaling_governor": "performance\n",
            f"{cpu}/cpu0/cpufreq/cpuinfo_max_freq": "3900000\n",
            f"{cpu}/intel_pstate/no_turbo": "1\n",
            f"{cpu}/smt/active": "1\n",
            f"{cpu}/cpu0/cache/index0/level": "1\n",
            f"{cpu}/cpu0/cache/index0/type": "Data\n",
            f"{cpu}/cpu0/cache/index0/size": "32K\n",
            f"{cpu}/cpu0/cache/index0/shared_cpu_list": "0-1\n",
            f"{cpu}/vulnerabilities/meltdown": "Mitigation: PTI\n",
            "sys/devices/system/node/node0/cpulist": "0",
            "sys/devices/system/node/node1/cpulist": "1",
        },
    )
    measured = CpuProbe(root).measure({})
    assert measured["model"] == "Example 9000"
    assert measured["flags"] == ["avx2", "fpu"]
    assert measured["frequency"]["governors"] == ["performance", "powersave"]
    assert measured["frequency"]["maximum_khz"] == 3900000
    assert measured["frequency"]["boost"] is False
    assert measured["smt_active"] is True
    assert measured["numa_nodes"] == 2
    assert measured["caches"] == [{"level": "1", "type": "Data", "size": "32K", "shared_cpu_list": "0-1"}]
    assert measured["mitigations"] == {"meltdown": "Mitigation: PTI"}


def test_ranges() -> None:
    assert ranges([0, 1, 2, 3, 8, 10, 11]) == "0-3,8,10-11"
    assert ranges([]) == ""


def test_memory_agrees_with_free_and_honours_limits(tmp_path: Path) -> None:
    assert MemoryProbe().measure({})["total_bytes"] == int(told("free", "-b").splitlines()[1].split()[1])
    root = write(
        tmp_path,
        {
            "proc/meminfo": "MemTotal: 1000 kB\nMemAvailable: 600 kB\nSwapTotal: 0 kB\nHugePages_Total: 4\n",
            "proc/self/cgroup": "4:memory:/job\n",
            "sys/fs/cgroup/memory/job/memory.limit_in_bytes": "512000\n",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
            "sys/kernel/mm/transparent_hugepage/enabled": "always [madvise] never\n",
        },
    )
    measured = MemoryProbe(root).measure({})
    assert measured["total_bytes"] == 1024000
    assert measured["cgroup_limit_bytes"] == measured["usable_bytes"] == 512000
    assert measured["huge_pages_reserved"] == 4
    assert measured["transparent_huge_pages"] == "madvise"


def test_memory_of_a_machine_without_meminfo_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="MemTotal"):
        MemoryProbe(tmp_path).measure({})
