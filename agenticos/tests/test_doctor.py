"""`doctor`: what an operator is told at three in the morning, and what to do about it."""

from __future__ import annotations

import socket
from datetime import timedelta

import pytest
from django.core.files.storage import FileSystemStorage, default_storage
from django.core.management import call_command
from django.db import connection
from django.utils import timezone

from agenticos import doctor, scope
from agenticos.doctor import State
from agenticos.tests import factories
from campaigns.models import Checkup, SendingAccount
from integrations.models import Connection
from tenants import sealing
from tenants.models import AuditCheck, AuditEntry, Tenant

pytestmark = pytest.mark.django_db


def found(name):
    """The finding of one check."""
    (one,) = [row for row in doctor.examine() if row.check == name]
    assert bool(one.fix) is (one.state is not State.OK)  # whoever is told is told what to do
    return one


def test_every_check_has_a_line_and_a_whole_system_is_told_so(acme):
    findings = {row.check: row for row in doctor.examine()}
    assert {name for name, _ in doctor.CHECKS} <= set(findings)
    fine = {"queue", "leases", "Redis", "cache", "disk", "files", "mail", "metrics"}
    assert {findings[name].state for name in fine | {"audit trail", "invariants"}} == {State.OK}


def test_work_that_nobody_takes_up_is_late(acme):
    campaign = factories.make_campaign(acme, state="running")
    now = timezone.now()
    factories.make_message(campaign, due_at=now - timedelta(minutes=9))
    with scope.as_tenant(acme):
        SendingAccount.objects.update(next_at=now - timedelta(minutes=9))
    late = found("queue")
    assert late.state is State.WARN
    assert "send for 9 min" in late.detail
    with scope.as_tenant(acme):
        SendingAccount.objects.update(next_at=now - timedelta(seconds=30))
    assert "send" not in found("queue").detail


def test_a_lease_that_ran_out_minutes_ago_is_stuck(acme):
    crm = factories.make_connection(acme, Connection.Kind.GHL)
    now = timezone.now()
    held = {"state": "claimed", "claim_token": "t" * 32, "lease_owner": "host:1"}
    item = factories.make_sync_item(crm, "lead:1", lease_until=now + timedelta(minutes=1), **held)
    assert found("leases").state is State.OK
    with scope.as_tenant(acme):
        type(item).objects.update(lease_until=now - timedelta(minutes=5))
    stuck = found("leases")
    assert stuck.state is State.FAIL
    assert "1 × CRM sync item" in stuck.detail


def test_a_redis_that_is_away_is_said_though_the_cache_goes_on(settings):
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    settings.REDIS_URL = f"redis://127.0.0.1:{port}/0"
    assert found("Redis").state is State.WARN


@pytest.mark.redis
def test_a_redis_that_answers_is_named():
    assert found("Redis").detail.startswith("Redis ")


@pytest.mark.parametrize(
    ("free", "state"),
    [(10 * 2**30, State.OK), (2**30, State.WARN), (2**20, State.FAIL)],
)
def test_a_disk_that_fills_up_is_told_in_time(monkeypatch, free, state):
    usage = type("Usage", (), {"free": free})
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda path: usage)
    assert found("disk").state is state


def test_uploads_that_cannot_be_stored_are_a_failure(monkeypatch):
    def refuse(*args, **kwargs):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(FileSystemStorage, "_save", refuse)
    broken = found("files")
    assert broken.state is State.FAIL
    assert "Permission denied" in broken.detail


def test_nothing_is_left_of_the_file_that_was_tried():
    found("files")
    assert default_storage.listdir("doctor")[1] == []


def test_mail_that_goes_into_a_folder_is_a_failure_in_production(settings):
    settings.EMAIL_BACKEND = "django.core.mail.backends.filebased.EmailBackend"
    assert found("mail").state is State.OK
    settings.IS_LOCAL = False
    assert found("mail").state is State.FAIL


def test_a_mail_server_that_does_not_answer_is_a_failure(settings):
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", port
    assert found("mail").state is State.FAIL


def test_without_a_token_nobody_can_watch(settings):
    assert found("metrics").state is State.OK
    settings.IS_LOCAL = False
    assert found("metrics").state is State.WARN
    settings.METRICS_TOKEN = "x" * 20
    assert found("metrics").state is State.OK


def test_a_data_key_that_was_altered_does_not_open(acme):
    """Its name is known, so only trying it tells."""
    factories.make_connection(acme)
    assert found("credential keys").state is State.OK
    acme.refresh_from_db()
    key = bytes(acme.data_key)
    Tenant.objects.filter(pk=acme.pk).update(data_key=key[:-1] + bytes([key[-1] ^ 1]))
    shut = found("credential keys")
    assert shut.state is State.FAIL
    assert "acme" in shut.detail


def test_keys_that_are_still_under_an_old_master_key_are_a_warning(acme, settings):
    factories.make_connection(acme)
    new = "t9:" + "c2VjcmV0LW9mLXRoaXJ0eS10d28tYnl0ZXMtISEhISE="
    settings.CREDENTIAL_KEYS = f"{new},{settings.CREDENTIAL_KEYS}"
    assert found("credential keys").state is State.WARN
    call_command("rotate_credential_keys")
    assert found("credential keys").state is State.OK


def test_a_chain_that_nobody_verified_for_long_is_a_warning(acme):
    now = timezone.now()
    with scope.as_tenant(acme):
        AuditEntry.objects.create(
            tenant=acme,
            at=now - timedelta(hours=1),
            actor="system",
            action="tenant.edited",
            object_type="tenants.tenant",
            object_id=acme.pk,
        )
    waits = found("audit trail")
    assert waits.state is State.WARN
    assert "waited for a seal" in waits.detail
    with scope.as_tenant(acme):
        sealing.seal_chunk(now=now)
    assert "not verified" in found("audit trail").detail
    call_command("verify_audit")
    assert found("audit trail").state is State.OK
    with scope.as_tenant(acme):
        AuditCheck.objects.update(at=now - timedelta(days=8))
    assert found("audit trail").state is State.WARN
    with scope.as_tenant(acme):
        AuditCheck.objects.update(problem="altered")
    broken = found("audit trail")
    assert broken.state is State.FAIL
    assert "acme" in broken.detail


def test_what_the_last_check_of_a_tenant_found_is_repeated(acme):
    with scope.as_tenant(acme):
        row = Checkup.objects.create(tenant=acme, results=[], done_at=timezone.now())
    assert found("invariants").state is State.OK
    with scope.as_tenant(acme):
        Checkup.objects.filter(pk=row.pk).update(
            results=[{"name": "counters", "violations": 2}, {"name": "fine", "violations": 0}]
        )
    broken = found("invariants")
    assert broken.state is State.FAIL
    assert broken.detail == "acme: counters"


@pytest.mark.postgresql
def test_a_table_without_its_wall_is_named():
    assert found("row-level security").state is State.OK
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE leads_lead NO FORCE ROW LEVEL SECURITY")
    bare = found("row-level security")
    assert bare.state is State.FAIL
    assert "leads_lead" in bare.detail
