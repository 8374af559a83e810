"""Why it is not sending, who would get what, and how the accounts stand: for people to read."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.utils import timezone
from django.utils.functional import Promise
from django.utils.translation import gettext, gettext as _, gettext_lazy

from campaigns import audience, ledger, rendering
from campaigns.codes import Code, sentence
from campaigns.facts import account_facts, campaign_facts, values_of
from campaigns.gates import ALLOW, Decision, Facts, LeadFacts, Verdict, gate, lead_gate
from campaigns.models import Campaign, CampaignCounts, SendingAccount, Step
from leads.models import Icp, Lead, LeadScore
from tenants.models import Tenant


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """The first gate that holds a campaign back; kind `ok` when nothing does."""

    code: str
    sentence: str
    kind: str  # "ok", "wait", "blocked"
    until: datetime | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True)
class AccountStatus:
    """An account's caps, and the one that binds now ("" when it may send)."""

    account: SendingAccount
    used_day: int
    used_hour: int
    binding: str
    sentence: str
    until: datetime | None

    @property
    def day_cap(self) -> int:
        return self.account.day_cap

    @property
    def hour_cap(self) -> int:
        return self.account.hour_cap


@dataclass(frozen=True, slots=True)
class Preview:
    """A first message as one lead would get it."""

    lead: Lead
    text: str
    missing: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class AudienceSummary:
    """Who a draft would write to, and who of the matching leads is left out for which reason."""

    total: int
    by_band: dict[str, int]
    left_out: dict[str, int]


# A pause between two messages that is shorter is the pace of sending, not a wait to tell of.
A_MOMENT = timedelta(seconds=5)
# States in which there is nothing to hold back.
_AT_REST: dict[str, Promise | str] = {
    Campaign.State.DRAFT: gettext_lazy("It has not been started yet."),
    Campaign.State.SCHEDULED: gettext_lazy("It starts at the time that was set."),
    Campaign.State.PREPARING: gettext_lazy("Its audience is being put together."),
    Campaign.State.FINISHED: gettext_lazy("It is finished."),
    Campaign.State.CANCELLED: gettext_lazy("It was stopped for good."),
}


def accounts_of(campaign: Campaign, now: datetime) -> list[AccountStatus]:
    """The campaign's accounts as the worker would judge them now, in a fixed order."""
    accounts = {
        row.pk: row
        for row in SendingAccount.objects.filter(campaign_links__campaign=campaign).order_by(
            "handle"
        )
    }
    tenant = campaign.tenant
    used = ledger.used_by(list(accounts), tenant, accounts, now)
    statuses = []
    for pk, account in accounts.items():
        decision = gate(Facts(account=account_facts(account, tenant, *used[pk])), now)
        if decision.code is Code.MINIMUM_GAP and decision.until and decision.until - now < A_MOMENT:
            decision = ALLOW
        text = account.why
        if not text and decision.verdict is not Verdict.ALLOW:
            text = sentence(str(decision.code))
        statuses.append(
            AccountStatus(
                account=account,
                used_day=used[pk][0],
                used_hour=used[pk][1],
                binding=_code(account, decision),
                sentence=text,
                until=decision.until,
            )
        )
    return statuses


def _code(account: SendingAccount, decision: Decision) -> str:
    """The code that tells most: a blocked account's own reason before the gate's."""
    if decision.verdict is Verdict.BLOCK and account.block_code:
        return account.block_code
    return str(decision.code or "")


def diagnose(campaign: Campaign, now: datetime) -> Diagnosis:
    """Why nothing leaves right now, by the very gates that the worker asks."""
    if campaign.state in _AT_REST:
        return Diagnosis("", str(_AT_REST[campaign.state]), "ok")
    decision = gate(Facts(campaign=campaign_facts(campaign, campaign.tenant)), now)
    if decision.verdict is Verdict.BLOCK:
        if decision.code is Code.TENANT_STOP or not campaign.reason:
            return Diagnosis(str(decision.code), sentence(str(decision.code)), "blocked")
        return Diagnosis(campaign.reason, campaign.why, "blocked", detail=_provider_said(campaign))
    if decision.verdict is Verdict.WAIT:
        return _waits(decision)
    statuses = accounts_of(campaign, now)
    usable = [status for status in statuses if status.account.state == "active"]
    if not usable:
        code = Code.NO_ELIGIBLE_ACCOUNT
        return Diagnosis(code, sentence(code), "blocked")
    waits = [status for status in usable if status.binding]
    if len(waits) == len(usable):
        first = min(waits, key=lambda status: status.until or now)
        return Diagnosis(first.binding, first.sentence, "wait", first.until)
    due = ledger.next_due([campaign.pk]).get(campaign.pk)
    counts = CampaignCounts.objects.filter(campaign=campaign).first()
    if due is None and counts and counts.unknown and not counts.open:
        code = Code.OUTCOME_UNKNOWN
        return Diagnosis(code, sentence(code), "blocked")
    if due is None and counts and not counts.open:
        return Diagnosis("", _("Nothing is left to send."), "ok")
    if due and due > now:
        return _waits(Decision(Verdict.WAIT, Code.BACK_OFF, due))
    return Diagnosis("", _("Messages are leaving."), "ok")


