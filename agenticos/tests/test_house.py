"""The house rules, read off the code itself: a new page or model is held to them unnamed.

Closed doors, one tenant's pages to everybody else, the marks of rights, the modules that may see
all tenants, text that stays text, raw SQL in two places.
"""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from django.apps import apps
from django.core.management import call_command
from django.db import models
from django.urls import URLPattern, URLResolver, get_resolver
from django.urls.converters import IntConverter

from agenticos import scope
from agenticos.invariants import references_between_tenant_tables
from agenticos.tests import checks, factories
from agenticos.tests.environment import ROOT
from tenants.models import Tenant
from tenants.owned import ScopedManager, TenantOwned
from tenants.roles import ACTIONS

APPS = ["agenticos", "tenants", "integrations", "leads", "campaigns"]

# Reachable without a log-in, by route. Each has a reason.
PUBLIC = {
    "accounts/login/",
    "accounts/logout/",  # sends the logged-out home
    "accounts/signup/",  # closed: says so
    "accounts/password/reset/",
    "accounts/password/reset/done/",
    "accounts/password/reset/key/<uidb36>-<key>/",
    "accounts/password/reset/key/done/",
    "accounts/confirm-email/",
    "accounts/login/code/confirm/",  # leads to the log-in: there is no log-in by code
    "accounts/2fa/authenticate/",  # between the password and the session
    "accounts/2fa/webauthn/login/",  # the log-in by passkey
    "accounts/oidc/<slug:provider_id>/login/",  # away to the provider; POST alone, 404 without one
    "accounts/oidc/<slug:provider_id>/callback/",
    "invitations/<str:token>/",  # the link in a mail; says nothing without a good one
    "accounts/inactive/",
    "admin/login/",
    "healthz",
    "readyz",
    "metrics",  # asks for a token of its own
    "jsi18n/",  # the texts of scripts
    "preferences/theme/",  # also before the log-in; POST alone, kept in a cookie
    "preferences/language/",
    "api/schema/",  # the same for everybody, and nobody's data
    "api/docs/",
}

# Posts that are every member's own business, also a viewer's. Each with what it changes.
PERSONAL = {
    "t/<slug:tenant>/notifications/read/": "one's own read marks",
}

# Modules that may open the system scope, and for what.
SYSTEM = {
    "agenticos/bench/api_campaign.py": "the SQL of a request again, each statement in its scope",
    "agenticos/bench/claim.py": "the bare claim beside the one that is measured",
    "agenticos/bench/cloning.py": "a stage's rows, copied for many tenants",
    "agenticos/pages.py": "the memberships of the person who logged in; readiness",
    "agenticos/doctor.py": "stuck leases, chains and checks of all tenants",
    "agenticos/checking.py": "which tenants wait for a check of their invariants",
    "agenticos/metrics.py": "sums over all tenants, without a name of any",
    "agenticos/demo/__init__.py": "whether the demo's leads are in",
    "agenticos/provisioning.py": "writes several tenants in one transaction",
    "agenticos/management/commands/invariants.py": "counts over all tenants",
    "agenticos/management/commands/rotate_credential_keys.py": "the keys of all tenants",
    "agenticos/management/commands/run_until_idle.py": "what is due in any tenant",
    "agenticos/worker/jobs.py": "what is due in any tenant",
    "tenants/middleware.py": "membership look-up, and the admin",
    "tenants/second_factor.py": "the memberships of the person who logged in",
    "tenants/authentication.py": "the key of a program, before its tenant is known",
    "tenants/tasks.py": "entries that wait to be sealed, and what is over its time, of all tenants",
    "tenants/inviting.py": "the invitation of a person whom a provider vouches for",
    "tenants/sealing.py": "retention of a tenant's trail: the pages' role may not delete there",
    "leads/tasks.py": "sweeps over all tenants",
    "campaigns/tasks.py": "sweeps over all tenants",
    "campaigns/claiming.py": "leases accounts fairly over tenants",
    "campaigns/settling.py": "reaps claims of all tenants",
    "campaigns/sending.py": "leases accounts fairly over tenants",
    "campaigns/health.py": "sweeps over all tenants",
    "campaigns/audience.py": "claims campaigns of all tenants that are being prepared",
    "integrations/tasks.py": "sweeps over all tenants",
    "integrations/syncing.py": "claims the outbox of all tenants",
    "integrations/delivery.py": "routes what belongs to a connection to its tenant",
    "agenticos/postgres/schema.py": "the data part of migrations",
    "agenticos/leasing.py": "ends the leases of a worker group that has died",
    "tenants/templatetags/shell.py": "the other tenants of the person who looks",
}

