"""The ICP editor, its what-if and its versions, through the front door."""

from __future__ import annotations

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone
from hypothesis import given, settings as hypothesis, strategies as st

from agenticos import scope
from agenticos.tests.factories import make_lead
from leads import actions, icp_actions, tasks
from leads.icp_forms import IcpForm, initial_of
from leads.models import Icp, IcpDraft, IcpVersion, Lead
from leads.scoring import IcpConfig, Profile, score
from leads.scoring.differences import differences
from tenants.models import AuditEntry

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _rings(rung):
    """Rings are collected, not put into the broker."""


def url(name, tenant, *args):
    return reverse(f"icp:{name}", args=[tenant.slug, *args])


def posted(config=None, **changes):
    """What a browser posts for a configuration: switches that are off are not there."""
    data = {**initial_of(config or IcpConfig()), **changes}
    return {name: value for name, value in data.items() if value is not False}


def text(response):
    return response.content.decode()


def add(tenant, count, prefix="lead", **fields):
    """Leads as they come in, scored; by default a dentist with some followers."""
    with scope.as_tenant(tenant):
        actions.ensure_icp(tenant, now=timezone.now())
        known = {"bio": "Dentista em Recife", "followers": 5_000, "following": 2_500, **fields}
        made = Lead.objects.bulk_create(
            Lead(tenant=tenant, handle=f"{prefix}{number}", **known) for number in range(count)
        )
        actions.score_leads([lead.pk for lead in made])
        return made


def live(tenant):
    with scope.as_tenant(tenant):
        return Icp.objects.select_related("live").get().live


# --- The editor ---------------------------------------------------------------------------------


def test_the_editor_shows_every_part_of_the_version_in_force(acme, alice, browser):
    add(acme, 1)
    page = text(browser(alice).get(url("editor", acme)))
    assert "Version 1 is in force" in page
    for words in ("Decision maker in bio or name", "empreend*", "rj = Rio de Janeiro", "50000"):
        assert words in page


def test_before_the_first_version_the_editor_offers_the_defaults(acme, alice, browser):
    response = browser(alice).get(url("editor", acme))
    assert response.context["form"].initial["hot"] == 70
    with scope.as_tenant(acme):
        assert not IcpVersion.objects.exists()


def test_what_the_form_shows_is_what_it_reads(acme):
    form = IcpForm(posted())
    assert form.is_valid(), form.errors
    assert form.config == IcpConfig()


@hypothesis(max_examples=50, deadline=None)
@given(
    words=st.lists(st.text("aé1, =:*-", min_size=1, max_size=8).filter(str.strip), max_size=4),
    bio=st.text("aé1, =:", max_size=12),
)
def test_a_keyword_of_any_form_scores_the_same_after_the_form_has_been_saved(words, bio):
    """Marks inside keywords divide entries in the form, and never count in the matching."""
    try:
        config = IcpConfig.from_json({"business_words": words, "locations": words})
    except ValueError:
        return
    form = IcpForm(posted(config))
    assert form.is_valid(), form.errors
    totals = [score(Profile(bio=bio), one).total for one in (config, form.config)]
    assert totals[0] == totals[1]


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"hot": 40}, "hot"),
        ({"hot": "x"}, "hot"),
        ({"weight_bio": -1}, "weight_bio"),
        ({f"weight_{name}": 0 for name in ("bio", "engagement", "profile", "recency")},
         "weight_bio"),
        ({"decision_maker_keywords": "ceo, *"}, "decision_maker_keywords"),
        ({"locations": "rj = " + "x" * 61}, "locations"),
        ({"interests": "no colon"}, "interests"),
        ({"followers_min": 600}, "followers_min"),
        ({"engagement_min": 9}, "engagement_min"),
        ({"blocked_handles": "not a handle!!"}, "blocked_handles"),
    ],
)  # fmt: skip
def test_a_mistake_is_shown_at_its_field_and_nothing_is_stored(
    acme, alice, browser, changes, field
):
    for name in ("preview", "draft-save", "publish"):
        response = browser(alice).post(url(name, acme), {**posted(**changes), "note": "x"})
        assert response.status_code == 200
        assert field in response.context["form"].errors
        assert f'<div id="error-{field}"' in text(response)
    with scope.as_tenant(acme):
        assert not IcpDraft.objects.exists()
        assert not IcpVersion.objects.exists()


