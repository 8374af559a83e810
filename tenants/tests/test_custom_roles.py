"""Roles of a tenant's own: what they open, who may say so, and what they never open."""

from __future__ import annotations

import pytest
from django.core.exceptions import PermissionDenied
from django.db import IntegrityError, connection, transaction
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from agenticos import scope
from agenticos.errors import Refused
from agenticos.tests.factories import (
    api_client,
    make_campaign,
    make_key,
    make_lead,
    make_member,
    make_message,
    make_own_member,
    make_role,
    make_user,
)  # fmt: skip
from tenants import actions, custom_roles, inviting, second_factor
from tenants.authentication import scopes_for
from tenants.models import AuditEntry, CustomRole, Invitation, Membership
from tenants.roles import ACTIONS, BASE, CUSTOM, GRANTABLE, NAMES, NEEDS, can, is_trusted

pytestmark = pytest.mark.django_db
TEXT = "Hello from the spring campaign"


def url(name, *args):
    return reverse(f"team:{name}", args=["acme", *args])


def text(response):
    return response.content.decode()


def member_of(tenant, user):
    with scope.as_tenant(tenant):
        return Membership.objects.select_related("custom_role").get(user=user)


def audited(acme):
    with scope.as_tenant(acme):
        return list(AuditEntry.objects.order_by("pk").values_list("action", "data"))


def own_role(acme):
    with scope.as_tenant(acme):
        return CustomRole.objects.get()


# --- What they mean ---------------------------------------------------------------------------


def test_it_has_what_a_viewer_has_and_its_rights():
    member = Membership(role=CUSTOM, custom_role=CustomRole(rights=["campaigns.launch"]))
    assert {action for action in ACTIONS if can(member, action)} == BASE | {"campaigns.launch"}


@pytest.mark.parametrize("right", ["members.manage", "no.such"])
def test_a_row_that_says_more_opens_no_more(right):
    member = Membership(role=CUSTOM, custom_role=CustomRole(rights=[right]))
    assert {action for action in ACTIONS if can(member, action)} == BASE


def test_without_its_role_it_opens_nothing():
    assert not any(can(Membership(role=CUSTOM), action) for action in ACTIONS)


def test_one_of_the_five_takes_nothing_from_a_role_beside_it():
    member = Membership(role="viewer", custom_role=CustomRole(rights=["leads.export"]))
    assert not can(member, "leads.export")


def test_needs_can_be_given_and_end():
    for right, need in NEEDS.items():
        assert right in GRANTABLE
        assert need in GRANTABLE
        assert NEEDS.get(need) != right


@pytest.mark.parametrize(
    ("rights", "trusted"),
    [((), False), (("leads.edit", "tenant.stop"), False), (("leads.export",), True)],
)
def test_a_second_factor_is_asked_of_who_may_more_than_operators(acme, settings, rights, trusted):
    settings.REQUIRE_MFA = True
    member = make_own_member(acme, *rights)
    assert is_trusted(member) is trusted
    assert second_factor.is_missing(member) is trusted


# --- Made, changed, deleted -------------------------------------------------------------------


def test_an_owner_defines_a_role_in_words_and_gives_it(acme, alice, vera, browser):
    client = browser(alice)
    page = text(client.get(url("role-add")))
    for right in GRANTABLE:
        assert f'value="{right}"' in page
        assert str(NAMES[right]).replace("'", "&#x27;") in page
    assert "members.manage" not in page
    answer = client.post(url("role-add"), {"name": " Lead  closer ", "rights": ["leads.export"]})
    assert answer["Location"] == url("list")
    row = own_role(acme)
    assert (row.name, row.rights) == ("Lead closer", ["leads.export"])
    client.post(url("role", member_of(acme, vera).pk), {"role": f"custom-{row.pk}"})
    assert member_of(acme, vera).custom_role == row
    page = text(client.get(url("list")))
    assert "now has the role “Lead closer”" in page
    assert "1 member has this role. Give them another one first." in page
    assert audited(acme) == [
        ("role.created", {"name": "Lead closer", "rights": ["leads.export"]}),
        (
            "membership.role_changed",
            {"before": "viewer", "after": f"custom-{row.pk} (Lead closer)"},
        ),
    ]


def test_what_is_changed_holds_with_the_next_click(acme, alice, browser):
    member = make_own_member(acme, "audit.view")
    knocks, trail = browser(member.user), reverse("audit:list", args=["acme"])
    assert knocks.get(trail).status_code == 200
    path = url("role-edit", member.custom_role_id)
    browser(alice).post(path, {"name": "Closer", "rights": ["leads.export"]})
    assert knocks.get(trail).status_code == 403
    assert audited(acme)[-1] == (
        "role.changed",
        {"before": {"rights": ["audit.view"]}, "after": {"rights": ["leads.export"]}},
    )


