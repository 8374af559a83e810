"""The environment of a test run: which engines, which keys, whose database.

`enter()` runs before Django reads its settings. It takes TEST_DATABASE_URL (empty: SQLite in a
temporary file) and TEST_REDIS_URL (empty: the database serves as cache) and nothing else.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

ROOT = Path(__file__).resolve().parents[2]
PLAIN_ROLE = "agenticos_test"
# Log-ins for tests of the roles: what pages and workers log in as, and one above all policies.
WEB_ROLE = "agenticos_test_web"
MIGHTY_ROLE = "agenticos_test_mighty"
_LOG_INS = {
    PLAIN_ROLE: "CREATEDB NOBYPASSRLS",
    WEB_ROLE: "NOCREATEDB NOBYPASSRLS INHERIT",
    MIGHTY_ROLE: "NOCREATEDB BYPASSRLS",
}
REDIS_NUMBERS = 15  # 1 to 15; number 0 may be somebody's
_MADE_IN = "TEST_FOLDER"

VALUES = {
    "ENV_FILE": "",
    "DJANGO_SETTINGS_MODULE": "agenticos.settings",
    "SECRET_KEY": "only-for-tests-" + "0123456789abcdef" * 3,
    "CREDENTIAL_KEYS": "t1:" + base64.b64encode(bytes(range(32))).decode(),
    "JWT_KEYS": "t1:" + base64.b64encode(bytes(range(32, 64))).decode(),
    "GHL_BASE_URL": "http://127.0.0.1:9/ghl",
    "INSTAGRAM_GRAPH_BASE_URL": "http://127.0.0.1:9/instagram/v25.0",
    "OUTBOUND_ALLOW_PRIVATE": "on",
    "REQUIRE_MFA": "off",
    "LOG_LEVEL": "WARNING",
}

# On top of those, what makes a process take itself for one of production.
PRODUCTION = {
    "ALLOWED_HOSTS": "app.example.com",
    "OUTBOUND_ALLOW_PRIVATE": "off",
    "GHL_BASE_URL": "https://ghl.example.com",
    "INSTAGRAM_GRAPH_BASE_URL": "https://graph.example.com",
    "REQUIRE_MFA": "on",
}


def variables() -> list[str]:
    """Every variable that `.env.example` lists."""
    text = (ROOT / ".env.example").read_text(encoding="utf-8")
    return re.findall(r"^#? ?([A-Z][A-Z0-9_]+)=", text, re.MULTILINE)


def enter() -> None:
    """Make the environment that of a test."""
    for name in variables():
        os.environ.pop(name, None)
    os.environ.update(VALUES)
    os.environ["DATABASE_URL"] = _database_url()
    if redis := os.environ.get("TEST_REDIS_URL"):
        os.environ["REDIS_URL"] = _own_redis(redis)


def has_postgresql() -> bool:
    """Whether this run is on PostgreSQL."""
    return os.environ["DATABASE_URL"].startswith("postgres")


def has_redis() -> bool:
    """Whether this run has Redis."""
    return bool(os.environ.get("REDIS_URL"))


def _worker() -> str:
    return os.environ.get("PYTEST_XDIST_WORKER", "")


def _own_redis(url: str) -> str:
    """The same server, on a number of this worker's own: a test may flush it."""
    parts = urlsplit(url)
    number = int(re.sub(r"\D", "", _worker()) or REDIS_NUMBERS - 1) % REDIS_NUMBERS + 1
    return urlunsplit(parts._replace(path=f"/{number}"))


def _database_url() -> str:
    url = os.environ.get("TEST_DATABASE_URL", "")
    if not url:
        # Set by the first process of the run, inherited by its workers.
        folder = os.environ.get(_MADE_IN) or tempfile.mkdtemp(prefix="agenticos-test-")
        os.environ[_MADE_IN] = folder
        return f"sqlite:///{folder}/db.sqlite3"
    return as_plain_role(url)  # also a worker of many: its processes read the environment


