"""The post office: connections to providers, and what must still reach them.

This app knows no lead and no campaign: a row of the outbox is keyed by text such as `lead:42`.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime
from typing import Any

from django.db import models, transaction
from django.utils import timezone
from django.utils.translation import gettext, gettext_lazy as _

from agenticos.leasing import Leased
from integrations.errors import ProviderError
from tenants import crypto
from tenants.models import Tenant
from tenants.owned import TenantOwned


class Connection(TenantOwned):
    """A secret and an external identity: one GHL location, or one Instagram account."""

    class Kind(models.TextChoices):
        GHL = "ghl", "GoHighLevel"
        INSTAGRAM = "instagram_graph", "Instagram"

    class State(models.TextChoices):
        ACTIVE = "active", _("Active")
        BROKEN = "broken", _("Broken")
        OFF = "off", _("Off")

    tenant = models.ForeignKey(
        Tenant, on_delete=models.CASCADE, related_name="connections", db_index=False
    )
    kind = models.CharField(_("kind"), max_length=20, choices=Kind.choices)
    name = models.CharField(_("name"), max_length=80)
    external_id = models.CharField(
        _("external id"),
        max_length=80,
        help_text=_("The GHL location id, or the id of the Instagram account."),
    )
    state = models.CharField(
        _("state"), max_length=10, choices=State.choices, default=State.ACTIVE, editable=False
    )
    broken_code = models.CharField(max_length=60, blank=True, editable=False)
    broken_at = models.DateTimeField(null=True, blank=True, editable=False)
    secret = models.BinaryField(editable=False, default=b"")
    secret_last_four = models.CharField(max_length=4, blank=True, editable=False)
    secret_set_at = models.DateTimeField(null=True, blank=True, editable=False)
    # Harmless settings of the kind, such as the ids of the location's custom fields.
    settings = models.JSONField(default=dict, blank=True, editable=False)
    # The next time a call may go out (token bucket of the provider's published rate).
    throttle_at = models.DateTimeField(null=True, blank=True, editable=False)
    # What the provider calls the account, and when it last did what was asked, or why it did not.
    known_as = models.CharField(max_length=120, blank=True, editable=False)
    ok_at = models.DateTimeField(null=True, blank=True, editable=False)
    trouble_at = models.DateTimeField(null=True, blank=True, editable=False)
    trouble_code = models.CharField(max_length=60, blank=True, editable=False)
    trouble_sentence = models.CharField(max_length=300, blank=True, editable=False)  # a msgid
    trouble_detail = models.CharField(max_length=300, blank=True, editable=False)  # their words
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta(TenantOwned.Meta):
        verbose_name = _("connection")
        verbose_name_plural = _("connections")
        constraints = [
            *TenantOwned.Meta.constraints,
            # The one key that does not begin with the tenant: an external account answers to one
            # tenant only, or a webhook could not be routed.
            models.UniqueConstraint(fields=["kind", "external_id"], name="connection_external"),
        ]

    def __str__(self) -> str:
        return f"{self.get_kind_display()} · {self.name}"

    def _context(self) -> str:
        return crypto.context_of("connection", "secret", self.tenant_id, self.pk)

    @transaction.atomic
    def set_secret(self, **parts: str) -> None:
        """Store the credential, such as `token=…`, and call the connection active again."""
        # The row before the tenant's key, as whoever replaces that key takes them.
        list(Connection.objects.select_for_update(of=("self",)).filter(pk=self.pk))
        token = str(next(iter(parts.values())))
        self.secret = crypto.seal(self.tenant_id, self._context(), json.dumps(parts))
        self.secret_last_four = token[-4:] if len(token) >= 12 else ""
        self.secret_set_at = timezone.now()
        self.state, self.broken_code, self.broken_at = self.State.ACTIVE, "", None
        self.save(
            update_fields=[
                "secret",
                "secret_last_four",
                "secret_set_at",
                "state",
                "broken_code",
                "broken_at",
            ]
        )

    def reveal(self) -> dict[str, Any]:
        """The credential, decrypted; for adapters alone. Raises crypto.CannotOpen."""
        parts: dict[str, Any] = json.loads(self._opened())
        return parts

    def _opened(self) -> str:
        # Who opens many connections of a tenant has read it once, for all of them.
        try:
            return crypto.reveal(self.tenant_id, self._context(), self.secret, self.tenant.data_key)
        except crypto.CannotOpen:
            # Key and secret may have been replaced since these rows were read.
            stored = type(self).objects.filter(pk=self.pk).values_list("secret", flat=True).first()
            if stored is None:
                raise
            self.secret = stored
            return crypto.reveal(self.tenant_id, self._context(), stored)

    def reseal(self, change: Callable[[str, crypto.Stored], bytes]) -> None:
        """Store the same credential under another data key. Raises crypto.CannotOpen."""
        self.secret = change(self._context(), self.secret)
        self.save(update_fields=["secret"])

    @property
    def trouble(self) -> str:
        """What went wrong last, in the reader's language; "" when nothing has."""
        return gettext(self.trouble_sentence) if self.trouble_sentence else self.trouble_code

    @property
    def last_went_wrong(self) -> bool:
        """Whether the last thing known of it is trouble."""
        return self.trouble_at is not None and (self.ok_at is None or self.ok_at < self.trouble_at)

    def note_trouble(self, error: ProviderError, now: datetime) -> None:
        """Keep the provider's last error, without saving."""
        self.trouble_at, self.trouble_code = now, error.code[:60]
        self.trouble_sentence, self.trouble_detail = error.sentence[:300], error.detail

    def mark_broken(self, code: str) -> None:
        """Note that the provider refuses this credential; nothing more is sent through it."""
        self.state, self.broken_code, self.broken_at = self.State.BROKEN, code, timezone.now()
        self.save(update_fields=["state", "broken_code", "broken_at"])


