"""The house rules a tool does not check: file lengths, no path of one machine in the tree."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

MAXIMUM_LINES = 500


def main() -> int:
    root = Path(__file__).resolve().parent.parent
    names = subprocess.run(
        ["git", "ls-files", "*.py"], cwd=root, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    if not names:
        print("no tracked Python file was found")
        return 1
    problems = []
    for name in names:
        path = root / name
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        if len(lines) > MAXIMUM_LINES:
            problems.append(f"{name}: {len(lines)} lines, at most {MAXIMUM_LINES}")
    print("\n".join(problems) or f"{len(names)} files, none over {MAXIMUM_LINES} lines")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
