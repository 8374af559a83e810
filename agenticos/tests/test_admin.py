"""The admin: a tenant from nothing to its first campaign, its plan, its tools, its doors."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest
from django.db import connection as database
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from agenticos import scope
from agenticos.tests.factories import (
    PASSWORD,
    make_account,
    make_campaign,
    make_connection,
    make_icp,
    make_lead,
    make_member,
    make_message,
    make_user,
)
from campaigns import ledger, sending
from campaigns.models import Campaign, SendingAccount
from campaigns.tests.wires import Wire, work
from integrations import connecting
from integrations.models import Connection
from integrations.tests.live import LiveSandbox
from leads.models import Icp
from tenants.models import AuditEntry, Membership, Tenant, User

pytestmark = pytest.mark.django_db


@pytest.fixture(scope="module")
def server() -> Iterator[LiveSandbox]:
    with LiveSandbox() as sandbox:
        yield sandbox


@pytest.fixture
def sandbox(server, settings):
    settings.OUTBOUND_ALLOW_PRIVATE = True
    settings.GHL_BASE_URL, settings.INSTAGRAM_GRAPH_BASE_URL = server.ghl_url, server.instagram_url
    server.reset()
    return server


@pytest.fixture
def boss(db):
    return make_user("staff@example.com", is_staff=True, is_superuser=True)


@pytest.fixture
def staff(boss, browser):
    return browser(boss)


def text(response):
    return response.content.decode()


def page_of(row, name="change"):
    opts = row._meta
    return reverse(f"admin:{opts.app_label}_{opts.model_name}_{name}", args=[row.pk])


def said(response):
    return [str(message) for message in response.context["messages"]]


def trail(tenant):
    with scope.as_tenant(tenant):
        return list(AuditEntry.objects.order_by("pk").values_list("action", "actor"))


def members_of(*rows, add=()):
    """The management form and lines of the members' inline: stored rows, then new ones."""
    values = {"memberships-TOTAL_FORMS": len(rows) + len(add)}
    values["memberships-INITIAL_FORMS"] = len(rows)
    for place, (row, changes) in enumerate(rows):
        line = {"id": row.pk, "user": row.user_id, "role": row.role, **changes}
        values |= {f"memberships-{place}-{name}": value for name, value in line.items()}
    for place, (user, role) in enumerate(add, len(rows)):
        values |= {f"memberships-{place}-user": user.pk, f"memberships-{place}-role": role}
    return values


def whole(tenant, *rows, add=(), **changes):
    """What the tenant's page posts."""
    fields = ("name", "slug", "language", "time_zone", "contact_gap_days", "plan")
    nothing = {
        f"{prefix}-{kind}_FORMS": 0
        for prefix in ("connections", "sending_accounts")
        for kind in ("TOTAL", "INITIAL")
    }
    own = {name: getattr(tenant, name) for name in fields}
    return {**own, **nothing, **members_of(*rows, add=add), **changes}


# --- From nothing ------------------------------------------------------------------------------


