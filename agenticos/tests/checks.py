"""`make check` but for the tests: every tool, one after the other, all of them in any case."""

from __future__ import annotations

import os
import subprocess
import sys
import time

from agenticos.tests.environment import ROOT, VALUES

MANAGE = [sys.executable, "manage.py"]
STEPS: list[tuple[str, list[str]]] = [
    ("format", [sys.executable, "-m", "ruff", "format", "--check", "--quiet", "."]),
    ("lint", [sys.executable, "-m", "ruff", "check", "--quiet", "."]),
    ("types", [sys.executable, "-m", "mypy", "--no-error-summary", "."]),
    (
        "stairs",
        [
            *(sys.executable, "-c"),
            "from importlinter.cli import lint_imports_command as run; run()",
        ],
    ),
    ("templates", [sys.executable, "-m", "djlint", "templates", "--lint", "--quiet"]),
    ("system", [*MANAGE, "check", "--fail-level", "WARNING"]),
    ("migrations", [*MANAGE, "makemigrations", "--check", "--dry-run"]),
    ("old code", [sys.executable, "-m", "agenticos.tests.lint_migrations"]),
    ("texts", [*MANAGE, "translations", "check"]),
]


def main() -> int:
    """Print a line per step, and the output of those that fail; return 1 if any did."""
    # A fresh clone has no folder for a database yet, and no step needs one that stays.
    environment = {**os.environ, **VALUES, "DATABASE_URL": "sqlite://:memory:"}
    failed = []
    for name, command in STEPS:
        began = time.monotonic()
        done = subprocess.run(
            command,
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        outcome = "FAILED" if done.returncode else "ok"
        print(f"{name:<11} {outcome}  ({time.monotonic() - began:.1f} s)", flush=True)
        if done.returncode:
            failed.append(name)
            print(done.stdout, flush=True)
    if failed:
        print(f"Not in order: {', '.join(failed)}.", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
