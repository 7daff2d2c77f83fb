"""The filesystem probe, held against stat, and shown other machines' mounts."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryorepro_probes.filesystems import FilesystemProbe
from cryorepro_probes.mounts import Mount, device_class, mount_of, mounts

from tests.plugins.showing import told, write


def test_filesystems_agree_with_stat_and_tell_which_are_shared(tmp_path: Path) -> None:
    roles = {"input": tmp_path, "output": tmp_path / "not" / "yet" / "there", "scratch": Path("/dev/shm")}
    measured = FilesystemProbe().measure(roles)["roles"]
    assert measured["input"]["filesystem_number"] == measured["output"]["filesystem_number"]
    assert measured["input"]["filesystem_number"] != measured["scratch"]["filesystem_number"]
    for role, path in (("input", tmp_path), ("scratch", Path("/dev/shm"))):
        kind, total, block = told("stat", "-f", "-c", "%T %b %S", str(path)).split()
        assert measured[role]["total_bytes"] == int(total) * int(block)
        assert kind.split("/")[0][:3] in (measured[role]["type"] + "overlayfs")
    assert measured["scratch"]["device"] == {"class": "memory"}


MOUNTINFO = r"""
22 1 259:2 / / rw,relatime shared:1 - ext4 /dev/nvme0n1p2 rw,errors=remount-ro
30 22 0:40 / /home rw,nosuid - nfs4 fileserver.example.org:/export/home rw,vers=4.2,rsize=1048576,addr=10.1.2.3,clientaddr=10.1.2.4
31 22 0:41 / /scratch rw - lustre 10.0.0.1@o2ib:/scratch rw,flock,user_xattr
32 22 0:42 / /mnt/with\040space rw - fuse.sshfs alice@login: rw,user_id=1000,group_id=1000,max_read=65536
33 22 8:1 / /data rw - xfs /dev/sda1 rw,logbufs=8
34 33 0:43 / /data rw - overlay overlay rw,lowerdir=/home/alice/a,upperdir=/home/alice/b,workdir=/home/alice/c
35 22 0:44 / /windows rw - cifs //server/alice rw,username=alice,vers=3.0,cache=strict,cruid=/tmp/x
36 22 0:45 / /odd rw - fuse.somethingnew x rw
"""  # noqa: E501 - lines of the kernel


@pytest.mark.parametrize(
    ("path", "kind", "place", "options"),
    [
        ("/usr", "ext4", "local", ["relatime", "rw"]),
        ("/home/alice/run", "nfs4", "network", ["nosuid", "rsize=1048576", "rw", "vers=4.2"]),
        ("/homestead", "ext4", "local", ["relatime", "rw"]),
        ("/scratch/x", "lustre", "network", ["flock", "rw"]),
        ("/mnt/with space/x", "fuse.sshfs", "network", ["max_read=65536", "rw"]),
        ("/data/x", "overlay", "local", ["rw"]),
        ("/windows", "cifs", "network", ["cache=strict", "rw", "vers=3.0"]),
        ("/odd", "fuse.somethingnew", "unknown", ["rw"]),
    ],
)
def test_mounts(tmp_path: Path, path: str, kind: str, place: str, options: list[str]) -> None:
    table = mounts(write(tmp_path, {"proc/self/mountinfo": MOUNTINFO}))
    mount = mount_of(Path(path), table)
    assert mount is not None
    assert (mount.filesystem, mount.place, mount.safe_options()) == (kind, place, options)


@pytest.mark.parametrize(
    ("device", "rotational", "expected"),
    [("nvme0n1", "0", "nvme"), ("sda", "0", "ssd"), ("sdb", "1", "rotating-disk"), ("vda", "1", "virtual-disk"),
     ("dm-0", "0", "dm"), ("md127", "1", "md"), ("sdc", "", "unknown")],
)  # fmt: skip
def test_device_class_of_a_partition_is_its_disks(tmp_path: Path, device: str, rotational: str, expected: str) -> None:
    disk = f"sys/devices/pci/{device}"
    files = {f"{disk}/queue/rotational": rotational, f"{disk}/part1/partition": "1", f"{disk}/slaves/sdx3/size": "1"}
    root = write(tmp_path, files | {f"{disk}/queue/scheduler": "none [mq-deadline]"})
    (root / "sys/dev/block").mkdir(parents=True)
    (root / "sys/dev/block/8:1").symlink_to(root / disk / "part1")
    found = device_class(Mount("8:1", "/", "ext4", ""), root)
    assert (found["class"], found["scheduler"], found["members"]) == (expected, "mq-deadline", ["sdx"])
    assert device_class(Mount("0:40", "/", "nfs4", ""), root) == {"class": "network"}
