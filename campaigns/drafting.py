"""Drafts of campaigns: made in one go or in two steps, changed, copied.

A draft is a campaign like any other; what is missing (a text, an account) only keeps it from being
started. `campaigns.actions` has `create_campaign` and `edit_campaign` too.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from django.db import transaction
from django.utils.translation import gettext as _

from agenticos import locking
from agenticos.errors import Refused
from campaigns import library, pacing, rendering
from campaigns.models import Campaign, CampaignAccount, CampaignCounts, SendingAccount, Step
from tenants import audit
from tenants.models import Tenant, User

NAME_LENGTH = 120


def locked(campaign: Campaign) -> Campaign:
    """The campaign's row, locked, as it is now; the caller's object is brought up to date.

    Raises Refused when it is gone.
    """
    rows = Campaign.objects.select_for_update(of=("self",)).select_related("tenant")
    row = locking.locked(rows, campaign.pk)
    campaign.state = row.state
    return row


@transaction.atomic
def create_campaign(
    tenant: Tenant,
    *,
    name: str,
    text: str,
    audience: dict[str, object],
    accounts: list[SendingAccount],
    limit: int = 500,
    min_score: int = 0,
    window: dict[str, object] | None = None,
    day_cap: int | None = None,
    by: User | None,
    now: datetime,
) -> Campaign:
    """Make a draft with one step. Raises Refused for a text or a window that cannot work."""
    campaign = begin_draft(
        tenant, name=name, audience=audience, limit=limit, min_score=min_score, by=by, now=now
    )
    hours: dict[str, object] = {**pacing.DEFAULT_WINDOW} if window is None else window
    _fill(campaign, text=text, accounts=accounts, window=hours)
    if day_cap is not None:
        _aim(campaign, day_cap=day_cap)
    return campaign


@transaction.atomic
def begin_draft(
    tenant: Tenant,
    *,
    name: str,
    audience: dict[str, object],
    limit: int = 500,
    min_score: int = 0,
    tags: str = "",
    by: User | None,
    now: datetime,
) -> Campaign:
    """Make a draft that knows whom it writes to, and has no text yet."""
    campaign = Campaign.objects.create(
        tenant=tenant,
        name=name,
        tags=tags,
        audience=audience,
        limit=limit,
        min_score=min_score,
        window=pacing.DEFAULT_WINDOW,
        created_by=by,
    )
    CampaignCounts.objects.create(tenant=tenant, campaign=campaign)
    audit.record(campaign, "campaign.created", by=by)
    return campaign


@transaction.atomic
def edit_campaign(
    campaign: Campaign,
    *,
    name: str,
    text: str,
    audience: dict[str, object],
    accounts: list[SendingAccount],
    limit: int,
    min_score: int,
    window: dict[str, object],
    day_cap: int | None = None,
    by: User | None,
    now: datetime,
) -> None:
    """Change a draft. Raises Refused once it has started, and for what cannot work."""
    row = _draft(campaign)
    _aim(row, name=name, audience=audience, limit=limit, min_score=min_score, day_cap=day_cap)
    _fill(row, text=text, accounts=accounts, window=window)
    audit.record(row, "campaign.edited", by=by)


@transaction.atomic
def edit_audience(
    campaign: Campaign,
    *,
    name: str,
    audience: dict[str, object],
    limit: int,
    min_score: int,
    tags: str,
    by: User | None,
    now: datetime,
) -> None:
    """Change whom a draft writes to, and its name. Raises Refused once it has started."""
    row = _draft(campaign)
    _aim(row, name=name, audience=audience, limit=limit, min_score=min_score, tags=tags)
    audit.record(row, "campaign.edited", by=by, part="audience")


@transaction.atomic
def edit_content(
    campaign: Campaign,
    *,
    text: str,
    accounts: Sequence[SendingAccount],
    window: dict[str, object],
    by: User | None,
    now: datetime,
) -> None:
    """Change what a draft says, from whom and when. Raises Refused as `edit_campaign`."""
    row = _draft(campaign)
    _fill(row, text=text, accounts=accounts, window=window)
    audit.record(row, "campaign.edited", by=by, part="content")


@transaction.atomic
def clone_campaign(campaign: Campaign, *, by: User | None, now: datetime) -> Campaign:
    """A new draft with the audience, texts, accounts and hours of another campaign."""
    name = _("%(name)s (copy)") % {"name": campaign.name}
    copy = begin_draft(
        campaign.tenant,
        name=name[:NAME_LENGTH],
        audience=campaign.audience,
        limit=campaign.limit,
        min_score=campaign.min_score,
        tags=campaign.tags,
        by=by,
        now=now,
    )
    for name in ("window", "day_cap", "error_percent", "error_window_min"):
        setattr(copy, name, getattr(campaign, name))
    copy.save(update_fields=["window", "day_cap", "error_percent", "error_window_min"])
    newest: dict[int, Step] = {step.number: step for step in campaign.steps.order_by("version")}
    Step.objects.bulk_create(
        Step(
            tenant_id=copy.tenant_id,
            campaign=copy,
            number=step.number,
            delay_hours=step.delay_hours,
            body=step.body,
            origin_id=step.origin_id,
        )
        for step in newest.values()
    )
    set_accounts(copy, list(campaign.accounts.exclude(state=SendingAccount.State.OFF)))
    audit.record(campaign, "campaign.cloned", by=by, copy=copy.pk)
    return copy


def set_accounts(campaign: Campaign, accounts: Sequence[SendingAccount]) -> None:
    """Let the campaign send through these accounts and no others."""
    CampaignAccount.objects.filter(campaign=campaign).delete()
    CampaignAccount.objects.bulk_create(
        CampaignAccount(tenant_id=campaign.tenant_id, campaign=campaign, account=account)
        for account in accounts
    )


def check_window(window: dict[str, object]) -> None:
    """Raises Refused for sending hours that never open."""
    try:
        pacing.Window.from_json(window)
    except pacing.BadWindow as error:
        raise Refused(
            _("The sending hours need at least one day, and must open before they close."),
            code="bad_window",
        ) from error


def _draft(campaign: Campaign) -> Campaign:
    row = locked(campaign)
    if row.state != Campaign.State.DRAFT:
        raise Refused(_("Only a draft can be edited."), code="wrong_state")
    return row


def _aim(row: Campaign, **fields: object) -> None:
    """Whom it writes to, and what it is called."""
    for name, value in fields.items():
        setattr(row, name, value)
    row.save(update_fields=list(fields))


def _fill(
    row: Campaign, *, text: str, accounts: Sequence[SendingAccount], window: dict[str, object]
) -> None:
    """What it says, from whom, and when."""
    try:
        rendering.parse(text)
    except rendering.BadTemplate as error:
        raise Refused(error.sentence, code="bad_template") from error
    check_window(window)
    row.window = window
    row.save(update_fields=["window"])
    Step.objects.update_or_create(
        tenant_id=row.tenant_id,
        campaign=row,
        number=1,
        version=1,
        defaults={"body": text, "origin": library.origin_of(text)},
    )
    set_accounts(row, accounts)
