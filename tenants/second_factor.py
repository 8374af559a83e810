"""Who needs a second factor, whether they have it, and how its secrets are kept."""

from __future__ import annotations

import base64

from allauth.mfa.adapter import DefaultMFAAdapter
from allauth.mfa.models import Authenticator
from django.conf import settings
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django_htmx.http import HttpResponseClientRedirect

from agenticos import scope
from tenants import crypto
from tenants.models import Membership, User
from tenants.roles import Role

# Recovery codes alone are none: they are for the day when the factor is lost.
FACTORS = (Authenticator.Type.TOTP, Authenticator.Type.WEBAUTHN)
ROLES = (Role.OWNER, Role.MANAGER)
AAD = "mfa.secret"


def is_missing(membership: Membership) -> bool:
    """Whether the member, in this tenant, needs a second factor and has none."""
    needed = membership.tenant.require_mfa or (
        settings.REQUIRE_MFA and (membership.role in ROLES or membership.user.is_staff)
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
        rows = Membership.objects.filter(user=user.pk).select_related("tenant", "user")
        return any(map(is_missing, rows))


def has_factor(user_id: int) -> bool:
    return bool(Authenticator.objects.filter(user_id=user_id, type__in=FACTORS).exists())


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


def reseal() -> int:
    """Seal every stored secret anew with the newest master key; return how many changed.

    Part of a rotation of CREDENTIAL_KEYS. Can be stopped and repeated. Raises CannotOpen.
    """
    adapter, changed = Adapter(), 0
    newest = next(iter(crypto.master_keys())).encode() + b":"
    for row in Authenticator.objects.exclude(type=Authenticator.Type.WEBAUTHN).iterator():
        for name in {"secret", "seed"} & set(row.data):
            if not base64.b64decode(row.data[name]).startswith(newest):
                row.data[name] = adapter.encrypt(adapter.decrypt(row.data[name]))
                row.save(update_fields=["data"])
                changed += 1
    return changed
