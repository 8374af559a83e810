"""The refusing manager: no query is answered, and nothing written, outside its tenant."""

from __future__ import annotations

import pytest
from django.db.models import Count, Exists, OuterRef

from agenticos import scope
from agenticos.tests.factories import make_campaign, make_connection, make_lead, make_tenant
from leads.models import Lead
from tenants.models import Tenant

pytestmark = pytest.mark.django_db


@pytest.fixture
def both(acme, rival):
    """A lead of acme and a lead of the rival."""
    return make_lead(acme, "ana"), make_lead(rival, "rui")


@pytest.mark.parametrize(
    "ask",
    [
        list,
        len,
        bool,
        lambda rows: rows.count(),
        lambda rows: rows.exists(),
        lambda rows: rows.first(),
        lambda rows: rows.get(pk=1),
        lambda rows: rows.filter(pk=1).update(name="x"),
        lambda rows: rows.filter(pk=1).delete(),
        lambda rows: rows.aggregate(n=Count("pk")),
        lambda rows: list(rows.values_list("pk")),
        lambda rows: list(rows.iterator()),
        lambda rows: rows.in_bulk([1]),
        lambda rows: list(Tenant.objects.filter(pk__in=rows.values("tenant"))),
        lambda rows: list(Tenant.objects.filter(Exists(rows.filter(tenant=OuterRef("pk"))))),
    ],
)
def test_outside_a_scope_no_query_is_answered(both, ask):
    with pytest.raises(scope.NoTenant):
        ask(Lead.objects.all())


def test_building_a_query_outside_a_scope_is_allowed(both):
    rows = Lead.objects.filter(handle="ana").order_by("pk")
    with scope.as_tenant(both[0].tenant_id):
        assert [row.handle for row in rows] == ["ana"]


def test_a_tenant_sees_its_rows_alone(both, acme):
    with scope.as_tenant(acme):
        assert [row.handle for row in Lead.objects.all()] == ["ana"]
        assert Lead.objects.count() == 1
        assert not Lead.objects.filter(handle="rui").exists()
        assert Lead.objects.filter(pk=both[1].pk).update(name="taken") == 0
        assert Lead.objects.filter(pk=both[1].pk).delete()[0] == 0


def test_the_system_sees_all_rows(both):
    with scope.as_system("test"):
        assert Lead.objects.count() == 2


def test_one_query_answers_for_the_scope_in_which_it_is_evaluated(both, acme, rival):
    rows = Lead.objects.all()
    for tenant, handle in ((acme, "ana"), (rival, "rui")):
        with scope.as_tenant(tenant):
            assert [row.handle for row in rows.all()] == [handle]


def test_scopes_nest_and_come_back(both, acme, rival):
    with scope.as_tenant(acme):
        with scope.as_tenant(rival):
            assert Lead.objects.get().handle == "rui"
        assert Lead.objects.get().handle == "ana"
        with scope.as_nobody(), pytest.raises(scope.NoTenant):
            Lead.objects.get()
    with pytest.raises(scope.NoTenant):
        Lead.objects.get()


def test_related_rows_are_scoped_as_well(both, acme, rival):
    with pytest.raises(scope.NoTenant):
        list(acme.leads.all())
    with scope.as_tenant(acme):
        assert list(rival.leads.all()) == []
        assert [row.handle for row in acme.leads.all()] == ["ana"]


def test_a_foreign_row_is_not_followed(both, acme):
    with scope.as_tenant(acme):
        both[1].name = "changed"
        with pytest.raises(Lead.DoesNotExist):
            both[1].refresh_from_db()


def test_saving_another_tenants_row_is_refused(both, acme):
    with scope.as_tenant(acme), pytest.raises(scope.WrongTenant):
        both[1].save()


def test_saving_outside_a_scope_is_refused(both):
    with pytest.raises(scope.NoTenant):
        both[0].save()


def test_creating_in_bulk_for_another_tenant_is_refused(acme, rival):
    rows = [Lead(tenant=acme, handle="one"), Lead(tenant=rival, handle="two")]
    with scope.as_tenant(acme), pytest.raises(scope.WrongTenant):
        Lead.objects.bulk_create(rows)
    with scope.as_system("test"):
        assert Lead.objects.count() == 0


def test_a_new_row_takes_the_tenant_of_the_scope(acme):
    with scope.as_tenant(acme):
        assert Lead.objects.create(handle="ana").tenant_id == acme.pk


def test_many_to_many_and_prefetch_stay_within_the_tenant(acme, rival):
    for tenant in (acme, rival):
        make_campaign(tenant)
    with scope.as_tenant(acme):
        from campaigns.models import Campaign

        (campaign,) = Campaign.objects.prefetch_related("accounts", "steps")
        assert {row.tenant_id for row in campaign.accounts.all()} == {acme.pk}


def test_deleting_a_tenant_takes_its_rows_and_no_others(acme, rival):
    for tenant in (acme, rival):
        make_lead(tenant)
        make_connection(tenant)
    gone = make_tenant("gone")
    make_lead(gone)
    with scope.as_system("test"):
        gone.delete()
        assert set(Lead.objects.values_list("tenant__slug", flat=True)) == {"acme", "rival"}
