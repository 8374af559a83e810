"""Test messages: a text for real, to a recipient of the tenant's own.

A test is a message like any other to its account: one at a time, within cap and pause. The request
takes the account's lease and allowance and leaves a row; a worker calls, outside any transaction.
What came of it is final: nothing of this is sent twice.
"""

from __future__ import annotations

import hashlib
import logging
import re
from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from django.conf import settings
from django.db import transaction
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.translation import gettext as _

from agenticos import clock as clocks, leasing, queue, scope
from agenticos.errors import Refused
from agenticos.leasing import NO_LEASE
from agenticos.locking import locked
from campaigns import health, ledger, pacing
from campaigns.codes import Code, sentence
from campaigns.facts import account_facts, pace_of
from campaigns.gates import Facts, Verdict, gate
from campaigns.models import SendingAccount, TestSend
from campaigns.sending import Unreadable, send
from integrations.errors import Fault, ProviderError, Rejected, TryLater, Unsure
from integrations.ports import Channel
from integrations.registry import channel_for
from leads.identities import normalise_handle
from leads.models import Lead, Suppression
from leads.suppression import digest_for
from tenants import audit
from tenants.crypto import CannotOpen
from tenants.models import User

logger = logging.getLogger(__name__)

TASK: Final = "campaigns.tasks.send_tests"
SCOPED_ID: Final = re.compile(r"\d{9,30}")
KEY: Final = re.compile(r"[0-9a-f]{32}")
TEXT_MOST: Final = 5_000  # characters; what a channel takes is the channel's to say
State = TestSend.State


# --- To whom ----------------------------------------------------------------------------------


@transaction.atomic
def set_recipient(account: SendingAccount, given: str, *, by: User | None) -> bool:
    """Say who gets the account's test messages; nobody with "". Whether that is a change.

    Raises Refused for what is no handle or id, and for whom a test must not go to.
    """
    recipient = clean_recipient(account, given)
    row = locked(SendingAccount.objects.select_for_update(of=("self",)), account.pk)
    if row.test_recipient == recipient:
        return False
    row.test_recipient = account.test_recipient = recipient
    row.save(update_fields=["test_recipient"])
    audit.record(row, "account.test_recipient_changed", by=by, is_set=bool(recipient))
    return True


def clean_recipient(account: SendingAccount, given: str) -> str:
    """A handle or an Instagram-scoped id as it is stored; "" for nothing. Raises Refused."""
    given = given.strip()
    if not given:
        return ""
    recipient = given if SCOPED_ID.fullmatch(given) else normalise_handle(given)
    if recipient is None:
        raise Refused(
            _("Give an Instagram handle, or the long number that Instagram has for this person."),
            code="bad_recipient",
        )
    _check_recipient(account, str(recipient))
    return str(recipient)


def _check_recipient(account: SendingAccount, recipient: str) -> None:
    """Refuse an account of ours, a lead, and whoever must not be written to."""
    if recipient in (account.handle, account.connection.external_id) or (
        SendingAccount.objects.filter(handle=recipient).exists()
    ):
        raise Refused(
            _("@%(handle)s is a sending account itself. Choose a profile of somebody in the team.")
            % {"handle": recipient},
            code="recipient_is_account",
        )
    if Suppression.objects.filter(digest=_digest("handle", recipient)).exists():
        raise Refused(sentence(Code.SUPPRESSED), code=str(Code.SUPPRESSED))
    is_id = SCOPED_ID.fullmatch(recipient)
    leads = Lead.objects.filter(instagram_scoped_id=recipient) if is_id else Lead.objects.none()
    if leads.exists() or Lead.objects.filter(handle=recipient).exists():
        raise Refused(
            _(
                "%(who)s is one of your leads: a test would be a message to them. Choose a "
                "profile of somebody in the team."
            )
            % {"who": recipient},
            code="recipient_is_lead",
        )


def _digest(kind: str, value: str) -> str:
    return str(digest_for(scope.tenant_id())(kind, value))


# --- Asking for one ---------------------------------------------------------------------------


