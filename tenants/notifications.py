"""News for people: the bell, its list and the toasts.

`audit.record` hands every action to `heard`, so what people want to know is written in the
transaction of the change and no function that makes one has to remember it. Kind and values are
stored; the sentence is made in the reader's language.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.contrib.humanize.templatetags.humanize import intcomma
from django.db import models
from django.db.models import Exists, OuterRef
from django.urls import reverse
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _, ngettext_lazy

from tenants.models import Membership, Notification, NotificationRead, Tenant, User
from tenants.roles import can

COUNTED_MOST = 100  # the bell says "99+" from here on
TOASTS_MOST = 3


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of news: its sentence, where it leads, and the right to look there.

    The sentence may use `name` (the subject's, as it was then) and the numbers that came with it;
    `count` chooses the plural and is shown as `n`. `route` takes the subject's id unless it is a
    list. News with `by_itself` is none when a person did it. Who did it needs no news of it,
    unless it took its time (`for_doer`).
    """

    sentence: Promise
    route: str
    right: str
    icon: str
    tone: str = "info"
    by_itself: bool = False
    for_doer: bool = False
    is_list: bool = False


KINDS: dict[str, Kind] = {
    "campaign.finished": Kind(
        _("“%(name)s” is finished."),
        "campaigns:detail", "campaigns.view", "circle-check", "success",
    ),
    "campaign.blocked": Kind(
        _("“%(name)s” is blocked until somebody looks at it."),
        "campaigns:detail", "campaigns.view", "alert-triangle", "error",
    ),
    "campaign.paused": Kind(
        _("“%(name)s” was paused: the provider refused its messages again and again."),
        "campaigns:detail", "campaigns.view", "player-pause", "warning", by_itself=True,
    ),
    "campaign.failed": Kind(
        _("“%(name)s” could not be started."),
        "campaigns:detail", "campaigns.view", "alert-circle", "error",
    ),
    "campaign.start_missed": Kind(
        _("“%(name)s” did not start at its time: it waits for somebody to look at it."),
        "campaigns:detail", "campaigns.view", "calendar-time", "warning",
    ),
    "account.blocked": Kind(
        _("The account %(name)s is blocked and sends nothing."),
        "accounts:detail", "accounts.view", "ban", "error",
    ),
    "import.done": Kind(
        _("%(name)s is imported: %(created)s new, %(updated)s updated, %(rejected)s rejected."),
        "leads:import", "leads.view", "file-import", "success",
    ),
    "import.failed": Kind(
        _("The import of %(name)s failed."),
        "leads:import", "leads.view", "file-import", "error",
    ),
    "sync.dead": Kind(
        ngettext_lazy(
            "%(n)s contact did not reach the CRM and is not tried again by itself.",
            "%(n)s contacts did not reach the CRM and are not tried again by themselves.",
            "count",
        ),
        "integrations:dead-letters", "connections.view", "cloud-off", "warning", is_list=True,
    ),
    "connection.broken": Kind(
        _("The connection %(name)s is broken: its credential is refused."),
        "integrations:list", "connections.view", "plug-connected", "error",
        by_itself=True, is_list=True,
    ),
    "bulk.done": Kind(
        ngettext_lazy(
            "A change of %(n)s lead is done.", "A change of %(n)s leads is done.", "count"
        ),
        "leads:job", "leads.edit", "checkbox", "success", for_doer=True,
    ),
    "bulk.failed": Kind(
        _("A change of many leads stopped before its end."),
        "leads:job", "leads.edit", "alert-circle", "error",
    ),
    "export.done": Kind(
        ngettext_lazy(
            "The export of %(n)s lead is ready.", "The export of %(n)s leads is ready.", "count"
        ),
        "leads:job", "leads.export", "file-text", "success", for_doer=True,
    ),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class News:
    """A notification as one person sees it."""

    row: Notification
    sentence: str
    icon: str
    tone: str
    is_read: bool


def heard(
    obj: models.Model, action: str, *, by: User | None, at: datetime, data: Mapping[str, Any]
) -> None:
    """Make news of an audited action of `obj`, if it is of a kind that people want to hear of."""
    kind = KINDS.get(action)
    if kind is None or (kind.by_itself and by is not None):
        return
    params = {name: value for name, value in data.items() if isinstance(value, int)}
    if "total" in params:
        params["count"] = params["total"]
    tenant_id: int = getattr(obj, "tenant_id")  # noqa: B009  # kinds are of a tenant's rows
    notify(tenant_id, action, subject=obj.pk, params={"name": str(obj), **params}, now=at, by=by)


def notify(
    tenant: Tenant | int,
    kind: str,
    *,
    subject: int,
    params: Mapping[str, str | int],
    now: datetime,
    by: User | None = None,
) -> Notification:
    """Write news about the row `subject`; it takes the place of the same that nobody has read.

    For `by`, who did it, it counts as read unless the kind says otherwise. In the tenant's scope,
    and in the transaction of the change. Raises KeyError for a kind that is none.
    """
    if kind not in KINDS:
        raise KeyError(kind)
    tenant_id = tenant if isinstance(tenant, int) else tenant.pk
    same = Notification.objects.filter(tenant_id=tenant_id, kind=kind, subject=subject)
    same.filter(~Exists(_reads())).delete()
    row = Notification.objects.create(
        tenant_id=tenant_id, kind=kind, subject=subject, params=dict(params), created_at=now
    )
    if by is not None and not KINDS[kind].for_doer:
        _mark([row.pk], by, tenant_id, now)
    return row


def _reads(user_id: int | None = None) -> models.QuerySet[NotificationRead]:
    """The read marks of the outer notification: anybody's, or one person's."""
    marks = NotificationRead.objects.filter(tenant=OuterRef("tenant"), notification=OuterRef("pk"))
    return marks if user_id is None else marks.filter(user=user_id)


def visible(membership: Membership) -> models.QuerySet[Notification]:
    """What the member may look at, since they came; annotated `is_read`."""
    kinds = [name for name, kind in KINDS.items() if can(membership, kind.right)]
    return Notification.objects.filter(
        tenant=membership.tenant_id, kind__in=kinds, created_at__gte=membership.created_at
    ).annotate(is_read=Exists(_reads(membership.user_id)))


def unread(membership: Membership) -> models.QuerySet[Notification]:
    """The part of `visible` that the member has not read."""
    return visible(membership).filter(~Exists(_reads(membership.user_id)))


@dataclass(frozen=True, slots=True)
class Bell:
    """How many are unread, and the newest of all: toasts begin after it."""

    unread: int
    newest: int

    @property
    def shown(self) -> str:
        """The number for people; beyond what is counted, "99+"."""
        return f"{COUNTED_MOST - 1}+" if self.unread >= COUNTED_MOST else str(self.unread)


def bell(membership: Membership | None) -> Bell:
    """What the member's bell shows: one query over at most COUNTED_MOST rows."""
    if membership is None:
        return Bell(0, 0)
    ids = list(unread(membership).order_by("-pk").values_list("pk", flat=True)[:COUNTED_MOST])
    return Bell(len(ids), ids[0] if ids else 0)


def news_after(membership: Membership, newest: int) -> list[News]:
    """Unread news after the one with the id `newest`, oldest first, TOASTS_MOST at most."""
    rows = list(unread(membership).filter(pk__gt=newest).order_by("-pk")[:TOASTS_MOST])
    return as_news(reversed(rows))


def as_news(rows: Iterable[Notification]) -> list[News]:
    """Rows of `visible`, in the reader's language."""
    return [
        News(row, sentence(row), KINDS[row.kind].icon, KINDS[row.kind].tone, row.is_read)  # type: ignore[attr-defined]  # annotated
        for row in rows
    ]


def sentence(row: Notification) -> str:
    """What it says, in the language in force."""
    shown = {
        name: intcomma(value) if isinstance(value, int) else value
        for name, value in row.params.items()
    }
    count = row.params.get("count", 0)
    return str(KINDS[row.kind].sentence % {**shown, "n": intcomma(count), "count": count})


def address(row: Notification, tenant: Tenant) -> str:
    """The page that it leads to."""
    kind = KINDS[row.kind]
    return reverse(kind.route, args=[tenant.slug] if kind.is_list else [tenant.slug, row.subject])


def mark_read(membership: Membership, *, now: datetime, pk: int | None = None) -> int:
    """Mark one, or all, as read by this member; return how many were unread."""
    rows = unread(membership)
    if pk is not None:
        rows = rows.filter(pk=pk)
    ids = list(rows.values_list("pk", flat=True))
    return _mark(ids, membership.user, membership.tenant_id, now)


def _mark(rows: list[int], user: User, tenant_id: int, now: datetime) -> int:
    NotificationRead.objects.bulk_create(
        [
            NotificationRead(tenant_id=tenant_id, notification_id=pk, user=user, read_at=now)
            for pk in rows
        ],
        ignore_conflicts=True,
        batch_size=500,
    )
    return len(rows)
