"""Log-in: how long it lasts, how often it may be tried, what is written about it, fresh or not."""

from __future__ import annotations

import logging
import re
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from allauth.usersessions.models import UserSession
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.db import connection
from django.test import Client
from django.urls import reverse

from agenticos.tests.environment import run_manage
from agenticos.tests.factories import PASSWORD, make_connection, make_member, make_user, refresh
from tenants import attempts, sessions
from tenants.models import Attempt, User

AT_ONCE = 40
LIMITED = "Too many failed login attempts"


def text(response):
    return response.content.decode()


def log_in(client, user, password=PASSWORD, **more):
    return client.post("/accounts/login/", {"login": user.email, "password": password, **more})


# --- Limits -----------------------------------------------------------------------------------


def at_once(work, times=AT_ONCE):
    """Run `work(number)` in that many threads, each with its own connection."""

    def one(number):
        try:
            return work(number)
        finally:
            connection.close()

    with ThreadPoolExecutor(times) as pool:
        return list(pool.map(one, range(times)))


@pytest.mark.django_db(transaction=True)
def test_of_forty_at_once_exactly_the_allowed_number_gets_through():
    limit = attempts.Limit("test", 7, 3600)
    assert sum(at_once(lambda number: attempts.take(limit, "one"))) == 7
    assert attempts.take(limit, "another")


@pytest.mark.django_db
def test_tries_come_back_one_by_one(monkeypatch):
    limit, now = attempts.Limit("test", 5, 300), 1_800_000_000.0
    monkeypatch.setattr(time, "time", lambda: now)
    assert [attempts.take(limit, "a") for _ in range(7)] == [True] * 5 + [False] * 2
    now += 59
    assert not attempts.take(limit, "a")
    now += 1
    assert attempts.take(limit, "a")
    assert not attempts.take(limit, "a")
    attempts.give_back(limit, "a")
    assert attempts.take(limit, "a")
    now += 7200
    attempts.give_back(limit, "b")
    assert not Attempt.objects.exists()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("door", ["/accounts/login/", "/admin/login/"])
@pytest.mark.parametrize("staff", [True, False])
def test_forty_wrong_passwords_at_once_are_limited(door, staff):
    """Whatever the client says about its address: nobody tries more than five passwords."""
    user = User.objects.create_user("staff@example.com", PASSWORD, is_staff=staff)

    def guess(number):
        client = Client(headers={"X-Forwarded-For": f"203.0.113.{number}"})
        form = {"login": user.email, "username": user.email, "password": f"wrong-guess-{number}"}
        answer = client.post(door, form)
        assert "_auth_user_id" not in client.session
        return answer.status_code, LIMITED in text(answer), answer.headers.get("Location", "")

    answers = at_once(guess)
    if door == "/admin/login/":  # asks nothing itself: everybody is sent to the one log-in
        assert {status for status, _, _ in answers} == {302}
        assert all(to.startswith("/accounts/login/") for _, _, to in answers)
        return
    looked_at = [answer for answer in answers if answer[0] == 200 and not answer[1]]
    assert len(looked_at) <= attempts.PASSWORDS_OF_ONE.amount
    assert {status for status, _, _ in answers} <= {200, 429}
    right = log_in(Client(), user)
    assert right.status_code == 429 or LIMITED in text(right)


@pytest.mark.django_db
def test_the_exact_count_stands_without_the_cache(acme, alice, settings, monkeypatch):
    """A cache that forgets everything (flushed, crowded out) lets nobody guess on."""
    from django.core.cache import cache

    for number in range(5):
        log_in(Client(), alice, f"wrong-{number}")
        cache.clear()
    assert LIMITED in text(log_in(Client(), alice))


@pytest.mark.django_db
def test_one_address_may_not_try_many_accounts():
    people = [make_user() for _ in range(11)]
    said = [text(log_in(Client(), user, "wrong")) for user in people]
    assert [LIMITED in page for page in said] == [False] * 10 + [True]


@pytest.mark.django_db
def test_right_passwords_do_not_count(alice):
    for _ in range(12):
        assert log_in(Client(), alice).status_code == 302


@pytest.mark.django_db
def test_a_logged_in_person_of_the_staff_cannot_guess_at_the_admins_form(alice):
    staff = User.objects.create_superuser("staff@example.com", PASSWORD)
    client = Client()
    client.force_login(staff)
    form = {"username": alice.email, "password": PASSWORD}
    assert client.post("/admin/login/", form)["Location"] == "/admin/"
    assert client.session["_auth_user_id"] == str(staff.pk)
    changed = client.post("/admin/password_change/", {"old_password": "guess"})
    assert changed["Location"] == "/accounts/password/change/"


