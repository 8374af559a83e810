"""`make run` and `make reset-demo`: sentences instead of tracebacks, and the demo itself."""

from __future__ import annotations

import socket

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from agenticos import demo, invariants, running, scope
from agenticos.management.commands import up
from agenticos.models import WorkerBeat
from campaigns.models import Campaign
from leads.models import Lead, LeadScore
from tenants.models import Membership, Tenant, User


@pytest.fixture(autouse=True)
def var(settings, tmp_path, monkeypatch):
    """A `var/` of the test's own."""
    settings.VAR_DIR = tmp_path
    monkeypatch.setattr(up, "LOCK", tmp_path / "run.lock")
    return tmp_path


@pytest.fixture
def taken():
    """A port that somebody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_a_taken_port_is_a_sentence_with_the_way_out(taken):
    with pytest.raises(CommandError, match=rf"Port {taken} is taken.*make run PORT=\d+"):
        call_command("up", port=taken)


def test_a_taken_sandbox_port_is_a_sentence_too(taken, settings):
    settings.SANDBOX_PORT = taken
    settings.GHL_BASE_URL = f"http://127.0.0.1:{taken}/ghl"
    with pytest.raises(CommandError, match=rf"{taken}.*make run SANDBOX_PORT="):
        call_command("up", port=free())


def free() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def test_a_port_that_is_none_is_a_sentence():
    with pytest.raises(CommandError, match="PORT is 70000"):
        call_command("up", port=70000)


def test_a_second_start_from_the_same_folder_is_refused(var):
    with (
        running.only_one(var / "run.lock"),
        pytest.raises(CommandError, match="already runs from this folder"),
    ):
        call_command("up", port=free())


def test_real_providers_need_no_sandbox(settings):
    settings.GHL_BASE_URL = "https://services.leadconnectorhq.com"
    settings.INSTAGRAM_GRAPH_BASE_URL = "https://graph.instagram.com/v25.0"
    assert not up.Command()._uses_sandbox()


def test_reset_refuses_a_database_that_is_not_the_embedded_one(db):
    with pytest.raises(CommandError, match="not the embedded one"):
        call_command("reset_demo")


def embedded(settings, var):
    settings.DATABASES = {"default": {"NAME": var / "db.sqlite3"}}


def test_reset_refuses_while_it_runs(db, settings, var):
    embedded(settings, var)
    with (
        running.only_one(var / "run.lock"),
        pytest.raises(CommandError, match="runs from this folder"),
    ):
        call_command("reset_demo")


def test_reset_refuses_while_workers_live(db, settings, var):
    embedded(settings, var)
    WorkerBeat.objects.create(owner="elsewhere:1", seen_at=timezone.now())
    with pytest.raises(CommandError, match="sign of life"):
        call_command("reset_demo")


def test_seeding_is_refused_where_a_public_host_is_named(settings):
    settings.IS_LOCAL = False
    with pytest.raises(CommandError, match="public"):
        call_command("seed_demo")


@pytest.mark.django_db(transaction=True)
def test_the_demo_is_whole_and_making_it_again_changes_nothing(var):
    assert demo.is_wanted()
    demo.seed()
    before = seen()
    assert not demo.is_wanted()
    assert demo.is_there()
    demo.seed()
    assert seen() == before
    assert before["people"] == {email for email, _ in demo.LOG_INS}
    assert before["leads"] == {"acme": 500, "globex": 5}
    assert before["campaigns"] == [("acme", demo.CAMPAIGN, "preparing")]
    assert before["writable"] >= demo.AUDIENCE
    assert before["roles"] == {"owner", "manager", "operator", "reviewer", "viewer"}


def seen():
    with scope.as_system("test"):
        assert not [row for row in invariants.check() if row.violations]
        return {
            "people": set(User.objects.values_list("email", flat=True)),
            "leads": {
                tenant.slug: Lead.objects.filter(tenant=tenant).count()
                for tenant in Tenant.objects.all()
            },
            "campaigns": list(Campaign.objects.values_list("tenant__slug", "name", "state")),
            "writable": LeadScore.objects.filter(
                tenant__slug="acme", eligible=True, total__gte=40
            ).count(),
            "roles": set(Membership.objects.values_list("role", flat=True)),
        }


@pytest.mark.django_db(transaction=True)
def test_a_seeding_that_was_cut_off_is_taken_up_again(var, monkeypatch):
    def cut(*args, **kwargs):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(demo, "_start_campaign", cut)
        with pytest.raises(KeyboardInterrupt):
            demo.seed()
    assert demo.is_wanted()
    demo.seed()
    assert not demo.is_wanted()
    assert seen()["leads"]["acme"] == 500


@pytest.mark.django_db
def test_no_two_leads_of_the_demo_share_a_contact():
    """The CRM knows people by phone and mail: with a shared one it would hold fewer contacts."""
    import csv
    from collections import Counter

    from agenticos.tests.environment import ROOT

    with (ROOT / "leads" / "demo" / "leads-500.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    for column in ("handle", "phone", "email"):
        counted = Counter(row[column] for row in rows if row[column])
        assert [value for value, number in counted.items() if number > 1] == []
