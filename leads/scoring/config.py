"""The ideal customer profile: its parts, its defaults, and reading it out of JSON."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from fractions import Fraction
from typing import Any, Final

from leads.identities import normalise_handle
from leads.scoring.values import CRITERIA, GROUPS
from leads.scoring.words import words_of

KEYWORDS_MAX = 500
KEYWORD_LENGTH = 60
HANDLES_MAX = 10_000

DECISION_MAKERS: Final = (
    "ceo", "fundador", "founder", "dono", "proprietario", "diretor", "empresario", "empreendedor",
    "socio", "gestor", "gerente", "executivo", "c-level", "head", "lider", "coordenador",
    "medico", "medica", "dr.", "dra.", "advogado", "advogada", "dentista", "arquiteto",
    "engenheiro", "psicologo", "nutricionista", "fisioterapeuta", "coach", "consultor",
    "consultora", "entrepreneur", "business owner", "manager", "director",
)  # fmt: skip
BUSINESS_WORDS: Final = (
    "empresa", "negocio", "business", "founder", "ceo", "startup", "clinica", "consultorio",
)  # fmt: skip
LOCATIONS: Final = (
    ("sp", "São Paulo"), ("sao paulo", "São Paulo"), ("sampa", "São Paulo"),
    ("rj", "Rio de Janeiro"), ("rio de janeiro", "Rio de Janeiro"), ("rio", "Rio de Janeiro"),
    ("bh", "Belo Horizonte"), ("belo horizonte", "Belo Horizonte"),
    ("brasilia", "Brasília"), ("df", "Brasília"), ("curitiba", "Curitiba"),
    ("porto alegre", "Porto Alegre"), ("florianopolis", "Florianópolis"),
    ("salvador", "Salvador"), ("recife", "Recife"), ("fortaleza", "Fortaleza"),
    ("campinas", "Campinas"),
)  # fmt: skip
# "empreend" was a stem in the first system, which matched substrings: here it says so.
INTERESTS: Final = (
    ("marketing", ("marketing", "growth", "vendas", "sales", "leads", "trafego")),
    ("tecnologia", ("tech", "startup", "saas", "software", "automacao", "ia", "ai")),
    ("negocios", ("business", "negocio", "empresa", "empreend*", "lucro", "faturamento")),
    ("estetica", ("estetica", "beleza", "clinica", "procedimento", "harmonizacao")),
    ("saude", ("saude", "bem-estar", "fitness", "nutricao", "medicina")),
    ("financas", ("investimento", "financas", "renda", "dinheiro", "patrimonio")),
    ("educacao", ("curso", "mentoria", "treinamento", "ensino", "educacao")),
)


class BadConfig(ValueError):
    """A configuration that cannot be used: where, and what was expected there.

    >>> str(BadConfig("weights.bio", "a number of at least 0"))
    'weights.bio: expected a number of at least 0'
    """

    def __init__(self, path: str, expected: str) -> None:
        super().__init__(f"{path or '(top)'}: expected {expected}")
        self.path = path
        self.expected = expected


@dataclass(frozen=True, slots=True)
class Weights:
    """What each group is worth; any numbers of at least 0 that are not all 0."""

    bio: float = 30
    engagement: float = 30
    profile: float = 25
    recency: float = 15


@dataclass(frozen=True, slots=True)
class Thresholds:
    """The least total (0-100) of each band; below `cold` is NURTURING."""

    hot: int = 70
    warm: int = 50
    cold: int = 40


@dataclass(frozen=True, slots=True)
class Followers:
    """Accepted and ideal numbers of followers, both ends included."""

    min: int = 200
    max: int = 100_000
    ideal_min: int = 500
    ideal_max: int = 50_000


@dataclass(frozen=True, slots=True)
class Engagement:
    """Engagement rates in percent; 2.5 times the ideal earns everything."""

    min: float = 1
    ideal: float = 2


@dataclass(frozen=True, slots=True)
class Gates:
    """Which profiles are not eligible. What is required and unknown counts as not there;
    a profile whose privacy is unknown is not private."""

    skip_private: bool = True
    require_bio: bool = False
    require_business: bool = False


@dataclass(frozen=True, slots=True)
class Blocklist:
    """Handles (normalised) and words (matched like keywords) that make a lead not eligible."""

    handles: tuple[str, ...] = ()
    words: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class IcpConfig:
    """The ideal customer profile: an immutable value that can be a dictionary key.

    `locations` pairs a keyword with the name to show; `interests` pairs a group with its words.
    `off` names criteria that are left out: the others of their group share its weight.
    """

    weights: Weights = field(default_factory=Weights)
    thresholds: Thresholds = field(default_factory=Thresholds)
    decision_maker_keywords: tuple[str, ...] = DECISION_MAKERS
    business_words: tuple[str, ...] = BUSINESS_WORDS
    locations: tuple[tuple[str, str], ...] = LOCATIONS
    interests: tuple[tuple[str, tuple[str, ...]], ...] = INTERESTS
    followers: Followers = field(default_factory=Followers)
    engagement: Engagement = field(default_factory=Engagement)
    gates: Gates = field(default_factory=Gates)
    blocklist: Blocklist = field(default_factory=Blocklist)
    off: tuple[str, ...] = ()

    @classmethod
    def from_json(cls, data: object) -> IcpConfig:
        """Read a configuration out of plain JSON values; absent keys take their defaults.

        `SCHEMA` describes the format. Raises BadConfig at the first thing that is wrong: an
        unknown key, a wrong type, numbers out of order, a keyword without a letter or digit.

        >>> IcpConfig.from_json({"thresholds": {"hot": 80}}).thresholds
        Thresholds(hot=80, warm=50, cold=40)
        >>> IcpConfig.from_json({"wieghts": {}})
        Traceback (most recent call last):
        ...
        leads.scoring.config.BadConfig: wieghts: expected one of the keys blocklist, \
