"""Small pieces of every page: icons, form fields, times, the theme."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django import template
from django.forms import BoundField, CheckboxInput, CheckboxSelectMultiple, FileInput, Select
from django.http import HttpRequest
from django.templatetags.static import static
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext, ngettext, pgettext

register = template.Library()

SPRITE = "vendor/tabler-icons-3.51.0/sprite.svg"
THEMES = ("light", "dark")


@register.simple_tag
def icon(name: str, classes: str = "") -> SafeString:
    """An icon of the sprite, hidden from screen readers: the words stand beside it."""
    return format_html(
        '<svg class="icon {}" width="24" height="24" viewBox="0 0 24 24" fill="none"'
        ' stroke="currentColor" stroke-width="2" stroke-linecap="round" stroke-linejoin="round"'
        ' aria-hidden="true" focusable="false"><use href="{}#{}"></use></svg>',
        classes,
        static(SPRITE),
        name,
    )


@register.simple_tag(takes_context=True)
def theme(context: template.Context) -> str:
    """`light`, `dark`, or `system` when the person has not chosen."""
    request: HttpRequest | None = context.get("request")
    if request is None:
        return "system"
    user = getattr(request, "user", None)
    chosen = getattr(user, "theme", "") or request.COOKIES.get("theme", "")
    return chosen if chosen in THEMES else "system"


@register.filter
def ago(at: datetime | None) -> str:
    """How long ago, in one unit: "2 s ago"; static/js/app.js keeps it counting."""
    if at is None:
        return ""
    seconds = max(0, int((timezone.now() - at).total_seconds()))
    if seconds < 60:
        return gettext("%(n)s s ago") % {"n": seconds}
    if seconds < 3600:
        return gettext("%(n)s min ago") % {"n": seconds // 60}
    if seconds < 86_400:
        return gettext("%(n)s h ago") % {"n": seconds // 3600}
    days = seconds // 86_400
    return ngettext("%(n)d day ago", "%(n)d days ago", days) % {"n": days}


@register.filter
def when(at: datetime | None) -> str:
    """A time in the reader's zone, short: "14:20", "21 Nov, 14:20", "2 Dec 2025, 09:00".

    A <time>, with the whole date and the zone on hover; so not for use inside an attribute.
    """
    if at is None:
        return ""
    local, today = timezone.localtime(at), timezone.localdate()
    if local.date() == today:
        shown = date_format(local, "H:i")
    elif local.year == today.year:
        shown = date_format(local, pgettext("date format", "j M, H:i"))
    else:
        shown = date_format(local, pgettext("date format", "j M Y, H:i"))
    return _time(local, shown)


@register.filter
def day(at: datetime | None) -> str:
    """The day alone, "22 Nov", with its year when that is another one; a <time> like `when`."""
    if at is None:
        return ""
    local = timezone.localtime(at)
    if local.year == timezone.localdate().year:
        return _time(local, date_format(local, pgettext("date format", "j M")))
    return _time(local, date_format(local, pgettext("date format", "j M Y")))


def _time(local: datetime, shown: str) -> SafeString:
    whole = date_format(local, pgettext("date format", "l, j F Y, H:i"))
    return format_html(
        '<time datetime="{}" title="{} ({})">{}</time>',
        local.isoformat(timespec="seconds"),
        whole,
        timezone.get_current_timezone_name(),
        shown,
    )


@register.filter
def monogram(handle: str) -> str:
    """Two characters that tell accounts apart: a team's share their beginning, so the end counts.

    >>> monogram("acme.clinica"), monogram("acme_2"), monogram("acme2"), monogram("acme")
    ('CL', 'A2', 'A2', 'AC')
    """
    words = "".join(letter if letter.isalnum() else " " for letter in handle).split() or [""]
    first, last = words[0], words[-1]
    short = last[:2] if len(last) > 1 and not last[-1].isdigit() else first[:1] + last[-1:]
    return short.upper()


@register.filter
def initials(name: str) -> str:
    """Up to two letters for a picture that nobody has."""
    parts = [part for part in name.replace("@", "").replace(".", " ").split() if part]
    return "".join(part[0] for part in parts[:2]).upper()


_CONTROLS: tuple[tuple[type, str], ...] = (
    (CheckboxSelectMultiple, ""),
    (CheckboxInput, "form-check-input"),
    (Select, "form-select"),
    (FileInput, "form-control"),
)


@register.filter
def control(field: BoundField) -> SafeString:
    """The field's widget with Tabler's class, marked invalid when it is."""
    widget = field.field.widget
    css = next((css for kind, css in _CONTROLS if isinstance(widget, kind)), "form-control")
    if field.errors:
        css += " is-invalid"
    extra = " ".join(filter(None, (widget.attrs.get("class", ""), css)))
    return field.as_widget(attrs={"class": extra} if extra.strip() else None)


@register.filter
def is_kind(field: BoundField, name: str) -> bool:
    """Whether the field's widget is a `checkbox`, or `checkboxes`: they are laid out otherwise."""
    kinds: dict[str, type] = {"checkbox": CheckboxInput, "checkboxes": CheckboxSelectMultiple}
    return isinstance(field.field.widget, kinds[name])


@register.filter
def get(mapping: Any, key: Any) -> Any:
    """`mapping[key]`, or None."""
    try:
        return mapping[key]
    except (KeyError, IndexError, TypeError):
        return None


@register.filter
def control_labelled(field: BoundField) -> SafeString:
    """The field's widget where there is no room for a label: it is read out all the same."""
    return field.as_widget(attrs={"class": "form-select", "aria-label": str(field.label)})
