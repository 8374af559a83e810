"""What AgenticOS needs to work, each thing tried for real, with the fix for what fails."""

from __future__ import annotations

import platform
import shutil
import sys
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum

import redis
from django.apps import apps
from django.conf import settings
from django.core import mail
from django.core.cache import cache
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from django.db.models import Exists, Max, Min, OuterRef, Q
from django_q.models import OrmQ

from agenticos import leasing, queue, scope
from agenticos.clock import OVERDUE, database_now
from agenticos.models import WorkerBeat
from agenticos.postgres.starting import complaint
from campaigns.models import Checkup
from integrations.errors import ProviderError
from integrations.models import Connection
from integrations.registry import adapter_for
from tenants import crypto, sealing
from tenants.models import AuditCheck, AuditEntry, AuditSeal, Tenant
from tenants.owned import TenantOwned

BEAT = timedelta(seconds=30)
DRIFT_S = 2.0
RINGS_LATE = timedelta(minutes=2)
# Work that has been due for so long is taken up by nobody.
LATE = timedelta(minutes=2)
# A lease that ended so long ago was not taken over: a living worker does it within seconds.
STUCK = timedelta(minutes=2)
AUDIT_EVERY = timedelta(days=7)
UNSEALED = timedelta(minutes=10)
# Free space on the disk of var/: a warning, and a failure.
DISK_LOW, DISK_FULL = 2 * 2**30, 200 * 2**20


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
            version = ".".join(map(str, connection.Database.sqlite_version_info))  # type: ignore[attr-defined]  # sqlite3's, where it is the driver
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
            "SELECT relname FROM pg_class WHERE relrowsecurity AND relforcerowsecurity "
            "AND pg_table_is_visible(oid)"
        )
        walled = {name for (name,) in cursor.fetchall()}
    tables = {model._meta.db_table for model in apps.get_models() if issubclass(model, TenantOwned)}
    bare = sorted(tables - walled)
    wrong = complaint() or (f"not on {', '.join(bare[:5])}." if bare else "")
    serious = bool(bare) or not settings.IS_LOCAL
    yield Finding(
        "row-level security",
        State.OK if not wrong else State.FAIL if serious else State.WARN,
        wrong or f"on {len(walled)} tables, and binds {user}",
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


def _lag() -> Iterator[Finding]:
    """What each kind of work says is due, as the tick asks it."""
    now = database_now()
    late: dict[str, timedelta] = {}
    with scope.as_nobody():
        for task, next_at in queue.wake_ups():
            due = next_at()
            # OVERDUE says "now" without saying since when.
            if due is not None and due != OVERDUE and now - due > LATE:
                late[queue.kind_of(task)] = now - due
    worst = max(late.values(), default=timedelta(0))
    told = ", ".join(f"{kind} for {_minutes(age)}" for kind, age in sorted(late.items()))
    yield Finding(
        "queue",
        State.WARN if late else State.OK,
        f"overdue: {told}" if late else "nothing is overdue",
        f"Late by {_minutes(worst)}: start workers, or more of them; read their last lines."
        if late
        else "",
    )


def _minutes(age: timedelta) -> str:
    return f"{age.total_seconds() / 60:.0f} min"


def _leases() -> Iterator[Finding]:
    """Rows that a worker held, let run out, and that nobody took over."""
    past = database_now() - STUCK
    stuck: dict[str, int] = {}
    with scope.as_system("the doctor looks for stuck leases"):
        for model in apps.get_models():
            if issubclass(model, leasing.Lease):
                rows = model._default_manager.filter(lease_until__lt=past).exclude(claim_token="")
                if number := rows.count():
                    stuck[str(model._meta.verbose_name)] = number
    told = ", ".join(f"{number} × {name}" for name, number in sorted(stuck.items()))
    yield Finding(
        "leases",
        State.FAIL if stuck else State.OK,
        f"stuck: {told}" if stuck else "none is stuck",
        "Start workers; or once by hand: manage.py run_until_idle" if stuck else "",
    )


def _redis() -> Iterator[Finding]:
    """Redis itself: the cache goes on without it, and so would hide that it is gone."""
    if not settings.REDIS_URL:
        yield Finding("Redis", State.OK, "none is set up: cache and limits use the database")
        return
    try:
        with redis.Redis.from_url(settings.REDIS_URL, socket_timeout=2) as link:
            info = link.info("server")
    except (redis.RedisError, OSError) as error:
        yield Finding(
            "Redis",
            State.WARN,
            f"does not answer ({type(error).__name__})",
            "Pages and sending go on; limits are counted by the database. Start it, or empty "
            "REDIS_URL.",
        )
    else:
        yield Finding("Redis", State.OK, f"Redis {info['redis_version']}")


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


def _disk() -> Iterator[Finding]:
    settings.VAR_DIR.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(settings.VAR_DIR).free
    low = free < DISK_LOW
    yield Finding(
        "disk",
        State.FAIL if free < DISK_FULL else State.WARN if low else State.OK,
        f"{free / 2**30:.1f} GB free under {settings.VAR_DIR}",
        "Make room: old exports and imports under var/files/, mail under var/mail/, logs."
        if low
        else "",
    )


def _files() -> Iterator[Finding]:
    """Uploads and exports are written to the default storage, and read by another process."""
    name = default_storage.save(f"doctor/{uuid.uuid4().hex}", ContentFile(b"doctor"))
    try:
        with default_storage.open(name) as file:
            same = file.read() == b"doctor"
    finally:
        default_storage.delete(name)
    yield Finding(
        "files",
        State.OK if same else State.FAIL,
        "uploads can be stored and read" if same else "what is stored does not come back",
        "" if same else "Check the storage of uploads: web and workers must share it.",
    )


def _mail() -> Iterator[Finding]:
    """Invitations and resets go by mail; a server that is named must let us in."""
    backend = settings.EMAIL_BACKEND.rpartition(".")[0].rpartition(".")[2]
    if backend != "smtp":
        lost = not settings.IS_LOCAL
        yield Finding(
            "mail",
            State.FAIL if lost else State.OK,
            f"goes to {settings.EMAIL_FILE_PATH}" if backend == "filebased" else backend,
            "Nobody gets invitations or resets: set EMAIL_URL." if lost else "",
        )
        return
    server = f"{settings.EMAIL_HOST}:{settings.EMAIL_PORT}"
    try:
        with mail.get_connection():
            pass
    except OSError as error:  # smtplib's errors are OSErrors too
        yield Finding(
            "mail",
            State.FAIL,
            f"{server} refuses or does not answer ({type(error).__name__})",
            "Check EMAIL_URL: host, port, user, password, TLS.",
        )
    else:
        yield Finding("mail", State.OK, f"{server} lets us in")


def _metrics() -> Iterator[Finding]:
    seen = bool(settings.METRICS_TOKEN) or settings.IS_LOCAL
    yield Finding(
        "metrics",
        State.OK if seen else State.WARN,
        "/metrics answers with the token" if settings.METRICS_TOKEN else "/metrics is off",
        "" if seen else "Nobody can watch: set METRICS_TOKEN and scrape /metrics.",
    )


def _audit() -> Iterator[Finding]:
    """The chain of the audit trail: broken, not gone through for long, or not growing."""
    now = database_now()
    with scope.as_system("the doctor asks about the audit trail"):
        broken = list(AuditCheck.objects.exclude(problem="").values_list("tenant__slug", flat=True))
        seals = AuditSeal.objects.filter(tenant=OuterRef("pk"))
        sealed = set(Tenant.objects.filter(Exists(seals)).values_list("pk", flat=True))
        checked = dict(
            AuditCheck.objects.values_list("tenant_id").annotate(at=Max("at")).order_by()
        )
        first = AuditEntry.objects.filter(
            sealed=False, at__lt=now - UNSEALED - sealing.SETTLED
        ).aggregate(first=Min("at"))["first"]
    old = sum(checked.get(pk) is None or checked[pk] < now - AUDIT_EVERY for pk in sealed)
    if broken:
        state, told = State.FAIL, f"the chain is broken in {', '.join(broken[:5])}"
        fix = "See manage.py verify_audit --json; keep the database as it is, and a backup."
    elif first is not None:
        state, told = State.WARN, f"entries have waited for a seal for {_minutes(now - first)}"
        fix = "Start workers: they seal."
    elif old:
        state = State.WARN
        told = f"not verified for {AUDIT_EVERY.days} days in {old} of {len(sealed)} tenants"
        fix = "Run manage.py verify_audit by a timer, once a day."
    else:
        state, told, fix = State.OK, f"verified in {len(sealed)} tenants", ""
    yield Finding("audit trail", state, told, fix)


def _invariants() -> Iterator[Finding]:
    """What the last checks of the tenants found; they are counted by workers, not here."""
    with scope.as_system("the doctor reads the last checks"):
        rows = list(Checkup.objects.filter(~Q(done_at=None)).values_list("tenant__slug", "results"))
    broken = [
        f"{slug}: {one['name']}" for slug, results in rows for one in results if one["violations"]
    ]
    yield Finding(
        "invariants",
        State.FAIL if broken else State.OK,
        "; ".join(broken[:5]) if broken else f"held at the last check in {len(rows)} tenants",
        "Count them anew: manage.py invariants" if broken else "",
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
    """Whether the master keys open the keys of every tenant, each one tried."""
    rows = Tenant.objects.exclude(data_key=b"").values_list("pk", "slug", "data_key", "hash_key")
    shut, old = [], 0
    newest = next(iter(crypto.master_keys())).encode()
    for pk, slug, *wrapped in rows:
        data_key, hash_key = wrapped
        if not crypto.opens(pk, data_key, hash_key):
            shut.append(slug)
            continue
        names = {bytes(one).partition(b":")[0] for one in wrapped if one}
        old += names != {newest}
    if shut:
        state, told = State.FAIL, f"open nothing of {', '.join(shut[:5])} ({len(shut)} tenants)"
        fix = "Put the old key back into CREDENTIAL_KEYS, behind the new one."
    elif old:
        state, told = State.WARN, f"{old} tenants are still under an older key"
        fix = "Run: manage.py rotate_credential_keys"
    else:
        state, told, fix = State.OK, f"open the keys of all {len(rows)} tenants", ""
    yield Finding("credential keys", state, told, fix)


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
    ("queue", _lag),
    ("leases", _leases),
    ("Redis", _redis),
    ("cache", _cache),
    ("disk", _disk),
    ("files", _files),
    ("static files", _static),
    ("clock", _clock),
    ("credential keys", _keys),
    ("mail", _mail),
    ("metrics", _metrics),
    ("audit trail", _audit),
    ("invariants", _invariants),
]
