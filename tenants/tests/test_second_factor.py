"""The second factor: who needs it, that nothing opens without it, and what its changes end."""

from __future__ import annotations

import re
import time

import pytest
from allauth.mfa.models import Authenticator
from allauth.mfa.recovery_codes.internal.auth import RecoveryCodes
from allauth.mfa.totp.internal.auth import TOTP, format_hotp_value, generate_totp_secret, hotp_value
from django.test import Client
from django.urls import reverse

from agenticos.tests.factories import PASSWORD, make_member, make_tenant, make_user, refresh
from tenants import crypto, second_factor
from tenants.models import User

pytestmark = pytest.mark.django_db
SET_UP = "/accounts/2fa/"


def text(response):
    return response.content.decode()


def with_app(user):
    """Give the person an authenticator app; return its secret."""
    secret = generate_totp_secret()
    TOTP.activate(user, secret)
    return secret


def code(secret, *, steps=0):
    return format_hotp_value(hotp_value(secret, int(time.time()) // 30 + steps))


def log_in(client, user, **more):
    return client.post("/accounts/login/", {"login": user.email, "password": PASSWORD, **more})


# --- Who needs one ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("role", "demanded", "led"),
    [
        ("owner", False, True), ("manager", False, True), ("operator", False, False),
        ("viewer", False, False), ("viewer", True, True), ("operator", True, True),
    ],
)  # fmt: skip
def test_who_needs_a_second_factor_is_led_to_set_one_up(
    acme, browser, settings, role, demanded, led
):
    settings.REQUIRE_MFA = True
    acme.require_mfa = demanded
    acme.save()
    member = make_member(acme, role)
    page = browser(member.user).get("/t/acme/leads/")
    assert (page.status_code, page.headers.get("Location")) == (
        (302, SET_UP) if led else (200, None)
    )
    part = browser(member.user, htmx="rows").get("/t/acme/leads/")
    assert part.headers.get("HX-Redirect") == (SET_UP if led else None)
    with_app(member.user)
    assert browser(member.user).get("/t/acme/leads/").status_code == 200


def test_without_the_setting_only_the_workspace_demands_it(acme, vera, browser):
    assert browser(vera).get("/t/acme/").status_code == 200
    acme.require_mfa = True
    acme.save()
    assert browser(vera).get("/t/acme/")["Location"] == SET_UP


def test_recovery_codes_alone_are_no_second_factor(acme, alice, browser, settings):
    settings.REQUIRE_MFA = True
    RecoveryCodes.activate(alice)
    assert browser(alice).get("/t/acme/")["Location"] == SET_UP


def test_home_leads_there_too_and_the_page_says_why(acme, alice, browser, settings):
    settings.REQUIRE_MFA = True
    client = browser(alice)
    assert client.get("/")["Location"] == SET_UP
    assert "demands a second factor" in text(client.get(SET_UP))
    with_app(alice)
    assert "demands a second factor" not in text(client.get(SET_UP))


def test_staff_need_one_for_the_administration(browser, settings):
    settings.REQUIRE_MFA = True
    staff = User.objects.create_superuser("staff@example.com", PASSWORD)
    client = browser(staff)
    for path in ("/admin/", "/admin/tenants/tenant/", "/admin/tenants/user/add/", "/"):
        assert client.get(path)["Location"] == SET_UP, path
    with_app(staff)
    assert client.get("/admin/").status_code == 200


def test_an_owner_demands_it_of_everybody_and_a_manager_may_not(acme, alice, browser):
    values = {
        "name": "Acme", "time_zone": "America/Sao_Paulo", "language": "en",
        "contact_gap_days": 90, "require_mfa": "on",
    }  # fmt: skip
    browser(make_member(acme, "manager").user).post("/t/acme/settings/edit/", values)
    acme.refresh_from_db()
    assert acme.require_mfa is False
    stale = browser(alice, fresh=False).post("/t/acme/settings/edit/", values)
    assert stale["Location"].startswith(reverse("account_reauthenticate"))
    browser(alice).post("/t/acme/settings/edit/", values)
    acme.refresh_from_db()
    assert acme.require_mfa is True


# --- The way in -------------------------------------------------------------------------------


def test_the_password_alone_lets_nobody_in_who_has_a_second_factor(acme, alice):
    secret = with_app(alice)
    client = Client()
    assert log_in(client, alice)["Location"] == "/accounts/2fa/authenticate/"
    assert client.get("/t/acme/").status_code == 302
    page = text(client.get("/accounts/2fa/authenticate/"))
    assert "entrance-brand" in page
    wrong = client.post("/accounts/2fa/authenticate/", {"code": code(secret, steps=99)})
    assert "Incorrect code" in text(wrong)
    right = client.post("/accounts/2fa/authenticate/", {"code": code(secret)})
    assert right.status_code == 302
    assert client.get("/t/acme/").status_code == 200


def test_a_code_lets_in_once(acme, alice):
    secret = with_app(alice)
    used = code(secret)
    for expected in (302, 200):
        client = Client()
        log_in(client, alice)
        answer = client.post("/accounts/2fa/authenticate/", {"code": used})
        assert answer.status_code == expected


def test_a_secret_whose_master_key_is_gone_lets_nobody_in(acme, alice, settings):
    secret = with_app(alice)
    client = Client()
    log_in(client, alice)
    settings.CREDENTIAL_KEYS = "t2:QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVphYmNkZWY="
    answer = client.post("/accounts/2fa/authenticate/", {"code": code(secret)})
    assert "Incorrect code" in text(answer)
    assert client.get("/t/acme/").status_code == 302


def test_a_recovery_code_lets_in_once(acme, alice):
    with_app(alice)
    spare = RecoveryCodes.activate(alice).get_unused_codes()[0]
    for expected in (302, 200):
        client = Client()
        log_in(client, alice)
        answer = client.post("/accounts/2fa/authenticate/", {"code": spare})
        assert answer.status_code == expected


def test_a_reset_password_does_not_skip_the_second_factor(acme, alice, mailoutbox):
    with_app(alice)
    client = Client()
    client.post("/accounts/password/reset/", {"email": alice.email})
    link = re.search(r"/accounts/password/reset/key/\S+", mailoutbox[0].body)[0]
    form = client.get(link, follow=True)
    new = "blue kettle on the roof"
    done = client.post(
        form.redirect_chain[-1][0], {"password1": new, "password2": new}, follow=True
    )
    assert done.status_code == 200
    assert client.get("/t/acme/")["Location"].startswith("/accounts/login/")
    answer = client.post("/accounts/login/", {"login": alice.email, "password": new})
    assert answer["Location"] == "/accounts/2fa/authenticate/"


def test_no_more_than_five_codes_are_tried_for_one_person(acme, alice):
    secret = with_app(alice)
    client = Client()
    log_in(client, alice)
    said = [text(client.post("/accounts/2fa/authenticate/", {"code": f"{n:06}"})) for n in range(6)]
    assert "Too many failed login attempts" in said[-1]
    assert "Too many failed login attempts" in text(
        client.post("/accounts/2fa/authenticate/", {"code": code(secret)})
    )


# --- Setting it up ----------------------------------------------------------------------------


def test_an_app_is_set_up_by_its_picture_and_gives_recovery_codes(acme, alice, browser, settings):
    settings.REQUIRE_MFA = True
    client = browser(alice)
    page = client.get("/accounts/2fa/totp/activate/")
    assert 'src="data:image/svg+xml;base64,' in text(page)
    secret = client.session["mfa.totp.secret"]
    done = client.post("/accounts/2fa/totp/activate/", {"code": code(secret)})
    assert done["Location"] == "/accounts/2fa/recovery-codes/"
    codes = text(client.get("/accounts/2fa/recovery-codes/"))
    assert "10 codes are left" in codes
    assert client.get("/t/acme/").status_code == 200


def test_the_secrets_are_stored_sealed_and_follow_a_new_master_key(alice, settings):
    secret = with_app(alice)
    RecoveryCodes.activate(alice)
    stored = str(list(Authenticator.objects.values_list("data", flat=True)))
    assert secret not in stored
    codes = RecoveryCodes(Authenticator.objects.get(type="recovery_codes")).get_unused_codes()
    old = settings.CREDENTIAL_KEYS
    settings.CREDENTIAL_KEYS = "t2:" + "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVphYmNkZWY=" + "," + old
    assert second_factor.reseal() == 2
    assert second_factor.reseal() == 0
    settings.CREDENTIAL_KEYS = settings.CREDENTIAL_KEYS.split(",")[0]
    row = Authenticator.objects.get(type="totp")
    assert second_factor.Adapter().decrypt(row.data["secret"]) == secret
    again = RecoveryCodes(Authenticator.objects.get(type="recovery_codes")).get_unused_codes()
    assert again == codes
    settings.CREDENTIAL_KEYS = old
    with pytest.raises(crypto.CannotOpen):
        second_factor.Adapter().decrypt(row.data["secret"])


@pytest.mark.parametrize(
    "path",
    [
        "2fa/totp/activate/", "2fa/webauthn/add/", "2fa/recovery-codes/generate/",
    ],
)  # fmt: skip
def test_a_change_of_the_second_factor_asks_who_one_is(alice, browser, path):
    with_app(alice) if "codes" in path else None
    answer = browser(alice, fresh=False).get(f"/accounts/{path}")
    assert answer["Location"].startswith("/accounts/reauthenticate/?next=")
    assert browser(alice).get(f"/accounts/{path}").status_code == 200


@pytest.mark.django_db(transaction=True)
def test_a_change_of_the_second_factor_ends_the_other_sessions(acme, alice):
    here, there = Client(), Client()
    for client in (here, there):
        log_in(client, alice)
        assert client.get("/t/acme/").status_code == 200
    here.get("/accounts/2fa/totp/activate/")
    secret = here.session["mfa.totp.secret"]
    here.post("/accounts/2fa/totp/activate/", {"code": code(secret)})
    assert here.get("/t/acme/").status_code == 200
    assert there.get("/t/acme/").status_code == 302


def test_an_address_change_asks_who_one_is_and_needs_its_code(acme, alice, browser, mailoutbox):
    with_app(alice)
    stale = browser(alice, fresh=False)
    asked = stale.post("/accounts/email/", {"email": "new@example.com", "action_add": ""})
    assert asked["Location"].startswith("/accounts/reauthenticate/")
    client = browser(alice)
    sent = client.post("/accounts/email/", {"email": "new@example.com", "action_add": ""})
    assert sent["Location"] == "/accounts/confirm-email/"
    assert mailoutbox[-1].to == ["new@example.com"]
    alice.refresh_from_db()
    assert alice.email == "alice@example.com"
    proof = client.session["account_email_verification_code"]["code"]
    client.post("/accounts/confirm-email/", {"code": proof})
    alice.refresh_from_db()
    assert alice.email == "new@example.com"


def test_the_passkey_page_has_its_scripts_and_no_inline_one(alice, browser):
    page = text(browser(alice).get("/accounts/2fa/webauthn/add/"))
    assert 'data-passkey="addForm"' in page
    assert "creation_options" in page
    for script in re.findall(r"<script\b[^>]*>", page):
        assert "src=" in script or 'type="application/json"' in script


def test_the_log_in_offers_passkeys_and_answers_their_question():
    client = Client()
    assert 'id="passkey_login"' in text(client.get("/accounts/login/"))
    options = client.get(
        "/accounts/2fa/webauthn/login/", headers={"Accept": "application/json"}
    ).json()
    assert options["request_options"]["publicKey"]["challenge"]


ASSERTION = (
    '{"id": "eA", "rawId": "eA", "type": "public-key", "response": {"clientDataJSON": "%s", '
    '"authenticatorData": "%s", "signature": "eA", "userHandle": "%s"}}'
)
CLIENT_DATA = "eyJ0eXBlIjoid2ViYXV0aG4uZ2V0IiwiY2hhbGxlbmdlIjoiZUEiLCJvcmlnaW4iOiJodHRwOi8vdCJ9"
GARBAGE = [
    "", "{}", "[1]", "null", "7", '"x"', "nonsense", '{"id": "x"}', '{"id": 7, "rawId": 7}',
    '{"id": "eA", "rawId": "eA", "type": "public-key", "response": 7}',
    '{"id": "eA", "rawId": "eA", "type": "x", "response": {}}',
    ASSERTION % ("eA", "eA", "eA"),
    ASSERTION % (CLIENT_DATA, "A" * 50, "MQ"),
    ASSERTION % (CLIENT_DATA, "A" * 50, "____"),
    ASSERTION % (CLIENT_DATA, "A" * 50, ""),
]  # fmt: skip


@pytest.mark.parametrize("credential", GARBAGE)
def test_garbage_for_a_new_passkey_is_refused(alice, browser, credential):
    client = browser(alice)
    client.get("/accounts/2fa/webauthn/add/")
    answer = client.post("/accounts/2fa/webauthn/add/", {"name": "x", "credential": credential})
    assert answer.status_code == 200
    assert not second_factor.has_factor(alice.pk)


@pytest.mark.parametrize("credential", GARBAGE)
@pytest.mark.parametrize("asked_first", [True, False])
def test_garbage_for_a_passkey_lets_nobody_in(alice, credential, asked_first):
    client = Client()
    if asked_first:
        client.get("/accounts/2fa/webauthn/login/", headers={"Accept": "application/json"})
    answer = client.post("/accounts/2fa/webauthn/login/", {"credential": credential})
    assert answer.status_code == 302
    assert client.get("/")["Location"].startswith("/accounts/login/")


@pytest.mark.parametrize("credential", GARBAGE)
def test_garbage_for_a_passkey_is_no_second_factor(acme, alice, credential):
    with_app(alice)
    client = Client()
    log_in(client, alice)
    client.get("/accounts/2fa/authenticate/")
    answer = client.post("/accounts/2fa/authenticate/", {"credential": credential})
    assert answer.status_code == 200
    assert client.get("/t/acme/").status_code == 302


PAGES = [
    "2fa/", "2fa/totp/activate/", "2fa/webauthn/", "2fa/webauthn/add/", "sessions/",
    "password/change/", "email/", "reauthenticate/",
]  # fmt: skip


@pytest.mark.parametrize("language", ["en", "pt-br"])
@pytest.mark.parametrize("path", PAGES)
def test_the_pages_are_ours_and_keep_the_policy(alice, browser, path, language):
    alice.language = language
    alice.save()
    page = browser(alice).get(f"/accounts/{path}")
    assert page.status_code == 200
    assert 'id="menu-person"' in text(page) or "entrance-brand" in text(page)
    assert not re.search(r"<[^>]+\s(?:style|on[a-z]+)=", text(page))
    english = re.search(r">(Second factor|Sessions|Password|Go on)<", text(page))
    assert bool(english) is (language == "en")


def test_a_persons_other_tenant_may_stay_open(acme, alice, browser, settings):
    """What one workspace demands is not demanded by another."""
    other = make_tenant("other", require_mfa=True)
    user = make_user()
    make_member(acme, "viewer", user)
    make_member(other, "viewer", user)
    client = browser(user)
    assert client.get("/t/acme/").status_code == 200
    assert client.get("/t/other/")["Location"] == SET_UP


def test_a_log_in_long_ago_is_not_fresh(alice, browser):
    client = browser(alice)
    refresh(client, alice, seconds_ago=301)
    answer = client.get("/accounts/2fa/totp/activate/")
    assert answer["Location"].startswith("/accounts/reauthenticate/")
    client.post("/accounts/reauthenticate/", {"password": PASSWORD})
    assert client.get("/accounts/2fa/totp/activate/").status_code == 200
