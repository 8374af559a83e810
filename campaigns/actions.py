"""What people and programs do with campaigns, messages and accounts: one verb each.

Every action is its own transaction, audited, and takes the campaign row before any of its rows.
A worker holds that row in share mode while it marks messages as dispatched; so when pause or stop
answers, nothing leaves any more but what was marked before, and that is counted.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

from django.db import transaction
from django.utils.translation import gettext as _, ngettext

from agenticos import locking
from agenticos.errors import Refused
from agenticos.queue import enqueue
from campaigns import health, ledger
from campaigns.codes import Code, sentence
from campaigns.drafting import (
    create_campaign as create_campaign,
    edit_campaign as edit_campaign,
    locked as _locked,
)
from campaigns.models import (
    Campaign,
    CampaignAccount,
    CampaignCounts,
    Message,
    SendingAccount,
)
from campaigns.starting import (
    schedule_campaign as schedule_campaign,
    start_campaign as start_campaign,
    unschedule_campaign as unschedule_campaign,
)
from tenants import audit
from tenants.models import Tenant, User

State = Campaign.State
_NO_REASON = {"reason": "", "reason_sentence": "", "reason_detail": ""}


@transaction.atomic
def pause_campaign(campaign: Campaign, *, by: User | None, now: datetime) -> int:
    """Pause; return how many messages are in flight and will still arrive.

    Raises Refused unless the campaign runs.
    """
    row = _locked(campaign)
    row.move_to(State.PAUSED, **_NO_REASON)
    tally = ledger.Tally()
    health.release_claims(Message.objects.filter(campaign=row), now, tally)
    tally.write()
    flying = _in_flight(row.pk)
    audit.record(row, "campaign.paused", by=by, in_flight=flying)
    campaign.state = row.state
    return flying


@transaction.atomic
def resume_campaign(campaign: Campaign, *, by: User | None, now: datetime) -> None:
    """Go on after a pause or a block. Raises Refused while no account can send."""
    row = _locked(campaign)
    if (
        row.state in (State.PAUSED, State.BLOCKED)
        and not CampaignAccount.objects.filter(
            campaign=row, account__state=SendingAccount.State.ACTIVE
        ).exists()
    ):
        raise Refused(sentence(Code.NO_ELIGIBLE_ACCOUNT), code=Code.NO_ELIGIBLE_ACCOUNT)
    if row.state == State.FINISHED:
        raise Refused(_("This campaign is finished."), code="wrong_state")
    row.move_to(State.RUNNING, errors_since=now, **_NO_REASON)
    ledger.wake([row.pk], now)
    CampaignCounts.objects.filter(campaign=row).update(rejected_in_row=0)
    audit.record(row, "campaign.resumed", by=by)
    enqueue("campaigns.tasks.send_slice")
    campaign.state = row.state


@transaction.atomic
def stop_campaign(campaign: Campaign, *, by: User | None, now: datetime) -> int:
    """Stop for good; return how many messages are in flight and will still arrive.

    Everything else that was open becomes `cancelled`. Stopping a cancelled campaign changes
    nothing; raises Refused for a finished one.
    """
    row = _locked(campaign)
    if row.state != State.CANCELLED:
        row.move_to(State.CANCELLED, finished_at=now, **_NO_REASON)
        tally = ledger.Tally()
        health.release_claims(Message.objects.filter(campaign=row), now, tally)
        queued = Message.objects.filter(campaign=row, state=Message.State.QUEUED)
        held = list(queued.filter(lead__first_touch_by__isnull=False).values_list("id", flat=True))
        dropped = queued.update(state=Message.State.CANCELLED, updated_at=now)
        ledger.release_touch(held)
        tally.add(row.pk, queued=-dropped, cancelled=dropped)
        tally.write()
        audit.record(row, "campaign.stopped", by=by, dropped=dropped)
    campaign.state = row.state
    return _in_flight(row.pk)


def _in_flight(campaign_id: int) -> int:
    return Message.objects.filter(campaign=campaign_id, state=Message.State.CLAIMED).count()


# --- Single messages --------------------------------------------------------------------------


def _message_for_change(message: Message, *, sends: bool) -> tuple[Message, Campaign]:
    """The message and its campaign, both locked, in the order that all writers keep.

    Raises Refused when it is to be sent (`sends`) and the campaign was stopped, and when
    either is gone.
    """
    campaign = locking.locked(Campaign.objects.select_for_update(), message.campaign_id)
    row = locking.locked(Message.objects.select_for_update(of=("self",)), message.pk)
    if sends and campaign.state == State.CANCELLED:
        raise Refused(
            _("The campaign was stopped, so nothing of it can be sent any more."),
            code="campaign_cancelled",
        )
    return row, campaign


def _queue_again(row: Message, campaign: Campaign, *, by: User | None, now: datetime) -> None:
    """Queue a row that a person sends again; a finished campaign runs again for it."""
    before = row.state
    Message.objects.filter(pk=row.pk).update(
        state=Message.State.QUEUED,
        account=None,
        due_at=now,
        attempts=0,
        dispatched_at=None,
        sent_at=None,
        reason="",
        sentence="",
        error="",
        resolved_by=by,
        updated_at=now,
    )
    if campaign.state == State.FINISHED:
        campaign.move_to(State.RUNNING, finished_at=None)
        audit.record(campaign, "campaign.reopened", by=by, cause="retry")
    ledger.wake([row.campaign_id], now)
    ledger.count(row.campaign_id, None, **{before: -1, "queued": 1})
    enqueue("campaigns.tasks.send_slice")


@transaction.atomic
def retry_message(message: Message, *, by: User | None, now: datetime) -> None:
    """Send a failed message again: it has surely not reached the person.

    Raises Refused for any other state, and when the campaign was stopped.
    """
    row, campaign = _message_for_change(message, sends=True)
    if row.state != Message.State.FAILED:
        raise Refused(_("Only a failed message can be retried."), code="wrong_state")
    _queue_again(row, campaign, by=by, now=now)
    audit.record(row, "message.retried", by=by)


@transaction.atomic
def retry_failed(
    campaign: Campaign, *, by: User | None, now: datetime, only: Collection[int] | None = None
) -> int:
    """Send the failed messages of a campaign again, all or `only` these ids; return how many."""
    row = _locked(campaign)
    if row.state == State.CANCELLED:
        raise Refused(
            _("The campaign was stopped, so nothing of it can be sent any more."),
            code="campaign_cancelled",
        )
    failed = Message.objects.filter(campaign=row, state=Message.State.FAILED)
    if only is not None:
        failed = failed.filter(pk__in=only)
    moved = failed.update(
        state=Message.State.QUEUED,
        account=None,
        due_at=now,
        attempts=0,
        dispatched_at=None,
        reason="",
        sentence="",
        error="",
        resolved_by=by,
        updated_at=now,
    )
    if moved:
        if row.state == State.FINISHED:
            row.move_to(State.RUNNING, finished_at=None)
        ledger.wake([row.pk], now)
        ledger.count(row.pk, failed=-moved, queued=moved)
        enqueue("campaigns.tasks.send_slice")
    audit.record(row, "campaign.failed_retried", by=by, messages=moved)
    campaign.state = row.state
    return moved


@transaction.atomic
def skip_messages(
    campaign: Campaign, *, only: Collection[int], by: User | None, now: datetime
) -> int:
    """Leave out these people: their queued messages are never sent. Return how many moved.

    What is in flight meanwhile is not touched. Raises Refused when the campaign was stopped.
    """
    row = _locked(campaign)
    if row.state == State.CANCELLED:
        raise Refused(
            _("The campaign was stopped, so nothing of it can be sent any more."),
            code="campaign_cancelled",
        )
    queued = Message.objects.filter(campaign=row, pk__in=only, state=Message.State.QUEUED)
    held = list(queued.filter(lead__first_touch_by__isnull=False).values_list("id", flat=True))
    moved = queued.update(
        state=Message.State.SKIPPED,
        reason=Code.SKIPPED_BY_PERSON,
        sentence="",
        error="",
        resolved_by=by,
        updated_at=now,
    )
    ledger.release_touch(held)
    ledger.count(row.pk, queued=-moved, skipped=moved)
    audit.record(row, "campaign.messages_skipped", by=by, messages=moved)
    campaign.state = row.state
    return moved


@transaction.atomic
def resolve_message(message: Message, outcome: str, *, by: User | None, now: datetime) -> None:
    """Say what became of a message whose outcome is unknown.

    `outcome` is `sent` (it arrived), `send_again` (it did not, and shall) or `skip` (leave it:
    it may have arrived, so the person counts as touched). Raises Refused when the message is not
    unknown (any more): of two people one decides.
    """
    row, campaign = _message_for_change(message, sends=outcome == "send_again")
    if row.state != Message.State.UNKNOWN:
        raise Refused(_("The outcome of this message is already known."), code="already_resolved")
    if outcome == "send_again":
        _queue_again(row, campaign, by=by, now=now)
    elif outcome == "sent":
        Message.objects.filter(pk=row.pk).update(
            state=Message.State.SENT,
            sent_at=row.dispatched_at or now,
            reason="",
            sentence="",
            resolved_by=by,
            updated_at=now,
        )
        ledger.count(row.campaign_id, unknown=-1, sent=1)
        ledger.want_in_crm(row, now)
    elif outcome == "skip":
        Message.objects.filter(pk=row.pk).update(
            state=Message.State.SKIPPED,
            reason=Code.SKIPPED_BY_PERSON,
            resolved_by=by,
            updated_at=now,
        )
        ledger.count(row.campaign_id, unknown=-1, skipped=1)
    else:
        raise Refused(_("Expected sent, send_again or skip."), code="bad_outcome")
    audit.record(row, "message.resolved", by=by, outcome=outcome)


# --- Tenant stop ------------------------------------------------------------------------------


@transaction.atomic
def stop_tenant(tenant: Tenant, *, by: User | None, now: datetime) -> int:
    """Stop all sending of the tenant; return how many messages are in flight.

    Campaigns keep their state; nothing leaves until the stop is lifted.
    """
    running = list(
        Campaign.objects.filter(state=State.RUNNING).order_by("id").select_for_update(of=("self",))
    )
    row = Tenant.objects.select_for_update().get(pk=tenant.pk)
    tally = ledger.Tally()
    health.release_claims(Message.objects.filter(campaign__in=running), now, tally)
    tally.write()
    if row.stopped_at is None:
        row.stopped_at = now
        row.save(update_fields=["stopped_at"])
        audit.record(row, "tenant.stopped", by=by)
    tenant.stopped_at = row.stopped_at
    return Message.objects.filter(state=Message.State.CLAIMED).count()


@transaction.atomic
def lift_tenant_stop(tenant: Tenant, *, by: User | None, now: datetime) -> None:
    """Let the tenant's campaigns go on."""
    row = Tenant.objects.select_for_update().get(pk=tenant.pk)
    if row.stopped_at is None:
        return
    row.stopped_at = None
    row.save(update_fields=["stopped_at"])
    tenant.stopped_at = None
    running = Campaign.objects.filter(state=State.RUNNING).values_list("id", flat=True)
    ledger.wake(list(running), now)
    audit.record(row, "tenant.stop_lifted", by=by)
    enqueue("campaigns.tasks.send_slice")