RAW_SQL = {
    "agenticos/sql.py": "bulk UPDATE … FROM (VALUES …), bound parameters",
    "agenticos/clock.py": "the database's time",
    "agenticos/doctor.py": "asks the database about itself",
    "agenticos/postgres/base.py": "asks who logged in",
    "agenticos/postgres/schema.py": "reads the catalogue of tables and keys",
    "agenticos/postgres/rights.py": "gives the roles their rights",
    "agenticos/postgres/starting.py": "asks who logged in and who owns the tables",
    "agenticos/bench/claim.py": "the two statements of a claim, bare",
    "agenticos/bench/importing.py": "COPY and INSERT … ON CONFLICT, bare",
    "agenticos/bench/api_campaign.py": "repeats the SQL of a request, bare",
    "agenticos/limits.py": "one statement asks and counts, on a connection of its own",
}


def sources(*, tests: bool = False) -> Iterator[tuple[str, str]]:
    """Every Python file of ours as (path, text), without migrations."""
    for app in APPS:
        for path in sorted((ROOT / app).rglob("*.py")):
            name = path.relative_to(ROOT).as_posix()
            if "/migrations/" in name or ("/tests/" in name and not tests):
                continue
            yield name, path.read_text(encoding="utf-8")


# --- Doors ------------------------------------------------------------------------------------


@cache
def routes() -> list[tuple[str, URLPattern]]:
    """Every route of the URL table, as (route, pattern)."""

    def walk(resolver: URLResolver, prefix: str) -> Iterator[tuple[str, URLPattern]]:
        for pattern in resolver.url_patterns:
            route = prefix + readable(str(pattern.pattern))
            if isinstance(pattern, URLResolver):
                yield from walk(pattern, route)
            else:
                yield route, pattern

    return list(walk(get_resolver(), ""))


def readable(route: str) -> str:
    """A regular expression of allauth's in the shape of a route: `key/<key>/`."""
    if not route.startswith("^"):
        return route
    return re.sub(r"\(\?P<(\w+)>[^)]*\)", r"<\1>", route.strip("^").removesuffix("$")).replace(
        "\\", ""
    )


def address(route: str, pattern: URLPattern | SimpleNamespace, tenant: str) -> str:
    """A path that reaches the route, in `tenant`, with ids that exist nowhere."""

    def value(match: re.Match[str]) -> str:
        kind, _, name = match[1].rpartition(":")
        if name == "tenant":
            return tenant
        # An included table may have its converter in the part before, which `pattern` knows not.
        return {"int": "1", "uuid": "00000000-0000-4000-8000-000000000000", "slug": "x"}.get(
            kind, "xyz"
        )

    return "/" + re.sub(r"<([^>]+)>", value, route)


def tenant_routes() -> list[tuple[str, URLPattern]]:
    return [(route, pattern) for route, pattern in routes() if "<slug:tenant>" in route]


def is_admin(route: str) -> bool:
    return route.startswith("admin/")


def is_api(route: str) -> bool:
    return route.startswith("api/")


def test_the_table_has_the_tenants_pages():
    found = {route for route, _ in tenant_routes()}
    assert any(route.startswith("t/<slug:tenant>/campaigns/") for route in found)
    assert any(route.startswith("t/<slug:tenant>/leads/") for route in found)


@pytest.mark.django_db
def test_everything_is_closed_to_the_logged_out(client):
    open_ = []
    for route, pattern in routes():
        if route in PUBLIC:
            continue
        response = client.get(address(route, pattern, "acme"))
        if is_api(route) and response.status_code == 401:
            continue
        if response.status_code not in (302, 301) or "login" not in response["Location"]:
            open_.append((route, response.status_code))
    assert open_ == []


@pytest.mark.django_db
@pytest.mark.parametrize("method", ["get", "post"])
@pytest.mark.parametrize("htmx", ["", "rows"])
def test_a_member_without_the_second_factor_that_is_demanded_sees_nothing(
    acme, alice, browser, settings, method, htmx
):
    """They are led to the page where one is set up; a part of a page as a whole page."""
    settings.REQUIRE_MFA = True
    factories.make_lead(acme, id=1)
    knocks = browser(alice, htmx=htmx)
    for route, pattern in tenant_routes():
        response = getattr(knocks, method)(address(route, pattern, "acme"))
        to = response.headers.get("HX-Redirect" if htmx else "Location")
        assert (to, response.content) == ("/accounts/2fa/", b""), route


