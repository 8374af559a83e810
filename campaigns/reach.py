"""Whom a start would write to, and who is left out for which reason: numbers, and who they are.

A number and the list behind it come from one condition (`_conditions`), which is the audience's
own: `test_launch.py` holds both against the rows that a start makes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import reduce
from operator import or_
from typing import Any

from django.db.models import Case, Count, Exists, OuterRef, Q, QuerySet, Value, When

from campaigns import audience, rendering
from campaigns.codes import Code
from campaigns.facts import campaign_facts, values_of
from campaigns.gates import LeadFacts, lead_gate
from campaigns.models import Campaign, CampaignCounts, Message, Step
from leads import scoring
from leads.models import Band, Icp, IcpVersion, Lead, LeadScore, Suppression
from leads.names import first_name
from leads.suppression import digest_for

# Scores that `_tally` has annotated; the type checker cannot see such columns.
Fated = Any
OPEN = (Message.State.QUEUED, Message.State.CLAIMED)
MANY = 10_000  # up to so many, to count as far as a limit is quicker than to count all
BEYOND = "over_limit"
ELSEWHERE = "in_another_campaign"


@dataclass(frozen=True, slots=True)
class AudienceSummary:
    """Who a draft would write to, and who is left out for which reason.

    `total` is the people who get a message as things stand now, `by_band` sums to it. `left_out`
    counts those who match and get none, `no_match` those of the chosen bands and list who do not
    even match (score, the ICP's gates). `lacking` says how many lack which placeholder; `beyond`
    how many more there are than the limit.
    """

    total: int
    by_band: dict[str, int]
    left_out: dict[str, int]
    no_match: dict[str, int] = field(default_factory=dict)
    lacking: dict[str, int] = field(default_factory=dict)
    beyond: int = 0


@dataclass(frozen=True, slots=True)
class _Person:
    """Somebody given by handle, as the gates will judge them; `lead` is 0 without a score yet."""

    handle: str
    lead: int
    facts: LeadFacts
    code: str  # "" when nothing is in the way


@dataclass(slots=True)
class Reach:
    """A campaign's audience before its start, as one question asks it after the other."""

    campaign: Campaign
    now: datetime
    version: IcpVersion | None
    template: rendering.Template | None
    _judged: list[_Person] | None = None
    _unnamed: list[int] | None = None
    _bands: Counter[str] | None = None
    _edge: list[tuple[int, int]] | None = None  # the last one within the limit, once asked for

    @classmethod
    def of(cls, campaign: Campaign, now: datetime) -> Reach:
        icp = Icp.objects.select_related("live").first()
        step = Step.objects.filter(campaign=campaign, number=1).order_by("-version").first()
        try:
            template = rendering.parse(step.body) if step else None
        except rendering.BadTemplate:
            template = None
        return cls(campaign, now, icp.live if icp else None, template)

    @property
    def in_force(self) -> IcpVersion:
        """The version that scores, where whoever asks knows that there is one."""
        assert self.version is not None  # noqa: S101 - every public question looks first
        return self.version

    @property
    def needed(self) -> tuple[str, ...]:
        """The placeholders without which nobody gets the text. Variants may need others too."""
        nodes = self.template.nodes if self.template else ()
        slots = [node for node in nodes if isinstance(node, rendering.Slot)]
        names = (slot.name for slot in slots if slot.fallback is None and not slot.optional)
        return tuple(dict.fromkeys(names))

    @property
    def by_hand(self) -> bool:
        return bool(self.campaign.audience.get("kind") == "handles")

    def summary(self) -> AudienceSummary:
        """All numbers of the launch dialog."""
        if self.version is None:
            return AudienceSummary(0, {}, {})
        return self._summary_of_handles() if self.by_hand else self._summary_of_filter()

    def total(self) -> int:
        """How many people get a message: the summary's total, for who asks for no more."""
        if self.version is None or self.by_hand or self.needed:
            return self.summary().total
        limit = self.campaign.limit
        if limit < MANY:
            return self._writable().order_by()[:limit].count()
        matching = audience.matching(self.campaign, self.in_force).order_by()
        held = matching.filter(self._suppressed | self._recent)
        return min(limit, self.by_band().total() - int(held.count()))

    def by_band(self) -> Counter[str]:
        """How many of each band match, whether or not they may be written to now."""
        if self._bands is None:
            matching = audience.matching(self.campaign, self.in_force).order_by()
            # Out of an index: no lead is read.
            self._bands = Counter(dict(matching.values_list("band").annotate(n=Count("*"))))
        return self._bands

    def elsewhere(self) -> int:
        """How many of the total also wait in another campaign: whoever writes first, writes."""
        return self.scores(reason=ELSEWHERE).count() if self.others_wait() else 0

    def scores(self, *, reason: str = "", band: str = "", lacks: str = "") -> QuerySet[LeadScore]:
        """The scores of the leads behind a number: best first, to be paged by (-total, lead)."""
        if self.version is None:
            return LeadScore.objects.none()
        ask = self._by_hand if self.by_hand else self._by_filter
        found = ask(reason, band, lacks)
        return found.select_related("lead").order_by("-total", "lead_id")

    def first(self, count: int) -> list[LeadScore]:
        """The scores of the first who get a message, at most `count` of them."""
        if self.version is None:
            return []
        if self.by_hand or self.needed:
            return list(self.scores()[:count])
        # Nobody is lacking anything: so they are the first of all, and where the limit cuts off
        # need not be known.
        best = self._writable().select_related("lead")
        return list(best[: min(count, self.campaign.limit)])

    # --- A filter: its leads' scores, each with one fate --------------------------------------

    def _counted(self) -> tuple[Counter[str], Counter[str]]:
        """How many of the chosen have which fate, and how many of each band are writable.

        In two questions: what the score alone says is counted out of an index, and leads are read
        only for what they themselves say.
        """
        conditions = self._conditions()
        of_lead = [conditions.pop(Code.SUPPRESSED), conditions.pop(Code.CONTACT_POLICY_GAP)]
        fates, bands = Counter[str](), Counter[str]()
        for fate, band, count in self._tally(conditions):
            fates[fate] += count
            if not fate:
                bands[band] += count
        held = dict(zip((Code.SUPPRESSED, Code.CONTACT_POLICY_GAP), of_lead, strict=True))
        for fate, band, count in self._tally(held, among=reduce(or_, of_lead)):
            fates[fate] += count
            bands[band] -= count
        return fates, +bands

    def _tally(self, conditions: dict[Code, Q], *, among: Q | None = None) -> Fated:
        """(fate, band, how many) of the chosen bands and list; the fate "" for none of them."""
        chosen = audience.chosen(self.campaign, self.in_force)
        whens = [When(met, then=Value(code)) for code, met in conditions.items()]
        fate = Case(*whens, default=Value(""))
        counted = chosen.filter(among or Q()).annotate(fate=fate).order_by()
        return counted.values_list("fate", "band").annotate(n=Count("*"))

    def _conditions(self) -> dict[Code, Q]:
        """Why a chosen lead gets no message; each excludes the others, the first words first.

        What is known of the score alone is said of the score alone: then leads are not read.
        """
        campaign, version = self.campaign, self.in_force
        floor = audience.floor(campaign, version)
        low, enough = Q(eligible=True, total__lt=floor), Q(eligible=True, total__gte=floor)
        return {
            Code.NOT_ELIGIBLE: Q(eligible=False),
            Code.NURTURING_BAND: low & Q(band=Band.NURTURING),
            Code.BELOW_MIN_SCORE: low & ~Q(band=Band.NURTURING),
            Code.SUPPRESSED: enough & self._suppressed,
            Code.CONTACT_POLICY_GAP: enough & ~self._suppressed & self._recent,
        }

    @property
    def _suppressed(self) -> Q:
        return Q(lead__suppressed_at__isnull=False)

    @property
    def _recent(self) -> Q:
        """Whose last first message is too young; nobody's where the tenant has no such rule."""
        gap = timedelta(days=self.campaign.tenant.contact_gap_days)
        return Q(lead__first_touch_at__gte=self.now - gap) if gap else Q(pk__in=[])

    def _summary_of_filter(self) -> AudienceSummary:
        fates, writable = self._counted()
        # The best come first, and a band is a range of scores: so the limit cuts from below.
        room, bands = self.campaign.limit, Counter[str]()
        for band in Band:
            bands[band] = min(room, writable[band])
            room -= bands[band]
        left_out = {
            code: fates[code] for code in (Code.SUPPRESSED, Code.CONTACT_POLICY_GAP) if fates[code]
        }
        beyond = writable.total() - bands.total()
        if not beyond:
            self._edge = []
        lacking, lacks = self._count_lacking()
        if lacks:
            left_out[Code.MISSING_VARIABLE] = lacks.total()
            bands -= lacks
        return AudienceSummary(
            total=bands.total(),
            by_band={band: number for band, number in bands.items() if number},
            left_out={str(code): number for code, number in left_out.items()},
            no_match={
                str(code): fates[code]
                for code in (Code.NOT_ELIGIBLE, Code.BELOW_MIN_SCORE, Code.NURTURING_BAND)
                if fates[code]
            },
            lacking=lacking,
            beyond=beyond,
        )

    def _writable(self) -> QuerySet[LeadScore]:
        """All who match and may be written to, best first."""
        matching = audience.matching(self.campaign, self.in_force)
        found: QuerySet[LeadScore] = audience.writable(matching, self.campaign.tenant, self.now)
        return found

    def _chosen(self) -> QuerySet[LeadScore]:
        """The rows that a start would make."""
        last = self._last()
        if last is None:
            return self._writable()
        total, lead = last
        return self._writable().filter(Q(total__gt=total) | Q(total=total, lead__lte=lead))

    def _beyond(self) -> QuerySet[LeadScore]:
        """Those who come too late in the order: the limit is reached before them."""
        last = self._last()
        if last is None:
            return LeadScore.objects.none()
        total, lead = last
        return self._writable().filter(Q(total__lt=total) | Q(total=total, lead__gt=lead))

    def _last(self) -> tuple[int, int] | None:
        """Score and lead of the last one within the limit; None when the limit holds nobody back.

        A bound in the order, so that an index serves what is asked of the rows before it.
        """
        if self._edge is None:
            limit = self.campaign.limit
            # Out of an index alone; where so few match at all, no lead need be read for it.
            matching = audience.matching(self.campaign, self.in_force).order_by()
            if matching[: limit + 1].count() <= limit:
                self._edge = []
                return None
            rows = self._writable().values_list("total", "lead_id")
            self._edge = list(rows[max(limit - 1, 0) : limit])
        return self._edge[0] if self._edge else None

    def _getting(self) -> QuerySet[LeadScore]:
        """Those of them who get a message: nothing that the text needs is unknown of them."""
        return self._chosen().exclude(self._lacks(self.needed)) if self.needed else self._chosen()

    def _by_filter(self, reason: str, band: str, lacks: str) -> QuerySet[LeadScore]:
        found: QuerySet[LeadScore]
        if reason == "":
            found = self._getting()
        elif reason == BEYOND:
            found = self._beyond()
        elif reason == ELSEWHERE:
            found = self._elsewhere(self._getting())
        elif reason == Code.MISSING_VARIABLE:
            wanted = [name for name in self.needed if lacks in ("", name)]
            found = self._chosen().filter(self._lacks(wanted))
        else:
            found = self._left_out(reason)
        return found.filter(band=band) if band else found

    def _left_out(self, reason: str) -> QuerySet[LeadScore]:
        met = {str(code): met for code, met in self._conditions().items()}.get(reason)
        if self.version is None or met is None:
            return LeadScore.objects.none()
        chosen: QuerySet[LeadScore] = audience.chosen(self.campaign, self.version)
        return chosen.filter(met)

    # --- What a text needs ------------------------------------------------------------------------

    def _lacks(self, names: Sequence[str]) -> Q:
        """The condition that a score's lead has none of the values of one of these names."""
        found = Q(pk__in=[])
        for name in names:
            if name == "first_name":
                found |= Q(lead__name="") | Q(lead__in=self._nameless())
            else:
                found |= Q(**{f"lead__{name}": ""})
        return found

    def _count_lacking(self) -> tuple[dict[str, int], Counter[str]]:
        """How many of the chosen lack which name; and, by band, how many lack any."""
        needed = self.needed
        by_name: Counter[str] = Counter()
        by_band: Counter[str] = Counter()
        counts = {name: Count("pk", filter=self._lacks([name])) for name in needed}
        rows = (
            self._chosen()
            .order_by()
            .values("band")
            .annotate(any=Count("pk", filter=self._lacks(needed)), **counts)
            if needed
            else []
        )
        for row in rows:
            by_band[row["band"]] = row["any"]
            by_name.update({name: row[name] for name in needed})
        return {name: number for name, number in by_name.items() if number}, +by_band

    def _nameless(self) -> list[int]:
        """The chosen leads whom no first name greets: it is made out of name and handle."""
        if self._unnamed is None:
            rows = self._chosen().order_by().exclude(lead__name="")
            names = rows.values_list("lead_id", "lead__name", "lead__handle").iterator()
            self._unnamed = [pk for pk, name, handle in names if not first_name(name, handle)]
        return self._unnamed

    # --- Others -----------------------------------------------------------------------------------

    def others_wait(self) -> bool:
        """Whether any other campaign has open rows: a quick look before a long one."""
        counts = CampaignCounts.objects.exclude(campaign=self.campaign.pk)
        return (
            self.version is not None and counts.filter(Q(queued__gt=0) | Q(claimed__gt=0)).exists()
        )

    def _elsewhere(self, scores: QuerySet[LeadScore]) -> QuerySet[LeadScore]:
        """Those whose lead also waits in another campaign."""
        waiting = Message.objects.filter(lead=OuterRef("lead_id"), state__in=OPEN)
        return scores.filter(Exists(waiting.exclude(campaign=self.campaign.pk)))

    # --- Handles given by hand: each is judged by the gate itself --------------------------------

    def _summary_of_handles(self) -> AudienceSummary:
        bands: Counter[str] = Counter()
        left_out: Counter[str] = Counter()
        lacking: Counter[str] = Counter()
        for person in self._people():
            if person.code:
                left_out[person.code] += 1
                lacking.update(person.facts.missing if person.code == Code.MISSING_VARIABLE else ())
            else:
                bands[person.facts.band] += 1
        return AudienceSummary(bands.total(), dict(bands), dict(left_out), {}, dict(lacking))

    def _by_hand(self, reason: str, band: str, lacks: str) -> QuerySet[LeadScore]:
        code = "" if reason == ELSEWHERE else reason
        leads = [
            person.lead
            for person in self._people()
            if person.code == code
            and band in ("", person.facts.band)
            and (not lacks or lacks in person.facts.missing)
        ]
        found = LeadScore.objects.filter(version=self.version, lead__in=leads)
        return self._elsewhere(found) if reason == ELSEWHERE else found

    def unscored(self, reason: str, band: str) -> list[str]:
        """The handles behind a number that are no leads with a score yet, for want of a page."""
        return [
            person.handle
            for person in (self._people() if self.by_hand and self.version else ())
            if not person.lead and person.code == reason and band in ("", person.facts.band)
        ]

    def _people(self) -> list[_Person]:
        if self._judged is None:
            self._judged = list(self._judge())
        return self._judged

    def _judge(self) -> Iterator[_Person]:
        wanted = audience.handles(self.campaign)
        rules = campaign_facts(self.campaign, self.campaign.tenant)
        leads = {lead.handle: lead for lead in Lead.objects.filter(handle__in=wanted)}
        scores = {
            score.lead_id: score
            for score in LeadScore.objects.filter(version=self.version, lead__handle__in=wanted)
        }
        strangers = self._strangers([handle for handle in wanted if handle not in leads])
        for handle in wanted:
            lead = leads.get(handle)
            score = scores.get(lead.pk) if lead else None
            facts = self._facts(lead, score) if lead else strangers[handle]
            code = lead_gate(facts, rules, self.now).code
            yield _Person(handle, score.lead_id if score else 0, facts, str(code or ""))

    def _facts(self, lead: Lead, score: LeadScore | None) -> LeadFacts:
        values = values_of(lead)
        return LeadFacts(
            suppressed=lead.suppressed_at is not None,
            total=score.total if score else None,
            band=score.band if score else "",
            eligible=bool(score and score.eligible),
            touched_at=lead.first_touch_at,
            missing=tuple(name for name in self.needed if not values[name]),
        )

    def _strangers(self, handles: list[str]) -> dict[str, LeadFacts]:
        """Who becomes a lead at the start, known by handle alone, scored as it will be then."""
        version = self.version
        if not handles or version is None:
            return {}
        score = scoring.scorer_for(scoring.IcpConfig.from_json(version.config)).score
        digest = digest_for(self.campaign.tenant_id)
        digests = {handle: digest("handle", handle) for handle in handles}
        hits = Suppression.objects.filter(digest__in=digests.values())
        suppressed = set(hits.values_list("digest", flat=True))
        found = {}
        for handle in handles:
            result = score(scoring.Profile(handle))
            values = values_of(Lead(handle=handle))
            found[handle] = LeadFacts(
                suppressed=digests[handle] in suppressed,
                total=result.total,
                band=Band[result.band.name].value,
                eligible=result.eligible,
                touched_at=None,
                missing=tuple(name for name in self.needed if not values[name]),
            )
        return found
