"""API keys for people: who sees and makes which, what is shown once, rotation with an overlap."""

from __future__ import annotations

import html
import re
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.db import connections
from django.urls import reverse
from django.utils import timezone

from agenticos import scope
from agenticos.errors import Refused
from agenticos.tests.factories import api_client, make_key, make_member, make_user
from tenants import api_keys
from tenants.authentication import SCOPE_TAKES, SCOPES, scopes_for
from tenants.forms_keys import SCOPE_NAMES
from tenants.models import ApiKey, AuditEntry, Membership

pytestmark = pytest.mark.django_db
GIVEN = {"name": "n8n", "scopes": ["leads:read"], "days": "90"}


def url(name, *args):
    return reverse(f"keys:{name}", args=["acme", *args])


def text(response):
    return html.unescape(response.content.decode())


def shown(response):
    """The text of the key on the page that shows it once."""
    return re.search(r'id="key-text"[^>]*value="(aos_\w+)"', response.content.decode())[1]


def member_of(acme, user):
    with scope.as_tenant(acme):
        return Membership.objects.select_related("tenant").get(user=user)


def audited(acme):
    with scope.as_tenant(acme):
        return list(AuditEntry.objects.order_by("pk").values_list("action", "data"))


def row_of(acme, **fields):
    with scope.as_tenant(acme):
        return ApiKey.objects.select_related("created_by").get(**fields)


def status_of(key):
    return api_client(key).get("/api/v1/leads").status_code


@pytest.fixture
def made(acme, alice):
    """A key of alice's, made as the page makes it: its row and its text."""
    with scope.as_tenant(acme):
        return api_keys.create_key(
            member_of(acme, alice),
            name="n8n",
            scopes=["leads:read", "leads:write"],
            days=30,
            by=alice,
            now=timezone.now(),
        )


# --- Making -----------------------------------------------------------------------------------


def test_a_key_is_shown_once_and_opens_the_door(acme, alice, browser):
    client = browser(alice)
    page = client.post(url("add"), GIVEN)
    key = shown(page)
    assert page["Cache-Control"] == "no-store"
    assert f"AGENTICOS_KEY={key}" in text(page)
    assert "/api/v1/leads?limit=5" in text(page)
    assert status_of(key) == 200
    listed = text(client.get(url("list")))
    assert key not in listed
    assert f"…{key[-4:]}" in listed
    row = row_of(acme)
    assert (row.name, row.scopes, row.created_by.user_id) == ("n8n", ["leads:read"], alice.pk)
    assert timedelta(days=89) < row.expires_at - timezone.now() <= timedelta(days=90)
    assert audited(acme) == [("api_key.created", {"scopes": ["leads:read"]})]


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": ""}, {"name": "x" * 61}, {"name": "a\u200bb"}, {"scopes": []},
        {"scopes": ["all"]}, {"days": "0"}, {"days": "366"}, {"days": "x"}, {"days": ""},
    ],
)  # fmt: skip
def test_what_makes_no_sense_comes_back(acme, alice, browser, wrong):
    page = browser(alice).post(url("add"), {**GIVEN, **wrong})
    assert page.status_code == 200
    assert "invalid-feedback" in text(page)
    with scope.as_tenant(acme):
        assert not ApiKey.objects.exists()


def test_a_name_serves_one_key_at_a_time(acme, alice, browser, made):
    page = text(browser(alice).post(url("add"), GIVEN))
    assert "Another key has this name." in page
    with scope.as_tenant(acme):
        ApiKey.objects.update(expires_at=timezone.now() - timedelta(days=1))
    assert shown(browser(alice).post(url("add"), GIVEN))
    with scope.as_tenant(acme):
        assert ApiKey.objects.filter(name="n8n").count() == 2


def test_a_manager_gets_what_a_manager_may_and_no_more(acme, browser):
    manager = make_member(acme, "manager")
    page = text(browser(manager.user).get(url("add")))
    assert "campaigns:launch" in page
    assert "<code>admin</code>" not in page
    refused = browser(manager.user).post(url("add"), {**GIVEN, "scopes": ["admin"]})
    assert "invalid-feedback" in text(refused)


@pytest.mark.parametrize("role", ["operator", "reviewer", "viewer"])
def test_the_other_roles_make_none(acme, browser, role):
    member = make_member(acme, role)
    for name in ("list", "add"):
        assert browser(member.user).get(url(name)).status_code == 403
    with scope.as_tenant(acme), pytest.raises(Refused):
        api_keys.create_key(
            member, name="x", scopes=["leads:read"], days=1, by=None, now=timezone.now()
        )


