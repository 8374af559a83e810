"""Log lines: JSON for machines, columns for people; ids, counts and codes, and nothing personal.

A line is `logger.info("campaign.sent", extra={"campaign": 7, "messages": [1, 2]})`. Of `extra`
and of what is bound only the names in `FIELDS` are written, so that a new one is a decision. The
ids that hold for a while are bound with `bound()`; the tenant is read off the scope in force.
`clean` is the net below all of it: it takes out what looks like a secret or a person.
"""

from __future__ import annotations

import logging
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator, MutableMapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from functools import partial
from traceback import TracebackException
from typing import Any, Final

import structlog
from structlog.contextvars import bind_contextvars, clear_contextvars, get_contextvars

from agenticos import scope

__all__ = [
    "Lines", "bind_contextvars", "bound", "clean", "clear_contextvars", "config", "count",
    "tallied",
]  # fmt: skip

bound = structlog.contextvars.bound_contextvars
Event = MutableMapping[str, Any]

IDS: Final = (
    "request_id",  # the request that this line belongs to
    "woken_by",  # in a worker: the request whose ring began this chain of work
    "task", "task_id",
    "tenant", "user", "key",
    "campaign", "message", "lead", "account", "connection", "object", "object_id",
    "messages", "leads", "items", "pk",
)  # fmt: skip
FACTS: Final = (
    "kind", "method", "route", "status", "ms", "step", "channel", "state", "reason", "code",
    "queued", "sent", "later", "failed", "unknown", "skipped", "cancelled", "returned", "done",
    "waiting", "claimed", "rows", "chunks", "moved",
    "number", "hash",  # of the newest seal of an audit trail: a copy out of the database's reach
)  # fmt: skip
FIELDS: Final = frozenset((*IDS, *FACTS))

# Numbers that we made or checked: the net would take a UUID of digits for a phone.
OURS: Final = frozenset({"request_id", "woken_by", "task_id", "hash"})

_NET: Final[tuple[tuple[re.Pattern[str], str], ...]] = tuple(
    (re.compile(pattern), put)
    for pattern, put in (
        (r"\baos_\w+", "[key]"),
        (r"(?i)\b(bearer|basic)\s+[^\s'\",;]+", r"\1 [token]"),
        (r"\beyJ[\w-]+\.[\w-]+\.[\w-]+", "[token]"),
        (r"\b(?:pit-|EAA|IGQ|sk-)[\w-]{12,}", "[token]"),
        (r"://[^/\s:@]*:[^/\s@]+@", "://[login]@"),
        (r"[\w.+%-]+@[\w-]+(?:\.[\w-]+)+", "[e-mail]"),
        (r"(?<!\w)@[\w.]{2,30}", "@[handle]"),
        (
            r"(?i)\b((?:to_)?handle|user_?name|e-?mail|phone|text|body|bio|q|city|first_name"
            r"|full_name|authorization|cookie|csrfmiddlewaretoken|\w*token|api_?key|secret"
            r"|pass(?:word|wd)?)(['\"]?\)?\s*[=:]\s*)"
            r"(?:'[^']*'|\"[^\"]*\"|\([^)]*\)|[^\s,;&)}\]]+)",
            r"\1\2[redacted]",
        ),
        (r"(?<![\w.])\+?\d{1,3}[ .-]?\(?\d{2,3}\)?[ .-]?\d{4,5}[ .-]?\d{4}(?![\w.])", "[phone]"),
        (r"(?<![\w.])\+?\d{10,15}(?![\w.])", "[phone]"),
    )
)
_SUSPECT = re.compile(r"[@=:+]|\d{4}|aos_|eyJ|pit-|EAA|IGQ|sk-|(?i:bearer|basic) ")
_QUOTED = re.compile(r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"|=\(.*\)")


def config(kind: str, level: str) -> dict[str, Any]:
    """Django's LOGGING: all lines to stderr, as `kind` ("console" or "json") from `level` on."""
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"lines": {"()": "agenticos.logs.Lines", "kind": kind}},
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "lines"}},
        "root": {"handlers": ["stderr"], "level": level},
        "loggers": {
            # httpx logs whole addresses; django-q prints a banner at every start.
            "httpx": {"level": "WARNING"},
            "django-q": {"handlers": ["stderr"], "level": "WARNING", "propagate": False},
            "django.request": {"level": "ERROR"},
            # It names every reset link whose form was too old.
            "django.security.csrf": {"level": "ERROR"},
            "tqdm": {"level": "WARNING"},
            # A line whenever a page waits for a thread, be it for a millisecond.
            "waitress.queue": {"level": "ERROR"},
        },
    }


