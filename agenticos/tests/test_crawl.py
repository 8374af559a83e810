"""Everybody who has no business here, at every door there is: page, part of a page, API.

The doors are read off the URL table and the rows off the models, so a new page, operation or model
is crawled unnamed. Each crawl also proves that it left every row as it was.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from datetime import timedelta
from typing import Any

import pytest
from django.db import transaction
from django.test import Client
from django.urls import URLPattern
from django.urls.converters import IntConverter
from django.utils import timezone

from agenticos import scope
from agenticos.tests import everything, factories
from agenticos.tests.test_house import (
    OF_ANY_KEY,
    PERSONAL,
    address,
    operations,
    tenant_routes,
)
from tenants import actions, tokens
from tenants.authentication import SCOPES
from tenants.models import ApiKey, Membership, Tenant
from tenants.roles import ACTIONS, BASE, GRANTABLE, Role, can

PK = 7001  # of one row of every model that acme has, and of no row of anybody else's
DOORS = [("get", ""), ("get", "rows"), ("post", ""), ("post", "rows")]
doors = pytest.mark.parametrize(
    ("method", "htmx"), DOORS, ids=["page", "part", "post", "post-part"]
)
pytestmark = pytest.mark.django_db

# What every member changes of their own: read marks. By looking, and by the posts of PERSONAL.
OWN_MARKS = {"t/<slug:tenant>/notifications/<int:pk>/", *PERSONAL}

# Where the row is there and its owner gets 404 all the same, with the reason.
NOT_THERE_YET = {
    "t/<slug:tenant>/leads/bulk/<slug:kind>/": "x is no kind of job",
    "t/<slug:tenant>/leads/jobs/<int:pk>/leads.csv": "the job is no export",
}


@pytest.fixture
def rows(acme: Tenant) -> everything.Made:
    """One row of every model, all of acme's."""
    return everything.one_of_each(acme, PK)


@pytest.fixture
def unchanged(rows: everything.Made) -> Any:
    """Fails when a crawl has changed, added or removed a row of any tenant's."""
    before = _snapshot()
    yield
    assert {model: now for model, now in _snapshot().items() if now != before[model]} == {}


def _snapshot() -> dict[str, list[dict[str, Any]]]:
    with scope.as_system("test"):
        return {
            model._meta.label: [
                # When a key was used last is the one thing that a refused call may write.
                {name: value for name, value in row.items() if name != "last_used_at"}
                for row in model.objects.order_by("pk").values()
            ]
            for model in everything.owned_models()
        }


def path_to(route: str, pattern: URLPattern, tenant: str) -> str:
    """The route's address in `tenant`, with the ids of acme's rows."""
    return re.sub(r"(?<=/)1(?=/|$)", str(PK), address(route, pattern, tenant))


def with_an_id() -> list[tuple[str, URLPattern]]:
    return [
        (route, pattern)
        for route, pattern in tenant_routes()
        if any(isinstance(kind, IntConverter) for kind in pattern.pattern.converters.values())
    ]


def answers(client: Client, method: str, *, besides: Collection[str] = ()) -> dict[str, int]:
    """What a crawl of every page of acme's is answered, `besides` some routes."""
    return {
        route: getattr(client, method)(path_to(route, pattern, "acme")).status_code
        for route, pattern in tenant_routes()
        if route not in besides
    }


# --- Pages, and parts of them -----------------------------------------------------------------


def test_there_is_a_row_of_every_kind(rows):
    assert len(rows) > 35
    for row in rows.values():
        assert row.pk == PK


@pytest.mark.parametrize("method", ["get", "post"])
def test_the_owner_reaches_a_row_at_every_address(acme, rows, browser, method):
    """Or the crawls below would prove nothing: their 404 must not be that of a missing row."""
    knocks = browser(owner_of(acme))
    lost = set()
    for route, pattern in with_an_id():
        with transaction.atomic():
            path = path_to(route, pattern, "acme")
            # The number of a step or a version is no id.
            path = re.sub(rf"(sequence|versions)/{PK}/", r"\1/1/", path)
            if getattr(knocks, method)(path).status_code == 404:
                lost.add(route)
            transaction.set_rollback(True)
    assert lost - set(NOT_THERE_YET) == set()


def owner_of(tenant: Tenant) -> Any:
    with scope.as_tenant(tenant):
        return Membership.objects.filter(role=Role.OWNER).select_related("user")[0].user


@doors
def test_the_rival_finds_nothing_at_our_address(charlie, browser, unchanged, method, htmx):
    found = answers(browser(charlie, htmx=htmx), method)
    assert {route: status for route, status in found.items() if status != 404} == {}


@doors
def test_the_rival_finds_none_of_our_rows_at_his(charlie, browser, unchanged, method, htmx):
    """The ids of acme's rows below his own address; he has no rows of these ids."""
    knocks = browser(charlie, htmx=htmx)
    found = {
        route: getattr(knocks, method)(path_to(route, pattern, "rival")).status_code
        for route, pattern in with_an_id()
    }
    assert {route: status for route, status in found.items() if status not in (404, 405)} == {}


