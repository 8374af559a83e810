"""`check_shard_keys`: could tenants' tables be spread over servers by tenant?"""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import connection

from agenticos import scope, sharding


class Command(BaseCommand):
    help = (
        "List the primary and unique keys of tenants' tables that do not carry the tenant, and why "
        "that is allowed today. Exit code 1 when one has no reason, 2 without PostgreSQL."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--swap", action="store_true", help="print the SQL that brings the tenant into the keys"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        if connection.vendor != "postgresql":
            raise CommandError("Only PostgreSQL's tables can be spread.", returncode=2)
        with scope.as_nobody():
            keys = list(sharding.unique_keys())
        if options["swap"]:
            self.stdout.write("\n".join(dict.fromkeys(line for key in keys for line in key.swap)))
        else:
            self._list(keys)
        wrong = [key for key in keys if key.is_wrong]
        for key in wrong:
            self.stderr.write(
                f"{key.table}: {key.name} ({', '.join(key.columns)}) does not carry the tenant. "
                "Begin it with the tenant, or give its reason in agenticos/sharding.py."
            )
        if wrong:
            sys.exit(1)

    def _list(self, keys: list[sharding.Key]) -> None:
        by_reason: dict[str, list[sharding.Key]] = {}
        for key in keys:
            if key.excuse:
                by_reason.setdefault(key.excuse, []).append(key)
        for reason, some in by_reason.items():
            self.stdout.write(f"Without the tenant, {len(some)}: {reason}.")
            for key in some:
                self.stdout.write(f"  {key.table} ({', '.join(key.columns)})")
        good = sum(key.carries_the_tenant for key in keys)
        self.stdout.write(f"{good} of {len(keys)} keys carry the tenant.")