def test_saving_the_same_again_is_no_change(acme, alice, browser):
    role = make_role(acme, "leads.edit")
    browser(alice).post(url("role-edit", role.pk), {"name": "Closer", "rights": ["leads.edit"]})
    assert audited(acme) == []


@pytest.mark.parametrize(
    ("name", "rights", "said"),
    [
        ("", [], "This field is required"),
        ("x" * 41, [], "at most 40 characters"),
        ("OWNER", [], "Another role has this name"),
        ("closer", [], "Another role has this name"),
        ("A\u202eB", [], "1 to 40 characters"),
        ("Boss", ["members.manage"], "Select a valid choice"),
        ("Boss", ["campaigns.view"], "Select a valid choice"),
        ("Boss", ["campaigns.edit"], "takes “Read message texts” as well"),
        ("Boss", ["sync.retry", "messages.view_text"], "takes “See integrations” as well"),
    ],
)
def test_what_makes_no_role_comes_back_with_its_mistake(acme, alice, browser, name, rights, said):
    make_role(acme)
    page = text(browser(alice).post(url("role-add"), {"name": name, "rights": rights}))
    assert said in page
    assert own_role(acme).name == "Closer"


@pytest.mark.parametrize("right", ["members.manage", "campaigns.view", "no.such"])
def test_no_way_around_the_form_gives_what_may_not_be_given(acme, alice, right):
    maker, role = member_of(acme, alice), make_role(acme)
    with scope.as_tenant(acme), pytest.raises(Refused, match="No role of yours"):
        custom_roles.create_role(maker, name="Boss", rights=[right])
    with scope.as_tenant(acme), pytest.raises(Refused, match="No role of yours"):
        custom_roles.edit_role(role, maker, name="Boss", rights=[right])


def test_nobody_gives_what_they_have_not_got(acme):
    maker = make_own_member(acme, "leads.edit")
    with scope.as_tenant(acme), pytest.raises(Refused, match="Manage integrations"):
        custom_roles.create_role(maker, name="Boss", rights=["connections.manage"])


def test_there_are_at_most_twenty(acme, alice, browser):
    for number in range(custom_roles.MOST):
        make_role(acme, name=f"Role {number}")
    answer = browser(alice).post(url("role-add"), {"name": "One more", "rights": []})
    assert "up to 20 roles" in text(answer)
    assert "up to 20 roles" in text(browser(alice).get(url("list")))


def test_a_role_goes_when_nobody_has_it(acme, alice, browser):
    member, client = make_own_member(acme), browser(alice)
    path = url("role-delete", member.custom_role_id)
    client.post(path)
    assert "1 member has this role" in text(client.get(url("list")))
    with scope.as_tenant(acme):
        actions.change_role(member, "viewer", by=alice, now=timezone.now())
    assert "Delete the role “Closer”?" in text(client.get(path))
    assert client.post(path)["Location"] == url("list")
    assert audited(acme)[-1] == ("role.deleted", {"name": "Closer", "rights": []})
    assert client.post(path).status_code == 404


def test_a_role_that_was_deleted_meanwhile_is_given_to_nobody(acme, alice, vera):
    role = make_role(acme)
    member, maker, choice = member_of(acme, vera), member_of(acme, alice), f"custom-{role.pk}"
    with scope.as_tenant(acme):
        custom_roles.delete_role(CustomRole.objects.get(), by=alice)
        with pytest.raises(Refused, match="no such role"):
            actions.change_role(member, choice, by=alice, now=timezone.now())
        with pytest.raises(Refused, match="deleted meanwhile"):
            custom_roles.edit_role(role, maker, name="Closer", rights=[])


def test_the_last_owner_gets_no_role_of_ones_own(acme, alice):
    member, role = member_of(acme, alice), make_role(acme, *GRANTABLE)
    with scope.as_tenant(acme), pytest.raises(Refused, match="needs an owner"):
        actions.change_role(member, f"custom-{role.pk}", by=alice, now=timezone.now())


@pytest.mark.parametrize("choice", ["custom", "custom-", "custom-x", "custom-²", "7", "custom-0"])
def test_what_stands_for_no_role_is_refused(acme, choice):
    with scope.as_tenant(acme), pytest.raises(Refused, match="no such role"):
        custom_roles.find(choice)


def test_another_tenants_role_is_none(acme, rival, alice, vera, browser):
    theirs = make_role(rival)
    client = browser(alice)
    client.post(url("role", member_of(acme, vera).pk), {"role": f"custom-{theirs.pk}"})
    assert member_of(acme, vera).role == "viewer"
    for name in ("role-edit", "role-delete"):
        assert client.post(url(name, theirs.pk), {"name": "Mine"}).status_code == 404