def clean(text: str) -> str:
    """`text` without what looks like a secret or a person.

    >>> clean("key aos_k1_abc of ana@example.com, Authorization: Bearer x.y")
    'key [key] of [e-mail], Authorization: [redacted] [token]'
    >>> clean("lead handle='ana.fit' phone=+5511987654321, call (11) 98765-4321, campaign 7")
    'lead handle=[redacted] phone=[redacted], call (11) 98765-4321, campaign 7'
    """
    if _SUSPECT.search(text):
        for pattern, put in _NET:
            text = pattern.sub(put, text)
    return text


def traceback_of(error: BaseException) -> str:
    """Where it happened and its kind. What an exception says may quote a row, so quotes go.

    Only the first line of its words stays: PostgreSQL tells whole keys in the second.
    """
    parts = []
    seen: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        whole = TracebackException.from_exception(link, capture_locals=False)
        kind = f"{type(link).__module__}.{type(link).__qualname__}".removeprefix("builtins.")
        parts.append("".join([*whole.stack.format(), f"{kind}: {said(link)}"]))
        link = link.__cause__ or (None if link.__suppress_context__ else link.__context__)
    return "\n\ncaused\n\n".join(reversed(parts))


def said(error: BaseException) -> str:
    """The first line of an exception's words, without what it quotes.

    >>> said(KeyError("ana"))
    '…'
    >>> said(ValueError("Key (handle)=(ana) exists"))
    'Key (handle)… exists'
    """
    try:
        lines = str(error).strip().splitlines()
    except Exception:  # a stranger's __str__ must not cost the line
        return ""
    return clean(_QUOTED.sub("…", lines[0]))[:300] if lines else ""


def carried() -> Callable[[], None]:
    """For a pool's `initializer`: what is bound here is bound in its threads too."""
    return partial(_bind, dict(get_contextvars()))


def _bind(ids: dict[str, Any]) -> None:
    bind_contextvars(**ids)


# --- One line per slice -----------------------------------------------------------------------
_tally: ContextVar[Counter[str] | None] = ContextVar("tally", default=None)


@contextmanager
def tallied() -> Iterator[Counter[str]]:
    """Collect what is counted inside: the numbers of the slice's line."""
    tally: Counter[str] = Counter()
    token = _tally.set(tally)
    try:
        yield tally
    finally:
        _tally.reset(token)


def count(**numbers: int) -> None:
    """Add to the line of the slice that runs, if one does."""
    tally = _tally.get()
    if tally is not None:
        tally.update(numbers)


# --- The format -------------------------------------------------------------------------------


def collect(logger: Any, method: str, event: Event) -> Event:
    """The fields of a line, in their order: time, level, logger, message, ids, facts."""
    record: logging.LogRecord = event["_record"]
    message = str(event["event"])
    request = getattr(record, "request", None)
    if request is not None:  # Django's own lines name the path: it may hold a password's link
        message = message.replace(str(getattr(request, "path", "")) or "\0", route_of(request))
    line: dict[str, Any] = {
        "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
        "level": record.levelname,
        "logger": record.name,
        "event": clean(message),
    }
    here = scope.current()
    if here is not None and here.tenant_id is not None:
        line["tenant"] = here.tenant_id
    for source in (get_contextvars(), record.__dict__):
        for name, value in source.items():
            if name in FIELDS and value not in (None, ""):
                net = isinstance(value, str) and name not in OURS
                line[name] = clean(value) if net else value
    error = event.get("exc_info") or record.exc_info
    if isinstance(error, tuple) and error[1] is not None:
        line["exception"] = traceback_of(error[1])
    line["_record"], line["_from_structlog"] = event["_record"], event["_from_structlog"]
    return line


def route_of(request: Any) -> str:
    """The route that a request took, such as `t/<slug:tenant>/leads/`; "" for none."""
    match = getattr(request, "resolver_match", None)
    return str(getattr(match, "route", "") or "")


def _named(logger: Any, method: str, event: Event) -> Event:
    """The names of the JSON form."""
    event = {"message" if name == "event" else name: value for name, value in event.items()}
    if "exception" in event:
        event["traceback"] = event.pop("exception")
    return event


def _for_people(logger: Any, method: str, event: Event) -> Event:
    """The names that the console's renderer knows."""
    event["timestamp"] = str(event.pop("time"))[11:23]
    event["level"] = str(event["level"]).lower()
    event.pop("logger", None)
    return event


class Lines(structlog.stdlib.ProcessorFormatter):
    """The formatter of every handler; `kind` is `json` or `console`."""

    def __init__(self, kind: str) -> None:
        bare = structlog.stdlib.ProcessorFormatter.remove_processors_meta
        forms: dict[str, list[Any]] = {
            "json": [bare, _named, structlog.processors.JSONRenderer(ensure_ascii=False)],
            "console": [
                bare,
                _for_people,
                structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), pad_event_to=24),
            ],
        }
        # `fmt` of the base class stands for the last processor; we name all of them.
        super().__init__(processors=forms[kind], foreign_pre_chain=[collect])
