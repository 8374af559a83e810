"""Two tenants with a row of every model each: each line that keeps them apart, by itself.

`python -m agenticos.tests.mutations` takes the lines away in turn and sees that these tests fail.
"""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace
from typing import Any

import pytest
from django.db import DatabaseError, IntegrityError, connection, transaction
from django.utils import timezone

from agenticos import scope, sql
from agenticos.invariants import references_between_tenant_tables
from agenticos.tests import everything
from agenticos.tests.factories import past_the_rights
from campaigns import ledger, settling
from campaigns.models import AccountUsage, CampaignCounts, SendingAccount
from integrations.actions import Wish, want_contacts
from integrations.models import Connection, SyncItem
from leads import rescoring, scoring, whatif, whatif_sql
from leads.models import IcpVersion, Lead, LeadFacts, LeadScore
from tenants.models import Tenant

pytestmark = pytest.mark.django_db

OURS, THEIRS = 7001, 7002  # the ids of all of acme's rows, and of all of the rival's
MODELS = everything.owned_models()
each_model = pytest.mark.parametrize("model", MODELS, ids=lambda model: model._meta.label)


@pytest.fixture
def both(acme: Tenant, rival: Tenant) -> None:
    everything.one_of_each(acme, OURS)
    everything.one_of_each(rival, THEIRS)


# --- The managers -----------------------------------------------------------------------------


def test_each_manager_answers_with_the_tenant_in_scope_alone(acme, rival, both):
    wrong = []
    for tenant, mine, other in ((acme, OURS, THEIRS), (rival, THEIRS, OURS)):
        with scope.as_tenant(tenant):
            for model in MODELS:
                for manager in (model.objects, model._default_manager, model._base_manager):
                    found = set(manager.values_list("pk", flat=True))
                    if mine not in found or other in found:
                        wrong.append((model, manager.name))
    assert wrong == []


def test_each_relation_answers_with_the_tenant_in_scope_alone(acme, rival, both):
    """`rival.leads` in acme's scope: nothing, whoever got hold of the other tenant's row."""
    relations = [
        relation
        for relation in Tenant._meta.related_objects
        if relation.get_accessor_name() and relation.one_to_many
    ]
    assert len(relations) > 20
    with scope.as_tenant(acme):
        for relation in relations:
            name = relation.get_accessor_name()
            assert getattr(acme, name).exists(), name
            assert not getattr(rival, name).exists(), name


def test_a_row_of_another_tenant_is_not_written(acme, rival, both):
    with scope.as_system("test"):
        theirs = [model.objects.get(pk=THEIRS) for model in MODELS]
    with scope.as_tenant(acme):
        for row in theirs:
            row._state.adding = True
            with pytest.raises(scope.WrongTenant):
                row.save()
            with pytest.raises(scope.WrongTenant):
                type(row).objects.bulk_create([row])


def test_a_row_that_is_made_in_bulk_takes_the_tenant_in_scope(acme, both):
    with scope.as_tenant(acme):
        (lead,) = Lead.objects.bulk_create([Lead(handle="new")])
    assert lead.tenant_id == acme.pk


# --- Statements of our own: no manager adds a condition to them --------------------------------


@pytest.fixture
def in_acme(acme, both, in_tenant) -> None:
    in_tenant(acme)


def of_theirs(model: Any) -> dict[str, Any]:
    with scope.as_system("test"):
        return dict(model.objects.filter(pk=THEIRS).values()[0])


def test_an_allowance_is_not_given_back_to_another_tenants_account(in_acme):
    before = of_theirs(AccountUsage)
    ledger.return_allowance(Counter({(THEIRS, before["period"]): -1}))
    assert of_theirs(AccountUsage) == before


def test_another_tenants_campaign_is_not_held(in_acme):
    assert set(ledger.hold_states([OURS, THEIRS])) == {OURS}


def test_nothing_is_counted_for_another_tenants_campaign(in_acme):
    before = of_theirs(CampaignCounts)
    ledger.count(THEIRS, sent=1)
    assert of_theirs(CampaignCounts) == before


def test_another_tenants_account_is_not_locked(in_acme):
    with transaction.atomic():
        assert set(ledger.lock_accounts([OURS, THEIRS])) == {OURS}


