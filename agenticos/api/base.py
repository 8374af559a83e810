"""What every address of the API stands on: the key, the right, the scope, the one answer.

An address is a view class; each method of it is an `operation`, which names the scope and the
right that it takes, and what goes in and comes out. So the checks and the OpenAPI document are
read off the same line.
"""

from __future__ import annotations

import logging
import uuid
import zoneinfo
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from django.db.models import Model, QuerySet
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils import timezone, translation
from django.utils.translation import gettext as _
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework import exceptions, serializers
from rest_framework.authentication import BaseAuthentication
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.renderers import BaseRenderer, JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView
from structlog.contextvars import bind_contextvars

from agenticos import limits, paging, scope
from agenticos.api import idempotency, limiting, parsing
from agenticos.api.problems import Problem, bad_cursor
from agenticos.api.shapes import PageQuery, ProblemSerializer
from tenants.authentication import SCOPES, Caller, NoEntry, caller_of
from tenants.models import Tenant, User
from tenants.roles import ACTIONS, can

M = TypeVar("M", bound=Model)
V = TypeVar("V", bound=Callable[..., Response])
logger = logging.getLogger(__name__)
REPEATABLE = ("POST", "PATCH", "PUT")
ID_MAX = 2**63 - 1


class KeyAuthentication(BaseAuthentication):
    """`Authorization: Bearer aos_…`. Cookies open nothing here, so there is no CSRF either."""

    def authenticate(self, request: Request) -> tuple[Caller, None]:
        return caller_of(request.headers.get("Authorization", ""), timezone.now()), None

    def authenticate_header(self, request: Request) -> str:
        return 'Bearer realm="AgenticOS"'


class OnlyJSON(BaseContentNegotiation):
    """Whatever a program says it accepts, it gets JSON."""

    def select_parser(self, request: Request, parsers: Iterable[Any]) -> Any:
        kind = request.content_type.partition(";")[0].strip().lower()
        return next((parser for parser in parsers if parser.media_type == kind), None)

    def select_renderer(
        self,
        request: Request,
        renderers: Iterable[BaseRenderer],
        format_suffix: str | None = None,
    ) -> tuple[BaseRenderer, str]:
        renderer = next(iter(renderers))
        return renderer, renderer.media_type


@dataclass(frozen=True, slots=True)
class Right:
    """What a method takes: a scope of the key, or any key, and a right of its creator's role."""

    scope: str | None
    action: str


# --- Operations -------------------------------------------------------------------------------

_PROBLEMS = {
    400: "The request is malformed, or a field of it is not right.",
    401: "No key, or not a valid one.",
    403: "The key's scopes or its creator's role do not allow this.",
    404: "There is no such thing in this tenant.",
    409: "Not possible now; `code` says why.",
    415: "The body is not of the right media type.",
    422: "The Idempotency-Key was sent before with another request.",
    429: "Too many calls; `Retry-After` says when to come back.",
}


