"""Rows that are written once: the models of the audit trail refuse to change or lose one.

This keeps honest code honest. Who writes SQL of their own is found by the chain instead, see
tenants/sealing.py. A tenant that is deleted as a whole takes its trail along.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, ClassVar, TypeVar

from django.db import models

from tenants.owned import ScopedManager, TenantOwned, TenantQuerySet

logger = logging.getLogger(__name__)

M = TypeVar("M", bound="AppendOnly")


class AppendOnlyError(RuntimeError):
    """A row that is written once was to be changed or deleted."""


_reason: ContextVar[str] = ContextVar("altering", default="")


@contextmanager
def altering(reason: str) -> Iterator[None]:
    """Let rows be changed or deleted for `reason`, which goes to the log: retention and erasure."""
    logger.info("audit.altering", extra={"reason": reason})
    token = _reason.set(reason)
    try:
        yield
    finally:
        _reason.reset(token)


def _refuse(model: type[models.Model]) -> None:
    if not _reason.get():
        raise AppendOnlyError(f"Rows of {model._meta.label} are written once.")


class AppendOnlyQuerySet(TenantQuerySet[M]):
    """A queryset that adds and reads."""

    def update(self, **values: Any) -> int:
        # What the model names as no part of a row's truth may change at any time.
        if not all(
            name in self.model.MARKS and value in self.model.MARKS[name]
            for name, value in values.items()
        ):
            _refuse(self.model)
        return super().update(**values)

    def delete(self) -> tuple[int, dict[str, int]]:
        _refuse(self.model)
        return super().delete()

    def bulk_update(self, objs: Iterable[M], *args: Any, **kwargs: Any) -> int:
        _refuse(self.model)
        return super().bulk_update(objs, *args, **kwargs)

    def bulk_create(self, objs: Iterable[M], *args: Any, **kwargs: Any) -> list[M]:
        if kwargs.get("update_conflicts"):
            _refuse(self.model)
        return super().bulk_create(objs, *args, **kwargs)


class AppendOnly(TenantOwned):
    """A tenant's row that `save` only inserts. Changes and deletions raise AppendOnlyError."""

    # Fields that are no part of the row's truth, with the values they may be given.
    MARKS: ClassVar[dict[str, tuple[Any, ...]]] = {}

    objects = ScopedManager.from_queryset(AppendOnlyQuerySet)()  # type: ignore[assignment,misc]  # made while running

    class Meta(TenantOwned.Meta):
        abstract = True

    def save(self, *args: Any, **kwargs: Any) -> None:
        if not _reason.get():
            if not self._state.adding:
                _refuse(type(self))
            kwargs["force_insert"] = True  # an id that is taken is no reason to overwrite its row
        super().save(*args, **kwargs)

    def delete(self, *args: Any, **kwargs: Any) -> tuple[int, dict[str, int]]:
        _refuse(type(self))
        return super().delete(*args, **kwargs)
