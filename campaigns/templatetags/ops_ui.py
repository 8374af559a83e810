"""What only the operations page needs."""

from __future__ import annotations

from django import template
from django.utils.translation import gettext

register = template.Library()


@register.filter
def in_words(msgid: str) -> str:
    """A sentence that was stored in English, in the reader's language."""
    return gettext(msgid) if msgid else ""
