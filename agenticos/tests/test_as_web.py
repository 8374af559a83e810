"""The product as production runs it: logged in as `app_web`, who owns nothing and may do little.

Everywhere else tests log in as the owner of the tables, so a right that is missing shows here.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.cache import caches
from django.core.management import call_command
from django.db import DatabaseError, transaction
from django.test import Client
from django.utils import timezone

from agenticos import scope, sql
from agenticos.clock import Clock
from agenticos.management.commands.run_until_idle import run
from agenticos.tests import environment, everything, factories
from agenticos.tests.environment import ROOT, WEB_ROLE
from agenticos.tests.test_crawl import PK, owner_of, path_to
from agenticos.tests.test_house import is_admin, operations, routes, tenant_routes
from campaigns import actions
from campaigns.models import Campaign
from integrations.models import Connection, SyncItem
from integrations.tests.live import LiveSandbox
from leads.models import BulkJob, Lead
from tenants import tasks
from tenants.models import AuditCheck, AuditEntry, AuditSeal, Tenant, User

pytestmark = [pytest.mark.postgresql, pytest.mark.django_db(transaction=True)]
PATIENCE_S = 90  # of a loaded machine; the work takes seconds


@pytest.fixture(autouse=True)
def web(transactional_db: None) -> Iterator[None]:
    """Logged in as app_web until the test ends; its tables are emptied by their owner."""
    if not environment.has_role(WEB_ROLE):
        pytest.skip("only a superuser's run makes the role of this test")
    with environment.logged_in_as(WEB_ROLE):
        yield


@pytest.fixture
def sandbox(settings: Any) -> Iterator[LiveSandbox]:
    with LiveSandbox() as provider:
        settings.INSTAGRAM_GRAPH_BASE_URL = provider.instagram_url
        settings.GHL_BASE_URL = provider.ghl_url
        yield provider


def test_this_is_app_web(acme):
    assert sql.fetch("SELECT session_user, current_user", []) == [(WEB_ROLE, WEB_ROLE)]
    with scope.as_system("test"):
        assert sql.fetch("SELECT current_user", []) == [("app_system",)]


# --- What it may not --------------------------------------------------------------------------


def test_it_reads_nothing_without_a_scope(acme):
    for model in everything.owned_models():
        with pytest.raises(DatabaseError, match=r"app\.tenant_id"):
            sql.fetch(f"SELECT 1 FROM {model._meta.db_table}", [])


@pytest.mark.parametrize(
    "ddl",
    [
        "CREATE TABLE mine (id int)",
        "ALTER TABLE leads_lead ADD mine int",
        "ALTER TABLE leads_lead DISABLE ROW LEVEL SECURITY",
        "ALTER TABLE leads_lead NO FORCE ROW LEVEL SECURITY",
        "ALTER TABLE leads_lead DISABLE TRIGGER ALL",
        "DROP POLICY tenant_isolation ON leads_lead",
        "DROP TABLE leads_lead",
        "TRUNCATE leads_lead CASCADE",
        "CREATE INDEX mine ON leads_lead (city)",
        "CREATE ROLE mine",
    ],
)
@pytest.mark.parametrize("system", [False, True], ids=["in a tenant", "in the system scope"])
def test_it_changes_no_table(acme, ddl, system):
    with (
        scope.as_system("test") if system else scope.as_tenant(acme),
        pytest.raises(DatabaseError, match=r"must be owner|permission denied"),
    ):
        sql.run(ddl, [])


@pytest.mark.parametrize("model", [AuditEntry, AuditSeal], ids=lambda model: model.__name__)
def test_it_rewrites_no_audit_trail(acme, model):
    everything.one_of_each(acme, PK)
    table = model._meta.db_table
    with scope.as_tenant(acme):
        assert sql.fetch(f"SELECT id FROM {table} WHERE id = {PK}", []) == [(PK,)]
        for statement in (
            f"UPDATE {table} SET tenant_id = tenant_id",
            f"UPDATE {table} SET {'action' if model is AuditEntry else 'hash'} = 'x'",
            f"DELETE FROM {table}",
        ):
            with pytest.raises(DatabaseError, match="permission denied"):
                sql.run(statement, [])


@pytest.mark.parametrize("model", [AuditEntry, AuditSeal], ids=lambda model: model.__name__)
def test_the_system_rewrites_no_audit_trail_either(acme, model):
    """It may remove what is over its time, mark what is sealed and forget who has left."""
    everything.one_of_each(acme, PK)
    table = model._meta.db_table
    with scope.as_system("test"):
        for statement in (
            f"UPDATE {table} SET tenant_id = tenant_id",
            f"UPDATE {table} SET {'action' if model is AuditEntry else 'hash'} = 'x'",
            f"TRUNCATE {table} CASCADE",
        ):
            with pytest.raises(DatabaseError, match="permission denied"):
                sql.run(statement, [])
        if model is AuditEntry:
            sql.run(f"UPDATE {table} SET user_id = NULL, sealed = true WHERE id = {PK}", [])
        else:
            sql.run(f"DELETE FROM {table} WHERE id = {PK}", [])


@pytest.mark.parametrize("system", [False, True], ids=["in a tenant", "in the system scope"])
def test_what_is_migrated_it_reads_and_does_not_say(acme, system):
    with scope.as_system("test") if system else scope.as_tenant(acme):
        assert sql.fetch("SELECT count(*) > 0 FROM django_migrations", []) == [(True,)]
        for statement in (
            "INSERT INTO django_migrations (app, name, applied) VALUES ('x', 'x', now())",
            "UPDATE django_migrations SET name = name",
            "DELETE FROM django_migrations",
        ):
            with pytest.raises(DatabaseError, match="permission denied"):
                sql.run(statement, [])


# --- Pages and programs -----------------------------------------------------------------------


@pytest.mark.parametrize("htmx", ["", "rows"], ids=["page", "part"])
@pytest.mark.parametrize("method", ["get", "post"])
def test_every_page_is_served(acme, browser, method, htmx):
    """Each asked for by the owner, who has a row of every model; what it does is undone."""
    everything.one_of_each(acme, PK)
    knocks = browser(owner_of(acme), htmx=htmx)
    broken = {}
    for route, pattern in tenant_routes():
        with transaction.atomic():
            status = getattr(knocks, method)(path_to(route, pattern, "acme")).status_code
            transaction.set_rollback(True)
        if status >= 500:
            broken[route] = status
    assert broken == {}


def test_every_operation_is_answered(acme):
    everything.one_of_each(acme, PK)
    knocks = factories.api_client(factories.make_key(acme))
    broken = {}
    for verb, route, pattern, _ in operations():
        with transaction.atomic():
            path = path_to(route, pattern, "acme")
            answer = getattr(knocks, verb)(path, {}, "application/json")
            transaction.set_rollback(True)
        if answer.status_code >= 500:
            broken[verb, route] = answer.content
    assert broken == {}


def test_the_administration_is_served(acme, browser):
    everything.one_of_each(acme, PK)
    knocks = browser(factories.make_user(is_staff=True, is_superuser=True))
    lists = [route for route, _ in routes() if is_admin(route) and "<" not in route]
    assert len(lists) > 10
    for route in lists:
        if route not in ("admin/logout/", "admin/autocomplete/"):
            assert knocks.get(f"/{route}").status_code in (200, 302, 403), route
    assert knocks.get(f"/admin/tenants/tenant/{acme.pk}/change/").status_code == 200


def test_a_person_logs_in_and_out(acme, alice):
    """The door counts guesses, opens a session, and writes what it saw."""
    client = Client()
    wrong = {"login": alice.email, "password": "not-the-right-one"}
    assert client.post("/accounts/login/", wrong).status_code == 200
    right = {"login": alice.email, "password": factories.PASSWORD}
    assert client.post("/accounts/login/", right).status_code == 302
    assert client.get("/t/acme/").status_code == 200
    assert client.post("/accounts/logout/").status_code == 302


def test_what_stands_in_for_redis_is_writable():
    cache = caches["database"]
    cache.set("web", 1, 30)
    assert cache.get("web") == 1
    assert cache.delete("web")


# --- From a file to the end of a campaign, and what comes after ---------------------------------


HANDLES = [f"lead{number}" for number in range(12)]
BIO = "CEO · clinica · negocios · investimentos"  # warm, with the numbers beside it
CSV = "handle,name,bio,followers,engagement,posts\n" + "".join(
    f"{handle},Ana Lima,{BIO},50000,6,200\n" for handle in HANDLES
)


@pytest.fixture
def started(acme: Tenant, sandbox: LiveSandbox, tmp_path: Path) -> Campaign:
    return start(acme, tmp_path)


def start(acme: Tenant, folder: Path) -> Campaign:
    """Import a file as the command does it, and start a campaign over its leads."""
    file = folder / "leads.csv"
    file.write_text(CSV)
    factories.make_icp(acme)
    call_command("import_leads", "acme", str(file), stdout=StringIO())
    factories.make_connection(acme, Connection.Kind.GHL)
    campaign = factories.make_campaign(acme, audience={"kind": "handles", "handles": HANDLES})
    with scope.as_tenant(acme):
        assert Lead.objects.count() == len(HANDLES)
        actions.start_campaign(campaign, by=None, now=timezone.now())
    return campaign


def state_of(campaign: Campaign) -> str:
    with scope.as_tenant(campaign.tenant):
        return Campaign.objects.get(pk=campaign.pk).state


def test_a_campaign_runs_to_its_end_and_all_that_follows(alice, sandbox, started):
    work_off(sandbox, started)
    export(started.tenant, alice)
    erase_and_tell()
    look_after()


def work_off(sandbox: LiveSandbox, campaign: Campaign) -> None:
    assert run(Clock(), PATIENCE_S) == 0
    assert state_of(campaign) == "finished"
    with scope.as_tenant(campaign.tenant):
        ends = Counter(campaign.messages.values_list("state", "reason"))
    assert ends == {("sent", ""): len(HANDLES)}
    received = sandbox.state()
    assert (len(received["deliveries"]), received["duplicates"]) == (len(HANDLES), [])
    with scope.as_tenant(campaign.tenant):
        assert set(SyncItem.objects.values_list("state", flat=True)) == {"done"}


def export(tenant: Tenant, by: User) -> None:
    """A person asks for a file, a worker writes it, the person gets it."""
    knocks = Client()
    knocks.force_login(by)
    factories.refresh(knocks, by)
    assert (
        knocks.post("/t/acme/leads/export/", {"columns": ["handle"], "all": "1"}).status_code < 400
    )
    assert run(Clock(), PATIENCE_S) == 0
    with scope.as_tenant(tenant):
        job = BulkJob.objects.get(kind="export")
    assert job.state == "done"
    file = knocks.get(f"/t/acme/leads/jobs/{job.pk}/leads.csv")
    assert HANDLES[5] in b"".join(file).decode()


def erase_and_tell() -> None:
    assert HANDLES[1] in said("export_person", "acme", HANDLES[1])
    assert len(json.loads(said("erase_person", "acme", HANDLES[0]))) == 1


def look_after() -> None:
    """What operators run: each says that all is well."""
    tasks.seal_slice()
    for command in (["rotate_credential_keys"], ["verify_audit"], ["invariants", "--full"]):
        said(*command)
    with scope.as_system("test"):
        assert AuditCheck.objects.get().problem == ""
    findings = said("doctor", codes=(0, 1))  # no workers live here; static files may be missing
    assert "permission denied" not in findings
    assert "PostgreSQL is used as" not in findings


def said(command: str, *arguments: str, codes: tuple[int, ...] = (0,)) -> str:
    """What a command prints, which ends with one of these exit codes."""
    out, ended = StringIO(), 0
    try:
        call_command(command, *arguments, stdout=out, stderr=out)
    except SystemExit as end:
        ended = int(end.code or 0)
    assert ended in codes, out.getvalue()
    return out.getvalue()


@pytest.mark.slow
def test_the_workers_of_production_do_it_too(sandbox, started):
    """A supervisor and its processes, each with a connection of its own."""
    log = with_workers(sandbox, started, environment.for_children())
    assert "permission denied" not in log
    assert len(sandbox.state()["deliveries"]) == len(HANDLES)


def with_workers(sandbox: LiveSandbox, campaign: Campaign, children: dict[str, str]) -> str:
    """Let `runworkers` bring the campaign to its end, and end it in order; what it logged."""
    workers = subprocess.Popen(
        [sys.executable, "manage.py", "runworkers", "--workers", "1"],
        cwd=ROOT,
        env={
            **children,
            "INSTAGRAM_GRAPH_BASE_URL": sandbox.instagram_url,
            "GHL_BASE_URL": sandbox.ghl_url,
        },
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        deadline = time.monotonic() + PATIENCE_S
        while state_of(campaign) != "finished":
            assert workers.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.2)
    finally:
        workers.send_signal(signal.SIGTERM)
        _, log = workers.communicate(timeout=PATIENCE_S)
    assert workers.returncode == 0
    return log
