"""What `make chaos` counts with is tried out; and PostgreSQL hangs before a real web server."""

from __future__ import annotations

import http.client
import os
import random
import subprocess
import sys
import time
from urllib.parse import urlsplit, urlunsplit

import pytest

from agenticos import scope
from agenticos.tests import factories
from agenticos.tests.chaos import servers, soak
from agenticos.tests.chaos.storm import HOST_WEIGHTS, WEIGHTS, Storm
from agenticos.tests.chaos.world import WRONG, World
from agenticos.tests.environment import ROOT, as_plain_role
from integrations.models import Connection

PATIENCE_S = 60


# --- The witness --------------------------------------------------------------------------------


def delivery(message, lead, *, slug="acme"):
    return {"account": f"ig0-{slug}", "recipient": lead.handle, "key": message.key}


def contact(lead, *, slug="acme"):
    return {"locationId": f"LOC-{slug}", "customFields": {"instagram_username": lead.handle}}


@pytest.fixture
def scene(acme):
    """A message that was sent and delivered, known to the CRM; what the provider has of it."""
    crm = factories.make_connection(acme, Connection.Kind.GHL)
    lead = factories.make_lead(acme, "lead1")
    message = factories.make_message(factories.make_campaign(acme, state="finished"), lead, "sent")
    item = factories.make_sync_item(crm, f"lead:{lead.pk}", state="done")
    world = World.__new__(World)
    world.drafts, world.imports, world.let_go_on = [], [], []
    state = {"deliveries": [delivery(message, lead)], "contacts": [contact(lead)]}
    return world, state, message, lead, item


def wrong(world, state):
    counted = world.count(state)
    return {name: counted[name] for name in WRONG if counted.get(name)}


@pytest.mark.django_db
def test_a_sound_run_has_nothing_wrong(scene):
    world, state, *_ = scene
    assert wrong(world, state) == {}


@pytest.mark.django_db
def test_the_witness_sees_what_is_doubled(scene):
    world, state, message, lead, _item = scene
    again = {**state, "deliveries": state["deliveries"] * 2, "contacts": state["contacts"] * 2}
    assert wrong(world, again) == {"doubled": 1, "people_doubled": 1, "contacts_doubled": 1}
    # Another key for the same person is no double of a message, and one of a person.
    other = {**delivery(message, lead), "key": "another"}
    found = wrong(world, {**state, "deliveries": [*state["deliveries"], other]})
    assert found == {"people_doubled": 1, "strangers": 1}


@pytest.mark.django_db
def test_the_witness_sees_what_is_lost(scene, acme):
    world, state, message, _lead, item = scene
    assert wrong(world, {"deliveries": [], "contacts": []}) == {"lost": 1, "contacts_lost": 1}
    with scope.as_tenant(acme):
        type(item).objects.update(state="failed")
        type(message).objects.update(state="skipped")
    found = wrong(world, state)
    assert found["unsettled"] == 1
    assert found["syncs_given_up"] == 1
    assert "counters" in found["violated"]


@pytest.mark.django_db
def test_the_witness_sees_what_was_not_finished(scene, acme):
    world, state, *_ = scene
    factories.make_message(factories.make_campaign(acme, state="running"))
    factories.make_message(factories.make_campaign(acme, state="paused"), state="unknown")
    world.drafts = [factories.make_campaign(acme).pk]
    found = wrong(world, state)
    assert found == {"left_open": 2, "unexplained": 1, "drafts_lost": 1}


@pytest.mark.parametrize("with_hosts", [False, True])
def test_the_same_seed_gives_the_same_blows_and_each_kind_comes(with_hosts):
    def plan(seed):
        storm = Storm.__new__(Storm)
        storm.blows, storm.only, storm.with_hosts, storm.apart = 100, "", with_hosts, with_hosts
        storm.chance = random.Random(seed)
        return storm._plan()

    assert plan(1) == plan(1) != plan(2)
    assert len(plan(1)) == 100
    assert set(plan(1)) == {*WEIGHTS, *(HOST_WEIGHTS if with_hosts else ())}