def test_under_htmx_the_errors_come_with_the_part(acme, alice, browser):
    client = browser(alice, htmx="effect")
    page = text(client.post(url("preview", acme), posted(hot=10)))
    assert "<html" not in page
    assert 'id="error-hot" class="invalid-feedback d-block" hx-swap-oob="true">Hot must' in page


def test_the_strangers_words_stay_text(acme, alice, browser):
    page = text(
        browser(alice).post(url("preview", acme), posted(interests="<script>x</script>: y, z"))
    )
    assert "<script>x" not in page


# --- Draft and publishing -----------------------------------------------------------------------


def test_a_draft_is_kept_and_changes_nothing(acme, alice, browser):
    add(acme, 2)
    client = browser(alice)
    client.post(url("draft-save", acme), posted(hot=90))
    response = client.get(url("editor", acme))
    assert response.context["form"].initial["hot"] == 90
    assert "A draft of" in text(response)
    assert live(acme).config["thresholds"]["hot"] == 70
    client.post(url("draft-discard", acme))
    assert client.get(url("editor", acme)).context["form"].initial["hot"] == 70
    with scope.as_tenant(acme):
        actions_ = AuditEntry.objects.values_list("action", flat=True)
        assert {"icp.draft_saved", "icp.draft_discarded"} <= set(actions_)


def test_publishing_does_not_undo_what_somebody_published_meanwhile(acme, alice, browser):
    publish(acme, "The first")
    client = browser(alice)
    opened = live(acme).number
    assert f'name="based_on" value="{opened}"' in text(client.get(url("editor", acme)))
    publish(acme, "Somebody else's", off=("title",))
    mine = {**posted(hot=90), "note": "Mine", "based_on": str(opened)}
    refused = client.post(url("publish", acme), mine)
    assert "was published while you worked on this" in text(refused)
    assert live(acme).note == "Somebody else's"
    assert f'name="based_on" value="{opened + 1}"' in text(refused)
    client.post(url("publish", acme), {**mine, "based_on": str(opened + 1)})
    assert live(acme).note == "Mine"


def test_publishing_takes_a_note_and_switches_when_all_is_scored(acme, alice, browser, rung):
    add(acme, 3)
    client = browser(alice)
    refused = client.post(url("publish", acme), posted(hot=90))
    assert "Write a note" in text(refused)
    assert live(acme).number == 1
    client.post(url("draft-save", acme), posted(hot=90))
    client.post(url("publish", acme), {**posted(hot=90), "note": "Fewer, better"})
    with scope.as_tenant(acme):
        version = IcpVersion.objects.get(number=2)
        assert (version.state, version.note, version.author) == ("scoring", "Fewer, better", alice)
        assert not IcpDraft.objects.exists()
    page = text(client.get(url("editor", acme)))
    assert "the scores switch when complete, 0 %" in page
    assert "Wait until that is done" in page
    again = client.post(url("publish", acme), {**posted(hot=95), "note": "More"})
    assert "being scored under another version" in text(again)
    tasks.rescore_slice()
    assert live(acme).number == 2
    part = browser(alice, htmx="progress").get(url("progress", acme))
    assert part["HX-Refresh"] == "true"
    assert "hx-trigger" not in text(part)


def test_the_progress_part_says_how_far_it_is(acme, alice, browser):
    add(acme, 4)
    with scope.as_tenant(acme):
        actions.publish_icp(acme, IcpConfig(off=("title",)), by=None, now=timezone.now())
        IcpVersion.objects.filter(state="scoring").update(scored=3)
    part = browser(alice, htmx="progress").get(url("progress", acme))
    assert "75 %" in text(part)
    assert 'hx-trigger="every 3s"' in text(part)


# --- What if ------------------------------------------------------------------------------------