class SyncItem(Leased, TenantOwned):
    """What one record should look like in the CRM: a desired state, not a list of deeds.

    Open while `wanted_rev` differs from `done_rev`; a change made while a delivery is in flight
    raises `wanted_rev`, so it is not lost. A failed one is a dead letter until a person replays
    or discards it, or a newer wish takes its place; `due_at` then says since when.
    """

    class State(models.TextChoices):
        WAITING = "waiting", _("Waiting")
        CLAIMED = "claimed", _("In flight")
        DONE = "done", _("Done")
        FAILED = "failed", _("Failed")
        DISCARDED = "discarded", _("Discarded")

    # No key to the tenant in the database, as the connection's has the tenant in it, and no index
    # on the connection alone: each message sent pays for them.
    tenant = models.ForeignKey(
        Tenant,
        on_delete=models.CASCADE,
        related_name="sync_items",
        db_index=False,
        db_constraint=False,
    )
    connection = models.ForeignKey(
        Connection, on_delete=models.CASCADE, related_name="sync_items", db_index=False
    )
    key = models.CharField(max_length=60)
    wanted = models.JSONField()
    wanted_rev = models.BigIntegerField()
    done_rev = models.BigIntegerField(default=0)
    state = models.CharField(max_length=10, choices=State.choices, default=State.WAITING)
    reason = models.CharField(max_length=60, blank=True)
    sentence = models.CharField(max_length=300, blank=True)  # English, a msgid
    error = models.TextField(blank=True)  # the provider's own words
    done_at = models.DateTimeField(null=True, blank=True)
    done = models.JSONField(null=True, blank=True)  # what was wanted when it was last done
    discard_reason = models.CharField(max_length=300, blank=True)  # a person's own words

    class Meta(TenantOwned.Meta):
        verbose_name = _("CRM sync item")
        verbose_name_plural = _("CRM sync items")
        constraints = [
            *TenantOwned.Meta.constraints,
            models.UniqueConstraint(fields=["tenant", "connection", "key"], name="sync_item_key"),
            models.CheckConstraint(
                condition=models.Q(state__in=["waiting", "claimed", "done", "failed", "discarded"]),
                name="sync_item_state",
            ),
        ]
        indexes = [
            # The claim of due items, connection by connection.
            models.Index(
                fields=["tenant", "connection", "due_at"],
                name="sync_item_due",
                condition=models.Q(state="waiting"),
            ),
            # The tick across all tenants: is anything due, has a lease run out?
            models.Index(
                fields=["due_at"], name="sync_item_tick", condition=models.Q(state="waiting")
            ),
            models.Index(
                fields=["lease_until"],
                name="sync_item_lease",
                condition=models.Q(state="claimed"),
            ),
            # The sync log: how many are in each state, and the rows of one, newest first.
            models.Index(fields=["tenant", "state", "-id"], name="sync_item_list"),
        ]

    def __str__(self) -> str:
        return f"{self.key}: {self.get_state_display()}"

    @property
    def why(self) -> str:
        """Why it is not done, in the reader's language."""
        return gettext(self.sentence) if self.sentence else self.reason


class ExternalId(TenantOwned):
    """What one of our records is called at a provider."""

    tenant = models.ForeignKey(
        Tenant, on_delete=models.CASCADE, related_name="external_ids", db_index=False
    )
    connection = models.ForeignKey(
        Connection, on_delete=models.CASCADE, related_name="external_ids"
    )
    key = models.CharField(max_length=60)
    # Empty while a create may or may not have happened: then search before creating again.
    external_id = models.CharField(max_length=80, blank=True)
    create_begun_at = models.DateTimeField(null=True, blank=True)

    class Meta(TenantOwned.Meta):
        constraints = [
            *TenantOwned.Meta.constraints,
            models.UniqueConstraint(fields=["tenant", "connection", "key"], name="external_id_key"),
        ]

    def __str__(self) -> str:
        return f"{self.key} → {self.external_id or '?'}"
