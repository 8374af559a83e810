"""A person is erased while a worker is about to write to them: two real connections, each order.

The worker has claimed the person's rows in two campaigns. Whoever is first, no message leaves to
somebody who is erased, and neither waits for the other for ever.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager
from types import SimpleNamespace

import pytest
from django.db import connection

from agenticos import invariants, scope, sql
from agenticos.errors import Refused
from agenticos.tests.factories import make_account, make_campaign, make_lead, make_message
from campaigns import ledger, settling
from campaigns.models import Message
from campaigns.tests.wires import Wire, work
from leads import erasing
from leads.models import Lead
from tenants import audit

pytestmark = [pytest.mark.postgresql, pytest.mark.django_db(transaction=True)]
MOST_S = 20


class Place:
    """Where a thread stands until it is let on."""

    def __init__(self) -> None:
        self.reached, self.go = threading.Event(), threading.Event()

    def stand(self) -> None:
        self.reached.set()
        assert self.go.wait(MOST_S)


class Doer(threading.Thread):
    """Runs something in a connection of its own; `said` is what came of it."""

    def __init__(self, do):
        super().__init__()
        self.do, self.said = do, None
        self.start()

    def run(self):
        try:
            self.said = self.do()
        except BaseException as error:
            self.said = error
        finally:
            connection.close()

    def result(self):
        self.join(MOST_S)
        assert not self.is_alive()
        return self.said


def somebody_waits_for_a_lock() -> None:
    """Come back when a statement of this database waits for another's lock."""
    pause = threading.Event()
    for _ in range(400):
        with scope.as_system("test"):
            waiting = sql.fetch(
                "SELECT count(*) FROM pg_locks l JOIN pg_stat_activity a USING (pid) "
                "WHERE NOT l.granted AND a.datname = current_database()",
                [],
            )[0][0]
        if waiting:
            return
        pause.wait(0.05)
    raise AssertionError("nobody waits")


@pytest.fixture
def lead(acme, clock, rung):
    """Somebody with a row in each of two running campaigns; and a second person in both."""
    acme.contact_gap_days = 0
    acme.save()
    person, other = make_lead(acme, "ana", email="ana@example.com"), make_lead(acme, "bob")
    campaigns = [make_campaign(acme, accounts=[make_account(acme)], state="running")
                 for _ in range(2)]  # fmt: skip
    for campaign in campaigns:
        for place, whose in enumerate((person, other)):
            make_message(campaign, whose, due_at=clock.now(), position=place)
    with scope.as_tenant(acme):
        ledger.wake([campaign.pk for campaign in campaigns], clock.now())
    return person


def erase(lead, now):
    with scope.as_tenant(lead.tenant_id):
        return erasing.erase_person(lead, by=None, now=now)


def states(lead):
    with scope.as_tenant(lead.tenant_id):
        rows = Message.objects.filter(lead=lead).order_by("pk")
        return [(row.state, row.reason, row.text) for row in rows]


def to_ana(wire):
    return [message.to_handle for message in wire.sent].count("ana")


def all_is_well(lead):
    with scope.as_system("test"):
        assert [one.invariant.name for one in invariants.check(full=True) if one.violations] == []


def before_marking(monkeypatch) -> Place:
    """The worker stands between its claim and the transaction that marks."""
    place, mark = Place(), settling.settle_and_mark

    def settle_and_mark(done, begin, *given, **named):
        if begin and not place.reached.is_set():
            place.stand()
        return mark(done, begin, *given, **named)

    monkeypatch.setattr(settling, "settle_and_mark", settle_and_mark)
    return place


def before_the_marks_commit(monkeypatch) -> Place:
    """The worker stands with all its locks, every answer looked at, before COMMIT."""
    place, trip = Place(), sql.one_trip

    @contextmanager
    def one_trip(**named):
        with trip(**named):
            yield
            if not place.reached.is_set():
                sql.fetch("SELECT 1", [])  # so that all before it is done
                place.stand()

    monkeypatch.setattr(settling, "one_trip", one_trip)
    return place


def before_the_erasure_commits(monkeypatch) -> Place:
    """Whoever erases stands with all locks, everything written, before COMMIT."""
    place = Place()

    def record(*given, **named):
        audit.record(*given, **named)
        place.stand()

    monkeypatch.setattr(erasing, "audit", SimpleNamespace(record=record))
    return place


def test_who_erases_waits_for_marks_under_way_and_is_told_to_come_back(lead, clock, monkeypatch):
    place, wire, now = before_the_marks_commit(monkeypatch), Wire(), clock.now()
    worker = Doer(lambda: work(clock, wire))
    assert place.reached.wait(MOST_S)
    eraser = Doer(lambda: erase(lead, now))
    somebody_waits_for_a_lock()
    assert wire.sent == []  # nothing is called before the commit
    place.go.set()
    refusal = eraser.result()
    assert isinstance(refusal, Refused), refusal
    assert refusal.code == "in_flight"
    assert not isinstance(worker.result(), BaseException), worker.said
    assert to_ana(wire) == 2
    with scope.as_tenant(lead.tenant_id):
        assert Lead.objects.get(pk=lead.pk).handle == "ana"
    erase(lead, clock.now())  # now that it is done, it goes
    work(clock, wire)
    assert to_ana(wire) == 2
    assert [state for state, _reason, _text in states(lead)] == ["sent", "sent"]
    all_is_well(lead)


def test_a_worker_waits_for_an_erasure_under_way_and_marks_nothing_of_it(lead, clock, monkeypatch):
    claimed = before_marking(monkeypatch)
    erased = before_the_erasure_commits(monkeypatch)
    wire, now = Wire(), clock.now()
    worker = Doer(lambda: work(clock, wire))
    assert claimed.reached.wait(MOST_S)
    eraser = Doer(lambda: erase(lead, now))
    assert erased.reached.wait(MOST_S)
    claimed.go.set()
    somebody_waits_for_a_lock()
    assert wire.sent == []
    erased.go.set()
    receipt = eraser.result()
    assert isinstance(receipt, erasing.Receipt), receipt
    assert not isinstance(worker.result(), BaseException), worker.said
    assert wire.handles.count("bob") == 2  # the others are written to
    assert [message.to_handle for message in wire.sent] == ["bob", "bob"]
    assert states(lead) == [("skipped", "lead_removed", "")] * 2
    all_is_well(lead)


def test_an_erasure_between_claim_and_mark_leaves_the_worker_nothing(lead, clock, monkeypatch):
    claimed, wire = before_marking(monkeypatch), Wire()
    worker = Doer(lambda: work(clock, wire))
    assert claimed.reached.wait(MOST_S)
    receipt = Doer(lambda: erase(lead, clock.now())).result()
    assert isinstance(receipt, erasing.Receipt), receipt
    claimed.go.set()
    assert not isinstance(worker.result(), BaseException), worker.said
    assert [message.to_handle for message in wire.sent] == ["bob", "bob"]
    assert states(lead) == [("skipped", "lead_removed", "")] * 2
    all_is_well(lead)
