"""Test messages: what a text looks like on a phone of one's own, sent for real."""

from __future__ import annotations

from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from agenticos.leasing import Lease
from campaigns.codes import sentence
from tenants.models import Tenant, User
from tenants.owned import TenantOwned


class TestSend(Lease, TenantOwned):
    """One test message of an account: never more than one call, and never again by itself.

    It is claimed from the start: the request that makes it holds the account under the same token
    and takes its allowance, so a worker has only to call. The text is kept until it is settled;
    after that its hash alone, since it may hold a lead's values.
    """

    __test__ = False  # no class of tests, whatever its name says

    class State(models.TextChoices):
        CLAIMED = "claimed", _("On its way")
        SENT = "sent", _("Sent")
        LATER = "later", _("Not now")  # surely not sent; a new test may work later
        FAILED = "failed", _("Failed")  # surely not sent, and it would fail again
        UNKNOWN = "unknown", _("Unknown")  # may have arrived: look at the phone

    tenant = models.ForeignKey(Tenant, on_delete=models.CASCADE, related_name="+", db_index=False)
    account = models.ForeignKey(
        "campaigns.SendingAccount", on_delete=models.CASCADE, related_name="test_sends"
    )
    # Made by the page that asks, so a double click makes one; and sent with the call.
    key = models.CharField(max_length=32)
    recipient = models.CharField(max_length=64)
    text = models.TextField(blank=True)
    text_hash = models.CharField(max_length=64)  # SHA-256, hex
    state = models.CharField(max_length=10, choices=State.choices, default=State.CLAIMED)
    provider_id = models.CharField(max_length=120, blank=True)
    reason = models.CharField(max_length=60, blank=True)
    sentence = models.CharField(max_length=300, blank=True)  # English, a msgid
    error = models.CharField(max_length=300, blank=True)  # the provider's own words
    created_by = models.ForeignKey(User, on_delete=models.SET_NULL, null=True, related_name="+")
    created_at = models.DateTimeField(default=timezone.now)
    # Empty: the provider has surely not been called.
    dispatched_at = models.DateTimeField(null=True, blank=True)
    settled_at = models.DateTimeField(null=True, blank=True)

    class Meta(TenantOwned.Meta):
        verbose_name = _("test message")
        verbose_name_plural = _("test messages")
        constraints = [
            *TenantOwned.Meta.constraints,
            models.UniqueConstraint(fields=["tenant", "key"], name="test_send_key"),
            models.UniqueConstraint(
                fields=["tenant", "account"],
                name="test_send_one_open",
                condition=Q(state="claimed"),
            ),
            models.CheckConstraint(
                condition=Q(state__in=["claimed", "sent", "later", "failed", "unknown"]),
                name="test_send_state",
            ),
            # A claim has a token, an end and a text, and nothing else has.
            models.CheckConstraint(
                condition=Q(state="claimed", lease_until__isnull=False)
                & ~Q(state="claimed", claim_token="")
                | ~Q(state="claimed") & Q(claim_token="", lease_until__isnull=True, text=""),
                name="test_send_lease",
            ),
        ]
        indexes = [
            # An account's tests, newest first.
            models.Index(fields=["tenant", "account", "-id"], name="test_send_list"),
            # What waits for a worker, across all tenants.
            models.Index(
                fields=["lease_until"], name="test_send_open", condition=Q(state="claimed")
            ),
        ]

    def __str__(self) -> str:
        return f"{self.recipient}: {self.state}"

    @property
    def why(self) -> str:
        """Why it was not sent, or what nobody knows, in the reader's language."""
        return sentence(self.reason, self.sentence) if self.reason else ""