def stranger(acme: Tenant) -> Any:
    return factories.make_user()


def staff(acme: Tenant) -> Any:
    return factories.make_user(is_staff=True, is_superuser=True)


def removed(acme: Tenant) -> Any:
    member = factories.make_member(acme, Role.OWNER)
    remove(member)
    return member.user


def remove(member: Membership) -> None:
    factories.make_member(member.tenant, Role.OWNER)  # the last one cannot leave
    with scope.as_tenant(member.tenant):
        actions.remove_member(member, by=None, now=timezone.now())


@pytest.mark.parametrize("who", [stranger, staff, removed])
@doors
def test_who_is_no_member_finds_nothing(acme, browser, request, who, method, htmx):
    knocks = browser(who(acme), htmx=htmx)
    request.getfixturevalue("unchanged")
    found = answers(knocks, method)
    assert {route: status for route, status in found.items() if status != 404} == {}


@doors
def test_a_suspended_tenants_member_gets_the_page_that_says_so(
    acme, alice, browser, unchanged, method, htmx
):
    suspend(acme)
    knocks = browser(alice, htmx=htmx)
    for route, pattern in tenant_routes():
        response = getattr(knocks, method)(path_to(route, pattern, "acme"))
        assert response.status_code == 403, route
        assert "is suspended" in response.content.decode(), route


def suspend(tenant: Tenant) -> None:
    tenant.suspended_at = timezone.now()
    tenant.save()


@doors
def test_a_viewer_changes_nothing(acme, vera, browser, unchanged, method, htmx):
    """A post is 403 before anything is looked up, 405 where there is nothing to post to."""
    found = answers(browser(vera, htmx=htmx), method, besides=OWN_MARKS)
    if method == "post":
        assert {route: status for route, status in found.items() if status not in (403, 405)} == {}


@pytest.mark.parametrize("role", [role for role in Role if role is not Role.OWNER])
@pytest.mark.parametrize(("method", "htmx"), [DOORS[0], DOORS[-1]], ids=["page", "post-part"])
def test_a_route_is_403_for_the_roles_without_its_right(acme, rows, browser, role, method, htmx):
    member = factories.make_member(acme, role)
    knocks = browser(member.user, htmx=htmx)
    for route, pattern in tenant_routes():
        if not can(member, pattern.callback.required_action):
            status = getattr(knocks, method)(path_to(route, pattern, "acme")).status_code
            assert status in (403, 405), route


OWN = [(), ("messages.view_text", "campaigns.edit"), ("leads.export", "ops.view"), GRANTABLE]


@pytest.mark.parametrize("rights", OWN, ids=len)
@pytest.mark.parametrize(("method", "htmx"), [DOORS[0], DOORS[-1]], ids=["page", "part-post"])
def test_a_route_is_403_for_a_role_of_its_own_without_its_right(
    acme, rows, browser, rights, method, htmx
):
    """And opens with it: the page's own answer, which may say that nothing was posted."""
    knocks = browser(factories.make_own_member(acme, *rights).user, htmx=htmx)
    held = BASE | set(rights)
    for route, pattern in tenant_routes():
        with transaction.atomic():
            status = getattr(knocks, method)(path_to(route, pattern, "acme")).status_code
            if pattern.callback.required_action not in held:
                assert status in (403, 405), route
            else:
                assert status != 403, route
            transaction.set_rollback(True)


# --- The API ----------------------------------------------------------------------------------


def refusals(knocks: Callable[[str | None], Client]) -> dict[tuple[str, str], tuple[int, str]]:
    """What every operation answers, as (status, code); `knocks` makes a client for its scope."""
    found = {}
    for verb, route, pattern, right in operations():
        path = path_to(route, pattern, "acme")
        response = getattr(knocks(right.scope), verb)(path, {}, "application/json")
        assert response["Content-Type"] == "application/problem+json", route
        found[verb, route] = (response.status_code, response.json()["code"])
    return found


def with_header(text: str) -> Callable[[str | None], Client]:
    client = Client(headers={"Authorization": text} if text else {})
    return lambda needs: client


def of_nobody(acme: Tenant) -> str:
    return ""


def invented(acme: Tenant) -> str:
    return f"Bearer {factories.make_key(acme)[:-8]}xxxxxxxx"


def expired(acme: Tenant) -> str:
    return f"Bearer {factories.make_key(acme, expires_at=timezone.now())}"


def revoked(acme: Tenant) -> str:
    return f"Bearer {factories.make_key(acme, revoked_at=timezone.now())}"


def of_a_removed_member(acme: Tenant) -> str:
    member = factories.make_member(acme, Role.OWNER)
    key = factories.make_key(acme, member=member)
    remove(member)
    return f"Bearer {key}"


def of_a_barred_person(acme: Tenant) -> str:
    member = factories.make_member(acme, Role.OWNER)
    member.user.is_active = False
    member.user.save()
    return f"Bearer {factories.make_key(acme, member=member)}"


def suspended(acme: Tenant) -> str:
    suspend(acme)
    return f"Bearer {factories.make_key(acme)}"


