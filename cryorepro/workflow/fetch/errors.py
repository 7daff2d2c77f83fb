"""What fetching raises. Each message is one sentence that names the file or the host."""

from __future__ import annotations

from cryorepro.em.errors import InputError


class FetchError(InputError):
    """A file cannot be had; what was fetched so far is kept."""


class Unreachable(FetchError):
    """The host cannot be reached, or kept failing: another source of the same file may be tried."""


class NotFound(FetchError):
    """The archive has no such file."""


class ChangedRemote(FetchError):
    """The archive's file is no longer the one whose beginning was read."""


class NoRanges(FetchError):
    """The server sends whole files only."""


class WrongContent(FetchError):
    """What came is not the file: an error page, another size or another sha256."""


class Interrupted(FetchError):
    """Another part of the same transfer failed, or a person stopped it."""


class Retry(Exception):
    """One try failed in a way that may pass.

    Attributes:
        after_s: What the server asked to wait.
        unreachable: Nobody answered; fewer tries are made.
        final: What it becomes when no try is left.
    """

    def __init__(
        self,
        reason: str,
        after_s: float | None = None,
        unreachable: bool = False,
        final: type[FetchError] = Unreachable,
    ) -> None:
        super().__init__(reason)
        self.after_s, self.unreachable, self.final = after_s, unreachable, final

    def given_up(self, tries: int) -> FetchError:
        """The error that ends the tries."""
        return self.final(f"{self}; given up after {tries} tries")
