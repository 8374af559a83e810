"""Why it is not sending, who would get what, and how the accounts stand: for people to read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from django.utils import timezone
from django.utils.functional import Promise
from django.utils.translation import gettext, gettext as _, gettext_lazy

from campaigns import daycaps, fixes, ledger, planning, rendering
from campaigns.codes import Code, sentence
from campaigns.facts import account_facts, campaign_facts, values_of
from campaigns.fixes import Fix
from campaigns.gates import (
    ALLOW,
    CampaignFacts,
    Decision,
    Facts,
    Gate,
    LeadFacts,
    Verdict,
    account_checks,
    campaign_checks,
    gate,
)
from campaigns.models import (
    Campaign,
    CampaignAccount,
    CampaignCounts,
    Message,
    SendingAccount,
    Step,
)
from campaigns.reach import AudienceSummary, Reach
from leads.models import Icp, Lead, LeadScore
from tenants.models import Tenant

GATE_NAMES: dict[Gate, Promise | str] = {
    Gate.TENANT: gettext_lazy("The workspace is not stopped"),
    Gate.CAMPAIGN: gettext_lazy("The campaign runs"),
    Gate.WINDOW: gettext_lazy("It is within the sending hours"),
    Gate.TENANT_CAP: gettext_lazy("The plan's messages of the day leave room"),
    Gate.CAMPAIGN_CAP: gettext_lazy("The campaign's own daily cap leaves room"),
    Gate.ACCOUNT: gettext_lazy("An account is able to send"),
    Gate.DAY_CAP: gettext_lazy("The daily cap leaves room"),
    Gate.HOUR_CAP: gettext_lazy("The hourly cap leaves room"),
    Gate.GAP: gettext_lazy("The pause after the last message is over"),
    Gate.DUE: gettext_lazy("A message is due"),
    Gate.OUTCOME: gettext_lazy("No outcome waits for a person"),
}


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """The first gate that holds something back; kind `ok` when nothing does.

    Of a message also `skip` (a final gate will rule it out) and `done` (nothing comes any more).
    """

    code: str
    sentence: str
    kind: str  # "ok", "wait", "blocked", "skip", "done"
    until: datetime | None = None
    detail: str = ""
    fix: Fix | None = None


@dataclass(frozen=True, slots=True)
class GateLine:
    """One gate's answer: `ok`, `wait`, `blocked`, or `idle` when it holds nothing up."""

    gate: Gate
    kind: str
    code: str = ""
    sentence: str = ""
    until: datetime | None = None
    who: str = ""  # the account that was asked
    fix: Fix | None = None
    first: bool = False

    @property
    def name(self) -> str:
        return str(GATE_NAMES[self.gate])


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

    @property
    def free_today(self) -> int:
        """What its daily cap leaves; 0 while it cannot send at all."""
        active = self.account.state == SendingAccount.State.ACTIVE
        return max(0, self.day_cap - self.used_day) if active else 0


@dataclass(frozen=True, slots=True)
class Preview:
    """A first message as one lead would get it."""

    lead: Lead
    text: str
    missing: tuple[str, ...]


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
    accounts = SendingAccount.objects.filter(campaign_links__campaign=campaign).order_by("handle")
    return _statuses(list(accounts), campaign.tenant, now)


def _statuses(
    accounts: Sequence[SendingAccount], tenant: Tenant, now: datetime
) -> list[AccountStatus]:
    """Accounts of one tenant as the worker would judge them now; one statement for all."""
    known = {account.pk: account for account in accounts}
    used = ledger.used_by(list(known), tenant, known, now)
    statuses = []
    for pk, account in known.items():
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
    """Why nothing leaves right now, by the very gates that the worker asks; and what to do."""
    found = _diagnose(campaign, now)
    fix = fixes.fix_for(found.code, tenant=campaign.tenant, campaign=campaign)
    return replace(found, fix=fix) if found.kind in ("wait", "blocked") else found