def test_the_preview_counts_and_stores_nothing(acme, alice, browser):
    add(acme, 25)
    before = live(acme)
    client = browser(alice, htmx="effect")
    response = client.post(url("preview", acme), posted(decision_maker_keywords="ceo"))
    effect = response.context["effect"]
    assert (effect.leads, effect.changed) == (25, 25)
    assert '<svg class="histogram"' in text(response)
    assert "All 25 leads, exactly." in text(response)
    assert live(acme) == before
    with scope.as_tenant(acme):
        assert IcpVersion.objects.count() == 1


def test_every_number_of_the_matrix_is_the_list_behind_it(acme, alice, browser):
    add(acme, 3, "dentist")
    add(acme, 2, "nobody", bio="Fã de café", followers=10)
    data = posted(decision_maker_keywords="ceo", cold=15, warm=25)
    seen = browser(alice, htmx="effect").post(url("preview", acme), data).context["effect"]
    lists = browser(alice, htmx="movers")
    counted = 0
    for row in seen.matrix:
        for cell in row.cells:
            address = f"{url('preview', acme)}?old={cell.old}&new={cell.new}"
            rows = lists.post(address, data).context["movers"]["rows"]
            assert len(rows) == cell.leads
            assert {(one.move.band, one.move.new_band) for one in rows} <= {(cell.old, cell.new)}
            counted += cell.leads
    assert counted == 5


def test_movers_name_what_moved_most_and_page_by_key(acme, alice, browser):
    add(acme, 23)
    client = browser(alice, htmx="movers")
    data = posted(decision_maker_keywords="ceo")
    first = client.post(url("preview", acme), data).context["movers"]
    assert first["rows"][0].cause == "Decision maker in bio or name: -10"
    rest = client.post(f"{url('preview', acme)}?after={first['next']}", data).context["movers"]
    assert (len(first["rows"]), len(rest["rows"]), rest["next"]) == (20, 3, "")
    handles = {one.lead.handle for one in [*first["rows"], *rest["rows"]]}
    assert len(handles) == 23


def test_when_thresholds_alone_move_the_cause_says_so(acme, alice, browser):
    add(acme, 1)
    data = posted(hot=35, warm=30, cold=20)
    response = browser(alice, htmx="movers").post(url("preview", acme), data)
    assert response.context["movers"]["rows"][0].cause == "The thresholds"


def test_a_rule_that_matches_nobody_is_pointed_out(acme, alice, browser):
    add(acme, 2)
    data = posted(business_words="zzz", decision_maker_keywords="dentista, xyzzy")
    page = text(browser(alice, htmx="effect").post(url("preview", acme), data))
    assert "“Business word in the bio” matches no lead." in page
    assert "New words that no lead has: xyzzy, zzz" in page


def test_few_leads_are_a_table_and_none_are_an_empty_state(acme, alice, browser):
    client = browser(alice, htmx="effect")
    assert "No leads yet" in text(client.get(url("effect", acme)))
    add(acme, 2)
    page = text(client.get(url("effect", acme)))
    assert '<svg class="histogram"' not in page
    assert "Leads by score as a table" in page


def test_without_scripts_the_whole_page_comes_with_the_figures(acme, alice, browser):
    add(acme, 2)
    page = text(browser(alice).post(url("preview", acme), posted(decision_maker_keywords="ceo")))
    assert "<html" in page
    assert "@lead0" in page
    assert "2 their score." in page


def test_leads_without_kept_points_are_counted_too(acme, alice, browser):
    make_lead(acme, "old", score=75)
    make_lead(acme, "new", score=None)
    add(acme, 1)
    response = browser(alice, htmx="effect").get(url("effect", acme))
    rows = {row.old: row.total for row in response.context["effect"].matrix}
    assert (rows["HOT"], rows["none"]) == (1, 1)
    assert response.context["effect"].leads == 3


# --- Versions -----------------------------------------------------------------------------------


def publish(tenant, note, **config):
    with scope.as_tenant(tenant):
        icp_actions.publish(
            tenant, IcpConfig.from_json(config), note=note, by=None, now=timezone.now()
        )
    tasks.rescore_slice()


