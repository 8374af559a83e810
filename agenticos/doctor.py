"""What AgenticOS needs to work, each thing tried for real, with the fix for what fails."""

from __future__ import annotations

import platform
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from django.conf import settings
from django.core.cache import cache
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from django_q.models import OrmQ

from agenticos import scope
from agenticos.clock import database_now
from agenticos.models import WorkerBeat
from agenticos.postgres.starting import complaint
from integrations.errors import ProviderError
from integrations.models import Connection
from integrations.registry import adapter_for
from tenants import crypto
from tenants.models import Tenant

BEAT = timedelta(seconds=30)
DRIFT_S = 2.0
RINGS_LATE = timedelta(minutes=2)


class State(StrEnum):
    """How a check went. Only FAIL makes the command exit 1."""

    OK = "ok"
    WARN = "warn"
    FAIL = "FAIL"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the table."""

    check: str
    state: State
    detail: str
    fix: str = ""


def examine(tenant: Tenant | None = None) -> Iterator[Finding]:
    """Every finding, in an order in which the first failure explains the later ones."""
    for name, check in CHECKS:
        try:
            yield from check()
        except Exception as error:
            # A check must not hide the others: what stopped it is the finding.
            text = str(error).strip().splitlines() or [type(error).__name__]
            yield Finding(name, State.FAIL, text[0][:200], "See the first failure above.")
    if tenant is not None:
        yield from _connections(tenant)


def _python() -> Iterator[Finding]:
    fits = (3, 11) <= sys.version_info[:2] <= (3, 14)
    yield Finding(
        "Python",
        State.OK if fits else State.WARN,
        platform.python_version(),
        "" if fits else "Use Python 3.11 to 3.14.",
    )


def _settings() -> Iterator[Finding]:
    kind = "local" if settings.IS_LOCAL else "production"
    yield Finding("settings", State.OK, f"{kind}, DEBUG {'on' if settings.DEBUG else 'off'}")
    if not settings.IS_LOCAL and settings.OUTBOUND_ALLOW_PRIVATE:
        yield Finding(
            "settings",
            State.WARN,
            "OUTBOUND_ALLOW_PRIVATE is on in production",
            "Set OUTBOUND_ALLOW_PRIVATE=off.",
        )


def _database() -> Iterator[Finding]:
    with connection.cursor() as cursor:
        if connection.vendor == "sqlite":
            cursor.execute("PRAGMA journal_mode")
            journal = str(cursor.fetchone()[0])
            cursor.execute("PRAGMA synchronous")
            whole = journal == "wal" and cursor.fetchone()[0] == 2
            version = ".".join(map(str, connection.Database.sqlite_version_info))  # type: ignore[attr-defined]
            yield Finding(
                "database",
                State.OK if whole else State.FAIL,
                f"SQLite {version}, journal {journal}; no row-level security here",
                "" if whole else "Put the file on a local disk: WAL does not work on this one.",
            )
            return
        cursor.execute("SELECT current_setting('server_version'), current_user")
        version, user = cursor.fetchone()
        yield Finding("database", State.OK, f"PostgreSQL {version} as {user}")
        cursor.execute(
            "SELECT count(*) FROM pg_class WHERE relrowsecurity AND relforcerowsecurity "
            "AND pg_table_is_visible(oid)"
        )
        walls = cursor.fetchone()[0]
    wrong = complaint() or ("" if walls else "no table has a policy.")
    serious = not walls or not settings.IS_LOCAL
    yield Finding(
        "row-level security",
        State.OK if not wrong else State.FAIL if serious else State.WARN,
        wrong or f"on {walls} tables, and binds {user}",
        "Log in as app_web (agenticos/postgres/roles.sql); run manage.py migrate as app_owner."
        if wrong
        else "",
    )


def _migrations() -> Iterator[Finding]:
    executor = MigrationExecutor(connection)
    plan = executor.migration_plan(executor.loader.graph.leaf_nodes())
    yield Finding(
        "migrations",
        State.FAIL if plan else State.OK,
        f"{len(plan)} not applied" if plan else "all applied",
        "Run: manage.py migrate" if plan else "",
    )


def _broker() -> Iterator[Finding]:
    now = database_now()
    waiting = OrmQ.objects.count()
    late = OrmQ.objects.filter(lock__lt=now - RINGS_LATE).count()
    yield Finding(
        "broker",
        State.WARN if late else State.OK,
        f"{waiting} rings, {late} of them waiting for minutes",
        "Start workers, or more of them (Q_WORKERS)." if late else "",
    )


def _workers() -> Iterator[Finding]:
    alive = WorkerBeat.objects.filter(seen_at__gt=database_now() - BEAT, stopped_at=None)
    owners = list(alive.values_list("owner", flat=True)[:20])
    yield Finding(
        "workers",
        State.OK if owners else State.FAIL,
        ", ".join(owners) if owners else f"no sign of life in {BEAT.seconds} s",
        "" if owners else "Start them: make worker (manage.py runworkers).",
    )


def _cache() -> Iterator[Finding]:
    key, value = "doctor", datetime.now(UTC).isoformat()
    cache.set(key, value, 30)
    same = cache.get(key) == value
    yield Finding(
        "cache",
        State.OK if same else State.FAIL,
        "Redis" if settings.REDIS_URL else "in the database",
        ""
        if same
        else "Check REDIS_URL; without Redis leave it empty and run manage.py createcachetable.",
    )


def _static() -> Iterator[Finding]:
    there = (settings.STATIC_ROOT / "staticfiles.json").is_file()
    yield Finding(
        "static files",
        State.OK if there else State.FAIL,
        str(settings.STATIC_ROOT),
        "" if there else "Run: manage.py collectstatic",
    )


def _clock() -> Iterator[Finding]:
    before = datetime.now(UTC)
    theirs = database_now()
    ours = before + (datetime.now(UTC) - before) / 2
    drift = (theirs - ours).total_seconds()
    yield Finding(
        "clock",
        State.OK if abs(drift) < DRIFT_S else State.WARN,
        f"{drift:+.2f} s from the database's",
        "" if abs(drift) < DRIFT_S else "Synchronise this machine's clock (NTP).",
    )


def _keys() -> Iterator[Finding]:
    known = crypto.master_keys()
    names = {
        bytes(wrapped).partition(b":")[0].decode(errors="replace")
        for keys in Tenant.objects.exclude(data_key=b"").values_list("data_key", "hash_key")
        for wrapped in keys
        if wrapped
    }
    missing = sorted(names - set(known))
    yield Finding(
        "credential keys",
        State.FAIL if missing else State.OK,
        f"no master key named {', '.join(missing)}" if missing else f"{len(known)} in use or ready",
        "Put the old key back into CREDENTIAL_KEYS, behind the new one." if missing else "",
    )


def _connections(tenant: Tenant) -> Iterator[Finding]:
    """Try each connection's credential at its provider."""
    with scope.as_tenant(tenant):
        rows = list(Connection.objects.exclude(state=Connection.State.OFF).order_by("pk"))
        if not rows:
            yield Finding("connections", State.WARN, f"{tenant.slug} has none", "Add one.")
        for row in rows:
            try:
                account = adapter_for(row).check()
            except crypto.CannotOpen:
                yield Finding(str(row), State.FAIL, "no readable credential", "Enter it again.")
            except ProviderError as error:
                yield Finding(
                    str(row),
                    State.FAIL,
                    f"{error.sentence} ({error})",
                    "Renew the credential if the provider refuses it; else try again later.",
                )
            else:
                yield Finding(str(row), State.OK, account)


CHECKS: list[tuple[str, Callable[[], Iterator[Finding]]]] = [
    ("Python", _python),
    ("settings", _settings),
    ("database", _database),
    ("migrations", _migrations),
    ("broker", _broker),
    ("workers", _workers),
    ("cache", _cache),
    ("static files", _static),
    ("clock", _clock),
    ("credential keys", _keys),
]
