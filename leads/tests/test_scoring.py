import json
from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given, strategies as st

from leads.scoring import (
    GROUPS,
    Band,
    IcpConfig,
    Profile,
    Scorer,
    Weights,
    from_compact,
    score,
    what_would_lift,
)
from leads.tests.profiles import (
    ANA,
    CELEBRITY,
    CEO,
    EMPTY,
    NEUTRAL,
    PLAIN,
    SCRAPED_ANA,
    config,
    line_of,
    points,
)


@pytest.mark.parametrize(
    ("profile", "total", "band"),
    [
        pytest.param(ANA, 100, Band.HOT, id="1"),
        pytest.param(SCRAPED_ANA, 78, Band.HOT, id="2"),
        pytest.param(CEO, 70, Band.HOT, id="5"),
        pytest.param(NEUTRAL, 50, Band.WARM, id="7"),
        pytest.param(PLAIN, 40, Band.COLD, id="9"),
        pytest.param(replace(PLAIN, frequency="moderado"), 35, Band.NURTURING, id="10"),
        pytest.param(CELEBRITY, 38, Band.NURTURING, id="13"),
        pytest.param(EMPTY, 10, Band.NURTURING, id="14"),
    ],
)
def test_the_public_examples_score_as_decided(profile, total, band):
    assert (score(profile).total, score(profile).band) == (total, band)


# --- Text ---


@pytest.mark.parametrize(
    "bio",
    [
        "Especialista em esportes",  # not "sp"
        "Próprio negociante",  # not "rio", not "negocio"
        "Official fan page, Maria",  # not "ia", not "ai"
        "Forehead",  # not "head"
        "PDF e música",  # not "df"
        "Empresaria",  # not "empresa"
    ],
)
def test_a_keyword_inside_a_word_is_not_found(bio):
    found = points(Profile(bio=bio))
    keys = ("decision_maker", "business_word", "location", "interest")
    assert [found[key] for key in keys] == [0, 0, 0, 0]


@pytest.mark.parametrize(
    "bio", ["SP", "em sp.", "📍SP", "(sp)", "rj/sp", "#sp_brasil", "São-Paulo"]
)
def test_a_keyword_as_a_word_is_found_with_its_display_name(bio):
    line = line_of(Profile(bio=bio), "location")
    assert line.points == 5
    assert line.evidence in {"São Paulo", "Rio de Janeiro"}


@pytest.mark.parametrize("bio", ["Médico", "MEDICO", "me\u0301dico", "𝗠𝗲𝗱𝗶𝗰𝗼"])
def test_accents_case_and_fancy_letters_do_not_matter(bio):
    assert points(Profile(bio=bio))["decision_maker"] == 10


def test_a_keyword_may_hold_several_words():
    assert points(Profile(bio="Business  Owner"))["decision_maker"] == 10
    assert points(Profile(bio="owner of a business"))["decision_maker"] == 0
    assert points(Profile(bio="the end: business"))["decision_maker"] == 0


def test_a_star_matches_a_beginning():
    odonto = config(business_words=["odonto*", "clinica vet*"])
    assert points(Profile(bio="Odontologia"), odonto)["business_word"] == 5
    assert points(Profile(bio="Clínica  veterinária"), odonto)["business_word"] == 5
    assert points(Profile(bio="Clínica"), odonto)["business_word"] == 0
    assert points(Profile(bio="periodonto"), odonto)["business_word"] == 0


def test_a_decision_maker_is_also_found_in_the_name():
    assert points(Profile(name="Ana | CEO", bio=""))["decision_maker"] == 10


@pytest.mark.parametrize("name", ["Dra. Ana", "DR JOAO", "Drª Bia", "Prof. Caio", "Ana (dra)"])
def test_a_professional_title_is_a_token_of_the_name(name):
    assert points(Profile(name=name))["title"] == 5


@pytest.mark.parametrize("name", ["Drake", "Andrá", "Pedro", "Profeta"])
def test_a_title_inside_a_name_is_none(name):
    assert points(Profile(name=name))["title"] == 0


def test_a_title_in_the_bio_alone_is_no_title():
    assert points(Profile(name="Ana", bio="fale com a dra. Bia"))["title"] == 0


@pytest.mark.parametrize(
    ("frequency", "expected"),
    [
        ("ativo", 5),
        ("Muito  Ativo", 5),
        ("very_active", 5),
        ("active", 5),
        ("pouco ativo", 0),
        ("inactive", 0),
        ("moderado", 0),
    ],
)
def test_only_active_and_very_active_count(frequency, expected):
    assert points(Profile(frequency=frequency))["frequency"] == expected


# --- Numbers ---


