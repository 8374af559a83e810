"""A workspace as large as they get, for pages to be opened on: leads, a ledger, and the rest."""

from __future__ import annotations

import io
import random
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import islice
from typing import Any, Final

from django.db import connection, models
from django.utils import timezone

from agenticos import scope, sql
from agenticos.bench import preview
from agenticos.bench.stage import TEXT, Stage
from agenticos.leasing import new_token
from campaigns.models import (
    AccountUsage,
    Campaign,
    CampaignAccount,
    CampaignCounts,
    Message,
    SendingAccount,
    Step,
    Template,
    TemplateVersion,
)
from integrations.models import Connection, SyncItem
from leads import scoring, staging
from leads.models import (
    BulkJob,
    BulkRow,
    IcpVersion,
    ImportedLead,
    ImportProblem,
    Lead,
    LeadImport,
    LeadTag,
    SavedView,
)
from tenants import api_keys
from tenants.models import AuditEntry, Membership, Notification, User
from tenants.role_models import CustomRole

ACCOUNTS: Final = 50
SYNC_ITEMS: Final = 1_000
# What became of the ledger's rows: state, share of them, why.
FATES: Final = (
    ("queued", 40, ""),
    ("sent", 40, ""),
    ("failed", 6, "recipient_gone"),
    ("failed", 2, "template_rejected"),
    ("unknown", 2, "outcome_unknown"),
    ("skipped", 5, "below_min_score"),
    ("skipped", 4, "missing_variable"),
    ("cancelled", 1, "suppressed"),
)
CSV: Final = "handle,name,followers\n" + "".join(f"new{n},Ana {n},{n}\n" for n in range(2_000))


@dataclass(slots=True)
class Workspace:
    """The workspace's owner, and an id of each thing that a page can be about."""

    owner: User
    ids: dict[str, int] = field(default_factory=dict)