def operation(
    needs: str | None,
    action: str,
    *,
    summary: str,
    text: str = "",
    body: Any = None,
    answer: Any = None,
    status: int = 200,
    also: dict[int, Any] | None = None,
    query: type[serializers.Serializer[Any]] | None = None,
    example: Any = None,
    sent: Any = None,
    tag: str,
    once: bool = True,
) -> Callable[[V], V]:
    """Mark a view's method with the right it takes, and describe it for the document.

    `body` and `answer` are serializers, `sent` and `example` what they may look like, `also` other
    answers by status. `needs` None: any key will do. `once` False: an answer that must not be
    stored, so Idempotency-Key means nothing.
    """
    if needs not in (*SCOPES, None) or action not in ACTIONS:
        raise KeyError(needs, action)

    def decorate(method: V) -> V:
        verb = method.__name__.upper()
        repeatable = once and verb in REPEATABLE
        wrong = [400, 401, 403, 404, 429]
        if verb in REPEATABLE:
            wrong += [409, 415, 422] if repeatable else [415]
        if verb == "DELETE":
            wrong += [409]
        problem = {
            (code, "application/problem+json"): OpenApiResponse(
                ProblemSerializer, description=_PROBLEMS[code]
            )
            for code in wrong
        }
        examples = []
        if sent is not None:
            examples.append(OpenApiExample("Request", value=sent, request_only=True))
        if example is not None:
            examples.append(
                OpenApiExample(
                    "Answer", value=example, response_only=True, status_codes=[str(status)]
                )
            )
        parameters: list[Any] = [query] if query else []
        if repeatable:
            parameters.append(
                OpenApiParameter(
                    idempotency.HEADER,
                    {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[ -~]*$"},
                    OpenApiParameter.HEADER,
                    description=(
                        "The same key and body within 24 hours give the first answer again, with "
                        "`Idempotent-Replayed: true`, and do nothing."
                    ),
                )
            )
        method.right = Right(needs, action)  # type: ignore[attr-defined]  # a mark on a function
        method.repeatable = repeatable  # type: ignore[attr-defined]  # a mark on a function
        takes = f"Takes the scope `{needs}`." if needs else "Takes any key, whatever its scopes."
        documented: V = extend_schema(
            operation_id=method.__qualname__.replace(".", "_"),
            summary=summary,
            description=f"{text}\n\n{takes}".strip(),
            request=body,
            responses={status: answer, **(also or {}), **problem},
            parameters=parameters,
            examples=examples,
            tags=[tag],
        )(method)
        return documented

    return decorate


# --- The view ---------------------------------------------------------------------------------


class ApiView(APIView):
    """A view of the API: closed without a key, inside its tenant's scope, done once per key."""

    authentication_classes = [KeyAuthentication]
    permission_classes = []
    throttle_classes = []
    renderer_classes = [JSONRenderer]
    parser_classes = [parsing.StrictJSONParser]
    content_negotiation_class = OnlyJSON
    metadata_class = None
    http_method_names = ["get", "head", "post", "put", "patch", "delete"]

    request_id: str
    caller: Caller
    tenant: Tenant
    standing: limits.Decision | None = None  # how the caller's limit stands

    @property
    def by(self) -> User:
        """The person on whose behalf the program acts."""
        return self.caller.membership.user

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        """REST framework's, with the scope around it, the repeats, and the answer rendered."""
        self.request_id = getattr(request, "request_id", "") or uuid.uuid4().hex
        with ExitStack() as stack:
            self._entered = stack
            wrapped = self.initialize_request(request, *args, **kwargs)
            self.args, self.kwargs, self.request = args, kwargs, wrapped
            self.headers = self.default_response_headers
            try:
                self.initial(wrapped, *args, **kwargs)
                handler = getattr(self, (wrapped.method or "").lower())
                work = partial(handler, wrapped, *args, **kwargs)
                once = getattr(handler, "repeatable", False)
                response = self._answer(wrapped, work) if once else work()
            except Exception as error:
                response = self.handle_exception(error)
            self.response = self.finalize_response(wrapped, response, *args, **kwargs)
            if isinstance(self.response, Response):
                self.response.render()
            self.response.headers["Content-Language"] = translation.get_language() or "en"
        self.response.headers["X-Request-Id"] = self.request_id
        if self.standing is not None:
            for name, value in limiting.headers(self.standing).items():
                self.response.headers[name] = value
        self.response.headers["Cache-Control"] = "no-store"
        return self.response

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """Let the caller in and enter its tenant, then ask for the right of the method."""
        self.format_kwarg = None
        request.accepted_renderer, request.accepted_media_type = self.perform_content_negotiation(
            request
        )
        self.caller = self._let_in(request)
        self.tenant = self.caller.key.tenant
        bind_contextvars(
            tenant=self.tenant.pk, key=self.caller.pk, user=self.caller.membership.user_id
        )
        self._entered.enter_context(scope.as_tenant(self.tenant))
        self._entered.enter_context(timezone.override(zoneinfo.ZoneInfo(self.tenant.time_zone)))
        self._entered.enter_context(translation.override(self._language(request)))
        for values in request.query_params.lists():
            for text in (values[0], *values[1]):
                parsing.check_text(text)
        handler = getattr(self, (request.method or "").lower(), None)
        right = getattr(handler, "right", None)
        if right is None:
            self.http_method_not_allowed(request)
        elif not self.caller.may(right.scope, right.action):
            code, sentence = self.caller.refusal(right.scope, right.action)
            raise Problem(403, code, sentence)

    def _let_in(self, request: Request) -> Caller:
        """Who calls, counted. Raises NoEntry, or Problem for one who comes too often.

        Before anything else happens, and on a connection of the limiter's own: no transaction of
        the call holds what others are counted in.
        """
        try:
            self.perform_authentication(request)
        except NoEntry as error:
            self.standing = limiting.count_stranger(request._request)
            if not self.standing.allowed:
                raise limiting.too_many(self.standing) from error
            logger.warning(
                "auth.key_refused code=%s key=%s request_id=%s",
                *(error.code, error.key_id, self.request_id),
            )
            raise
        caller: Any = request.user
        if not isinstance(caller, Caller):
            raise TypeError(caller)  # a view without KeyAuthentication
        self.standing = limiting.count_caller(caller)
        if not self.standing.allowed:
            raise limiting.too_many(self.standing)
        if caller.key.tenant.suspended_at:
            raise Problem(403, "tenant_suspended", _("This workspace is suspended."))
        return caller

    def _language(self, request: Request) -> str:
        """What the program asks for, else its creator's language, else the tenant's."""
        if request.headers.get("Accept-Language"):
            return translation.get_language_from_request(request._request)
        return self.by.language or self.tenant.language

    @property
    def may_read(self) -> bool:
        """Whether the texts of messages are shown to the key's creator."""
        return can(self.caller.membership, "messages.view_text")

    def may(self, scope_name: str, action: str) -> bool:
        return self.caller.may(scope_name, action)

    def _answer(self, request: Request, work: Callable[[], Response]) -> Response:
        sent = request.headers.get(idempotency.HEADER)
        if sent is None:
            return work()
        key = idempotency.read_header(sent)
        plain = not request.FILES
        return idempotency.once(
            self.caller,
            key,
            method=str(request.method),
            path=request.get_full_path(),
            body=idempotency.digest(
                request.data if plain else request.POST.dict(),
                {} if plain else request.FILES.dict(),
            ),
            now=timezone.now(),
            work=work,
        )

    # --- For the methods ---

    def given(
        self,
        kind: type[serializers.Serializer[Any]],
        *,
        partial: bool = False,
        **context: Any,
    ) -> dict[str, Any]:
        """The body, checked. Raises ValidationError."""
        read = kind(
            data=self.request.data, partial=partial, context={"tenant": self.tenant, **context}
        )
        read.is_valid(raise_exception=True)
        values: dict[str, Any] = read.validated_data
        return values

    def query(self, kind: type[serializers.Serializer[Any]] = PageQuery) -> dict[str, Any]:
        """The query of the address, checked. Raises ValidationError, Problem."""
        parsing.check_once(self.request.query_params)
        read = kind(data=self.request.query_params.dict())
        read.is_valid(raise_exception=True)
        values: dict[str, Any] = read.validated_data
        return values

    def page(
        self,
        rows: QuerySet[M],
        order: Sequence[str],
        query: dict[str, Any],
        show: Callable[[list[M]], Any],
    ) -> Response:
        """One page of `rows`, paged by key. Raises Problem for a cursor that is not one."""
        cursor = query["cursor"]
        if cursor and paging.decode(cursor, len(order)) is None:
            raise bad_cursor()
        found = paging.page(rows, order, after=cursor, size=query["limit"])
        answer: dict[str, Any] = {"items": show(found.rows), "next": found.next or None}
        if query["total"] == "1":
            answer["total"] = rows.order_by().count()
        return Response(answer)


def one(rows: QuerySet[M], pk: int) -> M:
    """The row, or 404: also when it is another tenant's."""
    found = rows.filter(pk=pk).first()
    if found is None:
        raise Problem(404, "not_found", _("There is nothing here under this address."))
    return found


class NoAddress(ApiView):
    """Anything below /api/ that is not an address; told only to those who have a key."""

    schema = None

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        try:
            super().initial(request, *args, **kwargs)
        except exceptions.MethodNotAllowed:
            pass  # it has no methods
        raise Problem(404, "not_found", _("There is nothing here under this address."))


def open_door(view: Callable[..., HttpResponseBase]) -> Callable[..., HttpResponseBase]:
    """A function that only hands on to views of ours: they ask for the key, the pages do not.

    Django's CSRF middleware looks at the function it calls first, so it is told as well; no cookie
    opens anything here.
    """
    view.login_required = False  # type: ignore[attr-defined]  # a mark on a function
    view.csrf_exempt = True  # type: ignore[attr-defined]  # a mark on a function
    return view