def diagnose_due(
    tenant: Tenant, due: Mapping[Campaign, datetime], now: datetime
) -> dict[Campaign, Diagnosis]:
    """`diagnose` of running campaigns whose first row is due at the time given.

    A constant number of statements, however many they are.
    """
    accounts: dict[int, list[SendingAccount]] = {campaign.pk: [] for campaign in due}
    links = CampaignAccount.objects.filter(campaign__in=accounts).select_related("account")
    for link in links.order_by("account__handle"):
        accounts[link.campaign_id].append(link.account)
    known = {account.pk: account for some in accounts.values() for account in some}
    statuses = {one.account.pk: one for one in _statuses(list(known.values()), tenant, now)}
    caps = daycaps.in_force(tenant, list(due), now)
    found = {}
    for campaign, at in due.items():
        own = [statuses[account.pk] for account in accounts[campaign.pk]]
        decision = gate(Facts(campaign=campaign_facts(campaign, tenant, caps)), now)
        held = _held(campaign, decision) or _held_by_accounts(own, now) or _until_due(at, now)
        fix = fixes.fix_for(held.code, tenant=tenant, campaign=campaign)
        found[campaign] = replace(held, fix=fix) if held.kind in ("wait", "blocked") else held
    return found


def _diagnose(campaign: Campaign, now: datetime) -> Diagnosis:
    if campaign.state in _AT_REST:
        return Diagnosis("", str(_AT_REST[campaign.state]), "ok")
    decision = gate(Facts(campaign=_capped_facts(campaign, now)), now)
    held = _held(campaign, decision) or _held_by_accounts(accounts_of(campaign, now), now)
    if held:
        return held
    due = ledger.next_due([campaign.pk]).get(campaign.pk)
    counts = CampaignCounts.objects.filter(campaign=campaign).first()
    if due is None and counts and counts.unknown and not counts.open:
        code = Code.OUTCOME_UNKNOWN
        return Diagnosis(code, sentence(code), "blocked")
    if due is None and counts and not counts.open:
        return Diagnosis("", _("Nothing is left to send."), "ok")
    return _until_due(due, now)


def _held(campaign: Campaign, decision: Decision) -> Diagnosis | None:
    """What the campaign's own gates hold it back with."""
    if decision.verdict is Verdict.BLOCK:
        if decision.code is Code.TENANT_STOP or not campaign.reason:
            return Diagnosis(str(decision.code), sentence(str(decision.code)), "blocked")
        return Diagnosis(campaign.reason, campaign.why, "blocked", detail=_provider_said(campaign))
    return _waits(decision) if decision.verdict is Verdict.WAIT else None


def _held_by_accounts(statuses: Sequence[AccountStatus], now: datetime) -> Diagnosis | None:
    """What its accounts hold it back with, when none of them may send."""
    usable = [status for status in statuses if status.account.state == "active"]
    if not usable:
        code = Code.NO_ELIGIBLE_ACCOUNT
        return Diagnosis(code, sentence(code), "blocked")
    waits = [status for status in usable if status.binding]
    if len(waits) == len(usable):
        first = min(waits, key=lambda status: status.until or now)
        return Diagnosis(first.binding, first.sentence, "wait", first.until)
    return None


def _until_due(due: datetime | None, now: datetime) -> Diagnosis:
    if due and due > now:
        return _waits(Decision(Verdict.WAIT, Code.BACK_OFF, due))
    return Diagnosis("", _("Messages are leaving."), "ok")


def _capped_facts(campaign: Campaign, now: datetime) -> CampaignFacts:
    """The campaign with what its own cap and the plan's leave today."""
    tenant = campaign.tenant
    return campaign_facts(campaign, tenant, daycaps.in_force(tenant, [campaign], now))


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
    """The first who get a message; where nobody does, the first whose data is not enough."""
    reach = Reach.of(campaign, timezone.now())
    found = reach.first(count) or list(reach.scores(reason=Code.MISSING_VARIABLE)[:count])
    return [score.lead for score in found]


def audience_summary(campaign: Campaign) -> AudienceSummary:
    """Count a draft's audience by band, and those left out by reason."""
    return Reach.of(campaign, timezone.now()).summary()


# --- One message, one account -------------------------------------------------------------------


