"""News: what becomes one, who sees it, what reading does, and what open pages ask for."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone, translation

from agenticos import scope
from agenticos.models import WorkerBeat
from agenticos.tests.factories import make_account, make_campaign, make_member, make_message
from campaigns import actions, health
from integrations.models import Connection
from tenants import audit, notifications
from tenants.models import Membership, Notification

pytestmark = pytest.mark.django_db
NOW = timezone.now


def url(name, *args):
    return reverse(f"notifications:{name}", args=["acme", *args])


def text(response):
    return response.content.decode()


def member(acme, user):
    with scope.as_tenant(acme):
        return Membership.objects.select_related("user").get(user=user)


def tell(acme, kind="campaign.finished", subject=1, **params):
    with scope.as_tenant(acme):
        return notifications.notify(
            acme, kind, subject=subject, params={"name": "Outono", **params}, now=NOW()
        )


def kinds(acme):
    with scope.as_tenant(acme):
        return list(Notification.objects.order_by("pk").values_list("kind", flat=True))


# --- What becomes news ------------------------------------------------------------------------


def test_a_campaign_that_finishes_is_news_in_the_same_transaction(acme, alice):
    campaign = make_campaign(acme, state="running", name="Outono")
    with transaction.atomic():
        health.finish_done([(acme.pk, campaign.pk)], NOW())
        transaction.set_rollback(True)
    assert kinds(acme) == []
    health.finish_done([(acme.pk, campaign.pk)], NOW())
    assert kinds(acme) == ["campaign.finished"]


def test_what_a_person_blocks_is_no_news_to_them_but_to_the_others(acme, alice, vera):
    account = make_account(acme, "conta")
    with scope.as_tenant(acme):
        actions.block_account(account, by=alice, now=NOW())
        assert notifications.bell(member(acme, alice)).unread == 0
        assert notifications.bell(member(acme, vera)).unread == 1


def test_a_person_who_pauses_makes_no_news(acme, alice, rung):
    campaign = make_campaign(acme, state="running")
    with scope.as_tenant(acme):
        actions.pause_campaign(campaign, by=alice, now=NOW())
    assert kinds(acme) == []


def test_an_action_that_is_no_news_stays_in_the_audit_trail(acme, alice):
    with scope.as_tenant(acme):
        audit.record(acme, "tenant.edited", by=alice)
    assert kinds(acme) == []


def test_the_same_news_takes_the_place_of_what_nobody_has_read(acme, alice):
    tell(acme, subject=1, count=1)
    tell(acme, subject=2)
    latest = tell(acme, subject=1, count=2)
    with scope.as_tenant(acme):
        assert [row.params.get("count") for row in Notification.objects.order_by("pk")] == [None, 2]
        notifications.mark_read(member(acme, alice), pk=latest.pk, now=NOW())
    tell(acme, subject=1)
    assert len(kinds(acme)) == 3  # what was read is history


def test_an_unknown_kind_is_a_mistake_of_ours(acme):
    with pytest.raises(KeyError):
        tell(acme, "campaign.danced")


@pytest.mark.parametrize("kind", list(notifications.KINDS))
@pytest.mark.parametrize("language", ["en", "pt-br"])
def test_every_kind_has_a_sentence_and_leads_somewhere(acme, kind, language):
    row = tell(acme, kind, subject=7, created=1200, updated=0, rejected=3, count=2)
    with translation.override(language):
        sentence = notifications.sentence(row)
    assert "%(" not in sentence
    assert len(sentence) > 15
    assert notifications.address(row, acme).startswith("/t/acme/")


# --- Who sees it ------------------------------------------------------------------------------


def test_a_member_sees_only_what_they_may_look_at(acme, alice, vera, browser):
    tell(acme, "sync.dead", count=2)
    assert "2 contacts did not reach the CRM" in text(browser(alice).get(url("list")))
    assert (
        "did not reach the CRM"
        not in text(browser(vera).get(url("list")))
        .split("<main")[1]
        .split("No notifications yet")[0]
    )


def test_what_was_before_one_came_is_not_ones_news(acme):
    old = tell(acme)
    with scope.as_tenant(acme):
        Notification.objects.filter(pk=old.pk).update(created_at=NOW() - timedelta(days=1))
        assert notifications.bell(make_member(acme, "owner")).unread == 0


def test_another_tenants_news_is_nobodys_business(acme, charlie, rival, browser):
    row = tell(acme)
    address = reverse("notifications:open", args=["rival", row.pk])
    assert browser(charlie).get(address).status_code == 404
    assert "Outono" not in text(browser(charlie).get(reverse("notifications:list", args=["rival"])))


# --- Reading ----------------------------------------------------------------------------------


def test_opening_one_marks_it_for_that_person_and_goes_there(acme, alice, vera, browser):
    row = tell(acme, subject=7)
    response = browser(alice).get(url("open", row.pk))
    assert response["Location"] == reverse("campaigns:detail", args=["acme", 7])
    with scope.as_tenant(acme):
        assert notifications.bell(member(acme, alice)).unread == 0
        assert notifications.bell(member(acme, vera)).unread == 1


def test_a_look_with_head_reads_nothing(acme, alice, browser):
    row = tell(acme)
    browser(alice).head(url("open", row.pk))
    with scope.as_tenant(acme):
        assert notifications.bell(member(acme, alice)).unread == 1


def test_a_viewer_too_may_mark_all_as_read(acme, vera, browser):
    for subject in range(3):
        tell(acme, subject=subject)
    client = browser(vera)
    assert 'class="bell-count">3' in text(client.get(url("list")))
    assert client.post(url("read")).status_code == 302
    assert "bell-count" not in text(client.get(url("list")))
    assert "Everything is read" in text(client.get(url("list") + "?unread"))
    client.post(url("read"))  # twice is as good


def test_the_sentence_is_in_the_readers_language(acme, alice, browser):
    tell(acme)
    alice.language = "en"
    alice.save()
    assert "“Outono” is finished." in text(browser(alice).get(url("list")))


def test_the_list_asks_the_same_number_of_questions_for_many(acme, alice, browser):
    client = browser(alice)

    def questions():
        with CaptureQueriesContext(connection) as seen:
            assert client.get(url("list")).status_code == 200
        return len(seen)

    for subject in range(3):
        tell(acme, subject=subject)
    few = questions()
    for subject in range(3, 30):
        tell(acme, subject=subject)
    assert questions() == few


# --- What open pages ask for ------------------------------------------------------------------


def test_the_poll_brings_the_bell_and_a_toast_for_what_is_new(acme, alice, browser):
    seen = tell(acme, subject=1)
    client = browser(alice, htmx="bell")
    first = text(client.get(url("poll"), {"since": seen.pk}))
    assert "toast-note" not in first
    assert f"since={seen.pk}" in first
    new = tell(acme, subject=2)
    second = text(client.get(url("poll"), {"since": seen.pk}))
    assert second.count("toast-note") == 1
    assert f"since={new.pk}" in second
    assert 'hx-trigger="every 15s"' in second


def test_after_all_is_read_the_poll_forgets_no_place(acme, alice, browser):
    row = tell(acme)
    browser(alice).post(url("read"))
    assert f"since={row.pk}" in text(
        browser(alice, htmx="bell").get(url("poll"), {"since": row.pk})
    )


@pytest.mark.parametrize("since", ["", "x", "-1", "9" * 40, "²"])
def test_a_since_that_is_none_is_zero(acme, alice, browser, since):
    assert browser(alice, htmx="bell").get(url("poll"), {"since": since}).status_code == 200


def test_the_poll_is_cheap(acme, alice, browser):
    tell(acme)
    WorkerBeat.objects.create(owner="w", seen_at=NOW())
    client = browser(alice, htmx="bell")
    with CaptureQueriesContext(connection) as seen:
        client.get(url("poll"), {"since": 10**9})
    # Session, person, membership, the bell, the workers.
    assert len(seen) == 5, [query["sql"] for query in seen]


def test_the_poll_says_when_nobody_takes_up_the_work(acme, alice, browser):
    account = make_account(acme, next_at=NOW())
    make_message(make_campaign(acme, state="running", accounts=[account]))
    beat = WorkerBeat.objects.create(owner="w", seen_at=NOW() - timedelta(minutes=3))
    client = browser(alice, htmx="bell")
    assert "3 min ago" in text(client.get(url("poll")))
    WorkerBeat.objects.filter(pk=beat.pk).update(seen_at=NOW())
    assert "no worker" not in text(client.get(url("poll")))


def test_after_the_session_the_poll_sends_to_the_log_in_and_back(acme, browser):
    page = reverse("tenant-home", args=["acme"])
    client = browser(htmx="bell")
    response = client.get(url("poll"), headers={"HX-Current-URL": f"http://testserver{page}"})
    assert response["HX-Redirect"] == f"{reverse('account_login')}?next=%2Ft%2Facme%2F"


def test_dead_letters_are_news_of_their_connection(acme, alice, in_tenant):
    from agenticos.tests.factories import make_connection, make_sync_item
    from integrations import delivery
    from integrations.models import SyncItem

    line = make_connection(acme, Connection.Kind.GHL)
    item = make_sync_item(line, "lead:1", state="failed")
    in_tenant(acme)
    delivery._tell_of_dead(SyncItem.objects.filter(pk=item.pk), NOW())
    row = Notification.objects.get()
    assert (row.kind, row.subject, row.params) == ("sync.dead", line.pk, {"count": 1})
