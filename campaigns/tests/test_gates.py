"""Each gate, and the order in which they speak."""

from dataclasses import replace
from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest

from campaigns import pacing
from campaigns.codes import SENTENCES, Code
from campaigns.gates import (
    ALLOW,
    AccountFacts,
    CampaignFacts,
    Facts,
    LeadFacts,
    Verdict,
    gate,
)

NOW = datetime(2026, 3, 4, 15, tzinfo=UTC)
ZONE = ZoneInfo("America/Sao_Paulo")
CAMPAIGN = CampaignFacts(
    state="running", tenant_stopped=False, window=None, zone=ZONE, min_score=60, contact_gap_days=90
)
ACCOUNT = AccountFacts(
    state="active",
    block_code="",
    free_at=None,
    pace=pacing.Pace(50, 10, 60, 90, 15),
    used_day=0,
    used_hour=0,
    zone=ZONE,
)
LEAD = LeadFacts(suppressed=False, total=80, band="HOT", eligible=True, touched_at=None)
NIGHT = pacing.Window(frozenset({0, 1, 2, 3, 4, 5, 6}), time(22), time(23))


def test_nothing_in_the_way():
    assert gate(Facts(CAMPAIGN, ACCOUNT, LEAD, NOW), NOW) is ALLOW


@pytest.mark.parametrize(
    ("facts", "verdict", "code", "until"),
    [
        (Facts(replace(CAMPAIGN, tenant_stopped=True)), Verdict.BLOCK, Code.TENANT_STOP, None),
        (Facts(replace(CAMPAIGN, state="paused")), Verdict.BLOCK, Code.CAMPAIGN_PAUSED, None),
        (Facts(replace(CAMPAIGN, state="draft")), Verdict.BLOCK, Code.CAMPAIGN_NOT_RUNNING, None),
        (
            Facts(replace(CAMPAIGN, window=NIGHT)),
            Verdict.WAIT,
            Code.OUTSIDE_WINDOW,
            datetime(2026, 3, 5, 1, tzinfo=UTC),
        ),
        (
            Facts(account=replace(ACCOUNT, state="blocked", block_code="session_invalid")),
            Verdict.BLOCK,
            Code.SESSION_INVALID,
            None,
        ),
        (
            Facts(account=replace(ACCOUNT, state="blocked", block_code="challenge")),
            Verdict.BLOCK,
            Code.ACCOUNT_BLOCKED,
            None,
        ),
        (
            Facts(account=replace(ACCOUNT, used_day=50)),
            Verdict.WAIT,
            Code.ACCOUNT_DAILY_CAP,
            datetime(2026, 3, 5, 3, tzinfo=UTC),
        ),
        (
            Facts(account=replace(ACCOUNT, used_hour=10)),
            Verdict.WAIT,
            Code.ACCOUNT_HOURLY_CAP,
            NOW + timedelta(hours=1),
        ),
        (
            Facts(account=replace(ACCOUNT, free_at=NOW + timedelta(seconds=9))),
            Verdict.WAIT,
            Code.MINIMUM_GAP,
            NOW + timedelta(seconds=9),
        ),
        (
            Facts(account=replace(ACCOUNT, free_at=NOW + timedelta(hours=1), slowed=True)),
            Verdict.WAIT,
            Code.BACK_OFF,
            NOW + timedelta(hours=1),
        ),
        (Facts(CAMPAIGN, lead=replace(LEAD, suppressed=True)), Verdict.SKIP, Code.SUPPRESSED, None),
        (Facts(CAMPAIGN, lead=replace(LEAD, total=None)), Verdict.SKIP, Code.NOT_SCORED, None),
        (
            Facts(CAMPAIGN, lead=replace(LEAD, eligible=False)),
            Verdict.SKIP,
            Code.NOT_ELIGIBLE,
            None,
        ),
        (
            Facts(CAMPAIGN, lead=replace(LEAD, band="NURTURING", total=90)),
            Verdict.SKIP,
            Code.NURTURING_BAND,
            None,
        ),
        (Facts(CAMPAIGN, lead=replace(LEAD, total=59)), Verdict.SKIP, Code.BELOW_MIN_SCORE, None),
        (
            Facts(CAMPAIGN, lead=replace(LEAD, touched_at=NOW - timedelta(days=89))),
            Verdict.SKIP,
            Code.CONTACT_POLICY_GAP,
            NOW + timedelta(days=1),
        ),
        (
            Facts(CAMPAIGN, lead=replace(LEAD, missing=("city",))),
            Verdict.SKIP,
            Code.MISSING_VARIABLE,
            None,
        ),
        (
            Facts(CAMPAIGN, due_at=NOW + timedelta(seconds=5)),
            Verdict.WAIT,
            Code.BACK_OFF,
            NOW + timedelta(seconds=5),
        ),
    ],
)
def test_each_gate(facts, verdict, code, until):
    decision = gate(facts, NOW)
    assert (decision.verdict, decision.code, decision.until) == (verdict, code, until)


def test_an_old_first_touch_and_a_policy_of_zero_days_do_not_hold():
    old = replace(LEAD, touched_at=NOW - timedelta(days=91))
    fresh = replace(LEAD, touched_at=NOW - timedelta(days=1))
    assert gate(Facts(CAMPAIGN, lead=old), NOW) is ALLOW
    assert gate(Facts(replace(CAMPAIGN, contact_gap_days=0), lead=fresh), NOW) is ALLOW


def test_who_must_act_first_speaks_first():
    all_wrong = Facts(
        replace(CAMPAIGN, tenant_stopped=True, window=NIGHT),
        replace(ACCOUNT, used_day=50),
        replace(LEAD, suppressed=True),
    )
    assert gate(all_wrong, NOW).code is Code.TENANT_STOP


def test_every_code_has_a_sentence():
    assert set(SENTENCES) == set(Code)