# --- Accounts ---------------------------------------------------------------------------------


@transaction.atomic
def block_account(
    account: SendingAccount, *, by: User | None, now: datetime, reason: str = ""
) -> None:
    """Take an account out of all rotation. What it has in flight still arrives."""
    links = CampaignAccount.objects.filter(account=account).values("campaign")
    list(
        Campaign.objects.filter(pk__in=links, state=State.RUNNING)
        .order_by("id")
        .select_for_update(of=("self",))
    )
    row = locking.locked(SendingAccount.objects.select_for_update(), account.pk)
    if row.state == SendingAccount.State.BLOCKED:
        raise Refused(_("This account is blocked already."), code="wrong_state")
    row.state = SendingAccount.State.BLOCKED
    row.block_code, row.block_sentence = Code.BLOCKED_BY_PERSON, ""
    row.block_detail, row.blocked_at, row.next_at = reason[:300], now, None
    row.save(
        update_fields=[
            "state",
            "block_code",
            "block_sentence",
            "block_detail",
            "blocked_at",
            "next_at",
        ]
    )
    tally = ledger.Tally()
    health.release_claims(Message.objects.filter(account=row), now, tally)
    tally.write()
    audit.record(row, "account.blocked", by=by, code=str(Code.BLOCKED_BY_PERSON))
    account.state = row.state


