"""Probes, metrics and log lines: right, closed, and without anything personal."""

from __future__ import annotations

import json
import logging
import re
import tomllib
from datetime import timedelta

import pytest
import yaml
from django.db import OperationalError
from django.test import Client
from django.utils import timezone
from prometheus_client.parser import text_string_to_metric_families

from agenticos import logs, measures, meters, outage, queue, scope
from agenticos.management.commands.run_until_idle import run
from agenticos.models import Measure, WorkerBeat
from agenticos.tests import factories
from agenticos.tests.environment import ROOT, run_manage
from campaigns import ledger
from campaigns.models import Message
from campaigns.sending import Slice

TOKEN = "t" * 30
OPERATIONS = ROOT / "docs" / "operations"


@pytest.fixture
def scraped(settings, client):
    """What Prometheus reads, as {name: [(labels, value)]}."""
    settings.METRICS_TOKEN = TOKEN

    def scrape():
        response = client.get("/metrics", headers={"Authorization": f"Bearer {TOKEN}"})
        assert response.status_code == 200
        found = {}
        for family in text_string_to_metric_families(response.content.decode()):
            for sample in family.samples:
                found.setdefault(sample.name, []).append((sample.labels, sample.value))
        return found

    return scrape


# --- Metrics ----------------------------------------------------------------------------------


@pytest.mark.django_db
def test_metrics_are_404_without_a_token_and_401_with_a_wrong_one(client, settings):
    settings.METRICS_TOKEN = ""
    assert client.get("/metrics", headers={"Authorization": "Bearer "}).status_code == 404
    settings.METRICS_TOKEN = TOKEN
    for wrong in ("", "Bearer", "Bearer x", f"Basic {TOKEN}", f"Bearer {TOKEN}x", "Bearer é"):
        assert client.get("/metrics", headers={"Authorization": wrong}).status_code == 401


@pytest.mark.django_db
def test_what_several_processes_counted_is_added_up(scraped):
    meters.SENDS.labels("test", "sent").inc(3)
    measures.flush()
    # Another process, of which nothing is left but what it handed over.
    row = Measure.objects.get(name="agenticos_sends_total", labels__contains='"test"')
    row.value += 4
    row.save()
    meters.SENDS.labels("test", "sent").inc(2)
    sends = scraped()["agenticos_sends_total"]
    assert ({"channel": "test", "result": "sent"}, 9.0) in sends
    # Nothing is handed over twice.
    assert ({"channel": "test", "result": "sent"}, 9.0) in scraped()["agenticos_sends_total"]


@pytest.mark.django_db
def test_a_histogram_comes_out_whole_and_in_order(scraped):
    meters.SLICE.labels("test").observe(0.3)
    found = scraped()
    buckets = [
        v for labels, v in found["agenticos_slice_seconds_bucket"] if labels["kind"] == "test"
    ]
    assert buckets == sorted(buckets)
    assert buckets[0] == 0.0
    assert buckets[-1] == 1.0
    assert ({"kind": "test"}, 1.0) in found["agenticos_slice_seconds_count"]


@pytest.mark.django_db
def test_state_is_read_off_the_rows(scraped, acme):
    WorkerBeat.objects.create(owner="w", seen_at=timezone.now() - timedelta(seconds=10))
    campaign = factories.make_campaign(acme, state="running")
    factories.make_message(campaign, factories.make_lead(acme))
    found = scraped()
    assert ({"state": "running"}, 1.0) in found["agenticos_campaigns"]
    assert 9 < found["agenticos_worker_heartbeat_age_seconds"][0][1] < 60
    assert found["agenticos_worker_groups"][0][1] == 1.0
    assert {labels["kind"] for labels, _ in found["agenticos_oldest_due_seconds"]} >= {
        "send", "sync", "import", "rescore", "bulk", "reap", "prepare",
    }  # fmt: skip


