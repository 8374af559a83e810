"""Staff let somebody in again who has lost the second factor."""

from __future__ import annotations

import pytest
from allauth.mfa.models import Authenticator
from allauth.usersessions.models import UserSession
from django.contrib.admin.models import LogEntry
from django.contrib.sessions.models import Session
from django.core import mail
from django.urls import reverse

from agenticos import scope
from agenticos.errors import Refused
from agenticos.tests import factories
from tenants import second_factor
from tenants.models import AuditEntry

pytestmark = pytest.mark.django_db


@pytest.fixture
def boss(db):
    return factories.make_user("boss@example.com", is_staff=True, is_superuser=True)


def give_factors(user):
    for kind in (Authenticator.Type.TOTP, Authenticator.Type.RECOVERY_CODES):
        Authenticator.objects.create(user=user, type=kind, data={"secret": "x"})


def address(user):
    return reverse("admin:tenants_user_reset_factor", args=[user.pk])


@pytest.fixture
def lost(acme, rival, alice, vera):
    """alice, a member of two tenants, with factors and a session; vera has hers."""
    factories.make_member(rival, "viewer", alice)
    for user in (alice, vera):
        give_factors(user)
    return alice


def open_session(browser, user):
    """A browser that is logged in, noted as a log-in is."""
    client = browser(user)
    UserSession.objects.create(
        user=user, session_key=client.session.session_key, ip="127.0.0.1", user_agent="", data={}
    )
    return client


def test_it_is_asked_first_and_then_done_with_all_that_belongs_to_it(
    acme, rival, lost, vera, boss, browser, caplog
):
    hers, others = open_session(browser, lost), open_session(browser, vera)
    staff = browser(boss)
    page = staff.get(reverse("admin:tenants_user_change", args=[lost.pk])).content.decode()
    assert address(lost) in page
    asked = staff.get(address(lost)).content.decode()
    assert "logged out everywhere" in asked
    assert Authenticator.objects.filter(user=lost).count() == 2
    with caplog.at_level("WARNING"):
        assert staff.post(address(lost)).status_code == 302
    assert not Authenticator.objects.filter(user=lost).exists()
    assert not UserSession.objects.filter(user=lost).exists()
    assert hers.get("/t/acme/")["Location"].startswith("/accounts/login/")
    (told,) = mail.outbox
    assert (told.to, "second factor" in told.subject) == ([lost.email], True)
    for tenant in (acme, rival):
        with scope.as_tenant(tenant):
            entry = AuditEntry.objects.get(action="membership.factor_reset")
        assert (entry.user, entry.data) == (boss, {"by_staff": True})
    assert LogEntry.objects.get(object_id=str(lost.pk)).user == boss
    assert any(f"person={lost.pk}" in line for line in caplog.messages if "auth.mfa_reset" in line)
    # Nobody else's, and the staff's own session goes on.
    assert Authenticator.objects.filter(user=vera).count() == 2
    assert others.get("/t/acme/").status_code == 200
    page = staff.get(reverse("admin:tenants_user_change", args=[lost.pk])).content.decode()
    assert address(lost) not in page


def test_it_takes_a_fresh_log_in(lost, boss, browser):
    staff = browser(boss, fresh=False)
    for send in (staff.get, staff.post):
        assert "reauthenticate" in send(address(lost))["Location"]
    assert Authenticator.objects.filter(user=lost).count() == 2


def test_people_who_are_not_staff_get_nowhere(lost, vera, browser):
    assert browser(vera).post(address(lost)).status_code in (302, 403)
    assert Authenticator.objects.filter(user=lost).count() == 2


@pytest.mark.parametrize(
    ("who", "code"), [("boss", "role_not_enough"), ("helper", "oneself"), ("nobody", "no_factor")]
)
def test_what_must_not_be_reset_is_refused(boss, who, code):
    helper = factories.make_user("helper@example.com", is_staff=True)
    people = {"boss": boss, "helper": helper, "nobody": factories.make_user()}
    for user in (boss, helper):
        give_factors(user)
    with pytest.raises(Refused) as refusal:
        second_factor.reset(people[who], by=helper)
    assert refusal.value.code == code
    assert Authenticator.objects.count() == 4


def test_a_refusal_is_a_sentence_on_the_page(boss, browser):
    give_factors(boss)
    staff = browser(boss)
    response = staff.post(address(boss), follow=True)
    assert "Change your own second factor" in response.content.decode()
    assert Authenticator.objects.filter(user=boss).count() == 2


def test_without_mail_it_is_done_and_said(lost, boss, browser, settings):
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", 1
    response = browser(boss).post(address(lost), follow=True)
    assert "tell them yourself" in response.content.decode()
    assert not Authenticator.objects.filter(user=lost).exists()


def test_the_next_log_in_leads_to_a_new_factor(lost, boss, browser, settings):
    settings.REQUIRE_MFA = True
    second_factor.reset(lost, by=boss)
    assert browser(lost).get("/t/acme/")["Location"] == "/accounts/2fa/"
    assert Session.objects.exists()
