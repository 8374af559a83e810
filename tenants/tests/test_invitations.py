"""Invitations and the team: who comes in, once, by their own mail; and that an owner remains."""

from __future__ import annotations

import re
import smtplib
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier

import pytest
from django.core import signing
from django.db import connection
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from agenticos import scope
from agenticos.errors import Refused
from agenticos.tests.factories import PASSWORD, make_key, make_member, make_user
from tenants import actions, inviting
from tenants.models import ApiKey, AuditEntry, Invitation, Membership, User

NEW = {"name": "Nina Neu", "password": "kettle on the roof"}


def url(name, *args):
    return reverse(f"team:{name}", args=["acme", *args])


def text(response):
    return response.content.decode()


def make_invitation(tenant, email="nina@example.com", role="operator", **fields):
    now = timezone.now()
    with scope.as_tenant(tenant):
        return Invitation.objects.create(
            tenant=tenant, email=email, role=role, nonce=inviting._nonce(),
            **{"created_at": now, "sent_at": now, **fields},
        )  # fmt: skip


def link(row):
    return reverse("invitation", args=[inviting.token_of(row)])


def roles(tenant):
    with scope.as_tenant(tenant):
        rows = Membership.objects.select_related("user")
        return {row.user.email: row.role for row in rows}


def audited(tenant):
    with scope.as_tenant(tenant):
        return list(AuditEntry.objects.order_by("pk").values_list("action", flat=True))


# --- Sent -------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_an_owner_invites_and_a_new_person_comes_in_with_name_and_password(
    acme, alice, browser, mailoutbox
):
    client = browser(alice)
    client.post(url("invite"), {"email": "Nina@Example.com", "role": "operator"})
    assert "nina@example.com got a mail" in text(client.get(url("list")))
    mail = mailoutbox[0]
    assert mail.to == ["nina@example.com"]
    assert "Acme" in mail.subject
    path = re.search(r"http://testserver(/invitations/\S+/)", mail.body)[1]
    visitor = Client()
    page = text(visitor.get(path))
    assert "Join Acme" in page
    assert "Operator" in page
    assert visitor.post(path, NEW)["Location"] == "/t/acme/"
    assert visitor.get("/t/acme/").status_code == 200
    user = User.objects.get(email="nina@example.com")
    assert user.name == "Nina Neu"
    assert user.emailaddress_set.get().verified
    assert roles(acme)["nina@example.com"] == "operator"
    assert audited(acme) == ["invitation.created", "membership.created"]
    assert visitor.get("/accounts/2fa/totp/activate/").status_code == 200  # as fresh as a log-in


@pytest.mark.django_db
def test_a_link_is_good_once(acme):
    path = link(make_invitation(acme))
    Client().post(path, NEW)
    again = Client().get(path)
    assert again.status_code == 404
    assert "no longer valid" in text(again)
    assert Client().post(path, NEW).status_code == 404


@pytest.mark.django_db
def test_who_has_an_account_logs_in_and_joins(acme, charlie, browser):
    row = make_invitation(acme, charlie.email, "manager")
    path = link(row)  # signed with the time: once
    page = text(Client().get(path))
    assert "There is an account with this e-mail address" in page
    assert "new-password" not in page
    assert Client().post(path, NEW).status_code == 200
    assert charlie.email not in roles(acme)
    client = Client()
    to = client.post(
        "/accounts/login/", {"login": charlie.email, "password": PASSWORD, "next": path}
    )
    assert to["Location"] == path
    assert client.post(path)["Location"] == "/t/acme/"
    assert roles(acme)[charlie.email] == "manager"


@pytest.mark.django_db
def test_somebody_elses_invitation_lets_nobody_in(acme, charlie, browser):
    row = make_invitation(acme)
    client = browser(charlie)
    assert "You are logged in as charlie@example.com" in text(client.get(link(row)))
    client.post(link(row))
    assert charlie.email not in roles(acme)


