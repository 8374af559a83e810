"""Rows for tests: plain functions that enter their tenant's scope by themselves.

Each makes what it needs and was not given; counters, claims and scores come out consistent, so
that `invariants` holds after any of them.
"""

from __future__ import annotations

import itertools
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from django.db import connection
from django.db.models import F
from django.test import Client
from django.utils import timezone

from agenticos import scope
from campaigns.models import (
    Campaign,
    CampaignAccount,
    CampaignCounts,
    Message,
    SendingAccount,
    Step,
)
from integrations.models import Connection, SyncItem
from leads import scoring
from leads.models import Icp, IcpVersion, Lead, LeadScore
from tenants import keys
from tenants.models import ApiKey, CustomRole, Membership, Tenant, User
from tenants.roles import CUSTOM

PASSWORD = "a-long-enough-secret"
_numbers = itertools.count(1)


def make_tenant(slug: str = "", **fields: Any) -> Tenant:
    slug = slug or f"tenant-{next(_numbers)}"
    return Tenant.objects.create(slug=slug, **{"name": slug.title(), "language": "en", **fields})


def make_user(email: str = "", **fields: Any) -> User:
    return User.objects.create_user(
        email or f"person{next(_numbers)}@example.com", PASSWORD, **fields
    )


def make_role(tenant: Tenant, *rights: str, name: str = "Closer") -> CustomRole:
    """A role of the tenant's own with these rights."""
    with scope.as_tenant(tenant):
        return CustomRole.objects.create(tenant=tenant, name=name, rights=list(rights))


def make_own_member(tenant: Tenant, *rights: str, name: str = "Closer") -> Membership:
    """A member whose role is the tenant's own, with these rights."""
    own = make_role(tenant, *rights, name=name)
    with scope.as_tenant(tenant):
        return Membership.objects.create(
            tenant=tenant, user=make_user(), role=CUSTOM, custom_role=own
        )


@contextmanager
def past_the_rights() -> Iterator[None]:
    """As the system, which may alter the audit trail as it may while the owner migrates."""
    if connection.vendor != "postgresql":
        with scope.as_system("test"):
            yield
        return
    from agenticos.postgres import base, rights  # take libpq

    with scope.as_nobody(), connection.cursor() as cursor:
        for table in rights.APPEND_ONLY:
            cursor.execute(f"GRANT UPDATE ON {table} TO {base.SYSTEM_ROLE}")
    with scope.as_system("test"):
        yield
    rights.take("default")


def make_member(tenant: Tenant, role: str = "viewer", user: User | None = None) -> Membership:
    with scope.as_tenant(tenant):
        return Membership.objects.create(tenant=tenant, user=user or make_user(), role=role)


def refresh(client: Client, user: User, *, seconds_ago: float = 0) -> None:
    """Let this logged-in client have given its password so long ago."""
    session = client.session
    session["account_authentication_methods"] = [
        {"method": "password", "at": time.time() - seconds_ago}
    ]
    session["account_authentication_methods_user"] = str(user.pk)
    session.save()


def make_key(
    tenant: Tenant,
    *,
    member: Membership | None = None,
    scopes: list[str] | None = None,
    **fields: Any,
) -> str:
    """The text of a key that may do all; its creator owns the tenant unless given."""
    made = keys.make_key()
    with scope.as_tenant(tenant):
        ApiKey.objects.create(
            tenant=tenant,
            public_id=made.public_id,
            digest=made.digest,
            last_four=made.last_four,
            scopes=["admin"] if scopes is None else scopes,
            created_by=member or make_member(tenant, "owner"),
            **{
                "name": f"key {next(_numbers)}",
                "expires_at": timezone.now() + timedelta(days=90),
                **fields,
            },
        )
    return made.text


def api_client(key: str, **headers: str) -> Client:
    """A program with this key."""
    return Client(headers={"Authorization": f"Bearer {key}", **headers})


def make_icp(tenant: Tenant, **config: Any) -> IcpVersion:
    """A live version with the default configuration, or parts of it changed."""
    with scope.as_tenant(tenant):
        number = IcpVersion.objects.count() + 1
        version = IcpVersion.objects.create(
            tenant=tenant,
            number=number,
            config=scoring.IcpConfig.from_json(config).to_json(),
            state=IcpVersion.State.LIVE,
            published_at=timezone.now(),
        )
        Icp.objects.update_or_create(tenant=tenant, defaults={"live": version})
        return version


