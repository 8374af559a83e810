"""Where the outcome of a call leads: the state machine of a claimed row, pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from django.conf import settings

from campaigns import pacing
from campaigns.ledger import Held, Outcome, State
from integrations.errors import Fault, TryLater, Unsure


@dataclass(frozen=True, slots=True)
class Verdict:
    """Where a row goes, and what of its claim is undone."""

    state: str
    account_id: int | None
    attempts: int
    due_at: datetime
    reason: str = ""
    error: str = ""
    gives_back: bool = False
    request_fault: bool = False


def verdict_on(held: Held, outcome: Outcome, now: datetime, *, ended: bool = False) -> Verdict:
    """Where an outcome leads; with `ended`, the campaign was stopped while the call was made."""
    verdict = _fate(held, outcome, now)
    if ended and verdict.state == State.QUEUED:
        return replace(verdict, state=State.CANCELLED)
    return verdict


def _fate(held: Held, outcome: Outcome, now: datetime) -> Verdict:
    """The state machine of one outcome (design: sent, later, never, perhaps)."""
    error = outcome.error
    if error is None and outcome.called:
        return Verdict(State.SENT, held.account_id, held.attempts, now)
    if error is None:  # the fence or a stop came before the call
        return Verdict(State.QUEUED, None, held.attempts - 1, now, gives_back=True)
    detail = error.detail
    failed = Verdict(
        State.FAILED,
        held.account_id,
        held.attempts,
        now,
        error.code,
        detail,
        gives_back=True,
    )
    if isinstance(error, Unsure):
        return Verdict(State.UNKNOWN, held.account_id, held.attempts, now, error.code, detail)
    if isinstance(error, TryLater):
        if held.attempts >= settings.SEND_MAX_ATTEMPTS:
            return failed
        wait = max(pacing.back_off(held.attempts, held.key), error.after or timedelta(0))
        return Verdict(
            State.QUEUED, None, held.attempts, now + wait, error.code, detail, gives_back=True
        )
    if error.fault is Fault.ACCOUNT:  # not this lead's problem: back, uncharged
        return Verdict(
            State.QUEUED, None, held.attempts - 1, now, error.code, detail, gives_back=True
        )
    return replace(failed, request_fault=error.fault is not Fault.LEAD)
