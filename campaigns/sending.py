"""A slice of sending: keep a few messages in flight until nothing is due or the time is up.

One thread, the slice's own, talks to the database; the pool's threads only call providers. Never
more rows are marked as dispatched than the pool is wide, so a SIGKILL leaves at most that many
whose outcome nobody knows. While the pool is calling, the slice settles what has come back and
marks the next rows in the same transaction.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import datetime, timedelta
from queue import Empty, SimpleQueue
from typing import ClassVar, Protocol

from django.conf import settings
from django.db import DataError, InterfaceError, OperationalError
from django.db.models import Min
from django.db.models.functions import Coalesce, Greatest
from django.utils.translation import gettext_noop as _
from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_exponential_jitter

from agenticos import clock as clocks, logs, measures, meters, queue, scope
from agenticos.leasing import new_token, owner, stopping
from agenticos.sql import mend_connection
from campaigns import claiming, health, settling
from campaigns.diary import Diary, result_of
from campaigns.ledger import Held, Outcome
from campaigns.models import SendingAccount
from integrations.errors import Fault, ProviderError, Rejected, Unsure
from integrations.ports import Channel, ChannelRules, DirectMessage, Receipt
from integrations.registry import channel_for
from tenants.crypto import CannotOpen

logger = logging.getLogger(__name__)

# After a first answer the slice waits this long for others, so that they share a transaction.
COALESCE_S = 0.01
PUT_ASIDE = timedelta(minutes=1)
LOOK_AGAIN_S = 0.25  # how often an unfilled pool looks for accounts whose turn has come


class Slice:
    """One worker's turn at sending. Everything it needs is passed in, so tests own the clock."""

    def __init__(
        self,
        clock: clocks.Clock,
        *,
        budget_s: float,
        stop: Callable[[], bool] = stopping,
        others_wait: Callable[[], bool] = lambda: False,
        channel: Callable[[SendingAccount], Channel] | None = None,
    ) -> None:
        self.clock = clock
        self.ends_at = clock.now() + timedelta(seconds=budget_s)
        self.stop = stop
        self.others_wait = others_wait
        self.channel = channel or (lambda account: channel_for(account.connection))
        self.token = new_token()
        self.owner = owner()
        self.width = settings.SEND_THREADS
        self.looks_at = claiming.ACCOUNTS_AT_ONCE
        self.ready: deque[Held] = deque()
        self.flying: dict[Future[Outcome], Held] = {}
        self.answers: SimpleQueue[Future[Outcome]] = SimpleQueue()  # those of `flying` that are in
        self.done: list[tuple[Held, Outcome]] = []
        self.channels: dict[int, Channel] = {}  # by account
        self.opened: dict[int, datetime | None] = {}  # when each one's secret was set
        self.kinds: dict[int, str] = {}  # what each account sends through
        self.diary = Diary()
        self.campaigns: set[tuple[int, int]] = set()
        self.settled = 0

    def run(self) -> int:
        """Send until nothing is due, the budget is spent, or a stop; return how many settled."""
        with ThreadPoolExecutor(
            self.width, thread_name_prefix="send", initializer=logs.carried()
        ) as pool:
            try:
                while self._turn(pool):
                    pass
            finally:
                self._finish(pool)
        self.diary.write()
        health.finish_done(self.campaigns, self.clock.now())
        return self.settled

    def _turn(self, pool: ThreadPoolExecutor) -> bool:
        """One round; False when the slice is over."""
        begins = not self.stop() and self.clock.now() < self.ends_at
        if queue.in_worker():
            measures.flush_now_and_then()
        # A refusal may block the account or pause the campaign: that is settled before the next
        # row is marked, so that it takes no other row with it.
        refused = any(isinstance(outcome.error, Rejected) for _, outcome in self.done)
        begin = self._next(self.width - len(self.flying)) if begins and not refused else []
        if self.done or begin:
            self._write(begin, pool)
        found = False
        if begins and len(self.ready) < self.width:  # while the pool is calling
            with meters.CLAIM.time():
                found = self._claim()
        if found and len(self.flying) < self.width:
            return True
        if self.flying:
            self._collect(LOOK_AGAIN_S if len(self.flying) < self.width else None)
            return True
        if not begins:
            return False
        if found or refused or self.ready:
            return True
        return self._sleep()

    def _claim(self) -> bool:
        """Claim what is due; whether anything was found."""
        now = self.clock.now()
        fence = clocks.counted() + settings.LEASE_S - settings.FENCE_MARGIN_S
        leased = claiming.lease_accounts(
            now, token=self.token, owner=self.owner, limit=self.looks_at
        )
        found = False
        for tenant_id, account_ids in leased.items():
            with scope.as_tenant(tenant_id):
                claim = self._claim_for(account_ids, now)
            for held in claim.held:
                held.fence = fence
                self.ready.append(held)
            self.campaigns |= {(tenant_id, pk) for pk in claim.campaigns}
            found = found or bool(claim.campaigns)
        if leased and not found and not self.flying:
            # Accounts without work, likely with more behind, and no answer waits for a long look.
            self.looks_at = min(2 * self.looks_at, claiming.ACCOUNTS_AT_MOST)
        else:
            self.looks_at = claiming.ACCOUNTS_AT_ONCE
        return found

    def _claim_for(self, account_ids: list[int], now: datetime) -> claiming.Claim:
        """Claim for one tenant; its own trouble, such as damaged settings, stops no other."""
        try:
            claim = claiming.claim(
                account_ids, now, token=self.token, owner=self.owner, limit=settings.SEND_BATCH
            )
            self._open_channels(claim.accounts.values())
        except (OperationalError, InterfaceError):
            raise
        except Exception:
            logger.exception("tenant %s: claiming failed", scope.tenant_id())
            claiming.put_aside(account_ids, now + PUT_ASIDE, token=self.token)
            return claiming.Claim(self.token)
        return claim

    def _open_channels(self, accounts: Iterable[SendingAccount]) -> None:
        """Build the adapters here: the pool's threads must not touch the database."""
        for account in accounts:
            set_at = account.connection.secret_set_at
            if account.pk in self.channels and self.opened[account.pk] == set_at:
                continue
            self.opened[account.pk] = set_at
            self.kinds[account.pk] = account.connection.kind
            try:
                self.channels[account.pk] = self.channel(account)
            except CannotOpen:
                logger.error("account %s: its credential does not open", account.pk)
                self.channels[account.pk] = Unreadable()

    def _next(self, free: int) -> list[Held]:
        """Up to `free` ready rows of one tenant, each of another account that is not calling."""
        busy = {held.account_id for held in self.flying.values()}
        chosen: list[Held] = []
        for held in self.ready:
            if len(chosen) == free:
                break
            if held.account_id in busy:
                continue
            chosen.append(held)
            busy.add(held.account_id)
        if chosen:
            ids = {held.id for held in chosen}
            self.ready = deque(held for held in self.ready if held.id not in ids)
        return chosen

    def _write(self, begin: list[Held], pool: ThreadPoolExecutor) -> None:
        """Settle and mark, tenant by tenant, then call."""
        done, self.done = self.done, []
        # Accounts that have further rows here, or are calling, keep their lease.
        more = frozenset(
            [held.account_id for held in self.ready]
            + [held.account_id for held in self.flying.values()]
        )
        for tenant_id in sorted({row[0].tenant_id for row in done} | {h.tenant_id for h in begin}):
            mine = [row for row in done if row[0].tenant_id == tenant_id]
            next_rows = [held for held in begin if held.tenant_id == tenant_id]
            fence = clocks.counted() + settings.LEASE_S - settings.FENCE_MARGIN_S
            try:
                with scope.as_tenant(tenant_id):
                    marked = self._settle(mine, next_rows, more)
                    # At once: what is marked and not called would be `unknown`.
                    for held in marked:
                        held.fence = fence
                        future = pool.submit(send, held, self.channels[held.account_id], self.stop)
                        self.flying[future] = held
                        future.add_done_callback(self.answers.put)
                    self._react(mine)
            except DataError:
                # What was sent becomes `unknown` by the reaper; the other tenants go on.
                logger.exception("tenant %s: settling failed", tenant_id)
                continue
            self.settled += len(mine)
            for held, outcome in mine:
                self.diary.note(held, outcome, self.kinds[held.account_id])

    def _settle(
        self, done: list[tuple[Held, Outcome]], begin: list[Held], more: frozenset[int]
    ) -> list[Held]:
        """The transaction, repeated while the lease lasts: a lost result would be `unknown`.

        A repeat marks nothing new: if the first try did commit, its rows are dispatched already
        and go to `unknown` by the reaper instead of out twice.
        """
        for attempt in Retrying(
            retry=retry_if_exception_type((OperationalError, InterfaceError)),
            stop=stop_after_delay(settings.LEASE_S - settings.FENCE_MARGIN_S),
            wait=wait_exponential_jitter(multiplier=0.1, max=2),
            reraise=True,
        ):
            with attempt:
                if attempt.retry_state.attempt_number > 1:
                    logger.warning("settling again after a database error")
                    mend_connection()
                now = self.clock.now()
                marked = settling.settle_and_mark(
                    done, begin, now, token=self.token, owner=self.owner, more=more
                )
        for held in marked:
            held.mark(now)
        return marked

    def _react(self, done: list[tuple[Held, Outcome]]) -> None:
        """What a refusal means for its account or campaign; in transactions of their own."""
        now = self.clock.now()
        wrong = [held for held, outcome in done if result_of(outcome) in ("failed", "unknown")]
        for campaign_id in {held.campaign_id for held in wrong}:
            health.pause_over_threshold(campaign_id, now)
        for account_id in {held.account_id for held in wrong}:
            health.block_over_threshold(account_id, now)
        for held, outcome in done:
            error = outcome.error
            if isinstance(error, Rejected) and error.fault is Fault.ACCOUNT:
                self._drop(held.account_id)
                health.block_for(
                    held.account_id, error, now, secret_set_at=self.opened.get(held.account_id)
                )
            elif isinstance(error, Rejected) and error.fault is not Fault.LEAD:
                health.pause_after_refusals(held.campaign_id, error, now)

    def _drop(self, account_id: int) -> None:
        """Give back the other rows of an account that can no longer send."""
        rows = [held for held in self.ready if held.account_id == account_id]
        self.ready = deque(held for held in self.ready if held.account_id != account_id)
        if rows:
            settling.give_back(rows, self.clock.now(), token=self.token)

    def _collect(self, timeout: float | None) -> None:
        """Wait for an answer, and then a moment for others."""
        until: float | None = None
        while self.flying:
            try:
                future = self.answers.get(timeout=timeout)
            except Empty:
                return
            self.done.append((self.flying.pop(future), future.result()))
            now = time.monotonic()
            until = until or now + COALESCE_S
            timeout = max(until - now, 0)

    def _sleep(self) -> bool:
        """Sleep to the next due time if it is within the budget; False when it is not."""
        self.diary.write()
        due = next_send_at()
        if due is None or self.others_wait():
            return False
        pause = (due - self.clock.now()).total_seconds()
        if due > self.ends_at:
            return False
        # Short naps, so that a stop, new work or another waiting task is seen within a second.
        self.clock.sleep(min(max(pause, 0.01), 1.0))
        return True

    def _finish(self, pool: ThreadPoolExecutor) -> None:
        """Wait for the calls in flight, record them, and give the rest back."""
        mend_connection()
        while self.flying:
            self._collect(None)
        if self.done:
            self._write([], pool)
        rows, self.ready = list(self.ready), deque()
        for tenant_id in {held.tenant_id for held in rows}:
            with scope.as_tenant(tenant_id):
                mine = [held for held in rows if held.tenant_id == tenant_id]
                settling.give_back(mine, self.clock.now(), token=self.token)


