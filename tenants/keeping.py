"""What this room keeps for a time: answers to programs, invitations, the trail; log-ins of all."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from allauth.usersessions.models import UserSession
from django.contrib.admin.models import LogEntry
from django.contrib.sessions.models import Session
from django.db.models import QuerySet
from django.utils.translation import gettext_lazy as _

from tenants import attempts, sealing
from tenants.models import Attempt, AuditSeal, IdempotencyRecord, Invitation, Tenant
from tenants.retention import Step

ACCESS: Final = timedelta(days=180)  # Brazilian law asks for six months
STAFF: Final = timedelta(days=730)  # what the staff did, as an audit trail
ANSWERS: Final = timedelta(days=1)  # as the API promises
CHUNK: Final = 1_000


def _answers(tenant: Tenant, now: datetime) -> QuerySet[IdempotencyRecord]:
    return IdempotencyRecord.objects.filter(created_at__lt=now - ANSWERS)


def _remove_answers(tenant: Tenant, ids: Sequence[int], now: datetime) -> dict[str, int]:
    gone, _by = IdempotencyRecord.objects.filter(pk__in=ids).delete()
    return {"answers": gone}


def _invitations(tenant: Tenant, now: datetime) -> QuerySet[Invitation]:
    """Accepted or not: they have expired long ago."""
    return Invitation.objects.filter(sent_at__lt=now - ACCESS)


def _remove_invitations(tenant: Tenant, ids: Sequence[int], now: datetime) -> dict[str, int]:
    # Asked once more: one that is sent again meanwhile stays.
    gone, _by = _invitations(tenant, now).filter(pk__in=ids).delete()
    return {"invitations": gone}


def _audit_before(tenant: Tenant, now: datetime) -> datetime:
    return now - timedelta(days=tenant.keep_audit_days)


def _links(tenant: Tenant, now: datetime) -> QuerySet[AuditSeal]:
    return AuditSeal.objects.filter(entry__at__lt=_audit_before(tenant, now))


def _remove_links(tenant: Tenant, ids: Sequence[int], now: datetime) -> dict[str, int]:
    before = _audit_before(tenant, now)
    return {"audit_entries": sealing.prune_chunk(tenant, before=before, most=len(ids))}


STEPS: Final = (
    Step("answers", {"answers": _("Answers to programs")}, _answers, _remove_answers),
    Step("invitations", {"invitations": _("Invitations")}, _invitations, _remove_invitations),
    Step("audit", {"audit_entries": _("Audit entries")}, _links, _remove_links),
)


def sweep_access(now: datetime) -> dict[str, int]:
    """Remove some of what belongs to no tenant and is over its time; how many of each kind.

    Nothing of any kind: all is done.
    """
    long_ago = now.timestamp() - attempts.KEPT_S
    rows: dict[str, QuerySet[Any]] = {
        "sessions": Session.objects.filter(expire_date__lt=now),
        "log_ins": UserSession.objects.filter(last_seen_at__lt=now - ACCESS),
        "attempts": Attempt.objects.filter(free_at__lt=long_ago),
        "staff_acts": LogEntry.objects.filter(action_time__lt=now - STAFF),
    }
    gone = {kind: _some(found) for kind, found in rows.items()}
    return {kind: number for kind, number in gone.items() if number}


def _some(rows: QuerySet[Any]) -> int:
    ids = list(rows.order_by("pk").values_list("pk", flat=True)[:CHUNK])
    # The condition once more: a session that was prolonged meanwhile stays.
    return rows.filter(pk__in=ids).delete()[0] if ids else 0
