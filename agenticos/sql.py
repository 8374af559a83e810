"""The SQL that the ORM cannot say, once for PostgreSQL and SQLite.

Raw SQL lives here, in `campaigns/{ledger,settling}.py`, `leads/whatif*.py`, the benchmarks,
`agenticos/sharding.py` and `integrations/actions.py` only; parameters are always bound.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime
from functools import lru_cache
from typing import Any, Final

import orjson
from django.db import DEFAULT_DB_ALIAS, DataError, connection, connections, models

from agenticos import scope


def update_many(
    model: type[models.Model],
    columns: Sequence[str],
    rows: Iterable[Sequence[Any]],
    *,
    guard: str = "",
    params: Sequence[Any] = (),
    blind: bool = False,
    hopeful: bool = False,
) -> set[int]:
    """Give each row its own values in one statement; return the ids that were changed.

    In a block of `one_trip` an answer would be waited for: with `blind` it is not wanted (and
    empty); with `hopeful` it is taken to be all rows, which the database makes sure of.

    `columns` are attribute names, the first of them the key that finds the row (usually `id`);
    `rows` hold a value for each: numbers, text, aware times or None. `guard` is an SQL condition
    on the table `t` and the values `v.<column>` that must also hold, with `params`.
    """
    rows = list(rows)
    if not rows:
        return set()
    vendor = connection.vendor
    sql = _update_sql(model, tuple(columns), guard, vendor)
    # All values travel as one JSON parameter, so nothing is bound cell by cell. Of that the
    # planner cannot know how many rows it holds, and would read the whole table: so the keys are
    # named a second time.
    table = _as_json(rows, _plain)
    keys = [row[0] for row in rows]
    if vendor == "postgresql":
        values = [table, keys, *params]
    else:
        sql = sql.replace("<keys>", ", ".join(["%s"] * len(keys)))
        values = [table, *keys, *params]
    if blind:
        run(sql, values)
        return set()
    hope = [(key,) for key in keys] if hopeful else None
    return {row[0] for row in fetch(sql, values, hope=hope)}


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
        source = f"(SELECT {cells} FROM jsonb_array_elements(CAST(%s AS jsonb)) AS r(value)) AS v"
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
        f"AND t.{quote(fields[0].column)} "
        + ("= ANY(CAST(%s AS bigint[]))" if vendor == "postgresql" else "IN (<keys>)")
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
    unique: Sequence[str] = (),
    update: Sequence[str] = (),
    add: Sequence[str] = (),
    keep: Sequence[str] = (),
    constants: Mapping[str, Any] | None = None,
    returning: Sequence[str] = (),
) -> list[tuple[Any, ...]]:
    """Insert rows of the tenant in scope in one statement; return `returning` of those written.

    `columns` are attribute names, `constants` hold for all rows. Where `unique` exists already,
    the columns `update` are set, the numbers `add` are added to what is there, and the columns
    `keep` are set where there is nothing; with none of them that row is left alone. Without
    `unique` all rows must be new, and need not be looked for first: one that is there is an
    IntegrityError. All rows
    travel as one JSON parameter: the databases take it apart several times faster than thousands
    of parameters, and there is no limit on their number. With nothing to return, nobody waits for
    it in a block of `one_trip`.
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
    table = quote(model._meta.db_table)
    settings_ = ", ".join(
        [
            *(f"{name} = excluded.{name}" for name in map(quote, update)),
            *(f"{name} = {table}.{name} + excluded.{name}" for name in map(quote, add)),
            *(f"{name} = COALESCE({table}.{name}, excluded.{name})" for name in map(quote, keep)),
        ]
    )
    sql = (
        f"INSERT INTO {table} "
        f"({', '.join(map(quote, [*fixed, *columns]))}) "
        f"SELECT {', '.join([*held, *cells])} FROM {source}"
    )
    if unique:
        sql += (
            f" ON CONFLICT ({', '.join(map(quote, unique))}) "
            f"DO {f'UPDATE SET {settings_}' if settings_ else 'NOTHING'}"
        )
    params = [*values, _as_json(list(rows), str)]
    if not returning:
        run(sql, params)
        return []
    return fetch(f"{sql} RETURNING {', '.join(map(quote, returning))}", params)


def new_ids(model: type[models.Model], count: int) -> list[int]:
    """Take ids for rows that are to be inserted with them; in a transaction.

    So other rows can refer to them before anybody has heard of their insertion.
    """
    table = model._meta.db_table
    if connection.vendor == "postgresql":
        rows = fetch(
            "WITH s AS MATERIALIZED (SELECT pg_get_serial_sequence(%s, 'id')::regclass AS name) "
            "SELECT nextval(s.name) FROM s, generate_series(1, %s)",
            [table, count],
        )
        return [row[0] for row in rows]
    # One writer at a time: nobody else counts on meanwhile.
    last = fetch("SELECT seq FROM sqlite_sequence WHERE name = %s", [table])
    first = last[0][0] + 1 if last else 1
    return list(range(first, first + count))


