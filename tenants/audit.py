"""The audit trail: one function writes it, in the transaction of the change."""

from __future__ import annotations

import logging
from typing import Any

from django.db import models, transaction
from django.utils import timezone

from tenants import notifications
from tenants.models import AuditEntry, User

logger = logging.getLogger(__name__)


def record(obj: models.Model, action: str, *, by: User | None, **data: Any) -> None:
    """Write that `by` (None: the system itself) did `action` to `obj`, a row of a tenant.

    `data` holds harmless facts only: counts, states, codes; never texts, names or secrets. An
    action that people want to hear of also becomes a notification.
    """
    at = timezone.now()
    AuditEntry.objects.create(
        tenant_id=getattr(obj, "tenant_id", None) or obj.pk,
        at=at,
        user=by,
        actor_id=by.pk if by else None,
        actor=by.email if by else "system",
        action=action,
        object_type=obj._meta.label_lower,
        object_id=obj.pk,
        data=data,
    )
    notifications.heard(obj, action, by=by, at=at, data=data)
    line = {"object": obj._meta.model_name, "object_id": obj.pk, "user": by.pk if by else None}
    transaction.on_commit(lambda: logger.info(action, extra=line), robust=True)