@pytest.mark.parametrize(
    ("followers", "following", "expected"),
    [(50, 100, 10), (300, 100, 10), (49, 100, 5), (301, 100, 5), (30, 100, 5), (500, 100, 5),
     (29, 100, 0), (501, 100, 0), (100, 0, 0), (0, 0, 0)],
)  # fmt: skip
def test_the_ratio_at_its_edges(followers, following, expected):
    assert points(Profile(followers=followers, following=following))["follow_ratio"] == expected


@pytest.mark.parametrize(
    ("followers", "expected"),
    [(199, 0), (200, 5), (499, 5), (500, 10), (50_000, 10), (50_001, 5), (100_000, 5),
     (100_001, 0)],
)  # fmt: skip
def test_followers_at_their_edges(followers, expected):
    assert points(Profile(followers=followers))["followers"] == expected


@pytest.mark.parametrize(
    ("rate", "expected"),
    [(0.99, 0), (1, 3), (Decimal("1.99"), 3), (2.0, 7), (4.99, 7), (Decimal("5.00"), 10)],
)
def test_the_engagement_rate_at_its_edges(rate, expected):
    assert points(Profile(engagement=rate))["engagement_rate"] == expected


def test_two_and_a_half_times_the_ideal_is_exact():
    exact = config(engagement={"min": 1, "ideal": 2.2})
    assert points(Profile(engagement=Decimal("5.5")), exact)["engagement_rate"] == 10


@pytest.mark.parametrize(("posts", "expected"), [(19, 0), (20, 3), (49, 3), (50, 5)])
def test_posts_at_their_edges(posts, expected):
    assert points(Profile(posts=posts))["posts"] == expected


@pytest.mark.parametrize(("recent", "expected"), [(0, 0), (1, 5), (2, 5), (3, 10)])
def test_recent_posts_at_their_edges(recent, expected):
    assert points(Profile(recent_posts=recent))["recent_posts"] == expected


def test_a_bio_must_be_longer_than_ten_characters():
    assert points(Profile(bio="x" * 10))["bio_length"] == 0
    assert points(Profile(bio="x" * 11))["bio_length"] == 5


# --- Missing data, gates ---


def test_an_unknown_profile_earns_nothing_and_everything_is_missing():
    result = score(Profile())
    assert (result.total, result.coverage) == (0, 0)
    assert all(line.missing and line.maximum for line in result.lines)


def test_known_zeros_are_not_missing():
    known = Profile(
        name="Ana", bio="", followers=0, following=0, posts=0, recent_posts=0, engagement=0,
        is_private=True, is_business=False, frequency="parado",
    )  # fmt: skip
    result = score(known)
    assert (result.total, result.coverage) == (0, 100)


def test_unknown_privacy_is_neither_public_nor_private():
    assert line_of(Profile(), "public").missing
    assert score(Profile()).eligible
    assert line_of(Profile(is_private=True), "public").points == 0


def test_the_ratio_needs_both_numbers():
    assert line_of(Profile(followers=5), "follow_ratio").missing
    assert line_of(Profile(following=5), "follow_ratio").missing


@pytest.mark.parametrize(
    ("gates", "profile", "reason"),
    [
        ({}, replace(ANA, is_private=True), "private_profile"),
        ({"skip_private": False}, replace(ANA, is_private=True), ""),
        ({"require_bio": True}, replace(ANA, bio="  "), "bio_required"),
        ({"require_bio": True}, replace(ANA, bio=None), "bio_required"),
        (
            {"require_business": True},
            replace(ANA, is_business=None, category=None),
            "business_required",
        ),
        ({"require_business": True}, replace(ANA, is_business=False), ""),
    ],
)
def test_a_gate_excludes_with_its_reason_and_leaves_the_points_alone(gates, profile, reason):
    gated, free = score(profile, config(gates=gates)), score(profile, config(gates=NO_GATES))
    assert (gated.eligible, gated.ineligible_reason) == (not reason, reason)
    assert gated.lines == free.lines


NO_GATES = {"skip_private": False}


def test_blocked_handles_and_words():
    blocked = config(blocklist={"handles": ["@Rival"], "words": ["cassino*", "aposta certa"]})
    assert score(Profile(handle="rival"), blocked).ineligible_reason == "blocked_handle"
    assert score(Profile(bio="Cassinos online"), blocked).ineligible_reason == "blocked_word"
    assert score(Profile(name="Aposta Certa"), blocked).ineligible_reason == "blocked_word"
    assert score(Profile(bio="aposta"), blocked).eligible


# --- Properties ---

