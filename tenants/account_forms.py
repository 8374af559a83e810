"""allauth's forms, where ours say or count more."""

from __future__ import annotations

from typing import Any

from allauth.account.adapter import get_adapter
from allauth.account.forms import LoginForm as AllauthLoginForm
from allauth.core import context
from allauth.mfa.base import forms as mfa
from django.utils.translation import gettext_lazy as _

from tenants import attempts, events


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
        code: str = super().clean_code()  # type: ignore[misc]  # of the form beside it
        attempts.give_back(attempts.CODES_OF_ONE, str(self.user.pk))
        return code


class AuthenticateForm(_Counted, mfa.AuthenticateForm):
    """The code after the password."""


class ReauthenticateForm(_Counted, mfa.ReauthenticateForm):
    """The code before a dangerous act."""
