"""The API's limits through the front door: per key, tenant and address; exact at one instant."""

from __future__ import annotations

import fcntl
import os
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from django.db import connection, connections
from django.test import Client

from agenticos import limits, scope
from agenticos.api import base, limiting
from agenticos.tests import factories
from agenticos.tests.test_api import code_of
from agenticos.tests.test_limits import SLOW

pytestmark = pytest.mark.django_db
PATH = "/api/v1/leads"
STANDING = ("RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset")


@pytest.fixture(params=["database", pytest.param("redis", marks=pytest.mark.redis)])
def limit(request, settings, db, monkeypatch):
    """`limit(key=50)`: at most so many calls. Counted in the database, or in Redis."""
    limits._redis.cache_clear()
    monkeypatch.setattr(limits, "REDIS_PATIENCE_S", 30)  # for a machine that is busy
    if request.param == "database":
        settings.REDIS_URL = ""
    every = {**settings.API_LIMITS}
    forget(settings)

    def set_(**bursts):
        every.update({kind: (SLOW, burst) for kind, burst in bursts.items()})
        settings.API_LIMITS = every

    yield set_
    forget(settings)
    limits._redis.cache_clear()


def forget(settings):
    """Ids come again in every test, and the counts are in nobody's transaction."""
    if settings.REDIS_URL:
        import redis

        with redis.Redis.from_url(settings.REDIS_URL) as client:
            client.flushdb()
    limits._database()._ask("DELETE FROM {table}", {}, None)


def at_once(count, call):
    """`call(n)` in so many threads at one instant; what they give back.

    Each has its connection before; a server takes a hundred, so no two tests do this at once.
    """
    gate, one_by_one = threading.Barrier(count), threading.Lock()

    def run(number):
        try:
            with one_by_one:
                connection.ensure_connection()
            gate.wait(120)
            return call(number)
        finally:
            connections.close_all()

    with (
        open(Path(tempfile.gettempdir()) / f"agenticos-{os.getuid()}.lock", "w") as alone,
        ThreadPoolExecutor(count) as pool,
    ):
        fcntl.flock(alone, fcntl.LOCK_EX)
        return list(pool.map(run, range(count)))


def test_every_answer_says_how_the_limit_stands(acme, limit):
    limit(key=3)
    client = factories.api_client(factories.make_key(acme, scopes=["leads:read"]))
    seen = []
    for path, status in ((PATH, 200), ("/api/v1/nowhere", 404), ("/api/v1/icp", 403), (PATH, 429)):
        answer = client.get(path)
        assert answer.status_code == status
        seen.append([int(answer[name]) for name in STANDING])
    assert [row[:2] for row in seen] == [[3, 2], [3, 1], [3, 0], [3, 0]]
    assert seen[0][2] < seen[1][2] < seen[2][2]


def test_the_call_beyond_the_limit_is_told_when_to_come_back(acme, settings, limit):
    limit(key=1)
    settings.API_LIMITS = {**settings.API_LIMITS, "key": (6, 1)}
    client = factories.api_client(factories.make_key(acme))
    client.get(PATH)
    answer = client.get(PATH)
    assert code_of(answer) == (429, "rate_limited")
    assert 1 <= int(answer["Retry-After"]) <= 10
    assert int(answer["Retry-After"]) <= int(answer["RateLimit-Reset"])


def test_keys_have_limits_of_their_own_and_a_tenant_one_for_all(acme, rival, limit):
    limit(key=2, tenant=3)
    one, two = (factories.api_client(factories.make_key(acme)) for _ in range(2))
    stranger = factories.api_client(factories.make_key(rival))
    assert [one.get(PATH).status_code for _ in range(3)] == [200, 200, 429]
    assert [two.get(PATH).status_code for _ in range(2)] == [200, 429]
    assert two.get(PATH)["RateLimit-Limit"] == "3"
    assert stranger.get(PATH).status_code == 200


def test_what_is_refused_changes_nothing_and_is_not_kept(acme, limit):
    limit(key=1)
    client = factories.api_client(factories.make_key(acme), **{"Idempotency-Key": "k"})
    client.get(PATH)
    answer = client.post(PATH, {"handle": "ana"}, "application/json")
    assert code_of(answer) == (429, "rate_limited")
    with scope.as_tenant(acme):
        assert not acme.leads.exists()
        assert not acme.idempotency_records.exists()


# --- Without a good key -----------------------------------------------------------------------


def test_an_address_without_a_good_key_is_limited_and_its_neighbour_with_one_is_not(acme, limit):
    limit(stranger=5)
    good = factories.api_client(factories.make_key(acme))
    bad = Client(headers={"Authorization": "Bearer aos_x"})
    answers = [bad.get(PATH) for _ in range(6)]
    assert [code_of(answer) for answer in answers[4:]] == [
        (401, "invalid_key"),
        (429, "rate_limited"),
    ]
    assert answers[0]["RateLimit-Remaining"] == "4"
    assert good.get(PATH).status_code == 200


