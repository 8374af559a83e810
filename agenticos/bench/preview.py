"""Seconds for a what-if over leads that are all different: exact, nothing stored.

The limit is a sequential scan of the same rows: the scores in force and the facts of the leads.
The value is the slowest of several edits as people make them; `cases` has each of them, and
`all-lists-replaced`, every list of keywords exchanged at once, which does not count towards it.
"""

from __future__ import annotations

import random
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from agenticos.bench.stage import Stage

TIMES: Final = 5
REPLACED: Final = "all-lists-replaced"
WORDS: Final = (  # noqa: SIM905 - a list of seventy strings reads worse
    "ceo fundadora dona dentista médica advogado empresa clínica startup negócio estética beleza "
    "saúde fitness marketing vendas tecnologia software curso mentoria são paulo rio de janeiro "
    "curitiba recife amor família café livros viagens música deus mãe pai vida moda arte atendo "
    "online agenda aberta link na bio parcerias contato consultoria resultado clientes sonhos"
).split()
SCAN_SCORES: Final = (
    "SELECT count(*), sum(total), sum(packed) FROM leads_leadscore "
    "WHERE tenant_id = %s AND version_id = %s"
)
SCAN_FACTS: Final = (
    "SELECT count(*), sum(length(bio_words)), sum(followers) FROM leads_leadfacts "
    "WHERE tenant_id = %s"
)


def run(name: str, n: int, database_url: str) -> dict[str, Any]:
    """Measure `preview`."""
    n = n or 100_000
    with tempfile.TemporaryDirectory() as folder:
        stage = Stage(Path(folder), database_url)
        try:
            stage.enter("http://127.0.0.1:9")
            build(stage, n)
            return {**_measure(stage), "n": n, "engine": stage.engine}
        finally:
            stage.leave()


def build(stage: Stage, n: int) -> None:
    """A tenant with `n` leads that differ, scored under a live version."""
    from django.db import connection, transaction
    from django.utils import timezone

    from agenticos import scope, sql
    from leads import actions, importing, rescoring, upserting
    from leads.models import Lead, LeadFacts, LeadScore
    from tenants.models import Tenant

    stage.tenant = Tenant.objects.create(slug="acme", name="Acme")
    now, dice = timezone.now(), random.Random(7)  # the same leads in every run
    with scope.as_tenant(stage.tenant):
        actions.ensure_icp(stage.tenant, now=now)
        for start in range(0, n, 1_000):
            rows = [
                importing.Row(0, {"handle": f"lead{number:07}", **profile(dice)}, (), [])
                for number in range(start, min(n, start + 1_000))
            ]
            with transaction.atomic():
                engines = rescoring.engines_in_use(rescoring.lock_icp())
                planner = upserting.Planner()
                planner.read(rows)
                upserting.write_leads(planner.to_write(), engines, source="bench", now=now)
            # As an import does.
            sql.grown(start, start + len(rows), Lead, LeadScore, LeadFacts)
    if connection.vendor == "postgresql":
        # What autovacuum would have done within a minute.
        for table in ("leads_lead", "leads_leadscore", "leads_leadfacts"):
            analyse(table)


def analyse(table: str) -> None:
    """Have the planner know a table."""
    from agenticos import sql

    sql.run(f"VACUUM ANALYZE {table}", [])


def profile(dice: random.Random) -> dict[str, Any]:
    """What is known of somebody; a value in six is not."""
    known: dict[str, Any] = {
        "name": f"{dice.choice(['Dra. ', 'Dr. ', '', '', ''])}{dice.choice(['Ana', 'Rui', 'Bia'])}",
        "bio": " · ".join(dice.choices(WORDS, k=dice.randint(3, 18))),
        "followers": int(10 ** dice.uniform(1.5, 5.5)),
        "following": dice.randint(10, 5_000),
        "posts": dice.randint(0, 300),
        "recent_posts": dice.randint(0, 6),
        "engagement": round(dice.uniform(0, 8), 2),
        "is_private": dice.random() < 0.2,
        "is_business": dice.random() < 0.4,
        "category": dice.choice(["Saúde/beleza", "Empreendedor(a)", ""]),
        "frequency": dice.choice(["ativo", "muito ativo", "pouco ativo"]),
        "city": dice.choice(["São Paulo", "Recife", "Curitiba"]),
    }
    return {name: value for name, value in known.items() if dice.random() > 1 / 6}


def _measure(stage: Stage) -> dict[str, Any]:
    from agenticos import scope, sql
    from leads import scoring, whatif
    from leads.models import Icp

    with scope.as_tenant(stage.tenant):
        version = Icp.objects.get().live_id
        base = scoring.DEFAULT.to_json()
        some = scoring.DEFAULT.decision_maker_keywords
        changes: dict[str, dict[str, Any]] = {
            "weights": {"weights": {"bio": 50, "recency": 5}, "thresholds": {"hot": 75}},
            "ranges": {"followers": {"min": 500, "ideal_min": 1_000}, "engagement": {"ideal": 3}},
            "three-keywords": {
                "decision_maker_keywords": [*some, "fundador*", "dona", "mentora"],
                "business_words": ["empresa", "negocio", "vendas"],
                "gates": {"require_bio": True},
            },
            REPLACED: {
                "decision_maker_keywords": [f"{word}s" for word in WORDS[:40]],
                "interests": {"all": list(WORDS[20:])},
                "blocklist": {"words": ["deus", "moda", "arte"]},
            },
        }

        def scan() -> None:
            sql.fetch(SCAN_SCORES, [stage.tenant.pk, version])
            sql.fetch(SCAN_FACTS, [stage.tenant.pk])

        limit = _median(scan)
        usual = scoring.IcpConfig.from_json({**base, **changes["three-keywords"]})
        figures = {}
        for name, change in changes.items():
            config = scoring.IcpConfig.from_json({**base, **change})
            figures[name] = round(_median(lambda config=config: whatif.effect(config)), 3)  # type: ignore[misc]  # bound now, not later
        figures["movers"] = round(_median(lambda: whatif.movers(usual, old="HOT", new="WARM")), 3)
    value = max(seconds for name, seconds in figures.items() if name != REPLACED)
    return {
        "name": "preview",
        "value": value,
        "unit": "s",
        "limit": round(limit, 3),
        "ratio": round(value / limit, 1),
        "cases": figures,
    }


def _median(work: Callable[[], object]) -> float:
    work()  # warm: pages of the tables, compiled configuration
    seconds = []
    for _ in range(TIMES):
        began = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds)