@transaction.atomic
def ask_for_test(
    account: SendingAccount, text: str, *, key: str, by: User | None, now: datetime
) -> TestSend:
    """Put a test message on its way; the same `key` again is the same test.

    Raises Refused when it may not go now: with the reason, and the time when it may.
    """
    if known := TestSend.objects.filter(key=key).first():
        return known
    text = text.strip()
    if not text or len(text) > TEXT_MOST or "\x00" in text:
        raise Refused(_("Write the text that is to be tried out."), code="no_text")
    if ledger.hold_tenant(account.tenant_id):
        raise Refused(sentence(Code.TENANT_STOP), code=str(Code.TENANT_STOP))
    row = (
        SendingAccount.objects.select_related("connection", "tenant")
        .select_for_update(of=("self",))
        .get(pk=account.pk)
    )
    # Of two with one key, the second has waited for the first at the lock.
    if known := TestSend.objects.filter(key=key).first():
        return known
    if not row.test_recipient:
        raise Refused(
            _("Say first who gets the test messages of @%(handle)s.") % {"handle": row.handle},
            code="no_recipient",
        )
    _check_recipient(row, row.test_recipient)
    if TestSend.objects.filter(account=row, state=State.CLAIMED).exists():
        raise Refused(
            _("A test message of this account is on its way. Wait for what comes of it."),
            code="test_under_way",
        )
    _check_gates(row, now)
    if row.lease_until and row.lease_until > now:
        raise Refused(
            _("@%(handle)s is sending this very moment. Try again in a few seconds.")
            % {"handle": row.handle},
            code="account_busy",
        )
    token, until = leasing.new_token(), now + leasing.length()
    SendingAccount.objects.filter(pk=row.pk).update(
        claim_token=token, lease_owner=leasing.owner(), lease_until=until
    )
    periods = ledger.periods_of(row.zone(row.tenant), now)
    ledger.take_allowance(_allowance(row, now), ledger.caps_of(row.pk, periods, pace_of(row)))
    test = TestSend.objects.create(
        tenant=row.tenant,
        account=row,
        key=key,
        recipient=row.test_recipient,
        text=text,
        text_hash=hashlib.sha256(text.encode()).hexdigest(),
        claim_token=token,
        lease_owner=leasing.owner(),
        lease_until=until,
        created_by=by,
        created_at=now,
    )
    audit.record(row, "account.test_sent", by=by, test=test.pk)
    queue.enqueue(TASK)
    return test


def _check_gates(account: SendingAccount, now: datetime) -> None:
    """The account's own gates, as the worker asks them. Raises Refused."""
    used = ledger.used_by([account.pk], account.tenant, {account.pk: account}, now)
    decision = gate(Facts(account=account_facts(account, account.tenant, *used[account.pk])), now)
    if decision.verdict is Verdict.ALLOW or decision.code is None:
        return
    words = sentence(str(decision.code))
    if decision.verdict is Verdict.BLOCK:
        words = account.why or words
    if decision.until:
        local = timezone.localtime(decision.until, account.zone(account.tenant))
        same_day = local.date() == timezone.localtime(now, local.tzinfo).date()
        shape = "H:i:s" if same_day else "j M, H:i"
        words = " ".join([words, _("It may go at %(at)s.") % {"at": date_format(local, shape)}])
    raise Refused(words, code=str(decision.code))


def _allowance(account: SendingAccount, at: datetime) -> Counter[tuple[int, str]]:
    periods = ledger.periods_of(account.zone(account.tenant), at)
    return Counter({(account.pk, period): 1 for period in periods})


# --- Calling ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Call:
    """A test that this worker alone calls for."""

    id: int
    account: SendingAccount
    to_id: str
    to_handle: str
    text: str
    key: str
    token: str
    fence: float
    secret_set_at: datetime | None

    @property
    def names(self) -> dict[str, int]:
        """What log lines about it name."""
        return {"tenant": self.account.tenant_id, "account": self.account.pk}


def work(test_id: int, clock: clocks.Clock) -> None:
    """Call for one test of the tenant in scope, or take over what a lost worker left behind.

    May run any number of times at once: the mark before the call has one winner.
    """
    call = _begin(test_id, clock.now())
    if call is None:
        return
    try:
        channel: Channel = channel_for(call.account.connection)
    except CannotOpen:
        logger.error("account %s: its credential does not open", call.account.pk)
        channel = Unreadable()
    outcome = send(call, channel, leasing.stopping)
    error = outcome.error
    if not outcome.called:
        _settle(call.id, call.token, clock.now(), State.FAILED, reason=str(Code.TEST_NOT_TAKEN))
        return
    _settle(
        call.id, call.token, clock.now(), _state_of(error), error, provider_id=outcome.provider_id
    )
    if isinstance(error, Rejected) and error.fault is Fault.ACCOUNT:
        health.block_for(call.account.pk, error, clock.now(), secret_set_at=call.secret_set_at)


def _state_of(error: ProviderError | None) -> str:
    if error is None:
        return State.SENT
    if isinstance(error, Unsure):
        return State.UNKNOWN
    return State.LATER if isinstance(error, TryLater) else State.FAILED


