"""`python -m agenticos.bench NAME …`: one JSON line per figure, also into var/bench.jsonl."""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# What is measured -> the module beside this one whose `run` does it.
MODULES = {
    "api-campaign": "api_campaign",
    "dispatch": "dispatch",
    "dispatch-50ms": "dispatch",
    "dispatch-2": "dispatch_2",
    "claim": "claim",
    "fairness": "fairness",
    "import": "importing",
    "api-bulk": "api_bulk",
    "leads-page": "leads_page",
    "memory": "memory",
    "isolation": "isolation",
    "pages": "pages",
    "preview": "preview",
    "rescore": "rescore",
}
NAMES = tuple(MODULES)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m agenticos.bench", description=__doc__)
    parser.add_argument("names", nargs="*", help=f"which: {', '.join(NAMES)} (all)")
    parser.add_argument("-n", type=int, default=0, help="how much work (each has its own default)")
    parser.add_argument(
        "--database-url",
        default=os.environ.get("BENCH_DATABASE_URL", "postgres://postgres@127.0.0.1:5432/postgres"),
        help="a PostgreSQL server, or `sqlite`",
    )
    parser.add_argument("--run", help=argparse.SUPPRESS)
    args = parser.parse_args()
    url = "" if args.database_url == "sqlite" else args.database_url
    if args.run:
        module = import_module(f"agenticos.bench.{MODULES[args.run]}")
        found = module.run(args.run, args.n, url)
        for figure in found if isinstance(found, list) else [found]:
            figure["versions"] = {
                "python": platform.python_version(),
                **{name: version(name) for name in ("django", "django-q2", "httpx", "psycopg")},
            }
            figure["at"] = datetime.now(UTC).isoformat(timespec="seconds")
            line = json.dumps(figure)
            print(line, flush=True)
            (ROOT / "var").mkdir(exist_ok=True)
            with (ROOT / "var" / "bench.jsonl").open("a") as log:
                log.write(line + "\n")
        return 0
    code = 0
    for name in args.names or NAMES:
        if name not in NAMES:
            parser.error(f"there is no benchmark “{name}”; there are: {', '.join(NAMES)}")
        # A process each: settings are read once, and memory starts from nothing.
        command = [sys.executable, "-m", "agenticos.bench", "--run", name, "-n", str(args.n)]
        command += ["--database-url", args.database_url]
        code = max(code, subprocess.run(command, cwd=ROOT, check=False).returncode)
    return code


if __name__ == "__main__":
    sys.exit(main())
