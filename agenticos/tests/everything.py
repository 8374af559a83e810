"""One row of each kind that tenants have, read off the models: a new model is in unnamed."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from django.apps import apps
from django.core.files.base import ContentFile
from django.db import models
from django.utils import timezone

from agenticos import scope
from agenticos.tests.factories import make_user
from leads import scoring
from leads.importing import Dialect
from tenants.models import Tenant, User
from tenants.owned import TenantOwned

Made = dict[type[models.Model], TenantOwned]

# What the type of a field does not say, by model and field.
VALUES: dict[str, Callable[[], Any]] = {
    "leads.IcpVersion.config": lambda: scoring.IcpConfig.from_json({}).to_json(),
    "leads.IcpVersion.number": lambda: 1,
    "leads.IcpVersion.state": lambda: "live",
    "leads.IcpDraft.config": lambda: scoring.IcpConfig.from_json({}).to_json(),
    "leads.LeadScore.breakdown": list,
    "leads.SavedView.shared": lambda: True,
    "leads.LeadImport.file": lambda: ContentFile(b"handle\nana\n", name=f"{uuid.uuid4()}.csv"),
    "leads.LeadImport.dialect": lambda: Dialect("utf-8", ",", False, False).to_json(),
    "leads.LeadImport.state": lambda: "done",
    "leads.ImportProblem.raw": lambda: ["?"],
    "leads.BulkJob.state": lambda: "done",
    "integrations.SyncItem.state": lambda: "failed",
    "campaigns.TestSend.state": lambda: "failed",
    "tenants.ApiKey.scopes": lambda: ["admin"],
    "tenants.Notification.kind": lambda: "campaign.finished",
    "tenants.Notification.params": lambda: {"name": "Spring"},
    "tenants.Membership.role": lambda: "owner",
    "tenants.Membership.custom_role": lambda: None,  # whose name stands in `role`
    "tenants.Invitation.custom_role": lambda: None,
}


def owned_models() -> list[type[TenantOwned]]:
    """Every model whose rows are tenants', those first that others refer to."""
    found = [
        model
        for model in apps.get_models(include_auto_created=True)
        if issubclass(model, TenantOwned)
    ]
    placed: list[type[TenantOwned]] = []
    while waiting := [model for model in found if model not in placed]:
        ready = [model for model in waiting if _needs(model) <= set(placed)]
        if not ready:
            raise TypeError(f"These refer to each other: {waiting}.")
        placed += ready
    return placed


def _needs(model: type[models.Model]) -> set[type[models.Model]]:
    return {
        field.related_model
        for field in _references(model)
        if field.related_model is not model and not field.null
    }


def _fields(model: type[models.Model]) -> Iterable[Any]:
    return model._meta.concrete_fields


def _references(model: type[models.Model]) -> Iterator[Any]:
    for field in _fields(model):
        if field.is_relation and issubclass(field.related_model, TenantOwned):
            yield field


def one_of_each(tenant: Tenant, pk: int) -> Made:
    """A row of every model, all with the id `pk` and referring to each other wherever they can."""
    return _make(tenant, pk, owned_models())


def one_of(model: type[models.Model], tenant: Tenant, pk: int) -> TenantOwned:
    """A row of one model, with the id `pk`, and of those alone that it cannot be without."""
    needed = {model}
    while more := {other for one in needed for other in _needs(one)} - needed:
        needed |= more
    return _make(tenant, pk, [one for one in owned_models() if one in needed])[model]


def _make(tenant: Tenant, pk: int, kinds: Sequence[type[TenantOwned]]) -> Made:
    user = make_user()
    made: Made = {}
    with scope.as_tenant(tenant):
        for model in kinds:
            values = {"id": pk, **dict(_values(model, made, user, pk))}
            row = model(tenant=tenant, **values)
            row.save(force_insert=True)
            made[model] = row
    return made


def _values(model: type[TenantOwned], made: Made, user: User, pk: int) -> Iterator[tuple[str, Any]]:
    for field in _fields(model):
        if field.name in ("id", "tenant"):
            continue
        given = VALUES.get(f"{model._meta.label}.{field.name}")
        if given is not None:
            yield field.name, given()
        elif field.is_relation and field.related_model in made:
            yield field.name, made[field.related_model]
        elif field.is_relation and issubclass(field.related_model, User):
            yield field.name, user
        elif not (field.has_default() or field.has_db_default() or field.null or field.blank):
            yield field.name, _plain(field, pk)


def _plain(field: Any, pk: int) -> Any:
    """A value that the field's type allows; text is another one for each `pk`."""
    if field.choices:
        return field.flatchoices[0][0]
    if isinstance(field, models.EmailField):
        return f"{field.name}{pk}@example.com"
    if isinstance(field, models.CharField | models.TextField):
        return f"{field.name}-{pk}"[-(field.max_length or 100) :]
    if isinstance(field, models.DateTimeField):
        return timezone.now()
    if isinstance(field, models.BinaryField):
        return b"x"
    if isinstance(field, models.BooleanField):
        return False
    if isinstance(field, models.JSONField):
        return {}
    return 1