@pytest.mark.parametrize("who", ["manager", "own"])
def test_who_is_no_owner_sees_and_is_told_why_not(acme, browser, who):
    member = make_own_member(acme, *GRANTABLE) if who == "own" else make_member(acme, who)
    make_role(acme, name="Other")
    client = browser(member.user)
    page = text(client.get(url("list")))
    assert "Other" in page
    assert "It takes: Owner." in page
    assert url("role-add") not in page
    refused = client.post(url("role-add"), {"name": "Boss", "rights": []})
    assert refused.status_code == 403


@pytest.mark.parametrize("values", [{"role": CUSTOM}, {"role": "viewer", "own": True}])
def test_the_database_keeps_role_and_own_role_together(acme, values):
    own = make_role(acme) if values.pop("own", False) else None
    user = make_user()
    with scope.as_tenant(acme), transaction.atomic(), pytest.raises(IntegrityError):
        Membership.objects.create(tenant=acme, user=user, custom_role=own, **values)


# --- Invitations ------------------------------------------------------------------------------


def test_an_invitation_is_for_a_role_of_the_tenants_own(acme, alice, browser):
    role, client = make_role(acme, "leads.edit"), browser(alice)
    client.post(url("invite"), {"email": "new@example.com", "role": f"custom-{role.pk}"})
    page = text(client.get(url("list")))
    assert "1 invitation is for this role. Withdraw it first." in page
    with scope.as_tenant(acme):
        row = Invitation.objects.get()
        with pytest.raises(Refused, match="1 invitation"):
            custom_roles.delete_role(role, by=alice)
        member = inviting.accept_as_new(
            row, name="New", password="a long enough sentence", now=timezone.now()
        )
        assert (member.role, member.custom_role) == (CUSTOM, role)
        assert can(member, "leads.edit")
        actions.change_role(member, "viewer", by=alice, now=timezone.now())
        custom_roles.delete_role(role, by=alice)
        row.refresh_from_db()
        assert row.accepted_at is not None  # its history stays
        assert row.custom_role is None


# --- What it opens: pages, parts, programs ----------------------------------------------------


@pytest.mark.parametrize("may_read", [False, True])
def test_texts_are_shown_to_a_role_with_that_right_alone(acme, browser, may_read):
    rights = {"campaigns.launch", "leads.export", "messages.resolve", "ops.view", "audit.view"}
    rights |= {"messages.view_text"} if may_read else set()
    member = make_own_member(acme, *rights)
    lead = make_lead(acme)
    campaign = make_campaign(acme, body=TEXT)
    message = make_message(campaign, lead, text=TEXT)
    pages = [
        reverse("campaigns:audience", args=["acme", campaign.pk]),
        reverse("campaigns:sequence", args=["acme", campaign.pk]),
        reverse("campaigns:detail", args=["acme", campaign.pk]),
        reverse("campaigns:message-resolve", args=["acme", campaign.pk, message.pk]),
        lead.get_absolute_url(),
        reverse("leads:subject-export", args=["acme", lead.pk]),
        reverse("audit:list", args=["acme"]),
        reverse("ops:page", args=["acme"]),
    ]
    client = browser(member.user)
    found = [text(client.get(page)) for page in pages]
    key = api_client(make_key(acme, member=member))
    found += [
        text(key.get(path))
        for path in (
            f"/api/v1/campaigns/{campaign.pk}", f"/api/v1/campaigns/{campaign.pk}/messages",
            f"/api/v1/leads/{lead.pk}/subject-export", "/api/v1/templates",
        )
    ]  # fmt: skip
    assert any(TEXT in one for one in found) is may_read


def test_a_key_has_no_more_scopes_than_its_makers_role(acme):
    member = make_own_member(acme, "keys.manage", "leads.export")
    assert scopes_for(member) == ["leads:read", "campaigns:read", "icp:read", "exports"]


def test_a_page_asks_as_many_questions_for_a_role_of_ones_own(acme, browser):
    """The role comes with the membership."""

    def questions(member):
        client = browser(member.user)
        with CaptureQueriesContext(connection) as seen:
            assert client.get(reverse("campaigns:list", args=["acme"])).status_code == 200
        return len(seen)

    assert questions(make_own_member(acme)) == questions(make_member(acme))


def test_a_view_is_closed_by_the_same_function(acme, rf):
    from tenants.http import requires

    request = rf.get("/")
    request.membership = make_own_member(acme, "leads.export")
    assert requires("leads.export")(lambda request: "open")(request) == "open"
    with pytest.raises(PermissionDenied, match="It takes: Owner, Manager"):
        requires("campaigns.launch")(lambda request: "open")(request)
