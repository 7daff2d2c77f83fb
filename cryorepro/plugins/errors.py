"""What goes wrong with a plugin after it was accepted."""

from __future__ import annotations

from cryorepro.em.errors import InputError


class PluginError(InputError):
    """A plugin's implementation is missing, broken or not what its descriptor says.

    The message is one sentence that names the plugin with its distribution and version. It is an InputError
    because a plugin comes from outside, like a file: the command line prints the sentence, with exit code 2.
    """


class ContractError(ValueError):
    """A plugin module or descriptor breaks the contract; the message is the sentence its refusal shows."""


def one_line(error: BaseException, limit: int = 300) -> str:
    """``Type: message`` on one line of at most ``limit`` characters; never raises itself."""
    try:
        text = " ".join(str(error).split())
    except Exception as failure:  # noqa: BLE001 - a plugin's exception class may itself be broken
        text = f"(its message cannot be read: {type(failure).__name__})"
    text = f"{type(error).__name__}: {text}" if text else type(error).__name__
    return text if len(text) <= limit else text[: limit - 1] + "…"
