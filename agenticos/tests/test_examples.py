"""What lies in examples/ works as it lies there."""

from __future__ import annotations

import json
import re
from collections import Counter

import httpx
import pytest

from agenticos import scope
from agenticos.tests import factories
from agenticos.tests.environment import ROOT
from campaigns.models import Campaign

WORKFLOW = ROOT / "examples" / "n8n_start_campaign.json"
STEPS_MAX = 20


class Flow:
    """As much of n8n as the workflow uses: its nodes, one item each, and its expressions."""

    def __init__(self, workflow, client, *, execution):
        self.nodes = {node["name"]: node for node in workflow["nodes"]}
        self.connections = workflow["connections"]
        self.client, self.execution = client, execution
        self.results = {}
        self.visits = Counter()
        self.item = {}

    def run(self, name, *, waits):
        """Follow the connections from a node to the end; `waits` are called at the Wait nodes."""
        for _ in range(STEPS_MAX):
            node = self.nodes[name]
            self.visits[name] += 1
            way = getattr(self, "do_" + node["type"].rpartition(".")[2])(node, waits)
            self.results[name] = self.item
            ways = self.connections.get(name, {"main": [[]]})["main"]
            if not ways[way]:
                return self.item
            (step,) = ways[way]
            name = step["node"]
        raise AssertionError("the workflow does not end")

    def do_manualTrigger(self, node, waits):
        return 0

    def do_set(self, node, waits):
        fields = node["parameters"]["assignments"]["assignments"]
        self.item = {field["name"]: self.value(field["value"]) for field in fields}
        return 0

    def do_httpRequest(self, node, waits):
        about = node["parameters"]
        assert about["authentication"] == "genericCredentialType"
        assert about["genericAuthType"] in node["credentials"]
        headers = {
            one["name"]: self.value(one["value"])
            for one in about.get("headerParameters", {"parameters": []})["parameters"]
        }
        body = json.loads(self.value(about["jsonBody"])) if about.get("sendBody") else None
        answer = self.client.request(
            about["method"], self.value(about["url"]), headers=headers, json=body
        )
        answer.raise_for_status()
        self.item = answer.json()
        return 0

    def do_wait(self, node, waits):
        waits.pop(0)()
        return 0

    def do_if(self, node, waits):
        tests = node["parameters"]["conditions"]
        assert tests["combinator"] == "or"
        assert {one["operator"]["operation"] for one in tests["conditions"]} == {"equals"}
        held = any(self.value(one["leftValue"]) == one["rightValue"] for one in tests["conditions"])
        return 0 if held else 1

    def value(self, text):
        """A parameter: plain, or after "=" with {{ expressions }}; one alone keeps its kind."""
        if not isinstance(text, str) or not text.startswith("="):
            return text
        parts = re.split(r"{{(.*?)}}", text[1:])
        if len(parts) == 3 and not parts[0] and not parts[2]:
            return self.expression(parts[1])
        return "".join(
            str(self.expression(part)) if place % 2 else part for place, part in enumerate(parts)
        )

    def expression(self, text):
        text = text.strip()
        if inner := re.fullmatch(r"JSON\.stringify\((.*)\)", text):
            return json.dumps(self.expression(inner[1]))
        known = {"$execution.id": self.execution, "$workflow.id": "w1"}
        if text in known:
            return known[text]
        found = re.fullmatch(r"(?:\$\('(.+)'\)\.first\(\)\.json|\$json)\.([\w.]+)", text)
        value = self.results[found[1]] if found[1] else self.item
        for name in found[2].split("."):
            value = value[name]
        return value


@pytest.fixture
def workflow(acme, live_server, rung):
    """The file, filled in as its note says."""
    factories.make_account(acme)
    factories.make_lead(acme, score=90)
    with scope.as_tenant(acme):
        template = acme.templates.create(tenant=acme, name="First", body="Oi!")
    made = json.loads(WORKFLOW.read_text(encoding="utf-8"))
    (settings,) = (node for node in made["nodes"] if node["name"] == "Settings")
    fields = {one["name"]: one for one in settings["parameters"]["assignments"]["assignments"]}
    fields["base_url"]["value"] = live_server.url
    fields["name"]["value"] = 'Autumn "n8n"'
    fields["template_id"]["value"] = template.pk
    return made


@pytest.mark.django_db(transaction=True)
def test_the_n8n_workflow_starts_a_campaign_and_follows_it_to_its_end(acme, workflow):
    def over():
        with scope.as_tenant(acme):
            Campaign.objects.update(state=Campaign.State.FINISHED)

    key = factories.make_key(acme, scopes=["campaigns:launch", "campaigns:read"])
    with httpx.Client(headers={"Authorization": f"Bearer {key}"}) as client:
        flow = Flow(workflow, client, execution="7")
        result = flow.run("When clicking", waits=[lambda: None, over])
        assert result == {"status": "finished", "reason": "It is finished.", "sent": 0}
        assert (flow.visits["Start campaign"], flow.visits["Read campaign"]) == (1, 2)
        started = flow.results["Start campaign"]
        assert (started["status"], started["campaign_id"]) == (
            "preparing",
            flow.results["Read campaign"]["campaign_id"],
        )
        # The same execution once more, as after a lost answer: nothing is started twice.
        Flow(workflow, client, execution="7").run("When clicking", waits=[over])
    with scope.as_tenant(acme):
        assert [row.name for row in Campaign.objects.all()] == ['Autumn "n8n"']


def test_the_n8n_workflow_leads_to_nodes_that_are_there():
    made = json.loads(WORKFLOW.read_text(encoding="utf-8"))
    names = {node["name"] for node in made["nodes"]}
    ends = {
        step["node"]
        for ways in made["connections"].values()
        for way in ways["main"]
        for step in way
    }
    assert ends | set(made["connections"]) == names - {"Read me"}
    assert "aos_" not in WORKFLOW.read_text(encoding="utf-8").replace("aos_…", "")
