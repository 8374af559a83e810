"""A stage to measure and to break things on: a database of its own, a tenant, a campaign.

Used by the benchmarks and by the kill test. `enter` sets the environment before Django reads its
settings, so it is called first, in a fresh process.
"""

from __future__ import annotations

import base64
import os
import uuid
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

TEXT = "Oi {first_name|você}, {{tudo bem|como vai}}? Vi seu trabalho em {city|sua cidade}."


class Stage:
    """A fresh database, and what is built in it."""

    def __init__(self, folder: Path, database_url: str = "") -> None:
        self.folder = folder
        self.server_url = database_url
        self.database = ""

    def enter(self, sandbox_url: str, **variables: str) -> None:
        """Make the database, set the environment, start Django and migrate."""
        os.environ.update(
            {
                "DATABASE_URL": self._own_database(),
                "SECRET_KEY": "only-on-a-stage-" + "x" * 50,
                "CREDENTIAL_KEYS": "k1:" + base64.b64encode(b"k" * 32).decode(),
                "INSTAGRAM_GRAPH_BASE_URL": f"{sandbox_url}/instagram/v25.0",
                "GHL_BASE_URL": f"{sandbox_url}/ghl",
                "OUTBOUND_ALLOW_PRIVATE": "on",
                "LOG_LEVEL": "WARNING",
                "REQUIRE_MFA": "off",
                "REDIS_URL": "",
                "ENV_FILE": "",
                "DJANGO_SETTINGS_MODULE": "agenticos.settings",
                **variables,
            }
        )
        import django

        django.setup()
        from django.core.management import call_command

        call_command("migrate", verbosity=0)
        call_command("createcachetable", verbosity=0)

    @property
    def engine(self) -> str:
        return "postgresql" if self.database else "sqlite"

    def _own_database(self) -> str:
        """A fresh database on the PostgreSQL server named, else a fresh SQLite file."""
        if not self.server_url:
            return f"sqlite:///{self.folder / 'stage.sqlite3'}"
        import psycopg

        from agenticos.tests.environment import as_plain_role

        # A role that row-level security binds, or its price would not be measured.
        self.server_url = as_plain_role(self.server_url)

        self.database = f"stage_{uuid.uuid4().hex[:10]}"
        with psycopg.connect(self._maintenance_url(), autocommit=True) as server:
            server.execute(f'CREATE DATABASE "{self.database}"')
        return urlunsplit(urlsplit(self.server_url)._replace(path=f"/{self.database}"))

    def _maintenance_url(self) -> str:
        """The server's own database: the one named may not exist."""
        return urlunsplit(urlsplit(self.server_url)._replace(path="/postgres"))

    def leave(self) -> None:
        """Drop the database, if this stage made one."""
        if not self.database:
            return
        import psycopg
        from django.db import connections

        connections.close_all()
        with psycopg.connect(self._maintenance_url(), autocommit=True) as server:
            server.execute(f'DROP DATABASE IF EXISTS "{self.database}" WITH (FORCE)')

    def build(self, *, messages: int, accounts: int, slug: str = "acme") -> None:
        """A tenant with a CRM, accounts without pauses, and hot leads that all have a score."""
        from django.utils import timezone

        from agenticos import scope, sql
        from integrations.models import Connection
        from leads import actions as lead_actions
        from leads.models import Lead, LeadFacts, LeadScore
        from tenants.models import Tenant

        self.tenant = Tenant.objects.create(slug=slug, name=slug.title())
        with scope.as_tenant(self.tenant):
            lead_actions.ensure_icp(self.tenant, by=None, now=timezone.now())
            crm = Connection.objects.create(
                tenant=self.tenant, kind="ghl", name="CRM", external_id=f"LOC-{slug}"
            )
            crm.set_secret(token="stage-token-of-the-crm")
            self.accounts = [self._account(number) for number in range(accounts)]
            ids = self._leads(messages)
            for start in range(0, len(ids), 1000):
                some = ids[start : start + 1000]
                lead_actions.score_leads(some)
                sql.grown(start, start + len(some), Lead, LeadScore, LeadFacts)  # as an import does

    def _account(self, number: int) -> Any:
        from campaigns.models import SendingAccount
        from integrations.models import Connection

        connection = Connection.objects.create(
            tenant=self.tenant,
            kind="instagram_graph",
            name=f"a{number}",
            external_id=f"ig{number}-{self.tenant.slug}",
        )
        connection.set_secret(token=f"stage-token-{number:06}")
        return SendingAccount.objects.create(
            tenant=self.tenant,
            connection=connection,
            handle=f"account{number}",
            day_cap=10**6,
            hour_cap=10**6,
            gap_min_s=0,
            gap_max_s=0,
        )

    def _leads(self, count: int) -> list[int]:
        from leads.models import Lead

        rows = Lead.objects.bulk_create(
            (
                Lead(
                    tenant=self.tenant,
                    handle=f"lead{number:07}",
                    name=f"Dra. Ana {number}",
                    bio="CEO e fundadora de clínica de estética em São Paulo",
                    followers=5000,
                    following=2500,
                    posts=120,
                    recent_posts=3,
                    engagement=5,
                    is_private=False,
                    is_business=True,
                    frequency="muito ativo",
                    city="São Paulo",
                )
                for number in range(count)
            ),
            batch_size=1000,
        )
        return [row.pk for row in rows]

    def start(self, *, limit: int, tag: str = "") -> Any:
        """A campaign over all the leads, or those of a tag, started; still to be frozen."""
        from django.utils import timezone

        from agenticos import scope
        from campaigns import actions

        now = timezone.now()
        with scope.as_tenant(self.tenant):
            campaign = actions.create_campaign(
                self.tenant,
                name="Stage",
                text=TEXT,
                audience={"kind": "filter", **({"tag": tag} if tag else {})},
                accounts=self.accounts,
                limit=limit,
                window={},
                by=None,
                now=now,
            )
            actions.start_campaign(campaign, by=None, now=now)
        return campaign

    def freeze(self, campaign: Any, n: int) -> None:
        """Have the audience of a started campaign written into the ledger: `n` rows."""
        from agenticos import scope
        from campaigns import tasks

        with scope.as_nobody():
            while self.counts(campaign)["audience"] < n:
                tasks.prepare_slice()

    def settle_down(self) -> None:
        """Have PostgreSQL know its tables, as autovacuum would within a minute."""
        from django.db import connection

        from agenticos import sql

        if connection.vendor == "postgresql":
            for table in connection.introspection.table_names():
                sql.run(f'VACUUM ANALYZE "{table}"', [])

    def counts(self, campaign: Any) -> dict[str, int]:
        """The buckets of a campaign, and its audience."""
        from agenticos import scope
        from campaigns.models import CampaignCounts

        with scope.as_tenant(self.tenant):
            row = CampaignCounts.objects.get(campaign=campaign.pk)
        return {"audience": row.audience, **{name: getattr(row, name) for name in row.BUCKETS}}