def test_a_role_that_was_lowered_meanwhile_makes_no_key(acme, alice):
    stale = member_of(acme, alice)
    with scope.as_tenant(acme):
        Membership.objects.update(role="viewer")
        with pytest.raises(Refused):
            api_keys.create_key(
                stale, name="x", scopes=["leads:read"], days=1, by=alice, now=timezone.now()
            )


def test_every_scope_has_its_words_and_its_right():
    assert set(SCOPE_NAMES) == set(SCOPE_TAKES) == set(SCOPES)


def test_every_operation_of_the_api_can_be_reached_with_an_offered_scope(acme):
    """Whoever may do it and may make keys is offered the scope that it takes."""
    from agenticos.tests.test_house import operations
    from tenants.roles import ACTIONS, can

    for role in ("owner", "manager"):
        member = make_member(acme, role)
        assert can(member, "keys.manage")
        for _, route, _, right in operations():
            if right.scope and role in ACTIONS[right.action]:
                assert right.scope in scopes_for(member), route


# --- Seeing and revoking ----------------------------------------------------------------------


def test_a_manager_sees_their_own_and_an_owner_all(acme, alice, browser, made):
    manager = make_member(acme, "manager", make_user("max@example.com", name="Max"))
    with scope.as_tenant(acme):
        api_keys.create_key(
            manager, name="of max", scopes=["leads:read"], days=1, by=None, now=timezone.now()
        )
    own = text(browser(manager.user).get(url("list")))
    assert "of max" in own
    assert "n8n" not in own
    every = text(browser(alice).get(url("list")))
    assert "of max" in every
    assert "n8n" in every
    row, key = made
    for name in ("revoke", "rotate"):
        assert browser(manager.user).post(url(name, row.pk)).status_code == 404
    assert status_of(key) == 200


def test_the_list_says_what_the_makers_role_no_longer_allows(acme, alice, browser, made):
    manager = make_member(acme, "manager")
    make_key(acme, member=manager, scopes=["integrations:read", "leads:read"])
    client = browser(alice)
    assert "Struck out" not in text(client.get(url("list")))
    with scope.as_tenant(acme):
        Membership.objects.filter(pk=manager.pk).update(role="viewer")
    page = text(client.get(url("list")))
    assert "<s>integrations:read</s>" in page
    assert "<s>leads:read</s>" not in page
    assert "Struck out" in page


def test_a_revoked_key_is_refused_at_once_and_listed_below(acme, alice, browser, made):
    row, key = made
    client = browser(alice)
    assert "Revoke the key “n8n”?" in text(client.get(url("revoke", row.pk)))
    assert status_of(key) == 200
    assert client.post(url("revoke", row.pk))["Location"] == url("list")
    assert api_client(key).get("/api/v1/leads").json()["code"] == "key_revoked"
    page = text(client.get(url("list")))
    assert "The key “n8n” was revoked." in page
    assert "No key is in force" in page
    assert "Keys that are over" in page
    assert audited(acme)[-1] == ("api_key.revoked", {})
    client.post(url("revoke", row.pk))
    assert "revoked already" in text(client.get(url("list")))
    assert len(audited(acme)) == 2


def test_an_owner_revokes_what_others_made(acme, alice, browser):
    manager = make_member(acme, "manager")
    key = make_key(acme, member=manager)
    response = browser(alice, htmx="dialog-body").post(url("revoke", row_of(acme).pk))
    assert response["HX-Redirect"] == url("list")
    assert status_of(key) == 401


# --- Rotating ---------------------------------------------------------------------------------


def test_both_keys_work_until_the_overlap_is_over(acme, alice, browser, made):
    row, old = made
    client = browser(alice)
    page = client.post(url("rotate", row.pk), {"overlap_hours": "4"})
    new = shown(page)
    assert (status_of(old), status_of(new)) == (200, 200)
    before, after = row_of(acme, pk=row.pk), row_of(acme, replaced_at=None)
    assert (after.name, after.scopes) == (before.name, before.scopes)
    assert timedelta(days=29) < after.expires_at - timezone.now() <= timedelta(days=30)
    left = before.expires_at - timezone.now()
    assert timedelta(hours=3.9) < left <= timedelta(hours=4)
    with scope.as_tenant(acme):
        ApiKey.objects.filter(pk=row.pk).update(expires_at=timezone.now())
    assert (status_of(old), status_of(new)) == (401, 200)
    assert audited(acme)[-1] == ("api_key.rotated", {"replaces": row.pk, "overlap_hours": 4})
    assert "replaced by a newer one" in text(client.get(url("list")))


