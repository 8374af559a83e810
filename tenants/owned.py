"""What every row of a tenant has in common: its tenant, and a manager that refuses.

The manager adds one condition to every query, and that condition reads the scope when the SQL is
compiled. So a queryset may be built anywhere (a `ModelForm` builds one at import), and is answered
only inside a scope: with one tenant's rows, or with all rows in the system scope.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Self, TypeVar

from django.db import models
from django.db.models.expressions import F, Func

from agenticos import scope

M = TypeVar("M", bound="TenantOwned")


class InScope(Func):
    """True for the rows that the scope in force allows. Raises NoTenant outside any scope."""

    output_field = models.BooleanField()
    conditional = True

    def __init__(self, *expressions: Any, **extra: Any) -> None:
        super().__init__(*(expressions or (F("tenant_id"),)), **extra)

    def as_sql(self, compiler: Any, connection: Any, **extra: Any) -> tuple[str, tuple[Any, ...]]:  # type: ignore[override]  # Q's own hook
        now = scope.required()
        if now.is_system:
            return "1 = 1", ()
        column, params = compiler.compile(self.source_expressions[0])
        return f"{column} = %s", (*params, now.tenant_id)


class TenantQuerySet(models.QuerySet[M]):
    """A queryset whose writes also keep to the scope."""

    def bulk_create(self, objs: Iterable[M], *args: Any, **kwargs: Any) -> list[M]:
        rows = list(objs)
        for row in rows:
            row.take_tenant()
        return super().bulk_create(rows, *args, **kwargs)


class ScopedManager(models.Manager[M]):
    """Adds the scope to every query; `ScopedManager.from_queryset(…)` makes a model's manager."""

    def get_queryset(self) -> models.QuerySet[M]:
        return super().get_queryset().filter(InScope())


TenantManager = ScopedManager.from_queryset(TenantQuerySet)


class TenantOwned(models.Model):
    """A row that belongs to one tenant. Unique (tenant, id), for composite foreign keys.

    That constraint is an index by tenant already, so the foreign key has none of its own.
    """

    tenant = models.ForeignKey(
        "tenants.Tenant", on_delete=models.CASCADE, related_name="+", db_index=False
    )

    objects: models.Manager[Self] = TenantManager()

    class Meta:
        abstract = True
        base_manager_name = "objects"
        constraints = [
            models.UniqueConstraint(
                fields=["tenant", "id"], name="%(app_label)s_%(class)s_tenant_id"
            )
        ]

    def take_tenant(self) -> None:
        """Take the tenant of the scope if the row has none.

        Raises NoTenant outside any scope, WrongTenant when the row belongs to another tenant.
        """
        now = scope.required()
        if now.is_system:
            return
        if not self.tenant_id:
            self.tenant_id = scope.tenant_id()
        elif self.tenant_id != now.tenant_id:
            raise scope.WrongTenant(f"A {type(self).__name__} of another tenant was to be saved.")

    def save(self, *args: Any, **kwargs: Any) -> None:
        self.take_tenant()
        super().save(*args, **kwargs)
