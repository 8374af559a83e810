"""What tests of the outbox ask and wish for."""

from __future__ import annotations

import httpx

from agenticos import scope
from integrations import syncing
from integrations.actions import Wish, want_contacts
from integrations.models import Connection, ExternalId, SyncItem
from tenants.models import Tenant

TAGS = ["prospectado", "outbound-instagram"]


def make_line(
    slug: str = "acme", *, tenant: Tenant | None = None, location: str = ""
) -> Connection:
    tenant = tenant or Tenant.objects.create(slug=slug, name=slug.title())
    with scope.as_tenant(tenant):
        line = Connection.objects.create(
            tenant=tenant,
            kind=Connection.Kind.GHL,
            name="CRM",
            external_id=location or f"LOC-{slug}",
            settings={"calls_per_s": 1000},
        )
        line.set_secret(token=f"token-of-{slug}")
    return line


def contact(handle: str = "ana", text: str = "Oi", **more):
    return {
        "handle": handle,
        "first_name": handle.title(),
        "last_name": "",
        "email": "",
        "phone": "",
        "tags": TAGS,
        "fields": {
            "instagram_username": handle,
            "outreach_sent_at": "2026-03-04T15:00:00+00:00",
            "last_outreach_message": text,
            "source_channel": "outbound_instagram_dm",
        },
        **more,
    }


def wish(line, clock, number=1, *, known_id="", **values) -> SyncItem:
    with scope.as_tenant(line.tenant_id):
        want_contacts([Wish(f"lead:{number}", known_id, contact(**values))], clock.now())
    return item(line, number)


def item(line, number=1) -> SyncItem:
    with scope.as_system("test"):
        return SyncItem.objects.get(connection=line, key=f"lead:{number}")


def fresh(line) -> None:
    with scope.as_system("test"):
        line.refresh_from_db()


def set_token(line, token: str) -> None:
    with scope.as_tenant(line.tenant_id):
        line.set_secret(token=token)


def stored(line, number=1) -> ExternalId:
    with scope.as_system("test"):
        return ExternalId.objects.get(connection=line, key=f"lead:{number}")


def sync(clock, *, budget_s=0.5, kind=syncing.Slice, **options):
    """One slice. A short budget: the fake clock moves only when somebody sleeps on it."""
    run = kind(clock, budget_s=clock.elapsed() + budget_s, stop=lambda: False, **options)
    return run.run()


def contacts(sandbox):
    return sandbox.state()["contacts"]


def calls(sandbox):
    return sandbox.state(summary=True)["counts"]["requests"].get("ghl", 0)


def at_ghl(sandbox, method, path, **body):
    answer = httpx.request(
        method,
        f"{sandbox.ghl_url}{path}",
        json=body or None,
        headers={"Authorization": "Bearer human", "Version": "2021-07-28"},
    )
    assert answer.is_success, answer.text
    return answer.json()


def creates(rule):
    return [{"provider": "ghl", "path": "/contacts/$", "method": "POST", **rule}]
