"""What this room keeps for a time: what was written to the CRM. That it was stays."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from django.db.models import Q, QuerySet
from django.utils.translation import gettext_lazy as _

from integrations.models import SyncItem
from tenants.models import Tenant
from tenants.retention import Step, periods


def _payloads(tenant: Tenant, now: datetime) -> QuerySet[SyncItem]:
    """Entries that are delivered or given up, with what they said. A dead letter waits for people.

    A newer wish brings a payload of its own.
    """
    over = now - periods(tenant)["keep_payload_days"]
    done = Q(state=SyncItem.State.DONE, done_at__lt=over)
    given_up = Q(state=SyncItem.State.DISCARDED, due_at__lt=over)
    return SyncItem.objects.filter(done | given_up).exclude(wanted={})


def _remove_payloads(tenant: Tenant, ids: Sequence[int], now: datetime) -> dict[str, int]:
    rows = _payloads(tenant, now).filter(pk__in=ids)
    return {"crm_payloads": rows.update(wanted={}, done=None, error="", discard_reason="")}


STEPS: Final = (
    Step(
        "crm_payloads", {"crm_payloads": _("What was sent to the CRM")}, _payloads, _remove_payloads
    ),
)
