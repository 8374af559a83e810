"""A slice of CRM work: bring contacts to the state that was wished for.

One thread, the slice's own, talks to the database; the pool's threads only call providers. So a
delivery goes in steps: each is planned and committed here, called in the pool, and recorded here.
A contact is updated under the id we know. Without one it is created, and a create that may have
happened already is looked for first, since GHL knows no idempotency.
"""

from __future__ import annotations

import logging
from collections import Counter, deque
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from datetime import datetime
from typing import Final, cast

from django.conf import settings
from django.db import InterfaceError, OperationalError, connection as database
from django.db.models import Min, OuterRef, Subquery
from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_exponential_jitter

from agenticos import clock as clocks, logs, meters, scope
from agenticos.leasing import new_token, owner, stopping
from integrations import delivery
from integrations.answers import Answers, Desk, Job
from integrations.delivery import Held, Note, Result
from integrations.models import Connection, SyncItem
from integrations.ports import Crm
from integrations.registry import crm_for
from integrations.steps import Outcome, Step, perform
from tenants.crypto import CannotOpen

logger = logging.getLogger(__name__)
State = SyncItem.State

THREADS: Final = 4
BATCH: Final = 16  # items claimed at once, shared by the connections that are due
LOOK_AGAIN_S: Final = 0.25  # how often an unfilled pool looks for more


