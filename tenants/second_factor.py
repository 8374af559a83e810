"""Who needs a second factor, whether they have it, and how its secrets are kept."""

from __future__ import annotations

import base64

from allauth.mfa.adapter import DefaultMFAAdapter
from allauth.mfa.models import Authenticator
from allauth.usersessions.models import UserSession
from django.conf import settings
from django.core.mail import send_mail
from django.db import transaction
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils import translation
from django.utils.translation import gettext as _
from django_htmx.http import HttpResponseClientRedirect

from agenticos import scope
from agenticos.errors import Refused
from tenants import audit, crypto
from tenants.models import Membership, User
from tenants.roles import is_trusted

# Recovery codes alone are none: they are for the day when the factor is lost.
FACTORS = (Authenticator.Type.TOTP, Authenticator.Type.WEBAUTHN)
AAD = "mfa.secret"


def is_missing(membership: Membership) -> bool:
    """Whether the member, in this tenant, needs a second factor and has none."""
    needed = membership.tenant.require_mfa or (
        settings.REQUIRE_MFA and (is_trusted(membership) or membership.user.is_staff)
    )
    return needed and not has_factor(membership.user_id)


def staff_lacks_it(user: User) -> bool:
    """Whether a person of the staff needs a second factor and has none."""
    return settings.REQUIRE_MFA and user.is_staff and not has_factor(user.pk)


def is_missing_anywhere(user: User) -> bool:
    """Whether they lack a factor that the staff's work, or any of their tenants, demands."""
    if has_factor(user.pk):
        return False
    if staff_lacks_it(user):
        return True
    with scope.as_system("memberships of the person who logged in"):
        rows = Membership.objects.filter(user=user.pk).select_related(
            "tenant", "user", "custom_role"
        )
        return any(map(is_missing, rows))


def has_factor(user_id: int) -> bool:
    return bool(Authenticator.objects.filter(user_id=user_id, type__in=FACTORS).exists())


def has_any(user_id: int) -> bool:
    """Whether they have anything to reset, recovery codes alone included."""
    return bool(Authenticator.objects.filter(user_id=user_id).exists())


def lead_to_set_up(request: HttpRequest) -> HttpResponse:
    """Away to the page where a factor is set up; for htmx as a whole page, not inside a panel."""
    to = reverse("mfa_index")
    if getattr(request, "htmx", False):
        return HttpResponseClientRedirect(to)
    return HttpResponseRedirect(to)


class Adapter(DefaultMFAAdapter):
    """Secrets of authenticator apps and recovery codes are sealed with the newest master key."""

    def encrypt(self, text: str) -> str:
        return base64.b64encode(crypto.seal_with_master(AAD, text)).decode()

    def decrypt(self, encrypted_text: str) -> str:
        return crypto.reveal_with_master(AAD, base64.b64decode(encrypted_text))


@transaction.atomic
def reset(user: User, *, by: User) -> int:
    """Take a person's factors and recovery codes away and end their sessions; return how many went.

    For the day when all of them are lost: the password alone opens then, until they set up a new
    factor, which whoever needs one is led to at once. It stands in the trail of each of their
    tenants. Raises Refused for oneself, for one's betters, and when there is nothing to reset.
    """
    row = User.objects.select_for_update().get(pk=user.pk)
    if row.pk == by.pk:
        raise Refused(_("Change your own second factor on your account's page."), code="oneself")
    if (row.is_staff or row.is_superuser) and not by.is_superuser:
        raise Refused(
            _("Only a superuser can reset the second factor of staff."), code="role_not_enough"
        )
    lost = Authenticator.objects.filter(user=row)
    number: int = lost.count()
    if not number:
        raise Refused(_("This person has no second factor."), code="no_factor")
    lost.delete()
    for session in UserSession.objects.filter(user=row):
        session.end()
    with scope.as_system("memberships of the person whose second factor is reset"):
        for membership in Membership.objects.filter(user=row).order_by("pk"):
            audit.record(membership, "membership.factor_reset", by=by, by_staff=True)
    return number


def tell_of_reset(user: User) -> None:
    """Tell the person by mail. Raises OSError when no mail can be sent."""
    with translation.override(user.language or settings.LANGUAGE_CODE):
        subject = _("Your second factor was reset")
        text = render_to_string("tenants/factor_reset_mail.txt", {"person": user})
    send_mail(f"{settings.ACCOUNT_EMAIL_SUBJECT_PREFIX}{subject}", text, None, [user.email])


def reseal() -> int:
    """Seal every stored secret anew with the newest master key; return how many changed.

    Part of a rotation of CREDENTIAL_KEYS: one short transaction per row, so it can be stopped and
    repeated, and of two at once each row has one winner. Raises CannotOpen.
    """
    kept = Authenticator.objects.exclude(type=Authenticator.Type.WEBAUTHN)
    return sum(_reseal_row(pk) for pk in kept.order_by("pk").values_list("pk", flat=True))


@transaction.atomic
def _reseal_row(pk: int) -> int:
    # Held: recovery codes that are used meanwhile are written to the same row.
    row = Authenticator.objects.select_for_update().filter(pk=pk).first()
    if row is None:
        return 0
    adapter, newest = Adapter(), next(iter(crypto.master_keys())).encode() + b":"
    old = [
        name
        for name in ("secret", "seed")
        if name in row.data and not base64.b64decode(row.data[name]).startswith(newest)
    ]
    for name in old:
        row.data[name] = adapter.encrypt(adapter.decrypt(row.data[name]))
    if old:
        row.save(update_fields=["data"])
    return len(old)