def diagnose_message(message: Message, now: datetime) -> Diagnosis:
    """What happens next with one message, when, and what holds it, by the worker's own gates.

    `until` is when the gate opens, or about when its turn comes. For a row that is done, why it
    ended as it did. Reads the same few rows whatever the size of the campaign.
    """
    if message.state != Message.State.QUEUED:
        return _settled(message)
    campaign = Campaign.objects.select_related("tenant").get(pk=message.campaign_id)
    rules = _capped_facts(campaign, now)
    senders = [
        account_facts(status.account, campaign.tenant, status.used_day, status.used_hour)
        for status in accounts_of(campaign, now)
        if message.account_id in (None, status.account.pk)
    ]
    able = [facts for facts in senders if facts.state == "active"]
    decision = gate(Facts(campaign=rules), now)
    if decision.verdict is Verdict.BLOCK:
        return _decided(decision, campaign)
    fate = gate(Facts(rules=rules, lead=_lead_facts(message)), now)
    if fate.verdict is Verdict.SKIP:
        return _decided(fate, campaign)
    if not able:
        return _decided(Decision(Verdict.BLOCK, Code.NO_ELIGIBLE_ACCOUNT), campaign)
    if decision is ALLOW:
        decision = _soonest([gate(Facts(account=facts), now) for facts in able])
    if decision is ALLOW:
        decision = gate(Facts(due_at=message.due_at), now)
    if decision is ALLOW:
        decision = Decision(Verdict.WAIT, Code.FAIR_SHARE_TURN)
    at = planning.expected_at(message, campaign, now)
    found = _decided(decision, campaign)
    later = at if at and at > (found.until or now) else found.until
    return replace(found, until=later)


def diagnose_account(account: SendingAccount, now: datetime) -> Diagnosis:
    """Why an account does not send right now, until when, and what to do; `ok` when it may."""
    tenant: Tenant = account.tenant
    used = ledger.used_by([account.pk], tenant, {account.pk: account}, now)[account.pk]
    facts = account_facts(account, tenant, *used)
    plan = daycaps.in_force(tenant, (), now).tenant
    stop = CampaignFacts("running", _is_stopped(tenant), None, tenant.zone, tenant_day=plan)
    decision = gate(Facts(campaign=stop, account=facts), now)
    if decision is ALLOW:
        return Diagnosis("", _("It may send now."), "ok")
    fix = fixes.fix_for(decision.code, tenant=tenant, account=account)
    if decision.verdict is Verdict.WAIT:
        return replace(_waits(decision), fix=fix)
    text, code = sentence(str(decision.code)), str(decision.code)
    if decision.code is not Code.TENANT_STOP and account.block_code:
        text, code = account.why, account.block_code
    return Diagnosis(code, text, "blocked", detail=account.block_detail, fix=fix)


def _is_stopped(tenant: Tenant) -> bool:
    return tenant.stopped_at is not None or tenant.suspended_at is not None


def _settled(message: Message) -> Diagnosis:
    """Of a message that no gate is asked about any more, or not yet again."""
    campaign = Campaign.objects.select_related("tenant").get(pk=message.campaign_id)
    text = message.why or str(message.get_state_display())
    if message.state == Message.State.CLAIMED:
        return Diagnosis("", _("It is being sent right now."), "ok")
    if message.state == Message.State.UNKNOWN:
        code = Code.OUTCOME_UNKNOWN
        fix = fixes.fix_for(code, tenant=campaign.tenant, campaign=campaign)
        return Diagnosis(code, message.why or sentence(code), "blocked", fix=fix)
    return Diagnosis(message.reason, text, "done", detail=message.error)


def _lead_facts(message: Message) -> LeadFacts:
    """What the gates need of a message's lead, as the claim sees it."""
    lead = Lead.objects.get(pk=message.lead_id)
    icp = Icp.objects.filter(tenant=message.tenant_id).first()
    score = LeadScore.objects.filter(version=icp.live_id if icp else 0, lead=lead.pk).first()
    missing: tuple[str, ...] = ()
    if not message.text:
        step = Step.objects.filter(
            campaign=message.campaign_id, number=message.step_number, version=message.step_version
        ).first()
        values = values_of(lead)
        missing = rendering.render(step.body, values, seed=message.key).missing if step else ()
    by_other = message.step_number == 1 and lead.first_touch_by != message.pk
    return LeadFacts(
        suppressed=lead.suppressed_at is not None,
        total=score.total if score else None,
        band=score.band if score else "",
        eligible=bool(score and score.eligible),
        touched_at=lead.first_touch_at if by_other else None,
        missing=missing,
    )


