"""What tests of campaigns' pages share."""

from __future__ import annotations

from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from agenticos.tests.factories import make_campaign, make_message


def url(name, tenant, *args):
    return reverse(name, args=[tenant.slug, *args])


def text(response):
    return response.content.decode()


def queries(client, address):
    """How many statements a page takes."""
    with CaptureQueriesContext(connection) as seen:
        assert client.get(address).status_code == 200
    return len(seen)


def filled(acme, state="running", **rows):
    """A campaign with so many messages in each bucket."""
    campaign = make_campaign(acme, state=state, started_at=timezone.now())
    for bucket, number in rows.items():
        for _ in range(number):
            make_message(campaign, state=bucket, text="Oi, segredo!")
    return campaign


def row_count(page):
    """How many rows a list shows."""
    return page.count("data-row")
