"""`make test`: pytest once per engine, closing with the last run's own line.

SQLite always; PostgreSQL and Redis when TEST_DATABASE_URL / TEST_REDIS_URL name a server or one
answers on the standard local port. REQUIRE_SERVICES=1 makes a missing server an error. Arguments
go to pytest as they are.
"""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from urllib.parse import urlsplit

from agenticos.tests.environment import ROOT

POSTGRESQL = "postgres://postgres@127.0.0.1:5432/agenticos"
REDIS = "redis://127.0.0.1:6379"


@dataclass(frozen=True, slots=True)
class Server:
    """A server that tests can use, or `version` empty and why it does not answer."""

    url: str
    version: str
    why: str = ""


def postgresql() -> Server:
    """Ask PostgreSQL for its version; its `postgres` database is on every server."""
    import psycopg

    given = os.environ.get("TEST_DATABASE_URL", "")
    url, why = given or POSTGRESQL, ""
    server = urlsplit(url)._replace(path="/postgres").geturl()
    try:
        with psycopg.connect(server, connect_timeout=3) as link:
            return Server(url, (link.info.parameter_status("server_version") or "?").split()[0])
    except psycopg.Error as error:
        why = str(error).strip().splitlines()[-1]
    return Server(url, "", why)


def redis() -> Server:
    """Ask Redis for its version."""
    import redis as client

    url = os.environ.get("TEST_REDIS_URL") or REDIS
    try:
        link = client.Redis.from_url(url, socket_connect_timeout=3, socket_timeout=3)
        return Server(url, str(link.info("server")["redis_version"]))
    except (client.RedisError, OSError) as error:
        return Server(url, "", str(error))


def runs(sql: Server, cache: Server) -> list[tuple[str, dict[str, str]]]:
    """The runs as (name, environment). Redis goes with PostgreSQL, if that is there."""
    with_redis = {"TEST_REDIS_URL": cache.url} if cache.version else {}
    named = f" with Redis {cache.version}" if cache.version else ""
    if not sql.version:
        return [(f"SQLite{named}", with_redis)]
    return [
        ("SQLite", {}),
        (f"PostgreSQL {sql.version}{named}", {"TEST_DATABASE_URL": sql.url, **with_redis}),
    ]


def main(arguments: list[str]) -> int:
    """Run; return pytest's exit code, the first that is not 0."""
    sql, cache = postgresql(), redis()
    for server, variable, name in (
        (sql, "TEST_DATABASE_URL", "PostgreSQL"),
        (cache, "TEST_REDIS_URL", "Redis"),
    ):
        if server.version:
            continue
        if os.environ.get("REQUIRE_SERVICES", "") in ("1", "on", "true"):
            print(
                f"{name} does not answer ({server.why}), and REQUIRE_SERVICES is set. "
                f"Start it, or set {variable}.",
                file=sys.stderr,
            )
            return 3
        if os.environ.get(variable):  # asked for by name: leaving it out would be a lie
            print(f"{variable} is set, but {name} does not answer: {server.why}", file=sys.stderr)
            return 3
        print(f"{name} is not covered: no server answers ({variable} names one).")
    planned = runs(sql, cache)
    print(f"Engines covered: {'; '.join(name for name, _ in planned)}.")
    many = ["-n", "auto", "--maxprocesses", "15", "--dist", "loadfile"]
    # The longest tests are alone in their file: sorted by number they would come last, one by one.
    many += ["--no-loadscope-reorder"]
    for name, extra in planned:
        print(f"\n--- {name} ---", flush=True)
        kept = {
            key: value
            for key, value in os.environ.items()
            if key not in ("TEST_DATABASE_URL", "TEST_REDIS_URL")
        }
        done = subprocess.run(
            [sys.executable, "-m", "pytest", *(arguments or many)],
            env={**kept, **extra},
            cwd=ROOT,
        )
        if done.returncode:
            return done.returncode
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
