"""Make `leads-500.csv`, the leads of the demo: `python -m leads.demo.make_leads`.

Everybody in it is invented: mail and web addresses are under example.com, phone numbers all begin
with 9 0000. The same seed gives the same file.
"""

import csv
import random
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

from leads.identities import fold
from leads.scoring import Band, Profile, score

PATH: Final = Path(__file__).with_name("leads-500.csv")
SEED: Final = 20_260
# How many of each band under the default configuration.
QUOTA: Final = {Band.HOT: 125, Band.WARM: 150, Band.COLD: 125, Band.NURTURING: 100}

FIRST: Final = [
    "Adriana", "Alícia", "Amanda", "Antônia", "Aurora", "Beatriz", "Bianca", "Cecília", "Célia",
    "Clarice", "Débora", "Eduarda", "Elis", "Estér", "Fabíola", "Flávia", "Gabriela", "Heloísa",
    "Inês", "Isadora", "Jéssica", "Joana", "Júlia", "Larissa", "Letícia", "Lívia", "Lúcia",
    "Luísa", "Marília", "Mônica", "Natália", "Olívia", "Patrícia", "Priscila", "Rafaela",
    "Regina", "Sílvia", "Tainá", "Valéria", "Verônica", "Vitória", "Yara", "Alexandre", "André",
    "Antônio", "Bernardo", "Bruno", "Caetano", "Cássio", "César", "Cláudio", "Davi", "Diego",
    "Eduardo", "Emílio", "Fábio", "Felipe", "Gonçalo", "Guilherme", "Heitor", "Hugo", "Igor",
    "Ícaro", "João", "Jorge", "José", "Júlio", "Leandro", "Luís", "Márcio", "Mário", "Matheus",
    "Murilo", "Nélson", "Otávio", "Paulo", "Rafael", "Rogério", "Sérgio", "Tomás", "Ulisses",
    "Vinícius", "Wagner",
]  # fmt: skip
LAST: Final = [
    "Abrantes", "Aguiar", "Alcântara", "Amorim", "Antunes", "Araripe", "Assunção", "Azeredo",
    "Bandeira", "Bittencourt", "Brandão", "Bulhões", "Calixto", "Carneiro", "Cordeiro",
    "Coutinho", "Damasceno", "Drummond", "Espíndola", "Falcão", "Figueira", "Galvão", "Gouveia",
    "Guimarães", "Hollanda", "Japiassu", "Lacerda", "Leitão", "Lisboa", "Macêdo", "Magalhães",
    "Meireles", "Mesquita", "Negrão", "Nóbrega", "Paixão", "Peçanha", "Quintela", "Rabelo",
    "Salgado", "Sampaio", "Seabra", "Simões", "Taveira", "Távora", "Valadão", "Vasques", "Vilela",
    "Xavier", "Zanetti",
]  # fmt: skip
DOCTORS: Final = (
    "Médica · clínica de estética", "Dentista · consultório", "Médico do esporte · clínica",
    "Nutricionista · consultório", "Fisioterapeuta · clínica",
)  # fmt: skip
BUSINESS: Final = (
    "CEO · empresa de software", "Fundador · startup de saúde", "Sócio · agência de marketing",
    "Diretora · consultoria de vendas", "Dono de academia", "Advogada · escritório",
    "Consultor de negócios", "Gestora de tráfego", "Coach de carreira · mentoria",
    "Founder @ SaaS B2B",
)  # fmt: skip
OTHERS: Final = (
    "Estudante de letras", "Fotógrafa de família 📷", "Professora e leitora", "Artesã",
    "Confeiteira 🍰", "Viajante", "Especialista em pão de queijo", "Mãe do Téo 💛",
    "Esportista nas horas vagas", "Música & silêncio",
)  # fmt: skip
ASIDES: Final = (
    "Saúde e bem-estar", "Marketing e vendas", "Finanças sem complicação", "Agende pelo link 👇",
    "Harmonização facial ✨", "Tecnologia e automação", "Palestrante", "Ajudo empresas 🚀",
    "Amante de esportes", "Educação que transforma",
)  # fmt: skip
CITIES: Final = (
    ("São Paulo", 11), ("Rio de Janeiro", 21), ("Belo Horizonte", 31), ("Curitiba", 41),
    ("Porto Alegre", 51), ("Florianópolis", 48), ("Salvador", 71), ("Recife", 81),
    ("Fortaleza", 85), ("Campinas", 19), ("Brasília", 61), ("Natal", 84), ("Manaus", 92),
    ("Goiânia", 62),
)  # fmt: skip
COMPANIES: Final = (
    "Clínica {}", "Studio {}", "{} Imóveis", "Agência {}", "Academia {}", "{} & Cia",
    "Consultório {}", "{} Arquitetura Ltda",
)  # fmt: skip
CATEGORIES: Final = (
    "Saúde/beleza", "Empreendedor(a)", "Educação", "Restaurante", "Serviço local", "Consultoria",
)  # fmt: skip
FREQUENCIES: Final = ("muito ativo", "ativo", "moderado", "pouco ativo")
COLUMNS: Final = (
    "handle", "name", "bio", "followers", "following", "posts", "recent_posts", "engagement",
    "is_private", "is_business", "is_verified", "category", "frequency", "email", "phone", "city",
    "website",
)  # fmt: skip

