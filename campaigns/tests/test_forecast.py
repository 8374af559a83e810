"""The forecast: never against a cap or a window, and what the engine itself does."""

from __future__ import annotations

import heapq
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings as hypothesis_settings, strategies as st

from agenticos import scope
from agenticos.tests.factories import make_account, make_campaign, make_lead, make_message
from campaigns import forecast as forecasts, ledger, pacing
from campaigns.codes import Code
from campaigns.forecast import WhatIf, forecast
from campaigns.gates import ALLOW, AccountFacts, CampaignFacts, Facts, gate
from campaigns.models import Campaign, Message, SendingAccount
from campaigns.planner import HORIZON, Inputs, Rival, Sender, plan
from campaigns.planning import forecast_for
from campaigns.tests.wires import Wire, work

SAO_PAULO = ZoneInfo("America/Sao_Paulo")
ZONES = [SAO_PAULO, ZoneInfo("Europe/Berlin"), ZoneInfo("Asia/Kolkata"), ZoneInfo("Pacific/Apia")]
NOW = datetime(2026, 3, 4, 15, 0, tzinfo=UTC)  # Wednesday noon in São Paulo
OFFICE = pacing.Window(frozenset(range(6)), time(9), time(20))


def sender(name="@a", *, zone=SAO_PAULO, used=(0, 0), free_at=None, state="active", **pace):
    usual = {"day_cap": 50, "hour_cap": 10, "gap_min_s": 60, "gap_max_s": 90, "jitter_percent": 15}
    facts = AccountFacts(state, "", free_at, pacing.Pace(**{**usual, **pace}), *used, zone)
    return Sender(name, facts)


def inputs(messages, *senders, now=NOW, window=OFFICE, rivals=(), **campaign):
    rules = CampaignFacts("running", False, window, SAO_PAULO)
    return Inputs(now, messages, replace(rules, **campaign), senders or (sender(),), rivals)


def times(found):
    """Every planned message as (sender, moment), in order."""
    sent = []
    for run in found.runs:
        count = run.until(found.finish) if found.finish else run.count
        sent += [(place, run.start + run.gap * n) for place in run.senders for n in range(count)]
    return sorted(sent, key=lambda one: one[1])


def stepped(asked, gap_of=lambda facts, number: facts.pace.mean_gap):
    """The slow truth: each message on its own, every account asked by the gate before each."""
    usage: Counter[tuple[int, str]] = Counter()
    facts = {place: one.facts for place, one in enumerate(asked.senders)}
    for place, one in facts.items():
        usage[place, pacing.day_period(asked.now, one.zone)] = one.used_day
        usage[place, pacing.hour_period(asked.now, one.zone)] = one.used_hour
    free = {place: one.free_at for place, one in facts.items()}
    queue = [(asked.now, place) for place in facts]
    heapq.heapify(queue)
    sent = []
    while queue and len(sent) < asked.messages and queue[0][0] <= asked.now + HORIZON:
        now, place = heapq.heappop(queue)
        one = facts[place]
        periods = pacing.day_period(now, one.zone), pacing.hour_period(now, one.zone)
        here = replace(
            one,
            free_at=free[place],
            used_day=usage[place, periods[0]],
            used_hour=usage[place, periods[1]],
        )
        decision = gate(Facts(campaign=asked.campaign, account=here), now)
        if decision is ALLOW:
            sent.append((place, now))
            for period in periods:
                usage[place, period] += 1
            free[place] = now + gap_of(one, len(sent))
            heapq.heappush(queue, (free[place], place))
        elif decision.until:
            heapq.heappush(queue, (decision.until, place))
    return sent


# --- The plan: properties ---------------------------------------------------------------------

senders_given = st.builds(
    lambda zone, used, pause, spread, day, hour, free: sender(
        zone=zone,
        used=(used, min(used, hour)),
        free_at=NOW + timedelta(seconds=free) if free else None,
        gap_min_s=pause,
        gap_max_s=pause + spread,
        day_cap=day,
        hour_cap=hour,
    ),
    st.sampled_from(ZONES),
    st.integers(0, 12),
    st.integers(0, 900),
    st.integers(0, 200),
    st.integers(1, 40),
    st.integers(1, 12),
    st.integers(0, 5_000),
)
windows_given = st.none() | st.builds(
    lambda days, opens, hours: pacing.Window(
        frozenset(days), time(opens), time(opens + hours) if opens + hours < 24 else pacing.MIDNIGHT
    ),
    st.sets(st.integers(0, 6), min_size=1),
    st.integers(0, 22),
    st.integers(1, 23),
)
# Around changes of clocks too: Berlin's of March and October, and none in São Paulo.
moments_given = st.sampled_from(
    [NOW, datetime(2026, 3, 28, 20, 10, tzinfo=UTC), datetime(2026, 10, 24, 21, 55, tzinfo=UTC)]
)
inputs_given = st.builds(
    lambda messages, senders, window, now, zone: inputs(
        messages,
        *[Sender(f"@{n}", one.facts) for n, one in enumerate(senders)],
        now=now,
        window=window,
        zone=zone,
    ),
    st.integers(1, 120),
    st.lists(senders_given, min_size=1, max_size=4),
    windows_given,
    moments_given,
    st.sampled_from(ZONES),
)