def test_another_tenants_account_is_neither_kept_nor_let_go(in_acme):
    with scope.as_system("test"):
        SendingAccount.objects.update(claim_token="t", lease_until=timezone.now())
    before = of_theirs(SendingAccount)
    row: Any = SimpleNamespace(id=0, account_id=THEIRS, campaign_id=0)
    with transaction.atomic():
        settling._renew([OURS, THEIRS], timezone.now(), token="t")
        settling._give_back([row], timezone.now(), ledger.Tally(), {}, token="t")
    assert of_theirs(SendingAccount) == before
    assert SendingAccount.objects.get().lease_until > before["lease_until"]


def test_a_contact_is_wished_for_in_no_other_tenants_crm(in_acme):
    with scope.as_system("test"):
        Connection.objects.update(kind=Connection.Kind.GHL)
    want_contacts([Wish("lead:1", "", {})], timezone.now())
    with scope.as_system("test"):
        found = SyncItem.objects.filter(key="lead:1")
        assert list(found.values_list("connection_id", flat=True)) == [OURS]


def test_the_values_of_a_column_are_the_tenants_own(in_acme):
    with scope.as_system("test"):
        for pk, city in ((OURS, "Recife"), (THEIRS, "Natal")):
            Lead.objects.filter(pk=pk).update(city=city)
    assert sql.distinct_values(Lead, "city", 10) == ["Recife"]


def test_a_preview_reads_the_tenants_own_scores(in_acme):
    with scope.as_system("test"):
        LeadScore.objects.update(packed=0)
    for version, leads in ((OURS, [OURS]), (THEIRS, [])):
        asked = whatif_sql.rows_under(scoring.DEFAULT, scoring.DEFAULT, version)
        assert [row[0] for row in sql.fetch(asked.text, asked.params)] == leads


def test_a_word_that_another_tenants_leads_have_is_unused(in_acme):
    with scope.as_system("test"):
        LeadFacts.objects.filter(pk=THEIRS).update(bio_words=" surfista ")
    config = scoring.IcpConfig.from_json({"business_words": ["surfista"]})
    assert whatif._unused(None, config) == ["surfista"]


# --- Sweeps over all tenants, which keep them apart themselves ----------------------------------


def test_another_tenants_newer_version_makes_none_of_ours_prunable(both):
    retired = IcpVersion.State.RETIRED
    with scope.as_system("test"):
        IcpVersion.objects.filter(pk=OURS).update(state=retired, number=1)
        IcpVersion.objects.filter(pk=THEIRS).update(state=retired, number=2)
        assert list(rescoring.prunable()) == []


# --- PostgreSQL: policies and composite keys ----------------------------------------------------


@pytest.mark.postgresql
@each_model
def test_a_policy_shows_the_tenant_in_scope_alone(acme, rival, model):
    everything.one_of(model, acme, OURS)
    everything.one_of(model, rival, THEIRS)
    table = model._meta.db_table
    with scope.as_tenant(acme):
        assert sql.fetch(f"SELECT DISTINCT tenant_id FROM {table}", []) == [(acme.pk,)]
        sql.run(f"UPDATE {table} SET id = id WHERE id = {THEIRS}", [])
        with pytest.raises(DatabaseError, match="row-level security"), transaction.atomic():
            sql.run(f"UPDATE {table} SET tenant_id = %s WHERE id = {OURS}", [rival.pk])
    with pytest.raises(DatabaseError), transaction.atomic():
        sql.fetch(f"SELECT 1 FROM {table}", [])


@pytest.mark.postgresql
@pytest.mark.parametrize(
    ("model", "name"),
    list(references_between_tenant_tables()),
    ids=lambda part: part if isinstance(part, str) else part._meta.label,
)
def test_a_reference_leads_to_no_row_of_another_tenant(acme, rival, model, name):
    everything.one_of(model, acme, OURS)
    field = model._meta.get_field(name)
    everything.one_of(field.related_model, rival, THEIRS)
    along = ", role = 'custom'" if field.column == "custom_role_id" else ""  # a CHECK wants both
    with past_the_rights():
        sql.run(f"UPDATE {model._meta.db_table} SET {field.column} = {THEIRS}{along}", [])
        with pytest.raises(IntegrityError) as refused, transaction.atomic():
            sql.run("SET CONSTRAINTS ALL IMMEDIATE", [])
    transaction.set_rollback(True)
    with connection.schema_editor() as editor:
        tie = editor.tie_name(model, field)
    assert refused.value.__cause__.diag.constraint_name == tie
