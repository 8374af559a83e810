"""Templates of messages: placeholders, fallbacks, optional parts and spintax, and nothing else.

    Oi {first_name|tudo bem}, {{vi|encontrei}} seu perfil de {city?}!

`{name}` is a value; `{name|text}` has a fallback for when it is empty; `{name?}` leaves together
with the punctuation and the little word that tied it in ("de {city?}!" becomes "!"); `{{a|b|c}}`
is one of its variants, nested as deep as 10, chosen by a seed: the same lead always gets the same
text. `\\{`, `\\}` and `\\|` are those characters themselves.
No code can be reached: a template is parsed into our own few node types, and values are inserted
as text that is never parsed again. Pure: text in, text out.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from typing import Final

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

MAX_LENGTH: Final = 2_000  # characters of a template; Instagram takes 1 000 of a message
_MAX_DEPTH: Final = 10
_MAX_VALUE: Final = 200  # characters of an inserted value


class BadTemplate(ValueError):
    """A template that cannot be saved: `code` and `params` for `sentence_for`."""

    def __init__(self, code: str, **params: str | int) -> None:
        super().__init__(code)
        self.code = code
        self.params = params

    @property
    def sentence(self) -> str:
        """What is wrong and what to do, in the reader's language."""
        return sentence_for(self.code, self.params)


@dataclass(frozen=True, slots=True)
class Slot:
    """A placeholder; `fallback` is None when there is none."""

    name: str
    fallback: str | None = None
    optional: bool = False


@dataclass(frozen=True, slots=True)
class Choice:
    """Spintax: one of the variants, each a sequence of nodes."""

    variants: tuple[tuple["Node", ...], ...]


Node = str | Slot | Choice


@dataclass(frozen=True, slots=True)
class Template:
    """A parsed template: `text` as written and its nodes."""

    text: str
    nodes: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Rendered:
    """A finished text. `missing` names the empty values without fallback, in order: the caller
    holds the lead, since the text has gaps there."""

    text: str
    missing: tuple[str, ...]


def parse(text: str) -> Template:
    """Read a template. Raises BadTemplate: empty, too long, unknown placeholder, braces unclosed.

    >>> parse("Oi {first_name|você}!").nodes
    ('Oi ', Slot(name='first_name', fallback='você', optional=False), '!')
    >>> parse("Oi {firstname}!")
    Traceback (most recent call last):
    ...
    campaigns.rendering.BadTemplate: unknown_placeholder
    """
    if not isinstance(text, str) or not text.strip():
        raise BadTemplate("empty_template")
    if len(text) > MAX_LENGTH:
        raise BadTemplate("template_too_long", length=len(text), limit=MAX_LENGTH)
    # What no text has would travel to the provider, or break the database (NUL).
    if _CONTROL.search(text):
        raise BadTemplate("control_character")
    return _parse(text)


_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")


@lru_cache(maxsize=512)
def _parse(text: str) -> Template:
    parser = _Parser(text)
    nodes = parser.sequence(depth=0)
    return Template(text, nodes)


