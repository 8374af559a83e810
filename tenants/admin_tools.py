"""Buttons of the admin's change pages: each leads to a page that says what will happen, and asks.

A tool is a method `tool_<name>(request, obj)`; its GET changes nothing. Tools run outside a
transaction: what they call opens its own, or calls a provider between two.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, cast

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.http import HttpRequest, HttpResponse, HttpResponseBase, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.functional import Promise

from agenticos.errors import Refused
from tenants.models import User

if TYPE_CHECKING:
    ModelAdmin = admin.ModelAdmin[Any]
else:
    ModelAdmin = admin.ModelAdmin


@dataclass(frozen=True, slots=True)
class Tool:
    """A button: its name in the address, its words, and whether a row has it now."""

    name: str
    label: Promise
    shown: Callable[[Any], bool] = field(default=lambda obj: True)


class ToolsAdmin(ModelAdmin):
    """A change page with tools. A refusal is a sentence on the page, not an error."""

    tools: ClassVar[tuple[Tool, ...]] = ()
    change_form_template = "admin/tools_change_form.html"

    def get_urls(self) -> list[URLPattern]:
        return [
            path(
                f"<path:object_id>/{tool.name}/",
                transaction.non_atomic_requests(self.admin_site.admin_view(self._opens(tool))),
                name=self._url_name(tool),
            )
            for tool in self.tools
        ] + super().get_urls()

    def _url_name(self, tool: Tool) -> str:
        return f"{self.opts.app_label}_{self.opts.model_name}_{tool.name}"

    def _opens(self, tool: Tool) -> Callable[..., HttpResponseBase]:
        def view(request: HttpRequest, object_id: str) -> HttpResponseBase:
            obj = self.get_object(request, object_id)
            if obj is None:
                return self._get_obj_does_not_exist_redirect(  # type: ignore[attr-defined,no-any-return]  # ModelAdmin's own
                    request, self.opts, object_id
                )
            if not self.has_change_permission(request, obj):
                raise PermissionDenied
            try:
                return cast(HttpResponseBase, getattr(self, f"tool_{tool.name}")(request, obj))
            except Refused as error:
                messages.error(request, str(error))
                return self.back(obj)

        return view

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> Any:
        obj = self.get_object(request, object_id) if object_id else None
        tools = [
            (reverse(f"admin:{self._url_name(tool)}", args=[obj.pk]), tool.label)
            for tool in self.tools
            if obj is not None and tool.shown(obj)
        ]
        try:
            return super().changeform_view(
                request, object_id, form_url, {**(extra_context or {}), "tools": tools}
            )
        except Refused as error:  # all that was posted is undone
            messages.error(request, str(error))
            return HttpResponseRedirect(request.get_full_path())

    def back(self, obj: Any) -> HttpResponse:
        """To the change page."""
        name = f"admin:{self.opts.app_label}_{self.opts.model_name}_change"
        return HttpResponseRedirect(reverse(name, args=[obj.pk]))

    def ask(
        self,
        request: HttpRequest,
        obj: Any,
        *,
        title: str,
        yes: str,
        points: Sequence[str] = (),
        danger: bool = False,
        **context: Any,
    ) -> HttpResponse:
        """A page that says what will happen, with the button that does it."""
        return TemplateResponse(
            request,
            "admin/question.html",
            {
                **self.admin_site.each_context(request),
                "title": title,
                "subtitle": None,
                "points": points,
                "yes": yes,
                "danger": danger,
                "object": obj,
                "opts": self.opts,
                **context,
            },
        )

    @staticmethod
    def by(request: HttpRequest) -> User:
        """Who asks: the door lets nobody in who has not logged in."""
        return cast(User, request.user)
