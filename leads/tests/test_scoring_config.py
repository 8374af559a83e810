"""Configurations of the scoring: what they may say, and what they switch off."""

from __future__ import annotations

import json
from decimal import Decimal

import jsonschema
import pytest

from leads.scoring import (
    CRITERION_LABELS,
    DEFAULT,
    GROUP_LABELS,
    GROUPS,
    INELIGIBLE,
    SCHEMA,
    BadConfig,
    Band,
    IcpConfig,
    Profile,
    evidence_text,
    score,
    scorer_for,
)
from leads.tests.profiles import (
    ANA,
    CEO,
    EMPTY,
    SCRAPED_ANA,
    config,
    line_of,
    points,
)


def test_the_default_configuration_comes_back_from_json_and_fits_the_schema():
    data = json.loads(json.dumps(DEFAULT.to_json()))
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    jsonschema.validate(data, SCHEMA)
    assert IcpConfig.from_json(data) == DEFAULT == IcpConfig.from_json({})
    assert scorer_for(IcpConfig.from_json(data)) is scorer_for(DEFAULT)


def test_a_configuration_of_ones_own_comes_back_from_json():
    data = {
        "weights": {"bio": 1.5, "engagement": 0, "profile": 2, "recency": 0},
        "locations": ["Lisboa"],
        "interests": {"vinho": ["vinho*"]},
        "blocklist": {"handles": ["@Ana"], "words": ["x9"]},
    }
    jsonschema.validate(data, SCHEMA)
    once = IcpConfig.from_json(data)
    assert once.locations == (("Lisboa", "Lisboa"),)
    assert IcpConfig.from_json(once.to_json()) == once


@pytest.mark.parametrize(
    ("data", "path"),
    [
        ([], ""),
        ({"colour": 1}, "colour"),
        ({"weights": {"bio": -1}}, "weights.bio"),
        ({"weights": {"bio": True}}, "weights.bio"),
        ({"weights": {"bio": float("nan")}}, "weights.bio"),
        ({"weights": {"bio": "30"}}, "weights.bio"),
        ({"weights": {"luck": 3}}, "weights.luck"),
        ({"weights": dict.fromkeys(GROUPS, 0)}, "weights"),
        ({"thresholds": {"hot": 40}}, "thresholds"),
        ({"thresholds": {"hot": 70.5}}, "thresholds.hot"),
        ({"thresholds": {"hot": 101}}, "thresholds.hot"),
        ({"decision_maker_keywords": "ceo"}, "decision_maker_keywords"),
        ({"decision_maker_keywords": ["ceo", 3]}, "decision_maker_keywords[1]"),
        ({"business_words": ["🚀"]}, "business_words[0]"),
        ({"business_words": ["a*b"]}, "business_words[0]"),
        ({"business_words": ["*"]}, "business_words[0]"),
        ({"business_words": ["x" * 61]}, "business_words[0]"),
        ({"locations": {"sp": 3}}, "locations.sp"),
        ({"locations": 3}, "locations"),
        ({"interests": {"a": "b"}}, "interests.a"),
        ({"followers": {"min": 600}}, "followers"),
        ({"engagement": {"min": 3}}, "engagement"),
        ({"gates": {"skip_private": 1}}, "gates.skip_private"),
        ({"blocklist": {"handles": ["bad handle!!"]}}, "blocklist.handles[0]"),
    ],
)
def test_a_bad_configuration_names_the_place(data, path):
    with pytest.raises(BadConfig) as caught:
        IcpConfig.from_json(data)
    assert caught.value.path == path
    assert caught.value.expected
    assert isinstance(caught.value, ValueError)


def test_thresholds_make_the_bands():
    strict = config(thresholds={"hot": 100, "warm": 80, "cold": 79})
    assert score(ANA, strict).band is Band.HOT
    assert score(SCRAPED_ANA, strict).band is Band.NURTURING


def test_everything_shown_has_words():
    assert set(CRITERION_LABELS) == {c for rows in GROUPS.values() for c, _maximum in rows}
    assert set(GROUP_LABELS) == set(GROUPS)
    assert "private_profile" in INELIGIBLE
    assert str(evidence_text(line_of(Profile(), "posts"))) == "unknown: could add up to 5"
    assert str(evidence_text(line_of(ANA, "public"))) == "yes"
    assert str(evidence_text(line_of(EMPTY, "interest"))) == "nothing found"


# --- Criteria that are off ---


def test_a_criterion_that_is_off_leaves_its_share_to_the_others_of_its_group():
    without = config(off=["title", "location"])
    found = points(ANA, without)
    assert (found["title"], found["location"]) == (0, 0)
    # 20 natural points are left of the 30 of the bio, which keeps its weight.
    assert line_of(CEO, "decision_maker", without).maximum == 15
    assert score(ANA, without).total == 100


def test_a_group_with_all_criteria_off_counts_no_more():
    without = config(off=["recent_posts", "frequency"])
    same = config(weights={"recency": 0})
    assert score(CEO, without).total == score(CEO, same).total


def test_something_must_stay_on():
    with pytest.raises(BadConfig) as error:
        config(
            weights={"engagement": 0, "profile": 0, "recency": 0},
               off=[name for name, _maximum in GROUPS["bio"]])  # fmt: skip
    assert error.value.path == "off"


def test_a_stored_rate_reaches_its_decimal_limit():
    limits = config(engagement={"min": 1, "ideal": 2.2})
    assert points(Profile(engagement=Decimal("2.2")), limits)["engagement_rate"] == 7
    assert points(Profile(engagement=2.2), limits)["engagement_rate"] == 7