class Slice:
    """One worker's turn at the outbox. Everything it needs is passed in; tests own the clock."""

    def __init__(
        self,
        clock: clocks.Clock,
        *,
        budget_s: float,
        stop: Callable[[], bool] = stopping,
        others_wait: Callable[[], bool] = lambda: False,
        crm: Callable[[Connection], Crm] = crm_for,
    ) -> None:
        self.clock = clock
        self.budget_s = budget_s
        self.stop = stop
        self.others_wait = others_wait
        self.crm = crm
        self.token = new_token()
        self.owner = owner()
        # No call begins after this: the worker's own time-out must not end a slice.
        task_s = cast(int, settings.Q_CLUSTER["timeout"])
        self.last_call = clocks.counted() + task_s - settings.HTTP_TIMEOUT_S - 2
        self.desks: dict[int, Desk] = {}
        self.ready: deque[Job] = deque()
        self.flying: dict[Future[Outcome], tuple[Job, Step]] = {}
        self.done: list[tuple[Held, Result | None]] = []
        self.answers = Answers(clock)
        self.swept_at: float | None = None
        self.settled = 0

    def run(self) -> int:
        """Deliver until nothing is due, the budget is spent, or a stop; return how many ended."""
        with ThreadPoolExecutor(
            THREADS, thread_name_prefix="sync", initializer=logs.carried()
        ) as pool:
            try:
                while self._turn(pool):
                    pass
            finally:
                self._finish(pool)
        return self.settled

    def _turn(self, pool: ThreadPoolExecutor) -> bool:
        """One round; False when the slice is over."""
        begins = not self.stop() and self.clock.elapsed() < self.budget_s
        free = THREADS - len(self.flying) if begins else 0
        begin = self._next(free)
        found = False
        if len(begin) < free:
            found = self._claim()
            begin = self._next(free) if found else begin
        if self.done or begin:
            self._write(begin, pool)
        if self.flying:
            brief = begins and len(self.flying) < THREADS
            finished, _ = wait(
                self.flying, timeout=LOOK_AGAIN_S if brief else None, return_when=FIRST_COMPLETED
            )
            self._collect(finished)
            return True
        if not begins:
            return False
        return found or bool(self.done) or self._sleep()

    def _next(self, free: int) -> list[Job]:
        """Up to `free` jobs whose connection may be called, one connection after the other."""
        now = self.clock.now()
        busy = Counter(job.desk.connection_id for job, _ in self.flying.values())
        able = [
            job
            for job in self.ready
            if not job.desk.asking and (job.desk.ready_at is None or job.desk.ready_at <= now)
        ]
        chosen: list[Job] = []
        asking: set[int] = set()
        while able and len(chosen) < free:
            job = min(able, key=lambda job: busy[job.desk.connection_id])
            able.remove(job)
            if job.step() is Step.FIELDS:
                # One look serves them all.
                if job.desk.connection_id in asking:
                    continue
                asking.add(job.desk.connection_id)
            busy[job.desk.connection_id] += 1
            chosen.append(job)
        return chosen

    def _claim(self) -> bool:
        """Claim what is due; whether anything was found."""
        now = self.clock.now()
        if self.swept_at is None or self.clock.elapsed() - self.swept_at >= 1:
            self.swept_at = self.clock.elapsed()
            delivery.take_over(now)
        held = Counter(job.desk.connection_id for job in self.ready)
        full = [pk for pk, number in held.items() if number >= THREADS]
        due = delivery.due_connections(now, but=full, limit=BATCH)
        found = False
        for tenant_id, connection_id in due:
            with scope.as_tenant(tenant_id):
                rows = delivery.claim(
                    connection_id,
                    now,
                    token=self.token,
                    owner=self.owner,
                    limit=-(-BATCH // len(due)),
                )
                if rows and (desk := self._desk(connection_id)):
                    self._take(rows, desk)
                    found = True
                elif rows:
                    delivery.give_back([row.id for row in rows], token=self.token)
        return found

    def _take(self, rows: list[Held], desk: Desk) -> None:
        """Queue claimed items; one that we held before, past its lease, is not queued twice."""
        new = {row.id for row in rows}
        flying = {job.held.id for job, _ in self.flying.values()}
        self.ready = deque(job for job in self.ready if job.held.id not in new)
        self.ready.extend(Job(row, desk) for row in rows if row.id not in flying)

    def _desk(self, connection_id: int) -> Desk | None:
        """The adapter is built here: the pool's threads must not touch the database."""
        if desk := self.desks.get(connection_id):
            return desk
        row = Connection.objects.get(pk=connection_id)
        try:
            crm = self.crm(row)
        except (CannotOpen, KeyError):
            logger.error("connection %s: its credential does not open", connection_id)
            delivery.refuse_connection(connection_id, "credential_unreadable", row.secret_set_at)
            return None
        self.desks[connection_id] = Desk(
            connection_id=connection_id,
            tenant_id=row.tenant_id,
            crm=crm,
            secret_set_at=row.secret_set_at,
            field_ids=dict(row.settings.get("field_ids", {})),
            ready_at=row.throttle_at,
        )
        return self.desks[connection_id]

    def _write(self, begin: list[Job], pool: ThreadPoolExecutor) -> None:
        """Settle and mark, tenant by tenant, then call."""
        done, self.done = self.done, []
        notes, refused = self.answers.take()
        tenants = {held.tenant_id for held, _ in done} | {job.held.tenant_id for job in begin}
        for tenant_id in sorted(tenants):
            mine = [row for row in done if row[0].tenant_id == tenant_id]
            jobs = [job for job in begin if job.held.tenant_id == tenant_id]
            fence = clocks.counted() + settings.LEASE_S - settings.FENCE_MARGIN_S
            with scope.as_tenant(tenant_id):
                begun = self._commit(mine, jobs, notes)
                for desk, error in refused:
                    if desk.tenant_id == tenant_id:
                        delivery.refuse_connection(
                            desk.connection_id, error.code, desk.secret_set_at, error=error
                        )
                        begun.closed.add(desk.connection_id)
                self._begin(jobs, begun, fence, pool)
                self._close(begun.closed)
            for held, result in mine:
                held.dirty = False
                self._tell(held, result)
                self.settled += result is not None and result.state != State.WAITING

    def _tell(self, held: Held, result: Result | None) -> None:
        """Count what came of an item, and write its line: the CRM's pace allows one each."""
        if result is None:
            return
        meters.SYNCED.labels(result.state).inc()
        logs.count(**{str(result.state): 1})
        extra = {
            "tenant": held.tenant_id,
            "connection": held.connection_id,
            "items": [held.key],
            "state": str(result.state),
            "reason": result.reason,
        }
        logger.info("sync.item", extra=extra)

    def _commit(
        self, done: list[tuple[Held, Result | None]], jobs: list[Job], notes: dict[int, Note]
    ) -> delivery.Begun:
        """The transaction, repeated for a while: a lost id would cost a search and a minute."""
        ids = {held.connection_id for held, _ in done} | {job.held.connection_id for job in jobs}
        for attempt in Retrying(
            retry=retry_if_exception_type((OperationalError, InterfaceError)),
            stop=stop_after_delay(settings.FENCE_MARGIN_S / 2),
            wait=wait_exponential_jitter(multiplier=0.1, max=2),
            reraise=True,
        ):
            with attempt:
                if attempt.retry_state.attempt_number > 1:
                    logger.warning("settling sync items again after a database error")
                    database.close()
                return delivery.settle_and_begin(
                    done,
                    [(job.held, job.step().calls, job.step() is Step.CREATE) for job in jobs],
                    {pk: note for pk, note in notes.items() if pk in ids},
                    {pk: self.desks[pk].secret_set_at for pk in ids if pk in self.desks},
                    self.clock.now(),
                    token=self.token,
                )
        raise AssertionError("unreachable")

    def _begin(
        self, jobs: list[Job], begun: delivery.Begun, fence: float, pool: ThreadPoolExecutor
    ) -> None:
        """Call for the jobs that were committed; the others stay, or are no longer ours."""
        for pk, ready_at in begun.ready_at.items():
            if pk in self.desks:
                self.desks[pk].ready_at = ready_at
        gone = begun.calls | begun.lost
        for job in jobs:
            if job.held.id not in begun.calls:
                continue
            step = job.step()
            if step is Step.CREATE:
                job.held.external_id, job.held.create_begun_at = "", self.clock.now()
            job.desk.asking = step is Step.FIELDS
            future = pool.submit(
                perform,
                step,
                job.desk.crm,
                job.held.contact,
                job.held.external_id,
                job.desk.missing(job.held.contact),
                self._halted(min(fence, self.last_call)),
            )
            self.flying[future] = (job, step)
        self.ready = deque(job for job in self.ready if job.held.id not in gone)

    def _halted(self, fence: float) -> Callable[[], bool]:
        # A worker that was frozen past its lease must not go on with what others now own.
        return lambda: self.stop() or clocks.counted() > fence

    def _close(self, closed: set[int]) -> None:
        """Give back what waits for connections that this slice can no longer use."""
        if not closed:
            return
        delivery.give_back(
            [job.held.id for job in self.ready if job.held.connection_id in closed],
            token=self.token,
        )
        self.ready = deque(job for job in self.ready if job.held.connection_id not in closed)
        for pk in closed:
            self.desks.pop(pk, None)

    def _collect(self, finished: set[Future[Outcome]]) -> None:
        for future in finished:
            job, step = self.flying.pop(future)
            if step is Step.FIELDS:
                job.desk.asking = False
            result = self.answers.read(job, step, future.result())
            self.done.append((job.held, result))
            if result is None:
                self.ready.appendleft(job)

    def _sleep(self) -> bool:
        """Sleep to the next due time if it is within the budget; False when it is not."""
        times = [job.desk.ready_at for job in self.ready if job.desk.ready_at]
        due = next_sync_at()
        if due is not None:
            times.append(due)
        if not times or self.others_wait():
            return False
        pause = (min(times) - self.clock.now()).total_seconds()
        if pause > self.budget_s - self.clock.elapsed():
            return False
        # Short naps, so that a stop, new work or another waiting task is seen within a second.
        self.clock.sleep(min(max(pause, 0.01), 1.0))
        return True

    def _finish(self, pool: ThreadPoolExecutor) -> None:
        """Wait for the calls in flight, record them, and give the rest back."""
        if self.flying:
            finished, _ = wait(self.flying)
            self._collect(finished)
        if self.done:
            self._write([], pool)
        jobs, self.ready = list(self.ready), deque()
        for tenant_id in sorted({job.held.tenant_id for job in jobs}):
            with scope.as_tenant(tenant_id):
                delivery.give_back(
                    [job.held.id for job in jobs if job.held.tenant_id == tenant_id],
                    token=self.token,
                )


def next_sync_at() -> datetime | None:
    """When something may be delivered next; None when nothing waits for an active connection."""
    with scope.as_system("when the CRM is next due"):
        first = (
            SyncItem.objects.filter(
                tenant=OuterRef("tenant"), connection=OuterRef("pk"), state=State.WAITING
            )
            .order_by("due_at")
            .values("due_at")[:1]
        )
        times = [
            max(due, throttle_at or due)
            for due, throttle_at in Connection.objects.filter(
                kind=Connection.Kind.GHL, state=Connection.State.ACTIVE
            )
            .annotate(first=Subquery(first))
            .filter(first__isnull=False)
            .values_list("first", "throttle_at")
        ]
        # An item that another worker holds is worth a look when that lease is over.
        flying = SyncItem.objects.filter(state=State.CLAIMED)
        lease = flying.aggregate(end=Min("lease_until"))["end"]
    if lease is not None:
        times.append(lease)
    return min(times, default=None)
