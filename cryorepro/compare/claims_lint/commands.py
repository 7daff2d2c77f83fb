"""RELION commands as published: options that decide the result, options that decide only the time, and non-options."""

from __future__ import annotations

import re

# Options that change the time and the memory, not what is computed (relion_refine --help of 3.1.3).
RUNTIME = {
    "--j", "--pool", "--gpu", "--cpu", "--scratch_dir", "--keep_scratch", "--reuse_scratch", "--keep_free_scratch",
    "--preread_images", "--dont_combine_weights_via_disc", "--free_gpu_memory", "--onthefly_shifts", "--verb",
    "--no_parallel_disc_io", "--pipeline_control", "--o", "--i",
}  # fmt: skip
_ONE_DASH = re.compile(r"-[A-Za-z]\w*")


def options(command: str) -> dict[str, str]:
    """Options with two dashes and their values; what stands before ``relion_`` belongs to the launcher."""
    found: dict[str, str] = {}
    name: str | None = None
    for word in _words(command):
        if word.startswith("--"):
            name = word
            found[name] = ""
        elif _ONE_DASH.fullmatch(word):
            name = None
        elif name is not None:
            found[name] = f"{found[name]} {word}".strip()
    return found


def science_options(command: str) -> dict[str, str]:
    """The options that decide the result."""
    return {name: value for name, value in options(command).items() if name not in RUNTIME}


def runtime_options(command: str) -> tuple[tuple[str, str], ...]:
    """The options that decide only how fast it comes, in alphabetical order."""
    return tuple(sorted((name, value) for name, value in options(command).items() if name in RUNTIME))


def ignored_options(command: str) -> list[str]:
    """Words with one dash. RELION compares options as whole words that begin with two, and only warns of others."""
    return [word for word in _words(command) if _ONE_DASH.fullmatch(word)]


def _words(command: str) -> list[str]:
    words = command.split()
    start = next((index + 1 for index, word in enumerate(words) if word.startswith("relion_")), 0)
    return words[start:]
