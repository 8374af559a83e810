"""`invariants` and `doctor`: each violation is seen, and a sound database shows none."""

from __future__ import annotations

import io
import json
from datetime import timedelta

import pytest
from django.core.management import CommandError, call_command
from django.db import IntegrityError, transaction
from django.utils import timezone

from agenticos import doctor, invariants, scope
from agenticos.clock import database_now
from agenticos.models import WorkerBeat
from agenticos.tests import factories as make
from campaigns import pacing
from campaigns.models import AccountUsage, CampaignCounts, Message, TenantUsage
from integrations.errors import Fault, Rejected
from integrations.models import Connection, SyncItem
from leads.models import LeadScore

pytestmark = pytest.mark.django_db


def violated() -> dict[str, int]:
    with scope.as_system("test"):
        outcomes = invariants.check(full=True)
    return {row.invariant.name: row.violations for row in outcomes if row.violations}


@pytest.fixture
def busy(acme, rival):
    """Two tenants at work, with rows in every state."""
    for tenant in (acme, rival):
        crm = make.make_connection(tenant, Connection.Kind.GHL)
        campaign = make.make_campaign(tenant, state="running")
        for state in CampaignCounts.BUCKETS:
            message = make.make_message(campaign, state=state)
            if state == "sent":
                make.make_sync_item(crm, f"lead:{message.lead_id}")
    return acme


def change(model, **values):
    """Change every row of acme's behind the back of everything."""
    model.objects.filter(tenant__slug="acme").update(**values)


def test_a_sound_database_violates_nothing(busy):
    assert violated() == {}


def test_an_empty_database_violates_nothing():
    assert violated() == {}


def test_a_counter_that_is_not_its_rows_is_seen(busy, in_system):
    change(CampaignCounts, sent=2, audience=8)
    assert violated() == {"counters": 1}


def test_an_audience_that_is_not_the_sum_is_seen(busy, in_system):
    change(CampaignCounts, audience=99)
    assert violated() == {"counters": 1}


def test_rows_without_counters_are_seen(busy, in_system):
    CampaignCounts.objects.filter(tenant__slug="acme").delete()
    assert violated() == {"counters": 1}


def test_a_claim_whose_lease_ended_minutes_ago_is_seen(busy, in_system):
    claimed = Message.objects.filter(tenant__slug="acme", state="claimed")
    claimed.update(lease_until=timezone.now() - timedelta(minutes=3))
    assert violated() == {"claims-leased": 1}


def test_a_claimed_sync_item_without_token_is_seen(busy, in_system):
    change(SyncItem, state="claimed", claim_token="", lease_until=None)
    assert "claims-leased" in violated()


@pytest.mark.parametrize("state", ["finished", "cancelled"])
def test_open_rows_of_an_ended_campaign_are_seen(busy, in_system, state):
    from campaigns.models import Campaign

    change(Campaign, state=state)
    assert violated() == {"ended-closed": 2}


def test_a_sent_message_without_sync_item_is_seen(busy, in_system):
    SyncItem.objects.filter(tenant__slug="acme").delete()
    assert violated() == {"sent-synced": 1}


def test_a_sync_item_is_not_needed_without_a_crm_or_before_it_was_there(busy, in_system):
    SyncItem.objects.filter(tenant__slug="acme").delete()
    crm = Connection.objects.filter(tenant__slug="acme", kind=Connection.Kind.GHL)
    crm.update(created_at=timezone.now() + timedelta(hours=1))
    assert violated() == {}


def test_a_sent_message_without_proof_is_seen(busy, in_system):
    Message.objects.filter(tenant__slug="acme", state="sent").update(provider_id="")
    assert violated() == {"sent-proven": 1}


def test_first_messages_of_two_campaigns_within_the_gap_are_seen(busy, in_system):
    first = Message.objects.get(tenant__slug="acme", state="sent")
    other = make.make_campaign(busy, state="running")
    later = make.make_message(other, first.lead, state="sent", sent_at=first.sent_at)
    assert violated() == {"first-touch-gap": 1}
    Message.objects.filter(pk=later.pk).update(sent_at=first.sent_at + timedelta(days=91))
    assert violated() == {}


def test_a_row_that_points_to_another_tenant_is_seen(busy, rival, in_system):
    theirs = make.make_lead(rival)
    astray = Message.objects.filter(tenant__slug="acme", state="queued")
    own = {row.pk: row.lead_id for row in astray}
    astray.update(lead=theirs)
    assert violated() == {"tenants-apart": 1}
    # PostgreSQL's composite keys would refuse it at the commit.
    for pk, lead_id in own.items():
        Message.objects.filter(pk=pk).update(lead=lead_id)


def test_a_score_that_is_not_its_breakdown_is_seen(busy, in_system):
    row = LeadScore.objects.filter(tenant__slug="acme").first()
    LeadScore.objects.filter(pk=row.pk).update(total=row.total - 1)
    assert violated() == {"scores-sum": 1}
    LeadScore.objects.filter(pk=row.pk).update(breakdown=[["nonsense"]])
    assert violated() == {"scores-sum": 1}