class Unreadable:
    """Stands for an account whose stored credential does not open: refuses every message."""

    rules: ClassVar[ChannelRules] = ChannelRules(
        opens_conversation=False, max_bytes=0, can_look_up=False
    )

    def check(self) -> str:
        return ""

    def send(self, message: DirectMessage) -> Receipt:
        raise Rejected(
            "credential_unreadable",
            _("The stored credential cannot be read. Enter it again in the connection."),
            fault=Fault.ACCOUNT,
        )


class Sendable(Protocol):
    """A row that is about to be called for; no call begins after its fence (`clock.counted`)."""

    @property
    def id(self) -> int: ...
    @property
    def to_id(self) -> str: ...
    @property
    def to_handle(self) -> str: ...
    @property
    def text(self) -> str: ...
    @property
    def key(self) -> str: ...
    @property
    def fence(self) -> float: ...
    @property
    def names(self) -> dict[str, int]: ...


def send(held: Sendable, channel: Channel, stop: Callable[[], bool]) -> Outcome:
    """Call the provider for one row, in a thread of the pool. Never raises."""
    # The fence: a worker that was frozen past its lease must not send what others now own.
    if stop() or clocks.counted() > held.fence:
        return Outcome(called=False)
    with logs.bound(**held.names):
        try:
            receipt = channel.send(
                DirectMessage(
                    to_id=held.to_id, to_handle=held.to_handle, text=held.text, key=held.key
                )
            )
        except ProviderError as error:
            return Outcome(error=error)
        except Exception as error:  # a bug must not lose the row: it may have gone out
            logger.exception("message %s: unexpected failure of the adapter", held.id)
            return Outcome(
                error=Unsure(
                    "adapter_failed",
                    _(
                        "The adapter failed in an unexpected way during the call, so nobody knows "
                        "whether it arrived. Look at the thread, then say what happened."
                    ),
                    fault=Fault.PROVIDER,
                    detail=type(error).__name__,
                )
            )
    return Outcome(provider_id=storable(receipt.provider_id)[:120])


def storable(text: str) -> str:
    """A stranger's text without what no database takes: NUL and lone surrogates."""
    return text.replace("\x00", "").encode("utf-8", "replace").decode()


def next_send_at() -> datetime | None:
    """When the next account may have something to send; None when none has."""
    with scope.as_system("when sending is next due"):
        # An account that another worker holds is worth a look when that lease is over.
        free = Greatest("next_at", Coalesce("lease_until", "next_at"))
        rows = SendingAccount.objects.filter(state="active", next_at__isnull=False)
        first: datetime | None = rows.aggregate(first=Min(free))["first"]
        return first