def as_plain_role(url: str) -> str:
    """The same database as a role without privileges: row-level security must bind the tests.

    A superuser makes the role and those of the application; any other user is plain already.
    """
    import psycopg
    from psycopg import sql

    parts = urlsplit(url)
    server = urlunsplit(parts._replace(path="/postgres"))
    with psycopg.connect(server, autocommit=True, connect_timeout=3) as link:
        row = link.execute(
            "SELECT rolsuper, rolbypassrls FROM pg_roles WHERE rolname = current_user"
        ).fetchone()
        if row is None or not any(row):
            return url
        with link.transaction():  # two runs at once: the lock ends with the transaction
            link.execute("SELECT pg_advisory_xact_lock(hashtext(%s))", [PLAIN_ROLE])
            for role, rights in _LOG_INS.items():
                there = link.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [role])
                verb = "ALTER" if there.fetchone() else "CREATE"
                link.execute(
                    sql.SQL(
                        f"{verb} ROLE {{}} LOGIN NOSUPERUSER NOCREATEROLE {rights} PASSWORD {{}}"
                    ).format(sql.Identifier(role), sql.Literal(role))
                )
            link.execute((ROOT / "agenticos/postgres/roles.sql").read_text(encoding="utf-8"))
            link.execute(
                sql.SQL("GRANT app_web, app_system TO {}").format(sql.Identifier(PLAIN_ROLE))
            )
            # Its rights are app_web's: app_system it has to become, as app_web has.
            link.execute(sql.SQL("GRANT app_web TO {}").format(sql.Identifier(WEB_ROLE)))
    host = f"{parts.hostname or ''}" + (f":{parts.port}" if parts.port else "")
    return urlunsplit(parts._replace(netloc=f"{PLAIN_ROLE}:{PLAIN_ROLE}@{host}"))


def name_databases() -> None:
    """Give the test database its name, before pytest-django adds the worker's."""
    from django.conf import settings

    database = settings.DATABASES["default"]
    if has_postgresql():
        # Two checkouts on one server do not meet.
        place = hashlib.sha256(str(ROOT).encode()).hexdigest()[:6]
        name = f"test_{database['NAME']}_{place}"
    else:
        name = os.path.join(os.environ[_MADE_IN], "test.sqlite3")
    database.setdefault("TEST", {})["NAME"] = name


def name_redis() -> None:
    """Give this process its own number of Redis.

    pytest-django has read the settings before `enter`: in a worker they are the first process's.
    """
    from django.conf import settings

    if has_redis():
        settings.REDIS_URL = os.environ["REDIS_URL"]
        settings.CACHES["default"]["LOCATION"] = settings.REDIS_URL


def remove_folder() -> None:
    """Take the SQLite folder away: the run is over. Its workers leave that to the first process."""
    if (folder := os.environ.get(_MADE_IN)) and not _worker():
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def logged_in_as(role: str) -> Iterator[None]:
    """Let this process's connection, and processes for_children(), log in as another test role."""
    from django.db import connection

    mine = {name: connection.settings_dict[name] for name in ("USER", "PASSWORD")}
    try:
        connection.close()
        connection.settings_dict.update(USER=role, PASSWORD=role)
        yield
    finally:
        connection.close()
        connection.settings_dict.update(mine)


def has_role(role: str) -> bool:
    """Whether the server has this log-in: it was made if a superuser ran the tests."""
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [role])
        return cursor.fetchone() is not None


def for_children() -> dict[str, str]:
    """The environment for a process that shall work on the very database of the running test."""
    from django.db import connection

    database = {name: str(value) for name, value in connection.settings_dict.items()}
    if connection.vendor == "sqlite":
        return {**os.environ, "DATABASE_URL": f"sqlite:///{database['NAME']}"}
    parts = urlsplit(os.environ["DATABASE_URL"])
    host = database["HOST"] + (f":{database['PORT']}" if database["PORT"] else "")
    user = database["USER"] + (f":{database['PASSWORD']}" if database["PASSWORD"] else "")
    url = parts._replace(netloc=f"{user}@{host}", path=f"/{database['NAME']}")
    return {**os.environ, "DATABASE_URL": urlunsplit(url)}


def run_manage(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run `manage.py` as its own process, with some variables changed."""
    return subprocess.run(
        [sys.executable, "manage.py", *arguments],
        cwd=ROOT,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        timeout=60,
    )