@transaction.atomic
def unblock_account(account: SendingAccount, *, by: User | None, now: datetime) -> None:
    """Let an account send again. Raises Refused while its connection is still broken."""
    row = (
        SendingAccount.objects.select_related("connection")
        .select_for_update(of=("self",))
        .get(pk=account.pk)
    )
    if row.connection.state != row.connection.State.ACTIVE:
        raise Refused(
            _("Renew the credential of the account's connection first."), code="session_invalid"
        )
    row.state = SendingAccount.State.ACTIVE
    row.block_code = row.block_sentence = row.block_detail = ""
    row.blocked_at, row.later_in_row, row.next_at, row.errors_since = None, 0, now, now
    row.save(
        update_fields=[
            "state",
            "block_code",
            "block_sentence",
            "block_detail",
            "blocked_at",
            "later_in_row",
            "next_at",
            "errors_since",
        ]
    )
    audit.record(row, "account.unblocked", by=by)
    account.state = row.state


def in_flight_sentence(number: int) -> str:
    """What pause and stop answer about messages that can no longer be held back."""
    if not number:
        return _("Nothing is in flight.")
    return ngettext(
        "%(number)d message is in flight and will still arrive.",
        "%(number)d messages are in flight and will still arrive.",
        number,
    ) % {"number": number}
