"""Whether the keys of tenants' tables would let them be spread over servers by tenant (Citus).

There every primary and unique key has to carry the column that rows are spread by. Today's
primary keys are `id` alone, since Django's relations go by one column; beside each stands a
UNIQUE (tenant_id, id), so they can be swapped. This reads the catalogue and says which keys do
not carry the tenant and why that is allowed, and has the statements of the swap.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from agenticos import sql

# Keys that have to hold over all tenants, with the reason.
ACROSS_TENANTS: Final[dict[tuple[str, tuple[str, ...]], str]] = {
    ("integrations_connection", ("kind", "external_id")): (
        "an external account answers to one tenant: over servers a table of its own, not spread"
    ),
    ("tenants_apikey", ("public_id",)): (
        "a key is found before its tenant is known: over servers a table of its own, not spread"
    ),
}


@dataclass(frozen=True, slots=True)
class Key:
    """A primary or unique key of a tenant's table: is the tenant in it, and if not, why not yet.

    `excuse` is empty where the tenant is in it, and where its absence is a mistake. `swap` are the
    statements that bring the tenant in.
    """

    table: str
    name: str
    columns: tuple[str, ...]
    excuse: str = ""
    swap: tuple[str, ...] = ()

    @property
    def carries_the_tenant(self) -> bool:
        return "tenant_id" in self.columns

    @property
    def is_wrong(self) -> bool:
        return not self.carries_the_tenant and not self.excuse


# Every unique index of a table that has a column tenant_id: table, index, is it primary, is it a
# constraint's, its columns in order (none for an expression).
_KEYS: Final = """
SELECT c.relname, i.relname, x.indisprimary, k.conname IS NOT NULL,
    array_agg(COALESCE(a.attname, '') ORDER BY u.place)
FROM pg_index x
JOIN pg_class c ON c.oid = x.indrelid
JOIN pg_class i ON i.oid = x.indexrelid
LEFT JOIN pg_constraint k ON k.conindid = i.oid AND k.conrelid = c.oid AND k.contype IN ('p', 'u')
CROSS JOIN LATERAL unnest(x.indkey::smallint[]) WITH ORDINALITY AS u(attnum, place)
LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = u.attnum AND u.attnum > 0
WHERE x.indisunique AND c.relkind IN ('r', 'p')
    AND c.relnamespace = current_schema()::regnamespace
    AND EXISTS (SELECT FROM pg_attribute t WHERE t.attrelid = c.oid AND t.attname = 'tenant_id')
GROUP BY 1, 2, 3, 4 ORDER BY 1, 2
"""
# Composite foreign keys: table, its columns.
_COMPOSITE: Final = """
SELECT k.conrelid::regclass::text, array_agg(a.attname ORDER BY u.place)
FROM pg_constraint k
CROSS JOIN LATERAL unnest(k.conkey) WITH ORDINALITY AS u(attnum, place)
JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = u.attnum
WHERE k.contype = 'f' AND k.connamespace = current_schema()::regnamespace
    AND cardinality(k.conkey) = 2
GROUP BY k.oid, 1
"""


def unique_keys() -> Iterator[Key]:
    """Every primary and unique key of every tenant's table, by table and name."""
    found = [
        (str(table), str(name), bool(primary), bool(constraint), tuple(columns))
        for table, name, primary, constraint, columns in sql.fetch(_KEYS, [])
    ]
    unique = {(table, columns) for table, _, _, _, columns in found}
    composite = {(str(table), tuple(columns)) for table, columns in sql.fetch(_COMPOSITE, [])}
    for table, name, primary, constraint, columns in found:
        if "tenant_id" in columns:
            yield Key(table, name, columns)
        elif primary and (table, ("tenant_id", *columns)) in unique:
            swap = f'ALTER TABLE {table} DROP CONSTRAINT "{name}", ADD PRIMARY KEY (tenant_id, id);'
            yield Key(
                table,
                name,
                columns,
                "Django's relations go by one column; UNIQUE (tenant_id, id) stands beside it",
                (swap,),
            )
        elif len(columns) == 1 and (table, ("tenant_id", *columns)) in composite:
            drop = f'ALTER TABLE {table} DROP CONSTRAINT "{name}"'
            if not constraint:
                drop = f'DROP INDEX "{name}"'
            there = (table, ("tenant_id", *columns)) in unique
            add = f"ALTER TABLE {table} ADD UNIQUE (tenant_id, {columns[0]});"
            yield Key(
                table,
                name,
                columns,
                "one row per row of another table, whose composite key brings the tenant along",
                (f"{drop};",) if there else (f"{drop};", add),
            )
        else:
            yield Key(table, name, columns, ACROSS_TENANTS.get((table, columns), ""))