def _decided(decision: Decision, campaign: Campaign) -> Diagnosis:
    """A decision in words, with what a person can do about it."""
    kinds = {Verdict.WAIT: "wait", Verdict.BLOCK: "blocked", Verdict.SKIP: "skip"}
    code = str(decision.code)
    text = sentence(code)
    if decision.verdict is Verdict.BLOCK and campaign.why and code != Code.TENANT_STOP:
        text = campaign.why
    fix = fixes.fix_for(decision.code, tenant=campaign.tenant, campaign=campaign)
    kind = kinds[decision.verdict]
    return Diagnosis(code, text, kind, decision.until, decision.detail, fix)


def _soonest(decisions: list[Decision]) -> Decision:
    """Of several accounts' answers the one that counts: whoever may send, or may send first."""
    far = datetime.max.replace(tzinfo=UTC)
    return min(decisions, key=lambda one: (one is not ALLOW, one.until or far))


# --- All gates ----------------------------------------------------------------------------------


def all_gates(campaign: Campaign, now: datetime) -> list[GateLine]:
    """Every gate in the order in which it is asked, with its answer; the first in the way marked.

    The accounts' gates are those of the account that may send first.
    """
    tenant = campaign.tenant
    lines = [
        _line(name, decision, campaign)
        for name, decision in campaign_checks(_capped_facts(campaign, now), now)
    ]
    if campaign.why and lines[1].kind == "blocked":
        lines[1] = replace(lines[1], code=campaign.reason, sentence=campaign.why)
    statuses = accounts_of(campaign, now)
    facts = [
        account_facts(status.account, tenant, status.used_day, status.used_hour)
        for status in statuses
    ]
    able = [(one, f"@{s.account.handle}") for one, s in zip(facts, statuses, strict=True)]
    able = [pair for pair in able if pair[0].state == "active"]
    if not able:
        none = Decision(Verdict.BLOCK, Code.NO_ELIGIBLE_ACCOUNT)
        lines.append(_line(Gate.ACCOUNT, none, campaign))
    else:
        first = _soonest([gate(Facts(account=one), now) for one, _ in able])
        best, who = next(pair for pair in able if gate(Facts(account=pair[0]), now) == first)
        lines += [
            replace(_line(name, decision, campaign), who=who)
            for name, decision in account_checks(best, now)
        ]
    lines += _rows_lines(campaign, now)
    place = next((n for n, line in enumerate(lines) if line.kind not in ("ok", "idle")), None)
    if place is not None and campaign.state not in _AT_REST:
        lines[place] = replace(lines[place], first=True)
    return lines


def _rows_lines(campaign: Campaign, now: datetime) -> list[GateLine]:
    """The gates of the rows: when the next is due, and what waits for a person."""
    due = ledger.next_due([campaign.pk]).get(campaign.pk)
    counts = CampaignCounts.objects.filter(campaign=campaign).first()
    line = _line(Gate.DUE, gate(Facts(due_at=due), now) if due else ALLOW, campaign)
    if due is None:
        line = replace(line, kind="idle", sentence=_("Nothing is queued."))
    lines = [line]
    if counts and counts.unknown:
        unknown = Decision(Verdict.BLOCK, Code.OUTCOME_UNKNOWN)
        # It holds nobody else up while there is something to send.
        line = _line(Gate.OUTCOME, unknown, campaign)
        lines.append(replace(line, kind="idle") if counts.open else line)
    else:
        lines.append(_line(Gate.OUTCOME, ALLOW, campaign))
    return lines


def _line(name: Gate, decision: Decision, campaign: Campaign) -> GateLine:
    if decision is ALLOW:
        return GateLine(name, "ok")
    fix = fixes.fix_for(decision.code, tenant=campaign.tenant, campaign=campaign)
    kind = "wait" if decision.verdict is Verdict.WAIT else "blocked"
    code = str(decision.code)
    return GateLine(name, kind, code, sentence(code), decision.until, fix=fix)
