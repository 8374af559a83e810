"""The SQL that the ORM cannot say, once for PostgreSQL and SQLite.

Raw SQL lives here, in `campaigns/{ledger,settling}.py` and `integrations/actions.py` only;
parameters are always bound.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime
from functools import lru_cache
from typing import Any

from django.db import connection, models

from agenticos import scope


def update_many(
    model: type[models.Model],
    columns: Sequence[str],
    rows: Iterable[Sequence[Any]],
    *,
    guard: str = "",
    params: Sequence[Any] = (),
    blind: bool = False,
) -> set[int]:
    """Give each row its own values in one statement; return the ids that were changed.

    With `blind` the answer is not wanted (and empty), so the statement may go `together` with
    others.

    `columns` are attribute names, the first of them the key that finds the row (usually `id`);
    `rows` hold a value for each: numbers, text, aware times or None. `guard` is an SQL condition
    on the table `t` and the values `v.<column>` that must also hold, with `params`.
    """
    rows = list(rows)
    if not rows:
        return set()
    sql = _update_sql(model, tuple(columns), guard, connection.vendor)
    # All values travel as one JSON parameter, so nothing is bound cell by cell. Of that the
    # planner cannot know how many rows it holds, and would read the whole table: so the keys are
    # named a second time.
    table = json.dumps(rows, default=_plain, ensure_ascii=False)
    keys = [row[0] for row in rows]
    sql = sql.replace("<keys>", ", ".join(["%s"] * len(keys)))
    if blind:
        run(sql, [table, *keys, *params])
        return set()
    with connection.cursor() as cursor:
        cursor.execute(sql, [table, *keys, *params])
        return {row[0] for row in cursor.fetchall()}


def moment(value: datetime) -> str:
    """A time as the database's own text: SQLite compares them as text, so its spelling counts."""
    return str(connection.ops.adapt_datetimefield_value(value))


def _plain(value: Any) -> str:
    return moment(value) if isinstance(value, datetime) else str(value)


@lru_cache(maxsize=64)
def _update_sql(
    model: type[models.Model], columns: tuple[str, ...], guard: str, vendor: str
) -> str:
    by_attribute = {field.attname: field for field in model._meta.concrete_fields}
    fields = [by_attribute[name] for name in columns]
    quote = connection.ops.quote_name
    if vendor == "postgresql":
        cells = ", ".join(
            f"CAST(r.value ->> {place} AS {_type(field)}) AS {quote(name)}"
            for place, (name, field) in enumerate(zip(columns, fields, strict=True))
        )
        source = f"(SELECT {cells} FROM json_array_elements(CAST(%s AS json)) AS r(value)) AS v"
    else:
        cells = ", ".join(
            f"json_extract(r.value, '$[{place}]') AS {quote(name)}"
            for place, name in enumerate(columns)
        )
        source = f"(SELECT {cells} FROM json_each(%s) AS r) AS v"
    settings = ", ".join(
        f"{quote(field.column)} = v.{quote(name)}"
        for name, field in zip(columns[1:], fields[1:], strict=True)
    )
    returning = f"t.{quote('id')}" if vendor == "postgresql" else quote("id")
    return (
        f"UPDATE {quote(model._meta.db_table)} AS t SET {settings} FROM {source} "
        f"WHERE t.{quote(fields[0].column)} = v.{quote(columns[0])} "
        f"AND t.{quote(fields[0].column)} IN (<keys>)"
        + (f" AND {guard}" if guard else "")
        + f" RETURNING {returning}"
    )


def _type(field: Any) -> str:
    # The db_type of a serial key is "bigserial"; its values are plain numbers.
    return str(field.rel_db_type(connection) if field.primary_key else field.db_type(connection))


