"""Through PgBouncer in transaction mode, with one connection to the server for everybody.

The scope is told to each transaction alone, so whoever gets the connection next starts with none.
Left out where PgBouncer is not installed: `apt-get install pgbouncer`.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.db import DatabaseError, connection, transaction

from agenticos import scope, sql
from agenticos.tests import environment, everything, factories, test_as_web as flows
from agenticos.tests.environment import WEB_ROLE
from integrations.tests.live import LiveSandbox
from leads.models import Lead

PROGRAM = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")
pytestmark = [
    pytest.mark.postgresql,
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(PROGRAM is None, reason="PgBouncer is not installed"),
]
# Before version 1.21 it knows no prepared statements; so none are made (see the settings).
NEVER = 1_000_000_000
START_S = 20

INI = """
[databases]
* = host={host} port={port}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {listen}
unix_socket_dir =
auth_type = trust
auth_file = {folder}/users.txt
pool_mode = transaction
default_pool_size = 1
reserve_pool_size = 0
logfile = {folder}/log
"""


@pytest.fixture(scope="module")
def pooler() -> Iterator[int]:
    """A PgBouncer of our own before the server of the tests: its port."""
    database = connection.settings_dict
    folder = Path(tempfile.mkdtemp(prefix="agenticos-pgbouncer-"))
    folder.chmod(0o777)  # it will not run as root
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = int(probe.getsockname()[1])
    ini = INI.format(
        host=database["HOST"], port=database["PORT"] or 5432, listen=port, folder=folder
    )
    (folder / "ini").write_text(ini)
    (folder / "users.txt").write_text(f'"{WEB_ROLE}" "{WEB_ROLE}"\n')
    other = ["--user", "nobody"] if os.geteuid() == 0 else []
    process = subprocess.Popen(
        [str(PROGRAM), "--quiet", *other, str(folder / "ini")],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + START_S
        while not _listens(port):
            assert process.poll() is None, (folder / "log").read_text()
            assert time.monotonic() < deadline
        yield port
    finally:
        process.kill()
        process.wait()
        shutil.rmtree(folder)


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), START_S).close()
    except ConnectionRefusedError:
        return False
    return True


@pytest.fixture(autouse=True)
def pooled(transactional_db: None, pooler: int) -> Iterator[None]:
    """This process's connections, and those of for_children(), go through the pooler."""
    if not environment.has_role(WEB_ROLE):
        pytest.skip("only a superuser's run makes the role of this test")
    given, options = dict(connection.settings_dict), connection.settings_dict["OPTIONS"]
    with environment.logged_in_as(WEB_ROLE):
        connection.settings_dict.update(
            HOST="127.0.0.1", PORT=pooler, OPTIONS={**options, "prepare_threshold": NEVER}
        )
        yield
        connection.close()
        connection.settings_dict.update({name: given[name] for name in ("HOST", "PORT", "OPTIONS")})


@pytest.fixture
def sandbox(settings: Any) -> Iterator[LiveSandbox]:
    with LiveSandbox() as provider:
        settings.INSTAGRAM_GRAPH_BASE_URL = provider.instagram_url
        settings.GHL_BASE_URL = provider.ghl_url
        yield provider


def backend() -> int:
    return int(sql.fetch("SELECT pg_backend_pid()", [])[0][0])


def test_two_tenants_in_turn_on_one_connection_see_their_own(acme, rival):
    """Two clients of the pooler, whose statements and transactions alternate."""
    for tenant, handle in ((acme, "ana"), (rival, "bob")):
        factories.make_lead(tenant, handle)
    other = connection.copy()
    asked = "SELECT handle, pg_backend_pid() FROM leads_lead"

    def through(link: Any) -> list[tuple[str, int]]:
        with link.cursor() as cursor:
            cursor.execute(asked)
            return list(cursor.fetchall())

    seen = set()
    try:
        for _ in range(3):
            for link, tenant, handle in ((connection, acme, "ana"), (other, rival, "bob")):
                with scope.as_tenant(tenant):
                    ((found, pid),) = through(link)
                    assert found == handle
                    seen.add(pid)
                with pytest.raises(DatabaseError):
                    through(link)
                with scope.as_tenant(tenant), _Begun(link):
                    ((found, pid),) = through(link)
                    assert found == handle
                    seen.add(pid)
                with scope.as_system("test"):
                    assert len(through(link)) == 2
    finally:
        other.close()
    assert len(seen) == 1  # or this proved nothing


class _Begun:
    """A transaction on a connection that Django does not know by name."""

    def __init__(self, link: Any) -> None:
        self.link = link

    def __enter__(self) -> None:
        self.link.set_autocommit(False)

    def __exit__(self, *error: Any) -> None:
        self.link.commit()
        self.link.set_autocommit(True)


def test_no_role_no_tenant_and_no_limit_stay_on_the_connection(acme):
    first = backend()
    with scope.as_system("test"), transaction.atomic():
        assert sql.fetch("SELECT current_user", []) == [("app_system",)]
    with scope.as_tenant(acme):
        assert backend() == first
    connection.close()  # another client of the pooler, the same connection to the server
    assert backend() == first
    names = "current_user, current_setting('app.tenant_id', true), current_setting('lock_timeout')"
    assert sql.fetch(f"SELECT {names}", []) == [(WEB_ROLE, "", "0")]


def test_an_error_in_one_tenants_transaction_leaves_nothing_to_the_next(acme, rival):
    factories.make_lead(acme, "ana")
    with scope.as_tenant(acme), pytest.raises(DatabaseError), transaction.atomic():
        sql.run("SELECT 1 / 0", [])
    with scope.as_tenant(rival):
        assert Lead.objects.count() == 0
    with scope.as_tenant(acme), transaction.atomic(), sql.one_trip():
        assert sql.fetch("SELECT handle FROM leads_lead", []) == [("ana",)]


def test_each_table_of_two_tenants_is_apart(acme, rival):
    everything.one_of_each(acme, 7001)
    everything.one_of_each(rival, 7002)
    for model in everything.owned_models():
        for tenant in (acme, rival):
            with scope.as_tenant(tenant):
                found = sql.fetch(f"SELECT DISTINCT tenant_id FROM {model._meta.db_table}", [])
                assert found == [(tenant.pk,)]
        with pytest.raises(DatabaseError):
            sql.fetch(f"SELECT 1 FROM {model._meta.db_table}", [])


def test_a_campaign_runs_to_its_end_and_all_that_follows(acme, alice, sandbox, tmp_path):
    campaign = flows.start(acme, tmp_path)
    flows.work_off(sandbox, campaign)
    flows.export(acme, alice)
    flows.erase_and_tell()
    flows.look_after()


@pytest.mark.slow
def test_the_workers_of_production_do_it_too(acme, sandbox, tmp_path):
    campaign = flows.start(acme, tmp_path)
    children = environment.for_children()
    children["DATABASE_URL"] += f"?prepare_threshold={NEVER}"
    log = flows.with_workers(sandbox, campaign, children)
    assert "Traceback" not in log
    assert len(sandbox.state()["deliveries"]) == len(flows.HANDLES)
