"""First names for greeting people, out of what profiles carry as a name.

'' means "none can be told": the template's fallback is used, since a wrong name is worse than
none. Pure: text in, text out.
"""

import re
import unicodedata
from functools import lru_cache
from typing import Final

from leads.identities import fold

# Folded words that stand before a name and are no part of it; "drª" folds to "dra".
_TITLES: Final = frozenset(
    [
        "dr", "dra", "drs", "dras", "doutor", "doutora", "prof", "profa", "profo", "professor",
        "professora", "sr", "sra", "srta", "srto", "senhor", "senhora", "dona", "seu", "mr",
        "mrs", "ms", "miss", "eng", "enga", "engenheiro", "engenheira", "arq", "arquiteto",
        "arquiteta", "adv", "advogado", "advogada", "psi", "psic", "psicologo", "psicologa",
        "nutri", "nutricionista", "fisio", "fisioterapeuta", "dentista", "odonto", "medico",
        "medica", "pastor", "pastora", "padre", "pe", "bispo", "apostolo", "missionaria",
        "missionario", "capitao", "cap", "sargento", "sgt", "cel", "coronel", "ten", "tenente",
        "major", "coach", "mentor", "mentora", "master", "chef", "phd", "msc", "mba", "me", "ma",
        "mestre", "mestra", "ceo", "cfo", "cto", "founder", "fundador", "fundadora", "enf",
        "enfermeira", "enfermeiro", "bio", "biomedica", "biomedico", "esteticista", "personal",
        "corretor", "corretora", "consultor", "consultora", "terapeuta", "fotografo", "fotografa",
        "influencer", "oficial", "official",
    ]
)  # fmt: skip
# Folded words that say "this is a business", anywhere in the name. Surnames stay off the list
# ("Sá" folds to "sa"), since losing a name is only a fallback but losing many is a dull campaign.
_COMPANY: Final = frozenset(
    [
        "ltda", "eireli", "epp", "mei", "inc", "llc", "corp", "gmbh", "cia", "clinica", "clinic",
        "consultorio", "studio", "estudio", "agencia", "agency", "academia", "imoveis",
        "imobiliaria", "escritorio", "advocacia", "advogados", "associados", "odontologia",
        "estetica", "esteticas", "laboratorio", "hospital", "farmacia", "drogaria", "pharmacy",
        "restaurante", "pizzaria", "hamburgueria", "lanchonete", "padaria", "confeitaria",
        "cafeteria", "bar", "boteco", "churrascaria", "loja", "lojas", "store", "shop",
        "boutique", "moda", "modas", "calcados", "joias", "semijoias", "acessorios", "otica",
        "barbearia", "barber", "barbershop", "salao", "spa", "hotel", "pousada", "escola",
        "colegio", "faculdade", "instituto", "centro", "grupo", "group", "empresa", "empresas",
        "servicos", "solucoes", "solutions", "consultoria", "consulting", "assessoria",
        "contabilidade", "contabil", "construtora", "construcoes", "engenharia", "arquitetura",
        "marketing", "digital", "midia", "media", "publicidade", "comunicacao", "eventos",
        "buffet", "festas", "transportes", "transportadora", "logistica", "turismo", "viagens",
        "travel", "seguros", "financeira", "investimentos", "capital", "tecnologia", "tech",
        "software", "sistemas", "startup", "industria", "comercio", "distribuidora",
        "representacoes", "atacado", "varejo", "mercado", "supermercado", "petshop", "pet",
        "veterinaria", "autopecas", "automoveis", "veiculos", "motors", "oficina", "moveis",
        "decoracoes", "decoracao", "interiores", "design", "atelie", "fotografia", "filmes",
        "films", "producoes", "produtora", "editora", "grafica", "crossfit", "fitness", "pilates",
        "gym", "team", "equipe", "projeto", "associacao", "ong", "igreja", "ministerio",
        "prefeitura", "news", "noticias", "portal", "blog", "podcast", "canal", "oficina",
        "espaco", "casa", "doces", "bolos", "cosmeticos", "perfumaria", "beauty", "nails",
        "delivery", "express", "cursos", "treinamentos", "educacao", "the",
    ]
)  # fmt: skip
# A name that begins with one of these is a surname only.
_PARTICLES: Final = frozenset(
    {"da", "de", "di", "do", "das", "dos", "del", "della", "e", "van", "von", "der", "la", "le"}
)
# Words that look like names and greet nobody.
_NOBODY: Final = frozenset(
    [
        "null", "none", "undefined", "nan", "user", "usuario", "perfil", "profile", "instagram",
        "conta", "private", "privado", "test", "teste", "anonimo", "admin", "contato", "vendas",
        "suporte", "atendimento", "o", "a", "os", "as", "um", "uma", "eu", "meu", "minha",
    ]
)  # fmt: skip
_BREAK = re.compile(r"\s*[|•·/\\(\[{:;,–—~*@]\s*|\s+[-_]\s+|\n")
_TOKEN = re.compile(r"[^\W\d_]+(?:['’.\-][^\W\d_]+)*", re.UNICODE)


