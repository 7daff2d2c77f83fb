"""What the kernel does for a stage: die with its parent, be adopted when orphaned, not read the truth.

The truth of a twin is denied to stages with Landlock (Linux 5.13 or later, no privilege needed). Landlock only
grants, so every neighbour on the way to a denied directory is granted instead; a file made later right beside one
of its parents is then unreadable too, which is why a stage gets a temporary directory of its own. Where the kernel
lacks Landlock, the truth is merely elsewhere and unnamed; the attempt's report says which of the two held.
"""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER, _PR_SET_NO_NEW_PRIVS = 1, 36, 38
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_VERSION_FLAG, _RULE_PATH_BENEATH = 1, 1
_READ_FILE, _REFER = 1 << 2, 1 << 13

_libc = ctypes.CDLL(None, use_errno=True)


class _Ruleset(ctypes.Structure):
    _fields_ = [("handled_access_fs", ctypes.c_uint64)]


class _PathBeneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = [("allowed_access", ctypes.c_uint64), ("parent_fd", ctypes.c_int32)]


def signal_when_parent_dies(number: int) -> None:
    """Have the kernel send ``number`` to this process when its parent ends, however it ends."""
    _libc.prctl(_PR_SET_PDEATHSIG, number, 0, 0, 0)


def adopt_orphans() -> None:
    """Become the parent of descendants whose own parent ends, so that none escapes."""
    _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def supported() -> bool:
    """Whether this kernel can deny directories to a process."""
    return bool(_libc.syscall(_CREATE_RULESET, None, 0, _VERSION_FLAG) >= 1)


def deny(directories: list[Path]) -> None:
    """Forbid this process and all it starts to read anything below ``directories``, for good.

    Raises:
        OSError: the kernel refused; the caller must not go on.
    """
    handled = _handled()
    attributes = _Ruleset(handled)
    ruleset = _checked(_libc.syscall(_CREATE_RULESET, ctypes.byref(attributes), ctypes.sizeof(attributes), 0))
    for path in _neighbours([directory.resolve() for directory in directories]):
        _grant(ruleset, path, handled)
    _checked(_libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
    _checked(_libc.syscall(_RESTRICT_SELF, ruleset, 0))
    os.close(ruleset)


def _handled() -> int:
    """Reading, and moving between directories, which Landlock forbids from its second version on unless granted."""
    version = int(_libc.syscall(_CREATE_RULESET, None, 0, _VERSION_FLAG))
    return _READ_FILE | (_REFER if version >= 2 else 0)


def _neighbours(denied: list[Path]) -> list[Path]:
    """The largest subtrees that contain none of ``denied`` and together cover everything else."""
    granted: list[Path] = []
    pending = [Path("/")]
    while pending:
        directory = pending.pop()
        with os.scandir(directory) as entries:
            for entry in entries:
                path = directory / entry.name
                if path in denied or entry.is_symlink():
                    continue  # what a link points to is granted, or not, where it really is
                if any(target.is_relative_to(path) for target in denied):
                    pending.append(path)
                else:
                    granted.append(path)
    return granted


def _grant(ruleset: int, path: Path, handled: int) -> None:
    try:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return  # gone, or not ours to open: it stays denied
    try:
        rule = _PathBeneath(handled if path.is_dir() else _READ_FILE, descriptor)
        _libc.syscall(_ADD_RULE, ruleset, _RULE_PATH_BENEATH, ctypes.byref(rule), 0)
    finally:
        os.close(descriptor)


def _checked(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return int(result)