@pytest.mark.django_db
def test_every_metric_of_the_dashboard_and_the_alerts_exists(scraped):
    for metric in (meters.SENDS, meters.SYNCED, meters.PROVIDER, meters.REQUEST, meters.SLICE):
        metric.labels(*["test"] * len(metric._labelnames))
    meters.LIMITED.labels("test"), meters.SLICES_BROKEN.labels("test")
    # A series of zero is not handed over, so names are read where they are declared.
    declared = {name for name, _ in measures.counted()} | set(scraped())
    panels = json.loads((OPERATIONS / "dashboard.json").read_text())["panels"]
    rules = yaml.safe_load((OPERATIONS / "alerts.yaml").read_text())["groups"][0]["rules"]
    asked = [target["expr"] for panel in panels for target in panel["targets"]]
    asked += [rule["expr"] for rule in rules]
    names = {name for text in asked for name in re.findall(r"agenticos_\w+", text)}
    assert names - declared == set()
    guide = (OPERATIONS / "README.md").read_text()
    assert [rule["alert"] for rule in rules if f"| {rule['alert']} |" not in guide] == []


@pytest.mark.django_db
def test_a_page_counts_as_what_it_is(client, scraped):
    before = dict(map(repr_of, scraped().get("agenticos_request_seconds_count", [])))
    client.get("/accounts/login/")
    client.get("/nowhere/")
    after = dict(map(repr_of, scraped()["agenticos_request_seconds_count"]))
    key = json.dumps({"status": "2xx", "surface": "log-in"})
    assert after[key] - before.get(key, 0) == 1


def repr_of(sample):
    return json.dumps(dict(sorted(sample[0].items()))), sample[1]


# --- Probes -----------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_ready_says_what_is_missing(client):
    response = client.get("/readyz")
    assert (response.status_code, list(response.json()["failed"])) == (503, ["workers"])
    WorkerBeat.objects.create(owner="w")
    response = client.get("/readyz")
    assert (response.status_code, response.json()) == (200, {"ready": True, "failed": {}})


def test_alive_asks_nobody(client):
    """No database, whatever host the monitor asks for, and without a redirect."""
    response = client.get("/healthz", headers={"Host": "10.0.0.7"})
    assert (response.status_code, response.json()) == (200, {"alive": True})
    assert client.post("/healthz").status_code == 405


@pytest.fixture
def out():
    outage.note(answers=False)
    yield
    outage.note(answers=True)


def test_while_the_database_is_silent_everybody_gets_503_at_once(client, out):
    """Not marked for the database: it must not be asked."""
    page = client.get("/t/acme/", headers={"Accept-Language": "pt-BR"})
    assert (page.status_code, page["Retry-After"]) == (503, "5")
    assert "Indisponível" in page.content.decode()
    part = client.get("/t/acme/", headers={"HX-Request": "true"})
    assert (part.status_code, part["Content-Type"]) == (503, "text/plain; charset=utf-8")
    program = client.get("/api/v1/leads")
    assert (program.status_code, program.json()["code"]) == (503, "unavailable")
    assert program["X-Request-Id"] == program.json()["request_id"]
    assert client.get("/healthz").status_code == 200
    assert client.get("/readyz").json()["failed"] == {"database": "does not answer"}


@pytest.mark.postgresql
@pytest.mark.django_db(transaction=True)
def test_a_wait_on_postgresql_ends(acme):
    """The server sleeps on; the page does not wait for it, and says 503."""
    from django.db import connection

    from agenticos import sql

    connection.ensure_connection()
    outage.limit(None, connection)
    try:
        with outage.patience(0.2), pytest.raises(OperationalError) as caught:
            sql.fetch("SELECT pg_sleep(%s)", [30])
        assert outage.caused(caught.value)
        assert outage.is_on()
    finally:
        outage.note(answers=True)
        connection.close()
    assert sql.fetch("SELECT %s", [1]) == [(1,)]


# --- Requests ---------------------------------------------------------------------------------


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("given", "taken"),
    [
        ("abcdef0123456789", True),
        ("3f2a1c4e-0000-4000-8000-000000000001", True),
        ("5511987654321", False),
        ("ana.fit", False),
        ("a" * 65, False),
        ("deadbeef deadbeef", False),
        ("", False),
    ],
)
def test_a_request_keeps_its_id_only_if_it_is_harmless(client, given, taken):
    response = client.get("/accounts/login/", headers={"X-Request-Id": given})
    assert (response["X-Request-Id"] == given) is taken
    assert len(response["X-Request-Id"]) >= 8


# --- Lines ------------------------------------------------------------------------------------


