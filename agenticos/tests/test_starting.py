"""Production does not start as a role that row-level security does not bind."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from urllib.parse import urlsplit

import pytest
from django.db import connection

from agenticos.tests import environment
from agenticos.tests.environment import MIGHTY_ROLE, PLAIN_ROLE, PRODUCTION, ROOT, WEB_ROLE

pytestmark = [pytest.mark.postgresql, pytest.mark.django_db(transaction=True)]

STARTS = {
    "runworkers": ["manage.py", "runworkers"],
    "web": ["manage.py", "web", "--port", "0"],
    "wsgi": ["-c", "import agenticos.wsgi"],
}
BOUND_BY_NOTHING = "whom row-level security does not bind"


def start(command: list[str], **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *command],
        cwd=ROOT,
        env={**environment.for_children(), **PRODUCTION, **variables},
        capture_output=True,
        text=True,
        timeout=60,
    )


def refusal(command: list[str], **variables: str) -> str:
    """The last line that a start ends with, which did not succeed."""
    done = start(command, **variables)
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert ("Traceback" in done.stderr) == (command[0] == "-c")
    return last


def needs(role: str) -> None:
    if not environment.has_role(role):
        pytest.skip("only a superuser's run makes the roles of this test")


def as_superuser(database: str) -> str:
    """The address of a database as the superuser that the tests were given."""
    given = urlsplit(os.environ["TEST_DATABASE_URL"])
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1 FROM pg_roles WHERE rolname = %s AND rolsuper", [given.username])
        if cursor.fetchone() is None:
            pytest.skip("TEST_DATABASE_URL names no superuser")
    return given._replace(path=f"/{database}").geturl()


@pytest.mark.parametrize("command", STARTS.values(), ids=STARTS)
def test_a_role_above_the_policies_is_refused(command):
    needs(MIGHTY_ROLE)
    with environment.logged_in_as(MIGHTY_ROLE):
        said = refusal(command)
    assert f"{MIGHTY_ROLE}, {BOUND_BY_NOTHING}" in said
    assert "app_web (agenticos/postgres/roles.sql)" in said


@pytest.mark.parametrize("command", STARTS.values(), ids=STARTS)
def test_the_owner_of_the_tables_is_refused(command):
    said = refusal(command)
    assert f"{PLAIN_ROLE}, who owns the tables and may undo their policies" in said
    assert "app_web (agenticos/postgres/roles.sql)" in said


def test_a_superuser_is_refused_in_every_command():
    """At the first connection, whatever the command: also where nobody asks for the role."""
    url = as_superuser(str(connection.settings_dict["NAME"]))
    name = urlsplit(url).username
    for command in (*STARTS.values(), ["manage.py", "invariants"]):
        assert f"{name}, {BOUND_BY_NOTHING}" in refusal(command, DATABASE_URL=url)


def test_the_web_role_is_let_in():
    needs(WEB_ROLE)
    with environment.logged_in_as(WEB_ROLE):
        done = start(["-c", "import agenticos.wsgi; print('served')"])
    assert (done.returncode, done.stdout.strip()) == (0, "served")


def test_the_owner_of_a_fresh_database_makes_its_tables():
    """As the README says: the roles, a database of app_owner's, and nothing granted by hand."""
    import psycopg  # SQLite's machines have no libpq

    name = f"owned_{uuid.uuid4().hex[:10]}"
    with psycopg.connect(as_superuser("postgres"), autocommit=True) as server:
        server.execute(f"CREATE DATABASE {name} OWNER app_owner")
        try:
            with psycopg.connect(as_superuser(name)) as link:
                link.execute("SET SESSION AUTHORIZATION app_owner")
                link.execute("CREATE TABLE mine (id int)")
        finally:
            server.execute(f"DROP DATABASE {name}")
