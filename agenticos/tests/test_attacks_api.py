"""What programs must not see or break, found by attacking the API and the open doors."""

from __future__ import annotations

import pytest
from django.urls import reverse

from agenticos import scope
from agenticos.tests.factories import api_client, make_campaign, make_key, make_member
from campaigns import library

pytestmark = pytest.mark.django_db

TEXT = "Um segredo para {first_name|você}"


@pytest.fixture
def texts(acme, alice, clock):
    campaign = make_campaign(acme, body=TEXT)
    with scope.as_tenant(acme):
        template = library.add_template(acme, name="One", body=TEXT, by=alice, now=clock.now())
    return [
        "/api/v1/campaigns",
        f"/api/v1/campaigns/{campaign.pk}",
        "/api/v1/templates",
        f"/api/v1/templates/{template.pk}",
    ]


@pytest.mark.parametrize("role", ["viewer", "reviewer"])
def test_a_viewers_key_reads_no_texts(acme, texts, role):
    program = api_client(make_key(acme, member=make_member(acme, role)))
    for address in texts:
        answer = program.get(address)
        assert answer.status_code == 200
        assert ("segredo" in answer.content.decode()) is (role == "reviewer"), address


@pytest.mark.parametrize("wanted", ["foo", "home", "//evil.example", "https://evil.example/", "\\"])
@pytest.mark.parametrize("door", ["theme", "language"])
def test_an_address_to_go_back_to_is_never_a_fault_nor_a_stranger(client, db, door, wanted):
    answer = client.post(reverse(door), {door: "dark", "next": wanted})
    assert answer.status_code == 302
    assert "evil" not in answer.url
