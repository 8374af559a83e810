"""Tables of tenants get their policy and composite keys when they are made; none can forget it."""

from __future__ import annotations

import re
from contextlib import ExitStack
from typing import Any, Final, Self

from django.core.management.base import CommandError
from django.db import models, transaction
from django.db.backends.ddl_references import Columns, Statement, Table
from django.db.backends.postgresql import schema

from agenticos import scope

POLICY: Final = "tenant_isolation"
# No missing_ok and no NULLIF: a statement outside any scope must fail, not come back empty.
CONDITION: Final = "tenant_id = current_setting('app.tenant_id')::bigint"
SHOWN: Final = 10  # rows that are named when a composite key cannot stand
_ROWS = re.compile(r"\s*(SELECT|INSERT|UPDATE|DELETE|WITH)\b", re.IGNORECASE)
_REFERS = re.compile(
    r'\s*ALTER TABLE "([^"]+)".*?\bREFERENCES "([^"]+)"', re.IGNORECASE | re.DOTALL
)


def is_tenants(model: Any) -> bool:
    """Whether the rows of a model, also of a migration's, belong to tenants."""
    for field in model._meta.local_concrete_fields:
        if field.name == "tenant" and isinstance(field, models.ForeignKey):
            target = field.remote_field.model
            label = target if isinstance(target, str) else target._meta.label_lower
            return bool(label.lower() == "tenants.tenant")
    return False


def references(model: Any) -> list[Any]:
    """The foreign keys of a tenant's table that lead to a tenant's table."""
    return [field for field in model._meta.local_concrete_fields if _is_tie(model, field)]


def _is_tie(model: Any, field: Any) -> bool:
    return (
        isinstance(field, models.ForeignKey)
        and field.name != "tenant"
        and is_tenants(model)
        and is_tenants(field.remote_field.model)
    )


