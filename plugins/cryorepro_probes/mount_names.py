"""Names of filesystems and of mount options that say nothing about persons or places."""

from __future__ import annotations

_NETWORK = """
nfs nfs4 cifs smb3 smbfs lustre gpfs beegfs ceph glusterfs afs panfs wekafs orangefs pvfs2 davfs ocfs2 gfs2 9p
virtiofs vboxsf vmhgfs prl_fs fuse.sshfs fuse.glusterfs fuse.ceph-fuse fuse.s3fs fuse.gcsfuse fuse.rclone
fuse.davfs2 fuse.juicefs fuse.JuiceFS fuse.mount-s3 fuse.blobfuse2 fuse.cvmfs2
"""

_LOCAL = """
ext2 ext3 ext4 xfs btrfs zfs f2fs jfs reiserfs bcachefs vfat exfat ntfs ntfs3 apfs hfsplus iso9660 squashfs
tmpfs ramfs devtmpfs overlay aufs
"""

_OPTIONS = """
ro rw sync async noatime relatime strictatime nodiratime lazytime discard nodiscard data commit barrier
nobarrier journal_async_commit delalloc nodelalloc dax inode32 inode64 logbufs logbsize noquota largeio
swalloc stripe allocsize compress compress-force ssd ssd_spread nodatacow nodatasum autodefrag space_cache
size nr_inodes huge rsize wsize vers nfsvers proto nconnect hard soft timeo retrans local_lock lock nolock
flock localflock actimeo acregmin acregmax acdirmin acdirmax noac ac nocto cto fsc cache xattr noxattr
max_read cached nosuid nodev noexec
"""

NETWORK = frozenset(_NETWORK.split())
"""Filesystems whose data are on another machine, or shared with one."""

LOCAL = frozenset(_LOCAL.split())

OPTIONS = frozenset(_OPTIONS.split())
"""Options to keep; those whose values hold paths, addresses or users (lowerdir, addr, …) are not here."""
