"""What the engine does to accounts and campaigns by itself: block, pause, finish, wake."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from datetime import datetime

from django.db import models, transaction
from django.db.models import Exists, OuterRef

from agenticos import scope
from agenticos.errors import Refused
from agenticos.leasing import NO_LEASE
from campaigns import error_rate, ledger
from campaigns.codes import Code
from campaigns.models import Campaign, CampaignAccount, CampaignCounts, Message, SendingAccount
from integrations.errors import ProviderError
from tenants import audit
from tenants.models import Tenant

REFUSALS_IN_ROW = 3
OPEN = (Message.State.QUEUED, Message.State.CLAIMED)


def block_for(
    account_id: int, error: ProviderError, now: datetime, *, secret_set_at: datetime | None
) -> None:
    """Block an account that its provider refused, and each campaign that has no other.

    Its connection is marked broken; rows bound to it go back to whichever account is free. A
    refusal of an older credential than today's (`secret_set_at`) changes nothing. In the scope of
    the account's tenant.
    """
    with transaction.atomic():
        campaigns = _locked_with_accounts(account_id)
        account = (
            SendingAccount.objects.select_related("connection")
            .select_for_update(of=("self",))
            .get(pk=account_id)
        )
        renewed = account.connection.secret_set_at != secret_set_at
        if renewed or account.state == SendingAccount.State.BLOCKED:
            return
        account.connection.mark_broken(error.code)
        _block(account, error.code, error.sentence[:300], error.detail, now)
        _block_without_account(
            campaigns, Code.SESSION_INVALID, error.sentence[:300], error.detail, code=error.code
        )
        ledger.wake([campaign.pk for campaign in campaigns], now)


def block_over_threshold(account_id: int, now: datetime) -> None:
    """Block an account of which too much went wrong lately, and each campaign without another."""
    account = SendingAccount.objects.get(pk=account_id)
    # By way of its campaigns: their settled rows have an index by time.
    of_it = Message.objects.filter(
        campaign__in=account.campaign_links.values("campaign"), account=account
    )
    rate = error_rate.too_high(account, of_it, now, since=account.errors_since)
    if rate is None:
        return
    with transaction.atomic():
        campaigns = _locked_with_accounts(account_id)
        account = SendingAccount.objects.select_for_update().get(pk=account_id)
        if account.state != SendingAccount.State.ACTIVE:
            return
        _block(account, Code.ERROR_RATE, "", str(rate)[:300], now)
        _block_without_account(campaigns, Code.ERROR_RATE, "", str(rate)[:300])
        ledger.wake([campaign.pk for campaign in campaigns], now)


def _locked_with_accounts(account_id: int) -> list[Campaign]:
    """The account's running campaigns, and all their accounts, locked in everybody's order."""
    campaigns = list(
        Campaign.objects.filter(state=Campaign.State.RUNNING, account_links__account=account_id)
        .order_by("id")
        .select_for_update(of=("self",))
    )
    linked = CampaignAccount.objects.filter(campaign__in=campaigns)
    ledger.lock_accounts([account_id, *linked.values_list("account_id", flat=True)])
    return campaigns


def _block(account: SendingAccount, code: str, sentence: str, detail: str, now: datetime) -> None:
    """Take a locked account out of sending; its rows go to whichever account is free."""
    account.state = SendingAccount.State.BLOCKED
    account.block_code, account.block_sentence, account.block_detail = code, sentence, detail
    account.blocked_at, account.next_at = now, None
    account.save(
        update_fields=[
            "state",
            "block_code",
            "block_sentence",
            "block_detail",
            "blocked_at",
            "next_at",
        ]
    )
    Message.objects.filter(account=account, state=Message.State.QUEUED).update(account=None)
    audit.record(account, "account.blocked", by=None, code=code)


def _block_without_account(
    campaigns: Iterable[Campaign], reason: str, sentence: str, detail: str, *, code: str = ""
) -> None:
    """Block those of these locked campaigns that no account is left for."""
    for campaign in campaigns:
        if not _has_account(campaign.pk):
            campaign.move_to(
                Campaign.State.BLOCKED,
                reason=reason,
                reason_sentence=sentence,
                reason_detail=detail,
            )
            audit.record(campaign, "campaign.blocked", by=None, code=str(code or reason))


def _has_account(campaign_id: int) -> bool:
    return CampaignAccount.objects.filter(
        campaign=campaign_id, account__state=SendingAccount.State.ACTIVE
    ).exists()


def pause_after_refusals(campaign_id: int, error: ProviderError, now: datetime) -> None:
    """Pause a campaign whose own text or request was refused three times in a row."""
    counts = CampaignCounts.objects.filter(
        campaign=campaign_id, rejected_in_row__gte=REFUSALS_IN_ROW
    )
    if not counts.exists():
        return
    _pause(campaign_id, Code.TEMPLATE_REJECTED, error.sentence[:300], error.detail, now)


def pause_over_threshold(campaign_id: int, now: datetime) -> None:
    """Pause a campaign of which too much went wrong lately (`error_rate`)."""
    campaign = Campaign.objects.get(pk=campaign_id)
    rows = Message.objects.filter(campaign=campaign)
    rate = error_rate.too_high(campaign, rows, now, since=campaign.errors_since)
    if rate is not None:
        _pause(campaign_id, Code.ERROR_RATE, "", str(rate)[:300], now)


def _pause(campaign_id: int, code: Code, sentence: str, detail: str, now: datetime) -> None:
    """Pause it if it runs, and let go of what is claimed."""
    with transaction.atomic(), suppress(Refused):
        campaign = Campaign.objects.select_for_update().get(pk=campaign_id)
        campaign.move_to(
            Campaign.State.PAUSED, reason=code, reason_sentence=sentence, reason_detail=detail
        )
        tally = ledger.Tally()
        release_claims(Message.objects.filter(campaign=campaign_id), now, tally)
        tally.write()
        audit.record(campaign, "campaign.paused", by=None, code=str(code))


def release_claims(messages: models.QuerySet[Message], now: datetime, tally: ledger.Tally) -> int:
    """Queue again what is claimed and not dispatched; their campaigns are locked by the caller.

    Returns how many rows moved. What is dispatched is in flight and settles by itself.
    """
    rows = list(
        messages.filter(state=Message.State.CLAIMED, dispatched_at=None)
        .select_related("account")
        .order_by("id")
        .select_for_update(of=("self",))
    )
    Message.objects.filter(pk__in=[row.pk for row in rows]).update(
        state=Message.State.QUEUED, account=None, updated_at=now, **NO_LEASE
    )
    tenant = Tenant.objects.get(pk=scope.tenant_id())
    tally.unused_of(rows, tenant)
    for row in rows:
        tally.add(row.campaign_id, claimed=-1, queued=1)
    return len(rows)


def finish_done(campaigns: Iterable[tuple[int, int]], now: datetime) -> int:
    """Call running campaigns without open rows finished; (tenant id, campaign id) pairs."""
    finished = 0
    for tenant_id, campaign_id in sorted(campaigns):
        with scope.as_tenant(tenant_id), transaction.atomic(), suppress(Refused):
            campaign = Campaign.objects.select_for_update().filter(pk=campaign_id).first()
            if campaign is None or campaign.state != Campaign.State.RUNNING:
                continue
            if Message.objects.filter(campaign=campaign_id, state__in=OPEN).exists():
                continue
            campaign.move_to(Campaign.State.FINISHED, finished_at=now)
            audit.record(campaign, "campaign.finished", by=None)
            finished += 1
    return finished


def sweep(now: datetime) -> None:
    """Put right what a lost wake-up left: done campaigns that run, due rows nobody looks at."""
    with scope.as_system("sweep over running campaigns"):
        open_rows = Message.objects.filter(campaign=OuterRef("pk"), state__in=OPEN)
        running = list(
            Campaign.objects.filter(state=Campaign.State.RUNNING)
            .annotate(has_open=Exists(open_rows))
            .values_list("tenant_id", "id", "has_open")
        )
        asleep = list(
            Campaign.objects.filter(
                Exists(
                    Message.objects.filter(
                        campaign=OuterRef("pk"), state=Message.State.QUEUED, due_at__lte=now
                    )
                ),
                state=Campaign.State.RUNNING,
                tenant__stopped_at=None,
                tenant__suspended_at=None,
            )
            .exclude(
                Exists(
                    CampaignAccount.objects.filter(
                        campaign=OuterRef("pk"),
                        account__state=SendingAccount.State.ACTIVE,
                        account__next_at__isnull=False,
                    )
                )
            )
            .values_list("tenant_id", "id")
        )
    finish_done([(tenant, pk) for tenant, pk, has_open in running if not has_open], now)
    for tenant_id, campaign_id in asleep:
        with scope.as_tenant(tenant_id):
            ledger.wake([campaign_id], now)
