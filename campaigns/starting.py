"""The start of a campaign: now, or at a time that a person set. Part of `campaigns.actions`."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.db import transaction
from django.utils.translation import gettext as _, override

from agenticos.errors import Refused
from agenticos.queue import enqueue
from campaigns import audience
from campaigns.codes import Code, sentence
from campaigns.drafting import locked
from campaigns.models import Campaign, CampaignAccount, SendingAccount, Step
from leads import actions as lead_actions
from leads.models import Icp, IcpVersion
from tenants import audit
from tenants.models import User

State = Campaign.State
STARTABLE = (State.DRAFT, State.SCHEDULED)
# A worker that was away for longer no longer knows whether the start is still wanted.
OVERDUE_AFTER = timedelta(hours=2)
AHEAD_MOST = timedelta(days=366)


@transaction.atomic
def start_campaign(campaign: Campaign, *, by: User | None, now: datetime) -> None:
    """Start a draft: its audience is frozen in the background, then messages leave.

    Raises Refused with the code `already_started` for the second of two starts, and when there
    is nobody to write to, no text, or no account that can send.
    """
    row = locked(campaign)
    live = _check(row, now)
    if row.audience.get("kind") == "handles":
        lead_actions.ensure_leads(row.tenant, audience.handles(row), source="campaign")
    row.move_to(State.PREPARING, started_at=now, icp_version=live, reason="")
    audit.record(row, "campaign.started", by=by)
    enqueue("campaigns.tasks.prepare_slice")
    campaign.state, campaign.started_at = row.state, row.started_at


@transaction.atomic
def schedule_campaign(campaign: Campaign, at: datetime, *, by: User | None, now: datetime) -> None:
    """Let a draft start by itself at `at`, aware; one that is scheduled gets the new time.

    Raises Refused as `start_campaign` does, and for a time that has passed or is over a year away.
    """
    row = locked(campaign)
    _check(row, now)
    if at <= now:
        raise Refused(_("Choose a time in the future."), code="time_passed")
    if at > now + AHEAD_MOST:
        raise Refused(_("Choose a time within a year."), code="too_far_ahead")
    if row.state == State.SCHEDULED:
        row.starts_at = at
        row.save(update_fields=["starts_at"])
    else:
        row.move_to(State.SCHEDULED, starts_at=at, reason="", reason_sentence="")
    audit.record(row, "campaign.scheduled", by=by, at=at.isoformat(timespec="seconds"))
    campaign.state, campaign.starts_at = row.state, row.starts_at


@transaction.atomic
def unschedule_campaign(campaign: Campaign, *, by: User | None, now: datetime) -> None:
    """Make a scheduled campaign a draft again. Raises Refused for any other state."""
    row = locked(campaign)
    if row.state != State.SCHEDULED:
        raise Refused(_("This campaign is not scheduled."), code="wrong_state")
    row.move_to(State.DRAFT, starts_at=None)
    audit.record(row, "campaign.unscheduled", by=by)
    campaign.state, campaign.starts_at = row.state, row.starts_at


@transaction.atomic
def start_at_its_time(campaign: Campaign, *, now: datetime) -> None:
    """Start a scheduled campaign whose time has come, unless a person was faster.

    One that is overdue for long, or cannot start, is a draft again that says why, and news for
    people.
    """
    row = locked(campaign)
    if row.state != State.SCHEDULED or row.starts_at is None or row.starts_at > now:
        return
    if now - row.starts_at > OVERDUE_AFTER:
        _miss(row, Code.START_OVERDUE)
        return
    try:
        # The reason is stored, so it is made in the language of the msgids.
        with override("en"):
            start_campaign(row, by=None, now=now)
    except Refused as error:
        _miss(row, error.code, str(error))


def _miss(row: Campaign, code: str, words: str = "") -> None:
    """Back to a draft that says why it has not started."""
    row.move_to(State.DRAFT, starts_at=None, reason=str(code), reason_sentence=words[:300])
    audit.record(row, "campaign.start_missed", by=None, code=str(code))


def _check(row: Campaign, now: datetime) -> IcpVersion:
    """The version of the ICP that a start would freeze. Raises Refused when it cannot start."""
    if row.state not in STARTABLE:
        raise Refused(_("This campaign has already been started."), code="already_started")
    if not Step.objects.filter(campaign=row).exists():
        raise Refused(_("The campaign has no text yet."), code="no_text")
    if not CampaignAccount.objects.filter(
        campaign=row, account__state=SendingAccount.State.ACTIVE
    ).exists():
        raise Refused(sentence(Code.NO_ELIGIBLE_ACCOUNT), code=Code.NO_ELIGIBLE_ACCOUNT)
    icp = Icp.objects.select_related("live").first()
    if icp is None:
        raise Refused(
            _("There is no ICP yet, so no lead has a score. Publish one first."), code="no_icp"
        )
    if row.audience.get("kind") == "handles":
        nobody = not audience.handles(row)
    else:
        scores = audience.matching(row, icp.live)
        nobody = not audience.writable(scores, row.tenant, now)[:1]
    if nobody:
        raise Refused(sentence(Code.NOBODY_TO_WRITE_TO), code=Code.NOBODY_TO_WRITE_TO)
    return icp.live
