"""Taking a lead away that nobody has ever written to."""

from __future__ import annotations

from datetime import datetime

from django.db import transaction
from django.utils.translation import gettext as _

from agenticos.errors import Refused
from agenticos.locking import locked
from leads.models import Lead
from tenants import audit
from tenants.models import User


@transaction.atomic
def delete_lead(lead: Lead, *, by: User | None, now: datetime) -> None:
    """Delete a lead with its scores and tags. Suppressions of its identities stay in force.

    Raises Refused when a campaign has a message for it: the ledger says who was written to;
    or when it is gone.
    """
    # Held, so that no campaign plans a message meanwhile: that would take the lead's key.
    row = locked(Lead.objects.select_for_update(of=("self",)), lead.pk)
    if row.messages.exists():
        raise Refused(
            _("A campaign has a message for this lead, so its record stays. Suppress it instead."),
            code="lead_has_messages",
        )
    audit.record(row, "lead.deleted", by=by)
    row.delete()