def test_a_tenant_is_set_up_in_the_admin_until_its_owner_launches(staff, sandbox, rung):
    """Person, tenant, membership, both connections, account, ICP; then the owner alone."""
    add = {"email": "dona@clinica.example", "usable_password": "true"}
    add |= {"password1": PASSWORD, "password2": PASSWORD}
    assert staff.post(reverse("admin:tenants_user_add"), add).status_code == 302
    dona = User.objects.get(email="dona@clinica.example")

    values = {
        "name": "Clínica", "slug": "clinica", "language": "pt-br",
        "time_zone": "America/Sao_Paulo", "contact_gap_days": 90, "plan": "Starter",
        "max_members": 3, "max_messages_day": 40, **members_of(add=[(dona, "owner")]),
    }  # fmt: skip
    assert staff.post(reverse("admin:tenants_tenant_add"), values).status_code == 302
    tenant = Tenant.objects.get(slug="clinica")
    assert (tenant.plan, tenant.max_members, tenant.max_leads) == ("Starter", 3, None)

    for kind, external, token in (
        ("ghl", "LOC-clinica", "pit-0123456789-token-of-clinica"),
        ("instagram_graph", "17841400000000007", "EAAB0123456789tokenofclinica"),
    ):
        values = {
            "tenant": tenant.pk, "kind": kind, "name": kind, "external_id": external,
            "token": token,
        }  # fmt: skip
        assert staff.post(reverse("admin:integrations_connection_add"), values).status_code == 302
        with scope.as_tenant(tenant):
            connection = Connection.objects.get(kind=kind)
        tested = staff.post(page_of(connection, "test"))
        assert "the provider calls it" in text(tested)
        assert token not in text(tested)

    address = f"{reverse('admin:campaigns_sendingaccount_add')}?of={tenant.pk}"
    assert f'value="{connection.pk}" selected' in text(staff.get(address))
    values = {
        "connection": connection.pk, "handle": "@Clinica.SP", "day_cap": 50, "hour_cap": 10,
        "gap_min_s": 0, "gap_max_s": 0, "jitter_percent": 15,
        "error_percent": 40, "error_window_min": 60,
    }  # fmt: skip
    assert staff.post(address, values).status_code == 302
    pasted = json.dumps({"gates": {"skip_private": True}})
    found = staff.post(page_of(tenant, "icp"), {"config": pasted, "note": "first"})
    assert found.status_code == 302
    with scope.as_tenant(tenant):
        assert Icp.objects.select_related("live").get().live.number == 2

    # The owner, through the log-in page, without any help.
    dona_at = Client()
    entry = {"login": "dona@clinica.example", "password": PASSWORD}
    assert dona_at.post("/accounts/login/", entry).status_code == 302
    assert "Starter" in text(dona_at.get("/t/clinica/settings/"))
    draft = {
        "name": "Outono", "kind": "handles", "handles": "ana.silva", "min_score": "0",
        "limit": "10",
    }  # fmt: skip
    content = dona_at.post("/t/clinica/campaigns/new/", draft)["Location"]
    with scope.as_tenant(tenant):
        account = SendingAccount.objects.get(handle="clinica.sp")
        campaign = Campaign.objects.get()
    what = {"text": "Oi!", "accounts": [account.pk], "always": "on"}
    assert dona_at.post(content, what).status_code == 302
    start = reverse("campaigns:start", args=["clinica", campaign.pk])
    assert dona_at.post(start).status_code == 302
    with scope.as_tenant(tenant):
        campaign.refresh_from_db()
    assert campaign.state in ("preparing", "running")
    actors = {actor for _, actor in trail(tenant)}
    assert actors >= {"staff@example.com", "dona@clinica.example"}


# --- The list ----------------------------------------------------------------------------------


def test_the_list_says_at_night_what_stands_still(staff, acme, rival):
    make_member(acme, "owner")
    make_account(acme, last_used_at=timezone.now())
    make_account(acme, state="blocked")
    make_campaign(acme, state="running")
    Tenant.objects.filter(pk=rival.pk).update(suspended_at=timezone.now())
    page = text(staff.get(reverse("admin:tenants_tenant_changelist")))
    assert "2 · 1 blocked" in page  # the campaign has an account of its own
    assert "suspended" in page
    for state, slugs in (("active", ["acme"]), ("suspended", ["rival"]), ("stopped", [])):
        found = staff.get(reverse("admin:tenants_tenant_changelist"), {"state": state})
        assert [one.slug for one in found.context["cl"].result_list] == slugs


def test_the_list_costs_the_same_for_many(staff, acme):
    address = reverse("admin:tenants_tenant_changelist")
    staff.get(address)
    with CaptureQueriesContext(database) as few:
        staff.get(address)
    for number in range(12):
        tenant = Tenant.objects.create(slug=f"many-{number}", name="Many")
        make_account(tenant)
        make_member(tenant)
    with CaptureQueriesContext(database) as many:
        staff.get(address)
    assert len(many) == len(few)


# --- Plan and members --------------------------------------------------------------------------


def test_a_plan_is_changed_on_the_page_and_in_the_trail(staff, acme, alice):
    with scope.as_tenant(acme):
        member = Membership.objects.get(user=alice)
    values = whole(acme, (member, {}), plan="Grande", max_leads=5000, max_messages_day=120)
    assert staff.post(page_of(acme), values).status_code == 302
    acme.refresh_from_db()
    assert (acme.plan, acme.max_leads, acme.max_messages_day) == ("Grande", 5000, 120)
    with scope.as_tenant(acme):
        entry = AuditEntry.objects.get(action="tenant.plan_changed")
    assert entry.data["after"] == {"plan": "Grande", "max_leads": 5000, "max_messages_day": 120}
    assert entry.data["by_staff"] is True


def test_one_member_too_many_is_a_sentence_and_changes_nothing(staff, acme, alice):
    Tenant.objects.filter(pk=acme.pk).update(max_members=1)
    acme.refresh_from_db()
    with scope.as_tenant(acme):
        member = Membership.objects.get(user=alice)
    values = whole(acme, (member, {}), add=[(make_user(), "viewer")], name="Other", max_members=1)
    answer = staff.post(page_of(acme), values, follow=True)
    assert "allows 1 member." in said(answer)[0]
    acme.refresh_from_db()
    assert acme.name == "Acme"
    assert acme.memberships.model is Membership
    with scope.as_tenant(acme):
        assert Membership.objects.count() == 1