@lru_cache(maxsize=4096)  # a message asks for it twice: for its text and for the CRM
def first_name(name: str, handle: str = "") -> str:
    """Give the first name to greet with, or '' when none can be told.

    Titles, emoji and what follows a `|` or bracket are left away, ALL CAPS and all lower case are
    repaired, companies and handles written as names give ''. Names in other scripts stay as they
    are. `handle` serves to recognise a name that only repeats it.

    >>> first_name("DR JOÃO DA SILVA"), first_name("Drª Bia"), first_name("🌸 Ana Clara 🌸")
    ('João', 'Bia', 'Ana')
    >>> first_name("Clínica Sorriso Ltda"), first_name("🔥🔥"), first_name("")
    ('', '', '')
    """
    text = unicodedata.normalize("NFC", _plain_letters(name)).strip()
    if not text:
        return ""
    if text.startswith("@") or "www." in text.lower() or "://" in text:
        return ""
    if _is_company(text):
        return ""
    for part in _BREAK.split(text):
        found = _first_of(part)
        if found is not None:
            return _unless_handle(found, text, handle)
    return ""


def _first_of(part: str) -> str | None:
    """The name in a part of the text; '' when there is one that greets nobody, None to go on."""
    # "Dr.João" and "D. Ana": a dot glued to a title is a separator, not part of a name.
    words = _TOKEN.findall(part.replace("º", "").replace("ª", "").replace(".", ". "))
    for word in words:
        key = fold(word)
        if key in _TITLES:
            continue
        if not _is_cased(word):
            # Chinese, Arabic, Hindi …: which part is the given name differs; all of it is polite.
            return part.strip()
        # A single letter is an initial ("A. Souza"), and a surname is no greeting.
        if key in _NOBODY or key in _PARTICLES or len(key) == 1 or _unpronounceable(key):
            return ""
        return _capitalised(word)
    return None


def _unless_handle(found: str, text: str, handle: str) -> str:
    """'' when the "name" is only the handle again, glued together, which is no first name."""
    plain = re.sub(r"[\W_]", "", fold(text))
    same = handle and plain == re.sub(r"[\W_]", "", fold(handle))
    # "ana" with handle "ana" is a name; "anasilvafit" with handle "anasilva.fit" is not.
    return "" if same and " " not in text.strip() and len(plain) > 9 else found


def _is_company(text: str) -> bool:
    if "&" in text or re.search(r"\bS[./]A\.?$", text):
        return True
    # What stands behind a separator describes the person ("Ana Lima | Clínica X"): only a company
    # word in the first part makes a company.
    first = next((part for part in _BREAK.split(text) if _TOKEN.search(part)), "")
    head = [fold(word) for word in re.findall(r"[^\W\d_]+", first)]
    if head and head[0] in _TITLES and len(head) > 1:
        return False
    return any(word in _COMPANY for word in head) or bool(_LEGAL_FORM.search(text))


_LEGAL_FORM = re.compile(r"\b(?:ltda|eireli|epp)\b", re.IGNORECASE)


def _plain_letters(name: str) -> str:
    """Fancy letters made plain (𝓐𝓷𝓪), emoji and other signs made spaces, accents kept."""
    text = unicodedata.normalize("NFKC", name.replace("ª", "").replace("º", ""))
    return "".join(" " if unicodedata.category(char) in _SIGNS else char for char in text)


# Symbols (emoji among them), control and format characters, private use, unassigned.
_SIGNS: Final = frozenset({"So", "Sk", "Cc", "Cf", "Co", "Cn", "Cs"})


def _is_cased(word: str) -> bool:
    return word.lower() != word.upper()


def _unpronounceable(key: str) -> bool:
    # "jrs", "xpto": Latin letters without a vowel are initials or a brand.
    return key.isascii() and not re.search("[aeiouy]", key)


def _capitalised(word: str) -> str:
    """`ANA` and `ana` become `Ana`; a spelling with both cases is the person's own choice."""
    if not (word.isupper() or word.islower()):
        return word[0].upper() + word[1:]
    return re.sub(r"[^\W\d_]+", lambda part: part[0][:1].upper() + part[0][1:].lower(), word)