def build(stage: Stage, n: int) -> Workspace:
    """Fill the stage with a tenant of `n` scored leads, all of them in one running campaign."""
    preview.build(stage, n)
    owner = User.objects.create_user("owner@example.com")
    with scope.as_tenant(stage.tenant):
        Membership.objects.create(tenant=stage.tenant, user=owner, role="owner")
        space = Workspace(owner)
        dice = random.Random(11)  # the same workspace in every run
        leads = list(Lead.objects.order_by("pk").values_list("pk", flat=True))
        space.ids["lead"] = leads[n // 2]
        _label(stage, leads, dice)
        accounts = _accounts(stage, space)
        _campaigns(stage, space, leads, accounts, dice)
        _imports(stage, space, leads)
        _jobs(stage, space, leads)
        _crm(stage, space, leads)
        _rest(stage, space)
    if connection.vendor == "postgresql":
        # What autovacuum would have done within a minute.
        for table in connection.introspection.table_names():
            preview.analyse(table)
    return space


def _make(rows: Iterable[models.Model]) -> None:
    """Insert rows of one model, some thousands at a time."""
    left, made = iter(rows), 0
    while some := list(islice(left, 2_000)):
        type(some[0])._default_manager.bulk_create(some)
        sql.grown(made, made + len(some), type(some[0]))
        made += len(some)


def _label(stage: Stage, leads: list[int], dice: random.Random) -> None:
    """Two large lists, small tags, sources, and people who must not be written to."""
    half = leads[len(leads) // 2]
    Lead.objects.filter(pk__lt=half).update(source="import")
    Lead.objects.filter(pk__in=leads[:: max(1, len(leads) // 500)]).update(source="manual")
    stopped = dice.sample(leads, len(leads) // 50)
    for start in range(0, len(stopped), 500):
        some = Lead.objects.filter(pk__in=stopped[start : start + 500])
        some.update(suppressed_at=timezone.now())
    wanted = {"spring list": leads[: len(leads) * 6 // 10], "autumn list": leads[len(leads) // 2 :]}
    wanted |= {f"tag {n}": dice.sample(leads, len(leads) // 50) for n in range(20)}
    _make(
        LeadTag(tenant=stage.tenant, lead_id=lead, name=name)
        for name, some in wanted.items()
        for lead in some
    )


def _accounts(stage: Stage, space: Workspace) -> list[SendingAccount]:
    """Accounts that have worked for two weeks."""
    now = timezone.now()
    accounts = []
    for number in range(ACCOUNTS):
        link = Connection.objects.create(
            tenant=stage.tenant,
            kind="instagram_graph",
            name=f"a{number}",
            external_id=f"ig{number}",
        )
        link.set_secret(token=f"stage-token-{number:06}")
        account = SendingAccount(tenant=stage.tenant, connection=link, handle=f"account{number}")
        if number % 10 == 9:
            account.state, account.block_code = "blocked", "session_invalid"
            account.blocked_at = now
        else:
            account.next_at = now + timedelta(seconds=number)
        account.save()
        accounts.append(account)
    _make(
        AccountUsage(
            tenant=stage.tenant,
            account=account,
            period=f"{now - timedelta(days=back):%Y-%m-%d}",
            used=40,
        )
        for account in accounts
        for back in range(14)
    )
    space.ids |= {"account": accounts[0].pk, "connection": accounts[0].connection_id}
    return accounts


def _campaigns(
    stage: Stage,
    space: Workspace,
    leads: list[int],
    accounts: list[SendingAccount],
    dice: random.Random,
) -> None:
    """One that runs over all leads, two that are over or held, two drafts, a large one of them."""
    few = max(1, len(leads) // 20)
    plans: tuple[tuple[str, str, int, list[int]], ...] = (
        ("over", "finished", 500, dice.sample(leads, few)),
        ("held", "paused", 500, dice.sample(leads, few)),
        ("draft", "draft", 500, []),
        ("large", "draft", len(leads), []),
        ("campaign", "running", len(leads), leads),
    )
    now = timezone.now()
    version = IcpVersion.objects.get()
    for name, state, limit, some in plans:
        began = now - timedelta(days=20) if state != "draft" else None
        row = Campaign.objects.create(
            tenant=stage.tenant,
            name=f"Campaign, {name}",
            state=state,
            limit=limit,
            audience={"kind": "filter"},
            icp_version=version if began else None,
            created_by=space.owner,
            started_at=began,
            prepared=len(some),
            finished_at=now if state == "finished" else None,
        )
        space.ids[name] = row.pk
        Step.objects.create(tenant=stage.tenant, campaign=row, body=TEXT)
        linked = accounts[:: 1 if state == "running" else 10]
        _make(CampaignAccount(tenant=stage.tenant, campaign=row, account=each) for each in linked)
        counts: Counter[str] = Counter()
        _make(_messages(row, some, linked, counts, dice))
        CampaignCounts.objects.create(
            tenant=stage.tenant, campaign=row, audience=len(some), worked_at=began and now, **counts
        )
        _history(stage, space, row, acts=200 if state == "running" else 5)
    sent = Message.objects.filter(campaign=space.ids["campaign"])
    for state in ("queued", "sent", "failed", "unknown"):
        space.ids[state] = sent.filter(state=state).values_list("pk", flat=True)[0]
    touched = sent.filter(lead=models.OuterRef("pk"), state="sent")
    Lead.objects.filter(models.Exists(touched)).update(first_touch_at=now - timedelta(days=30))


def _messages(
    campaign: Campaign,
    leads: list[int],
    accounts: list[SendingAccount],
    counts: Counter[str],
    dice: random.Random,
) -> Iterator[Message]:
    now = timezone.now()
    fates = dice.choices(FATES, weights=[share for _, share, _ in FATES], k=len(leads))
    for place, (lead, (state, _share, reason)) in enumerate(zip(leads, fates, strict=True)):
        if state == "queued" and campaign.state == "finished":
            state = "cancelled"
        at = now - timedelta(minutes=dice.randint(1, 60 * 24 * 20))
        counts[state] += 1
        yield Message(
            tenant_id=campaign.tenant_id,
            campaign=campaign,
            lead_id=lead,
            account=dice.choice(accounts) if state in ("sent", "failed", "unknown") else None,
            state=state,
            position=place,
            due_at=at,
            key=new_token(),
            text="Oi Ana, tudo bem? Vi seu trabalho." if state in ("sent", "unknown") else "",
            reason=reason,
            sent_at=at if state == "sent" else None,
            dispatched_at=at if state in ("sent", "unknown") else None,
            created_at=now - timedelta(days=20),
            updated_at=at,
        )


def _history(stage: Stage, space: Workspace, campaign: Campaign, *, acts: int) -> None:
    """People's acts on a campaign, and on some of its messages."""
    now = timezone.now()
    about = [("campaigns.campaign", campaign.pk, "campaign.paused")] * acts
    messages = campaign.messages.filter(state="failed").values_list("pk", flat=True)[:acts]
    about += [("campaigns.message", pk, "message.retried") for pk in messages]
    _make(
        AuditEntry(
            tenant=stage.tenant,
            at=now - timedelta(minutes=place),
            user=space.owner,
            actor=space.owner.email,
            action=action,
            object_type=kind,
            object_id=pk,
        )
        for place, (kind, pk, action) in enumerate(about)
    )


def _imports(stage: Stage, space: Workspace, leads: list[int]) -> None:
    """One that came in, one that was checked and waits, each of half the leads; and a draft."""
    now, half = timezone.now(), len(leads) // 2
    for name, state in (("import", "done"), ("checked", "ready")):
        done = state == "done"
        row = LeadImport.objects.create(
            tenant=stage.tenant,
            file_name=f"{name}.csv",
            state=state,
            records=half,
            size=half * 100,
            created=half - half // 10,
            updated=half // 10,
            rejected=half // 25,
            headers=["handle", "name"],
            mapping={"0": "handle", "1": "name"},
            committed_at=now if done else None,
            started_by=space.owner,
            finished_at=now,
        )
        space.ids[name] = row.pk
        _make(
            ImportedLead(
                tenant=stage.tenant,
                lead_import=row,
                lead_id=lead if done or place % 10 == 0 else None,
                handle=f"lead{place:07}",
                fate="updated" if place % 10 == 0 else "created",
                before={"name": "Ana"} if place % 10 == 0 else {},
                after={"name": "Ana Lima"},
                at=now,
            )
            for place, lead in enumerate(leads[:half])
        )
        _make(
            ImportProblem(
                tenant=stage.tenant,
                lead_import=row,
                line=line,
                rejected=line % 2 == 0,
                code="bad_handle" if line % 2 == 0 else "ghl_id_taken",
                params={"value": "…"} if line % 2 == 0 else {"handle": f"lead{line}"},
                raw=["…", "Ana"],
            )
            for line in range(2, 2 + half // 25)
        )
    file: Any = io.BytesIO(CSV.encode())
    draft = staging.stage_import(stage.tenant, file, "draft.csv", by=space.owner, now=now)
    space.ids["draft file"] = draft.pk


def _jobs(stage: Stage, space: Workspace, leads: list[int]) -> None:
    """A tag that half the leads were given at once."""
    now, half = timezone.now(), len(leads) // 2
    job = BulkJob.objects.create(
        tenant=stage.tenant,
        kind="tag",
        state="done",
        params={"tag": "tag 1"},
        total=half,
        done=half,
        started_by=space.owner,
        created_at=now,
        finished_at=now,
    )
    space.ids["job"] = job.pk
    _make(
        BulkRow(tenant=stage.tenant, job=job, lead_id=lead, outcome="done") for lead in leads[:half]
    )


def _crm(stage: Stage, space: Workspace, leads: list[int]) -> None:
    """The sync log: most of it done, a tenth dead letters."""
    crm = Connection.objects.create(tenant=stage.tenant, kind="ghl", name="CRM", external_id="LOC")
    crm.set_secret(token="stage-token-of-the-crm")
    space.ids["crm"] = crm.pk
    now = timezone.now()
    _make(
        SyncItem(
            tenant=stage.tenant,
            connection=crm,
            key=f"lead:{lead}",
            wanted={"handle": "ana", "name": "Ana", "tags": ["HOT"]},
            wanted_rev=1,
            done_rev=0 if place % 10 == 0 else 1,
            state="failed" if place % 10 == 0 else "waiting" if place % 10 == 1 else "done",
            reason="bad_request" if place % 10 == 0 else "",
            due_at=now + timedelta(hours=1),
            done_at=now if place % 10 > 1 else None,
        )
        for place, lead in enumerate(leads[:: max(1, len(leads) // SYNC_ITEMS)][:SYNC_ITEMS])
    )
    space.ids["item"] = SyncItem.objects.filter(state="failed").values_list("pk", flat=True)[0]


def _rest(stage: Stage, space: Workspace) -> None:
    """Templates, ICP versions that were, saved views, members, news."""
    now = timezone.now()
    for number in range(20):
        row = Template.objects.create(tenant=stage.tenant, name=f"Text {number}", body=TEXT)
        TemplateVersion.objects.create(
            tenant=stage.tenant, template=row, number=1, body=TEXT, created_by=space.owner
        )
        space.ids["template"] = row.pk
    config = scoring.DEFAULT.to_json()
    for number in range(2, 8):
        IcpVersion.objects.create(
            tenant=stage.tenant, number=number, config=config, state="retired", published_at=now
        )
    for number, query in enumerate(("band=HOT", "tag=tag+1", "sort=followers", "source=manual")):
        view = SavedView.objects.create(
            tenant=stage.tenant, owner=space.owner, name=f"View {number}", query=query
        )
        space.ids["view"] = view.pk
    key, _text = api_keys.create_key(
        Membership.objects.get(), name="ci", scopes=["leads:read"], days=90, by=None, now=now
    )
    space.ids["key"] = key.pk
    rights = ["campaigns.edit", "leads.edit"]
    for number in range(10):
        role = CustomRole.objects.create(tenant=stage.tenant, name=f"Role {number}", rights=rights)
        space.ids["own role"] = role.pk
    for number in range(20):
        person = User.objects.create_user(f"person{number}@example.com")
        member = Membership.objects.create(tenant=stage.tenant, user=person, role="viewer")
        space.ids["member"] = member.pk
    _make(
        Notification(
            tenant=stage.tenant,
            kind="campaign.finished",
            subject=space.ids["over"],
            params={"name": "Campaign, over"},
            created_at=now,
        )
        for _ in range(500)
    )
    space.ids["news"] = Notification.objects.values_list("pk", flat=True)[0]
