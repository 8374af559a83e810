"""How often somebody may come, exact under any number of threads, processes and hosts.

The generic cell rate algorithm: of each key only the time is kept at which it will owe nothing
(`tat`). A visit moves it one step on; it may lie ahead of now by as much as the burst is worth.
So there is no window at whose edge twice as many get in, and one number per key.

Kept in Redis, where one Lua script asks and counts all limits of a visit at once. Without Redis,
or while it is away, in the database, where each limit is one statement that commits by itself on a
connection of this module's own: no transaction of a request ever holds one of these rows, and a
process that freezes holds none either. SQLite, which has one writer at a time and a disk to wait
for, keeps them in a file beside its own.
"""

from __future__ import annotations

import logging
import math
import re
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

import redis
from django.conf import settings
from django.db import connection
from redis.backoff import NoBackoff
from redis.retry import Retry

from agenticos import outage
from agenticos.models import RateLimit

logger = logging.getLogger(__name__)
MINUTE: Final = 60_000_000  # microseconds, in which all of this counts
REDIS_PATIENCE_S: Final = 0.5
REDIS_AWAY_S: Final = 5  # how long nobody asks a Redis that did not answer
DATABASE_PATIENCE_S: Final = 5  # a database that hangs must not take all threads along
PURGE_EVERY: Final = 500  # visits, after which one takes the rows along that owe nothing
PURGED: Final = 2000


class Unavailable(Exception):
    """Neither Redis nor the database counts at present; nobody is let in uncounted."""


@dataclass(frozen=True, slots=True)
class Limit:
    """`burst` visits at once and `rate` a minute in the long run, for whoever `key` names.

    `key` has up to 100 characters and no personal data. `rate` may be below 1.
    """

    key: str
    rate: float
    burst: int

    @property
    def step(self) -> int:
        """What a visit costs, in microseconds; rounded up, so that never more get in.

        >>> Limit("k", 60, 5).step, Limit("k", 7, 5).step
        (1000000, 8571429)
        """
        return math.ceil(MINUTE / self.rate)

    @property
    def room(self) -> int:
        return self.step * self.burst


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether the visit is let in, and how the limit stands that is the nearest to its end."""

    allowed: bool
    limit: Limit
    remaining: int  # visits that would be let in now
    reset_s: int  # seconds until all of the burst is there again, rounded up
    retry_s: int  # seconds until the next visit is let in; 0 for one that was


def take(key: str, rate: float, burst: int, *, now: int | None = None) -> Decision:
    """Count a visit by `key`, and say whether it is let in; one that is refused costs nothing.

    `now` in microseconds of the epoch is for tests: else the counting server's own time rules.
    Raises Unavailable.
    """
    return take_all([Limit(key, rate, burst)], now=now)


def take_all(limits: Sequence[Limit], *, now: int | None = None) -> Decision:
    """Count a visit under several limits: let in by all of them, or counted by none.

    Raises Unavailable.
    """
    if settings.REDIS_URL and (decision := _redis(settings.REDIS_URL).take(limits, now)):
        return decision
    return _database().take(limits, now)


def decide(limit: Limit, tat: int, now: int, *, allowed: bool) -> Decision:
    """How `limit` stands when its key owes nothing from `tat` on, both in microseconds.

    >>> found = decide(Limit("k", rate=60, burst=5), tat=3_500_000, now=0, allowed=True)
    >>> found.remaining, found.reset_s, found.retry_s
    (1, 4, 0)
    >>> decide(Limit("k", rate=60, burst=5), tat=4_500_000, now=0, allowed=False).retry_s
    1
    """
    owed = max(tat - now, 0)
    wait = max(owed + limit.step - limit.room, 0)
    return Decision(
        allowed=allowed,
        limit=limit,
        remaining=max(limit.room - owed, 0) // limit.step if allowed else 0,
        reset_s=math.ceil(owed / 1_000_000),
        retry_s=0 if allowed else max(math.ceil(wait / 1_000_000), 1),
    )


def nearest(decisions: Sequence[Decision]) -> Decision:
    """Of limits that all let a visit in, the one that will be the first not to."""
    return min(decisions, key=lambda one: one.remaining)


# --- Redis ------------------------------------------------------------------------------------

SCRIPT = """
local now = tonumber(ARGV[1])
if now < 0 then
  local time = redis.call('TIME')
  now = time[1] * 1000000 + time[2]
