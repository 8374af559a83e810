"""Who lets the retention sweep run: workers, the command, and what the settings page says."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from io import StringIO

import pytest
from allauth.usersessions.models import UserSession
from django.contrib.admin.models import LogEntry
from django.contrib.sessions.models import Session
from django.core.management import CommandError, call_command
from django.db import IntegrityError, transaction
from django.utils import timezone

from agenticos import scope
from agenticos.leasing import new_token
from agenticos.models import Chore
from agenticos.tests import factories
from agenticos.tests.sweeping import (
    DAY,
    make_old_lead,
    sweep,
)
from leads import (
    keeping as of_leads,
)
from leads.models import (
    Lead,
)
from tenants import keeping, retention, tasks
from tenants.models import (
    Attempt,
    AuditEntry,
    RetentionRun,
)

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _rings(rung):
    """Rings are collected, not put into the broker."""


@pytest.fixture
def now():
    return timezone.now()


def test_the_task_sweeps_every_tenant_a_day_after_it_began(acme, rival, now):
    assert tasks.next_retention_at() == acme.created_at + DAY
    tasks.retention_slice()  # too young
    with scope.as_system("test"):
        assert not RetentionRun.objects.exists()
    for tenant in (acme, rival):
        tenant.created_at = now - 2 * DAY
        tenant.save()
        make_old_lead(tenant, "old", now - 400 * DAY)
    assert tasks.next_retention_at() == now - DAY
    tasks.retention_slice()
    with scope.as_system("test"):
        assert [run.report for run in RetentionRun.objects.all()] == [{"leads": 1}] * 2
    assert tasks.next_retention_at() > now + DAY - timedelta(minutes=1)


def test_a_step_that_breaks_is_tried_again_and_stops_no_other_tenant(acme, rival, now, monkeypatch):
    for tenant in (acme, rival):
        tenant.created_at = now - 2 * DAY
        tenant.save()
        make_old_lead(tenant, "old", now - 400 * DAY)

    def refuses(tenant, ids, at):
        if tenant == acme:
            raise LookupError
        return of_leads._remove_leads(tenant, ids, at)

    small = [
        replace(step, remove=refuses) if step.name == "leads" else step
        for step in retention.steps()
    ]
    monkeypatch.setattr(retention, "steps", lambda: small)
    tasks.retention_slice()
    with scope.as_system("test"):
        acmes, rivals = RetentionRun.objects.order_by("tenant_id")
    assert (acmes.step, acmes.claim_token, acmes.done_at) == ("leads", "", None)
    assert acmes.due_at > now + timedelta(minutes=50)
    assert rivals.report == {"leads": 1}


def test_log_ins_of_long_ago_go(alice, now, acme):
    session = Session.objects.create(
        session_key="old", session_data="", expire_date=now - timedelta(minutes=1)
    )
    kept = Session.objects.create(session_key="new", session_data="", expire_date=now + DAY)
    for key, age in (("old", 181), ("new", 1)):
        UserSession.objects.create(
            user=alice, session_key=key, ip="127.0.0.1", user_agent="", data={},
            last_seen_at=now - age * DAY,
        )  # fmt: skip
    Attempt.objects.create(key="a", free_at=now.timestamp() - 4000)
    Attempt.objects.create(key="b", free_at=now.timestamp())
    for age in (731, 1):
        entry = LogEntry.objects.create(user=alice, action_flag=1, object_repr="x")
        LogEntry.objects.filter(pk=entry.pk).update(action_time=now - age * DAY)
    assert keeping.sweep_access(now) == {
        "sessions": 1, "log_ins": 1, "attempts": 1, "staff_acts": 1,
    }  # fmt: skip
    assert keeping.sweep_access(now) == {}
    assert list(Session.objects.all()) == [kept] != [session]
    assert UserSession.objects.get().session_key == "new"
    assert Attempt.objects.get().key == "b"


def test_log_ins_are_looked_at_once_a_day(acme, now):
    acme.created_at = now - 2 * DAY
    acme.save()
    Attempt.objects.create(key="a", free_at=0)
    tasks.retention_slice()
    assert not Attempt.objects.exists()
    assert Chore.objects.get(name=tasks.ACCESS).done_at >= now
    Attempt.objects.create(key="a", free_at=0)
    tasks.retention_slice()
    assert Attempt.objects.count() == 1


def command(*args):
    out = StringIO()
    call_command("retention", *args, stdout=out)
    return [json.loads(line) for line in out.getvalue().splitlines()]


def test_the_command_tells_what_would_go_and_then_lets_it_go(acme, rival, now):
    make_old_lead(acme, "old", now - 400 * DAY)
    told = [{"tenant": "acme", "removed": {"leads": 1}}]
    assert command("--tenant", "acme", "--dry-run") == told
    with scope.as_tenant(acme):
        assert Lead.objects.count() == 1
        assert not RetentionRun.objects.exists()
    assert command() == [*told, {"tenant": "rival", "removed": {}}, {"tenant": None, "removed": {}}]
    with scope.as_tenant(acme):
        assert not Lead.objects.exists()


def test_the_command_leaves_a_tenant_to_the_worker_that_has_it(acme, now):
    with scope.as_tenant(acme):
        run = retention.run_of(acme, due_at=now)
        retention.lease(run, token=new_token(), now=now)
    with pytest.raises(CommandError, match="acme"):
        command("--tenant", "acme")
    with pytest.raises(CommandError) as error:
        command("--tenant", "nobody")
    assert error.value.returncode == 2


DAYS = {
    "keep_payload_days": 20, "keep_file_days": 2, "keep_lead_days": 100, "keep_audit_days": 400,
}  # fmt: skip
PAGE = "/t/acme/settings/"


def test_an_owner_says_how_long_things_are_kept(acme, alice, browser):
    response = browser(alice).post(f"{PAGE}keeping/", DAYS)
    assert response["Location"] == PAGE
    acme.refresh_from_db()
    assert {name: getattr(acme, name) for name in DAYS} == DAYS
    with scope.as_tenant(acme):
        entry = AuditEntry.objects.get(action="tenant.keeping_changed")
    assert (entry.data["before"]["keep_audit_days"], entry.data["after"]) == (730, DAYS)


@pytest.mark.parametrize(("name", "value"), [("keep_audit_days", 364), ("keep_file_days", 0)])
def test_a_period_out_of_bounds_is_refused_by_page_and_database(acme, alice, browser, name, value):
    response = browser(alice).post(f"{PAGE}keeping/", DAYS | {name: value})
    assert (response.status_code, "is-invalid" in response.content.decode()) == (200, True)
    acme.refresh_from_db()
    assert acme.keep_payload_days == 30
    setattr(acme, name, value)
    with pytest.raises(IntegrityError), transaction.atomic():
        acme.save()


def test_a_manager_may_only_look(acme, browser):
    manager = factories.make_member(acme, "manager").user
    assert browser(manager).post(f"{PAGE}keeping/", DAYS).status_code == 403
    assert "How long things are kept" in browser(manager).get(PAGE).content.decode()


def test_it_takes_a_fresh_log_in(acme, alice, browser):
    assert browser(alice, fresh=False).post(f"{PAGE}keeping/", DAYS).status_code == 302
    acme.refresh_from_db()
    assert acme.keep_file_days == 7


def test_the_page_says_what_went(acme, alice, browser, now):
    assert "It has not run yet" in browser(alice).get(PAGE).content.decode()
    make_old_lead(acme, "old", now - 400 * DAY)
    sweep(acme, now)
    shown = browser(alice).get(PAGE).content.decode()
    assert "Last run" in shown
    assert "Leads without contact, deleted" in shown