def insert_many(
    model: type[models.Model],
    columns: Sequence[str],
    rows: Collection[Sequence[Any]],
    *,
    unique: Sequence[str],
    update: Sequence[str] = (),
    constants: Mapping[str, Any] | None = None,
    returning: Sequence[str] = ("id",),
) -> list[tuple[Any, ...]]:
    """Insert rows of the tenant in scope in one statement; return `returning` of those written.

    `columns` are attribute names, `constants` hold for all rows. Where `unique` exists already,
    the columns `update` are set; with none of them that row is left alone. All rows travel as one
    JSON parameter: the databases take it apart several times faster than thousands of
    parameters, and there is no limit on their number.
    """
    if not rows:
        return []
    quote = connection.ops.quote_name
    fields: dict[str, Any] = {item.attname: item for item in model._meta.concrete_fields}
    fixed = {"tenant_id": scope.tenant_id(), **(constants or {})}
    values = [fields[name].get_db_prep_save(value, connection) for name, value in fixed.items()]
    if connection.vendor == "postgresql":
        # The type without its length, so that a text too long is an error and not cut.
        kinds = {
            name: str((item.rel_db_type if item.is_relation else item.db_type)(connection))
            for name, item in fields.items()
        }
        kinds = {name: kind.partition("(")[0] for name, kind in kinds.items()}
        held = [f"CAST(%s AS {kinds[name]})" for name in fixed]
        cells = [
            f"v.r->{at}" if kinds[name] == "jsonb" else f"CAST(v.r->>{at} AS {kinds[name]})"
            for at, name in enumerate(columns)
        ]
        source = "jsonb_array_elements(CAST(%s AS jsonb)) WITH ORDINALITY AS v(r, n) ORDER BY v.n"
    else:
        held = ["%s"] * len(fixed)
        cells = [f"json_extract(value, '$[{at}]')" for at in range(len(columns))]
        source = "json_each(%s) WHERE 1"  # without WHERE the parser takes ON for a join's
    settings_ = ", ".join(f"{quote(name)} = excluded.{quote(name)}" for name in update)
    sql = (
        f"INSERT INTO {quote(model._meta.db_table)} "
        f"({', '.join(map(quote, [*fixed, *columns]))}) "
        f"SELECT {', '.join([*held, *cells])} FROM {source} "
        f"ON CONFLICT ({', '.join(map(quote, unique))}) "
        f"DO {f'UPDATE SET {settings_}' if update else 'NOTHING'} "
        f"RETURNING {', '.join(map(quote, returning))}"
    )
    body = json.dumps(list(rows), ensure_ascii=False, separators=(",", ":"), default=str)
    return fetch(sql, [*values, body])


_together: ContextVar[list[tuple[str, Sequence[Any]]] | None] = ContextVar("together", default=None)


@contextmanager
def together() -> Iterator[None]:
    """Send what is `run` inside in one go where the database takes it: one trip, not several."""
    statements: list[tuple[str, Sequence[Any]]] = []
    mark = _together.set(statements if connection.vendor == "postgresql" else None)
    try:
        yield
    finally:
        _together.reset(mark)
    if statements:
        with connection.cursor() as cursor:
            cursor.execute(
                ";\n".join(sql for sql, _ in statements),
                [value for _, params in statements for value in params],
            )


def run(sql: str, params: Sequence[Any]) -> None:
    """Run a statement whose answer nobody wants; inside `together`, a little later."""
    waiting = _together.get()
    if waiting is not None:
        waiting.append((sql, params))
        return
    with connection.cursor() as cursor:
        cursor.execute(sql, params)


def fetch(sql: str, params: Sequence[Any]) -> list[tuple[Any, ...]]:
    """Run a statement that answers with rows."""
    with connection.cursor() as cursor:
        cursor.execute(sql, params)
        rows: list[tuple[Any, ...]] = cursor.fetchall()
        return rows


def share_lock() -> str:
    """What ends a SELECT to keep its rows from changing until the transaction ends.

    SQLite has one writer at a time, so inside a transaction nothing can change anyway.
    """
    return " FOR SHARE" if connection.vendor == "postgresql" else ""


def update_lock() -> str:
    """What ends a SELECT to keep its rows for this transaction alone."""
    return " FOR UPDATE" if connection.vendor == "postgresql" else ""


def mend_connection() -> None:
    """Drop the connection if it broke, so that the next statement opens a new one."""
    if not connection.in_atomic_block:
        connection.close_if_unusable_or_obsolete()


@contextmanager
def waiting_at_most(seconds: float) -> Iterator[None]:
    """Wait no longer than this for locks of others; OperationalError when it ran out.

    For the rest of the transaction in force, unless it ends well: then as before. SQLite waits as
    long as its connection says.
    """
    if connection.vendor != "postgresql":
        yield
        return
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_setting('lock_timeout')")
        before = cursor.fetchone()[0]
        cursor.execute("SELECT set_config('lock_timeout', %s, true)", [f"{round(seconds * 1000)}"])
    yield
    with connection.cursor() as cursor:
        cursor.execute("SELECT set_config('lock_timeout', %s, true)", [before])
