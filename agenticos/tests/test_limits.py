"""The limiter: exact for threads and processes, on Redis, in the database, and when Redis goes."""

from __future__ import annotations

import secrets
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connection, transaction
from hypothesis import HealthCheck, given, settings as hypothesis_settings, strategies as st

from agenticos import limits
from agenticos.limits import DatabaseLimits, Limit, RedisLimits
from agenticos.tests import environment

pytestmark = pytest.mark.django_db
SLOW = 0.01  # visits a minute: nothing comes back while a test runs


def fresh(rate=SLOW, burst=5):
    return Limit(f"test:{secrets.token_hex(8)}", rate, burst)


@pytest.fixture(params=["database", pytest.param("redis", marks=pytest.mark.redis)])
def shelf(request, settings, monkeypatch):
    """Where the limits are kept."""
    if request.param == "redis":
        monkeypatch.setattr(limits, "REDIS_PATIENCE_S", 30)  # for a machine that is busy
        yield RedisLimits(settings.REDIS_URL)
        return
    found = DatabaseLimits()
    yield found
    found.close()


def visits(shelf, count, *many):
    """So many visits at one instant, each in a thread of its own; how many were let in."""
    gate = threading.Barrier(count)

    def visit(_):
        gate.wait(30)
        return shelf.take(many, None).allowed

    with ThreadPoolExecutor(count) as pool:
        return sum(pool.map(visit, range(count)))


# --- The rule ---------------------------------------------------------------------------------


class Model:
    """The rule in plain Python, which both shelves must agree with."""

    def __init__(self):
        self.tats = {}

    def take(self, many, now):
        tats = [max(self.tats.get(limit.key, now), now) for limit in many]
        for limit, tat in zip(many, tats, strict=True):
            if tat + limit.step - now > limit.room:
                return limits.decide(limit, tat, now, allowed=False)
        for limit, tat in zip(many, tats, strict=True):
            self.tats[limit.key] = tat + limit.step
        return limits.nearest(
            [limits.decide(limit, self.tats[limit.key], now, allowed=True) for limit in many]
        )


@given(
    # Slow ones: Redis forgets by its own clock, which goes on while a busy machine dawdles.
    rates=st.lists(st.tuples(st.integers(1, 10), st.integers(1, 8)), min_size=1, max_size=3),
    pauses=st.lists(st.integers(0, 60_000_000), max_size=30),
)
@hypothesis_settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_both_shelves_decide_as_the_rule_says(shelf, rates, pauses):
    many = [fresh(rate, burst) for rate, burst in rates]
    model, now = Model(), time.time_ns() // 1000
    for pause in pauses:
        now += pause
        assert shelf.take(many, now) == model.take(many, now)


def test_what_was_refused_costs_nothing_and_time_brings_visits_back(shelf):
    limit, now = fresh(60, 3), time.time_ns() // 1000
    assert [shelf.take([limit], now).allowed for _ in range(5)] == [True] * 3 + [False] * 2
    assert not shelf.take([limit], now + 999_999).allowed
    assert shelf.take([limit], now + 1_000_000).allowed
    assert not shelf.take([limit], now + 1_000_000).allowed


def test_a_visit_refused_by_the_second_limit_is_not_counted_by_the_first(shelf):
    own, common = fresh(burst=3), fresh(burst=1)
    assert shelf.take([own, common], None).allowed
    for _ in range(5):
        decision = shelf.take([own, common], None)
        assert (decision.allowed, decision.limit) == (False, common)
    assert [shelf.take([own], None).allowed for _ in range(3)] == [True, True, False]


def test_a_clock_that_goes_back_lets_nobody_in_twice(shelf):
    limit, now = fresh(60, 2), time.time_ns() // 1000
    assert [shelf.take([limit], now).allowed for _ in range(2)] == [True, True]
    assert not shelf.take([limit], now - 60_000_000).allowed


# --- At one instant ---------------------------------------------------------------------------


@pytest.mark.parametrize("count", [50, 70])
def test_of_many_at_once_exactly_the_burst_gets_in(shelf, count):
    limit = fresh(burst=50)
    assert visits(shelf, count, limit) == 50
    assert not shelf.take([limit], None).allowed


def test_two_limits_at_once_let_in_exactly_the_smaller(shelf):
    common = fresh(burst=20)
    assert visits(shelf, 50, fresh(burst=40), common) == 20
    assert not shelf.take([fresh(), common], None).allowed


