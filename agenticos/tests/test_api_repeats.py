"""Two requests with one Idempotency-Key at one instant: one works, the other waits for it."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connection, connections

from agenticos import scope
from agenticos.api import idempotency
from agenticos.errors import Refused
from agenticos.tests import factories
from agenticos.tests.test_api import code_of, post
from leads import editing

pytestmark = [pytest.mark.postgresql, pytest.mark.django_db(transaction=True)]
PATIENCE_S = 30


class Held:
    """The first request stops in the middle of its work until it is told how to go on."""

    def __init__(self):
        self.inside, self.go_on = threading.Event(), threading.Event()
        self.refuses = False
        self.calls = 0

    def add_lead(self, *args, **options):
        self.calls += 1
        if self.calls == 1:
            self.inside.set()
            assert self.go_on.wait(PATIENCE_S)
            if self.refuses:
                raise Refused("Not now.", code="not_now")
        return self.real(*args, **options)

    real = staticmethod(editing.add_lead)


@pytest.fixture
def held(monkeypatch):
    found = Held()
    monkeypatch.setattr(editing, "add_lead", found.add_lead)
    yield found
    found.go_on.set()


@pytest.fixture
def send(acme):
    """Sends a request with one key in a thread of its own; gives the future of its answer."""
    key = factories.make_key(acme)

    def knock(body):
        client = factories.api_client(key, **{"Idempotency-Key": "the-same"})
        try:
            return post(client, "/api/v1/leads", body)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(2) as pool:
        yield lambda handle="ana": pool.submit(knock, {"handle": handle})


def wait_until_somebody_waits():
    """Until a session of this database stands at the lock of another one's record."""
    table = idempotency.IdempotencyRecord._meta.db_table
    end = time.monotonic() + PATIENCE_S
    with connection.cursor() as cursor:
        while time.monotonic() < end:
            cursor.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
                "AND wait_event_type = 'Lock' AND query LIKE %s",
                [f"INSERT INTO%{table}%"],
            )
            if cursor.fetchone()[0]:
                return
    raise AssertionError("nobody waits")


def leads_of(acme):
    with scope.as_tenant(acme):
        return list(acme.leads.values_list("handle", flat=True))


def test_the_second_waits_and_gets_the_firsts_answer(acme, held, send):
    first = send()
    assert held.inside.wait(PATIENCE_S)
    second = send()
    wait_until_somebody_waits()
    assert not second.done()
    held.go_on.set()
    assert first.result().status_code == second.result().status_code == 201
    assert first.result().content == second.result().content
    assert "Idempotent-Replayed" not in first.result()
    assert second.result()["Idempotent-Replayed"] == "true"
    assert (held.calls, leads_of(acme)) == (1, ["ana"])


def test_the_second_works_itself_when_the_first_is_refused(acme, held, send):
    first = send()
    assert held.inside.wait(PATIENCE_S)
    second = send()
    wait_until_somebody_waits()
    held.refuses = True
    held.go_on.set()
    assert code_of(first.result()) == (409, "not_now")
    assert second.result().status_code == 201
    assert "Idempotent-Replayed" not in second.result()
    assert (held.calls, leads_of(acme)) == (2, ["ana"])


def test_the_second_is_told_to_come_back_when_its_wait_runs_out(acme, held, send, monkeypatch):
    monkeypatch.setattr(idempotency, "WAIT_S", 0.05)
    first = send()
    assert held.inside.wait(PATIENCE_S)
    second = send().result()
    assert code_of(second) == (409, "idempotency_in_progress")
    assert second["Retry-After"] == "2"
    assert not first.done()
    held.go_on.set()
    assert first.result().status_code == 201
    assert send().result()["Idempotent-Replayed"] == "true"
    assert (held.calls, leads_of(acme)) == (1, ["ana"])


def test_another_body_waits_too_and_is_refused(acme, held, send):
    first = send()
    assert held.inside.wait(PATIENCE_S)
    second = send("bia")
    wait_until_somebody_waits()
    held.go_on.set()
    assert first.result().status_code == 201
    assert code_of(second.result()) == (422, "idempotency_key_reused")
    assert leads_of(acme) == ["ana"]
