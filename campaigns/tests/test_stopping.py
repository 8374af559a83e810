"""Real processes: a stop in order leaves nothing claimed, and metrics of all of them add up."""

from __future__ import annotations

import http.client
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from django.utils import timezone
from prometheus_client.parser import text_string_to_metric_families

from agenticos import scope
from agenticos.tests import factories
from agenticos.tests.environment import ROOT, for_children
from campaigns import actions
from campaigns.models import Campaign, CampaignCounts, Message, SendingAccount
from integrations.models import Connection, SyncItem
from integrations.tests.live import LiveSandbox
from leads.models import Lead

PATIENCE_S = 90  # of a loaded machine
TOKEN = "a-token-of-the-metrics-page"
ACCOUNTS, PEOPLE = 6, 90


@pytest.fixture
def sandbox():
    with LiveSandbox() as process:
        yield process


@pytest.fixture
def manage(transactional_db, sandbox):
    """`manage("runworkers", …)` starts a process on the test's database and this sandbox."""
    started: list[subprocess.Popen[bytes]] = []
    environment = {
        **for_children(),
        "INSTAGRAM_GRAPH_BASE_URL": sandbox.instagram_url,
        "GHL_BASE_URL": sandbox.ghl_url,
        "METRICS_TOKEN": TOKEN,
    }

    def start(*words: str) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [sys.executable, "manage.py", *words], cwd=ROOT, env=environment, start_new_session=True
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.terminate()
    for process in started:
        process.wait(PATIENCE_S)


def until(done: Callable[[], Any]) -> Any:
    """What `done` answers, as soon as that is something."""
    deadline = time.monotonic() + PATIENCE_S
    while not (answer := done()):
        assert time.monotonic() < deadline
    return answer


def start_campaign(tenant) -> Campaign:
    accounts = [factories.make_account(tenant, f"hidden.account{n}") for n in range(ACCOUNTS)]
    crm = factories.make_connection(tenant, Connection.Kind.GHL)
    for number in range(PEOPLE):
        factories.make_lead(tenant, f"secret.person{number}", name="Benedita Sigilosa")
    with scope.as_tenant(tenant):
        Connection.objects.filter(pk=crm.pk).update(settings={"calls_per_s": 500})
        now = timezone.now()
        campaign = actions.create_campaign(
            tenant,
            name="Hush",
            text="Oi {first_name|você}!",
            audience={"kind": "filter"},
            accounts=accounts,
            window={},
            by=None,
            now=now,
        )
        actions.start_campaign(campaign, by=None, now=now)
    return campaign


def counts(tenant) -> CampaignCounts:
    with scope.as_tenant(tenant):
        return CampaignCounts.objects.get()


@pytest.mark.slow
def test_a_stop_in_order_leaves_nothing_claimed(acme, manage, sandbox):
    sandbox.faults([{"provider": "instagram", "delay_ms": 300}])
    workers = manage("runworkers", "--workers=2")
    start_campaign(acme)
    until(lambda: counts(acme).claimed)
    until(lambda: counts(acme).sent)
    workers.send_signal(signal.SIGTERM)
    assert workers.wait(PATIENCE_S) == 0  # 1 after ten seconds and more: it took force
    with scope.as_tenant(acme):
        states = Counter(Message.objects.values_list("state", flat=True))
        assert not SendingAccount.objects.exclude(claim_token="").exists()
        assert not SyncItem.objects.filter(state="claimed").exists()
    assert states["claimed"] == states["unknown"] == 0
    assert states["queued"], "all was sent before the stop: it proves nothing"
    assert states["sent"] == sandbox.state(summary=True)["counts"]["deliveries"]


# --- Metrics of two web servers and two worker groups --------------------------------------------


def get(port: int, path: str) -> tuple[int, str]:
    link = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)
    try:
        headers = {"Host": "localhost", "Authorization": f"Bearer {TOKEN}"}
        link.request("GET", path, headers=headers)
        answer = link.getresponse()
        return answer.status, answer.read().decode()
    except ConnectionError:
        return 0, ""
    finally:
        link.close()


def scrape(port: int) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Every sample by name and labels, as prometheus_client's own parser reads them."""
    status, body = get(port, "/metrics")
    assert status == 200
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(body)
        for sample in family.samples
    }


def total(found, name: str, **labels: str) -> float:
    return sum(
        value
        for (sample, of), value in found.items()
        if sample == name and labels.items() <= dict(of).items()
    )


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]


@pytest.mark.slow
def test_the_metrics_of_several_processes_add_up_to_the_ledger(acme, manage, sandbox):
    ports = [free_port(), free_port()]
    for port in ports:
        manage("web", f"--port={port}")
    for _ in range(2):
        manage("runworkers", "--workers=1")
    for port in ports:
        until(lambda port=port: get(port, "/healthz")[0] == 200)
    start_campaign(acme)
    before: dict[Any, float] = {}
    asked = scrapes = 0

    def all_done() -> bool:
        """Looks through the one web server and the other in turn, as a load balancer would."""
        nonlocal before, asked, scrapes
        port = ports[scrapes % 2]
        scrapes += 1
        asked += get(port, "/nowhere/")[0] == 404
        found = scrape(port)
        for key, value in found.items():
            if key[0].endswith(("_total", "_bucket", "_count")):
                assert value >= before.get(key, 0.0), key  # a counter never goes back
        before = found
        # One statement reads all the states: they sum to the audience at every moment.
        assert total(found, "agenticos_messages") in (0, PEOPLE)
        done = total(found, "agenticos_synced_total", result="done")
        return total(found, "agenticos_sends_total", result="sent") >= PEOPLE and done >= PEOPLE

    until(all_done)
    for port in ports:  # each hands over what it has counted itself
        found = scrape(port)
    found = scrape(ports[0])
    assert scrapes > 2
    assert total(found, "agenticos_messages", state="sent") == counts(acme).sent == PEOPLE
    assert total(found, "agenticos_sends_total") == PEOPLE
    assert total(found, "agenticos_synced_total", result="done") == PEOPLE
    deliveries = total(found, "agenticos_provider_seconds_count", provider="instagram", result="ok")
    assert deliveries == sandbox.state(summary=True)["counts"]["deliveries"] == PEOPLE
    unknown_pages = total(found, "agenticos_request_seconds_count", surface="other", status="4xx")
    assert unknown_pages == asked
    assert total(found, "agenticos_worker_groups") == 2
    # Nothing of a person, an account or a tenant is a label's value.
    values = {value for _name, labels in found for _label, value in labels}
    with scope.as_tenant(acme):
        private = {*Lead.objects.values_list("handle", flat=True), "Benedita", "Sigilosa"}
        private |= set(SendingAccount.objects.values_list("handle", flat=True))
    private |= {acme.slug, acme.name, "Hush"}
    assert not {word for word in private for value in values if word.lower() in value.lower()}
    assert not [value for value in values if "@" in value or len(value) > 40]
