"""The owner of a lead: set by people and jobs, never by a file."""

from __future__ import annotations

import pytest
from django.urls import reverse

from agenticos import scope
from agenticos.tests.factories import make_lead, make_member
from leads.models import BulkJob, Lead

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _rings(rung):
    """Rings are collected, not put into the broker."""


def owner_of(tenant, lead):
    with scope.as_tenant(tenant):
        return Lead.objects.get(pk=lead.pk).owner_id


def test_an_owner_is_set_shown_and_filtered_by(acme, alice, browser):
    member = make_member(acme, "operator")
    lead, other = make_lead(acme, "ana"), make_lead(acme, "bia")
    client = browser(alice)
    client.post(reverse("leads:owner", args=["acme", lead.pk]), {"owner": member.pk})
    assert owner_of(acme, lead) == member.pk
    page = reverse("leads:list", args=["acme"])
    found = client.get(f"{page}?owner={member.pk}&c=owner").context["rows"]
    assert [row.lead.handle for row in found] == ["ana"]
    found = client.get(f"{page}?owner=none").context["rows"]
    assert [row.lead.handle for row in found] == [other.handle]
    detail = client.get(reverse("leads:detail", args=["acme", lead.pk])).content.decode()
    assert str(member.user) in detail


def test_a_job_sets_the_owner_of_many(acme, alice, browser):
    member = make_member(acme, "operator")
    leads = [make_lead(acme, "ana"), make_lead(acme, "bia")]
    values = {"owner": member.pk, "lead": [lead.pk for lead in leads]}
    browser(alice).post(reverse("leads:bulk", args=["acme", "assign"]), values)
    assert [owner_of(acme, lead) for lead in leads] == [member.pk] * 2
    with scope.as_tenant(acme):
        assert BulkJob.objects.get().done == 2


def test_a_rivals_member_is_no_owner(acme, rival, alice, browser):
    stranger = make_member(rival, "owner")
    lead = make_lead(acme, "ana")
    client = browser(alice)
    client.post(reverse("leads:owner", args=["acme", lead.pk]), {"owner": stranger.pk})
    values = {"owner": stranger.pk, "lead": [lead.pk]}
    client.post(reverse("leads:bulk", args=["acme", "assign"]), values)
    assert owner_of(acme, lead) is None
