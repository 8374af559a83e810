"""Django's templates, whose contexts end with their page."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest
from django.template import TemplateDoesNotExist
from django.template.backends import django as backend
from django.template.context import make_context


class Templates(backend.DjangoTemplates):
    """The backend named in the settings."""

    def get_template(self, template_name: str) -> Page:
        return Page(super().get_template(template_name).template, self)


class Page(backend.Template):
    """A template that leaves no garbage behind.

    The layers of Django's context refer to the context, and it to them. So all that a page was
    made of, with every row, would stay until the collector looks for such circles: some 5 000
    objects of a long list.
    """

    def render(
        self, context: dict[str, Any] | None = None, request: HttpRequest | None = None
    ) -> Any:
        made = make_context(context, request, autoescape=self.backend.engine.autoescape)
        try:
            return self.template.render(made)
        except TemplateDoesNotExist as error:
            backend.reraise(error, self.backend)
        finally:
            made.dicts.clear()