@pytest.mark.django_db
@pytest.mark.parametrize("end", ["withdrawn", "renewed", "old", "suspended", "forged", "other"])
def test_a_link_that_is_no_longer_good_lets_nobody_in(acme, rival, alice, end):
    row = make_invitation(acme)
    path = link(row)
    with scope.as_tenant(acme):
        if end == "withdrawn":
            inviting.withdraw(row, by=alice)
        elif end == "renewed":
            inviting.renew(row, by=alice, now=timezone.now())
        elif end == "old":
            Invitation.objects.update(sent_at=timezone.now() - timedelta(days=7, seconds=1))
    if end == "suspended":
        acme.suspended_at = timezone.now()
        acme.save()
    elif end == "forged":
        path = path[:-6] + "xxxxx/"
    elif end == "other":  # signed, but of another tenant
        token = signing.dumps([rival.pk, row.pk, row.nonce], salt=inviting.SALT)
        path = reverse("invitation", args=[token])
    assert Client().get(path).status_code == 404
    assert Client().post(path, NEW).status_code == 404
    assert "nina@example.com" not in roles(acme) | roles(rival)


@pytest.mark.django_db
@pytest.mark.parametrize(
    "form",
    [
        {}, {"name": "N"}, {**NEW, "name": ""}, {**NEW, "password": "short"},
        {**NEW, "name": "\0"},
    ],
)  # fmt: skip
def test_a_new_person_needs_a_name_and_a_good_password(acme, form):
    answer = Client().post(link(make_invitation(acme)), form)
    assert answer.status_code == 200
    assert not User.objects.filter(email="nina@example.com").exists()


@pytest.mark.django_db
def test_signing_up_otherwise_stays_closed(client):
    form = {"email": "new@example.com", "password1": "kettle on the roof"}
    assert "Sign-up is closed" in text(client.post("/accounts/signup/", form))
    assert not User.objects.exists()


@pytest.mark.django_db
def test_the_pending_ones_are_listed_sent_again_and_withdrawn(
    acme, alice, vera, browser, mailoutbox
):
    row = make_invitation(acme, sent_at=timezone.now() - timedelta(days=8))
    client = browser(alice)
    page = text(client.get(url("list")))
    assert "nina@example.com" in page
    assert "over" in page
    assert "nina@example.com" not in text(browser(vera).get(url("list")))
    client.post(url("invite-again", row.pk))
    path = re.search(r"http://testserver(/invitations/\S+/)", mailoutbox[0].body)[1]
    assert Client().get(path).status_code == 200
    client.post(url("invite-withdraw", row.pk))
    assert Client().get(path).status_code == 404
    assert (
        "nina@example.com" not in text(client.get(url("list"))).split("<main")[1].split("toast")[0]
    )
    assert audited(acme) == ["invitation.sent_again", "invitation.withdrawn"]


@pytest.mark.django_db
def test_a_rivals_invitation_is_404(acme, alice, rival, browser):
    row = make_invitation(rival)
    client = browser(alice)
    assert client.post(url("invite-again", row.pk)).status_code == 404
    assert client.post(url("invite-withdraw", row.pk)).status_code == 404


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("form", "said"),
    [
        ({"email": "alice@example.com", "role": "viewer"}, "is a member already"),
        ({"email": "ALICE@example.com", "role": "viewer"}, "is a member already"),
        ({"email": "nina@example.com", "role": "viewer"}, "is invited already"),
        ({"email": "x@example.com", "role": "root"}, "Select a valid choice"),
        ({"email": "no address", "role": "viewer"}, "Enter a valid email"),
        ({"email": "x@example.com\nBcc: y@example.com", "role": "viewer"}, "Enter a valid email"),
        ({}, "This field is required"),
    ],
)
def test_an_invitation_that_makes_no_sense_is_not_sent(
    acme, alice, browser, mailoutbox, form, said
):
    make_invitation(acme)
    client = browser(alice)
    client.post(url("invite"), form)
    assert said in text(client.get(url("list")))
    assert mailoutbox == []


@pytest.mark.django_db
def test_many_invitations_in_an_hour_are_refused(acme, alice, browser, mailoutbox):
    client = browser(alice)
    for number in range(31):
        client.post(url("invite"), {"email": f"p{number}@example.com", "role": "viewer"})
    assert len(mailoutbox) == 30
    assert "many invitations" in text(client.get(url("list")))