def test_a_forged_forwarded_address_changes_nothing(acme, limit):
    limit(stranger=5)
    codes = [
        Client(headers={"X-Forwarded-For": f"198.51.100.{number}"}).get(PATH).status_code
        for number in range(8)
    ]
    assert codes == [401] * 5 + [429] * 3


def test_behind_a_proxy_the_address_that_it_saw_counts(acme, limit, settings):
    settings.TRUSTED_PROXIES = 1
    limit(stranger=2)

    def knock(number, seen):
        headers = {"X-Forwarded-For": f"198.51.100.{number}, {seen}"}
        return Client(headers=headers).get(PATH).status_code

    assert [knock(number, "203.0.113.7") for number in range(3)] == [401, 401, 429]
    assert knock(9, "203.0.113.8") == 401


def test_an_ipv6_client_does_not_escape_within_its_network(acme, limit):
    limit(stranger=2)
    codes = [
        Client(REMOTE_ADDR=f"2001:db8:1:2:{number:x}::1").get(PATH).status_code
        for number in range(1, 4)
    ]
    assert codes == [401, 401, 429]
    assert Client(REMOTE_ADDR="2001:db8:1:3::1").get(PATH).status_code == 401


# --- At one instant ---------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_of_many_calls_at_once_exactly_as_many_pass_as_the_limit_says(acme, limit):
    limit(key=50)
    key = factories.make_key(acme)
    answers = at_once(60, lambda _: factories.api_client(key).get(PATH))
    codes = [answer.status_code for answer in answers]
    assert (codes.count(200), codes.count(429)) == (50, 10)
    left = sorted(int(one["RateLimit-Remaining"]) for one in answers if one.status_code == 200)
    assert left == list(range(50))
    forged = {"X-Forwarded-For": "198.51.100.1"}
    assert factories.api_client(key, **forged).get(PATH).status_code == 429


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_fifty_calls_at_once_fit_into_a_limit_of_fifty(acme, limit):
    limit(key=50)
    key = factories.make_key(acme)
    answers = at_once(50, lambda _: factories.api_client(key).get(PATH))
    assert {answer.status_code for answer in answers} == {200}
    assert code_of(factories.api_client(key).get(PATH)) == (429, "rate_limited")


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_many_keys_at_once_share_their_tenants_limit_exactly(acme, limit):
    limit(key=10, tenant=25)
    texts = [factories.make_key(acme) for _ in range(5)]
    answers = at_once(40, lambda number: factories.api_client(texts[number % 5]).get(PATH))
    codes = [answer.status_code for answer in answers]
    assert (codes.count(200), codes.count(429)) == (25, 15)


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_many_bad_keys_at_once_from_changing_addresses_are_limited(acme, limit):
    limit(stranger=20)
    answers = at_once(
        40, lambda n: Client(headers={"X-Forwarded-For": f"198.51.100.{n}"}).get(PATH)
    )
    codes = [answer.status_code for answer in answers]
    assert (codes.count(401), codes.count(429)) == (20, 20)


# --- The log ----------------------------------------------------------------------------------


def test_refusals_are_security_events_with_ids_alone(acme, limit, monkeypatch):
    said = []
    for module in (limiting, base):
        monkeypatch.setattr(
            module.logger, "warning", lambda text, *words: said.append(text % words)
        )
    limit(key=1, stranger=2)
    text = factories.make_key(acme)
    factories.api_client(text).get(PATH)
    factories.api_client(text).get(PATH)
    wrong = text[:-10]
    for header in (f"Bearer {wrong}", "", ""):
        last = Client(headers={"Authorization": header}).get(PATH)
    assert last.status_code == 429
    with scope.as_tenant(acme):
        pk = acme.api_keys.get().pk
    assert said[0] == f"rate.limited kind=key tenant={acme.pk} key={pk}"
    assert said[1].startswith("auth.key_refused code=invalid_key key=None request_id=")
    assert said[2].startswith("auth.key_refused code=not_authenticated key=None")
    assert said[3] == "rate.limited kind=stranger"
    assert len(said) == 4
    assert "aos_" not in str(said)


def test_when_nothing_counts_nobody_gets_in(acme, api, monkeypatch):
    def gone(many):
        raise limits.Unavailable("gone")

    monkeypatch.setattr(limiting.limits, "take_all", gone)
    answer = api.get(PATH)
    assert code_of(answer) == (503, "busy")
    assert answer["Retry-After"] == "1"