def test_the_last_owner_is_kept_and_an_owner_may_be_replaced_in_one_go(staff, acme, alice):
    with scope.as_tenant(acme):
        member = Membership.objects.get(user=alice)
    lowered = whole(acme, (member, {"role": "viewer"}))
    assert "needs an owner" in said(staff.post(page_of(acme), lowered, follow=True))[0]
    removed = whole(acme, (member, {"DELETE": "on"}))
    assert "needs an owner" in said(staff.post(page_of(acme), removed, follow=True))[0]
    heir = make_user()
    replaced = whole(acme, (member, {"DELETE": "on"}), add=[(heir, "owner")])
    assert staff.post(page_of(acme), replaced).status_code == 302
    with scope.as_tenant(acme):
        assert Membership.objects.get().user == heir
    assert [action for action, _ in trail(acme)] == ["membership.created", "membership.removed"]


def test_a_member_does_not_become_somebody_else(staff, acme, alice, vera):
    with scope.as_tenant(acme):
        member = Membership.objects.get(user=vera)
        owner = Membership.objects.get(user=alice)
    values = whole(acme, (owner, {}), (member, {"user": make_user().pk, "role": "operator"}))
    staff.post(page_of(acme), values)
    with scope.as_tenant(acme):
        member.refresh_from_db()
    assert (member.user, member.role) == (vera, "operator")
    assert [action for action, _ in trail(acme)] == ["membership.role_changed"]


# --- Tools -------------------------------------------------------------------------------------


def test_staff_who_are_no_member_are_told_so_and_members_go_in(staff, boss, acme):
    answer = staff.get(page_of(acme, "open"), follow=True)
    assert answer.redirect_chain[-1][0] == page_of(acme)
    assert "no member of “Acme”" in said(answer)[0]
    make_member(acme, "viewer", boss)
    assert staff.get(page_of(acme, "open"))["Location"] == "/t/acme/"


@pytest.mark.parametrize(
    ("first", "second", "field"),
    [("stop", "lift", "stopped_at"), ("suspend", "unsuspend", "suspended_at")],
)
def test_stop_and_suspension_ask_first_and_are_audited(staff, acme, rung, first, second, field):
    assert "?" in text(staff.get(page_of(acme, first)))
    acme.refresh_from_db()
    assert getattr(acme, field) is None
    assert page_of(acme, second) not in text(staff.get(page_of(acme)))
    assert staff.post(page_of(acme, first)).status_code == 302
    acme.refresh_from_db()
    assert getattr(acme, field)
    assert page_of(acme, first) not in text(staff.get(page_of(acme)))
    if first == "suspend":
        again = staff.post(page_of(acme, first), follow=True)
        assert "suspended already" in said(again)[0]
    assert staff.post(page_of(acme, second)).status_code == 302
    acme.refresh_from_db()
    assert getattr(acme, field) is None
    assert len(trail(acme)) == 2
    assert {actor for _, actor in trail(acme)} == {"staff@example.com"}


def test_a_suspended_tenant_sends_nothing_and_goes_on_afterwards(staff, acme, clock, rung):
    campaign = make_campaign(acme, state="running")
    make_message(campaign, due_at=clock.now())
    with scope.as_tenant(acme):
        ledger.wake([campaign.pk], clock.now())
    staff.post(page_of(acme, "suspend"))
    wire = Wire()
    work(clock, wire, budget_s=1)
    assert wire.sent == []
    staff.post(page_of(acme, "unsuspend"))
    clock.move((timezone.now() - clock.now()).total_seconds() + 1)
    work(clock, wire, budget_s=1)
    assert len(wire.sent) == 1


def test_the_page_leads_to_the_version_in_force(staff, acme):
    make_icp(acme)
    assert '<a href="/t/acme/icp/">Version 1, since' in text(staff.get(page_of(acme)))


def test_a_bad_profile_is_said_and_not_published(staff, acme):
    make_icp(acme)
    for config, words in (
        ("{", "This is no JSON"),
        ("[]", "Expected is a JSON object"),
        ('{"nonsense": 1}', "nonsense"),
    ):
        answer = staff.post(page_of(acme, "icp"), {"config": config}, follow=True)
        assert words in text(answer) + " ".join(said(answer))
    with scope.as_tenant(acme):
        assert Icp.objects.select_related("live").get().live.number == 1


def test_the_providers_answer_is_shown_without_the_token(staff, acme, sandbox):
    connection = make_connection(acme, "ghl")
    assert "said" not in staff.get(page_of(connection, "test")).context
    assert sandbox.state()["counts"]["requests"] == {}
    sandbox.faults([{"provider": "ghl", "expired_token": True}])
    answer = text(staff.post(page_of(connection, "test")))
    assert "does not accept this token" in answer
    with scope.as_tenant(acme):
        assert Connection.objects.get(pk=connection.pk).reveal()["token"] not in answer
        assert Connection.objects.get(pk=connection.pk).state == "broken"
    assert ("connection.broken", "staff@example.com") in trail(acme)