def test_without_an_overlap_the_old_key_ends_at_once(acme, alice, browser, made):
    row, old = made
    new = shown(browser(alice).post(url("rotate", row.pk), {"overlap_hours": "0"}))
    assert (status_of(old), status_of(new)) == (401, 200)


def test_an_overlap_never_lengthens_a_keys_life(acme, alice, made):
    row, _ = made
    with scope.as_tenant(acme):
        soon = timezone.now() + timedelta(minutes=5)
        ApiKey.objects.filter(pk=row.pk).update(expires_at=soon)
        api_keys.rotate_key(row, overlap_hours=24, by=alice, now=timezone.now())
        assert ApiKey.objects.get(pk=row.pk).expires_at == soon


@pytest.mark.parametrize("hours", ["25", "-1", "x", ""])
def test_an_overlap_that_makes_no_sense_comes_back(acme, alice, browser, made, hours):
    row, _ = made
    page = browser(alice).post(url("rotate", row.pk), {"overlap_hours": hours})
    assert "invalid-feedback" in text(page)
    assert row_of(acme).replaced_at is None
    with scope.as_tenant(acme), pytest.raises(Refused):
        api_keys.rotate_key(row, overlap_hours=25, by=alice, now=timezone.now())


@pytest.mark.parametrize("over", ["revoked_at", "replaced_at", "expires_at"])
def test_what_is_over_is_not_rotated(acme, alice, browser, made, over):
    row, _ = made
    with scope.as_tenant(acme):
        ApiKey.objects.update(**{over: timezone.now()})
    response = browser(alice).post(url("rotate", row.pk), {"overlap_hours": "1"})
    assert response["Location"] == url("list")
    with scope.as_tenant(acme):
        assert ApiKey.objects.count() == 1


def test_nobody_gets_a_key_that_acts_for_somebody_else(acme, alice, browser):
    manager = make_member(acme, "manager")
    make_key(acme, member=manager)
    row = row_of(acme)
    client = browser(alice)
    assert "Rotate…" not in text(client.get(url("list")))
    client.post(url("rotate", row.pk), {"overlap_hours": "1"})
    assert "only they may rotate it" in text(client.get(url("list")))
    with scope.as_tenant(acme):
        assert ApiKey.objects.count() == 1


def test_the_new_key_has_what_the_present_role_allows(acme):
    member = make_member(acme, "owner")
    make_key(acme, member=member, scopes=["admin", "leads:read"])
    row = row_of(acme)
    with scope.as_tenant(acme):
        Membership.objects.filter(pk=member.pk).update(role="manager")
        made, _ = api_keys.rotate_key(row, overlap_hours=1, by=member.user, now=timezone.now())
    assert made.scopes == ["leads:read"]


def test_the_pages_ask_the_same_number_of_questions_for_many(
    acme, alice, browser, django_assert_max_num_queries
):
    for _ in range(8):
        make_key(acme, member=make_member(acme, "manager"))
    client = browser(alice)
    with django_assert_max_num_queries(12):
        client.get(url("list"))


# --- The log ----------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_what_is_done_with_keys_is_logged_by_ids_alone(acme, alice, monkeypatch):
    said = []
    monkeypatch.setattr(api_keys.logger, "info", lambda text, *words: said.append(text % words))
    member, now = member_of(acme, alice), timezone.now()
    with scope.as_tenant(acme):
        first, _ = api_keys.create_key(
            member, name="secret name", scopes=["leads:read"], days=9, by=alice, now=now
        )
        second, _ = api_keys.rotate_key(first, overlap_hours=1, by=alice, now=now)
        api_keys.revoke_key(second, by=alice, now=now)
    assert said == [
        f"key.{verb} tenant={acme.pk} key={key.pk} by={alice.pk}"
        for verb, key in (("created", first), ("rotated", second), ("revoked", second))
    ]


# --- At one instant ---------------------------------------------------------------------------


@pytest.mark.postgresql
@pytest.mark.django_db(transaction=True)
def test_of_two_rotations_at_once_one_happens(acme, alice):
    make_key(acme, member=member_of(acme, alice))
    row = row_of(acme)
    gate = threading.Barrier(4)

    def rotate(_):
        try:
            with scope.as_tenant(acme):
                gate.wait(30)
                api_keys.rotate_key(row, overlap_hours=1, by=alice, now=timezone.now())
        except Refused as refused:
            return refused.code
        else:
            return "made"
        finally:
            connections.close_all()

    with ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(rotate, range(4))) == ["made", *["not_in_force"] * 3]
