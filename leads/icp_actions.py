"""What is done to the description of the ideal customer: drafted, published with a note, restored.

Every function runs in its tenant's scope.
"""

from __future__ import annotations

from datetime import datetime

from django.db import transaction
from django.utils.translation import gettext as _

from agenticos.errors import Refused
from leads import actions, scoring
from leads.models import IcpDraft, IcpVersion
from tenants import audit
from tenants.models import Tenant, User


@transaction.atomic
def save_draft(tenant: Tenant, config: scoring.IcpConfig, *, by: User | None) -> IcpDraft:
    """Keep a configuration to go on with later, in place of the draft before."""
    draft, _created = IcpDraft.objects.update_or_create(
        tenant=tenant, defaults={"config": config.to_json(), "author": by}
    )
    audit.record(draft, "icp.draft_saved", by=by)
    return draft


@transaction.atomic
def discard_draft(tenant: Tenant, *, by: User | None) -> bool:
    """Forget the draft; False when there was none."""
    draft = IcpDraft.objects.filter(tenant=tenant).first()
    if draft is None:
        return False
    audit.record(draft, "icp.draft_discarded", by=by)
    draft.delete()
    return True


@transaction.atomic
def publish(
    tenant: Tenant,
    config: scoring.IcpConfig,
    *,
    note: str,
    by: User | None,
    now: datetime,
    based_on: int | None = None,
) -> IcpVersion:
    """Publish a configuration as the next version; the draft is gone with it.

    Raises Refused without a note, while another version is scoring, and when a newer one than
    `based_on`, the number that the author started from, is there already.
    """
    # PostgreSQL knows no text with a NUL in it.
    note = " ".join(note.replace("\x00", "").split())
    if not note:
        raise Refused(_("Write a note: what is different, and why."), code="note_needed")
    version = actions.publish_icp(tenant, config, note=note, by=by, now=now)
    if based_on is not None and version.number != based_on + 1:
        raise Refused(
            _(
                "Version %(number)d was published while you worked on this. "
                "Compare, then publish again."
            )
            % {"number": version.number - 1},
            code="changed",
        )
    IcpDraft.objects.filter(tenant=tenant).delete()
    return version


def restore(version: IcpVersion, *, note: str, by: User | None, now: datetime) -> IcpVersion:
    """Publish an old version's configuration as a new version. Raises Refused as `publish` does."""
    config = scoring.IcpConfig.from_json(version.config)
    return publish(version.tenant, config, note=note, by=by, now=now)
