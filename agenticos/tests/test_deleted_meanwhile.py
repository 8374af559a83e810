"""A row that was read, and deleted by somebody else before it was locked: said, never a crash."""

from __future__ import annotations

import pytest

from agenticos.errors import Refused
from agenticos.tests.factories import (
    api_client,
    make_account,
    make_campaign,
    make_connection,
    make_key,
    make_lead,
    make_message,
)
from campaigns import accounts, actions, drafting, library, removal
from campaigns.models import Campaign, Message, SendingAccount, Template
from integrations import connecting
from integrations.models import Connection
from leads import bulk, editing, removal as lead_removal
from leads.models import BulkJob, BulkRow, Lead

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def inside(acme, in_tenant, rung):
    """These tests run as acme, and rings are collected."""
    in_tenant(acme)


def gone(do):
    with pytest.raises(Refused) as caught:
        do()
    assert caught.value.code == "gone"


def test_a_draft(acme, alice, clock):
    campaign = make_campaign(acme)
    Campaign.objects.filter(pk=campaign.pk).delete()
    gone(lambda: removal.delete_draft(campaign, by=alice, now=clock.now()))
    gone(lambda: drafting.locked(campaign))
    gone(lambda: actions.start_campaign(campaign, by=alice, now=clock.now()))


def test_a_lead(acme, alice, clock):
    lead = make_lead(acme, "ana")
    Lead.objects.filter(pk=lead.pk).delete()
    gone(lambda: lead_removal.delete_lead(lead, by=alice, now=clock.now()))
    gone(lambda: editing.edit_lead(lead, {"city": "Recife"}, by=alice, now=clock.now()))


def test_a_message(acme, alice, clock):
    campaign = make_campaign(acme)
    message = make_message(campaign, make_lead(acme, "ana"), state="failed")
    Message.objects.filter(pk=message.pk).delete()
    gone(lambda: actions.retry_message(message, by=alice, now=clock.now()))


def test_an_account_a_connection_and_a_template(acme, alice, clock):
    account, connection = make_account(acme, "acme.two"), make_connection(acme, "ghl")
    template = Template.objects.create(name="Oi", body="Oi")
    SendingAccount.objects.filter(pk=account.pk).delete()
    Connection.objects.filter(pk=connection.pk).delete()
    Template.objects.filter(pk=template.pk).delete()
    now = clock.now()
    gone(lambda: actions.block_account(account, by=alice, now=now))
    gone(lambda: accounts.edit_account(account, {"day_cap": 9}, by=alice, now=now))
    gone(lambda: connecting.switch(connection, on=False, by=alice, now=now))
    gone(lambda: library.edit_template(template, name="A", body="B", by=alice, now=now))


def test_the_api_answers_409_gone(acme, monkeypatch):
    """Deleted by a rival between the view's look-up and its lock."""
    lead = make_lead(acme, "ana")
    whole = lead_removal.delete_lead

    def too_late(row, **how):
        Lead.objects.filter(pk=row.pk).delete()
        whole(row, **how)

    monkeypatch.setattr(lead_removal, "delete_lead", too_late)
    client = api_client(make_key(acme))
    answer = client.delete(f"/api/v1/leads/{lead.pk}")
    assert (answer.status_code, answer.json()["code"]) == (409, "gone")


def test_a_lead_deleted_before_its_turn_is_not_counted_in_the_job(acme, alice, clock):
    ana, rui = make_lead(acme, "ana"), make_lead(acme, "rui")
    job = bulk.start(
        acme, "tag", params={"tag": "vip"}, lead_ids=[ana.pk, rui.pk], by=alice, now=clock.now()
    )
    lead_removal.delete_lead(ana, by=alice, now=clock.now())
    bulk.do_now(job, now=clock.now())
    job = BulkJob.objects.get(pk=job.pk)
    assert (job.state, job.total, job.worked, job.done) == ("done", 1, 1, 1)
    assert BulkRow.objects.filter(job=job).count() == job.total
