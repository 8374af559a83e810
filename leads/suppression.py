"""Suppressed identities: kept as keyed hashes, so that they outlive the lead they belonged to."""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from django.utils.translation import gettext as _

from agenticos import scope
from agenticos.errors import Refused
from leads.drafts import Draft
from leads.identities import normalise_email, normalise_handle, normalise_phone
from leads.models import Lead, Suppression
from tenants import crypto


def identities_of(handle: str, email: str, phone: str) -> dict[str, str]:
    """What was given, normalised, by kind. Raises Refused when it is nothing, or not that."""
    given = {"handle": handle, "email": email, "phone": phone}
    clean = {
        "handle": normalise_handle(handle),
        "email": normalise_email(email),
        "phone": normalise_phone(phone),
    }
    for kind, text in given.items():
        if text and not clean[kind]:
            label = Suppression.Kind(kind).label
            raise Refused(
                _("“%(text)s” cannot be used as: %(kind)s.") % {"text": text[:60], "kind": label},
                code=f"bad_{kind}",
            )
    found = {kind: value for kind, value in clean.items() if value}
    if not found:
        raise Refused(_("Give a handle, an e-mail or a phone number."), code="no_identity")
    return found


def digest_for(tenant_id: int) -> Any:
    """The keyed hash of one tenant: (kind, normalised value) -> 64 hex digits."""
    key = crypto.derived_key(tenant_id, "suppression")

    def digest(kind: str, value: str) -> str:
        return hmac.digest(key, f"{kind}:{value}".encode(), "sha256").hex()

    return digest


def mark_suppressed(drafts: Sequence[Draft], now: datetime) -> None:
    """Mark the leads that have a suppressed identity."""
    if not Suppression.objects.exists():
        return
    digest = digest_for(scope.tenant_id())
    whose: dict[str, set[int]] = {}
    for draft in drafts:
        identities = (
            ("handle", draft.handle),
            ("email", draft.values["email"]),
            ("phone", draft.values["phone"]),
        )
        for kind, value in identities:
            if value:
                whose.setdefault(digest(kind, value), set()).add(draft.id)
    hits = Suppression.objects.filter(digest__in=whose).values_list("digest", flat=True)
    ids = {pk for hit in hits for pk in whose[hit]}
    if ids:
        Lead.objects.filter(pk__in=ids, suppressed_at=None).update(suppressed_at=now)
