"""Keep the catalogues whole: `translations update`, and `translations check` for CI.

Neither needs gettext's programs, which bare machines do not have: Babel reads the Python sources,
Django's own `templatize` turns templates into something Babel reads, polib reads and writes the
catalogues. `check` fails for a string that is missing, untranslated, fuzzy or no longer used, for
placeholders that differ from the source's, and for a compiled catalogue that says something else.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polib
from babel.messages.extract import extract_python
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils.translation import to_locale
from django.utils.translation.template import templatize

# Function name -> which arguments are msgid, plural and (marked "c") context.
KEYWORDS: dict[str, tuple[Any, ...] | None] = {
    "_": None,
    "gettext": None,
    "gettext_lazy": None,
    "gettext_noop": None,
    "ngettext": (1, 2),
    "ngettext_lazy": (1, 2),
    "pgettext": ((1, "c"), 2),
    "pgettext_lazy": ((1, "c"), 2),
    "npgettext": ((1, "c"), 2, 3),
    "npgettext_lazy": ((1, "c"), 2, 3),
}
APPS = ("agenticos", "tenants", "integrations", "leads", "campaigns")
SKIPPED = {"tests", "migrations", "sandbox", "__pycache__"}
PLURALS = "nplurals=2; plural=(n > 1);"
_PLACEHOLDER = re.compile(r"%\([A-Za-z_]+\)[sd]|\{[A-Za-z_]*\}")

Key = tuple[str, str]  # context, msgid


@dataclass(slots=True)
class Found:
    """A string of the sources: its plural, and the files it stands in."""

    plural: str = ""
    files: set[str] = field(default_factory=set)


class Command(BaseCommand):
    help = "Update the translation catalogues from the sources, or check that they are complete."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("what", choices=["update", "check"])

    def handle(self, *args: Any, **options: Any) -> None:
        found = strings()
        for path in catalogues():
            if options["what"] == "update":
                update(path, found)
                self.stdout.write(f"{path.relative_to(settings.BASE_DIR)}: {len(found)} strings")
        wrong = [line for path in catalogues() for line in problems(path, found)]
        for line in wrong:
            self.stdout.write(line)
        if wrong:
            raise CommandError(f"{len(wrong)} translations need work.")
        self.stdout.write(f"{len(found)} strings, all translated.")


def catalogues() -> list[Path]:
    """The .po file of every language but the source's."""
    folder = Path(settings.LOCALE_PATHS[0])
    return [
        folder / to_locale(code) / "LC_MESSAGES" / "django.po"
        for code, _name in settings.LANGUAGES
        if code != "en"
    ]


def strings() -> dict[Key, Found]:
    """Every translatable string of the project, by context and msgid."""
    found: dict[Key, Found] = {}
    for path in _sources():
        name = path.relative_to(settings.BASE_DIR).as_posix()
        for key, plural in _messages(path):
            entry = found.setdefault(key, Found())
            entry.plural = entry.plural or plural
            entry.files.add(name)
    return found


def _sources() -> Iterator[Path]:
    base = Path(settings.BASE_DIR)
    for app in APPS:
        for path in sorted((base / app).rglob("*.py")):
            if not SKIPPED & set(path.relative_to(base).parts):
                yield path
    for suffix in ("*.html", "*.txt"):
        yield from sorted((base / "templates").rglob(suffix))


def _messages(path: Path) -> Iterator[tuple[Key, str]]:
    text = path.read_text(encoding="utf-8")
    if path.suffix != ".py":
        # What was markup is filler by now; its indentation would only confuse the tokenizer.
        lines = templatize(text, origin=str(path)).splitlines()
        text = "\n".join(line.lstrip() for line in lines)
    file = io.BytesIO(text.encode())
    for _line, function, message, _comments in extract_python(file, list(KEYWORDS), [], {}):
        words = message if isinstance(message, tuple) else (message,)
        spec = KEYWORDS[function or "_"] or (1,)
        context = plural = msgid = ""
        for place in spec:
            at = place[0] if isinstance(place, tuple) else place
            word = words[at - 1] if at <= len(words) else None
            if isinstance(place, tuple):
                context = word or ""
            elif not msgid:
                msgid = word or ""
            else:
                plural = word or ""
        if msgid:
            yield (context, msgid), plural


