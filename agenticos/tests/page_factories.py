"""Pages founder: these were yours in factories.py, which has another author and other users. Merge
into factories.py (its functions enter the scope by themselves), then delete this file.

Rows for tests. The scope of the tenant must be entered, as everywhere."""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import Any

from django.utils import timezone

from campaigns.models import (
    Campaign,
    CampaignAccount,
    CampaignCounts,
    Message,
    SendingAccount,
    Step,
)
from integrations.models import Connection
from leads import scoring
from leads.models import Icp, IcpVersion, Lead, LeadScore
from tenants.models import Membership, Tenant, User

PASSWORD = "agenticos-demo"
TEXT = "Oi {first_name|tudo bem}, vi seu perfil de {city?}!"


def make_user(email: str, **fields: Any) -> User:
    """A person; without a password unless one is given, since hashing is slow."""
    return User.objects.create_user(email, fields.pop("password", None), **fields)


def make_tenant(slug: str, **fields: Any) -> Tenant:
    return Tenant.objects.create(slug=slug, **{"name": slug.title(), "language": "en"} | fields)


def make_member(tenant: Tenant, email: str, role: str, **fields: Any) -> User:
    user = make_user(email, **fields)
    Membership.objects.create(tenant=tenant, user=user, role=role)
    return user


def make_icp(tenant: Tenant, **config: Any) -> IcpVersion:
    """The tenant's live ICP version, made at first use."""
    icp = Icp.objects.select_related("live").filter(tenant=tenant).first()
    if icp:
        return icp.live
    config = scoring.IcpConfig.from_json(config).to_json()
    version = IcpVersion.objects.create(
        tenant=tenant, number=1, config=config, state=IcpVersion.State.LIVE
    )
    Icp.objects.create(tenant=tenant, live=version)
    return version


def make_lead(tenant: Tenant, handle: str = "", *, score: int | None = 80, **fields: Any) -> Lead:
    """A lead with a score in force (`score=None`: without); its band follows the thresholds."""
    lead = Lead.objects.create(
        tenant=tenant, handle=handle or f"lead_{uuid.uuid4().hex[:12]}", **fields
    )
    if score is not None:
        version = make_icp(tenant)
        limits = version.config["thresholds"]
        band = next((n for n in ("hot", "warm", "cold") if score >= limits[n]), "nurturing")
        line = scoring.Line("bio", "decision_maker", score, 100, "ceo", False)
        LeadScore.objects.create(
            tenant=tenant,
            lead=lead,
            version=version,
            total=score,
            band=band.upper(),
            eligible=True,
            breakdown=scoring.to_compact([line]),
        )
    return lead


def make_account(tenant: Tenant, handle: str = "", **fields: Any) -> SendingAccount:
    """A sending account that may send, with its connection and credential."""
    handle = handle or f"conta_{uuid.uuid4().hex[:8]}"
    connection = Connection.objects.create(
        tenant=tenant,
        kind=Connection.Kind.INSTAGRAM,
        name=handle,
        external_id=uuid.uuid4().hex[:16],
    )
    connection.set_secret(token=f"token-of-{handle}-0001")
    return SendingAccount.objects.create(
        tenant=tenant, connection=connection, handle=handle, **fields
    )


def make_campaign(
    tenant: Tenant,
    *,
    state: str = "draft",
    accounts: list[SendingAccount] | None = None,
    text: str = TEXT,
    **fields: Any,
) -> Campaign:
    """A campaign with one text and, unless given others, one account."""
    values: dict[str, Any] = {"name": "Outono", "audience": {"kind": "filter", "bands": ["HOT"]}}
    if state != "draft":
        values["started_at"] = timezone.now()
    campaign = Campaign.objects.create(tenant=tenant, state=state, **(values | fields))
    CampaignCounts.objects.create(tenant=tenant, campaign=campaign)
    Step.objects.create(tenant=tenant, campaign=campaign, body=text)
    for account in [make_account(tenant)] if accounts is None else accounts:
        CampaignAccount.objects.create(tenant=tenant, campaign=campaign, account=account)
    return campaign


def make_message(
    campaign: Campaign, lead: Lead | None = None, *, state: str = "queued", **fields: Any
) -> Message:
    """A ledger row in `state`, counted like every other."""
    now = timezone.now()
    tenant = campaign.tenant
    values: dict[str, Any] = {"key": uuid.uuid4().hex, "due_at": now}
    if state == "claimed":
        values |= {"claim_token": uuid.uuid4().hex, "lease_until": now + timedelta(minutes=1)}
    if state == "sent":
        values |= {"sent_at": now, "text": "Oi Ana!"}
    counts = campaign.counts
    message = Message.objects.create(
        tenant=tenant,
        campaign=campaign,
        lead=lead or make_lead(tenant),
        state=state,
        position=counts.audience,
        **(values | fields),
    )
    counts.audience += 1
    setattr(counts, state, getattr(counts, state) + 1)
    counts.save()
    return message