@pytest.mark.slow
def test_several_processes_share_one_limit(shelf, settings):
    limit = fresh(burst=40)
    program = (
        "import django; django.setup()\n"
        "from agenticos.limits import *\n"
        "from django.conf import settings\n"
        f"shelf = {type(shelf).__name__}"
        + ("(settings.REDIS_URL)\n" if isinstance(shelf, RedisLimits) else "()\n")
        + f"limit = Limit({limit.key!r}, {limit.rate}, {limit.burst})\n"
        "print(sum(shelf.take([limit], None).allowed for _ in range(25)))"
    )
    running = [
        subprocess.Popen(
            [sys.executable, "-c", program],
            cwd=environment.ROOT,
            env=environment.for_children(),
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    counts = [int(process.communicate(timeout=60)[0]) for process in running]
    assert sum(counts) == 40, counts


def test_a_request_that_holds_a_transaction_holds_nobody_up(shelf):
    """And what it undoes stays counted: a limit is not the request's to take back."""
    limit = fresh(burst=3)
    with transaction.atomic():
        assert shelf.take([limit], None).allowed
        assert visits(shelf, 2, limit) == 2
        transaction.set_rollback(True)
    assert not shelf.take([limit], None).allowed


# --- Redis ------------------------------------------------------------------------------------


@pytest.mark.redis
def test_every_key_in_redis_ends_by_itself(settings):
    import redis

    shelf, limit = RedisLimits(settings.REDIS_URL), fresh(60, 3)
    shelf.take([limit], None)
    client = redis.Redis.from_url(settings.REDIS_URL)
    assert 0 < client.pttl(f"limit:{limit.key}") <= 1000
    client.close()


@pytest.mark.redis
def test_a_redis_that_forgot_its_scripts_or_lost_the_connection_goes_on(settings):
    import redis

    shelf, limit = RedisLimits(settings.REDIS_URL), fresh(burst=3)
    assert shelf.take([limit], None).remaining == 2
    client = redis.Redis.from_url(settings.REDIS_URL)
    client.script_flush()
    assert shelf.take([limit], None).remaining == 1
    own = shelf._script.registered_client
    for link in client.client_list():
        if link["id"] == str(own.client_id()):
            client.client_kill_filter(_id=link["id"])
    assert shelf.take([limit], None).remaining == 0
    client.close()


class Silent:
    """A server that takes connections and never answers."""

    def __init__(self):
        self.socket = socket.create_server(("127.0.0.1", 0), backlog=50)
        self.url = f"redis://127.0.0.1:{self.socket.getsockname()[1]}/0"

    def close(self):
        self.socket.close()


@pytest.fixture
def gone():
    """Addresses of a Redis that is not there, and of one that hangs."""
    silent = Silent()
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    yield {"refused": f"redis://127.0.0.1:{port}/0", "silent": silent.url}
    silent.close()


@pytest.mark.parametrize("how", ["refused", "silent"])
def test_without_redis_the_database_counts_as_exactly_and_it_is_said_once(
    settings, gone, how, monkeypatch
):
    said = []
    monkeypatch.setattr(limits.logger, "warning", lambda text, *_: said.append(text))
    settings.REDIS_URL = gone[how]
    limit = fresh(burst=10)
    allowed = [limits.take(limit.key, limit.rate, limit.burst).allowed for _ in range(15)]
    assert allowed == [True] * 10 + [False] * 5
    assert said == ["limits.redis_away error=%s"]


@pytest.mark.redis
def test_a_redis_that_comes_back_counts_again(settings, gone, monkeypatch):
    import redis

    said = []
    monkeypatch.setattr(limits.logger, "warning", lambda text, *_: said.append(text))
    shelf, limit = RedisLimits(settings.REDIS_URL), fresh()
    good = shelf._script.registered_client
    shelf._script.registered_client = redis.Redis.from_url(gone["refused"])
    assert shelf.take([limit], None) is None
    shelf._script.registered_client = good
    assert shelf.take([limit], None) is None  # nobody asks for a moment
    shelf._away_until = 0
    assert shelf.take([limit], None).allowed
    assert said == ["limits.redis_away error=%s", "limits.redis_back"]


# --- The database -----------------------------------------------------------------------------


def test_rows_that_owe_nothing_go(monkeypatch):
    monkeypatch.setattr(limits, "PURGE_EVERY", 3)
    shelf, now = DatabaseLimits(), time.time_ns() // 1000
    old, living, third = fresh(6000, 2), fresh(burst=5), fresh(6000, 2)
    shelf.take([old], now - 3_600_000_000)
    shelf.take([living], now)
    shelf.take([third], now)
    values = [shelf._ask(limits.LOOK, {"key": one.key}, now) for one in (old, living, third)]
    assert [found is not None for found in values] == [False, True, True]
    shelf.close()


@pytest.mark.postgresql
def test_a_connection_that_was_cut_is_made_anew():
    shelf, limit = DatabaseLimits(), fresh(burst=3)
    shelf.take([limit], None)
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(%s)", [shelf._link.info.backend_pid])
    assert shelf.take([limit], None).remaining == 1
    shelf.close()


@pytest.mark.postgresql
def test_the_table_waits_for_no_disk():
    with connection.cursor() as cursor:
        cursor.execute("SELECT relpersistence FROM pg_class WHERE relname = 'agenticos_ratelimit'")
        assert cursor.fetchone() == ("u",)


def test_nobody_gets_in_uncounted(monkeypatch, settings):
    settings.REDIS_URL = ""
    monkeypatch.setattr(limits, "TAKE", "SELECT nonsense FROM nowhere")
    with pytest.raises(limits.Unavailable):
        limits.take("test:nowhere", 60, 5)