class _Parser:
    """Recursive descent over the characters of a template."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0

    def sequence(self, depth: int) -> tuple[Node, ...]:
        """Nodes up to the end, or (inside a choice) up to its `|` or `}}`, which stay unread."""
        nodes: list[Node] = []
        plain: list[str] = []

        def close() -> None:
            if plain:
                nodes.append("".join(plain))
                plain.clear()

        text = self._text
        while self._at < len(text):
            char = text[self._at]
            if char == "\\" and text[self._at + 1 : self._at + 2] in ("{", "}", "|", "\\"):
                plain.append(text[self._at + 1])
                self._at += 2
            elif text.startswith("{{", self._at):
                close()
                nodes.append(self._choice(depth + 1))
            elif char == "{":
                close()
                nodes.append(self._slot())
            elif depth and (char == "|" or text.startswith("}}", self._at)):
                break
            elif char == "}":
                raise BadTemplate("unbalanced_braces", position=self._at + 1)
            else:
                plain.append(char)
                self._at += 1
        close()
        return tuple(nodes)

    def _choice(self, depth: int) -> Choice:
        start = self._at
        if depth > _MAX_DEPTH:
            raise BadTemplate("too_deep", limit=_MAX_DEPTH)
        self._at += 2
        variants = [self.sequence(depth)]
        while self._text.startswith("|", self._at):
            self._at += 1
            variants.append(self.sequence(depth))
        if not self._text.startswith("}}", self._at):
            raise BadTemplate("unbalanced_braces", position=start + 1)
        self._at += 2
        # `{{first_name}}` is how other tools write a placeholder: never send the bare word.
        if len(variants) == 1:
            raise BadTemplate("single_variant", text=self._text[start : self._at][:60])
        return Choice(tuple(variants))

    def _slot(self) -> Slot:
        start = self._at
        end = self._text.find("}", start)
        inside = self._text[start + 1 : end]
        if end < 0 or "{" in inside:
            raise BadTemplate("unbalanced_braces", position=start + 1)
        self._at = end + 1
        name, bar, fallback = inside.partition("|")
        name = name.strip()
        optional = name.endswith("?")
        name = name.removesuffix("?").strip()
        if name not in PLACEHOLDERS:
            raise BadTemplate(
                "unknown_placeholder", name=name[:60], known=", ".join(sorted(PLACEHOLDERS))
            )
        if bar and optional:
            raise BadTemplate("fallback_and_optional", name=name)
        if bar and not fallback.strip():
            raise BadTemplate("empty_fallback", name=name)
        return Slot(name, fallback.strip() if bar else None, optional)


def placeholders(text: str) -> tuple[str, ...]:
    """Names of the placeholders in order of appearance, each once. Raises BadTemplate.

    >>> placeholders("{{Oi|Olá}} {first_name|você}, de {city?}")
    ('first_name', 'city')
    """
    return tuple(dict.fromkeys(slot.name for slot in _slots(parse(text).nodes)))


def _slots(nodes: tuple[Node, ...]) -> Iterator[Slot]:
    for node in nodes:
        if isinstance(node, Slot):
            yield node
        elif isinstance(node, Choice):
            for variant in node.variants:
                yield from _slots(variant)


def combinations(template: Template | str) -> int:
    """How many different texts the spintax can make, apart from the placeholders' values.

    >>> combinations("{{a|b|c}} {{d|{{e|f}}}}")
    9
    """
    parsed = parse(template) if isinstance(template, str) else template
    return _combinations(parsed.nodes)


def _combinations(nodes: tuple[Node, ...]) -> int:
    count = 1
    for node in nodes:
        if isinstance(node, Choice):
            count *= sum(_combinations(variant) for variant in node.variants)
    return count


def render(template: Template | str, values: Mapping[str, str], seed: str) -> Rendered:
    """Write the text for one lead. The same template, values and seed give the same text.

    `seed` is any text that names the recipient, such as "campaign:7 lead:42".

    >>> render("Oi {first_name|tudo bem}, vi seu perfil em {city?}!", {"first_name": "Ana"}, "1")
    Rendered(text='Oi Ana, vi seu perfil!', missing=())
    >>> render("Oi {first_name}!", {}, "1").missing
    ('first_name',)
    """
    parsed = parse(template) if isinstance(template, str) else template
    parts: list[str] = []
    missing: dict[str, None] = {}
    _write(parsed.nodes, values, _Dice(seed), parts, missing)
    return Rendered(_tidy("".join(parts)), tuple(missing))


class _Dice:
    """Choices out of a seed: stable over versions of Python and machines, unlike `random`."""

    def __init__(self, seed: str) -> None:
        self._seed = seed.encode("utf-8", "surrogatepass")
        self._count = 0

    def pick(self, sides: int) -> int:
        """A number from 0 to `sides` - 1; each throw is independent of the others."""
        self._count += 1
        digest = blake2b(self._seed, digest_size=8, salt=self._count.to_bytes(4, "big")).digest()
        return int.from_bytes(digest, "big") % sides


# Marks that a value was left out here; no value can bring it in, since values are cleaned.
_GAP: Final = "\x00"
_SPACES = re.compile(r"[ \t\u00a0]+")


def _write(
    nodes: tuple[Node, ...],
    values: Mapping[str, str],
    dice: _Dice,
    parts: list[str],
    missing: dict[str, None],
) -> None:
    for node in nodes:
        if isinstance(node, str):
            parts.append(node)
        elif isinstance(node, Choice):
            _write(node.variants[dice.pick(len(node.variants))], values, dice, parts, missing)
        else:
            value = _value(values.get(node.name))
            if not value and node.fallback is not None:
                value = node.fallback
            if not value:
                if not node.optional:
                    missing[node.name] = None
                value = _GAP
            parts.append(value)


def _value(value: str | None) -> str:
    """A value as one line of plain text; what would break the text or our marks is taken out."""
    if not value:
        return ""
    text = " ".join(_CONTROL.sub(" ", value).split())
    return text if len(text) <= _MAX_VALUE else text[: _MAX_VALUE - 1].rstrip() + "…"


# Little words that tie a value in and hang in the air without it.
_TIES: Final = (
    "de|da|do|das|dos|em|na|no|nas|nos|com|para|pra|pro|por|pela|pelo|sobre|a|à|ao|e"
    "|from|in|at|of|with|for|to|about|and|near"
)
_END_MARK: Final = r"[,;.!?…](?!\))|:(?![-)(DPdp])"  # not the colon of a smiley
_GAP_IN_BRACKETS = re.compile(
    rf"[ \t]*[(\[\"“'‘]\s*(?:(?:{_TIES})\s+)?{_GAP}\s*[)\]\"”'’]", re.IGNORECASE
)
# ", de {city?}, tudo" and " — {city?} — e": the mark before leaves, the one after stays.
_GAP_BETWEEN_MARKS = re.compile(
    rf"[ \t]*[,;–—-][ \t]*(?:(?:{_TIES})[ \t]+)?{_GAP}(?=[ \t]*(?:{_END_MARK}|[–—]|$))",
    re.IGNORECASE | re.MULTILINE,
)
_GAP_AFTER_TIE = re.compile(rf"(?:(?<=\s)|^)(?:{_TIES})[ \t]+{_GAP}", re.IGNORECASE | re.MULTILINE)
_GAPS = re.compile(rf"{_GAP}(?:[ \t]*{_GAP})+")
# A left-out beginning of a sentence takes its comma along, and the next word begins instead.
_GAP_AT_START = re.compile(rf"(^|(?<=[.!?…])[ \t]+|\n)[ \t]*{_GAP}[ \t]*(?:[,;:–—-][ \t]*)?(\w?)")
_GAP_BEFORE_MARK = re.compile(rf"[ \t]*{_GAP}[ \t]*(?={_END_MARK}|$)", re.MULTILINE)
_EMPTY_LINES = re.compile(r"\n[ \t]*\n[ \t]*\n\s*")
# The same greeting twice in a row: "Oi, oi", "Olá! Oi Ana" stays, since those differ on purpose.
_GREETINGS: Final = (
    "oi|oie|oiê|olá|ola|opa|e aí|e ai|hey|hi|hello|bom dia|boa tarde|boa noite|tudo bem|fala|salve"
)
_DOUBLED_GREETING = re.compile(
    rf"(?<!\w)({_GREETINGS})(?!\w)[ \t]*[,!.?]*[ \t]+\1(?!\w)", re.IGNORECASE
)


def _tidy(text: str) -> str:
    """Close the gaps that left-out values made, and give every line its spaces right."""
    if _GAP in text:
        text = _GAP_IN_BRACKETS.sub("", text)
        text = _GAP_BETWEEN_MARKS.sub("", text)
        text = _GAP_AFTER_TIE.sub(_GAP, text)
        text = _GAPS.sub(_GAP, text)
        text = _GAP_AT_START.sub(lambda match: match[1] + match[2].upper(), text)
        text = _GAP_BEFORE_MARK.sub("", text)
        text = _EMPTY_LINES.sub("\n\n", text.replace(_GAP, ""))
    text = _SPACES.sub(" ", text)
    text = _DOUBLED_GREETING.sub(r"\1", text)
    return "\n".join(line.strip() for line in text.splitlines()).strip()


# --- Words for people ---

PLACEHOLDERS: Final[dict[str, Promise]] = {
    "first_name": _("First name, without titles and emoji; empty for companies"),
    "name": _("Name as on the profile"),
    "handle": _("Instagram handle without @"),
    "city": _("City"),
    "category": _("Category of the profile"),
    "website": _("Website"),
}

SENTENCES: Final[dict[str, Promise]] = {
    "empty_template": _("The text is empty. Write the message that people should get."),
    "template_too_long": _("The text has {length} characters; at most {limit} are possible."),
    "control_character": _("The text contains a control character. Type that part again."),
    "unknown_placeholder": _("There is no placeholder “{name}”. Known are: {known}."),
    "unbalanced_braces": _(
        "A brace at character {position} is opened or closed without its partner. Write \\{{ or "
        "\\}} for a brace in the text."
    ),
    "single_variant": _(
        "{text} has only one variant. Write {{name}} with one brace for a placeholder, or give "
        "variants separated by |."
    ),
    "too_deep": _("Variants are nested more than {limit} deep."),
    "fallback_and_optional": _(
        "Placeholder “{name}” has a fallback and is marked optional. Choose one of the two."
    ),
    "empty_fallback": _(
        "The fallback of “{name}” is empty. Write a word after |, or mark it optional with ?."
    ),
}


def sentence_for(code: str, params: Mapping[str, str | int] | None = None) -> str:
    """The sentence of a BadTemplate in the reader's language; an unknown code as it is."""
    sentence = SENTENCES.get(code)
    return str(sentence).format(**(params or {})) if sentence is not None else code
