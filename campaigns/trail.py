"""The audit trail for people: what an entry says in words, what may be asked for, and as CSV."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from typing import IO, Any, Final

from django.apps import apps
from django.db.models import Model, QuerySet
from django.http import QueryDict
from django.utils import timezone
from django.utils.dateparse import parse_date
from django.utils.text import capfirst

from campaigns import activity, codes
from campaigns.trail_words import WORDS as WORDS
from leads.exporting import as_csv
from tenants import retention
from tenants.models import AuditEntry, Tenant

CHUNK: Final = 2_000
TYPES: Final = (
    "campaigns.campaign", "campaigns.message", "campaigns.sendingaccount", "campaigns.template",
    "integrations.connection", "integrations.syncitem", "leads.bulkjob", "leads.icpversion",
    "leads.lead", "leads.leadimport", "tenants.apikey", "tenants.invitation",
    "tenants.membership", "tenants.tenant",
)  # fmt: skip
COLUMNS: Final = (
    "id", "at", "actor_id", "actor", "action", "object_type", "object_id", "data",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Asked:
    """What the address asks for; what is no date or too long is ignored."""

    person: str = ""
    action: str = ""
    kind: str = ""
    since: date | None = None
    until: date | None = None

    @classmethod
    def of(cls, query: QueryDict) -> Asked:
        return cls(
            _text(query, "person"),
            _text(query, "action"),
            _text(query, "type"),
            _day(query.get("from", "")),
            _day(query.get("to", "")),
        )

    @property
    def is_filtered(self) -> bool:
        return self != Asked()

    def rows(self) -> QuerySet[AuditEntry]:
        """The entries of the tenant in scope that fit. Days are those of the zone in force."""
        rows = AuditEntry.objects.all()
        if self.person:
            rows = rows.filter(actor__icontains=self.person)
        if self.action:
            rows = rows.filter(action=self.action)
        if self.kind:
            rows = rows.filter(object_type=self.kind)
        if self.since:
            rows = rows.filter(at__gte=_begin(self.since))
        if self.until:
            rows = rows.filter(at__lt=_begin(self.until + timedelta(days=1)))
        return rows


def _text(query: QueryDict, name: str) -> str:
    value = query.get(name, "").strip()
    return value if len(value) <= 254 and "\0" not in value else ""


def _day(value: str) -> date | None:
    try:
        found = parse_date(value)
    except ValueError:
        return None
    # Years at either end have no beginning in every zone.
    return found if found and 1900 <= found.year <= 9000 else None


def _begin(day: date) -> datetime:
    return datetime.combine(day, time.min, tzinfo=timezone.get_current_timezone())


@dataclass(frozen=True, slots=True)
class Line:
    """An entry as the page shows it; `href` is '' where its object has no page, or is gone."""

    entry: AuditEntry
    words: str
    about: str
    href: str = ""
    facts: list[str] = field(default_factory=list)


def lines(rows: Sequence[AuditEntry], tenant: Tenant) -> list[Line]:
    """The entries in words; one statement for each kind of object that has a page."""
    links = _links(rows, tenant)
    return [
        Line(
            row,
            words_of(row.action),
            type_name(row.object_type),
            links.get((row.object_type, row.object_id), ""),
            facts(row.data),
        )
        for row in rows
    ]


def words_of(action: str) -> str:
    """What an action is called; one that no code takes any more keeps its name."""
    return str(WORDS.get(action, action))


def facts(data: dict[str, Any]) -> list[str]:
    """What an entry's data says, a fact each."""
    found = []
    labels = {**retention.words(), **activity.FACTS}
    before, after = data.get("before"), data.get("after")
    if isinstance(before, dict) and isinstance(after, dict):
        names = dict.fromkeys([*before, *after])
        found += [
            f"{name}: {_shown(before.get(name))} → {_shown(after.get(name))}" for name in names
        ]
    elif "before" in data and "after" in data:
        found.append(f"{_shown(before)} → {_shown(after)}")
    for name, value in data.items():
        if name == "code" and value:
            found.append(codes.sentence(str(value)))
        elif name not in ("before", "after") or len({"before", "after"} & set(data)) == 1:
            found.append(f"{labels.get(name, name)}: {_shown(value)}")
    return found


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value))
    if isinstance(value, dict):
        return json.dumps(value, ensure_ascii=False)
    return "–" if value in (None, "") else str(value)


def type_name(label: str) -> str:
    """What objects of a type are called; a type that there is no more keeps its label."""
    model = _model(label)
    return str(capfirst(model._meta.verbose_name)) if model else label


def _model(label: str) -> type[Model] | None:
    try:
        return apps.get_model(label)
    except (LookupError, ValueError):
        return None


def _links(rows: Sequence[AuditEntry], tenant: Tenant) -> dict[tuple[str, int | None], str]:
    wanted: dict[str, set[int]] = {}
    for row in rows:
        if row.object_id is not None:
            wanted.setdefault(row.object_type, set()).add(row.object_id)
    found: dict[tuple[str, int | None], str] = {}
    for label, ids in wanted.items():
        model = _model(label)
        if model is Tenant:
            found[label, tenant.pk] = tenant.get_absolute_url()
        elif model is not None and hasattr(model, "get_absolute_url") and label in TYPES:
            objects = model._default_manager.filter(pk__in=ids).select_related("tenant")
            found |= {(label, one.pk): one.get_absolute_url() for one in objects}
    return found


def write(rows: QuerySet[AuditEntry], file: IO[bytes]) -> int:
    """Write the entries as CSV, the oldest first; return how many."""
    number = 0
    file.write(as_csv(COLUMNS, ()))
    for chunk in _chunks(rows):
        number += len(chunk)
        file.write(
            as_csv(
                None,
                ([*row[:-1], json.dumps(row[-1], ensure_ascii=False)] for row in chunk),
            )
        )
    return number


def _chunks(rows: QuerySet[AuditEntry]) -> Iterator[list[tuple[Any, ...]]]:
    at = 0
    while chunk := list(rows.filter(pk__gt=at).order_by("pk").values_list(*COLUMNS)[:CHUNK]):
        yield chunk
        at = chunk[-1][0]
