"""What another ICP would do: the preview says of every lead what publishing then does."""

from collections import Counter
from decimal import Decimal

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from hypothesis import HealthCheck, given, settings as hypothesis, strategies as st

from agenticos import scope
from agenticos.errors import Refused
from agenticos.tests.factories import make_lead
from leads import actions, drafts, tasks, whatif, whatif_sql
from leads.models import Band, Icp, Lead, LeadFacts, LeadScore
from leads.scoring import GROUPS, IcpConfig, scorer_for
from leads.scoring.facts import unpack
from leads.scoring.values import CRITERIA

pytestmark = pytest.mark.django_db
LIST = 1_000_000


@pytest.fixture(autouse=True)
def _in_acme(acme, in_tenant, rung):
    in_tenant(acme)


def config(**data) -> IcpConfig:
    return IcpConfig.from_json(data)


def add(tenant, *rows) -> list[Lead]:
    """Leads as they come in: scored, with kept points."""
    actions.ensure_icp(tenant, now=timezone.now())
    made = Lead.objects.bulk_create(
        Lead(tenant=tenant, **{"handle": f"lead{number}", **row}) for number, row in enumerate(rows)
    )
    actions.score_leads([lead.pk for lead in made])
    return made


def publish(tenant, new) -> None:
    actions.publish_icp(tenant, new, by=None, now=timezone.now())
    with scope.as_nobody():
        tasks.rescore_slice()


def live_scores() -> dict[int, tuple[int, str, bool, str]]:
    scores = LeadScore.objects.filter(version=Icp.objects.get().live_id)
    return {
        row[0]: row[1:] for row in scores.values_list("lead", "total", "band", "eligible", "reason")
    }


# --- The property -----------------------------------------------------------------------------

WORDS = ["ceo", "clínica", "Dra.", "rio", "Rio de Janeiro", "empreendedora", "IA", "2ª", "pão 🍞"]
TEXT = st.lists(st.sampled_from(WORDS), max_size=4).map(" · ".join)
KEYWORDS = st.lists(
    st.sampled_from(["CEO", "clinica", "empreend*", "rio de janeiro", "rio", "dra", "de jan*"]),
    max_size=6,
    unique=True,
)
NUMBER = st.none() | st.sampled_from([0, 1, 3, 19, 20, 50, 200, 499, 500, 501, 100_000, 100_001])
FLAG = st.none() | st.booleans()
LEAD = st.fixed_dictionaries(
    {
        "name": TEXT,
        "bio": TEXT,
        "followers": NUMBER,
        "following": NUMBER,
        "posts": NUMBER,
        "recent_posts": NUMBER,
        "engagement": st.none()
        | st.sampled_from([Decimal("2.2"), Decimal("5.5"), Decimal("0.9999"), Decimal(1)]),
        "is_private": FLAG,
        "is_business": FLAG,
        "category": TEXT,
        "city": TEXT,
        "website": TEXT,
        "frequency": st.sampled_from(["", "ativo", "pouco ativo", "_"]),
    }
)
WEIGHT = st.integers(0, 100) | st.floats(0.001, 1_000)
CONFIG = st.fixed_dictionaries(
    {},
    optional={
        "weights": st.fixed_dictionaries(dict.fromkeys(GROUPS, WEIGHT)),
        "thresholds": st.lists(st.integers(0, 100), min_size=3, max_size=3).map(
            lambda some: dict(zip(("cold", "warm", "hot"), sorted(some), strict=True))
        ),
        "decision_maker_keywords": KEYWORDS,
        "business_words": KEYWORDS,
        "locations": KEYWORDS,
        "interests": KEYWORDS.map(lambda some: {"a": some[:2], "b": some[2:]}),
        "followers": st.lists(
            st.sampled_from([0, 200, 500, 501, 100_000]), min_size=4, max_size=4
        ).map(
            lambda some: dict(
                zip(("min", "ideal_min", "ideal_max", "max"), sorted(some), strict=True)
            )
        ),
        "engagement": st.sampled_from(
            [{"min": 1, "ideal": 2.2}, {"min": 0.9999, "ideal": 5.5}, {"min": 0, "ideal": 0.88001}]
        ),
        "gates": st.fixed_dictionaries(
            {name: st.booleans() for name in ("skip_private", "require_bio", "require_business")}
        ),
        "blocklist": st.fixed_dictionaries(
            {"handles": st.sampled_from([[], ["lead0"], ["lead1", "nobody"]]), "words": KEYWORDS}
        ),
        "off": st.lists(st.sampled_from([one for _g, one, _m in CRITERIA]), max_size=4),
    },
)


