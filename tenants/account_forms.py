"""allauth's forms, where ours say or count more."""

from __future__ import annotations

import logging
from typing import Any

from allauth.account.adapter import get_adapter
from allauth.account.forms import LoginForm as AllauthLoginForm
from allauth.core import context
from allauth.mfa.base import forms as mfa
from allauth.mfa.webauthn import forms as webauthn
from django.utils.translation import gettext_lazy as _

from tenants import attempts, crypto, events

logger = logging.getLogger(__name__)


class LoginForm(AllauthLoginForm):
    """Says how long "remember me" is."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["remember"].label = _("Keep me signed in for 14 days on this device")


class _Counted:
    """Counts the codes that somebody tries for one person, exactly."""

    user: Any

    def clean_code(self) -> str:
        if not attempts.take(attempts.CODES_OF_ONE, str(self.user.pk)):
            events.note("auth.limited", context.request, limit=attempts.CODES_OF_ONE.name)
            raise get_adapter().validation_error("too_many_login_attempts")
        try:
            code: str = super().clean_code()  # type: ignore[misc]  # of the form beside it
        except crypto.CannotOpen:
            logger.error("mfa.secret_does_not_open user=%s", self.user.pk)
            raise get_adapter().validation_error("incorrect_code") from None
        attempts.give_back(attempts.CODES_OF_ONE, str(self.user.pk))
        return code


class _Sturdy:
    """Refuses what is no passkey's answer; the libraries below break over some of it."""

    def full_clean(self) -> None:
        form: Any = self
        try:
            super().full_clean()  # type: ignore[misc]  # of the form beside it
        except (AttributeError, IndexError, KeyError, TypeError, ValueError):
            form.add_error(None, get_adapter().validation_error("incorrect_code"))


class AuthenticateWebAuthnForm(_Sturdy, webauthn.AuthenticateWebAuthnForm):
    """A passkey after the password."""


class ReauthenticateWebAuthnForm(_Sturdy, webauthn.ReauthenticateWebAuthnForm):
    """A passkey before a dangerous act."""


class LoginWebAuthnForm(_Sturdy, webauthn.LoginWebAuthnForm):
    """A passkey instead of the password."""


class AddWebAuthnForm(_Sturdy, webauthn.AddWebAuthnForm):
    """A new passkey."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["name"].label = _("Name of the passkey")


class EditWebAuthnForm(webauthn.EditWebAuthnForm):
    """Another name for a passkey."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["name"].label = _("Name of the passkey")


class AuthenticateForm(_Counted, mfa.AuthenticateForm):
    """The code after the password."""


class ReauthenticateForm(_Counted, mfa.ReauthenticateForm):
    """The code before a dangerous act."""
