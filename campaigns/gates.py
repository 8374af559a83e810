"""Whether a message may leave now, and if not, why and until when: one pure function.

Worker, pages, API and forecast all ask `gate`; so what a page says is what the worker does.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from zoneinfo import ZoneInfo

from campaigns import pacing
from campaigns.codes import Code


class Verdict(StrEnum):
    """What a gate says of a message."""

    ALLOW = "allow"
    WAIT = "wait"  # passes by itself at `until`
    BLOCK = "block"  # a person must act
    SKIP = "skip"  # final for this message


@dataclass(frozen=True, slots=True)
class Decision:
    """A gate's answer; `until` is set for a wait whose end is known."""

    verdict: Verdict
    code: Code | None = None
    until: datetime | None = None
    detail: str = ""


ALLOW = Decision(Verdict.ALLOW)


@dataclass(frozen=True, slots=True)
class DayCap:
    """A cap of a day above the accounts' own, and how much of it is used."""

    cap: int
    used: int

    @property
    def room(self) -> int:
        return max(0, self.cap - self.used)


@dataclass(frozen=True, slots=True)
class CampaignFacts:
    """What the gates need to know of a campaign and its tenant."""

    state: str
    tenant_stopped: bool
    window: pacing.Window | None
    zone: ZoneInfo
    min_score: int = 0
    contact_gap_days: int = 0
    # Caps of a day in `zone`; None where there is none, or it is not to be asked.
    tenant_day: DayCap | None = None
    campaign_day: DayCap | None = None


@dataclass(frozen=True, slots=True)
class AccountFacts:
    """What the gates need to know of a sending account."""

    state: str
    block_code: str
    free_at: datetime | None
    pace: pacing.Pace
    used_day: int
    used_hour: int
    zone: ZoneInfo
    slowed: bool = False  # the pause is the provider's wish, not the account's own gap

    @property
    def room(self) -> int:
        """How many messages its caps still allow now."""
        return max(0, min(self.pace.day_cap - self.used_day, self.pace.hour_cap - self.used_hour))


@dataclass(frozen=True, slots=True)
class LeadFacts:
    """What the gates need to know of a lead; `total` None means not scored."""

    suppressed: bool
    total: int | None
    band: str
    eligible: bool
    # When another message was the first touch; None if there was none.
    touched_at: datetime | None
    missing: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Facts:
    """All that decides about one message. Leave out what is not to be asked."""

    campaign: CampaignFacts | None = None
    account: AccountFacts | None = None
    lead: LeadFacts | None = None
    due_at: datetime | None = None
    # What the lead is to be held against, when the campaign itself is not asked.
    rules: CampaignFacts | None = None


class Gate(StrEnum):
    """The gates by name, in the order in which they are asked."""

    TENANT = "tenant"
    CAMPAIGN = "campaign"
    WINDOW = "window"
    TENANT_CAP = "tenant_cap"
    CAMPAIGN_CAP = "campaign_cap"
    ACCOUNT = "account"
    DAY_CAP = "day_cap"
    HOUR_CAP = "hour_cap"
    GAP = "gap"
    LEAD = "lead"
    DUE = "due"
    OUTCOME = "outcome"


def campaign_checks(campaign: CampaignFacts, now: datetime) -> Iterator[tuple[Gate, Decision]]:
    """The tenant stop, the campaign's state, its window, and what caps above the accounts leave.

    A cap that nobody set is no gate.
    """
    stop = Decision(Verdict.BLOCK, Code.TENANT_STOP)
    yield Gate.TENANT, stop if campaign.tenant_stopped else ALLOW
    if campaign.state == "running":
        yield Gate.CAMPAIGN, ALLOW
    else:
        paused = campaign.state == "paused"
        code = Code.CAMPAIGN_PAUSED if paused else Code.CAMPAIGN_NOT_RUNNING
        yield Gate.CAMPAIGN, Decision(Verdict.BLOCK, code)
    opens = campaign.window.next_open(now, campaign.zone) if campaign.window else now
    yield (
        Gate.WINDOW,
        Decision(Verdict.WAIT, Code.OUTSIDE_WINDOW, opens) if opens > now else ALLOW,
    )
    for name, day, code in (
        (Gate.TENANT_CAP, campaign.tenant_day, Code.TENANT_CAP),
        (Gate.CAMPAIGN_CAP, campaign.campaign_day, Code.CAMPAIGN_CAP),
    ):
        if day is not None:
            until = None if day.room else pacing.next_day(now, campaign.zone)
            yield name, ALLOW if day.room else Decision(Verdict.WAIT, code, until)