def token_of_an_expired_key(acme: Tenant) -> str:
    factories.make_key(acme)
    with scope.as_tenant(acme):
        row = ApiKey.objects.latest("pk")
        token = tokens.issue(row, SCOPES, now=timezone.now())
        row.expires_at = timezone.now()
        row.save()
    return f"Bearer {token}"


def token_of_a_removed_member(acme: Tenant) -> str:
    member = factories.make_member(acme, Role.OWNER)
    factories.make_key(acme, member=member)
    with scope.as_tenant(acme):
        token = tokens.issue(ApiKey.objects.latest("pk"), SCOPES, now=timezone.now())
    remove(member)
    return f"Bearer {token}"


def expired_token(acme: Tenant) -> str:
    factories.make_key(acme)
    with scope.as_tenant(acme):
        row = ApiKey.objects.latest("pk")
        return f"Bearer {tokens.issue(row, SCOPES, now=timezone.now() - timedelta(days=1))}"


@pytest.mark.parametrize(
    ("who", "refusal"),
    [
        (of_nobody, (401, "not_authenticated")),
        (invented, (401, "invalid_key")),
        (expired, (401, "key_expired")),
        (revoked, (401, "key_revoked")),
        (of_a_removed_member, (401, "invalid_key")),
        (of_a_barred_person, (401, "key_owner_inactive")),
        (suspended, (403, "tenant_suspended")),
        (expired_token, (401, "token_expired")),
        (token_of_an_expired_key, (401, "key_expired")),
        (token_of_a_removed_member, (401, "invalid_token")),
    ],
)
def test_the_api_is_closed_to(acme, request, who, refusal):
    header = who(acme)
    request.getfixturevalue("unchanged")
    assert set(refusals(with_header(header)).values()) == {refusal}


def test_the_api_is_closed_to_a_browser(acme, alice, browser, unchanged):
    """A session is no key."""
    client = browser(alice)
    assert set(refusals(lambda needs: client).values()) == {(401, "not_authenticated")}


def test_a_key_with_every_scope_but_the_one_it_takes_is_refused(acme, request):
    """`admin` stands for all scopes, so it is left out as well."""
    names = {right.scope for *_, right in operations()} - {None}
    clients = {}
    for needs in names:
        others = [name for name in SCOPES if name not in (needs, "admin")]
        clients[needs] = factories.api_client(factories.make_key(acme, scopes=others))
    clients[None] = Client()
    request.getfixturevalue("unchanged")
    found = refusals(lambda needs: clients[needs])
    open_ = {route for (_, route), refusal in found.items() if refusal != (403, "scope_missing")}
    assert open_ == set(OF_ANY_KEY)


def test_the_owners_key_reaches_a_row_at_every_address(acme, rows):
    """Or the crawl below would prove nothing."""
    knocks = factories.api_client(factories.make_key(acme))
    lost = set()
    for verb, route, pattern, _ in operations():
        if pattern.pattern.converters:
            with transaction.atomic():
                path = path_to(route, pattern, "acme").replace(f"versions/{PK}/", "versions/1/")
                if getattr(knocks, verb)(path, {}, "application/json").status_code == 404:
                    lost.add((verb, route))
                transaction.set_rollback(True)
    assert lost == set()


def test_the_rivals_key_finds_none_of_our_rows(rival, request):
    knocks = factories.api_client(factories.make_key(rival))
    request.getfixturevalue("unchanged")
    found = {
        (verb, route): getattr(knocks, verb)(
            path_to(route, pattern, "rival"), {}, "application/json"
        ).status_code
        for verb, route, pattern, _ in operations()
        if pattern.pattern.converters
    }
    assert {where: status for where, status in found.items() if status != 404} == {}


@pytest.mark.parametrize("role", [role for role in Role if role is not Role.OWNER])
def test_a_key_is_held_to_its_creators_role(acme, rows, role):
    """403 for what the role may not do, before anything is looked up; a viewer changes nothing."""
    member = factories.make_member(acme, role)
    knocks = factories.api_client(factories.make_key(acme, member=member))
    for verb, route, pattern, right in operations():
        if not can(member, right.action):
            response = getattr(knocks, verb)(path_to(route, pattern, "acme"))
            assert (response.status_code, response.json()["code"]) == (403, "role_not_enough")
    changes = [
        right for verb, route, _, right in operations() if verb != "get" and route not in OF_ANY_KEY
    ]
    assert not any(Role.VIEWER in ACTIONS[right.action] for right in changes)


@pytest.mark.parametrize("rights", OWN, ids=len)
def test_a_key_is_held_to_its_creators_role_of_the_tenants_own(acme, rows, rights):
    member = factories.make_own_member(acme, *rights)
    knocks = factories.api_client(factories.make_key(acme, member=member))
    held = BASE | set(rights)
    for verb, route, pattern, right in operations():
        with transaction.atomic():
            response = getattr(knocks, verb)(
                path_to(route, pattern, "acme"), {}, "application/json"
            )
            if right.action not in held:
                assert (response.status_code, response.json()["code"]) == (403, "role_not_enough")
            else:
                assert response.status_code != 403, route
            transaction.set_rollback(True)