_JSON: Final = {
    "postgresql": orjson.OPT_NON_STR_KEYS,  # which reads times as orjson spells them
    "sqlite": orjson.OPT_NON_STR_KEYS | orjson.OPT_PASSTHROUGH_DATETIME,
}


def _as_json(rows: Sequence[Any], plain: Callable[[Any], str]) -> str:
    """Rows as one JSON array; `plain` spells what JSON has no kind for, on SQLite times as well."""
    return orjson.dumps(rows, default=plain, option=_JSON[connection.vendor]).decode()


@models.Field.register_lookup
class AnyOf(models.Lookup):  # type: ignore[type-arg]  # generic in the stubs alone
    """`column__any_of=values`: what `in` finds, but all values travel as one parameter.

    A thousand of them take longer to be named one by one than to be found.
    """

    lookup_name = "any_of"

    def get_prep_lookup(self) -> list[Any]:
        field = self.lhs.output_field
        return [field.get_prep_value(value) for value in self.rhs]

    def as_postgresql(self, compiler: Any, connection: Any) -> tuple[str, list[Any]]:
        column, params = self.process_lhs(compiler, connection)
        return f"{column} = ANY(%s)", [*params, self.rhs]

    def as_sql(self, compiler: Any, connection: Any) -> tuple[str, list[Any]]:
        column, params = self.process_lhs(compiler, connection)
        return f"{column} IN (SELECT value FROM json_each(%s))", [*params, _as_json(self.rhs, str)]


class Disappointed(Exception):
    """An answer inside `one_trip` was not what was hoped for; the transaction must be undone."""


# What PostgreSQL's log says of it, as the text of a number that is none.
_NOT_AS_HOPED: Final = "not as hoped: a stop, another worker or a suppression came first"
# The cursor of the trip under way.
_trip: ContextVar[Any] = ContextVar("trip", default=None)


@contextmanager
def one_trip(*, commits: bool = False) -> Iterator[None]:
    """Send the statements of a transaction one after the other without waiting for answers.

    Each answer costs a trip to the database and back, more than most statements themselves. Who
    knows the likely answer goes on with it (`hope`, `hopeful`); the database makes sure of it, and
    Disappointed is raised when one differs, at the latest where the block ends: undo, and go step
    by step. A block within another is part of its trip. SQLite has no trips: there all answers
    are real at once.

    With `commits`, the block is all of its transaction, and COMMIT travels with it; in a test's
    transaction or another outer one nothing is committed before that ends.
    """
    if connection.vendor != "postgresql" or _trip.get() is not None:
        yield
        return
    link: Any = connections[DEFAULT_DB_ALIAS]
    cursor = _cursor()
    mark = _trip.set(cursor)
    try:
        with cursor, link.wrap_database_errors, link.connection.pipeline():
            link.apply_scope()
            yield
            if commits and link.in_atomic_block and not link.savepoint_ids:
                link.commit_on_the_way()
    except DataError as error:
        if _NOT_AS_HOPED in str(error):
            raise Disappointed from None
        raise
    finally:
        _trip.reset(mark)


def _made_sure(
    sql: str, params: Sequence[Any], hope: Sequence[tuple[Any, ...]]
) -> tuple[str, list[Any]]:
    """The statement, answering nothing, but an error unless its answer is `hope`, in any order.

    Hopes consist of numbers, truth values, single words and None, as records spell them.
    """
    records = [f"({','.join(map(_in_record, row))})" for row in hope]
    return (
        f"WITH found AS ({sql}) SELECT CAST(CASE WHEN count(*) = %s "
        "AND COALESCE(bool_and(CAST(found AS text) = ANY(CAST(%s AS text[]))), true) "
        f"THEN '1' ELSE '{_NOT_AS_HOPED}' END AS int) FROM found",
        [*params, len(records), records],
    )


def _in_record(value: Any) -> str:
    if value is None:
        return ""
    return str(value).lower()[0] if isinstance(value, bool) else str(value)


def _cursor() -> Any:
    """A cursor of Django's; on PostgreSQL one whose statements are planned once, not every time.

    Django's own binds values on the client, so each statement is a new one to the server. How
    often a statement comes before it is prepared: `prepare_threshold` in the settings.
    """
    link = connections[DEFAULT_DB_ALIAS]  # looked up once: `connection` does so at every dot
    if link.vendor != "postgresql":
        return link.cursor()
    from psycopg import Cursor  # SQLite's machines have no libpq

    link.ensure_connection()
    wrap = link.make_debug_cursor if link.queries_logged else link.make_cursor
    return wrap(Cursor(link.connection))  # type: ignore[arg-type]  # stubs name the wrapper