def account_checks(account: AccountFacts, now: datetime) -> Iterator[tuple[Gate, Decision]]:
    """The account's health, its daily and hourly cap, and the pause after its last message."""
    if account.state == "active":
        yield Gate.ACCOUNT, ALLOW
    else:
        invalid = account.block_code == "session_invalid"
        code = Code.SESSION_INVALID if invalid else Code.ACCOUNT_BLOCKED
        yield Gate.ACCOUNT, Decision(Verdict.BLOCK, code)
    full = account.used_day >= account.pace.day_cap
    until = pacing.next_day(now, account.zone) if full else None
    yield Gate.DAY_CAP, Decision(Verdict.WAIT, Code.ACCOUNT_DAILY_CAP, until) if full else ALLOW
    full = account.used_hour >= account.pace.hour_cap
    until = pacing.next_hour(now, account.zone) if full else None
    yield Gate.HOUR_CAP, Decision(Verdict.WAIT, Code.ACCOUNT_HOURLY_CAP, until) if full else ALLOW
    if account.free_at and account.free_at > now:
        code = Code.BACK_OFF if account.slowed else Code.MINIMUM_GAP
        yield Gate.GAP, Decision(Verdict.WAIT, code, account.free_at)
    else:
        yield Gate.GAP, ALLOW


def first_against(checks: Iterator[tuple[Gate, Decision]]) -> Decision:
    """The first decision that is not ALLOW; the gates behind it are not asked."""
    return next((decision for _, decision in checks if decision is not ALLOW), ALLOW)


def campaign_gate(campaign: CampaignFacts, now: datetime) -> Decision:
    """The first reason of tenant and campaign against sending now."""
    return first_against(campaign_checks(campaign, now))


def account_gate(account: AccountFacts, now: datetime) -> Decision:
    """The first reason of the account against sending now."""
    return first_against(account_checks(account, now))


def lead_gate(lead: LeadFacts, rules: CampaignFacts, now: datetime) -> Decision:
    """What may rule out this lead for good: its wish, its score, an earlier first touch."""
    if lead.suppressed:
        return Decision(Verdict.SKIP, Code.SUPPRESSED)
    if lead.total is None:
        return Decision(Verdict.SKIP, Code.NOT_SCORED)
    if not lead.eligible:
        return Decision(Verdict.SKIP, Code.NOT_ELIGIBLE)
    if lead.band == "NURTURING":
        return Decision(Verdict.SKIP, Code.NURTURING_BAND)
    if lead.total < rules.min_score:
        return Decision(Verdict.SKIP, Code.BELOW_MIN_SCORE)
    gap = timedelta(days=rules.contact_gap_days)
    if gap and lead.touched_at and lead.touched_at > now - gap:
        return Decision(Verdict.SKIP, Code.CONTACT_POLICY_GAP, lead.touched_at + gap)
    if lead.missing:
        return Decision(Verdict.SKIP, Code.MISSING_VARIABLE, detail=", ".join(lead.missing))
    return ALLOW


def gate(facts: Facts, now: datetime) -> Decision:
    """The first reason against sending now, or ALLOW.

    Asked in the order of who must act: tenant and campaign, account, lead, then the row's own
    due time.
    """
    if facts.campaign:
        decision = campaign_gate(facts.campaign, now)
        if decision.verdict is not Verdict.ALLOW:
            return decision
    if facts.account:
        decision = account_gate(facts.account, now)
        if decision.verdict is not Verdict.ALLOW:
            return decision
    rules = facts.campaign or facts.rules
    if facts.lead and rules:
        decision = lead_gate(facts.lead, rules, now)
        if decision.verdict is not Verdict.ALLOW:
            return decision
    if facts.due_at and facts.due_at > now:
        return Decision(Verdict.WAIT, Code.BACK_OFF, facts.due_at)
    return ALLOW
