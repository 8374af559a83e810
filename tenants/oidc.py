"""Log-in through an OpenID Connect provider, by verified address: of people who have an account,
and of people who are invited, who get one.

allauth does state, PKCE and the exchange of the code. Here the ID token is always verified (allauth
skips that for one it got over TLS), nobody else signs up, nothing is connected or stored, and
whatever goes wrong is one page that says so. Second factors and closed accounts are met afterwards,
as with a password.
"""

from __future__ import annotations

from contextlib import suppress
from http import HTTPStatus
from typing import Any, Final

import jwt
from allauth.core.exceptions import ImmediateHttpResponse
from allauth.socialaccount.adapter import DefaultSocialAccountAdapter
from allauth.socialaccount.internal import jwtkit
from allauth.socialaccount.models import SocialApp, SocialLogin
from allauth.socialaccount.providers.base import AuthError, AuthProcess
from allauth.socialaccount.providers.oauth2.client import OAuth2Error
from allauth.socialaccount.providers.oauth2.views import OAuth2CallbackView, OAuth2LoginView
from allauth.socialaccount.providers.openid_connect.views import OpenIDConnectOAuth2Adapter
from django.contrib.auth.decorators import login_not_required
from django.http import Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe

from agenticos.errors import Refused
from tenants import events, inviting
from tenants.models import User

# A token says itself how it is signed: shared secrets and "none" are no proof.
SIGNED_BY: Final = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA")


def refused(request: HttpRequest, reason: str, status: int) -> HttpResponse:
    """The page that says why the provider opened nothing: `reason` is one that it knows."""
    events.note("auth.oidc_refused", request, reason=reason)
    return render(request, "tenants/oidc_refused.html", {"reason": reason}, status=status)


class Adapter(DefaultSocialAccountAdapter):  # type: ignore[misc]  # allauth is untyped
    """Opens an account, or accepts an invitation, for who has proven its address; nothing else."""

    def is_open_for_signup(self, request: HttpRequest, sociallogin: SocialLogin) -> bool:
        return False

    def pre_social_login(self, request: HttpRequest, sociallogin: SocialLogin) -> None:
        """Raise ImmediateHttpResponse unless this is a log-in of an account by a proven address."""
        claims = sociallogin.account.extra_data.get("id_token") or {}
        if claims.get("email_verified") is not True:
            raise ImmediateHttpResponse(refused(request, "unverified", HTTPStatus.FORBIDDEN))
        if sociallogin.state.get("process") == AuthProcess.LOGIN and not sociallogin.is_existing:
            sociallogin.user = _invited(claims) or sociallogin.user
        if sociallogin.state.get("process") != AuthProcess.LOGIN or not sociallogin.is_existing:
            raise ImmediateHttpResponse(refused(request, "unknown", HTTPStatus.FORBIDDEN))

    def on_authentication_error(
        self, request: HttpRequest, provider: Any, error: Any = None, **said: Any
    ) -> None:
        reason = "cancelled" if error == AuthError.CANCELLED else "failed"
        raise ImmediateHttpResponse(refused(request, reason, HTTPStatus.FORBIDDEN))


def _invited(claims: dict[str, Any]) -> User | None:
    """Who is invited under the proven address, as a member from now on."""
    name = " ".join(str(claims.get("name") or "").split())[:120]
    with suppress(Refused):
        return inviting.enter_by_address(
            str(claims.get("email") or ""), name=name, now=timezone.now()
        )
    return None


class VerifyingAdapter(OpenIDConnectOAuth2Adapter):  # type: ignore[misc]  # allauth is untyped
    """Verifies the ID token's signature by the provider's published keys, however it came."""

    def complete_login(
        self, request: HttpRequest, app: SocialApp, token: Any, **kwargs: Any
    ) -> SocialLogin:
        if not kwargs["response"].get("id_token"):
            raise OAuth2Error("no id_token")
        return super().complete_login(request, app, token, **kwargs)

    def _decode_id_token(self, app: SocialApp, id_token: str) -> dict[str, Any]:
        try:
            header = jwt.get_unverified_header(id_token)
        except jwt.PyJWTError as error:
            raise OAuth2Error("unreadable id_token") from error
        if header.get("alg") not in SIGNED_BY or not header.get("kid"):
            raise OAuth2Error("id_token not signed")
        claims: dict[str, Any] = jwtkit.verify_and_decode(
            credential=id_token,
            keys_url=self.openid_config["jwks_uri"],
            issuer=self.openid_config["issuer"],
            audience=app.client_id,
            lookup_kid=jwtkit.lookup_kid_jwk,
        )
        return claims


@login_not_required
@never_cache
@require_POST
def login(request: HttpRequest, provider_id: str) -> HttpResponseBase:
    """Away to the provider, to come back to `callback`."""
    return _through(OAuth2LoginView, request, provider_id)


@login_not_required
@never_cache
@require_safe
def callback(request: HttpRequest, provider_id: str) -> HttpResponseBase:
    """Back from the provider, with a code or with its refusal."""
    return _through(OAuth2CallbackView, request, provider_id)


def _through(view: Any, request: HttpRequest, provider_id: str) -> HttpResponseBase:
    try:
        answer: HttpResponseBase = view.adapter_view(VerifyingAdapter(request, provider_id))(
            request
        )
    except SocialApp.DoesNotExist:
        raise Http404 from None
    except (OSError, ValueError, KeyError, TypeError):  # it is away, or answers what is none
        return refused(request, "away", HTTPStatus.SERVICE_UNAVAILABLE)
    return answer
