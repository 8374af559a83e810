"""What campaigns know of one person: for erasing them, and for telling them what is known.

Named in the setting PERSONAL_DATA; `leads.erasing`, `leads.keeping` and `leads.subject` call it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from django.db.models import Exists, OuterRef, Q
from django.utils.translation import ngettext

from campaigns import health, ledger
from campaigns.codes import Code
from campaigns.models import Campaign, Message, SendingAccount, TestSend
from leads.erasing import in_flight
from leads.identities import normalise_handle
from leads.models import Lead
from leads.traces import Person, replace_in

State = Message.State
# In the place of a provider's id: that it gave one stays the proof of the send.
ERASED: Final = "erased"
NEVER_LEFT: Final = (State.FAILED, State.SKIPPED, State.CANCELLED)
ENDED: Final = (Campaign.State.FINISHED, Campaign.State.CANCELLED, Campaign.State.FAILED)


def consequences(lead: Lead) -> list[str]:
    """What erasing does to the person's messages, in sentences."""
    points = []
    if queued := lead.messages.filter(state__in=(State.QUEUED, State.CLAIMED)).count():
        points.append(
            ngettext(
                "%(n)s message that waits for its turn is not sent.",
                "%(n)s messages that wait for their turn are not sent.",
                queued,
            )
            % {"n": queued}
        )
    if gone := lead.messages.exclude(state__in=(State.QUEUED, State.CLAIMED)).count():
        points.append(
            ngettext(
                "%(n)s message stays in the counts of its campaign, without its text.",
                "%(n)s messages stay in the counts of their campaigns, without their texts.",
                gone,
            )
            % {"n": gone}
        )
    return points


def in_use() -> Q:
    """The leads that something was sent to, or may have been, or that a campaign still has."""
    rows = Message.objects.filter(lead=OuterRef("pk"))
    still = ~Q(state__in=NEVER_LEFT) | ~Q(campaign__state__in=ENDED)
    return Q(Exists(rows.filter(still)))


def hold_many(ids: Sequence[int]) -> None:
    """Lock the campaigns that have these leads, and their rows, in the order that all keep."""
    rows = Message.objects.filter(lead__in=ids)
    campaigns = list(rows.order_by().values_list("campaign_id", flat=True).distinct())
    list(Campaign.objects.filter(pk__in=campaigns).order_by("pk").select_for_update(of=("self",)))
    list(rows.order_by("pk").select_for_update(of=("self",)))


def on_record(ids: Sequence[int]) -> set[int]:
    """Those of these leads that the ledger names."""
    return set(Message.objects.filter(lead__in=ids).values_list("lead_id", flat=True))


def forget(aliases: Mapping[int, tuple[str, str]]) -> None:
    """Forget what was to be said to leads that nothing was sent to: id → handle and alias."""
    rows = Message.objects.filter(lead__in=aliases)
    rows.update(text="", error="", sentence="", provider_id="")
    names = dict(aliases.values())
    mine = Campaign.objects.filter(pk__in=rows.values("campaign"), audience__kind="handles")
    for campaign in mine:
        given = campaign.audience.get("handles", [])
        told = [names.get(normalise_handle(text) or "", text) for text in given]
        if told != given:
            kept = campaign.audience | {"handles": told}
            Campaign.objects.filter(pk=campaign.pk).update(audience=kept)


def hold(lead: Lead) -> None:
    """Lock the campaigns that write to the lead, and the rows: nothing leaves meanwhile.

    The first statements of the erasure, in the order of locks that all writers keep. Raises
    Refused while a message is dispatched and its outcome is not recorded.
    """
    mine = Message.objects.filter(lead=lead)
    ids = list(mine.values_list("campaign_id", flat=True).distinct())
    list(Campaign.objects.filter(pk__in=ids).order_by("pk").select_for_update(of=("self",)))
    rows = list(mine.order_by("pk").select_for_update(of=("self",)))
    if any(row.state == State.CLAIMED and row.dispatched_at for row in rows):
        raise in_flight()
    if _tests(lead).filter(state=TestSend.State.CLAIMED).exists():
        raise in_flight()


def erase(lead: Lead, person: Person, now: datetime) -> dict[str, int]:
    """Skip what is open, empty what was said, and forget who it was said to."""
    rows = Message.objects.filter(lead=lead)
    tally = ledger.Tally()
    health.release_claims(rows, now, tally)
    held: list[int] = []
    for before in (State.QUEUED, State.UNKNOWN):
        open_rows = rows.filter(state=before)
        found = list(open_rows.values_list("pk", "campaign_id"))
        for _pk, campaign_id in found:
            tally.add(campaign_id, **{before: -1, "skipped": 1})
        # What is unknown may have arrived: the person stays touched.
        held += [pk for pk, _campaign in found if before == State.QUEUED]
        open_rows.update(state=State.SKIPPED, reason=Code.LEAD_REMOVED, updated_at=now)
    ledger.release_touch(held)
    emptied = rows.update(text="", error="", sentence="")
    rows.exclude(provider_id="").update(provider_id=ERASED)
    _tests(lead).exclude(provider_id="").update(provider_id=ERASED)
    tests = _tests(lead).update(recipient=person.alias, error="")
    recipients = SendingAccount.objects.filter(test_recipient__in=_names(lead))
    recipients.update(test_recipient="")
    words = replace_in(Campaign.objects.all(), person, ["reason_detail"], words=True)
    words += replace_in(SendingAccount.objects.all(), person, ["block_detail"], words=True)
    audiences = replace_in(Campaign.objects.all(), person, ["audience"])
    tally.write()
    return {
        "messages": emptied,
        "tests": tests,
        "audiences": audiences,
        "provider_words": words,
    }


def export(lead: Lead) -> dict[str, Any]:
    """The person's messages, with what was said and when."""
    rows = lead.messages.select_related("campaign", "account").order_by("pk")
    return {
        "messages": [
            {
                "campaign": row.campaign.name,
                "from": row.account.handle if row.account else None,
                "state": row.state,
                "reason": row.reason,
                "text": row.text,
                "created_at": row.created_at,
                "sent_at": row.sent_at,
            }
            for row in rows
        ],
        "test_messages": list(
            _tests(lead).order_by("pk").values("recipient", "state", "created_at", "settled_at")
        ),
    }


def _names(lead: Lead) -> list[str]:
    """How a channel knows the person."""
    return list(filter(None, (lead.handle, lead.instagram_scoped_id)))


def _tests(lead: Lead) -> Any:
    return TestSend.objects.filter(recipient__in=_names(lead))