Lead = dict[str, object]


def make(seed: int = SEED) -> list[Lead]:
    """The invented leads, in mixed order, as values per column ('' is unknown)."""
    dice = random.Random(seed)
    phones: set[object] = set()
    leads: list[Lead] = []
    taken: set[str] = set()
    wanted = dict(QUOTA)
    while any(wanted.values()):
        lead = _invent(dice, taken)
        band = score(_profile(lead)).band
        # A CRM takes people with the same phone for one contact; in the demo everybody counts.
        if wanted[band] and lead["phone"] not in phones:
            wanted[band] -= 1
            taken.add(str(lead["handle"]))
            phones |= {lead["phone"]} - {""}
            leads.append(lead)
    # Drawn until the quotas were full, so the rare bands stand at the end.
    dice.shuffle(leads)
    return leads


def _invent(dice: random.Random, taken: set[str]) -> Lead:
    first, last = dice.choice(FIRST), dice.choice(LAST)
    city, area = dice.choice(CITIES)
    kind = dice.choice((DOCTORS, BUSINESS, BUSINESS, OTHERS))
    bio = [dice.choice(kind)]
    if dice.random() < 0.6:
        bio.append(dice.choice(ASIDES))
    if dice.random() < 0.45:
        bio.append(dice.choice(("📍 {}", "{}", "Atendo em {}")).format(city))
    followers = int(dice.lognormvariate(8.0, 1.4))
    handle = _handle(dice, first, last, taken)
    sure = dice.random  # each fact is known or not by itself
    return {
        "handle": handle,
        "name": _name(dice, first, last, doctor=kind is DOCTORS),
        "bio": "" if sure() < 0.08 else dice.choice((" | ", " · ", "\n")).join(bio),
        "followers": followers,
        "following": int(followers * dice.choice((0.1, 0.25, 0.5, 0.9, 1.5, 3.0))) + 40,
        "posts": int(dice.lognormvariate(4.0, 1.2)),
        "recent_posts": "" if sure() < 0.3 else dice.choice((0, 1, 2, 3, 5, 9)),
        "engagement": "" if sure() < 0.3 else f"{dice.lognormvariate(0.8, 0.7):.2f}",
        "is_private": "" if sure() < 0.05 else sure() < 0.04,
        "is_business": "" if sure() < 0.2 else sure() < 0.6,
        "is_verified": sure() < 0.03,
        "category": dice.choice(CATEGORIES) if sure() < 0.6 else "",
        "frequency": dice.choice(FREQUENCIES) if sure() < 0.8 else "",
        "email": f"{handle.strip('._')}@example.com" if sure() < 0.5 else "",
        "phone": f"+55{area}90000{dice.randrange(10_000):04}" if sure() < 0.4 else "",
        "city": city if sure() < 0.7 else "",
        "website": f"https://{handle.replace('.', '-').replace('_', '-')}.example.com"
        if sure() < 0.25
        else "",
    }


def _handle(dice: random.Random, first: str, last: str, taken: set[str]) -> str:
    base = f"{fold(first)}{dice.choice(('.', '_', ''))}{fold(last)}"
    handle = base
    while handle in taken:
        handle = f"{base}{dice.randrange(10, 100)}"
    return handle


def _name(dice: random.Random, first: str, last: str, *, doctor: bool) -> str:
    """A name as profiles carry it: mostly plain, and every kind of untidy."""
    plain = f"{first} {dice.choice(('', '', 'da ', 'de '))}{last}"
    if doctor and dice.random() < 0.7:
        plain = f"{dice.choice(('Dr. ', 'Dra. ', 'Drª ', 'DR ', 'Prof. '))}{plain}"
    shapes: tuple[Callable[[], str], ...] = (
        lambda: plain.upper(),
        lambda: plain.lower(),
        lambda: f"✨ {plain}",
        lambda: f"{plain} 🌿",
        lambda: dice.choice(COMPANIES).format(last),
        lambda: "",
    )
    return dice.choice(shapes)() if dice.random() < 0.3 else plain


def _profile(lead: Lead) -> Profile:
    known = {key: value for key, value in lead.items() if value != ""}

    def get(key: str) -> object:
        value = known.get(key)
        return float(str(value)) if key == "engagement" and value is not None else value

    names = Profile.__dataclass_fields__
    return Profile(**{key: get(key) for key in known if key in names})  # type: ignore[arg-type]  # only its own fields


def main() -> None:
    """Write the file."""
    with PATH.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(make())
    sys.stdout.write(f"{PATH}\n")


if __name__ == "__main__":
    main()