@pytest.mark.django_db
def test_staff_without_the_second_factor_see_nothing_of_the_admin(browser, settings):
    settings.REQUIRE_MFA = True
    knocks = browser(factories.make_user(is_staff=True, is_superuser=True))
    for route, pattern in routes():
        if is_admin(route) and "(?P" not in route:
            response = knocks.get(address(route, pattern, "acme"))
            assert response.headers.get("Location") == "/accounts/2fa/", route


@pytest.mark.django_db
def test_the_admin_is_closed_to_people_who_are_not_staff(acme, alice, browser):
    knocks = browser(alice)
    for route, pattern in routes():
        if is_admin(route) and route not in PUBLIC and "(?P" not in route:
            response = knocks.get(address(route, pattern, "acme"))
            assert response.status_code in (302, 403, 404), route


def test_every_tenants_view_says_which_right_it_takes():
    without = [
        route
        for route, pattern in tenant_routes()
        if getattr(pattern.callback, "required_action", None) not in ACTIONS
    ]
    assert without == []


def test_every_public_route_is_one_that_exists():
    """A name that stays on the list after its page is gone opens the next page of that name."""
    assert PUBLIC - {route for route, _ in routes()} <= {"healthz", "readyz", "jsi18n/"}


# --- The API's doors --------------------------------------------------------------------------


# Open to every key, whatever its scopes. Each with what it gives.
OF_ANY_KEY = {
    "api/auth/token": "a token that may do no more than the key itself",
}


def operations() -> list[tuple[str, str, URLPattern, Any]]:
    """Every method of every address of the API, as (verb, route, pattern, its right)."""
    found = []
    for route, pattern in routes():
        view = getattr(pattern.callback, "cls", None)
        for verb in ("get", "post", "put", "patch", "delete") if is_api(route) and view else ():
            if method := getattr(view, verb, None):
                found.append((verb, route, pattern, method.right))
    return found


def test_the_api_has_its_operations():
    assert len(operations()) > 40
    assert ("post", "api/campaign/start") in {(verb, route) for verb, route, _, _ in operations()}


# --- Tables -----------------------------------------------------------------------------------

OF_NO_TENANT = {
    "tenants.user", "tenants.tenant", "agenticos.workerbeat", "agenticos.chore",
    "tenants.attempt",  # tries to log in, before anybody's tenant is known
    "agenticos.ratelimit",  # strangers have no tenant, and it counts before a scope is entered
    "agenticos.measure",  # sums over all tenants
}  # fmt: skip


def our_models() -> list[type[models.Model]]:
    return [model for model in apps.get_models() if model._meta.app_label in APPS]


def test_every_table_of_ours_belongs_to_a_tenant_or_is_listed():
    loose = {
        model._meta.label_lower for model in our_models() if not issubclass(model, TenantOwned)
    }
    assert loose == OF_NO_TENANT


@pytest.mark.parametrize(
    "model",
    [model for model in our_models() if issubclass(model, TenantOwned)],
    ids=lambda model: model.__name__,
)
def test_a_tenants_table_keeps_the_rules(model):
    assert isinstance(model._default_manager, ScopedManager)
    assert isinstance(model._base_manager, ScopedManager)
    assert not model._meta.get_field("tenant").null
    unique = [
        constraint.fields
        for constraint in model._meta.constraints
        if isinstance(constraint, models.UniqueConstraint)
    ]
    assert ("tenant", "id") in unique
    for fields in unique:
        # The one exception: an external account answers to one tenant only.
        assert fields[0] == "tenant" or fields == ("kind", "external_id"), fields


@pytest.mark.django_db
def test_an_unscoped_query_of_any_tenants_table_raises():
    for model in our_models():
        if issubclass(model, TenantOwned):
            with pytest.raises(scope.NoTenant):
                model._default_manager.count()
            with pytest.raises(scope.NoTenant):
                model._base_manager.count()


def test_the_invariant_over_tenants_sees_every_reference():
    names = {f"{model.__name__}.{name}" for model, name in references_between_tenant_tables()}
    assert {"Message.campaign", "Message.lead", "SyncItem.connection", "LeadScore.lead"} <= names


@pytest.mark.django_db
def test_no_migration_is_missing():
    call_command("makemigrations", check=True, dry_run=True, verbosity=0)


# --- Code -------------------------------------------------------------------------------------


def test_only_the_listed_modules_open_the_system_scope():
    users = {
        name
        for name, text in sources()
        if re.search(r"\bas_system\(", text) and name != "agenticos/scope.py"
    }
    assert users - set(SYSTEM) == set()


def test_each_use_of_the_system_scope_gives_a_reason():
    for name, text in sources():
        for call in ast.walk(ast.parse(text)):
            if isinstance(call, ast.Call) and getattr(call.func, "attr", "") == "as_system":
                assert call.args, name


