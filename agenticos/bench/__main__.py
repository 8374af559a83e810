"""`python -m agenticos.bench NAME …`: one JSON line per figure, also into var/bench.jsonl.

With `--times 3` each is run three times, and its median goes into README's table.
"""

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

from agenticos.bench import table

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
    "peers": "peers.compare",
    "preview": "preview",
    "rescore": "rescore",
}
NAMES = tuple(MODULES)
ONLY_WHEN_ASKED = ("peers",)  # they need packages of their own
ON_SQLITE_TOO = ("dispatch", "import")  # in the table


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m agenticos.bench", description=__doc__)
    parser.add_argument("names", nargs="*", help=f"which: {', '.join(NAMES)} (all)")
    parser.add_argument("-n", type=int, default=0, help="how much work (each has its own default)")
    parser.add_argument(
        "--database-url",
        default=os.environ.get("BENCH_DATABASE_URL", "postgres://postgres@127.0.0.1:5432/postgres"),
        help="a PostgreSQL server, or `sqlite`",
    )
    parser.add_argument("--times", type=int, default=1, help="runs; more than one: README's table")
    parser.add_argument("--run", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.run:
        _run(args.run, args.n, "" if args.database_url == "sqlite" else args.database_url)
        return 0
    code = 0
    for name in args.names or [name for name in NAMES if name not in ONLY_WHEN_ASKED]:
        if name not in NAMES:
            parser.error(f"there is no benchmark “{name}”; there are: {', '.join(NAMES)}")
        urls = [args.database_url]
        if args.times > 1 and name in ON_SQLITE_TOO and "sqlite" not in urls:
            urls.append("sqlite")
        for url in urls:
            code = max(code, _repeat(name, args.n, url, args.times))
    return code


def _repeat(name: str, n: int, url: str, times: int) -> int:
    """Run one in processes of its own: settings are read once, and memory starts from nothing."""
    command = [sys.executable, "-m", "agenticos.bench", "--run", name, "-n", str(n)]
    found = []
    for _ in range(times):
        done = subprocess.run(
            [*command, "--database-url", url],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
            check=False,
        )
        sys.stdout.write(done.stdout)
        sys.stdout.flush()
        if done.returncode:
            return done.returncode
        found.append(json.loads(done.stdout.splitlines()[-1]))
    if times > 1:
        table.keep(table.median(found))
    return 0


def _run(name: str, n: int, url: str) -> None:
    """Measure here, and note each figure."""
    found = import_module(f"agenticos.bench.{MODULES[name]}").run(name, n, url)
    for figure in found if isinstance(found, list) else [found]:
        figure["versions"] = _versions(url)
        figure["at"] = datetime.now(UTC).isoformat(timespec="seconds")
        line = json.dumps(figure)
        print(line, flush=True)
        (ROOT / "var").mkdir(exist_ok=True)
        with (ROOT / "var" / "bench.jsonl").open("a") as log:
            log.write(line + "\n")


def _versions(url: str) -> dict[str, str]:
    found = {
        "python": platform.python_version(),
        **{name: version(name) for name in ("django", "django-q2", "httpx", "psycopg")},
    }
    if url:
        import psycopg

        with psycopg.connect(url) as server:
            told = server.info.parameter_status("server_version") or "?"
            found["postgresql"] = told.split()[0]
    return found


if __name__ == "__main__":
    sys.exit(main())