def test_an_account_over_its_cap_is_seen(busy, in_system):
    account = make.make_account(busy, day_cap=5, hour_cap=2)
    day = AccountUsage.objects.create(
        tenant=busy, account=account, period="2026-03-04", used=5, cap=5
    )
    hour = AccountUsage.objects.create(
        tenant=busy, account=account, period="2026-03-04T12-0300", used=2, cap=2
    )
    # A cap that is lowered afterwards was not in force when it was taken.
    type(account).objects.filter(pk=account.pk).update(day_cap=1)
    assert violated() == {}
    for row, used in ((day, 6), (hour, 3)):
        AccountUsage.objects.filter(pk=row.pk).update(used=used)
    assert violated() == {"caps-kept": 2}


def test_a_day_of_which_less_was_counted_than_left_is_seen(busy, in_system):
    type(busy).objects.filter(pk=busy.pk).update(max_messages_day=50)
    busy.refresh_from_db()
    now = database_now()
    row = TenantUsage.objects.create(
        tenant=busy, period=pacing.day_period(now, busy.zone), used=0, cap=50
    )
    assert violated() == {}
    make.make_message(make.make_campaign(busy, state="running"), state="unknown", claimed_at=now)
    assert violated() == {"day-caps-kept": 1}
    TenantUsage.objects.filter(pk=row.pk).update(used=1)
    assert violated() == {}
    with pytest.raises(IntegrityError), transaction.atomic():
        TenantUsage.objects.filter(pk=row.pk).update(used=51)


def test_the_number_of_statements_does_not_grow_with_the_rows(busy, in_system):
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    with CaptureQueriesContext(connection) as before:
        invariants.check()
    campaign = make.make_campaign(busy)
    for _ in range(10):
        make.make_message(campaign)
    with CaptureQueriesContext(connection) as after:
        invariants.check()
    assert len(after) == len(before)


def test_the_command_exits_1_and_says_how_to_look(busy):
    out = io.StringIO()
    call_command("invariants", stdout=out)
    assert out.getvalue().count("ok ") == len(invariants.INVARIANTS)
    with scope.as_system("test"):
        change(CampaignCounts, audience=99)
    out = io.StringIO()
    with pytest.raises(SystemExit) as caught:
        call_command("invariants", "--json", stdout=out)
    assert caught.value.code == 1
    answer = json.loads(out.getvalue())
    (wrong,) = [row for row in answer["invariants"] if row["violations"]]
    assert not answer["ok"]
    assert wrong["name"] == "counters"
    assert wrong["look"]


def states() -> dict[str, str]:
    return {finding.check: finding.state for finding in doctor.examine()}


def test_the_doctor_misses_workers_that_have_gone_quiet():
    now = timezone.now()
    beat = WorkerBeat.objects.create(owner="here:1", seen_at=now)
    assert states()["workers"] == "ok"
    WorkerBeat.objects.filter(pk=beat.pk).update(seen_at=now - timedelta(minutes=1))
    assert states()["workers"] == "FAIL"
    WorkerBeat.objects.filter(pk=beat.pk).update(seen_at=now, stopped_at=now)
    assert states()["workers"] == "FAIL"


def test_the_doctor_finds_the_database_whole():
    found = states()
    assert found["database"] == "ok"
    assert found["migrations"] == "ok"
    assert found["clock"] == "ok"
    assert found["credential keys"] == "ok"


def test_the_doctor_misses_a_master_key(acme, settings):
    make.make_connection(acme)
    settings.CREDENTIAL_KEYS = settings.CREDENTIAL_KEYS.replace("t1:", "t2:")
    assert states()["credential keys"] == "FAIL"


def test_the_doctor_tries_a_tenants_connections(acme, monkeypatch):
    make.make_connection(acme, name="good")
    make.make_connection(acme, name="bad")

    class Adapter:
        def __init__(self, row):
            self.row = row

        def check(self):
            if self.row.name == "bad":
                raise Rejected("token_dead", "The token is dead.", fault=Fault.ACCOUNT)
            return "@acme"

    monkeypatch.setattr(doctor, "adapter_for", Adapter)
    found = {row.check: row for row in doctor.examine(acme)}
    assert found["Instagram · good"].detail == "@acme"
    assert found["Instagram · bad"].state == "FAIL"
    assert "The token is dead." in found["Instagram · bad"].detail


def test_one_failing_check_does_not_hide_the_others(monkeypatch):
    def broken():
        raise RuntimeError("the cache is on fire")
        yield

    monkeypatch.setattr(doctor, "CHECKS", [("cache", broken), *doctor.CHECKS])
    found = list(doctor.examine())
    assert found[0].state == "FAIL"
    assert "on fire" in found[0].detail
    assert len(found) > 5


def test_the_doctor_does_not_know_a_tenant_that_is_not_there():
    with pytest.raises(CommandError, match="no tenant 'nobody'"):
        call_command("doctor", tenant="nobody")