@given(inputs_given)
@hypothesis_settings(max_examples=150, deadline=None)
def test_a_plan_never_breaks_a_cap_a_pause_or_the_window(asked):
    sent = times(plan(asked))
    used: Counter[tuple[int, str]] = Counter()
    last: dict[int, datetime] = {}
    for place, one in enumerate(asked.senders):
        used[place, pacing.day_period(asked.now, one.facts.zone)] = one.facts.used_day
        used[place, pacing.hour_period(asked.now, one.facts.zone)] = one.facts.used_hour
    for place, moment in sent:
        facts = asked.senders[place].facts
        window, zone = asked.campaign.window, asked.campaign.zone
        assert moment >= asked.now
        assert not window or window.is_open(moment.astimezone(zone))
        for period in (pacing.day_period, pacing.hour_period):
            used[place, period(moment, facts.zone)] += 1
        assert used[place, pacing.day_period(moment, facts.zone)] <= facts.pace.day_cap
        assert used[place, pacing.hour_period(moment, facts.zone)] <= facts.pace.hour_cap
        assert moment >= last.get(place, facts.free_at or moment)
        last[place] = moment + facts.pace.mean_gap


@given(inputs_given)
@hypothesis_settings(max_examples=150, deadline=None)
def test_a_plan_is_what_asking_the_gate_before_every_message_gives(asked):
    slow, found = stepped(asked), plan(asked)
    assert found.planned == len(slow)
    if len(slow) == asked.messages:
        assert found.finish == slow[-1][1]
    days = Counter()
    for _place, day, count in found.shares():
        days[day] += count
    local = [moment.astimezone(asked.campaign.zone).date() for _, moment in slow]
    assert {day: n for day, n in days.items() if n} == Counter(local)


@given(inputs_given)
@hypothesis_settings(max_examples=60, deadline=None)
def test_a_forecast_is_whole_and_the_same_each_time(asked):
    found = forecast(asked)
    assert found == forecast(asked)
    if found.p50 is None:
        return
    assert sum(count for _, count in found.days) == asked.messages
    assert sum(count for _, count in found.by_sender) == asked.messages
    assert found.first <= found.p50
    assert found.p90 is None or found.p90 >= found.p50


# --- What it says -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "limit"),
    [
        (inputs(500), Code.ACCOUNT_DAILY_CAP),
        (inputs(20), Code.ACCOUNT_HOURLY_CAP),
        (inputs(9), Code.MINIMUM_GAP),
        (inputs(100, sender(day_cap=1000, hour_cap=1000, gap_min_s=0, gap_max_s=0)), None),
        (
            inputs(900, sender(day_cap=9000, hour_cap=60, gap_min_s=1, gap_max_s=1)),
            Code.ACCOUNT_HOURLY_CAP,
        ),
        (
            inputs(50, now=datetime(2026, 3, 7, 23, 30, tzinfo=UTC)),  # Saturday night
            Code.OUTSIDE_WINDOW,
        ),
    ],
)
def test_the_bottleneck_is_the_limit_whose_lifting_gains_most(asked, limit):
    assert forecast(asked).bottleneck == limit


def test_the_bottleneck_names_the_accounts_that_it_holds():
    asked = inputs(200, sender("@small", day_cap=5), sender("@large", day_cap=2000, hour_cap=500))
    small = replace(asked, senders=asked.senders[:1])
    assert forecast(small).holding == ("@small",)


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        (inputs(5, tenant_stopped=True), Code.TENANT_STOP),
        (inputs(5, sender(state="blocked")), Code.NO_ELIGIBLE_ACCOUNT),
        (replace(inputs(5), senders=()), Code.NO_ELIGIBLE_ACCOUNT),
        (inputs(5, sender(day_cap=0)), Code.ACCOUNT_DAILY_CAP),
        (inputs(5, sender(hour_cap=0)), Code.ACCOUNT_HOURLY_CAP),
    ],
)
def test_never_is_said_plainly(asked, code):
    found = forecast(asked)
    assert (found.never, found.p50, found.days) == (code, None, ())


def test_what_takes_longer_than_a_year_has_no_finish():
    found = forecast(inputs(1_000, sender(day_cap=1)))
    assert (found.never, found.p50, found.bottleneck) == (None, None, Code.ACCOUNT_DAILY_CAP)