end
local tats, refused = {}, 0
for i, key in ipairs(KEYS) do
  local step, room = tonumber(ARGV[2 * i]), tonumber(ARGV[2 * i + 1])
  tats[i] = math.max(tonumber(redis.call('GET', key) or now), now)
  if refused == 0 and tats[i] + step - now > room then refused = i end
end
if refused == 0 then
  for i, key in ipairs(KEYS) do
    tats[i] = tats[i] + tonumber(ARGV[2 * i])
    redis.call('SET', key, string.format('%.0f', tats[i]), 'PX', math.ceil((tats[i] - now) / 1000))
  end
end
return {now, refused, unpack(tats)}
"""


class RedisLimits:
    """The limits in Redis, where every key ends by itself once it owes nothing."""

    def __init__(self, url: str) -> None:
        client = redis.Redis.from_url(
            url,
            socket_timeout=REDIS_PATIENCE_S,
            socket_connect_timeout=REDIS_PATIENCE_S,
            # Once more at once where the connection of the last visit is gone; never for silence.
            retry=Retry(NoBackoff(), 1, supported_errors=(redis.ConnectionError,)),
        )
        self._script = client.register_script(SCRIPT)
        self._away_until = 0.0
        self._away = False

    def take(self, limits: Sequence[Limit], now: int | None) -> Decision | None:
        """The decision; None while Redis is away, which is logged once and not per visit."""
        if time.monotonic() < self._away_until:
            return None
        arguments: list[int] = [-1 if now is None else now]
        for limit in limits:
            arguments += [limit.step, limit.room]
        try:
            answer: Any = self._script([f"limit:{limit.key}" for limit in limits], arguments)
        except redis.RedisError as error:
            self._away_until = time.monotonic() + REDIS_AWAY_S
            if not self._away:
                self._away = True
                logger.warning("limits.redis_away error=%s", type(error).__name__)
            return None
        if self._away:
            self._away = False
            logger.warning("limits.redis_back")
        at, refused, *tats = (int(value) for value in answer)
        if refused:
            return decide(limits[refused - 1], tats[refused - 1], at, allowed=False)
        return nearest(
            [decide(limit, tat, at, allowed=True) for limit, tat in zip(limits, tats, strict=True)]
        )


@cache
def _redis(url: str) -> RedisLimits:
    return RedisLimits(url)


# --- The database -----------------------------------------------------------------------------

# `excluded.tat` is the present time and a step: what the row of somebody new says.
TAKE = """
INSERT INTO {table} AS held (key, tat) VALUES (%(key)s, {now} + %(step)s)
ON CONFLICT (key) DO UPDATE SET tat = {greatest}(held.tat + %(step)s, excluded.tat)
WHERE {greatest}(held.tat + %(step)s, excluded.tat) - (excluded.tat - %(step)s) <= %(room)s
RETURNING tat, {now}
"""
LOOK = "SELECT tat, {now} FROM {table} WHERE key = %(key)s"
GIVE_BACK = "UPDATE {table} SET tat = tat - %(step)s WHERE key = %(key)s"
PURGE = """
DELETE FROM {table} WHERE tat < {now} AND key IN (
  SELECT key FROM {table} WHERE tat < {now} LIMIT %(most)s {unlocked}
)
"""
MAKE = "CREATE TABLE IF NOT EXISTS {table} (key text PRIMARY KEY, tat bigint NOT NULL)"


class DatabaseLimits:
    """The limits in a table that belongs to no tenant, on one connection per process.

    Each statement commits by itself and touches one row, so a lock lasts for the moment of the
    statement and two of them cannot wait for one another. A lock in this process keeps its
    threads off the connection; the statement takes a fraction of a millisecond.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._link: Any = None
        self._visits = 0

    def take(self, limits: Sequence[Limit], now: int | None) -> Decision:
        """The decision. Raises Unavailable."""
        if not self._lock.acquire(timeout=DATABASE_PATIENCE_S):
            raise Unavailable("the connection is taken")
        try:
            return self._take(limits, now)
        finally:
            self._lock.release()

    def _take(self, limits: Sequence[Limit], now: int | None) -> Decision:
        passed: list[Decision] = []
        for limit in limits:
            values = {"key": limit.key, "step": limit.step, "room": limit.room}
            found = self._ask(TAKE, values, now)
            if found is None:
                tat, at = self._ask(LOOK, values, now) or (0, 0)
                for before in passed:
                    back = {"key": before.limit.key, "step": before.limit.step}
                    self._ask(GIVE_BACK, back, now)
                return decide(limit, tat, at, allowed=False)
            passed.append(decide(limit, *found, allowed=True))
        self._visits += 1
        if self._visits % PURGE_EVERY == 0:
            self._ask(PURGE, {"most": PURGED}, now)
        return nearest(passed)

    def close(self) -> None:
        """Let the connection go; the next visit opens another."""
        with self._lock:
            self._drop()

    def _ask(self, sql: str, values: dict[str, Any], now: int | None) -> tuple[int, int] | None:
        """Run one statement; once more on a new connection, where the old one is gone."""
        for last in (False, True):
            try:
                if self._link is None:
                    self._link = _OPEN[connection.vendor]()
                return self._run(sql, values, now)
            except _errors() as error:
                self._drop()
                if last or outage.is_on():
                    raise Unavailable(type(error).__name__) from error
        raise AssertionError("unreachable")

    def _run(self, sql: str, values: dict[str, Any], now: int | None) -> tuple[int, int] | None:
        text = _statement(sql, connection.vendor, fixed=now is not None)
        if now is not None or connection.vendor == "sqlite":
            values = {**values, "now": time.time_ns() // 1000 if now is None else now}
        cursor = self._link.execute(text, values)
        row = cursor.fetchone() if cursor.description else None
        cursor.close()
        return None if row is None else (int(row[0]), int(row[1]))

    def _drop(self) -> None:
        link, self._link = self._link, None
        if link is not None:
            link.close()


@cache
def _statement(sql: str, vendor: str, *, fixed: bool) -> str:
    """The statement for this database; `fixed`: the time is a parameter also on PostgreSQL."""
    postgresql = vendor == "postgresql"
    clock = "CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS bigint)"
    text = sql.format(
        table=connection.ops.quote_name(RateLimit._meta.db_table),
        now=clock if postgresql and not fixed else "CAST(%(now)s AS bigint)",
        greatest="GREATEST" if postgresql else "MAX",
        unlocked="FOR UPDATE SKIP LOCKED" if postgresql else "",
    )
    return text if postgresql else re.sub(r"%\((\w+)\)s", r":\1", text)


def _open_postgresql() -> Any:
    import psycopg  # SQLite's machines have no libpq

    parameters = connection.get_connection_params()
    parameters["application_name"] = "agenticos limits"
    parameters.pop("cursor_factory", None)  # Django's binds on the client: never prepared
    parameters.setdefault("tcp_user_timeout", 1000 * DATABASE_PATIENCE_S)
    link = psycopg.connect(**parameters, autocommit=True)
    # A server that stands still acknowledges all the same: the wait needs an end of its own.
    outage.bound(link, DATABASE_PATIENCE_S)
    return link


def _open_sqlite() -> Any:
    name = Path(str(connection.settings_dict["NAME"]))
    link = sqlite3.connect(
        name.with_name(f"{name.name}.limits"),
        timeout=REDIS_PATIENCE_S,
        isolation_level=None,  # each statement commits by itself
        check_same_thread=False,
    )
    # After a power cut the counts may be old, and that costs nobody anything.
    for word in ("PRAGMA journal_mode=WAL", "PRAGMA synchronous=OFF"):
        link.execute(word)
    link.execute(_statement(MAKE, "sqlite", fixed=False))
    return link


_OPEN: dict[str, Callable[[], Any]] = {
    "postgresql": _open_postgresql,
    "sqlite": _open_sqlite,
}


@cache
def _errors() -> tuple[type[Exception], ...]:
    if connection.vendor != "postgresql":
        return (sqlite3.Error,)
    import psycopg

    return (psycopg.Error,)


@cache
def _database() -> DatabaseLimits:
    return DatabaseLimits()


def close() -> None:
    """Let the connection to the database go: before it is dropped, or before a fork."""
    _database().close()
