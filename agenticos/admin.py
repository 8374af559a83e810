"""What other packages put into the admin and staff must not have.

A task of the queue may be any function, so whoever may schedule one runs code. Log-in addresses
belong to their people, and so do their second factors and their sessions. Providers of log-ins
come out of the environment.
"""

from __future__ import annotations

from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from allauth.socialaccount.models import SocialAccount, SocialApp, SocialToken
from allauth.usersessions.models import UserSession
from django.contrib import admin
from django_q.models import Failure, OrmQ, Schedule, Success

for model in (
    Schedule, Success, Failure, OrmQ, EmailAddress, Authenticator, UserSession,
    SocialAccount, SocialApp, SocialToken,
):  # fmt: skip
    if admin.site.is_registered(model):
        admin.site.unregister(model)

# Deleting many rows at once skips what an action would have done for each.
admin.site.disable_action("delete_selected")
