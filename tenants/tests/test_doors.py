"""Roles, the audit trail, and the middleware at the doors of the pages."""

from __future__ import annotations

import pytest
from django.core.exceptions import PermissionDenied
from django.http import HttpResponse
from django.test import RequestFactory
from django.urls import reverse
from django.utils import timezone

from agenticos import scope
from agenticos.tests.factories import make_lead, make_member, make_user
from tenants import audit, middleware
from tenants.http import requires
from tenants.models import AuditEntry, Membership
from tenants.roles import ACTIONS, Role, can, who_can

ALLOWED = {
    "campaigns.launch": {"owner", "manager"},
    "campaigns.control": {"owner", "manager", "operator"},
    "leads.export": {"owner", "manager"},
    "leads.import": {"owner", "manager", "operator"},
    "messages.view_text": {"owner", "manager", "operator", "reviewer"},
    "connections.manage": {"owner"},
    "members.manage": {"owner"},
    "campaigns.view": {"owner", "manager", "operator", "reviewer", "viewer"},
}


@pytest.mark.parametrize("role", list(Role))
@pytest.mark.parametrize("action", sorted(ALLOWED))
def test_a_role_may_do_what_the_decisions_say(role, action):
    assert can(Membership(role=role), action) is (role in ALLOWED[action])


def test_nobody_may_do_anything():
    assert not any(can(None, action) for action in ACTIONS)


def test_the_owner_may_do_everything():
    assert all(can(Membership(role="owner"), action) for action in ACTIONS)


def test_an_unknown_action_is_closed():
    with pytest.raises(KeyError):
        can(Membership(role="owner"), "campaigns.frobnicate")
    with pytest.raises(KeyError):
        requires("campaigns.frobnicate")


def test_an_unknown_role_may_do_nothing():
    assert not any(can(Membership(role="root"), action) for action in ACTIONS)


def test_the_refusal_names_the_roles_that_may():
    assert who_can("campaigns.launch") == ["Owner", "Manager"]


@pytest.mark.django_db
def test_the_audit_entry_says_who_did_what_to_which_row(acme, alice, in_tenant):
    in_tenant(acme)
    lead = make_lead(acme)
    audit.record(lead, "lead.suppressed", by=alice, reason="asked")
    entry = AuditEntry.objects.get()
    assert (entry.tenant_id, entry.user_id, entry.actor) == (acme.pk, alice.pk, alice.email)
    assert (entry.action, entry.object_type, entry.object_id) == (
        "lead.suppressed",
        "leads.lead",
        lead.pk,
    )
    assert entry.data == {"reason": "asked"}


@pytest.mark.django_db
def test_what_nobody_did_was_the_system(acme, in_tenant):
    in_tenant(acme)
    audit.record(acme, "tenant.created", by=None)
    assert AuditEntry.objects.get().actor == "system"


@pytest.mark.django_db
def test_an_entry_is_the_tenants_own(acme, rival):
    with scope.as_tenant(acme):
        audit.record(acme, "tenant.created", by=None)
    with scope.as_tenant(rival):
        assert not AuditEntry.objects.exists()


def through_the_door(user, tenant="acme", view=None):
    """What TenantMiddleware answers; `view` sees the request."""

    def show(request, **kwargs):
        now = scope.current()
        return HttpResponse(f"{request.tenant.slug} {now and now.tenant_id} {kwargs}")

    request = RequestFactory().get(f"/t/{tenant}/campaigns/")
    request.user = user
    from django.urls import resolve

    request.resolver_match = resolve("/")
    with scope.as_nobody():
        door = middleware.TenantMiddleware(lambda request: HttpResponse())
        return door.process_view(request, view or show, (), {"tenant": tenant, "pk": 7})


@pytest.mark.django_db
def test_a_member_comes_in_with_the_tenant_in_place_of_the_slug(acme, vera):
    response = through_the_door(vera)
    assert response.content.decode() == f"acme {acme.pk} {{'pk': 7}}"
    assert response["Cache-Control"] == "no-store"


@pytest.mark.django_db
def test_the_scope_ends_with_the_view(acme, vera):
    through_the_door(vera)
    assert scope.current() is None


@pytest.mark.django_db
@pytest.mark.parametrize("slug", ["acme", "no-such-tenant"])
def test_a_stranger_gets_the_404_of_a_tenant_that_does_not_exist(acme, charlie, slug):
    from django.http import Http404

    with pytest.raises(Http404):
        through_the_door(charlie, slug)


@pytest.mark.django_db
def test_staff_without_membership_is_a_stranger(acme):
    from django.http import Http404

    with pytest.raises(Http404):
        through_the_door(make_user(is_staff=True, is_superuser=True))


@pytest.mark.django_db
def test_a_removed_member_is_out_on_the_next_request(acme):
    from django.http import Http404

    member = make_member(acme, "manager")
    assert through_the_door(member.user).status_code == 200
    with scope.as_tenant(acme):
        member.delete()
    with pytest.raises(Http404):
        through_the_door(member.user)


@pytest.mark.django_db
def test_a_suspended_tenant_is_closed_with_a_page(acme, alice):
    acme.suspended_at = timezone.now()
    acme.save()
    assert through_the_door(alice).status_code == 403


@pytest.mark.django_db
def test_a_view_asks_for_the_role_of_now(acme):
    member = make_member(acme, "manager")

    @requires("campaigns.launch")
    def launch(request, **kwargs):
        return HttpResponse("launched")

    assert through_the_door(member.user, view=launch).content == b"launched"
    with scope.as_tenant(acme):
        Membership.objects.filter(pk=member.pk).update(role="operator")
    with pytest.raises(PermissionDenied, match="Owner, Manager"):
        through_the_door(member.user, view=launch)


@pytest.mark.django_db
def test_logged_out_people_are_sent_to_the_log_in(client):
    response = client.get(reverse("home"))
    assert response.status_code == 302
    assert response["Location"].startswith(reverse("account_login"))


@pytest.mark.django_db
def test_htmx_is_sent_away_as_a_whole_page(browser):
    response = browser(htmx="rows").get(reverse("home"))
    assert response["HX-Redirect"].startswith(reverse("account_login"))
    assert b"password" not in response.content


@pytest.mark.django_db
def test_nobody_signs_up(client):
    response = client.post(
        reverse("account_signup"), {"email": "new@example.com", "password1": "a-long-enough-secret"}
    )
    assert response.status_code in (200, 403)
    from tenants.models import User

    assert not User.objects.exists()
