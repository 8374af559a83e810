"""Proves a backup: dump, restore beside it, compare every row, drop. Reads the original only.

    python docs/operations/restore_drill.py postgres://user:password@host:5432/name

Needs pg_dump and pg_restore of the server's version or newer, and a role that sees all rows and
may create a database. Prints a receipt as JSON; exits with 1 if anything differs.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg
from psycopg import sql

Sums = dict[str, tuple[int, str]]


def sums(link: psycopg.Connection) -> Sums:
    """Per table, how many rows it has and a checksum over all of them, in any order."""
    tables = link.execute(
        "SELECT schemaname, tablename FROM pg_tables "
        "WHERE schemaname NOT IN ('pg_catalog', 'information_schema') ORDER BY 1, 2"
    ).fetchall()
    found: Sums = {}
    for schema, table in tables:
        query = sql.SQL(
            "SELECT count(*), coalesce(sum(hashtextextended(t::text, 0)::numeric), 0)::text "
            "FROM {} t"
        )
        row = link.execute(query.format(sql.Identifier(schema, table))).fetchone()
        assert row is not None
        found[f"{schema}.{table}"] = (row[0], row[1])
    return found


def drill(url: str) -> dict[str, object]:
    """Dump `url`, restore it into a scratch database, compare; the receipt."""
    scratch = f"drill_{uuid.uuid4().hex[:10]}"
    scratch_url = urlunsplit(urlsplit(url)._replace(path=f"/{scratch}"))
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "dump"
        with psycopg.connect(url) as link:
            # What is compared is the very snapshot that is dumped, though others go on writing.
            link.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
            snapshot = link.execute("SELECT pg_export_snapshot()").fetchone()
            assert snapshot is not None
            dump = ["pg_dump", "--format=custom", f"--snapshot={snapshot[0]}", f"--file={file}"]
            subprocess.run([*dump, url], check=True)
            before = sums(link)
        size, dumped = file.stat().st_size, time.monotonic() - began
        with psycopg.connect(url, autocommit=True) as server:
            server.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(scratch)))
            try:
                restore = ["pg_restore", "--exit-on-error", "--no-owner", "--no-privileges"]
                subprocess.run([*restore, f"--dbname={scratch_url}", str(file)], check=True)
                with psycopg.connect(scratch_url) as copy:
                    after = sums(copy)
            finally:
                name = sql.Identifier(scratch)
                server.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(name))
    names = sorted(before.keys() | after.keys())
    return {
        "tables": len(before),
        "rows": sum(count for count, _ in before.values()),
        "differ": [name for name in names if before.get(name) != after.get(name)],
        "dump_bytes": size,
        "dump_s": round(dumped, 1),
        "whole_s": round(time.monotonic() - began, 1),
    }


def main() -> int:
    if len(sys.argv) != 2:
        print(__doc__)
        return 2
    receipt = drill(sys.argv[1])
    print(json.dumps(receipt))
    return 1 if receipt["differ"] or not receipt["tables"] else 0


if __name__ == "__main__":
    sys.exit(main())
