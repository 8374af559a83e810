"""Members, roles and the settings of a tenant: pages, rights, audit, the last owner."""

from __future__ import annotations

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from agenticos import scope
from agenticos.errors import Refused
from agenticos.tests.factories import make_key, make_member, make_user
from tenants import actions
from tenants.models import ApiKey, AuditEntry, Membership
from tenants.roles import ACTIONS, NAMES

pytestmark = pytest.mark.django_db
VALUES = {
    "name": "Acme Nova", "time_zone": "America/Manaus", "language": "en", "contact_gap_days": 30,
}  # fmt: skip


def url(name, *args):
    return reverse(name, args=["acme", *args])


def text(response):
    return response.content.decode()


def membership(acme, user):
    with scope.as_tenant(acme):
        return Membership.objects.get(user=user)


def audited(acme):
    with scope.as_tenant(acme):
        return list(AuditEntry.objects.order_by("pk").values_list("action", "data"))


# --- Team -------------------------------------------------------------------------------------


def test_everybody_sees_the_members_and_what_roles_may_do(acme, alice, vera, browser):
    page = text(browser(vera).get(url("team:list")))
    assert "alice@example.com" in page
    assert "Start campaigns" in page
    assert "You can look, not change. It takes: Owner." in page
    assert "<select" not in page
    assert "/remove/" not in page
    assert 'disabled><span class="btn-label">Remove…' in page


def test_every_right_has_a_name_for_people():
    assert set(NAMES) == set(ACTIONS)


def test_an_owner_gives_another_role_at_once(acme, alice, vera, browser):
    member = membership(acme, vera)
    client = browser(alice)
    response = client.post(url("team:role", member.pk), {"role": "manager"})
    assert response["Location"] == url("team:list")
    assert "Vera now has the role “Manager”." in text(client.get(url("team:list")))
    assert membership(acme, vera).role == "manager"
    assert ("membership.role_changed", {"before": "viewer", "after": "manager"}) in audited(acme)


@pytest.mark.parametrize("role", ["", "root", "Owner"])
def test_a_role_that_is_none_changes_nothing(acme, alice, vera, browser, role):
    browser(alice).post(url("team:role", membership(acme, vera).pk), {"role": role})
    assert membership(acme, vera).role == "viewer"


def test_the_last_owner_stays_owner_and_member(acme, alice, browser):
    member = membership(acme, alice)
    client = browser(alice)
    client.post(url("team:role", member.pk), {"role": "viewer"})
    client.post(url("team:remove", member.pk))
    assert membership(acme, alice).role == "owner"
    page = text(client.get(url("team:list")))
    assert "A workspace needs an owner" in page
    assert "The only owner" in page


def test_of_two_owners_one_may_go(acme, alice):
    other = make_member(acme, "owner")
    with scope.as_tenant(acme):
        actions.change_role(other, "viewer", by=alice, now=timezone.now())
        with pytest.raises(Refused, match="needs an owner"):
            actions.remove_member(membership(acme, alice), by=alice, now=timezone.now())


def test_a_removed_member_is_out_with_their_keys(acme, alice, browser):
    member = make_member(acme, "manager", make_user("max@example.com", name="Max"))
    make_key(acme, member=member)
    client = browser(alice)
    question = text(client.get(url("team:remove", member.pk)))
    assert "Remove Max from Acme?" in question
    assert "API keys that they made stop working" in question
    assert client.post(url("team:remove", member.pk))["Location"] == url("team:list")
    assert browser(member.user).get(url("team:list")).status_code == 404
    with scope.as_tenant(acme):
        assert not ApiKey.objects.exists()
    assert audited(acme)[-1] == (
        "membership.removed",
        {"person": member.user.pk, "role": "manager", "keys_revoked": 1},
    )


def test_a_member_who_was_removed_meanwhile_is_said_to_be_gone(acme, alice, vera):
    stale = membership(acme, vera)
    with scope.as_tenant(acme):
        actions.remove_member(membership(acme, vera), by=alice, now=timezone.now())
        with pytest.raises(Refused, match="no member any more"):
            actions.change_role(stale, "owner", by=alice, now=timezone.now())


def test_who_removes_themselves_is_led_out(acme, alice, browser):
    make_member(acme, "owner")
    client = browser(alice, htmx="dialog-body")
    response = client.post(url("team:remove", membership(acme, alice).pk))
    assert response["HX-Redirect"] == "/"


def test_a_member_of_another_tenant_is_404(acme, alice, rival, charlie, browser):
    with scope.as_tenant(rival):
        theirs = Membership.objects.get(user=charlie)
    response = browser(alice).post(url("team:role", theirs.pk), {"role": "viewer"})
    assert response.status_code == 404


def test_the_team_asks_the_same_number_of_questions_for_many(acme, alice, browser):
    client = browser(alice)

    def questions():
        with CaptureQueriesContext(connection) as seen:
            client.get(url("team:list"))
        return len(seen)

    few = questions()
    for _ in range(20):
        make_member(acme)
    assert questions() == few


# --- Settings ---------------------------------------------------------------------------------


def test_a_manager_changes_the_settings_and_it_is_audited(acme, browser):
    member = make_member(acme, "manager")
    response = browser(member.user).post(url("settings:edit"), VALUES)
    assert response["Location"] == url("settings:settings")
    acme.refresh_from_db()
    assert (acme.name, acme.time_zone, acme.contact_gap_days) == ("Acme Nova", "America/Manaus", 30)
    fields = ["name", "time_zone", "contact_gap_days"]
    assert audited(acme) == [("tenant.edited", {"fields": fields})]


def test_saving_the_same_again_is_no_change(acme, alice, browser):
    for _ in range(2):
        browser(alice).post(url("settings:edit"), VALUES)
    assert len(audited(acme)) == 1


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", ""), ("time_zone", "Mars/Olympus"), ("language", "xx"),
        ("contact_gap_days", "-1"), ("contact_gap_days", "99999"),
    ],
)  # fmt: skip
def test_a_setting_that_makes_no_sense_comes_back_with_its_mistake(
    acme, alice, browser, field, value
):
    response = browser(alice).post(url("settings:edit"), {**VALUES, field: value})
    assert response.status_code == 200
    assert "invalid-feedback" in text(response)
    assert "Acme Nova" not in text(response).split("<main")[0]  # the header keeps what is stored
    acme.refresh_from_db()
    assert acme.name == "Acme"


def test_a_viewer_reads_the_settings_and_who_may_change_them(acme, vera, browser):
    page = text(browser(vera).get(url("settings:settings")))
    assert "It takes: Owner, Manager." in page
    assert page.count("disabled") >= 4
    assert browser(vera).post(url("settings:edit"), VALUES).status_code == 403


def test_the_stop_shows_in_the_settings_and_is_lifted_there(acme, alice, browser, rung):
    client = browser(alice)
    assert "Sending is on" in text(client.get(url("settings:settings")))
    client.post(url("tenant-stop"))
    page = text(client.get(url("settings:settings")))
    assert "Everything has been stopped since" in page
    assert url("tenant-lift") in page


# --- One's own preference ---------------------------------------------------------------------


def test_single_keys_are_switched_off_and_on_by_oneself(acme, vera, browser):
    client = browser(vera)
    assert 'data-keys="on"' in text(client.get(url("team:list")))
    back = client.post("/preferences/keys/", {"keys": "off", "next": url("team:list")})
    assert back["Location"] == url("team:list")
    assert 'data-keys="off"' in text(client.get(url("team:list")))
    client.post("/preferences/keys/", {"keys": "maybe"})
    vera.refresh_from_db()
    assert vera.single_keys is False