@pytest.mark.redis
@pytest.mark.django_db
def test_without_redis_people_still_log_in(alice, settings):
    from django.core.cache import caches

    default = {**settings.CACHES["default"], "LOCATION": "redis://127.0.0.1:9/0"}
    settings.CACHES = {**settings.CACHES, "default": default}
    del caches.settings  # read anew
    try:
        assert log_in(Client(), alice).status_code == 302
    finally:
        del caches.settings


# --- Sessions ---------------------------------------------------------------------------------


@pytest.fixture
def later(monkeypatch):
    """`later(60)`: that many seconds pass for sessions."""
    real, passed = time.time, [0.0]
    monkeypatch.setattr(sessions.time, "time", lambda: real() + passed[0])

    def pass_by(seconds):
        passed[0] += seconds

    return pass_by


@pytest.mark.django_db
def test_a_session_ends_after_three_hours_of_nothing(acme, alice, later):
    client = Client()
    log_in(client, alice)
    later(3 * 3600 - 60)
    assert client.get("/t/acme/").status_code == 200
    later(3 * 3600 - 60)
    assert client.get("/t/acme/").status_code == 200
    later(3 * 3600)
    assert client.get("/t/acme/").status_code == 302
    assert not UserSession.objects.exists()


@pytest.mark.django_db
def test_a_page_that_renews_itself_keeps_no_session_alive(acme, alice, later):
    client = Client()
    log_in(client, alice)
    for _ in range(3):
        later(3600)
        status = client.get("/t/acme/today/", headers={"HX-Request": "true"}).status_code
    assert status == 200
    assert client.get("/t/acme/").status_code == 302


@pytest.mark.django_db
def test_a_session_ends_after_twelve_hours_of_work(acme, alice, later):
    client = Client()
    log_in(client, alice)
    for _ in range(11):
        later(3600)
        assert client.get("/t/acme/").status_code == 200
    later(3600)
    assert client.get("/t/acme/").status_code == 302


@pytest.mark.django_db
def test_keep_me_signed_in_is_fourteen_days(acme, alice, later):
    client = Client()
    answer = log_in(client, alice, remember="on")
    assert answer.cookies["sessionid"]["max-age"] == 14 * 24 * 3600
    for _ in range(13):
        later(24 * 3600)
        assert client.get("/t/acme/").status_code == 200
    later(24 * 3600)
    assert client.get("/t/acme/").status_code == 302


@pytest.mark.django_db
def test_without_it_the_cookie_goes_with_the_browser(alice):
    assert log_in(Client(), alice).cookies["sessionid"]["max-age"] == ""


@pytest.mark.django_db
def test_a_person_sees_their_sessions_and_ends_one(acme, alice, charlie):
    here, there, others = Client(), Client(headers={"User-Agent": "Telephone"}), Client()
    for client, user in ((here, alice), (there, alice), (others, charlie)):
        log_in(client, user)
    page = text(here.get("/accounts/sessions/"))
    assert "Telephone" in page
    assert page.count("this one") == 1
    theirs = UserSession.objects.get(user=charlie)
    assert here.post(f"/accounts/sessions/{theirs.pk}/end/").status_code == 404
    row = UserSession.objects.get(user_agent="Telephone")
    assert here.get(f"/accounts/sessions/{row.pk}/end/").status_code == 405
    here.post(f"/accounts/sessions/{row.pk}/end/")
    assert there.get("/t/acme/").status_code == 302
    assert here.get("/t/acme/").status_code == 200
    assert others.get("/t/rival/").status_code == 200


@pytest.mark.django_db
def test_all_others_end_at_once_and_at_a_new_password(acme, alice):
    here, there, third = Client(), Client(), Client()
    for client in (here, there):
        log_in(client, alice)
    here.post("/accounts/sessions/")
    assert there.get("/t/acme/").status_code == 302
    log_in(third, alice)
    new = {"oldpassword": PASSWORD, "password1": "kettle on the roof", "password2": ""}
    here.post("/accounts/password/change/", {**new, "password2": new["password1"]})
    assert here.get("/t/acme/").status_code == 200
    assert third.get("/t/acme/").status_code == 302


