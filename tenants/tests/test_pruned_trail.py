"""What retention takes off the front of the chain, and what is left can still be proven."""

from __future__ import annotations

import pytest
from django.utils import timezone

from agenticos import scope
from tenants import sealing
from tenants.models import AuditEntry, AuditSeal
from tenants.tests.trail import LATER, drop, seal, sql, verify, write


def prune(tenant, *, before=None, most=500):
    with scope.as_tenant(tenant):
        return sealing.prune_chunk(tenant, before=before or timezone.now() + LATER, most=most)


def numbers(tenant):
    with scope.as_tenant(tenant):
        return list(AuditSeal.objects.order_by("number").values_list("number", flat=True))


@pytest.mark.django_db
def test_what_is_left_after_retention_can_still_be_proven(acme, rival, chained):
    write(rival, 2)
    seal(rival)
    with scope.as_tenant(acme):
        third = AuditEntry.objects.get(pk=chained[2])
    assert verify(acme).ok
    assert prune(acme, before=third.at) == 2
    assert numbers(acme) == [3, 4, 5]
    assert verify(acme).ok  # before the entry that says so is sealed
    seal(acme)
    outcome = verify(acme)
    assert (outcome.ok, outcome.entries, outcome.number) == (True, 4, 6)
    assert prune(acme, before=third.at) == 0
    with scope.as_tenant(acme):
        entry = AuditEntry.objects.get(action="audit.pruned")
    assert (entry.data["entries"], entry.data["number"]) == (2, 2)
    assert numbers(rival) == [1, 2]


@pytest.mark.django_db
def test_the_chain_goes_on_when_all_of_it_went(acme, chained):
    assert prune(acme, most=3) == 3
    assert prune(acme, most=3) == 2
    assert numbers(acme) == []
    assert verify(acme).ok
    assert seal(acme) == 2
    assert numbers(acme) == [6, 7]
    assert verify(acme).ok
    assert prune(acme) == 2  # also what told of the earlier ones
    seal(acme)
    assert (numbers(acme), verify(acme).ok) == ([8], True)


@pytest.mark.django_db
def test_forgeries_after_retention_are_found(acme, chained):
    prune(acme, most=2)
    seal(acme)
    assert verify(acme).ok
    sql("UPDATE tenants_auditentry SET actor = 'x' WHERE id = %s", chained[3])
    outcome = verify(acme)
    assert (outcome.problem, outcome.entry) == ("altered", chained[3])


@pytest.mark.django_db
def test_a_front_that_went_without_retention_is_found(acme, chained):
    prune(acme, most=1)
    seal(acme)
    drop(chained[1])
    outcome = verify(acme)
    assert (outcome.problem, outcome.entry) == ("missing", chained[2])


@pytest.mark.django_db
def test_a_note_of_retention_that_was_taken_away_is_found(acme, chained):
    prune(acme, most=2)
    seal(acme)
    sql("UPDATE tenants_auditentry SET action = 'x' WHERE action = 'audit.pruned'")
    assert verify(acme).problem == "missing"


@pytest.mark.django_db
def test_retention_leaves_a_broken_chain_as_evidence(acme, chained):
    sql("UPDATE tenants_auditentry SET actor = 'x' WHERE id = %s", chained[1])
    assert prune(acme) == 0
    assert numbers(acme) == [1, 2, 3, 4, 5]
    assert (verify(acme).problem, verify(acme).entry) == ("altered", chained[1])


@pytest.mark.django_db
def test_a_kill_in_the_middle_of_pruning_leaves_the_chain_whole(acme, chained, monkeypatch):
    def dies(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(sealing, "altering", dies)
    with pytest.raises(KeyboardInterrupt):
        prune(acme, most=2)
    monkeypatch.undo()
    assert (numbers(acme), verify(acme).ok) == ([1, 2, 3, 4, 5], True)
    assert prune(acme, most=2) == 2
    assert verify(acme).ok