def live_version(tenant: Tenant) -> IcpVersion:
    """The version in force; made at first use."""
    with scope.as_tenant(tenant):
        icp = Icp.objects.select_related("live").filter(tenant=tenant).first()
        return icp.live if icp else make_icp(tenant)


def make_lead(tenant: Tenant, handle: str = "", *, score: int | None = 75, **fields: Any) -> Lead:
    """A lead with a score under the live version; `score=None` leaves it without one."""
    with scope.as_tenant(tenant):
        lead = Lead.objects.create(
            tenant=tenant,
            handle=handle or f"lead{next(_numbers)}",
            **{"name": "Ana Lima", **fields},
        )
        if score is not None:
            version = live_version(tenant)
            config = scoring.IcpConfig.from_json(version.config)
            LeadScore.objects.create(
                tenant=tenant,
                lead=lead,
                version=version,
                total=score,
                band=str(scoring.scorer_for(config).band(score)).upper(),
                eligible=True,
                breakdown=[["decision_maker", score, 100, "ceo"]],
            )
        return lead


def make_connection(
    tenant: Tenant, kind: str = Connection.Kind.INSTAGRAM, **fields: Any
) -> Connection:
    number = next(_numbers)
    with scope.as_tenant(tenant):
        connection = Connection.objects.create(
            tenant=tenant,
            kind=kind,
            **{"name": f"connection {number}", "external_id": f"external-{number}", **fields},
        )
        connection.set_secret(token=f"token-of-{number}")
        return connection


def make_account(tenant: Tenant, handle: str = "", **fields: Any) -> SendingAccount:
    """An account without pauses, so that a test sends as fast as it can."""
    calm = {"gap_min_s": 0, "gap_max_s": 0, "jitter_percent": 0, "day_cap": 1000, "hour_cap": 1000}
    with scope.as_tenant(tenant):
        connection = fields.pop("connection", None) or make_connection(tenant)
        return SendingAccount.objects.create(
            tenant=tenant,
            connection=connection,
            handle=handle or f"account{next(_numbers)}",
            **{**calm, **fields},
        )


def make_campaign(
    tenant: Tenant,
    *,
    accounts: list[SendingAccount] | None = None,
    body: str = "Oi {first_name|você}!",
    **fields: Any,
) -> Campaign:
    """A campaign with one step and one account; a draft unless `state` says otherwise."""
    with scope.as_tenant(tenant):
        campaign = Campaign.objects.create(
            tenant=tenant, **{"name": f"Campaign {next(_numbers)}", **fields}
        )
        Step.objects.create(tenant=tenant, campaign=campaign, body=body)
        CampaignCounts.objects.create(tenant=tenant, campaign=campaign)
        for account in [make_account(tenant)] if accounts is None else accounts:
            CampaignAccount.objects.create(tenant=tenant, campaign=campaign, account=account)
        return campaign


def make_message(
    campaign: Campaign, lead: Lead | None = None, state: str = "queued", **fields: Any
) -> Message:
    """A ledger row, counted; whatever its state needs is filled in."""
    tenant, now = campaign.tenant, timezone.now()
    needs: dict[str, Any] = {
        "queued": {"due_at": now},
        "claimed": {"claim_token": "t" * 32, "lease_until": now + timedelta(minutes=1)},
        "sent": {"sent_at": now, "dispatched_at": now, "provider_id": "mid.1"},
        "unknown": {"dispatched_at": now},
    }
    with scope.as_tenant(tenant):
        message = Message.objects.create(
            tenant=tenant,
            campaign=campaign,
            lead=lead or make_lead(tenant),
            state=state,
            **{"key": secrets.token_hex(16), **needs.get(state, {}), **fields},
        )
        CampaignCounts.objects.filter(campaign=campaign).update(
            audience=F("audience") + 1, **{state: F(state) + 1}
        )
        return message


def make_sync_item(connection: Connection, key: str, **fields: Any) -> SyncItem:
    with scope.as_tenant(connection.tenant_id):
        return SyncItem.objects.create(
            tenant_id=connection.tenant_id,
            connection=connection,
            key=key,
            **{"wanted": {}, "wanted_rev": 1, **fields},
        )
