"""Rules that make the sandbox misbehave as live providers do."""

import random
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Json = dict[str, Any]
PROVIDERS = ("ghl", "instagram")
CUTS = ("before", "after")


@dataclass(slots=True)
class Rule:
    """One rule. It matches by provider, path, method and account, then by chance or count."""

    provider: str = ""
    path: str = ""
    method: str = ""
    account: str = ""
    probability: float = 1.0
    next: int | None = None  # how many more calls it takes; None = no end
    status: int | None = None
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    retry_after: int | str | None = None
    delay_ms: int = 0
    cut: str = ""
    accept: bool = False  # act on the request before answering with `status`
    garbage: bool = False
    challenge: bool = False
    expired_token: bool = False
    hits: int = 0
    pattern: re.Pattern[str] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        _expect(self.provider in ("", *PROVIDERS), "provider", f"one of {', '.join(PROVIDERS)}")
        for name in ("path", "method", "account"):
            _expect(isinstance(getattr(self, name), str), name, "a string")
        _expect(
            _is_number(self.probability) and 0 <= self.probability <= 1,
            "probability",
            "a number from 0 to 1",
        )
        _expect(self.next is None or _is_count(self.next), "next", "a whole number from 0")
        _expect(
            self.status is None or (_is_count(self.status) and 200 <= self.status <= 599),
            "status",
            "an HTTP status from 200 to 599",
        )
        _expect(isinstance(self.headers, dict), "headers", "an object")
        _expect(_is_count(self.delay_ms), "delay_ms", "a whole number from 0")
        _expect(self.cut in ("", *CUTS), "cut", "before or after")
        for name in ("accept", "garbage", "challenge", "expired_token"):
            _expect(isinstance(getattr(self, name), bool), name, "true or false")
        try:
            self.pattern = re.compile(self.path)
        except re.error as exc:
            raise ValueError(f"path: not a regular expression ({exc})") from None

    def takes(self, provider: str, method: str, path: str, account: str, luck: float) -> bool:
        """Whether the rule applies to this call."""
        return (
            self.next != 0
            and self.provider in ("", provider)
            and self.method.upper() in ("", method)
            and self.account in ("", account)
            and self.pattern.search(path) is not None
            and luck < self.probability
        )

    def shown(self) -> Json:
        """The rule as JSON, without what was left at its default."""
        names = (name for name in Rule.__slots__ if name != "pattern")
        given = {name: getattr(self, name) for name in names}
        return {n: v for n, v in given.items() if n in ("hits", "next") or v != _DEFAULTS.get(n)}


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _expect(holds: bool, name: str, what: str) -> None:
    if not holds:
        raise ValueError(f"{name}: expected {what}")


_GIVEN = frozenset(Rule.__slots__) - {"pattern", "hits"}
_DEFAULTS: Json = {
    "provider": "",
    "path": "",
    "method": "",
    "account": "",
    "probability": 1.0,
    "status": None,
    "body": None,
    "headers": {},
    "retry_after": None,
    "delay_ms": 0,
    "cut": "",
    "accept": False,
    "garbage": False,
    "challenge": False,
    "expired_token": False,
}


class Faults:
    """The rules in force; the first that applies wins."""

    def __init__(self, rules: object = ()) -> None:
        self.rules: list[Rule] = []
        self._dice = random.Random(4)  # noqa: S311  # repeatable on purpose
        self.set(list(rules) if isinstance(rules, tuple) else rules)

    def set(self, rules: object) -> None:
        """Replace all rules. Raises ValueError, naming the rule and the key, changing nothing."""
        if not isinstance(rules, list):
            raise ValueError("expected a list of rules")
        made = []
        for at, rule in enumerate(rules):
            if not isinstance(rule, Mapping):
                raise ValueError(f"rule {at}: expected an object")
            if unknown := sorted(set(rule) - _GIVEN):
                raise ValueError(f"rule {at}: unknown key {unknown[0]}")
            try:
                made.append(Rule(**rule))
            except ValueError as exc:
                raise ValueError(f"rule {at}: {exc}") from None
        self.rules = made

    def match(self, provider: str, method: str, path: str, account: str) -> Rule | None:
        """The rule for this call, counted as used."""
        for rule in self.rules:
            if rule.takes(provider, method, path, account, self._dice.random()):
                rule.hits += 1
                if rule.next is not None:
                    rule.next -= 1
                return rule
        return None

    def shown(self) -> list[Json]:
        return [rule.shown() for rule in self.rules]