def _begin(test_id: int, now: datetime) -> _Call | None:
    """Mark a test as about to be called; None when it is another's, over, or may not go."""
    fence = clocks.counted() + settings.LEASE_S - settings.FENCE_MARGIN_S
    test = TestSend.objects.filter(pk=test_id, state=State.CLAIMED).first()
    if test is None:
        return None
    token = test.claim_token
    with transaction.atomic():
        stopped = ledger.hold_tenant(test.tenant_id)
        account = (
            SendingAccount.objects.select_related("connection", "tenant")
            .select_for_update(of=("self",))
            .get(pk=test.account_id)
        )
        test = TestSend.objects.select_for_update(of=("self",)).get(pk=test_id)
        if test.state != State.CLAIMED or test.lease_until is None:
            return None
        if test.lease_until <= now:
            lost, code = (
                (State.UNKNOWN, Code.TEST_UNKNOWN)
                if test.dispatched_at
                else (State.FAILED, Code.TEST_NOT_TAKEN)
            )
            _write(test, account, now, lost, reason=str(code))
            return None
        if test.dispatched_at:
            return None
        if obstacle := _obstacle(test, account, stopped=stopped):
            _write(test, account, now, State.FAILED, reason=str(obstacle))
            return None
        lease = {"lease_owner": leasing.owner(), "lease_until": now + leasing.length()}
        SendingAccount.objects.filter(pk=account.pk).update(**lease)
        TestSend.objects.filter(pk=test.pk).update(dispatched_at=now, **lease)
    is_id = SCOPED_ID.fullmatch(test.recipient)
    return _Call(
        id=test.pk,
        account=account,
        to_id=test.recipient if is_id else "",
        to_handle="" if is_id else test.recipient,
        text=test.text,
        key=test.key,
        token=token,
        fence=fence,
        secret_set_at=account.connection.secret_set_at,
    )


def _obstacle(test: TestSend, account: SendingAccount, *, stopped: bool) -> Code | None:
    """What has come between the request and the call."""
    if stopped:
        return Code.TENANT_STOP
    if account.state != SendingAccount.State.ACTIVE:
        return Code.ACCOUNT_BLOCKED
    if account.claim_token != test.claim_token:
        return Code.TEST_NOT_TAKEN
    if Suppression.objects.filter(digest=_digest("handle", test.recipient)).exists():
        return Code.SUPPRESSED
    return None


def _settle(
    test_id: int,
    token: str,
    now: datetime,
    state: str,
    error: ProviderError | None = None,
    *,
    reason: str = "",
    provider_id: str = "",
) -> None:
    """Record what came of a call, unless somebody has taken the row over meanwhile."""
    with transaction.atomic():
        first = TestSend.objects.only("account_id").get(pk=test_id)
        account = (
            SendingAccount.objects.select_related("connection", "tenant")
            .select_for_update(of=("self",))
            .get(pk=first.account_id)
        )
        test = TestSend.objects.select_for_update(of=("self",)).get(pk=test_id)
        if test.state != State.CLAIMED or test.claim_token != token:
            return
        _write(test, account, now, state, error, reason=reason, provider_id=provider_id)


def _write(
    test: TestSend,
    account: SendingAccount,
    now: datetime,
    state: str,
    error: ProviderError | None = None,
    *,
    reason: str = "",
    provider_id: str = "",
) -> None:
    """The end of a test: its answer, the account's pause and lease, and what it did not use."""
    token = test.claim_token
    test.state, test.settled_at, test.text = state, now, ""
    test.provider_id, test.reason = provider_id, error.code if error else reason
    test.sentence, test.error = (error.sentence[:300], error.detail) if error else ("", "")
    test.claim_token, test.lease_owner, test.lease_until = "", "", None
    test.save()
    if state not in (State.SENT, State.UNKNOWN):
        ledger.return_allowance(_allowance(account, test.created_at))
    if account.claim_token != token:
        return
    changes: dict[str, object] = dict(NO_LEASE)
    if test.dispatched_at:
        free_at = now + pace_of(account).gap(test.key)
        streak = 0
        if isinstance(error, TryLater) and error.fault is not Fault.LEAD:
            streak = min(account.later_in_row + 1, 30)
            back_off = pacing.back_off(streak, f"account:{account.pk}")
            free_at = max(free_at, now + max(error.after or timedelta(0), back_off))
        changes |= {"free_at": free_at, "last_used_at": now, "later_in_row": streak}
    if account.state == SendingAccount.State.ACTIVE:
        # A campaign's message may have become due while the test held the account.
        changes["next_at"] = changes.get("free_at", now)
    SendingAccount.objects.filter(pk=account.pk).update(**changes)