@pytest.mark.django_db
def test_a_log_out_clears_the_browser(alice):
    client = Client()
    log_in(client, alice)
    answer = client.post("/accounts/logout/")
    assert answer["Clear-Site-Data"] == '"cache", "storage"'
    assert "Clear-Site-Data" not in client.get("/accounts/login/").headers


@pytest.mark.django_db
@pytest.mark.parametrize("to", ["https://evil.example/", "//evil.example", "javascript:alert(1)"])
def test_nobody_is_led_elsewhere(acme, alice, to):
    client = Client()
    assert log_in(client, alice, next=to)["Location"] == "/"
    refresh(client, alice, seconds_ago=400)
    answer = client.post("/accounts/reauthenticate/", {"password": PASSWORD, "next": to})
    assert "evil" not in answer["Location"]
    assert "alert" not in answer["Location"]
    assert "evil" not in client.post("/accounts/logout/", {"next": to})["Location"]


# --- Passwords and addresses ------------------------------------------------------------------


@pytest.mark.parametrize(
    "password",
    [
        "short-one", "x" * 129, "password1234", "agenticos-2026", "Instagram!2026!",
        "alice@example.com", "gohighlevel gohighlevel", "outreach campaign 1",
    ],
)  # fmt: skip
def test_a_password_that_is_easy_is_refused(password):
    with pytest.raises(ValidationError):
        validate_password(password, User(email="alice@example.com", name="Alice"))


@pytest.mark.parametrize(
    "password", ["the kettle sings at noon", "x9-mountain-violet", "my outreach to grandmother"]
)
def test_a_password_that_is_ones_own_is_taken(password):
    validate_password(password, User(email="alice@example.com", name="Alice"))


@pytest.mark.django_db
def test_an_address_that_is_not_proven_asks_for_its_code_first(acme, alice, mailoutbox):
    from allauth.account.models import EmailAddress

    EmailAddress.objects.filter(user=alice).update(verified=False)
    client = Client()
    assert log_in(client, alice)["Location"] == "/accounts/confirm-email/"
    assert client.get("/t/acme/").status_code == 302
    page = text(client.get("/accounts/confirm-email/"))
    assert "entrance-brand" in page
    code = client.session["account_email_verification_code"]["code"]
    assert code in mailoutbox[0].body
    client.post("/accounts/confirm-email/", {"code": code})
    assert EmailAddress.objects.get(user=alice).verified


@pytest.mark.django_db
def test_a_reset_says_nothing_about_who_has_an_account(alice, mailoutbox):
    known = Client().post("/accounts/password/reset/", {"email": alice.email})
    strange = Client().post("/accounts/password/reset/", {"email": "nobody@example.com"})
    assert (known.status_code, known["Location"]) == (strange.status_code, strange["Location"])
    assert [mail.to for mail in mailoutbox] == [[alice.email]]


# --- Fresh or not -----------------------------------------------------------------------------


# What takes a fresh log-in, by right; and what has such a right without being dangerous.
DANGEROUS = {
    "members.manage",
    "connections.manage",
    "leads.export",
    "leads.erase",
    "privacy.manage",
}
HARMLESS = {
    "t/<slug:tenant>/integrations/<int:pk>/off/": "the brake is near",
    "t/<slug:tenant>/integrations/<int:pk>/on/": "the token stays as it is",
    "t/<slug:tenant>/leads/jobs/<int:pk>/leads.csv": "of an export that was asked for when fresh",
}


def test_every_dangerous_act_takes_a_fresh_log_in():
    from agenticos.tests.test_house import tenant_routes

    loose = {
        route
        for route, pattern in tenant_routes()
        if pattern.callback.required_action in DANGEROUS
        and not getattr(pattern.callback, "needs_fresh", False)
    }
    assert loose == set(HARMLESS)


@pytest.mark.django_db
def test_a_stale_log_in_is_asked_and_comes_back_to_its_page(acme, alice, vera, browser):
    client = browser(alice, fresh=False)
    member = make_member(acme)
    role = reverse("team:role", args=["acme", member.pk])
    team = "/t/acme/team/?x=1"
    answer = client.post(role, {"role": "owner"}, headers={"Referer": f"http://testserver{team}"})
    assert answer["Location"] == "/accounts/reauthenticate/?next=%2Ft%2Facme%2Fteam%2F%3Fx%3D1"
    elsewhere = client.post(role, {"role": "owner"}, headers={"Referer": "https://evil.example/x"})
    assert elsewhere["Location"] == "/accounts/reauthenticate/?next=%2F"
    wrong = client.post("/accounts/reauthenticate/", {"password": "no", "next": team})
    assert wrong.status_code == 200
    assert client.post(role, {"role": "owner"})["Location"].startswith("/accounts/reauth")
    right = client.post("/accounts/reauthenticate/", {"password": PASSWORD, "next": team})
    assert right["Location"] == team
    client.post(role, {"role": "manager"})
    page = text(client.get("/t/acme/team/"))
    assert "now has the role" in page


