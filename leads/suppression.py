"""Suppressed identities: kept as keyed hashes, so that they outlive the lead they belonged to."""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from django.db.models import Q
from django.utils.translation import gettext as _

from agenticos import scope
from agenticos.errors import Refused
from leads.drafts import Draft
from leads.identities import normalise_email, normalise_handle, normalise_phone
from leads.models import Lead, Suppression
from tenants import crypto

KINDS = ("handle", "email", "phone")


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
    key = crypto.hash_key(tenant_id)

    def digest(kind: str, value: str) -> str:
        return hmac.digest(key, f"{kind}:{value}".encode(), "sha256").hex()

    return digest


def find_suppressed(drafts: Sequence[Draft]) -> list[Draft]:
    """The drafts that have a suppressed identity; they say so from now on."""
    if not drafts or not Suppression.objects.exists():
        return []
    digest = digest_for(scope.tenant_id())
    whose: dict[str, list[Draft]] = {}
    for draft in drafts:
        identities = (
            ("handle", draft.handle),
            ("email", draft.values["email"]),
            ("phone", draft.values["phone"]),
        )
        for kind, value in identities:
            if value:
                whose.setdefault(digest(kind, value), []).append(draft)
    hits = Suppression.objects.filter(digest__any_of=whose).values_list("digest", flat=True)
    found = {draft.handle: draft for hit in hits for draft in whose[hit]}
    for draft in found.values():
        draft.suppressed = True
    return list(found.values())


def suppress_leads(ids: Sequence[int], *, reason: str, now: datetime) -> set[int]:
    """Suppress every known identity of these leads; return those that were not suppressed before.

    Other leads with the same e-mail or phone are stopped, too. Have the tenant's turn
    (`rescoring.lock_icp`).
    """
    digest = digest_for(scope.tenant_id())
    people = list(
        Lead.objects.filter(pk__in=ids).values_list(
            "id", "suppressed_at", "handle", "email", "phone"
        )
    )
    Suppression.objects.bulk_create(
        [
            Suppression(kind=kind, digest=digest(kind, value), reason=reason[:40])
            for _id, _at, *values in people
            for kind, value in zip(KINDS, values, strict=True)
            if value
        ],
        ignore_conflicts=True,
    )
    Lead.objects.filter(pk__in=ids, suppressed_at=None).update(suppressed_at=now)
    # The index on each holds filled values alone, so the query says that it wants no others.
    emails, phones = [one[3] for one in people if one[3]], [one[4] for one in people if one[4]]
    others = Lead.objects.filter(suppressed_at=None)
    others.filter(email__in=emails).exclude(email="").update(suppressed_at=now)
    others.filter(phone__in=phones).exclude(phone="").update(suppressed_at=now)
    return {pk for pk, at, *_values in people if at is None}


def reasons_of(lead: Lead) -> list[Suppression]:
    """Why a lead is suppressed: the entry of each of its identities that has one."""
    return list(Suppression.objects.filter(digest__in=_digests(lead)).order_by("created_at"))


def lift(lead: Lead) -> int:
    """Take all identities of a lead off the list; return how many leads that frees.

    Of those that share one, a lead with another suppressed identity stays suppressed. Have the
    tenant's turn.
    """
    Suppression.objects.filter(digest__in=_digests(lead)).delete()
    shared = Q(pk=lead.pk)
    if lead.email:
        shared |= Q(email=lead.email)
    if lead.phone:
        shared |= Q(phone=lead.phone)
    stopped = list(Lead.objects.filter(shared, suppressed_at__isnull=False))
    whose = {digest: other.pk for other in stopped for digest in _digests(other)}
    still = Suppression.objects.filter(digest__any_of=whose).values_list("digest", flat=True)
    kept = {whose[digest] for digest in still}
    free = [other.pk for other in stopped if other.pk not in kept]
    return Lead.objects.filter(pk__in=free).update(suppressed_at=None)


def _digests(lead: Lead) -> list[str]:
    digest = digest_for(lead.tenant_id)
    values = (lead.handle, lead.email, lead.phone)
    return [digest(kind, value) for kind, value in zip(KINDS, values, strict=True) if value]
