"""The index is refused wherever a second machine could open it."""

from __future__ import annotations

from pathlib import Path

import pytest

from cryorepro.store.errors import StoreError
from cryorepro.store.home import Home
from cryorepro.store.index import Index
from cryorepro.store.netfs import parse_mountinfo, require_local

ROOT = "22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw\n"


def line(point: str, kind: str, source: str = "server:/export") -> str:
    return f"90 22 0:44 / {point} rw,relatime shared:9 master:1 - {kind} {source} rw,vers=4.2\n"


@pytest.mark.parametrize(
    "kind",
    ["nfs", "nfs4", "cifs", "smb3", "lustre", "gpfs", "beegfs", "ceph", "glusterfs", "fuse.glusterfs",
     "fuse.sshfs", "9p", "afs", "fuse.s3fs", "fuse.juicefs", "panfs", "wekafs", "pvfs2", "virtiofs",
     "fuse.rclone", "brandnewfs"],
)  # fmt: skip
def test_a_network_filesystem_is_refused_in_one_sentence(kind: str) -> None:
    with pytest.raises(StoreError) as caught:
        require_local(Path("/shared/group/store/index.sqlite"), ROOT + line("/shared", kind))
    message = str(caught.value)
    assert "/shared/group/store/index.sqlite" in message and kind in message and "CRYOREPRO_INDEX" in message
    assert "\n" not in message and ". " not in message


@pytest.mark.parametrize("kind", ["ext4", "xfs", "btrfs", "zfs", "tmpfs", "overlay"])
def test_a_local_disk_is_taken(kind: str) -> None:
    require_local(Path("/scratch/index.sqlite"), ROOT + line("/scratch", kind, "/dev/sdb"))


def test_the_innermost_and_the_last_mount_decide() -> None:
    text = ROOT + line("/home", "nfs4") + line("/home/me/local", "xfs", "/dev/sdb") + line("/homes", "nfs4")
    require_local(Path("/home/me/local/index.sqlite"), text)
    require_local(Path("/home2/index.sqlite"), text)
    require_local(Path("/anywhere/index.sqlite"), text)
    with pytest.raises(StoreError):
        require_local(Path("/home/me/index.sqlite"), text)
    over = ROOT + line("/data", "nfs4") + line("/data", "ext4", "/dev/sdb")
    require_local(Path("/data/index.sqlite"), over)
    under = ROOT + line("/data", "ext4", "/dev/sdb") + line("/data", "nfs4")
    with pytest.raises(StoreError):
        require_local(Path("/data/index.sqlite"), under)


def test_names_with_spaces_and_links_are_understood(tmp_path: Path) -> None:
    real = tmp_path / "my data"
    real.mkdir()
    (tmp_path / "link").symlink_to(real)
    escaped = str(real).replace(" ", "\\040")
    with pytest.raises(StoreError, match="nfs4"):
        require_local(tmp_path / "link/index.sqlite", ROOT + line(escaped, "nfs4"))


def test_lines_of_another_form_are_passed_over() -> None:
    mounts = parse_mountinfo("\nnonsense\n1 2 3 - ext4\n" + ROOT)
    assert [(mount.point, mount.type) for mount in mounts] == [("/", "ext4")]


def test_the_index_is_not_opened_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = tmp_path / "mountinfo"
    fake.write_text(ROOT + line(str(tmp_path), "nfs4"))
    monkeypatch.setattr("cryorepro.store.netfs.MOUNTINFO", fake)
    home = Home.at(tmp_path / "store")
    with pytest.raises(StoreError, match="SQLite needs a local disk"):
        Index.open(home)
    assert not home.index.exists()