@pytest.mark.django_db
def test_a_part_is_led_away_as_a_whole_page(acme, alice, browser):
    member = make_member(acme)
    answer = browser(alice, htmx="dialog-body", fresh=False).get(
        reverse("team:remove", args=["acme", member.pk]),
        headers={"HX-Current-URL": "http://testserver/t/acme/team/"},
    )
    assert answer["HX-Redirect"] == "/accounts/reauthenticate/?next=%2Ft%2Facme%2Fteam%2F"


@pytest.mark.django_db
def test_no_secret_that_was_sent_stale_is_kept(acme, alice, browser):
    row = make_connection(acme, kind="ghl")
    client = browser(alice, fresh=False)
    url = reverse("integrations:credential", args=["acme", row.pk])
    answer = client.post(url, {"token": "pit-very-secret-token"})
    assert answer["Location"].startswith("/accounts/reauthenticate/")
    assert "very-secret" not in str(dict(client.session))


@pytest.mark.django_db
def test_who_has_no_right_is_asked_nothing(acme, vera, browser):
    answer = browser(vera, fresh=False).post(reverse("team:invite", args=["acme"]), {})
    assert answer.status_code == 403


# --- What is written --------------------------------------------------------------------------


@pytest.mark.django_db
def test_what_happens_at_the_door_is_logged_with_ids_only(acme, alice, vera, browser, caplog):
    caplog.set_level(logging.INFO, logger="agenticos.security")
    client = Client()
    log_in(client, alice, "wrong")
    log_in(client, alice)
    browser(vera).post(reverse("tenant-stop", args=["acme"]))
    browser(vera).get("/t/nobody/")
    client.post("/accounts/logout/")
    lines = [line.message for line in caplog.records if line.name == "agenticos.security"]
    names = [line.split()[0] for line in lines]
    assert names[:2] == ["auth.failed", "auth.login"]
    assert {"authz.denied", "tenant.mismatch", "auth.logout"} <= set(names)
    denied = next(line for line in lines if line.startswith("authz.denied"))
    assert f"user={vera.pk} tenant={acme.pk} route=t/<slug:tenant>/stop/" in denied
    assert re.search(r"request=[0-9a-f]{32}", denied)
    assert not any(word in line for line in lines for word in ("example.com", "wrong", PASSWORD))


# --- Production -------------------------------------------------------------------------------

PRODUCTION = {
    "ALLOWED_HOSTS": "app.agenticos.example", "DEBUG": "off", "REQUIRE_MFA": "",
    "GHL_BASE_URL": "", "INSTAGRAM_GRAPH_BASE_URL": "", "OUTBOUND_ALLOW_PRIVATE": "off",
    "TRUSTED_PROXIES": "1", "SECRET_KEY": "qW8-" + "zR5tY2uI9oP4aS7dF1gH6jK3" * 3,
}  # fmt: skip


def test_djangos_own_check_for_production_is_silent():
    done = run_manage("check", "--deploy", "--fail-level", "WARNING", **PRODUCTION)
    assert (done.returncode, done.stderr) == (0, "")
    assert "no issues" in done.stdout


def test_production_has_safe_cookies_and_the_second_factor():
    ask = (
        "from django.conf import settings as s; print(s.REQUIRE_MFA, s.SESSION_COOKIE_NAME, "
        "s.CSRF_COOKIE_NAME, s.SESSION_COOKIE_SECURE, s.SESSION_COOKIE_SAMESITE, "
        "s.MFA_WEBAUTHN_ALLOW_INSECURE_ORIGIN)"
    )
    done = run_manage("shell", "--verbosity", "0", "-c", ask, **PRODUCTION)
    assert done.stdout.split() == [
        "True", "__Host-sessionid", "__Host-csrftoken", "True", "Lax", "False",
    ]  # fmt: skip
