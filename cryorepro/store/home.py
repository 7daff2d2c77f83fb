"""Where runs, data, truth and the index live, and how a run gets its name."""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cryorepro.em.errors import InputError
from cryorepro.store.chain import EVENTS
from cryorepro.store.errors import StoreError, storage_error
from cryorepro.store.files import is_file

HOME_VARIABLE = "CRYOREPRO_HOME"
INDEX_VARIABLE = "CRYOREPRO_INDEX"
CACHE_VARIABLE = "CRYOREPRO_CACHE"
LATEST = "latest"
_LETTERS = "abcdefghijkmnpqrstuvwxyz23456789"


@dataclass(frozen=True, slots=True)
class Home:
    """A store's folders. ``index`` may lie elsewhere, because SQLite needs a local disk and runs do not."""

    root: Path
    index: Path

    @classmethod
    def locate(cls, environment: Mapping[str, str] | None = None) -> Home:
        """``CRYOREPRO_HOME``, else ``XDG_DATA_HOME/cryorepro``, else ``~/.local/share/cryorepro``.

        ``CRYOREPRO_INDEX`` names the index file when it must not lie in there. Nothing is created.
        """
        env = os.environ if environment is None else environment
        given, data_home = env.get(HOME_VARIABLE, ""), env.get("XDG_DATA_HOME", "")
        if given:
            root = Path(given).expanduser().absolute()
        elif Path(data_home).is_absolute():  # the XDG specification has relative paths ignored
            root = Path(data_home) / "cryorepro"
        else:
            root = Path(env.get("HOME") or Path.home()) / ".local" / "share" / "cryorepro"
        index = env.get(INDEX_VARIABLE, "")
        return cls(root, Path(index).expanduser().absolute() if index else root / "index.sqlite")

    @classmethod
    def at(cls, root: Path) -> Home:
        """The store in ``root``, with its index inside."""
        return cls(root.absolute(), root.absolute() / "index.sqlite")

    @property
    def runs(self) -> Path:
        """One directory per run."""
        return self.root / "runs"

    @property
    def data(self) -> Path:
        """Datasets and twins, as runners may read them."""
        return self.root / "data"

    @property
    def cache(self) -> Path:
        """Files of public archives; ``CRYOREPRO_CACHE`` puts them elsewhere, such as a disk several people share."""
        given = os.environ.get(CACHE_VARIABLE, "")
        return Path(given).expanduser().absolute() if given else self.root / "cache"

    @property
    def calibrations(self) -> Path:
        """How well each machine that used this store repeats itself."""
        return self.root / "calibrations"

    @property
    def truth(self) -> Path:
        """The truth of twins: mode 0700, and never named to a runner."""
        return self.root / "truth"

    def ensure(self) -> Home:
        """Make the folders that are missing and check that runs can be written.

        Raises:
            StoreError: the store is read-only or cannot be made.
        """
        for folder, mode in ((self.root, 0o777), (self.runs, 0o777), (self.data, 0o777), (self.truth, 0o700)):
            try:
                folder.mkdir(parents=True, exist_ok=True, mode=mode)
            except OSError as error:
                raise storage_error("create", folder, error) from error
        try:
            self.truth.chmod(0o700)
        except OSError as error:
            raise storage_error("close to others", self.truth, error) from error
        if not os.access(self.runs, os.W_OK | os.X_OK):
            raise StoreError(f"cannot write in {self.runs}: the store is read-only")
        return self

    def new_run(self) -> tuple[str, Path]:
        """A new run's identifier and its empty directory; no two processes get the same.

        Raises:
            StoreError: the store is read-only or full.
        """
        self.ensure()
        while True:
            run_uid = new_run_uid()
            directory = self.runs / run_uid
            try:
                directory.mkdir()
            except FileExistsError:
                continue
            except OSError as error:
                raise storage_error("create", directory, error) from error
            return run_uid, directory

    def run_uids(self) -> list[str]:
        """Identifiers of all runs that have a journal, oldest first; none when there is no store yet.

        Raises:
            StoreError: the store cannot be read.
        """
        try:
            with os.scandir(self.runs) as entries:
                names = [entry.name for entry in entries if not entry.name.startswith(".")]
        except FileNotFoundError:
            return []
        except OSError as error:
            raise storage_error("read", self.runs, error) from error
        return sorted(name for name in names if is_file(self.runs / name / EVENTS))

    def find_run(self, prefix: str) -> Path:
        """The directory of the one run whose name starts or ends with ``prefix``; ``latest`` is the newest.

        Raises:
            InputError: no run or several runs match.
        """
        uids = self.run_uids()
        if prefix == LATEST and uids:
            return self.runs / uids[-1]
        fits = [uid for uid in uids if prefix and (uid.startswith(prefix) or uid.endswith(prefix))]
        matches = [prefix] if prefix in fits else fits
        if len(matches) == 1:
            return self.runs / matches[0]
        if not matches:
            raise InputError(f"no run is called {prefix!r} in {self.runs}")
        shown = ", ".join(matches[:4]) + (", ..." if len(matches) > 4 else "")
        raise InputError(f"{len(matches)} runs are called {prefix!r} in {self.runs}: {shown}")


def new_run_uid() -> str:
    """``20261120T111505123-k7m2qx``: UTC to the millisecond, so that names sort by time; 30 random bits."""
    now = datetime.now(UTC)
    tail = "".join(secrets.choice(_LETTERS) for _ in range(6))
    return f"{now:%Y%m%dT%H%M%S}{now.microsecond // 1000:03d}-{tail}"
