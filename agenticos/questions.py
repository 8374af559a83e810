"""What a person is asked before an act with consequences: a dialog, or a page without scripts."""

from __future__ import annotations

from dataclasses import dataclass

from django.http import HttpRequest, HttpResponse

from agenticos.htmx import render_page


@dataclass(frozen=True, slots=True)
class Question:
    """All its text comes from the server: `points` are what follows from a yes.

    `yes` is the button; `back` is where "cancel" leads without scripts; `target` is the live part
    that the answer to the POST replaces.
    """

    title: str
    yes: str
    points: tuple[str, ...]
    back: str
    icon: str = "help-circle"
    danger: bool = False
    target: str = "#dialog-body"


def ask(request: HttpRequest, question: Question) -> HttpResponse:
    """The question, as a dialog's content for htmx; its form posts to the address asked from."""
    context = {"question": question, "action": request.get_full_path()}
    return render_page(request, "ask.html", context, parts=["dialog-body"])
