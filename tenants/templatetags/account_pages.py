"""What the pages of a person's own log-in ask."""

from __future__ import annotations

from django import template

from tenants import second_factor

register = template.Library()


@register.simple_tag(takes_context=True)
def second_factor_missing(context: template.Context) -> bool:
    """Whether a second factor is demanded of the person who looks, and they have none."""
    return second_factor.is_missing_anywhere(context["request"].user)
