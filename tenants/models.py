"""Tenants, the people who work for them, and what they did."""

from __future__ import annotations

import zoneinfo
from datetime import datetime, timedelta
from typing import Any, ClassVar

from django.conf import settings
from django.contrib.auth.models import AbstractBaseUser, BaseUserManager, PermissionsMixin
from django.core.exceptions import ValidationError
from django.core.validators import RegexValidator
from django.db import models, transaction
from django.urls import reverse
from django.utils.translation import gettext_lazy as _

from tenants.append_only import AppendOnly
from tenants.limits import Limited, living_keys
from tenants.owned import TenantOwned
from tenants.retention_models import Keeping, RetentionRun as RetentionRun, bounds_hold
from tenants.role_models import CustomRole as CustomRole, held_as_said
from tenants.roles import STORED, Role

INVITATION_LASTS = timedelta(days=7)


def check_time_zone(name: str) -> None:
    """Raise ValidationError unless `name` is an IANA time zone."""
    if name not in zoneinfo.available_timezones():
        raise ValidationError(_("This is not an IANA time zone, such as America/Sao_Paulo."))


def vouch_for_address(user: User) -> None:
    """Make the person's e-mail their one verified log-in address, in allauth's table too."""
    from allauth.account.models import EmailAddress  # not before the apps are loaded

    EmailAddress.objects.filter(user=user).exclude(email=user.email).delete()
    EmailAddress.objects.update_or_create(
        user=user, email=user.email, defaults={"verified": True, "primary": True}
    )


class UserManager(BaseUserManager["User"]):
    """Makes people, who log in by e-mail."""

    def create_user(self, email: str, password: str | None = None, **fields: Any) -> User:
        """Create a person; without a password they cannot log in until they set one.

        Who creates them vouches for the address: it counts as verified.
        """
        user = self.model(email=self.normalize_email(email).lower(), **fields)
        user.set_password(password)
        with transaction.atomic(using=self._db):
            user.save(using=self._db)
            vouch_for_address(user)
        return user

    def create_superuser(self, email: str, password: str | None = None, **fields: Any) -> User:
        return self.create_user(email, password, is_staff=True, is_superuser=True, **fields)


class User(AbstractBaseUser, PermissionsMixin):
    """A person. What they may do is said by their memberships."""

    email = models.EmailField(_("e-mail"), unique=True)
    name = models.CharField(_("name"), max_length=120, blank=True)
    language = models.CharField(
        _("language"), max_length=10, blank=True, choices=settings.LANGUAGES
    )
    theme = models.CharField(
        _("theme"),
        max_length=8,
        blank=True,
        choices=[("", _("As the system")), ("light", _("Light")), ("dark", _("Dark"))],
    )
    # Single keys do things on pages; who dictates or presses keys by accident switches them off.
    single_keys = models.BooleanField(_("single-key shortcuts"), default=True)
    is_staff = models.BooleanField(_("staff"), default=False)
    is_active = models.BooleanField(_("active"), default=True)
    date_joined = models.DateTimeField(_("joined"), auto_now_add=True)

    objects = UserManager()

    USERNAME_FIELD = "email"
    REQUIRED_FIELDS: ClassVar[list[str]] = []

    class Meta:
        verbose_name = _("person")
        verbose_name_plural = _("people")

    def __str__(self) -> str:
        return self.name or self.email

    def get_full_name(self) -> str:
        return self.name or self.email

    def get_short_name(self) -> str:
        return self.name.split(" ")[0] if self.name else self.email