@pytest.mark.django_db
def test_mail_that_cannot_be_sent_is_said_and_the_invitation_stays(
    acme, alice, browser, monkeypatch
):
    def fail(*args, **kwargs):
        raise smtplib.SMTPServerDisconnected("gone")

    monkeypatch.setattr(inviting, "send_mail", fail)
    client = browser(alice)
    client.post(url("invite"), {"email": "nina@example.com", "role": "viewer"})
    page = text(client.get(url("list")))
    assert "could not be sent" in page
    assert "Send again" in page


@pytest.mark.django_db
@pytest.mark.parametrize("role", ["manager", "operator", "reviewer", "viewer"])
def test_only_owners_invite_and_others_see_why_not(acme, browser, role):
    client = browser(make_member(acme, role).user)
    for name, args in (("invite", ()), ("invite-again", (1,)), ("invite-withdraw", (1,))):
        assert client.post(url(name, *args), {}).status_code == 403
    page = text(client.get(url("list")))
    assert 'data-reason="Your role does not allow this. It takes: Owner."' in page
    assert 'type="email"' not in page


@pytest.mark.django_db
def test_a_removed_members_keys_go_and_the_entry_says_how_many(acme, alice, browser):
    member = make_member(acme, "manager")
    make_key(acme, member=member)
    make_key(acme, member=member)
    browser(alice).post(url("remove", member.pk))
    with scope.as_tenant(acme):
        assert not ApiKey.objects.filter(revoked_at=None).exists()
        entry = AuditEntry.objects.get(action="membership.removed")
    assert entry.data["keys_revoked"] == 2


# --- At the same time -------------------------------------------------------------------------


def together(*works):
    """Run all at the same moment, each with its own connection; return results or Refused."""
    barrier = Barrier(len(works))

    def one(work):
        barrier.wait()
        try:
            return work()
        except Refused as error:
            return error
        finally:
            connection.close()

    with ThreadPoolExecutor(len(works)) as pool:
        return list(pool.map(one, works))


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("act", ["lower", "remove", "both"])
@pytest.mark.parametrize("repeat", range(4))
def test_two_owners_who_end_each_other_leave_one(acme, alice, act, repeat):
    bob = make_user("bob@example.com")
    theirs = make_member(acme, "owner", bob)
    with scope.as_tenant(acme):
        hers = Membership.objects.get(user=alice)

    def end(member, by, how):
        with scope.as_tenant(acme):
            if how == "lower":
                actions.change_role(member, "viewer", by=by, now=timezone.now())
            else:
                actions.remove_member(member, by=by, now=timezone.now())

    first, second = {"both": ("lower", "remove")}.get(act, (act, act))
    results = together(lambda: end(hers, bob, first), lambda: end(theirs, alice, second))
    refused = [result.code for result in results if isinstance(result, Refused)]
    assert refused == ["last_owner"]
    assert list(roles(acme).values()).count("owner") == 1


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("repeat", range(3))
def test_one_link_used_twice_at_once_makes_one_member(acme, repeat):
    path = link(make_invitation(acme))
    answers = together(*[lambda: Client().post(path, NEW).status_code] * 4)
    # Who came too late: the link is used, or the account is there and the page says to log in.
    assert set(answers) <= {302, 404, 200}
    assert 302 in answers
    assert User.objects.filter(email="nina@example.com").count() == 1
    assert list(roles(acme)) == ["nina@example.com"]
    assert audited(acme).count("membership.created") == 1


@pytest.mark.django_db(transaction=True)
def test_two_tenants_invitations_used_at_once_make_one_account(acme, rival):
    paths = [link(make_invitation(tenant)) for tenant in (acme, rival)]
    answers = together(*[lambda path=path: Client().post(path, NEW).status_code for path in paths])
    assert set(answers) <= {302, 200}
    assert User.objects.filter(email="nina@example.com").count() == 1


@pytest.mark.django_db(transaction=True)
def test_the_same_person_invited_twice_at_once_is_invited_once(acme, alice):
    def send():
        with scope.as_tenant(acme):
            return inviting.invite(acme, "nina@example.com", "viewer", by=alice, now=timezone.now())

    results = together(send, send, send)
    assert sum(isinstance(result, Refused) for result in results) == 2
    with scope.as_tenant(acme):
        assert Invitation.objects.count() == 1