def test_a_shared_account_is_shared_until_the_other_campaign_is_done():
    alone = forecast(inputs(100)).p50
    some = forecast(inputs(100, rivals=(Rival(50, frozenset({0})),)))
    half = forecast(inputs(100, rivals=(Rival(10_000, frozenset({0})),)))
    assert alone < some.p50 < half.p50
    assert some.p50 == forecast(inputs(150)).p50
    elsewhere = forecast(inputs(100, rivals=(Rival(10_000, frozenset()),)))
    assert elsewhere.p50 == alone


def test_what_if_changes_accounts_caps_and_hours():
    asked = inputs(500)
    now = forecast(asked).p50
    more = forecasts.changed(asked, WhatIf(senders=5))
    assert [one.name for one in more.senders] == ["@a", "+1", "+2", "+3", "+4"]
    assert forecast(more).p50 < now
    assert forecast(forecasts.changed(asked, WhatIf(day_cap=100))).p50 < now
    shorter = forecasts.changed(asked, WhatIf(hours=2))
    assert shorter.campaign.window == pacing.Window(OFFICE.days, time(9), time(11))
    assert forecast(shorter).p50 > now
    assert forecasts.changed(asked, WhatIf(hours=24)).campaign.window.closes == pacing.MIDNIGHT
    assert forecasts.open_for(None, 20) == pacing.Window(
        frozenset(range(7)), time(4), time(23, 59, 59, 999999)
    )
    late = forecasts.changed(inputs(5, sender(state="blocked")), WhatIf(senders=1))
    assert forecast(late).p50 is not None


# --- Against the engine itself ----------------------------------------------------------------


def started(tenant, clock, leads, accounts, **fields):
    campaign = make_campaign(tenant, accounts=accounts, state="running", **fields)
    for number in range(leads):
        lead = make_lead(tenant, f"lead{campaign.pk}x{number}", score=80)
        make_message(campaign, lead, due_at=clock.now(), position=number)
    with scope.as_tenant(tenant):
        ledger.wake([campaign.pk], clock.now())
    return campaign


def drive(tenant, campaign, clock, *, rounds=400):
    """Let the real slices work on the fake clock until the campaign is finished."""
    wire = Wire()
    for _ in range(rounds):
        work(clock, wire, budget_s=1)
        with scope.as_tenant(tenant):
            campaign.refresh_from_db()
            if campaign.state == Campaign.State.FINISHED:
                break
            due = SendingAccount.objects.exclude(next_at=None).order_by("next_at").first()
        if due.next_at > clock.now():
            clock.move((due.next_at - clock.now()).total_seconds())
    with scope.as_tenant(tenant):
        rows = Message.objects.filter(campaign=campaign).order_by("sent_at")
        return [row.sent_at for row in rows]


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("leads", "accounts", "window"),
    [
        (7, [{"hour_cap": 3, "gap_min_s": 60, "gap_max_s": 60}], {}),
        (9, [{"day_cap": 2, "gap_min_s": 90, "gap_max_s": 90}], {}),
        (
            12,
            [{"hour_cap": 2, "gap_min_s": 600, "gap_max_s": 600}, {"day_cap": 3}],
            {"days": [0, 2, 3], "from": "11:00", "to": "14:00"},
        ),
        (8, [{"gap_min_s": 900, "gap_max_s": 900}], {"days": [3], "from": "09:00", "to": "10:00"}),
    ],
)
def test_the_engine_on_a_fake_clock_ends_when_the_forecast_says(
    acme, clock, rung, leads, accounts, window
):
    campaign = started(
        acme, clock, leads, [make_account(acme, **one) for one in accounts], window=window
    )
    began = clock.now()
    with scope.as_tenant(acme):
        found = forecast_for(campaign, now=began)
    sent = drive(acme, campaign, clock)
    assert len(sent) == leads
    # Without jitter both are exact but for the engine's naps of a second per message.
    assert abs(sent[-1] - found.plan.p50) <= timedelta(seconds=2 * leads)
    assert abs(sent[0] - found.plan.first) <= timedelta(seconds=2)
    days = Counter(moment.astimezone(acme.zone).date() for moment in sent)
    assert {day.date: day.planned for day in found.days} == days


@pytest.mark.django_db
def test_with_jitter_the_engine_ends_between_a_fifth_before_and_the_careful_finish(
    acme, clock, rung
):
    account = make_account(acme, gap_min_s=60, gap_max_s=120, jitter_percent=20)
    campaign = started(acme, clock, 30, [account])
    with scope.as_tenant(acme):
        found = forecast_for(campaign, now=clock.now()).plan
    sent = drive(acme, campaign, clock)
    likely = found.p50 - clock.began
    # Thirty random pauses: a tenth less comes once in a hundred runs, a fifth once in a million.
    assert likely * 0.8 <= sent[-1] - clock.began <= found.p90 - clock.began