class Tenant(Keeping, models.Model):
    """A client of the agency: its own people, leads, campaigns and connections."""

    slug = models.SlugField(
        _("address"),
        max_length=40,
        unique=True,
        validators=[RegexValidator(r"^[a-z0-9][a-z0-9-]*$", _("Lower-case letters, digits, -."))],
    )
    name = models.CharField(_("name"), max_length=120)
    time_zone = models.CharField(
        _("time zone"), max_length=64, default=settings.TIME_ZONE, validators=[check_time_zone]
    )
    language = models.CharField(
        _("language"), max_length=10, default="pt-br", choices=settings.LANGUAGES
    )
    contact_gap_days = models.PositiveSmallIntegerField(
        _("days between first touches"),
        default=90,
        help_text=_(
            "A person gets at most one first message in this many days. 0 switches it off."
        ),
    )
    require_mfa = models.BooleanField(
        _("second factor for everybody"),
        default=False,
        db_default=False,  # code of before this column goes on writing tenants while it is added
        help_text=_(
            "Every member needs an authenticator app or a passkey. Who has none is led to set one "
            "up, and sees nothing before."
        ),
    )
    # The tenant stop: set, nothing leaves for any of the tenant's campaigns.
    stopped_at = models.DateTimeField(
        _("sending stopped at"), null=True, blank=True, editable=False
    )
    suspended_at = models.DateTimeField(_("suspended at"), null=True, blank=True)
    # What the client has bought: a name for people, and limits that hold. Empty: no limit.
    plan = models.CharField(_("plan"), max_length=40, blank=True)
    max_members = models.PositiveIntegerField(_("members, at most"), null=True, blank=True)
    max_accounts = models.PositiveIntegerField(
        _("sending accounts, at most"), null=True, blank=True
    )
    max_leads = models.PositiveIntegerField(_("leads, at most"), null=True, blank=True)
    max_api_keys = models.PositiveIntegerField(_("API keys, at most"), null=True, blank=True)
    max_messages_day = models.PositiveIntegerField(
        _("messages a day, at most"),
        null=True,
        blank=True,
        help_text=_("Of all accounts together, in a day of the workspace's time zone."),
    )
    created_at = models.DateTimeField(_("created"), auto_now_add=True)
    # The tenant's data key, wrapped by a master key (tenants/crypto.py). Deleting it erases
    # every credential of the tenant for good. `data_key_at`: when it took an older one's place.
    data_key = models.BinaryField(editable=False, default=b"")
    data_key_at = models.DateTimeField(null=True, blank=True, editable=False)
    # The key of the hashes of people who must not be written to, wrapped in the same way. None:
    # still derived from the data key, which has never been replaced.
    hash_key = models.BinaryField(editable=False, null=True)

    class Meta:
        verbose_name = _("tenant")
        verbose_name_plural = _("tenants")
        ordering = ["name"]
        constraints = [models.CheckConstraint(condition=bounds_hold(), name="tenant_keeps")]

    def __str__(self) -> str:
        return self.name

    def get_absolute_url(self) -> str:
        return reverse("tenant-home", args=[self.slug])

    @property
    def zone(self) -> zoneinfo.ZoneInfo:
        return zoneinfo.ZoneInfo(self.time_zone)


class Membership(Limited, TenantOwned):
    """A person's role in a tenant."""

    plan_limit = "max_members"

    tenant = models.ForeignKey(
        Tenant, on_delete=models.CASCADE, related_name="memberships", db_index=False
    )
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="memberships")
    role = models.CharField(_("role"), max_length=10, choices=STORED, default=Role.VIEWER)
    custom_role = models.ForeignKey(
        CustomRole, on_delete=models.RESTRICT, null=True, blank=True, related_name="memberships"
    )
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta(TenantOwned.Meta):
        verbose_name = _("membership")
        verbose_name_plural = _("memberships")
        constraints = [
            *TenantOwned.Meta.constraints,
            models.UniqueConstraint(fields=["tenant", "user"], name="membership_once"),
            models.CheckConstraint(condition=held_as_said(), name="membership_role"),
        ]

    def __str__(self) -> str:
        return f"{self.user} · {self.role_name}"

    @property
    def role_name(self) -> str:
        return str(self.custom_role or self.get_role_display())