def _provider_said(campaign: Campaign) -> str:
    """The provider's part of the reason: our sentence for it, then its own words."""
    stored = gettext(campaign.reason_sentence) if campaign.reason_sentence else ""
    return " ".join(filter(None, [stored, campaign.reason_detail]))


def _waits(decision: Decision) -> Diagnosis:
    code = str(decision.code)
    return Diagnosis(code, sentence(code), "wait", decision.until)


def previews(campaign: Campaign, count: int = 3) -> list[Preview]:
    """The first message rendered for the first leads of the audience."""
    step = Step.objects.filter(campaign=campaign, number=1).order_by("-version").first()
    if step is None:
        return []
    try:
        template = rendering.parse(step.body)
    except rendering.BadTemplate:
        return []
    shown = []
    for lead in _first_leads(campaign, count):
        rendered = rendering.render(template, values_of(lead), seed=f"preview:{lead.pk}")
        shown.append(Preview(lead, rendered.text, rendered.missing))
    return shown


def _first_leads(campaign: Campaign, count: int) -> list[Lead]:
    if campaign.audience.get("kind") == "handles":
        return list(Lead.objects.filter(handle__in=audience.handles(campaign)[:count]))
    icp = Icp.objects.select_related("live").first()
    if icp is None:
        return []
    scores = audience.writable(
        audience.matching(campaign, icp.live), campaign.tenant, timezone.now()
    )
    return [score.lead for score in scores.select_related("lead")[:count]]


def audience_summary(campaign: Campaign) -> AudienceSummary:
    """Count a draft's audience by band, and those left out by reason."""
    now = timezone.now()
    tenant: Tenant = campaign.tenant
    icp = Icp.objects.select_related("live").first()
    if icp is None:
        return AudienceSummary(0, {}, {})
    if campaign.audience.get("kind") == "handles":
        return _summary_of_handles(campaign, icp, now)
    matching = audience.matching(campaign, icp.live)
    chosen = audience.writable(matching, tenant, now)[: campaign.limit]
    bands = Counter(chosen.values_list("band", flat=True))
    left_out: dict[str, int] = {}
    suppressed = matching.filter(lead__suppressed_at__isnull=False).count()
    if suppressed:
        left_out[Code.SUPPRESSED] = suppressed
    recent = matching.filter(lead__suppressed_at=None).count() - (
        audience.writable(matching, tenant, now).count()
    )
    if recent:
        left_out[Code.CONTACT_POLICY_GAP] = recent
    return AudienceSummary(sum(bands.values()), dict(bands), left_out)


def _summary_of_handles(campaign: Campaign, icp: Icp, now: datetime) -> AudienceSummary:
    """Handles given by hand, as the gates would judge each lead now; new ones have no score yet."""
    rules = campaign_facts(campaign, campaign.tenant)
    wanted = audience.handles(campaign)
    scores = LeadScore.objects.filter(version=icp.live, lead__handle__in=wanted)
    bands: Counter[str] = Counter()
    left_out: Counter[str] = Counter()
    for score in scores.select_related("lead"):
        lead = LeadFacts(
            suppressed=score.lead.suppressed_at is not None,
            total=score.total,
            band=score.band,
            eligible=score.eligible,
            touched_at=score.lead.first_touch_at,
        )
        if code := lead_gate(lead, rules, now).code:
            left_out[code] += 1
        else:
            bands[score.band] += 1
    if unscored := len(wanted) - bands.total() - left_out.total():
        left_out[Code.NOT_SCORED] = unscored
    return AudienceSummary(bands.total(), dict(bands), dict(left_out))