def update(path: Path, found: dict[Key, Found]) -> None:
    """Bring the catalogue in line with the sources, and compile it; new strings stay empty."""
    path.parent.mkdir(parents=True, exist_ok=True)
    old = polib.pofile(str(path)) if path.is_file() else polib.POFile()
    known = {(entry.msgctxt or "", entry.msgid): entry for entry in old}
    new = polib.POFile(wrapwidth=100)
    new.metadata = {
        "Project-Id-Version": "AgenticOS",
        "Language": path.parent.parent.name,
        "MIME-Version": "1.0",
        "Content-Type": "text/plain; charset=UTF-8",
        "Content-Transfer-Encoding": "8bit",
        "Plural-Forms": PLURALS,
    }
    for key in sorted(found, key=lambda key: (sorted(found[key].files)[0], key)):
        context, msgid = key
        before, source = known.get(key), found[key]
        entry = polib.POEntry(
            msgid=msgid,
            msgctxt=context or None,
            occurrences=[(name, "") for name in sorted(source.files)],
            flags=["python-format"] if re.search(r"%\([A-Za-z_]+\)[sd]", msgid) else [],
        )
        if source.plural:
            entry.msgid_plural = source.plural
            entry.msgstr_plural = {0: "", 1: ""}
            if before and before.msgstr_plural:
                entry.msgstr_plural = before.msgstr_plural
        elif before:
            entry.msgstr = before.msgstr
        new.append(entry)
    new.save(str(path))
    new.save_as_mofile(str(path.with_suffix(".mo")))


def problems(path: Path, found: dict[Key, Found]) -> list[str]:
    """What is wrong with one catalogue, a line each."""
    name = path.relative_to(settings.BASE_DIR).as_posix()
    if not path.is_file():
        return [f"{name}: not there; run `manage.py translations update`"]
    entries = {
        (entry.msgctxt or "", entry.msgid): entry
        for entry in polib.pofile(str(path))
        if not entry.obsolete
    }
    wrong = [
        f"{name}: missing: {key[1]!r} ({sorted(source.files)[0]})"
        for key, source in found.items()
        if key not in entries
    ]
    wrong += [f"{name}: no longer used: {key[1]!r}" for key in entries if key not in found]
    for key, entry in entries.items():
        texts = list(entry.msgstr_plural.values()) if entry.msgid_plural else [entry.msgstr]
        if entry.fuzzy:
            wrong.append(f"{name}: fuzzy: {key[1]!r}")
        elif not texts or not all(texts):
            wrong.append(f"{name}: untranslated: {key[1]!r}")
        elif any(_marks(text) - _marks(entry.msgid + entry.msgid_plural) for text in texts):
            wrong.append(f"{name}: placeholders differ: {key[1]!r}")
        elif _marks(entry.msgid_plural or entry.msgid) - _marks(texts[-1]):
            wrong.append(f"{name}: a placeholder is lost: {key[1]!r}")
    if not _compiled_says_the_same(path, entries):
        wrong.append(f"{name}: the .mo is older; run `manage.py translations update`")
    return wrong


def _marks(text: str) -> set[str]:
    return set(_PLACEHOLDER.findall(text))


def _compiled_says_the_same(path: Path, entries: dict[Key, Any]) -> bool:
    """Compared by content: a clone gives all files the same age."""
    compiled = path.with_suffix(".mo")
    if not compiled.is_file():
        return False
    says = {
        (entry.msgctxt or "", entry.msgid): (entry.msgstr, dict(entry.msgstr_plural))
        for entry in polib.mofile(str(compiled))
    }
    wanted = {
        key: (entry.msgstr, dict(entry.msgstr_plural))
        for key, entry in entries.items()
        if entry.msgstr or any(entry.msgstr_plural.values())
    }
    return says == wanted
