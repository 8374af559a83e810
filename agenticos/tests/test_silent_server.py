"""In a web process every way of talking to PostgreSQL has an end, whatever the server does."""

from __future__ import annotations

import threading

import psycopg
import pytest
from django.conf import settings
from django.db import OperationalError

from agenticos import limits, outage, scope
from agenticos.tests.chaos import servers

PATIENCE_S = 60

pytestmark = pytest.mark.postgresql


@pytest.fixture
def cluster():
    if servers.binaries() is None:
        pytest.skip("PostgreSQL's initdb is not installed")
    with servers.cluster_of_its_own() as server:
        yield server


@pytest.fixture
def link(cluster, django_db_blocker):
    """A connection to it as web processes have them: its waits have an end."""
    from agenticos.postgres.base import DatabaseWrapper

    place = {"HOST": "127.0.0.1", "PORT": str(cluster.port), "USER": "postgres", "PASSWORD": ""}
    made = DatabaseWrapper({**settings.DATABASES["default"], **place, "NAME": "postgres"}, "own")
    made.inc_thread_sharing()
    with django_db_blocker.unblock():  # it is no database of Django's
        made.ensure_connection()
        outage.limit(None, made)
        yield made
        made.close()
    outage.note(answers=True)


def asks(link, how, sql="SELECT 1"):
    if how == "trip":  # how scores are written, also those of one lead in a page
        with link.wrap_database_errors, link.connection.pipeline():
            psycopg.Cursor(link.connection).execute(sql)
            psycopg.Cursor(link.connection).execute("SELECT 2")
    elif how == "scope":  # what every transaction of a page begins with
        link._send(sql)
    elif how == "end":
        link._end("COMMIT")
    else:
        with link.cursor() as cursor:
            cursor.execute(sql)


def while_frozen(cluster, ask, *, known=False):
    """Run `ask` in a thread while the server stands still; it must end before it goes on.

    `known`: meanwhile the pulse finds out.
    """
    thread = threading.Thread(target=ask, daemon=True)
    frozen = cluster.freeze()
    try:
        thread.start()
        if known:
            outage.note(answers=False)
        thread.join(PATIENCE_S / 4)
        stuck = thread.is_alive()
    finally:
        cluster.thaw(frozen)
    thread.join(PATIENCE_S)
    assert not stuck


@pytest.mark.parametrize("how", ["statement", "scope", "end", "trip"])
def test_a_server_that_stands_still_is_waited_for_only_so_long(cluster, link, how):
    raised: list[BaseException] = []

    def ask() -> None:
        try:
            with scope.as_nobody(), outage.patience(0.3):
                asks(link, how)
        except OperationalError as error:
            raised.append(error)

    while_frozen(cluster, ask)
    assert outage.caused(raised[0])
    assert outage.is_on()


@pytest.mark.parametrize("how", ["statement", "scope", "end", "trip"])
def test_a_server_that_answers_is_heard(link, how):
    with scope.as_nobody():
        asks(link, how)
        asks(link, how)


@pytest.mark.parametrize("how", ["statement", "scope", "trip"])
def test_a_long_statement_is_waited_for_past_the_looks_at_others(link, how, monkeypatch):
    monkeypatch.setattr(outage, "LOOK_EVERY_S", 0.02)
    with scope.as_nobody():
        asks(link, how, "SELECT pg_sleep(0.2)")
        asks(link, how)


def test_what_it_refuses_is_said_in_its_words(link):
    with scope.as_nobody(), pytest.raises(Exception, match="does not exist") as caught:
        link._send("SELECT * FROM there_is_no_such_table")
    assert not outage.caused(caught.value)


def test_the_limiter_does_not_wait_for_a_server_that_stands_still(cluster, link, monkeypatch):
    """It has a connection of its own, and a lock before it: one that waits would hold up all."""
    monkeypatch.setattr(limits, "connection", link)
    monkeypatch.setattr(limits, "DATABASE_PATIENCE_S", 1)
    with scope.as_nobody(), link.cursor() as cursor:
        cursor.execute("CREATE TABLE agenticos_ratelimit (key text PRIMARY KEY, tat bigint)")
    limit = limits.Limit("somebody", 60, 60)
    database = limits.DatabaseLimits()
    assert database.take([limit], None).allowed
    raised: list[BaseException] = []

    def ask() -> None:
        try:
            database.take([limit], None)
        except limits.Unavailable as error:
            raised.append(error)

    while_frozen(cluster, ask)
    assert raised
    outage.note(answers=True)
    assert database.take([limit], None).allowed
    database.close()


def test_who_waits_is_let_go_as_soon_as_the_server_is_known_to_be_silent(cluster, link):
    """Else the first requests of an outage would keep every thread until their patience ends."""
    outage.bound(link.connection, 3600)
    raised: list[BaseException] = []

    def ask() -> None:
        try:
            with scope.as_nobody():
                asks(link, "scope")
        except OperationalError as error:
            raised.append(error)

    while_frozen(cluster, ask, known=True)
    assert outage.caused(raised[0])


def test_while_it_is_known_to_be_silent_only_who_looks_after_it_connects(link):
    link.close()
    outage.note(answers=False)
    with scope.as_nobody():
        with pytest.raises(OperationalError) as caught:
            asks(link, "statement")
        assert outage.caused(caught.value)
        with outage.patience(PATIENCE_S):  # the pulse, a probe
            asks(link, "statement")
        outage.note(answers=True)
        link.close()
        asks(link, "statement")