# --- PostgreSQL hangs -----------------------------------------------------------------------------


@pytest.fixture
def cluster():
    if servers.binaries() is None:
        pytest.skip("PostgreSQL's initdb is not installed")
    with servers.cluster_of_its_own() as server:
        yield server


def ask(port: int, path: str) -> int:
    """The status of an answer; 0 while nobody listens. A server that is stuck raises."""
    link = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)
    try:
        link.request("GET", path, headers={"Host": "localhost"})
        return link.getresponse().status
    except ConnectionError:
        return 0
    finally:
        link.close()


def until(port: int, path: str, status: int) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while ask(port, path) != status:
        assert time.monotonic() < deadline


@pytest.mark.slow
def test_while_postgresql_hangs_pages_say_so_and_afterwards_they_are_back(cluster):
    import psycopg

    url = as_plain_role(cluster.url)
    database = urlunsplit(urlsplit(url)._replace(path="/hang"))
    with psycopg.connect(
        urlunsplit(urlsplit(url)._replace(path="/postgres")), autocommit=True
    ) as link:
        link.execute("CREATE DATABASE hang")
    environment = {**os.environ, "DATABASE_URL": database, "REDIS_URL": ""}
    made = (["migrate", "--verbosity=0"], ["createcachetable"])
    for command in (*made, ["collectstatic", "--no-input", "--verbosity=0"]):
        subprocess.run(
            [sys.executable, "manage.py", *command], cwd=ROOT, env=environment, check=True
        )
    port = servers.free_port()
    web = subprocess.Popen(
        [sys.executable, "manage.py", "web", f"--port={port}"], cwd=ROOT, env=environment
    )
    try:
        until(port, "/api/v1/leads", 401)  # asks the database who that is
        frozen = cluster.freeze()
        try:
            assert ask(port, "/api/v1/leads") == 503
            # More than there are threads: none of them is stuck.
            assert {ask(port, "/api/v1/leads") for _ in range(12)} == {503}
            assert ask(port, "/t/acme/") == 503
            assert ask(port, "/healthz") == 200
            assert ask(port, "/readyz") == 503
        finally:
            cluster.thaw(frozen)
        until(port, "/api/v1/leads", 401)
    finally:
        web.kill()
        web.wait()


# --- The soak -----------------------------------------------------------------------------------


def sample(**more):
    return {
        "processes": {
            "web": {"rss_mib": 100.0, "threads": 8, "files": 30},
            "one worker 1": {"rss_mib": 100.0, "threads": 2, "files": 20},
        },
        "connections": 20,
        "idle_in_transaction": 0,
        "tables": {"campaigns_message": {"rows": 10, "bytes": 2**20}},
        "redis_keys": 0,
        **more,
    }


def test_a_soak_in_which_only_the_work_grows_has_nothing_wrong():
    recycled = {"one worker 1": {"rss_mib": 90.0, "threads": 2, "files": 28}}
    late = sample(
        tables={"campaigns_message": {"rows": 9_000, "bytes": 2**24}},
        processes={**sample()["processes"], **recycled},
    )
    found = soak.verdict([sample()] * 8 + [late] * 2)
    assert found["grew"] == []
    assert found["rows_gained"] == {"campaigns_message": 8_990}


@pytest.mark.parametrize(
    ("more", "grew"),
    [
        ({"processes": {"web": {"rss_mib": 111.0, "files": 30}}}, ["memory of web"]),
        ({"processes": {"web": {"rss_mib": 100.0, "files": 33}}}, ["open files of web"]),
        (
            {"processes": {"one worker 1": {"rss_mib": 100.0, "files": 31}}},
            ["open files of one worker 1"],
        ),
        ({"connections": 23}, ["connections"]),
        ({"tables": {"django_q_task": {"rows": 201, "bytes": 0}}}, ["rows of django_q_task"]),
    ],
)
def test_a_soak_names_what_grew(more, grew):
    assert soak.verdict([sample()] * 8 + [sample(**more)] * 2)["grew"] == grew
