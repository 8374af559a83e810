"""What is at work while things break: tenants, campaigns, drafts, imports, a CRM; and the truth."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Callable
from typing import Any, Final

from agenticos.bench.stage import Stage

SLUGS: Final = ("acme", "globex")
IMPORT_ROWS: Final = 1_500
DRAFT_PEOPLE: Final = 5


class World:
    """Two tenants whose campaigns run; in each, two of them want the same people."""

    def __init__(self, stage: Stage, *, messages: int, accounts: int) -> None:
        self.stage = stage
        self.messages = messages
        self.tenants: dict[str, Any] = {}
        self.accounts: dict[str, list[Any]] = {}
        self.campaigns: dict[str, list[Any]] = {}
        self.drafts: list[int] = []
        self.let_go_on: list[str] = []  # what had stopped by itself, and why
        self.imports: list[Any] = []
        for slug in SLUGS:
            self._tenant(slug, messages // len(SLUGS), accounts // len(SLUGS))

    def _tenant(self, slug: str, messages: int, accounts: int) -> None:
        from agenticos import scope
        from campaigns.models import SendingAccount
        from integrations.models import Connection

        self.stage.build(messages=messages, accounts=accounts, slug=slug)
        self.tenants[slug] = self.stage.tenant
        self.accounts[slug] = self.stage.accounts
        with scope.as_tenant(self.stage.tenant):
            # A second between two messages: the work lasts as long as the storm.
            SendingAccount.objects.update(gap_min_s=1, gap_max_s=2)
            Connection.objects.filter(kind="ghl").update(settings={"calls_per_s": 200})
        self.campaigns[slug] = [self.stage.start(limit=messages) for _ in range(2)]

    def owner(self) -> tuple[str, str]:
        """A session and an API key of acme's owner."""
        from django.test import Client

        from agenticos.tests import factories

        member = factories.make_member(self.tenants["acme"], "owner")
        client = Client()
        client.force_login(member.user)
        factories.refresh(client, member.user)
        key = factories.make_key(self.tenants["acme"], member=member)
        return client.cookies["sessionid"].value, key

    def draft(self, number: int) -> int:
        """A draft of acme's for a few of its people, to be started by a program."""
        from django.utils import timezone

        from agenticos import scope
        from agenticos.bench.stage import TEXT
        from campaigns import actions

        first = number * DRAFT_PEOPLE % max(1, self.messages // len(SLUGS) - DRAFT_PEOPLE)
        handles = [f"lead{first + n:07}" for n in range(DRAFT_PEOPLE)]
        with scope.as_tenant(self.tenants["acme"]):
            row = actions.create_campaign(
                self.tenants["acme"],
                name=f"Draft {number}",
                text=TEXT,
                audience={"kind": "handles", "handles": handles},
                accounts=self.accounts["acme"],
                window={},
                by=None,
                now=timezone.now(),
            )
        self.drafts.append(row.pk)
        return int(row.pk)

    def bring_a_file(self, number: int) -> None:
        """Have a file of new leads imported into globex."""
        from django.utils import timezone

        from agenticos import scope
        from leads import actions

        lines = [f"file{number:03}x{n},Ana {n},{n}" for n in range(IMPORT_ROWS)]
        text = "\n".join(["handle,name,followers", *lines])
        tenant = self.tenants["globex"]
        with scope.as_tenant(tenant):
            row = actions.start_import(
                tenant, io.BytesIO(text.encode()), f"{number}.csv", by=None, now=timezone.now()
            )
        self.imports.append(row)

    def hurry(self) -> bool:
        """The storm is over: what is left goes out without pauses. True when that was done.

        So many blows may have been taken for a campaign or an account that goes wrong, and stopped
        it: then a person has it go on.
        """
        from django.utils import timezone

        from agenticos import scope
        from campaigns import actions
        from campaigns.models import Campaign, SendingAccount

        now = timezone.now()
        for tenant in self.tenants.values():
            with scope.as_tenant(tenant):
                for account in SendingAccount.objects.filter(state="blocked"):
                    actions.unblock_account(account, by=None, now=now)
                    self.let_go_on.append(f"account: {account.block_code}")
                for campaign in Campaign.objects.filter(state__in=["paused", "blocked"]):
                    self.let_go_on.append(f"campaign: {campaign.reason}")
                    actions.resume_campaign(campaign, by=None, now=now)
                SendingAccount.objects.update(gap_min_s=0, gap_max_s=0)
                active = SendingAccount.objects.filter(state="active", claim_token="")
                active.update(free_at=None, next_at=timezone.now())
        return True

    # --- What is asked again and again ---

    def sent(self) -> int:
        from agenticos import scope
        from campaigns.models import CampaignCounts

        with scope.as_system("chaos"):
            return sum(CampaignCounts.objects.values_list("sent", flat=True))

    def open(self) -> Counter[str]:
        """What is still to be done, by kind; empty when all is."""
        from agenticos import scope
        from campaigns.models import Campaign, Message
        from integrations.models import SyncItem
        from leads.models import LeadImport

        with scope.as_system("chaos"):
            found = {
                "messages": Message.objects.filter(state__in=["queued", "claimed"]).count(),
                "campaigns": Campaign.objects.filter(state__in=["preparing", "running"]).count(),
                "wishes": SyncItem.objects.filter(state__in=["waiting", "claimed"]).count(),
                "imports": LeadImport.objects.filter(state__in=["waiting", "running"]).count(),
            }
        return Counter({name: n for name, n in found.items() if n})

    def claims(self, prefix: str = "") -> set[tuple[str, int, str]]:
        """The rows of any kind that worker groups whose names begin so hold, with their tokens."""
        from django.apps import apps

        from agenticos import leasing, scope

        with scope.as_system("chaos"):
            return {
                (model._meta.label, pk, token)
                for model in apps.get_models()
                if issubclass(model, leasing.Lease)
                for pk, token in model._default_manager.filter(lease_owner__startswith=prefix)
                .exclude(claim_token="")
                .values_list("pk", "claim_token")
            }

    # --- The end ---

    def count(self, state: dict[str, Any]) -> dict[str, Any]:
        """Our rows beside what the provider has: every figure of `WRONG` should be 0."""
        from agenticos import invariants, scope
        from campaigns.models import Campaign, Message
        from integrations.models import SyncItem
        from leads.models import Lead, LeadImport
        from tenants.models import AuditEntry

        per_key: Counter[str] = Counter(row["key"] for row in state["deliveries"])
        per_person = Counter(
            (row["account"].rpartition("-")[2], row["recipient"]) for row in state["deliveries"]
        )
        in_crm = Counter(
            (row["locationId"], row["customFields"].get("instagram_username"))
            for row in state["contacts"]
        )
        with scope.as_system("chaos"):
            rows = list(
                Message.objects.values_list(
                    "key", "state", "reason", "tenant__slug", "lead__handle"
                )
            )
            states = Counter(row[1] for row in rows)
            keys = {row[0] for row in rows}
            outcomes = invariants.check(full=True)
            starts = list(
                AuditEntry.objects.filter(
                    action="campaign.started",
                    object_type="campaigns.campaign",
                    object_id__in=self.drafts,
                ).values_list("object_id", flat=True)
            )
            untouched = Campaign.objects.filter(pk__in=self.drafts, state="draft").count()
            done = list(
                LeadImport.objects.filter(state="done").values_list(
                    "created", "updated", "unchanged", "rejected"
                )
            )
            imported = Lead.objects.filter(handle__startswith="file").count()
            syncs = Counter(SyncItem.objects.values_list("state", flat=True))
            crm_lost = sum(
                not in_crm[f"LOC-{slug}", handle]
                for _key, message_state, _reason, slug, handle in rows
                if message_state == "sent"
            )
        return {
            "messages": len(rows),
            "states": dict(states),
            "deliveries": len(state["deliveries"]),
            "doubled": sum(n > 1 for n in per_key.values()),
            "people_doubled": sum(n > 1 for n in per_person.values()),
            "strangers": sum(key not in keys for key in per_key),
            # Sent by our book and never delivered; delivered while our book says it was not.
            "lost": sum(state == "sent" and not per_key[key] for key, state, *_ in rows),
            "unsettled": sum(
                bool(per_key[key]) and state not in ("sent", "unknown") for key, state, *_ in rows
            ),
            "left_open": sum(self.open().values()),
            "let_go_on": dict(Counter(self.let_go_on)),
            "unknown": states["unknown"],
            "unexplained": sum(row[1] == "unknown" and not row[2] for row in rows),
            "contacts": len(state["contacts"]),
            "contacts_doubled": sum(n > 1 for n in in_crm.values()),
            "contacts_lost": crm_lost,
            "syncs": dict(syncs),
            "syncs_given_up": syncs["failed"],
            "imports": f"{len(done)} of {len(self.imports)}",
            "imports_wrong": len(self.imports)
            - sum(line == (IMPORT_ROWS, 0, 0, 0) for line in done)
            + abs(imported - IMPORT_ROWS * len(self.imports)),
            "drafts": len(self.drafts),
            "drafts_doubled": sum(n > 1 for n in Counter(starts).values()),
            "drafts_lost": untouched,
            "violated": {one.invariant.name: one.violations for one in outcomes if one.violations},
        }

    def clear(self) -> None:
        """Take the files of the imports away: they lie in the checkout's own folder."""
        for row in self.imports:
            row.file.delete(save=False)


def steadily(ask: Callable[[], Any], default: Any) -> Any:
    """The answer, or `default` while the database is away."""
    from django.db import Error, connections

    try:
        return ask()
    except Error:
        connections.close_all()
        return default


# What must be 0 or empty at the end.
WRONG: Final = (
    "doubled", "people_doubled", "strangers", "lost", "unsettled", "left_open", "unexplained",
    "contacts_doubled", "contacts_lost", "syncs_given_up", "imports_wrong", "drafts_doubled",
    "drafts_lost", "violated", "stuck_pages", "broken_pages", "unanswered_in_hangs", "no_recovery",
    "slow_stops", "left_claimed", "orphans",
)  # fmt: skip
