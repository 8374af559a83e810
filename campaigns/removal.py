"""Taking a draft away; what has been started stays, since its messages are the proof."""

from __future__ import annotations

from datetime import datetime

from django.db import transaction
from django.utils.translation import gettext as _

from agenticos.errors import Refused
from agenticos.locking import locked
from campaigns.models import Campaign
from tenants import audit
from tenants.models import User


@transaction.atomic
def delete_draft(campaign: Campaign, *, by: User | None, now: datetime) -> None:
    """Delete a draft with its texts. Raises Refused once it has been started or is gone."""
    row = locked(Campaign.objects.select_for_update(of=("self",)), campaign.pk)
    if row.state != Campaign.State.DRAFT:
        raise Refused(
            _("Only a draft can be deleted. Stop the campaign instead; its record stays."),
            code="wrong_state",
        )
    audit.record(row, "campaign.deleted", by=by)
    row.delete()
