"""Many rows in little time: copies of rows that the code itself has written, made by PostgreSQL.

What is measured on a million rows is what happens to them, so they need not come in one by one.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Final

from django.db import connection, models, transaction

from agenticos import scope, sql
from agenticos.bench import preview
from agenticos.bench.stage import Stage

BUILT: Final = 20_000  # leads that the code itself writes; the others are copies
SPAN: Final = 100_000_000  # between the ids of a row and those of its copies


def leads(stage: Stage, n: int) -> None:
    """A tenant with `n` scored leads, of which at most BUILT differ; then all tables are analysed.

    Above BUILT, `n` is rounded down to a multiple of it.
    """
    from leads.models import Lead, LeadFacts, LeadScore

    preview.build(stage, min(n, BUILT))
    if n > BUILT:
        clone(
            [Lead, LeadFacts, LeadScore],
            stage.tenant.pk,
            n // BUILT - 1,
            tenants=False,
            changed={(Lead, "handle"): "t.handle || '-' || k.k"},
        )
    stage.settle_down()


def clone(
    kinds: Collection[type[models.Model]],
    tenant_id: int,
    copies: int,
    *,
    tenants: bool,
    changed: Mapping[tuple[type[models.Model], str], str],
) -> None:
    """Copy all rows of some models of a tenant, `copies` times.

    With `tenants` the k-th copy belongs to the tenant of id `tenant_id + k`, which must be there;
    else all stay with theirs. References between copied models lead to the copy. `changed` says
    in SQL, with the number of the copy as `k.k`, what must differ because it is unique.
    """
    if connection.vendor != "postgresql":
        raise RuntimeError("a million rows are made on PostgreSQL; name a server of it")
    with scope.as_system("copies of a stage's rows"), transaction.atomic():
        for kind in kinds:
            columns = [_column(field, kinds, tenants, changed) for field in _fields(kind)]
            table = connection.ops.quote_name(kind._meta.db_table)
            names = ", ".join(connection.ops.quote_name(f.column) for f in _fields(kind))
            sql.run(
                f"INSERT INTO {table} ({names}) SELECT {', '.join(columns)} FROM {table} AS t "
                "CROSS JOIN generate_series(1, CAST(%s AS bigint)) AS k(k) WHERE t.tenant_id = %s",
                [copies, tenant_id],
            )


def _fields(kind: type[models.Model]) -> list[models.Field[Any, Any]]:
    return list(kind._meta.concrete_fields)


def _column(
    field: models.Field[Any, Any],
    kinds: Collection[type[models.Model]],
    tenants: bool,
    changed: Mapping[tuple[type[models.Model], str], str],
) -> str:
    column = f"t.{connection.ops.quote_name(field.column)}"
    if told := changed.get((field.model, field.name)):
        return told
    if field.name == "tenant":
        return f"{column} + k.k" if tenants else column
    own = field.primary_key or (field.is_relation and field.related_model in kinds)
    return f"{column} + k.k * {SPAN}" if own else column
