"""Bodies that come in: JSON within limits, without what no database or log should see."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import IO, Any, Final, NoReturn

from django.utils.datastructures import MultiValueDict
from django.utils.translation import gettext as _
from rest_framework.parsers import BaseParser

from agenticos.api.problems import Problem, bad_input

MAX_BYTES: Final = 1024 * 1024
MAX_DEPTH: Final = 32


class StrictJSONParser(BaseParser):
    """JSON of at most 1 MB and 32 levels; UTF-8, each key once, no NUL, no half characters."""

    media_type = "application/json"

    def parse(
        self,
        stream: IO[Any],
        media_type: str | None = None,
        parser_context: Mapping[str, Any] | None = None,
    ) -> Any:
        body = stream.read(MAX_BYTES + 1)
        if len(body) > MAX_BYTES:
            limit = {"limit": MAX_BYTES // 1024}
            raise Problem(400, "body_too_large", _("The body is over %(limit)s KB.") % limit)
        return read_json(body)


def read_json(body: bytes) -> Any:
    """The value of a JSON text. Raises Problem, 400."""
    try:
        value = json.loads(
            body.decode("utf-8"),
            object_pairs_hook=_each_once,
            parse_constant=_no_constant,
            parse_float=_finite,
        )
    except UnicodeDecodeError:
        raise Problem(400, "bad_json", _("The body is not UTF-8.")) from None
    except json.JSONDecodeError as error:
        place = {"line": error.lineno, "column": error.colno}
        text = _("The body is not JSON; look at line %(line)s, column %(column)s.") % place
        raise Problem(400, "bad_json", text) from None
    except RecursionError:
        raise _too_deep() from None
    except ValueError:
        raise Problem(400, "bad_json", _("The body holds a number that is none.")) from None
    check(value)
    return value


def check(value: Any) -> None:
    """Refuse what is nested too deep, and texts with NUL or lone surrogates. Raises Problem."""
    level = [value]
    for depth in range(MAX_DEPTH + 1):
        if depth == MAX_DEPTH and any(isinstance(item, (dict, list)) for item in level):
            break
        below: list[Any] = []
        for item in level:
            if isinstance(item, str):
                check_text(item)
            elif isinstance(item, dict):
                for key in item:
                    check_text(key)
                below.extend(item.values())
            elif isinstance(item, list):
                below.extend(item)
        if not below:
            return
        level = below
    raise _too_deep()


def check_text(text: str) -> None:
    """Refuse a text that cannot be stored. Raises Problem."""
    if "\x00" in text or any("\ud800" <= char <= "\udfff" for char in _wide(text)):
        raise Problem(
            400, "bad_text", _("A text holds a NUL or half a character, which no text has.")
        )


def check_once(values: MultiValueDict[str, Any]) -> None:
    """Refuse a name that a query or a form has twice: which would count? Raises Problem."""
    twice = [name for name, given in values.lists() if len(given) > 1]
    if twice:
        raise bad_input({name: [_("Name it once.")] for name in twice})


def _wide(text: str) -> str:
    return "" if text.isascii() else text


def _too_deep() -> Problem:
    limit = {"limit": MAX_DEPTH}
    return Problem(400, "too_deep", _("The body is nested deeper than %(limit)s levels.") % limit)


def _no_constant(name: str) -> NoReturn:
    raise ValueError(name)


def _finite(text: str) -> float:
    """The number of a text such as 1e5; `1e999` would be infinite, which JSON cannot say again."""
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(text)
    return number


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise Problem(400, "bad_json", _("An object names the same key twice."))
    return found