business_words, decision_maker_keywords, engagement, followers, gates, interests, locations, \
off, thresholds, weights
        """
        return _read_config(data)

    def to_json(self) -> dict[str, Any]:
        """Give plain JSON values from which `from_json` makes an equal configuration."""
        return {
            "weights": _plain(self.weights),
            "thresholds": _plain(self.thresholds),
            "decision_maker_keywords": list(self.decision_maker_keywords),
            "business_words": list(self.business_words),
            "locations": dict(self.locations),
            "interests": {group: list(words) for group, words in self.interests},
            "followers": _plain(self.followers),
            "engagement": _plain(self.engagement),
            "gates": _plain(self.gates),
            "blocklist": {
                "handles": list(self.blocklist.handles),
                "words": list(self.blocklist.words),
            },
            "off": list(self.off),
        }

    def counted(self) -> dict[str, Fraction]:
        """The weight of each group that has one and a criterion that is not off."""
        weights = {group: Fraction(str(getattr(self.weights, group))) for group in GROUPS}
        return {
            group: weight
            for group, weight in weights.items()
            if weight and any(criterion not in self.off for criterion, _maximum in GROUPS[group])
        }


# --- Reading ---


def _read_config(data: object) -> IcpConfig:
    top = _keys("", data, _names(IcpConfig))
    given: dict[str, Any] = {}
    if "weights" in top:
        given["weights"] = weights = Weights(**_numbers("weights", top["weights"], GROUPS, 10**6))
        if not any(getattr(weights, group) for group in GROUPS):
            raise BadConfig("weights", "at least one weight above 0")
    if "thresholds" in top:
        numbers = _numbers("thresholds", top["thresholds"], _names(Thresholds), 100, whole=True)
        limits = Thresholds(**numbers)
        if not limits.hot >= limits.warm >= limits.cold:
            raise BadConfig("thresholds", "hot >= warm >= cold")
        given["thresholds"] = limits
    for key in ("decision_maker_keywords", "business_words"):
        if key in top:
            given[key] = _keywords(key, top[key])
    if "locations" in top:
        given["locations"] = _locations(top["locations"])
    if "interests" in top:
        groups = _mapping("interests", top["interests"])
        given["interests"] = tuple(
            (group, _keywords(f"interests.{group}", words)) for group, words in groups.items()
        )
    if "followers" in top:
        numbers = _numbers("followers", top["followers"], _names(Followers), 2 * 10**9, whole=True)
        followers = Followers(**numbers)
        if not followers.min <= followers.ideal_min <= followers.ideal_max <= followers.max:
            raise BadConfig("followers", "min <= ideal_min <= ideal_max <= max")
        given["followers"] = followers
    if "engagement" in top:
        numbers = _numbers("engagement", top["engagement"], _names(Engagement), 1_000)
        engagement = Engagement(**numbers)
        if engagement.min > engagement.ideal:
            raise BadConfig("engagement", "min <= ideal")
        given["engagement"] = engagement
    if "gates" in top:
        gates = _keys("gates", top["gates"], _names(Gates))
        for key, value in gates.items():
            if not isinstance(value, bool):
                raise BadConfig(f"gates.{key}", "true or false")
        given["gates"] = Gates(**gates)
    if "blocklist" in top:
        lists = _keys("blocklist", top["blocklist"], _names(Blocklist))
        given["blocklist"] = Blocklist(
            handles=_handles("blocklist.handles", lists.get("handles", [])),
            words=_keywords("blocklist.words", lists.get("words", [])),
        )
    if "off" in top:
        given["off"] = _criteria("off", top["off"])
    config = IcpConfig(**given)
    if not config.counted():
        raise BadConfig("off", "at least one criterion of a group with a weight left on")
    return config


def _names(kind: Any) -> list[str]:
    return [item.name for item in fields(kind)]


def _mapping(path: str, value: object) -> dict[str, Any]:
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise BadConfig(path, "an object")
    if len(value) > KEYWORDS_MAX:
        raise BadConfig(path, f"at most {KEYWORDS_MAX} entries")
    for key in value:
        if not key.strip() or len(key) > KEYWORD_LENGTH:
            raise BadConfig(path, f"names of 1 to {KEYWORD_LENGTH} characters")
    return dict(value)


def _keys(path: str, value: object, known: Iterable[str]) -> dict[str, Any]:
    found = _mapping(path, value)
    for key in found:
        if key not in known:
            names = ", ".join(sorted(known))
            raise BadConfig(f"{path}.{key}" if path else key, f"one of the keys {names}")
    return found


def _numbers(
    path: str, value: object, known: Iterable[str], most: int, *, whole: bool = False
) -> dict[str, Any]:
    found = _keys(path, value, known)
    for key, number in found.items():
        allowed = isinstance(number, int if whole else (int, float))
        # A bool is an int to Python, and a NaN fails every comparison.
        if isinstance(number, bool) or not allowed or not 0 <= number <= most:
            kind = "a whole number" if whole else "a number"
            raise BadConfig(f"{path}.{key}", f"{kind} from 0 to {most}")
    return found


def _keywords(path: str, value: object) -> tuple[str, ...]:
    if not isinstance(value, (list, tuple)):
        raise BadConfig(path, "a list of keywords")
    if len(value) > KEYWORDS_MAX:
        raise BadConfig(path, f"at most {KEYWORDS_MAX} keywords")
    return tuple(dict.fromkeys(_keyword(f"{path}[{at}]", item) for at, item in enumerate(value)))


def _keyword(path: str, value: object) -> str:
    if not isinstance(value, str):
        raise BadConfig(path, "a keyword in text")
    keyword = value.strip()
    if not 0 < len(keyword) <= KEYWORD_LENGTH or not words_of(keyword):
        raise BadConfig(path, f"1 to {KEYWORD_LENGTH} characters with a letter or digit")
    if "*" in keyword[:-1] or (keyword.endswith("*") and not keyword[-2].isalnum()):
        raise BadConfig(path, "a * only at the end, after a letter or digit")
    return keyword


def _locations(value: object) -> tuple[tuple[str, str], ...]:
    if isinstance(value, (list, tuple)):
        return tuple((keyword, keyword) for keyword in _keywords("locations", value))
    found = _mapping("locations", value)
    pairs = []
    for key, shown in found.items():
        keyword = _keyword(f"locations.{key}", key)
        if not isinstance(shown, str) or not 0 < len(shown.strip()) <= KEYWORD_LENGTH:
            raise BadConfig(f"locations.{key}", f"a name of 1 to {KEYWORD_LENGTH} characters")
        pairs.append((keyword, shown.strip()))
    return tuple(pairs)


def _handles(path: str, value: object) -> tuple[str, ...]:
    if not isinstance(value, (list, tuple)) or len(value) > HANDLES_MAX:
        raise BadConfig(path, f"a list of at most {HANDLES_MAX} handles")
    handles = []
    for at, item in enumerate(value):
        handle = normalise_handle(item) if isinstance(item, str) else None
        if handle is None:
            raise BadConfig(f"{path}[{at}]", "an Instagram handle")
        handles.append(handle)
    return tuple(dict.fromkeys(handles))


def _criteria(path: str, value: object) -> tuple[str, ...]:
    names = [criterion for _group, criterion, _maximum in CRITERIA]
    if not isinstance(value, (list, tuple)) or any(one not in names for one in value):
        raise BadConfig(path, f"a list of the criteria {', '.join(names)}")
    return tuple(name for name in names if name in value)


def _plain(part: Any) -> dict[str, Any]:
    return {item.name: getattr(part, item.name) for item in fields(part)}


DEFAULT: Final = IcpConfig()
