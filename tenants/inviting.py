"""Invitations: how somebody new comes in. One verb each, audited; the mail goes out afterwards."""

from __future__ import annotations

import hmac
import secrets
from datetime import datetime

from django.core import signing
from django.core.mail import send_mail
from django.db import IntegrityError, transaction
from django.template.loader import render_to_string
from django.utils import translation
from django.utils.translation import gettext as _

from agenticos import scope
from agenticos.errors import Refused
from tenants import attempts, audit, custom_roles
from tenants.models import INVITATION_LASTS, Invitation, Membership, Tenant, User

SALT = "tenants.invitation"


@transaction.atomic
def invite(tenant: Tenant, email: str, role: str, *, by: User, now: datetime) -> Invitation:
    """Let the owner of `email` join in a role; return the invitation, whose mail is to be sent.

    Raises Refused for an unknown role, a member, somebody who is invited already, and after too
    many invitations in an hour.
    """
    held = custom_roles.find(role)
    email = email.strip().lower()
    if Membership.objects.filter(user__email__iexact=email).exists():
        raise Refused(_("%(email)s is a member already.") % {"email": email}, code="is_member")
    if Invitation.objects.filter(email=email, accepted_at=None).exists():
        raise Refused(_("%(email)s is invited already.") % {"email": email}, code="is_invited")
    _count(tenant)
    try:
        with transaction.atomic():
            row = Invitation.objects.create(
                tenant=tenant,
                email=email,
                role=held.role,
                custom_role=held.custom_role,
                nonce=_nonce(),
                invited_by=by,
                created_at=now,
                sent_at=now,
            )
    except IntegrityError:  # of two owners who invite the same person, the slower one
        text = _("%(email)s is invited already.") % {"email": email}
        raise Refused(text, code="is_invited") from None
    audit.record(row, "invitation.created", by=by, role=held.said)
    return row


@transaction.atomic
def renew(invitation: Invitation, *, by: User, now: datetime) -> Invitation:
    """Start its 7 days anew under a new link; the older link is dead. Raises Refused."""
    row = _waiting(invitation)
    _count(row.tenant)
    row.nonce, row.sent_at = _nonce(), now
    row.save(update_fields=["nonce", "sent_at"])
    audit.record(row, "invitation.sent_again", by=by, role=_said(row))
    return row


@transaction.atomic
def withdraw(invitation: Invitation, *, by: User) -> None:
    """Take it back: its link is dead at once. Raises Refused when it was accepted meanwhile."""
    row = _waiting(invitation)
    audit.record(row, "invitation.withdrawn", by=by, role=_said(row))
    row.delete()


@transaction.atomic
def accept(invitation: Invitation, user: User, *, now: datetime) -> Membership:
    """Make the invited person a member. Raises Refused when the invitation is gone, or not theirs.

    Of two who use the same link at once, the second is refused.
    """
    row = _waiting(invitation)
    if row.nonce != invitation.nonce or row.expires_at <= now:
        raise Refused(_("This invitation is no longer valid."), code="invitation_gone")
    if user.email.lower() != row.email:
        raise Refused(_("This invitation is for somebody else."), code="not_yours")
    if Membership.objects.filter(user=user).exists():
        raise Refused(_("You are a member already."), code="is_member")
    row.accepted_at = now
    row.save(update_fields=["accepted_at"])
    membership = Membership.objects.create(
        tenant=row.tenant, user=user, role=row.role, custom_role=row.custom_role
    )
    audit.record(membership, "membership.created", by=user, role=_said(row), invitation=row.pk)
    return membership


@transaction.atomic
def accept_as_new(
    invitation: Invitation, *, name: str, password: str | None, now: datetime
) -> Membership:
    """Make an account for the invited person, whose mail proves the address, and let them in.

    Without a password they log in through the provider that has vouched for the address. Raises
    Refused like `accept`, and when the address has got an account meanwhile.
    """
    _waiting(invitation)  # whoever uses the same link waits here
    text = _("There is an account with this e-mail address by now. Log in to accept.")
    if User.objects.filter(email__iexact=invitation.email).exists():
        raise Refused(text, code="has_account")
    try:
        with transaction.atomic():
            user = User.objects.create_user(invitation.email, password, name=name)
    except IntegrityError:  # by way of another tenant's invitation, at the same moment
        raise Refused(text, code="has_account") from None
    return accept(invitation, user, now=now)


def enter_by_address(email: str, *, name: str, now: datetime) -> User | None:
    """Accept the oldest invitation for an address that a provider has proven, as a new person.

    None when nobody without an account is invited under it. Raises Refused like `accept`.
    """
    with scope.as_system("the invitation of a person whom a provider vouches for"):
        rows = Invitation.objects.select_related("tenant").filter(
            email=email.strip().lower(),
            accepted_at=None,
            sent_at__gt=now - INVITATION_LASTS,
            tenant__suspended_at=None,
        )
        row = rows.order_by("pk").first()
    if row is None:
        return None
    with scope.as_tenant(row.tenant_id):
        return accept_as_new(row, name=name, password=None, now=now).user


def token_of(invitation: Invitation) -> str:
    """What stands in the link: signed, and good until the invitation is renewed, used or gone."""
    return signing.dumps([invitation.tenant_id, invitation.pk, invitation.nonce], salt=SALT)


def find(token: str, *, now: datetime) -> Invitation | None:
    """The invitation that a link is for, with its tenant; None for one that is no longer good."""
    try:
        tenant_id, pk, nonce = signing.loads(token, salt=SALT, max_age=INVITATION_LASTS)
    except (signing.BadSignature, ValueError, TypeError):
        return None
    with scope.as_tenant(int(tenant_id)):
        rows = Invitation.objects.select_related("tenant", "invited_by", "custom_role")
        row = rows.filter(pk=pk, accepted_at=None).first()
    if row is None or row.expires_at <= now or row.tenant.suspended_at:
        return None
    return row if hmac.compare_digest(row.nonce, str(nonce)) else None


def mail(invitation: Invitation, link: str) -> None:
    """Send the link, in the tenant's language. Raises OSError when no mail can be sent."""
    context = {"invitation": invitation, "tenant": invitation.tenant, "link": link}
    with translation.override(invitation.tenant.language):
        subject = _("%(tenant)s: you are invited to AgenticOS") % {
            "tenant": " ".join(invitation.tenant.name.split())
        }
        text = render_to_string("tenants/invitation_mail.txt", context)
    send_mail(subject, text, None, [invitation.email])


def _waiting(invitation: Invitation) -> Invitation:
    rows = Invitation.objects.select_for_update(of=("self",))
    rows = rows.select_related("tenant", "custom_role")
    row = rows.filter(pk=invitation.pk, accepted_at=None).first()
    if row is None:
        raise Refused(_("This invitation is no longer valid."), code="invitation_gone")
    return row


def _count(tenant: Tenant) -> None:
    if not attempts.take(attempts.INVITATIONS, str(tenant.pk)):
        text = _("That were many invitations for one hour. Go on in a few minutes.")
        raise Refused(text, code="too_many")


def _said(invitation: Invitation) -> str:
    return custom_roles.Held(invitation.role, invitation.custom_role).said


def _nonce() -> str:
    return secrets.token_urlsafe(16)
