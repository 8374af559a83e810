"""What may be changed of a campaign that has started: its name, and its pace from now on."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from django.db import transaction
from django.utils.translation import gettext as _

from agenticos.errors import Refused
from agenticos.queue import enqueue
from campaigns import health, ledger
from campaigns.drafting import check_window, locked, set_accounts
from campaigns.models import Campaign, Message, SendingAccount
from tenants import audit
from tenants.models import User

State = Campaign.State
# In `preparing` the audience is just being chosen by the minimum score; at the end nothing leaves.
PACED = (State.DRAFT, State.SCHEDULED, State.RUNNING, State.PAUSED, State.BLOCKED)


@transaction.atomic
def rename_campaign(
    campaign: Campaign, *, name: str, tags: str, by: User | None, now: datetime
) -> None:
    """Change what a campaign is called, in any state."""
    row = locked(campaign)
    if (row.name, row.tags) == (name, tags):
        return
    row.name, row.tags = name, tags
    row.save(update_fields=["name", "tags"])
    campaign.name, campaign.tags = name, tags
    audit.record(row, "campaign.renamed", by=by)


@transaction.atomic
def change_pace(
    campaign: Campaign,
    *,
    window: dict[str, object],
    min_score: int,
    accounts: Sequence[SendingAccount],
    day_cap: int | None = None,
    error_percent: int | None = None,
    error_window_min: int | None = None,
    by: User | None,
    now: datetime,
) -> None:
    """Change hours, minimum score, day cap, error threshold and accounts, from the next message on.

    What was claimed goes back and meets the gates anew; only what is dispatched already still
    arrives. Raises Refused when nothing of the campaign leaves any more, without an account, and
    for hours that never open.
    """
    row = locked(campaign)
    if row.state not in PACED:
        raise Refused(
            _("The pace can be changed of a draft, and of a campaign that runs or can go on."),
            code="wrong_state",
        )
    if not accounts:
        raise Refused(_("Choose at least one account to send from."), code="no_eligible_account")
    check_window(window)
    if error_percent is None or error_window_min is None:
        error_percent, error_window_min = row.error_percent, row.error_window_min
    before = set(row.account_links.values_list("account_id", flat=True))
    changed = [
        name
        for name, is_new in (
            ("window", row.window != window),
            ("min_score", row.min_score != min_score),
            ("day_cap", row.day_cap != day_cap),
            ("error_percent", row.error_percent != error_percent),
            ("error_window_min", row.error_window_min != error_window_min),
            ("accounts", before != {account.pk for account in accounts}),
        )
        if is_new
    ]
    if not changed:
        return
    row.window, row.min_score, row.day_cap = window, min_score, day_cap
    row.error_percent, row.error_window_min = error_percent, error_window_min
    row.save(update_fields=["window", "min_score", "day_cap", "error_percent", "error_window_min"])
    campaign.window, campaign.min_score, campaign.day_cap = window, min_score, day_cap
    campaign.error_percent, campaign.error_window_min = error_percent, error_window_min
    if "day_cap" in changed:
        # A cap that comes back after none was counted begins with the ledger again.
        row.day_usage.all().delete()
    if "accounts" in changed:
        set_accounts(row, accounts)
    tally = ledger.Tally()
    health.release_claims(Message.objects.filter(campaign=row), now, tally)
    tally.write()
    audit.record(row, "campaign.pace_changed", by=by, changed=changed)
    if row.state == State.RUNNING:
        # An account that waits for the old opening time looks again.
        ledger.wake([row.pk], now)
        enqueue("campaigns.tasks.send_slice")