def test_a_refused_token_blocks_the_account_that_is_tested(staff, acme, sandbox):
    account = make_account(acme)
    sandbox.faults([{"provider": "instagram", "expired_token": True}])
    assert "does not accept" in text(staff.post(page_of(account, "test")))
    with scope.as_tenant(acme):
        account.refresh_from_db()
    assert account.state == "blocked"


def test_no_provider_is_called_inside_a_transaction(staff, acme, monkeypatch):
    connection = make_connection(acme, "ghl")
    depths = []
    before = len(database.savepoint_ids)  # the test's own transaction

    def check(*args):
        depths.append(len(database.savepoint_ids) - before)
        return "Clinic"

    monkeypatch.setattr(connecting, "_check", check)
    staff.post(page_of(connection, "test"))
    assert depths == [0]


# --- Accounts ----------------------------------------------------------------------------------


def test_a_cap_lowered_in_the_admin_releases_what_is_claimed(staff, acme, clock, rung):
    account = make_account(acme)
    campaign = make_campaign(acme, accounts=[account], state="running")
    for _ in range(3):
        make_message(campaign, due_at=clock.now())
    with scope.as_tenant(acme):
        ledger.wake([campaign.pk], clock.now())
    wire = Wire()
    turn = sending.Slice(clock, budget_s=20, channel=wire.of, stop=lambda: False)
    turn._claim()
    assert len(turn.ready) == 3
    values = {
        "handle": account.handle, "day_cap": 1, "hour_cap": 5, "gap_min_s": 0, "gap_max_s": 0,
        "jitter_percent": 0, "error_percent": 40, "error_window_min": 60,
    }  # fmt: skip
    assert staff.post(page_of(account), values).status_code == 302
    turn.run()
    assert len(wire.sent) <= 1
    with scope.as_tenant(acme):
        assert campaign.messages.filter(state="claimed").count() == 0


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"handle": "not a handle!"}, "no Instagram handle"),
        ({"handle": "taken"}, "an account with this handle already"),
        ({"kind": "ghl"}, "Choose a connection to Instagram"),
    ],
)
def test_an_account_that_makes_no_sense_is_refused_on_its_page(staff, acme, changes, words):
    make_account(acme, "taken")
    connection = make_connection(acme, changes.pop("kind", "instagram_graph"))
    values = {
        "connection": connection.pk, "handle": "fresh", "day_cap": 1, "hour_cap": 5,
        "gap_min_s": 0, "gap_max_s": 0, "jitter_percent": 0,
        "error_percent": 40, "error_window_min": 60,
    }  # fmt: skip
    answer = staff.post(reverse("admin:campaigns_sendingaccount_add"), values | changes)
    assert answer.status_code == 200
    assert words in text(answer)


# --- Doors -------------------------------------------------------------------------------------


TOOLS = ["open", "icp", "connection", "account", "stop", "lift", "suspend", "unsuspend"]


@pytest.mark.parametrize("tool", TOOLS)
@pytest.mark.parametrize("method", ["get", "post"])
def test_tools_are_closed_to_owners_and_the_logged_out(acme, alice, browser, tool, method):
    for knocks in (browser(alice), browser()):
        answer = getattr(knocks, method)(page_of(acme, tool))
        assert answer.status_code in (302, 403)
        assert answer.status_code == 403 or "login" in answer["Location"]
    acme.refresh_from_db()
    assert (acme.stopped_at, acme.suspended_at) == (None, None)
    assert trail(acme) == []


@pytest.mark.parametrize("tool", ["icp", "stop", "suspend"])
def test_staff_without_the_right_are_refused(acme, browser, tool):
    knocks = browser(make_user(is_staff=True))
    assert knocks.post(page_of(acme, tool)).status_code == 403


@pytest.mark.parametrize("tool", TOOLS)
def test_a_tenant_that_is_not_there_leads_home(staff, tool):
    answer = staff.get(reverse(f"admin:tenants_tenant_{tool}", args=[99999]))
    assert answer.status_code == 302


def test_every_page_stands_under_the_policy(staff, acme, alice):
    make_lead(acme)
    account, connection = make_account(acme), make_connection(acme, "ghl")
    pages = [page_of(acme), page_of(account), page_of(connection), page_of(account, "test")]
    pages += [page_of(acme, tool) for tool in ("icp", "stop", "suspend")]
    for page in pages:
        found = text(staff.get(page))
        assert not re.search(r"\sstyle=|\son[a-z]+=[\"']", found), page