texts = st.one_of(
    st.none(),
    st.sampled_from(["", "CEO · empresa", "Dra. Ana", "Clínica em São Paulo", "vendas e growth"]),
    st.text(max_size=40),
)
counts = st.one_of(st.none(), st.integers(0, 3_000_000), st.integers(0, 60))
flags = st.sampled_from([None, True, False])
profiles = st.builds(
    Profile,
    handle=st.just("ana"),
    name=texts,
    bio=texts,
    followers=counts,
    following=counts,
    posts=counts,
    recent_posts=counts,
    engagement=st.one_of(st.none(), st.floats(0, 100)),
    is_private=flags,
    is_business=flags,
    category=texts,
    frequency=st.sampled_from([None, "", "ativo", "pouco ativo", "very active"]),
)
numbers = st.one_of(st.integers(0, 100), st.floats(0, 100).map(lambda value: round(value, 3)))
weights = st.tuples(numbers, numbers, numbers, numbers).filter(any)


def with_weights(values: tuple[float, float, float, float]) -> IcpConfig:
    return IcpConfig(weights=Weights(*values))


@given(profiles, weights)
def test_lines_sum_to_the_total_and_maxima_to_a_hundred(profile, values):
    result = Scorer(with_weights(values)).score(profile)
    assert sum(line.points for line in result.lines) == result.total
    assert sum(line.maximum for line in result.lines) == 100
    assert 0 <= result.total <= 100
    assert 0 <= result.coverage <= 100
    assert all(0 <= line.points <= line.maximum for line in result.lines)
    assert all(not line.points for line in result.lines if line.missing)


@given(weights)
def test_an_ideal_profile_is_a_hundred_under_any_weights(values):
    result = Scorer(with_weights(values)).score(ANA)
    assert result.total == 100
    assert all(line.points == line.maximum for line in result.lines)


@given(profiles, weights, st.integers(2, 50))
def test_only_the_proportion_of_the_weights_matters(profile, values, factor):
    whole = tuple(int(value) for value in values)
    if not any(whole):
        return
    larger = tuple(value * factor for value in whole)
    first = Scorer(with_weights(whole)).score(profile)
    assert Scorer(with_weights(larger)).score(profile) == first


@given(profiles)
def test_a_group_of_no_weight_adds_nothing(profile):
    result = score(profile, with_weights((30, 30, 25, 0)))
    assert not any(line.points or line.maximum for line in result.lines if line.group == "recency")


@given(profiles)
def test_the_total_is_the_weighted_sum_rounded_half_up(profile):
    natural = points(profile)
    exact = 0.0
    for group, rows in GROUPS.items():
        worth = {"bio": 1, "engagement": 2, "profile": 3, "recency": 4}[group]
        earned = sum(natural[criterion] for criterion, _maximum in rows)
        exact += earned / sum(maximum for _c, maximum in rows) * worth * 10
    total = score(profile, with_weights((1, 2, 3, 4))).total
    assert abs(total - exact) <= 0.5 + 1e-9


def test_half_a_point_rounds_up():
    # Half of the profile group's weight: 5 of 25 natural points at weight 62.5 % is 12.5.
    half = with_weights((37.5, 0, 62.5, 0))
    assert score(Profile(posts=50), half).total == 13


@given(profiles, weights, st.sampled_from(["followers", "engagement", "posts", "recent_posts"]))
def test_learning_a_good_fact_never_lowers_a_score(profile, values, name):
    scorer = Scorer(with_weights(values))
    unknown = replace(profile, **{name: None})
    good = replace(profile, **{name: getattr(ANA, name)})
    assert scorer.score(good).total >= scorer.score(unknown).total


@given(profiles, st.integers(0, 60), st.integers(0, 60))
def test_more_posts_and_engagement_never_lower_a_score(profile, fewer, more):
    fewer, more = sorted((fewer, more))
    for name in ("posts", "recent_posts", "engagement"):
        low, high = (score(replace(profile, **{name: value})).total for value in (fewer, more))
        assert low <= high


words = st.sampled_from(["médico", "São Paulo", "negócio", "estética", "esportista", "ia", "lá"])


@given(st.lists(words, max_size=6), st.sampled_from([" ", " · ", ", ", "\n", " | "]))
def test_case_and_accents_never_change_a_score(parts, glue):
    bio = glue.join(parts)
    bare = bio.translate(str.maketrans("éãóíçá", "eaoica"))
    assert len({score(Profile(bio=text)).total for text in (bio, bio.upper(), bare)}) == 1


@given(profiles)
def test_a_stored_breakdown_comes_back_whole(profile):
    result = score(profile)
    stored = json.loads(json.dumps(result.breakdown))
    assert from_compact(stored) == result.lines
    assert sum(line.maximum for line in result.lines) == 100
    assert sum(row[1] for row in stored) == result.total


def test_a_broken_breakdown_is_refused():
    for rows in ([["nonsense", 1, 1, ""]], [[]], [3]):
        with pytest.raises(ValueError, match="not a line"):
            from_compact(rows)


def test_what_would_lift_names_the_largest_gain_first():
    lines = what_would_lift(score(CEO).lines)
    assert [line.criterion for line in lines][:2] == ["engagement_rate", "recent_posts"]
    assert not what_would_lift(score(ANA).lines)