def test_versions_are_listed_with_what_they_changed(acme, alice, browser):
    publish(acme, "First")
    publish(acme, "Hotter", thresholds={"hot": 80}, business_words=["loja"])
    page = text(browser(alice).get(url("versions", acme)))
    assert "Hotter" in page
    assert "<b>Hot from</b>: 70 → 80" in page
    assert "new: loja" in page


def test_any_two_versions_are_compared_in_words(acme, alice, browser):
    publish(acme, "First")
    publish(acme, "Second", weights={"bio": 40})
    publish(acme, "Third", gates={"require_bio": True})
    client = browser(alice)
    page = text(client.get(url("compare", acme), {"old": 1, "new": 3}))
    assert "<b>Leave out profiles without a bio</b>: no → yes" in page
    assert "Weight of Bio" not in page
    for old in ("", "x", "9", "9" * 30):
        assert client.get(url("compare", acme), {"old": old, "new": 1}).status_code == 404


def test_restoring_publishes_the_old_rules_anew_and_the_scores_come_back(acme, alice, browser):
    add(acme, 3)
    publish(acme, "Odd", weights={"bio": 90}, decision_maker_keywords=["zzz"])
    client = browser(alice)
    assert "Decision maker" in text(client.get(url("restore", acme, 1)))
    refused = client.post(url("restore", acme, 1), {"note": " "})
    assert "Write a note" in text(refused)
    client.post(url("restore", acme, 1), {"note": "Back"})
    tasks.rescore_slice()
    now = live(acme)
    assert (now.number, now.note, now.author) == (3, "Back", alice)
    with scope.as_tenant(acme):
        assert now.config == IcpVersion.objects.get(number=1).config


def test_equal_versions_have_no_differences_and_unequal_ones_have():
    assert differences(IcpConfig(), IcpConfig()) == []
    assert differences(IcpConfig(), IcpConfig(off=("title",)))


# --- Doors --------------------------------------------------------------------------------------


def test_a_viewer_sees_all_of_it_and_changes_nothing(acme, vera, browser):
    add(acme, 25)
    client = browser(vera)
    page = text(client.get(url("editor", acme)))
    assert "<fieldset disabled" in page
    assert "that takes Owner, Manager" in page
    assert client.get(url("effect", acme)).status_code == 200
    assert client.get(url("versions", acme)).status_code == 200
    for name in ("preview", "draft-save", "draft-discard", "publish"):
        assert client.post(url(name, acme), posted()).status_code == 403
    assert client.get(url("restore", acme, 1)).status_code == 403


def test_a_rivals_versions_are_not_there(acme, rival, charlie, browser):
    add(acme, 1)
    client = browser(charlie)
    assert client.get(url("restore", rival, 1)).status_code == 404
    assert client.get(url("compare", rival), {"old": 1, "new": 1}).status_code == 404
    assert client.get(url("editor", acme)).status_code == 404
    with scope.as_tenant(acme):
        effect = client.get(url("effect", rival)).context["effect"]
    assert effect.leads == 0


# --- Queries ------------------------------------------------------------------------------------


def count(client, method, address, data=None):
    with CaptureQueriesContext(connection) as seen:
        assert getattr(client, method)(address, data).status_code == 200
    return len(seen)


def test_the_number_of_queries_does_not_grow_with_leads_or_versions(acme, alice, browser):
    asked = [
        ("", "get", "editor", None),
        ("effect", "post", "preview", posted(decision_maker_keywords="ceo, zzz", hot=60)),
        ("movers", "post", "preview", posted(decision_maker_keywords="ceo, zzz", hot=60)),
        ("", "get", "versions", None),
    ]

    def numbers():
        return [
            count(browser(alice, htmx=part), method, url(name, acme), data)
            for part, method, name, data in asked
        ]

    add(acme, 3, "first")
    publish(acme, "Second", thresholds={"hot": 71})
    few = numbers()
    add(acme, 30, "second")
    for number in range(5):
        publish(acme, "More", thresholds={"hot": 80 + number})
    assert numbers() == few
    assert max(few) <= 24, few  # the movers, with the campaigns that they touch