def usable(data: dict) -> bool:
    try:
        IcpConfig.from_json(data)
    except ValueError:
        return False
    return True


@hypothesis(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    rows=st.lists(LEAD, min_size=1, max_size=6),
    old=CONFIG.filter(usable),
    new=CONFIG.filter(usable),
    kept=st.booleans(),
    many=st.sampled_from([1, 2, whatif_sql.MANY]),
)
def test_the_preview_is_what_publishing_does_to_every_lead(
    acme, rows, old, new, kept, many, monkeypatch
):
    # From how many words on the texts are taken apart: either way finds the same.
    monkeypatch.setattr(whatif_sql, "MANY", many)
    Lead.objects.all().delete()
    add(acme, *rows)
    publish(acme, old)
    if not kept:
        LeadScore.objects.all().update(packed=None)
    before = live_scores()
    seen = whatif.effect(config(**new))
    moves = []
    for band in Band.values:
        some, rest = whatif.movers(config(**new), new=band, size=LIST)
        assert rest == ""
        moves += some
    movers, _ = whatif.movers(config(**new), size=LIST)
    publish(acme, new)
    after = live_scores()
    foretold = {one.lead_id: (one.new_total, one.new_band, not one.why, one.why) for one in moves}
    assert foretold == after
    assert {one.lead_id: (one.total, one.band, one.eligible) for one in moves} == {
        lead: score[:3] for lead, score in before.items()
    }
    assert {one.lead_id for one in movers} == {
        lead for lead, score in after.items() if score[:2] != before[lead][:2]
    }
    assert seen.leads == len(after)
    assert seen.before == Counter(score[0] for score in before.values())
    assert seen.after == Counter(score[0] for score in after.values())
    assert seen.moves == Counter((before[lead][1], after[lead][1]) for lead in after)
    assert seen.changed == sum(before[lead][0] != after[lead][0] for lead in after)
    assert seen.eligible_after == sum(score[2] for score in after.values())
    scorer = scorer_for(config(**new))
    scores = [scorer.score(lead.profile()) for lead in drafts.stored(Lead.objects.all())]
    assert +seen.earning == Counter(
        line.criterion
        for score in scores
        for line, points in zip(score.lines, unpack(score.packed), strict=True)
        if points and line.criterion not in scorer.config.off
    )


# --- What it costs, and where it ends ---------------------------------------------------------


def test_the_number_of_statements_does_not_grow_with_the_leads(acme):
    new = config(decision_maker_keywords=["ceo"], followers={"min": 100}, weights={"bio": 5})

    def statements() -> int:
        with CaptureQueriesContext(connection) as seen:
            whatif.effect(new)
            whatif.movers(new, old="HOT")
        return len(seen)

    add(acme, *[{"bio": "Dentista"}] * 3)
    few = statements()
    add(acme, *[{"handle": f"more{number}", "bio": "CEO"} for number in range(40)])
    assert statements() == few <= 14


def test_too_many_leads_without_kept_points_are_refused_with_the_way_out(acme, monkeypatch):
    monkeypatch.setattr(whatif, "ONE_BY_ONE", 2)
    for _ in range(2):
        make_lead(acme)
    assert whatif.effect(config()).leads == 2
    make_lead(acme)
    with pytest.raises(Refused) as refused:
        whatif.effect(config())
    assert refused.value.code == "preview_not_ready"
    publish(acme, config())
    assert whatif.effect(config()).leads == 3


def test_facts_follow_the_lead(acme):
    (lead,) = add(acme, {"bio": "Dentista"})
    Lead.objects.filter(pk=lead.pk).update(bio="Médica")
    actions.score_leads([lead.pk])
    assert LeadFacts.objects.get(lead=lead).bio_words == " medica "
    lead.delete()
    assert not LeadFacts.objects.exists()


def test_a_word_is_not_found_across_two_texts(acme):
    add(acme, {"name": "Rio", "bio": "de Janeiro", "category": "Casa", "city": "Branca"})
    new = config(decision_maker_keywords=["rio de janeiro"], blocklist={"words": ["casa branca"]})
    seen = whatif.effect(new)
    assert (seen.earning["decision_maker"], seen.reasons[""]) == (0, 1)