def test_no_query_joins_from_tenant_into_its_tables():
    """A join bypasses the refusing manager: the tenant's tables are asked themselves."""
    joins = [
        relation.get_accessor_name() or relation.name
        for relation in Tenant._meta.related_objects
        if issubclass(relation.related_model, TenantOwned)
    ]
    names = {name for name in joins if name and not name.endswith("+")}
    pattern = re.compile(
        rf"Tenant\.objects\b[^\n]*?\b(?:{'|'.join(sorted(names))})(?:__|=|\")", re.DOTALL
    )
    found = [name for name, text in sources() if pattern.search(text)]
    assert found == []


def test_raw_sql_stands_in_the_named_modules_alone():
    pattern = re.compile(r"\.raw\(|\bRawSQL\(|connection\.cursor\(|\.extra\(|cursor\.execute\(")
    found = {name for name, text in sources() if pattern.search(text)}
    assert found - set(RAW_SQL) == set()


def test_strangers_text_stays_text_in_python():
    pattern = re.compile(r"\bmark_safe\b|\bSafeString\(|allow_html|autoescape=False|@csrf_exempt")
    assert [name for name, text in sources() if pattern.search(text)] == []


def templates() -> list[Path]:
    return sorted((ROOT / "templates").rglob("*.html"))


def test_strangers_text_stays_text_in_templates():
    """And the strict CSP is kept: no inline style, no inline handler, no inline script."""
    forbidden = {
        "|safe": re.compile(r"\|\s*safe(?:seq)?\b"),
        "autoescape off": re.compile(r"autoescape\s+off"),
        "style=": re.compile(r"<[^>]*\sstyle\s*="),
        "on…=": re.compile(r"<[^>]*\son[a-z]+\s*="),
        "hx-on": re.compile(r"\bhx-on\b"),
        "js: values": re.compile(r"[\"']js:"),
        "<style>": re.compile(r"<style\b"),
        "a stranger's script": re.compile(r"<script[^>]*\ssrc=[\"'](?:https?:)?//"),
        "a stranger's stylesheet": re.compile(r"<link[^>]*\shref=[\"'](?:https?:)?//"),
    }
    found = [
        f"{path.relative_to(ROOT)}: {what}"
        for path in templates()
        for what, pattern in forbidden.items()
        if pattern.search(re.sub(r"{#.*?#}|{% comment %}.*?{% endcomment %}", "",
                                 path.read_text(encoding="utf-8"), flags=re.DOTALL))
    ]  # fmt: skip
    assert found == []


def test_scripts_in_templates_carry_the_nonce_or_are_files():
    inline = re.compile(r"<script(?![^>]*\ssrc=)(?![^>]*nonce)[^>]*>")
    assert [str(path) for path in templates() if inline.search(path.read_text("utf-8"))] == []


def test_links_that_leave_say_so_to_the_browser():
    found = []
    for path in templates():
        for tag in re.findall(r"<a\b[^>]*target=[\"']_blank[\"'][^>]*>", path.read_text("utf-8")):
            if "noopener" not in tag:
                found.append(f"{path.name}: {tag}")
    assert found == []


def test_pure_modules_know_no_database_and_no_clock():
    pure = ["leads/scoring", "leads/identities", "leads/importing", "leads/names"]
    pure += ["campaigns/pacing", "campaigns/rendering", "campaigns/gates", "campaigns/codes"]
    pure += ["integrations/ports", "integrations/errors"]
    pattern = re.compile(r"django\.db|django\.conf|timezone\.now\(|datetime\.now\(|time\.time\(")
    # A name stands for a module, or for every module of a package.
    places = tuple(f"{name}{end}" for name in pure for end in (".py", "/"))
    files = [(name, text) for name, text in sources() if name.startswith(places)]
    assert [name for name, text in files if pattern.search(text)] == []


def test_the_stairs_hold():
    """import-linter as `make check` runs it, in its own process: it silences all loggers."""
    (command,) = (command for name, command in checks.STEPS if name == "stairs")
    done = subprocess.run([*command, "--no-cache"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_readable_turns_allauths_routes_into_ours():
    assert readable("^password/key/(?P<uidb36>[0-9A-Za-z]+)-(?P<key>.+)/$") == (
        "password/key/<uidb36>-<key>/"
    )
    pattern = SimpleNamespace(pattern=SimpleNamespace(converters={"pk": IntConverter()}))
    assert address("t/<slug:tenant>/x/<int:pk>/", pattern, "acme") == "/t/acme/x/1/"
