"""The one error every reader raises when what it was given is wrong."""

from __future__ import annotations


class InputError(ValueError):
    """Input from outside the program is missing, malformed or out of range.

    The message is one sentence that names the file (or option) and the field. The command line prints it
    and exits with code 2; nothing has been changed when it is raised.
    """