@pytest.fixture
def lines():
    """Every line of the test, down to DEBUG, as text; `read()` gives them as JSON."""

    class Keep(logging.Handler):
        def __init__(self):
            super().__init__(logging.DEBUG)
            self.lines = []
            self.setFormatter(logs.Lines("json"))

        def emit(self, record):
            self.lines.append(self.format(record))

        def read(self, message=""):
            read = [json.loads(line) for line in self.lines]
            return [line for line in read if not message or line["message"] == message]

    keep, root = Keep(), logging.getLogger()
    before = root.level
    root.addHandler(keep)
    root.setLevel(logging.DEBUG)
    yield keep
    root.removeHandler(keep)
    root.setLevel(before)


PERSON = {
    "handle": "planted.handle.77",
    "name": "Planted Personne",
    "email": "planted77@example.com",
    "phone": "+5511977776666",
    "bio": "CEO e fundadora plantada",
    "city": "Plantópolis",
}


@pytest.mark.django_db(transaction=True)
def test_one_message_is_followed_from_the_click_and_no_person_is_in_any_line(
    acme, alice, browser, lines, settings, clock
):
    settings.METRICS_TOKEN = TOKEN
    channel = Recorder()
    key = factories.make_key(acme)
    api = factories.api_client(key)
    person = {"handle": PERSON["handle"] + "b", "name": PERSON["name"]}
    made = api.post("/api/v1/leads", json.dumps(person), "application/json")
    assert made.status_code == 201, made.content
    facts = {name: value for name, value in PERSON.items() if name != "handle"}
    lead = factories.make_lead(acme, PERSON["handle"], score=80, **facts)
    lead_id = lead.pk
    api.get(f"/api/v1/leads?q={PERSON['handle']}")
    with scope.as_tenant(acme):
        campaign = factories.make_campaign(acme, state="running", body="Planted text for a person")
        message = factories.make_message(campaign, lead)
    with scope.as_tenant(acme):
        Message.objects.filter(pk=message.pk).update(due_at=clock.now())
        factories.make_message(campaign, due_at=clock.now() + timedelta(days=1))
        ledger.wake([campaign.pk], clock.now())
    Slice(clock, budget_s=1, channel=lambda account: channel, stop=lambda: False).run()
    knocks = browser(alice)
    with_id = {"X-Request-Id": "abcdef0123456789"}
    knocks.post(f"/t/acme/campaigns/{campaign.pk}/pause/", headers=with_id)
    knocks.post(f"/t/acme/campaigns/{campaign.pk}/resume/", headers=with_id)
    knocks.get(f"/t/acme/leads/?q={PERSON['handle']}")
    knocks.get(f"/t/acme/leads/{lead_id}/?email={PERSON['email']}")
    client = Client(raise_request_exception=False)
    client.get("/api/v1/leads", headers={"Authorization": "Bearer aos_planted_key_00000000000"})
    client.get(f"/t/{PERSON['handle']}/?phone={PERSON['phone']}")
    client.post("/accounts/login/", {"login": PERSON["email"], "password": "planted password"})
    try:
        raise ValueError(f"Key (handle)=({PERSON['handle']}) exists: '{PERSON['name']}'")
    except ValueError:
        logging.getLogger("x").exception("broken for %s", PERSON["email"])

    text = "\n".join(lines.lines)
    planted = [
        *PERSON.values(),
        "Planted text",
        "planted password",
        "aos_planted",
        "planted77",
        key,
    ]
    assert [value for value in planted if value in text] == []
    acts = [line for line in lines.read() if line.get("request_id") == "abcdef0123456789"]
    assert {"campaign.paused", "campaign.resumed", "request"} <= {line["message"] for line in acts}
    request = next(line for line in acts if line["message"] == "request")
    assert request["route"].startswith("t/<slug:tenant>/campaigns/<int:pk>/")
    assert (request["tenant"], request["user"], request["pk"]) == (acme.pk, alice.pk, campaign.pk)
    told = lines.read("campaign.messages")
    assert [(line["campaign"], line["messages"], line["leads"]) for line in told] == [
        (campaign.pk, [message.pk], [lead_id])
    ]
    assert lines.read("auth.refused")
    assert channel.sent == 1


class Recorder:
    """A channel that takes everything."""

    from integrations.ports import ChannelRules

    rules = ChannelRules(opens_conversation=True, max_bytes=1000, can_look_up=False)

    def __init__(self):
        self.sent = 0

    def send(self, message):
        from integrations.ports import Receipt

        self.sent += 1
        return Receipt("mid.1")


