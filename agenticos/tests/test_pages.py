"""The frame of all pages: log-in, policy of the browser, language, theme, errors, the admin."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from django.core.management import call_command
from django.test import Client, RequestFactory
from django.urls import reverse
from django.utils import timezone

from agenticos import pages, paging, scope
from agenticos.errors import Refused
from agenticos.heartbeat import Silence, silence
from agenticos.models import WorkerBeat
from agenticos.templatetags import ui
from agenticos.tests.environment import ROOT
from agenticos.tests.factories import (
    PASSWORD,
    make_account,
    make_connection,
    make_member,
    make_tenant,
    make_user,
)
from integrations.models import Connection
from tenants.models import AuditEntry

TEMPLATES = sorted((ROOT / "templates").rglob("*.html"))


def text(response):
    return response.content.decode()


def home_of(tenant):
    return reverse("tenant-home", args=[tenant.slug])


# --- The browser's policy ---------------------------------------------------------------------


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_template_needs_what_the_policy_forbids(path):
    source = path.read_text(encoding="utf-8")
    assert not re.search(r"\sstyle\s*=", source)
    assert not re.search(r"\son[a-z]+\s*=\s*[\"']", source)
    assert not re.search(r"hx-on|\bjs:|javascript:", source)
    assert not re.search(r"\|\s*safe\b|autoescape off|mark_safe", source)
    for script in re.findall(r"<script\b[^>]*>", source):
        assert "src=" in script
        assert "nonce=" in script


def test_our_scripts_evaluate_nothing_and_write_no_markup():
    for path in (ROOT / "static" / "js").glob("*.js"):
        assert not re.search(
            r"\beval\(|new Function|\.(?:inner|outer)HTML\b|document\.write", path.read_text()
        )


@pytest.mark.django_db
def test_pages_carry_the_policy_and_a_nonce_for_their_scripts(acme, alice, browser):
    response = browser(alice).get(home_of(acme))
    policy = response["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    nonce = re.search(r"'nonce-([^']+)'", policy)[1]
    scripts = re.findall(r"<script\b[^>]*>", text(response))
    assert scripts
    assert all(f'nonce="{nonce}"' in script for script in scripts)
    assert "http://" not in text(response).replace("http://www.w3.org", "")
    assert "https://" not in text(response)


@pytest.mark.django_db
def test_htmx_is_configured_to_run_nothing_it_is_sent(acme, alice, browser):
    page = text(browser(alice).get(home_of(acme)))
    assert (
        '{"historyCacheSize":0,"allowEval":false,"allowScriptTags":false,'
        '"selfRequestsOnly":true,"attributesToSettle":["class","width","height"],'
        '"includeIndicatorStyles":false}'
    ) in page
    assert re.search(r"<body hx-headers='\{\"x-csrftoken\": \"\w+\"\}'", page)


# --- In and out -------------------------------------------------------------------------------


@pytest.mark.django_db
def test_the_logged_out_are_sent_to_the_log_in(acme, browser):
    response = browser().get(home_of(acme))
    assert response["Location"] == f"/accounts/login/?next={home_of(acme)}"
    part = browser(htmx="campaigns").get(home_of(acme))
    assert part["HX-Redirect"].startswith("/accounts/login/")


@pytest.mark.django_db
def test_somebody_logs_in_by_e_mail_and_out_by_post(acme, alice, browser):
    client = browser()
    assert "Log in" in text(client.get("/accounts/login/"))
    wrong = client.post("/accounts/login/", {"login": alice.email, "password": "not this one"})
    assert wrong.status_code == 200
    assert "invalid-feedback" in text(wrong) or "diagnosis-blocked" in text(wrong)
    response = client.post("/accounts/login/", {"login": alice.email, "password": PASSWORD})
    assert response.status_code == 302
    assert client.get("/")["Location"] == home_of(acme)
    assert client.get("/accounts/logout/").status_code == 200  # asks
    client.post("/accounts/logout/")
    assert client.get("/").status_code == 302


@pytest.mark.django_db
@pytest.mark.parametrize(
    "path",
    ["login/", "signup/", "password/reset/", "password/reset/done/", "password/reset/key/1-set-x/"],
)
def test_the_pages_of_the_way_in_look_like_ours(browser, path):
    page = text(browser().get(f"/accounts/{path}"))
    assert "entrance-brand" in page


@pytest.mark.django_db
def test_home_offers_the_choice_between_tenants(acme, alice, browser):
    client = browser(alice)
    make_member(make_tenant("second"), "viewer", alice)
    page = text(client.get("/"))
    assert home_of(acme) in page
    assert "/t/second/" in page
    assert "no workspace yet" in text(browser(make_user()).get("/"))


# --- Theme and language -----------------------------------------------------------------------


@pytest.mark.django_db
def test_the_theme_is_kept_and_in_the_first_bytes_of_the_page(acme, alice, browser):
    client = browser(alice)
    assert 'data-theme-choice="system"' in text(client.get(home_of(acme)))
    response = client.post("/preferences/theme/", {"theme": "dark", "next": home_of(acme)})
    assert response["Location"] == home_of(acme)
    assert 'data-bs-theme="dark"' in text(client.get(home_of(acme)))
    alice.refresh_from_db()
    assert alice.theme == "dark"


@pytest.mark.django_db
def test_the_language_is_the_persons_else_the_tenants_else_the_browsers(acme, alice, browser):
    client = browser(alice)
    assert "New campaign" in text(client.get(home_of(acme)))
    acme.language = "pt-br"
    acme.save()
    page = text(client.get(home_of(acme)))
    assert "Nova campanha" in page
    assert '<html lang="pt-br"' in page
    client.post("/preferences/language/", {"language": "en"})
    assert "New campaign" in text(client.get(home_of(acme)))
    login = Client(headers={"Accept-Language": "pt-BR"}).get("/accounts/login/")
    assert "Entrar" in text(login)


@pytest.mark.django_db
def test_the_log_in_page_remembers_language_and_theme(browser):
    client = browser()
    client.post("/preferences/language/", {"language": "pt-br"})
    client.post("/preferences/theme/", {"theme": "dark"})
    page = text(client.get("/accounts/login/"))
    assert "Entrar" in page
    assert 'data-bs-theme="dark"' in page


@pytest.mark.django_db
@pytest.mark.parametrize(
    "there", ["https://evil.example/", "//evil.example", "javascript:alert(1)"]
)
def test_preferences_lead_back_to_our_own_pages_only(browser, there):
    response = browser().post("/preferences/theme/", {"theme": "dark", "next": there})
    assert response["Location"] == "/"


@pytest.mark.django_db
@pytest.mark.parametrize("path", ["/preferences/theme/", "/preferences/language/"])
def test_preferences_that_are_none_change_nothing(alice, browser, path):
    browser(alice).post(path, {"theme": "pink", "language": "xx"})
    alice.refresh_from_db()
    assert (alice.theme, alice.language) == ("", "")


def test_the_catalogues_are_complete():
    call_command("translations", "check")


# --- Errors -----------------------------------------------------------------------------------


@pytest.mark.django_db
def test_error_pages_are_ours(acme, alice, vera, browser):
    assert "Nothing is here" in text(browser(alice).get("/nowhere/"))
    assert "Not allowed" in text(browser(vera).post(reverse("tenant-stop", args=["acme"])))
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(alice)
    response = strict.post("/preferences/theme/", {"theme": "dark"})
    assert response.status_code == 403
    assert "too old" in text(response)
    acme.suspended_at = "2026-01-01T00:00:00Z"
    acme.save()
    assert "suspended" in text(browser(alice).get(home_of(acme)))


@pytest.mark.django_db
def test_a_members_errors_keep_the_frame_of_the_workspace(acme, vera, browser):
    missing = text(browser(vera).get("/t/acme/leads/999999/"))
    refused = text(browser(vera).post(reverse("tenant-stop", args=["acme"])))
    for page in (missing, refused):
        assert 'class="top-nav' in page or 'top-nav"' in page
        assert f'href="{home_of(acme)}"' in page
    assert "It takes: Owner, Manager, Operator." in refused


@pytest.mark.django_db
def test_a_strangers_404_shows_no_workspace(acme, charlie, browser):
    page = text(browser(charlie).get(home_of(acme)))
    assert "top-nav" not in page
    assert "Acme" not in page


@pytest.mark.django_db
def test_under_htmx_an_error_is_a_sentence_for_a_toast(acme, vera, browser):
    client = browser(vera, htmx="panel")
    refused = client.post(reverse("tenant-stop", args=["acme"]))
    assert refused.status_code == 403
    assert refused["Content-Type"] == "text/plain; charset=utf-8"
    assert text(refused) == "Your role does not allow this. It takes: Owner, Manager, Operator."
    missing = client.get("/t/acme/leads/999999/")
    assert (missing.status_code, missing["Content-Type"][:10]) == (404, "text/plain")


@pytest.mark.django_db
def test_what_no_view_answers_itself_is_a_409_with_its_sentence(acme, alice, browser, monkeypatch):
    def refuse(*args, **kwargs):
        raise Refused("Somebody changed this a moment ago.")

    monkeypatch.setattr("campaigns.actions.stop_tenant", refuse)
    response = browser(alice).post(reverse("tenant-stop", args=["acme"]))
    assert response.status_code == 409
    assert "Somebody changed this a moment ago." in text(response)


@pytest.mark.django_db
def test_a_form_sent_after_the_session_ended_leads_to_the_log_in(acme, browser):
    address = reverse("tenant-stop", args=["acme"])
    plain = browser().post(address)
    assert plain["Location"] == f"/accounts/login/?next={address}"
    part = browser(htmx="dialog-body").post(
        address, headers={"HX-Current-URL": f"http://testserver{home_of(acme)}"}
    )
    assert part["HX-Redirect"] == "/accounts/login/?next=%2Ft%2Facme%2F"


def test_the_500_page_needs_neither_the_database_nor_a_context():
    response = pages.server_error(RequestFactory().get("/"))
    assert response.status_code == 500
    assert "Something broke on our side" in text(response)


# --- Times ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("at", "shown", "shown_day"),
    [
        (datetime(2026, 3, 4, 15, 5, tzinfo=UTC), "12:05", "4 Mar"),
        (datetime(2026, 3, 4, 2, 59, tzinfo=UTC), "3 Mar, 23:59", "3 Mar"),
        (datetime(2025, 12, 31, 15, 0, tzinfo=UTC), "31 Dec 2025, 12:00", "31 Dec 2025"),
        (datetime(2027, 1, 1, 15, 0, tzinfo=UTC), "1 Jan 2027, 12:00", "1 Jan 2027"),
    ],
)
def test_a_time_is_as_long_as_it_must_be(monkeypatch, at, shown, shown_day):
    now = datetime(2026, 3, 4, 20, 0, tzinfo=UTC)
    monkeypatch.setattr(timezone, "now", lambda: now)
    with timezone.override(ZoneInfo("America/Sao_Paulo")):
        assert f">{shown}</time>" in ui.when(at)
        assert f">{shown_day}</time>" in ui.day(at)


def test_a_time_says_all_of_itself_to_programs_and_on_hover():
    at = datetime(2025, 11, 22, 17, 20, 30, tzinfo=UTC)
    with timezone.override(ZoneInfo("America/Sao_Paulo")):
        shown = ui.when(at)
    assert 'datetime="2025-11-22T14:20:30-03:00"' in shown
    assert 'title="Saturday, 22 November 2025, 14:20 (America/Sao_Paulo)"' in shown
    assert ui.when(None) == ui.day(None) == ""


# --- Silent workers ---------------------------------------------------------------------------


@pytest.mark.django_db
def test_workers_are_called_silent_when_work_waits_for_a_minute(acme, monkeypatch):
    now = timezone.now()
    due: list[datetime | None] = [None]
    monkeypatch.setattr("agenticos.queue.wake_ups", lambda: [("a.task", lambda: due[0])])
    assert silence(now) is None  # nobody works, and there is nothing to do
    due[0] = now
    assert silence(now) == Silence(None)
    beat = WorkerBeat.objects.create(owner="w", seen_at=now - timedelta(seconds=61))
    assert silence(now) == Silence(beat.seen_at)
    due[0] = now + timedelta(hours=1)
    assert silence(now) is None
    due[0] = now
    WorkerBeat.objects.update(seen_at=now - timedelta(seconds=59))
    assert silence(now) is None


# --- Paging -----------------------------------------------------------------------------------


def test_a_cursor_says_what_it_was_made_of():
    assert paging.decode(paging.encode([70, 12]), 2) == [70, 12]
    assert paging.decode(paging.encode([70, 12]), 1) is None
    assert paging.decode(paging.encode([2**70]), 1) is None
    assert paging.decode(paging.encode([True]), 1) is None


# --- The admin --------------------------------------------------------------------------------


@pytest.fixture
def staff(db, browser):
    return browser(make_user(is_staff=True, is_superuser=True))


@pytest.mark.parametrize(
    "page",
    [
        "tenants_tenant_changelist", "tenants_tenant_add", "tenants_user_changelist",
        "tenants_user_add", "integrations_connection_changelist", "integrations_connection_add",
        "campaigns_sendingaccount_changelist", "campaigns_sendingaccount_add",
    ],
)  # fmt: skip
def test_the_admin_has_its_pages_under_the_policy(staff, page):
    response = staff.get(reverse(f"admin:{page}"))
    assert response.status_code == 200
    assert not re.search(r"\sstyle=|\son[a-z]+=[\"']", text(response))
    for script in re.findall(r"<script\b[^>]*>", text(response)):
        assert "src=" in script or "application/json" in script


def test_the_admin_shows_no_leads_and_no_messages(staff):
    page = text(staff.get("/admin/"))
    assert "/admin/leads/" not in page
    assert "/message" not in page


def test_the_admin_logs_in_through_allauth(browser):
    assert browser().get("/admin/login/")["Location"].startswith("/accounts/login/")


def test_a_credential_goes_in_and_never_comes_out(staff, acme):
    connection = make_connection(acme)
    address = reverse("admin:integrations_connection_change", args=[connection.pk])
    values = {"name": "CRM", "external_id": connection.external_id, "token": "pit-very-secret-9876"}
    assert staff.post(address, values).status_code == 302
    with scope.as_tenant(acme):
        stored = Connection.objects.get(pk=connection.pk)
        assert stored.reveal() == {"token": "pit-very-secret-9876"}
        entries = list(AuditEntry.objects.values_list("action", "data"))
    assert {action for action, _ in entries} == {"connection.edited", "connection.secret_set"}
    assert "secret-9876" not in str(entries)
    page = text(staff.get(address))
    assert "pit-very-secret" not in page
    assert "…9876" in page


def test_an_empty_token_leaves_the_credential_alone(staff, acme):
    connection = make_connection(acme)
    with scope.as_tenant(acme):
        before = connection.reveal()
    address = reverse("admin:integrations_connection_change", args=[connection.pk])
    staff.post(address, {"name": "New name", "external_id": "other", "token": ""})
    with scope.as_tenant(acme):
        stored = Connection.objects.get(pk=connection.pk)
        assert (stored.name, stored.reveal()) == ("New name", before)


def test_a_sending_account_belongs_to_the_tenant_of_its_connection(staff, acme):
    connection = make_connection(acme)
    values = {
        "connection": connection.pk, "handle": "conta1", "day_cap": 50, "hour_cap": 10,
        "gap_min_s": 60, "gap_max_s": 90, "jitter_percent": 15,
        "error_percent": 40, "error_window_min": 60,
    }  # fmt: skip
    assert staff.post(reverse("admin:campaigns_sendingaccount_add"), values).status_code == 302
    with scope.as_tenant(acme):
        assert acme.sending_accounts.get().handle == "conta1"
        assert AuditEntry.objects.filter(action="account.created").exists()


def test_an_accounts_state_is_not_for_the_admin(staff, acme):
    account = make_account(acme)
    address = reverse("admin:campaigns_sendingaccount_change", args=[account.pk])
    values = {
        "handle": account.handle, "day_cap": 7, "hour_cap": 5, "gap_min_s": 1, "gap_max_s": 2,
        "jitter_percent": 0, "error_percent": 40, "error_window_min": 60, "state": "blocked",
    }  # fmt: skip
    assert staff.post(address, values).status_code == 302
    with scope.as_tenant(acme):
        account.refresh_from_db()
    assert (account.state, account.day_cap) == ("active", 7)


def test_a_member_is_added_to_a_tenant_and_it_is_audited(staff, acme):
    person = make_user("new@example.com")
    address = reverse("admin:tenants_tenant_change", args=[acme.pk])
    values = {
        "name": "Acme", "slug": "acme", "language": "en", "time_zone": "America/Sao_Paulo",
        "contact_gap_days": 90, "memberships-TOTAL_FORMS": 1, "memberships-INITIAL_FORMS": 0,
        "memberships-0-user": person.pk, "memberships-0-role": "operator",
        "connections-TOTAL_FORMS": 0, "connections-INITIAL_FORMS": 0,
        "sending_accounts-TOTAL_FORMS": 0, "sending_accounts-INITIAL_FORMS": 0,
    }  # fmt: skip
    assert staff.post(address, values).status_code == 302
    with scope.as_tenant(acme):
        assert acme.memberships.get().role == "operator"
        assert AuditEntry.objects.filter(action="membership.created").exists()
