"""Another text for a campaign that has started: the next version of a step.

A message keeps the version that its row names. Whoever has a frozen text, was sent to or may have
been, keeps what was said; the others move to a newer version only when a person says so. The
ledger has one row per lead and step whatever its version, so nobody gets both.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from django.db import transaction
from django.db.models import Count, QuerySet
from django.utils.translation import gettext as _

from agenticos.errors import Refused
from campaigns import library, rendering
from campaigns.drafting import locked
from campaigns.models import Campaign, Message, Step
from campaigns.wording import Piece, differences
from tenants import audit
from tenants.models import User

State = Campaign.State
EDITABLE = (State.RUNNING, State.PAUSED, State.BLOCKED)


@dataclass(frozen=True, slots=True)
class Version:
    """One version of a step: what it changed, and its messages by state."""

    step: Step
    is_newest: bool
    states: dict[str, int] = field(default_factory=dict)
    changes: Sequence[Piece] = ()

    @property
    def messages(self) -> int:
        return sum(self.states.values())


def versions_of(campaign: Campaign, *, with_text: bool) -> list[Version]:
    """All versions, by step and newest first; without the texts unless `with_text`."""
    steps = campaign.steps.select_related("origin__template").order_by("number", "-version")
    if not with_text:
        steps = steps.defer("body", "origin__body", "origin__template__body")
    rows = campaign.messages.order_by().values_list("step_number", "step_version", "state")
    states: dict[tuple[int, int], dict[str, int]] = defaultdict(dict)
    for number, version, state, count in rows.annotate(n=Count("pk")):
        states[number, version][state] = count
    found = list(steps)
    known = {(step.number, step.version): step for step in found}
    return [
        Version(
            step,
            (step.number, step.version + 1) not in known,
            states[step.number, step.version],
            differences(before.body, step.body)
            if with_text and (before := known.get((step.number, step.version - 1)))
            else (),
        )
        for step in found
    ]


def unwritten(campaign: Campaign, step: Step) -> QuerySet[Message]:
    """The messages of an older version that nobody has begun to write: they may still move."""
    return Message.objects.filter(
        campaign=campaign,
        step_number=step.number,
        step_version__lt=step.version,
        state=Message.State.QUEUED,
        text="",
        dispatched_at=None,
    )


@transaction.atomic
def change_text(
    campaign: Campaign, number: int, *, text: str, move: bool, by: User | None, now: datetime
) -> int:
    """Write the next version of step `number`; with `move`, who was not written to gets it.

    Returns how many people moved. Raises Refused when nothing of the campaign leaves any more,
    for a text that cannot be rendered, and for one that changes nothing.
    """
    row = _at_work(campaign)
    newest = _newest(row, number)
    try:
        rendering.parse(text)
    except rendering.BadTemplate as error:
        raise Refused(error.sentence, code="bad_template") from error
    if text == newest.body:
        raise Refused(_("The text is the same as before."), code="same_text")
    step = Step.objects.create(
        tenant_id=row.tenant_id,
        campaign=row,
        number=number,
        version=newest.version + 1,
        delay_hours=newest.delay_hours,
        body=text,
        origin=library.origin_of(text),
    )
    moved = _move(row, step, now) if move else 0
    audit.record(
        row, "campaign.text_changed", by=by, step=number, version=step.version, moved=moved
    )
    return moved


@transaction.atomic
def move_people(campaign: Campaign, number: int, *, by: User | None, now: datetime) -> int:
    """Give the newest version of step `number` to who was not written to; return how many."""
    row = _at_work(campaign)
    step = _newest(row, number)
    moved = _move(row, step, now)
    if moved:
        audit.record(
            row, "campaign.people_moved", by=by, step=number, version=step.version, moved=moved
        )
    return moved


def _move(row: Campaign, step: Step, now: datetime) -> int:
    # The campaign is locked and claims hold it in share mode, so no claim is half done meanwhile.
    return unwritten(row, step).update(step_version=step.version, updated_at=now)


def _at_work(campaign: Campaign) -> Campaign:
    row = locked(campaign)
    if row.state not in EDITABLE:
        raise Refused(
            _("Only the text of a campaign that runs or can go on may be changed this way."),
            code="wrong_state",
        )
    return row


def _newest(row: Campaign, number: int) -> Step:
    step = Step.objects.filter(campaign=row, number=number).order_by("-version").first()
    if step is None:
        raise Refused(_("There is no such step."), code="no_step")
    return step