@pytest.mark.django_db
def test_a_ring_names_the_click_and_its_chain_ends_where_a_task_rings_for_itself(
    lines, monkeypatch
):
    rings = []
    monkeypatch.setattr(
        queue, "async_task", lambda *args, **options: rings.append(options.get("woken_by"))
    )
    with logs.bound(request_id="abcdef01"):
        queue.enqueue("x.y.prepare_slice")
    with logs.bound(task="prepare", woken_by="abcdef01"):
        queue.enqueue("x.y.send_slice")
        queue.enqueue("x.y.prepare_slice")
    assert rings == ["abcdef01", "abcdef01", None]


@pytest.mark.django_db
def test_a_slice_that_breaks_tells_the_broker_nothing(lines, monkeypatch):
    def broken():
        raise ValueError(f"no such lead: '{PERSON['handle']}'")

    monkeypatch.setattr("agenticos.queue.echo", broken)
    with pytest.raises(queue.TaskBroken) as caught:
        queue.run("agenticos.queue.echo", None)
    assert PERSON["handle"] not in str(caught.value)
    assert caught.value.__suppress_context__
    assert lines.read("slice.broken")[0]["task"] == "echo"


@pytest.mark.django_db(transaction=True)
def test_every_slice_has_one_line_with_its_time(lines, acme):
    from agenticos.clock import Clock

    assert run(Clock(), 0.1) == 0
    queue.work("campaigns.tasks.reap")
    line = lines.read("slice")[-1]
    assert (line["kind"], line["task"]) == ("reap", "reap")
    assert line["ms"] >= 0


def test_only_named_fields_are_written(lines):
    logging.getLogger("x").info("hello", extra={"campaign": 7, "surprise": "x", "handle": "ana"})
    line = lines.read("hello")[0]
    assert line["campaign"] == 7
    assert not {"surprise", "handle"} & set(line)


# --- Files that hosts read --------------------------------------------------------------------


def test_what_hosts_read_can_be_read():
    compose = yaml.safe_load((ROOT / "compose.yaml").read_text())
    assert set(compose["services"]) >= {"postgres", "redis", "pgbouncer", "web", "worker"}
    worker = compose["services"]["worker"]
    assert worker["init"] is True
    assert worker["stop_grace_period"] == "45s"
    assert (
        json.loads((ROOT / "railway.json").read_text())["deploy"]["healthcheckPath"] == "/healthz"
    )
    tomllib.loads((ROOT / "nixpacks.toml").read_text())
    procfile = dict(line.split(": ", 1) for line in (ROOT / "Procfile").read_text().splitlines())
    assert set(procfile) == {"release", "web", "worker"}
    docker = (ROOT / "Dockerfile").read_text()
    assert docker.count("\nFROM ") + docker.startswith("FROM ") == 2
    assert "\nUSER app\n" in docker
    # A fresh volume has the owner of the image's folder; without one it is root's, and not ours.
    mounted = {
        volume for one in ("web", "worker") for volume in compose["services"][one]["volumes"]
    }
    assert mounted == {"files:/app/var/files"}
    assert "mkdir var/files" in docker
    assert "COPY --from=build --chown=app:app /var-of-app /app/var" in docker


@pytest.mark.parametrize(
    "wrong",
    [
        {"METRICS_TOKEN": "short"},
        {"OUTBOUND_ALLOW_PRIVATE": "on"},
        {"GHL_BASE_URL": "http://services.example.com"},
        {"INSTAGRAM_GRAPH_BASE_URL": "http://graph.example.com"},
        {"CSRF_TRUSTED_ORIGINS": "http://app.example.com"},
        {"SECRET_KEY": "a" * 60},
        {"CREDENTIAL_KEYS": "k1:" + "A" * 43 + "="},
    ],
    ids=lambda wrong: next(iter(wrong)),
)
def test_production_refuses_to_start_unsafe(wrong):
    safe = {
        "ALLOWED_HOSTS": "app.example.com",
        "OUTBOUND_ALLOW_PRIVATE": "off",
        "GHL_BASE_URL": "https://ghl.example.com",
        "INSTAGRAM_GRAPH_BASE_URL": "https://graph.example.com",
    }
    done = run_manage("check", **{**safe, **wrong})
    assert done.returncode == 1
    assert next(iter(wrong)) in done.stderr
    assert "Traceback" not in done.stderr