class DatabaseSchemaEditor(schema.DatabaseSchemaEditor):
    """Writes policies; runs the data part of migrations in the system scope, the DDL outside any.

    The owner makes tables; `app_system` sees all rows and owns nothing. Between two tenants' tables
    a composite key stands for Django's plain one: who has both checks each row twice.
    """

    # A key within ADD COLUMN would be the plain one, whatever `_create_fk_sql` says.
    sql_create_column_inline_fk = None  # type: ignore[assignment]  # what the base class says, too

    def __enter__(self) -> Self:
        self._scopes = ExitStack()
        self._scopes.enter_context(scope.as_system("migration"))
        try:
            return super().__enter__()
        except BaseException:
            self._scopes.close()
            raise

    def __exit__(self, *error: Any) -> None:
        with self._scopes:
            super().__exit__(*error)

    def execute(self, sql: Any, params: Any = ()) -> None:
        text = str(sql)
        if _ROWS.match(text):
            super().execute(sql, params)
            return
        with scope.as_nobody():
            found = None if self.collect_sql else _REFERS.match(text)
            if found:
                self._refer(set(found.groups()), sql, params)
            else:
                super().execute(sql, params)

    def _refer(self, tables: set[str], sql: Any, params: Any) -> None:
        """Add a foreign key: its check of the rows there must not be bound by policies."""
        with transaction.atomic(using=self.connection.alias, savepoint=False):
            with self.connection.cursor() as cursor:
                cursor.execute(
                    "SELECT relname FROM pg_class WHERE relname = ANY(%s) AND relforcerowsecurity "
                    "AND pg_table_is_visible(oid) ORDER BY relname",
                    [sorted(tables)],
                )
                forced = [row[0] for row in cursor.fetchall()]
            for table in forced:
                super().execute(self._force_sql(table, "NO FORCE"))
            super().execute(sql, params)
            for table in forced:
                super().execute(self._force_sql(table, "FORCE"))

    def _force_sql(self, table: str, verb: str) -> str:
        return f"ALTER TABLE {self.quote_name(table)} {verb} ROW LEVEL SECURITY"

    def create_model(self, model: type[models.Model]) -> None:
        super().create_model(model)
        if is_tenants(model):
            self.guard(model._meta.db_table)

    def _create_fk_sql(self, model: Any, field: Any, suffix: str) -> Any:
        if _is_tie(model, field):
            return self.tie_sql(model, field)
        return super()._create_fk_sql(model, field, suffix)  # type: ignore[misc]  # the stubs do not know it

    def models_of_tenants(self, apps: Any) -> list[Any]:
        """The models whose rows belong to tenants, for migrations; in the order of their tables."""
        return sorted(
            filter(is_tenants, apps.get_models()), key=lambda model: str(model._meta.db_table)
        )

    def tie_name(self, model: Any, field: Any) -> str:
        """The name of a reference's composite key."""
        return str(
            self._create_index_name(  # type: ignore[attr-defined]  # the stubs do not know it
                model._meta.db_table, ["tenant_id", field.column], suffix="_tenant_fk"
            )
        )

    def tie_sql(self, model: Any, field: Any) -> Statement:
        """A reference's composite key: it leads to a row of the same tenant, or nowhere.

        Checked at the commit, as Django's own keys are, whose collector deletes in any order.
        """
        table, target = model._meta.db_table, field.remote_field.model._meta.db_table
        return Statement(
            "ALTER TABLE %(table)s ADD CONSTRAINT %(name)s FOREIGN KEY (%(columns)s) "
            "REFERENCES %(to_table)s (%(to_columns)s) DEFERRABLE INITIALLY DEFERRED",
            table=Table(table, self.quote_name),
            name=self.quote_name(self.tie_name(model, field)),
            columns=Columns(table, ["tenant_id", field.column], self.quote_name),
            to_table=Table(target, self.quote_name),
            to_columns=Columns(target, ["tenant_id", field.target_field.column], self.quote_name),
        )

    def tie(self, model: Any) -> None:
        """Add those composite keys that a table has not got.

        Raises CommandError with the rows that lead to another tenant's, if there are any.
        """
        for field in references(model):
            with self.connection.cursor() as cursor:
                cursor.execute(
                    "SELECT 1 FROM pg_constraint WHERE conrelid = %s::regclass AND conname = %s",
                    [self.quote_name(model._meta.db_table), self.tie_name(model, field)],
                )
                missing = cursor.fetchone() is None
            if missing:
                self._refuse_crossing(model, field)
                self.execute(self.tie_sql(model, field))

    def _refuse_crossing(self, model: Any, field: Any) -> None:
        """Name the rows that a composite key could not stand on; PostgreSQL would name a pair."""
        table = model._meta.db_table
        mine, theirs = map(self.quote_name, (table, field.remote_field.model._meta.db_table))
        column = self.quote_name(field.column)
        with self.connection.cursor() as cursor:
            cursor.execute(
                f"SELECT m.id, m.tenant_id, m.{column}, t.tenant_id FROM {mine} m "  # noqa: S608  # names quoted, a bound of ours
                f"JOIN {theirs} t ON t.{self.quote_name(field.target_field.column)} = m.{column} "
                f"WHERE t.tenant_id <> m.tenant_id ORDER BY m.id LIMIT {SHOWN + 1}"
            )
            found = cursor.fetchall()
        if not found:
            return
        rows = "; ".join(
            f"id {pk} of tenant {tenant} has {field.column} {target} of tenant {other}"
            for pk, tenant, target, other in found[:SHOWN]
        )
        more = " and more" if len(found) > SHOWN else ""
        raise CommandError(
            f"{table}: rows lead to a row of another tenant: {rows}{more}. "
            "Correct or delete them, then migrate again; nothing was changed."
        )

    def drop_plain_keys(self, model: Any) -> None:
        """Take away what Django made beside the composite keys before it knew of these."""
        for field in references(model):
            for name in self._plain_keys(model, field):
                self.execute(self._delete_fk_sql(model, name))  # type: ignore[attr-defined]  # the stubs do not know it

    def restore_plain_keys(self, model: Any) -> None:
        """Have both again."""
        for field in references(model):
            if not self._plain_keys(model, field):
                suffix = "_fk_%(to_table)s_%(to_column)s"
                self.execute(super()._create_fk_sql(model, field, suffix))  # type: ignore[misc]  # the same

    def _plain_keys(self, model: Any, field: Any) -> list[str]:
        return list(self._constraint_names(model, [field.column], foreign_key=True))  # type: ignore[attr-defined]  # the same

    def untie(self, model: Any) -> None:
        """Take the composite keys away."""
        for field in references(model):
            self.execute(
                f"ALTER TABLE {self.quote_name(model._meta.db_table)} "
                f"DROP CONSTRAINT IF EXISTS {self.quote_name(self.tie_name(model, field))}"
            )

    def guard(self, table: str) -> None:
        """Bind everybody but `app_system`, the owner as well, to the rows of the tenant in force.

        Does nothing where the policy is there already.
        """
        name = self.quote_name(table)
        self.execute(f"ALTER TABLE {name} ENABLE ROW LEVEL SECURITY")
        self.execute(self._force_sql(table, "FORCE"))
        self.execute(f"DROP POLICY IF EXISTS {POLICY} ON {name}")
        self.execute(
            f"CREATE POLICY {POLICY} ON {name} USING ({CONDITION}) WITH CHECK ({CONDITION})"
        )

    def unguard(self, table: str) -> None:
        """Take the policy away."""
        name = self.quote_name(table)
        self.execute(f"DROP POLICY IF EXISTS {POLICY} ON {name}")
        self.execute(self._force_sql(table, "NO FORCE"))
        self.execute(f"ALTER TABLE {name} DISABLE ROW LEVEL SECURITY")