def run(sql: str, params: Sequence[Any]) -> None:
    """Run a statement whose answer nobody wants; inside `one_trip` nobody waits for it either."""
    under_way = _trip.get()
    if under_way is not None:
        under_way.execute(sql, params)
        return
    with _cursor() as cursor:
        cursor.execute(sql, params)


def fetch(
    sql: str, params: Sequence[Any], *, hope: Sequence[tuple[Any, ...]] | None = None
) -> list[tuple[Any, ...]]:
    """Run a statement that answers with rows; inside `one_trip`, `hope` is taken as the answer."""
    if hope is not None and _trip.get() is not None:
        run(*_made_sure(sql, params, hope))
        return list(hope)
    with _cursor() as cursor:
        cursor.execute(sql, params)
        rows: list[tuple[Any, ...]] = cursor.fetchall()
        return rows


def check_references_now() -> None:
    """Have references checked by each statement for the rest of the transaction, not at its end.

    At the end nobody has anything else to do meanwhile. SQLite knows no such order.
    """
    if connection.vendor == "postgresql":
        run("SET CONSTRAINTS ALL IMMEDIATE", [])


def distinct_values(model: type[models.Model], column: str, limit: int) -> list[str]:
    """The first `limit` values that a column of text has in the tenant in scope, in order.

    Each is looked up after the one before it, so with an index on (tenant, column) the cost
    follows the number of values and not that of the rows.
    """
    quote = connection.ops.quote_name
    table, name = quote(model._meta.db_table), quote(column)
    least = f"(SELECT MIN({name}) FROM {table} WHERE tenant_id = %s"
    sql = (
        f"WITH RECURSIVE found(value) AS (SELECT {least}) UNION ALL "
        f"SELECT {least} AND {name} > found.value) FROM found WHERE found.value IS NOT NULL) "
        "SELECT value FROM found WHERE value IS NOT NULL LIMIT %s"
    )
    tenant = scope.tenant_id()
    return [str(value) for (value,) in fetch(sql, [tenant, tenant, limit])]


def share_lock() -> str:
    """What ends a SELECT to keep its rows from changing until the transaction ends.

    SQLite has one writer at a time, so inside a transaction nothing can change anyway.
    """
    return " FOR SHARE" if connection.vendor == "postgresql" else ""


def update_lock() -> str:
    """What ends a SELECT to keep its rows for this transaction alone."""
    return " FOR UPDATE" if connection.vendor == "postgresql" else ""


def analyse(*tables: type[models.Model]) -> None:
    """Have PostgreSQL look at tables anew, a second or two for a large one. Outside a transaction.

    SQLite plans without it.
    """
    if connection.vendor == "postgresql":
        run("SELECT app_analyse(%s)", [[table._meta.db_table for table in tables]])


def grown(before: int, after: int, *tables: type[models.Model]) -> None:
    """Have PostgreSQL look at tables anew when one grew past 1 000 rows, 10 000 rows, and so on.

    Autovacuum does so within a minute. A large import is over by then, and was planned for empty
    tables: each key that is checked would read all of the tenant. Outside a transaction.
    """
    if before < _power_of_ten(after) <= after:
        analyse(*tables)


def grown_lately(*tables: type[models.Model]) -> None:
    """`grown` for whoever does not know how many rows there were before: a call of many.

    A table is analysed anew when as many rows were written since the last time as it had then,
    and at least 1 000, by PostgreSQL's own statistics; they are a second behind. Outside a
    transaction.
    """
    if connection.vendor != "postgresql":
        return
    found = fetch(
        "SELECT s.relname::text FROM pg_stat_user_tables AS s "
        "JOIN pg_class AS c ON c.oid = s.relid "
        "WHERE s.schemaname = current_schema() AND s.relname = ANY(%s) "
        "AND s.n_mod_since_analyze > GREATEST(1000, c.reltuples)",
        [[table._meta.db_table for table in tables]],
    )
    names = {name for (name,) in found}
    if names:
        analyse(*(table for table in tables if table._meta.db_table in names))


def _power_of_ten(count: int) -> int:
    """The largest power of ten up to `count`, at least 1 000."""
    return max(int(10 ** (len(str(count)) - 1)), 1_000)


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
    with _cursor() as cursor:
        cursor.execute("SELECT current_setting('lock_timeout')")
        before = cursor.fetchone()[0]
        cursor.execute("SELECT set_config('lock_timeout', %s, true)", [f"{round(seconds * 1000)}"])
    yield
    with _cursor() as cursor:
        cursor.execute("SELECT set_config('lock_timeout', %s, true)", [before])