class Invitation(TenantOwned):
    """That somebody may join the tenant, in a role; for 7 days, and once.

    The link in the mail names the row and its `nonce`. Sending it again makes a new nonce, so the
    older link dies; withdrawing deletes the row.
    """

    tenant = models.ForeignKey(
        Tenant, on_delete=models.CASCADE, related_name="invitations", db_index=False
    )
    email = models.EmailField(_("e-mail"))
    role = models.CharField(_("role"), max_length=10, choices=STORED, default=Role.VIEWER)
    # SET_NULL: one that was accepted stays as history when the role is gone.
    custom_role = models.ForeignKey(
        CustomRole, on_delete=models.SET_NULL, null=True, blank=True, related_name="invitations"
    )
    nonce = models.CharField(max_length=32, editable=False)
    # SET_NULL: the invitation outlives the account of who sent it.
    invited_by = models.ForeignKey(User, on_delete=models.SET_NULL, null=True, related_name="+")
    created_at = models.DateTimeField()
    sent_at = models.DateTimeField()
    accepted_at = models.DateTimeField(null=True, blank=True)

    class Meta(TenantOwned.Meta):
        verbose_name = _("invitation")
        verbose_name_plural = _("invitations")
        constraints = [
            *TenantOwned.Meta.constraints,
            # One that waits per person; those that were accepted stay as history.
            models.UniqueConstraint(
                fields=["tenant", "email"],
                condition=models.Q(accepted_at=None),
                name="invitation_waits_once",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.email} · {self.role_name}"

    @property
    def role_name(self) -> str:
        return str(self.custom_role or self.get_role_display())

    @property
    def expires_at(self) -> datetime:
        return self.sent_at + INVITATION_LASTS


class Attempt(models.Model):
    """How often something was tried lately, by key (tenants/attempts.py). Of no tenant."""

    key = models.CharField(max_length=80, unique=True)
    # Seconds since 1970: when the last try that was let through will have been paid for.
    free_at = models.FloatField()

    class Meta:
        verbose_name = _("attempt")
        verbose_name_plural = _("attempts")
        # What is long past goes.
        indexes = [models.Index(fields=["free_at"], name="attempt_age")]

    def __str__(self) -> str:
        return self.key


class ApiKey(Limited, TenantOwned):
    """A program's key to one tenant's API. The secret is shown once and kept as a hash."""

    plan_limit = "max_api_keys"

    tenant = models.ForeignKey(
        Tenant, on_delete=models.CASCADE, related_name="api_keys", db_index=False
    )
    name = models.CharField(_("name"), max_length=60)
    public_id = models.CharField(max_length=16, unique=True, editable=False)
    digest = models.BinaryField(editable=False)
    last_four = models.CharField(max_length=4, editable=False)
    scopes = models.JSONField(default=list)
    created_by = models.ForeignKey(Membership, on_delete=models.CASCADE, related_name="api_keys")
    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField()
    last_used_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)
    # Since when another key has its name: it was rotated, or a new one was made after its end.
    replaced_at = models.DateTimeField(null=True, blank=True)

    class Meta(TenantOwned.Meta):
        verbose_name = _("API key")
        verbose_name_plural = _("API keys")
        constraints = [
            *TenantOwned.Meta.constraints,
            models.UniqueConstraint(
                fields=["tenant", "name"],
                condition=models.Q(revoked_at=None, replaced_at=None),
                name="api_key_name_in_use",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.name} …{self.last_four}"

    def is_in_force(self, now: datetime) -> bool:
        """Whether it opens the door, as far as the key itself goes."""
        return self.revoked_at is None and self.expires_at > now

    @classmethod
    def counted(cls, tenant_id: int) -> int:
        return living_keys(cls.objects.filter(tenant=tenant_id)).count()


class IdempotencyRecord(TenantOwned):
    """A program's request that must be done once: its answer, kept for a day.

    Written before the work and in its transaction, so the unique key makes a second request with
    the same `Idempotency-Key` wait for the first one. `status` 0: the work is not done yet.
    """

    tenant = models.ForeignKey(
        Tenant, on_delete=models.CASCADE, related_name="idempotency_records", db_index=False
    )
    api_key = models.ForeignKey(ApiKey, on_delete=models.CASCADE, related_name="+", db_index=False)
    key = models.CharField(max_length=255)
    method = models.CharField(max_length=6)
    path = models.CharField(max_length=500)
    body = models.CharField(max_length=64)  # SHA-256 of what was sent
    status = models.PositiveSmallIntegerField(default=0)
    answer = models.TextField(blank=True)  # as it was sent, to the byte
    created_at = models.DateTimeField()

    class Meta(TenantOwned.Meta):
        verbose_name = _("idempotency record")
        verbose_name_plural = _("idempotency records")
        constraints = [
            *TenantOwned.Meta.constraints,
            models.UniqueConstraint(fields=["tenant", "api_key", "key"], name="idempotency_once"),
        ]
        indexes = [
            # What is older than a day goes.
            models.Index(fields=["tenant", "created_at"], name="idempotency_age")
        ]

    def __str__(self) -> str:
        return f"{self.method} {self.path}: {self.status}"


class AuditEntry(AppendOnly):
    """Who did what to which row. Written with the change, never altered; then sealed.

    `sealed` says that the chain has it (see tenants/sealing.py); it finds what waits, cheaply.
    """

    MARKS = {"user": (None,), "sealed": (True,)}

    tenant = models.ForeignKey(
        Tenant, on_delete=models.CASCADE, related_name="audit_entries", db_index=False
    )
    at = models.DateTimeField()
    # SET_NULL: the entry outlives the person; `actor` keeps how they were known.
    user = models.ForeignKey(User, on_delete=models.SET_NULL, null=True, related_name="+")
    actor_id = models.BigIntegerField(null=True)  # the person's id, also when they are gone
    actor = models.CharField(max_length=254)
    action = models.CharField(max_length=60)
    object_type = models.CharField(max_length=60)
    object_id = models.BigIntegerField(null=True)
    data = models.JSONField(default=dict)
    sealed = models.BooleanField(default=False, db_default=False)

    class Meta(AppendOnly.Meta):
        verbose_name = _("audit entry")
        verbose_name_plural = _("audit entries")
        indexes = [
            # The activity of one object, newest first.
            models.Index(
                fields=["tenant", "object_type", "object_id", "-id"], name="audit_by_object"
            ),
            # What waits to be sealed: nearly nothing, most of the time.
            models.Index(
                fields=["tenant", "id"], condition=models.Q(sealed=False), name="audit_unsealed"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.action} · {self.actor}"


class AuditSeal(AppendOnly):
    """A link of the tenant's chain: an entry's fields and the link before, as one SHA-256."""

    tenant = models.ForeignKey(
        Tenant, on_delete=models.CASCADE, related_name="audit_seals", db_index=False
    )
    # RESTRICT: an entry goes with its whole tenant, or not at all.
    entry = models.OneToOneField(AuditEntry, on_delete=models.RESTRICT, related_name="seal")
    number = models.BigIntegerField()  # 1, 2, 3 … in the tenant
    previous = models.CharField(max_length=64, blank=True)  # '' for the first
    hash = models.CharField(max_length=64)

    class Meta(AppendOnly.Meta):
        constraints = [
            *AppendOnly.Meta.constraints,
            models.UniqueConstraint(fields=["tenant", "number"], name="audit_seal_number"),
        ]

    def __str__(self) -> str:
        return f"{self.number} {self.hash[:12]}"


class AuditCheck(TenantOwned):
    """The last time that the tenant's chain was gone through: how far it went and what was found.

    The chain must still hold that link the next time, so a cut-off end is found too.
    """

    tenant = models.OneToOneField(Tenant, on_delete=models.CASCADE, related_name="audit_check")
    at = models.DateTimeField()
    number = models.BigIntegerField()  # of the last link that was good; 0 for none
    hash = models.CharField(max_length=64, blank=True)
    entry = models.BigIntegerField(null=True)  # the id of the first one that was not
    problem = models.CharField(max_length=40, blank=True)  # '' when all was good

    def __str__(self) -> str:
        return self.problem or "ok"


class Notification(TenantOwned):
    """News for the tenant's people. Kind and values are kept, the sentence is made for a reader.

    What kinds there are, and where they lead: tenants/notifications.py.
    """

    tenant = models.ForeignKey(
        Tenant, on_delete=models.CASCADE, related_name="notifications", db_index=False
    )
    kind = models.CharField(max_length=40)
    subject = models.BigIntegerField()  # the id of the row that it is about
    params = models.JSONField(default=dict)
    created_at = models.DateTimeField()

    class Meta(TenantOwned.Meta):
        verbose_name = _("notification")
        verbose_name_plural = _("notifications")
        indexes = [
            # Is there unread news of the same subject, which this one takes the place of?
            models.Index(fields=["tenant", "kind", "subject"], name="notification_subject")
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.subject}"


class NotificationRead(TenantOwned):
    """That one person has seen a notification."""

    tenant = models.ForeignKey(Tenant, on_delete=models.CASCADE, related_name="+", db_index=False)
    notification = models.ForeignKey(Notification, on_delete=models.CASCADE, related_name="reads")
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="+")
    read_at = models.DateTimeField()

    class Meta(TenantOwned.Meta):
        constraints = [
            *TenantOwned.Meta.constraints,
            models.UniqueConstraint(
                fields=["tenant", "notification", "user"], name="notification_read_once"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.notification_id}: {self.user_id}"
