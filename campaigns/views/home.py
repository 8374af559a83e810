"""The start of a tenant: what needs a person, what runs, what left today, what is to be set up."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, time, timedelta
from typing import Any

from django.contrib.humanize.templatetags.humanize import intcomma
from django.db.models import Count, Exists, OuterRef, Q, QuerySet
from django.http import HttpResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _, ngettext
from django.views.decorators.http import require_safe

from agenticos import paging
from agenticos.htmx import render_page
from campaigns import codes, daycaps, facts, gates
from campaigns.models import Campaign, CampaignCounts, Message, SendingAccount, TestSend
from campaigns.views.shared import counts_of
from integrations.models import Connection, SyncItem
from leads.models import Icp, LeadImport
from tenants.http import TenantRequest, requires
from tenants.models import Tenant
from tenants.roles import can, who_can

State = Campaign.State
SHOWN = 5  # of each kind, until one asks for all
SHOWN_MOST = 100
RUNNING_MOST = 8
FAILED_IMPORT_COUNTS = timedelta(days=14)  # an older one is history
UNDER_WAY = (
    LeadImport.State.REHEARSING,
    LeadImport.State.WAITING,
    LeadImport.State.RUNNING,
    LeadImport.State.UNDOING,
)


@dataclass(frozen=True, slots=True)
class Need:
    """One thing that waits for a person, and the page where it is done."""

    icon: str
    tone: str  # "bad", "warn" or ""
    title: str
    text: str
    href: str


@dataclass(frozen=True, slots=True)
class Running:
    """A campaign that moves; `sub` says what it waits for, if anything."""

    campaign: Campaign
    counts: CampaignCounts | None
    sub: str
    until: datetime | None


@dataclass(frozen=True, slots=True)
class SentToday:
    """How many messages left through one account today; `handle` is empty for a removed one."""

    handle: str
    count: int
    href: str


@dataclass(frozen=True, slots=True)
class SetupStep:
    """One line of the checklist. `done` is asked of the rows each time, never remembered."""

    label: str
    why: str
    href: str
    done: bool
    allowed: bool
    roles: str


@requires("tenant.view")
@require_safe
def tenant_home(request: TenantRequest) -> HttpResponse:
    """The start, or its live part; it asks again only while something moves."""
    limit = SHOWN_MOST if "all" in request.GET else SHOWN
    needs, more = _needs(request, limit)
    running = _running(request)
    setup = _setup(request)
    today = sent_today(request.tenant, timezone.now())
    importing = request.tenant.imports.filter(state__in=UNDER_WAY).exists()
    context = {
        "needs": needs,
        "more": more,
        "running": running[:RUNNING_MOST],
        "more_running": len(running) > RUNNING_MOST,
        "today": today,
        "today_total": sum(row.count for row in today),
        "setup": [] if all(step.done for step in setup) else setup,
        "setup_done": sum(step.done for step in setup),
        "importing": importing,
        "is_moving": bool(running) or importing,
    }
    return render_page(request, "home_tenant.html", context, parts=["home"])


# --- What needs me ----------------------------------------------------------------------------


def _needs(request: TenantRequest, limit: int) -> tuple[list[Need], bool]:
    """The most urgent first, `limit` of each kind; and whether there are more of any."""
    kinds = (_unknown, _blocked, _accounts, _imports, _dead_letters, _drafts)
    found = [kind(request, limit + 1) for kind in kinds]
    return [need for rows in found for need in rows[:limit]], any(len(r) > limit for r in found)


def _unknown(request: TenantRequest, limit: int) -> list[Need]:
    rows = request.tenant.campaigns.filter(counts__unknown__gt=0).select_related("counts")
    needs = []
    for campaign in rows.order_by("-counts__unknown", "-pk")[:limit]:
        count = campaign.counts.unknown
        text = ngettext(
            "%(n)s message may or may not have arrived. Look in the thread and say which.",
            "%(n)s messages may or may not have arrived. Look in the threads and say which.",
            count,
        )
        address = reverse("campaigns:audience", args=[request.tenant.slug, campaign.pk])
        href = f"{address}?state=unknown"
        needs.append(
            Need("help-circle", "warn", campaign.name, text % {"n": intcomma(count)}, href)
        )
    return needs


def _blocked(request: TenantRequest, limit: int) -> list[Need]:
    by_itself = Q(state=State.PAUSED) & ~Q(reason="")
    rows = request.tenant.campaigns.filter(
        Q(state__in=(State.BLOCKED, State.FAILED)) | by_itself
    ).order_by("-pk")[:limit]
    return [
        Need(
            "alert-triangle",
            "bad",
            campaign.name,
            campaign.why or campaign.get_state_display(),
            _panel(request, campaign),
        )
        for campaign in rows
    ]


def _accounts(request: TenantRequest, limit: int) -> list[Need]:
    rows = request.tenant.sending_accounts.filter(state=SendingAccount.State.BLOCKED)
    needs = []
    for account in rows.order_by("handle")[:limit]:
        href = reverse("accounts:detail", args=[request.tenant.slug, account.pk])
        text = account.why or account.get_state_display()
        needs.append(Need("ban", "bad", str(account), text, href))
    return needs


def _imports(request: TenantRequest, limit: int) -> list[Need]:
    """Imports that were checked and wait for a yes, and those that failed lately.

    A failed one is no need any more when the same file has come in since.
    """
    since = timezone.now() - FAILED_IMPORT_COUNTS
    again = LeadImport.objects.filter(
        pk__gt=OuterRef("pk"), file_name=OuterRef("file_name"), state=LeadImport.State.DONE
    )
    wanted = ~Exists(again) & Q(state=LeadImport.State.FAILED, created_at__gte=since)
    if can(request.membership, "leads.import"):
        wanted |= Q(state=LeadImport.State.READY)
    failed = _("The import failed. See why, mend the file and import it again.")
    ready = _("The file has been checked. See what the import would do, and say yes.")
    needs = []
    for row in request.tenant.imports.filter(wanted).order_by("-pk")[:limit]:
        href = reverse("leads:import", args=[request.tenant.slug, row.pk])
        tone, text = ("bad", failed) if row.state == LeadImport.State.FAILED else ("", ready)
        needs.append(Need("file-import", tone, row.file_name, text, href))
    return needs


def _dead_letters(request: TenantRequest, limit: int) -> list[Need]:
    if not can(request.membership, "connections.view"):
        return []
    count = request.tenant.sync_items.filter(state=SyncItem.State.FAILED).count()
    if not count:
        return []
    text = ngettext(
        "%(n)s contact did not reach the CRM. Try it again, or put it aside.",
        "%(n)s contacts did not reach the CRM. Try them again, or put them aside.",
        count,
    )
    href = reverse("integrations:dead-letters", args=[request.tenant.slug])
    return [Need("cloud-off", "warn", _("Dead letters"), text % {"n": intcomma(count)}, href)]


def _drafts(request: TenantRequest, limit: int) -> list[Need]:
    """Drafts: to start for who may, to finish for who writes them, none of a reader's business."""
    if not can(request.membership, "campaigns.edit"):
        return []
    text = _("A draft. Finish it, and ask a manager to start it.")
    if can(request.membership, "campaigns.launch"):
        text = _("A draft. Look it over and start it.")
    rows = request.tenant.campaigns.filter(state=State.DRAFT).order_by("-pk")[:limit]
    return [Need("pencil", "", campaign.name, text, _panel(request, campaign)) for campaign in rows]


def _panel(request: TenantRequest, campaign: Campaign) -> str:
    return reverse("campaigns:detail", args=[request.tenant.slug, campaign.pk])


# --- What runs, and what left today -----------------------------------------------------------


def _running(request: TenantRequest) -> list[Running]:
    """The newest campaigns that move, one more than is shown."""
    now = timezone.now()
    rows = request.tenant.campaigns.filter(state__in=(State.RUNNING, State.PREPARING))
    found = []
    campaigns = list(rows.select_related("counts").order_by("-pk")[: RUNNING_MOST + 1])
    caps = daycaps.in_force(request.tenant, campaigns, now)
    for campaign in campaigns:
        counts = counts_of(campaign)
        sub, until = "", None
        if campaign.state == State.RUNNING and counts and counts.open:
            rules = facts.campaign_facts(campaign, request.tenant, caps)
            decision = gates.campaign_gate(rules, now)
            if decision.code:
                sub, until = codes.sentence(decision.code), decision.until
        found.append(Running(campaign, counts, sub, until))
    return found


def today_of(tenant: Tenant, now: datetime) -> tuple[datetime, datetime]:
    """When the tenant's day began, and when it ends: 23 to 25 hours."""
    date = now.astimezone(tenant.zone).date()
    start = datetime.combine(date, time.min, tenant.zone)
    return start, datetime.combine(date + timedelta(days=1), time.min, tenant.zone)


def messages_of_today(tenant: Tenant, now: datetime) -> QuerySet[Message]:
    """What was sent today, in the tenant's zone.

    Only campaigns that worked today are looked at: their rows lie together, while a day of all
    campaigns would be a walk over the ledger.
    """
    start, end = today_of(tenant, now)
    worked = tenant.campaigns.filter(counts__worked_at__gte=start)
    return tenant.messages.filter(
        campaign__in=worked, state=Message.State.SENT, sent_at__gte=start, sent_at__lt=end
    )


def sent_today(tenant: Tenant, now: datetime) -> list[SentToday]:
    """Today's messages by account, most first; each with the address of just these."""
    rows = messages_of_today(tenant, now).values("account", "account__handle")
    address = reverse("tenant-today", args=[tenant.slug])
    return [
        SentToday(
            row["account__handle"] or "", row["n"], f"{address}?account={row['account'] or 'none'}"
        )
        for row in rows.annotate(n=Count("pk")).order_by("-n", "account__handle")
    ]


@requires("campaigns.view")
@require_safe
def today(request: TenantRequest) -> HttpResponse:
    """The messages of today, latest place first; of one account with `account`."""
    found = messages_of_today(request.tenant, timezone.now())
    chosen = request.GET.get("account", "")
    account: SendingAccount | None = None
    if chosen == "none":
        found = found.filter(account=None)
    elif chosen.isascii() and chosen.isdigit() and len(chosen) < 19:
        found = found.filter(account=int(chosen))
        account = request.tenant.sending_accounts.filter(pk=int(chosen)).first()
    page = paging.page(
        found.defer("text").select_related("lead", "campaign", "account"),
        ("-pk",),
        after=request.GET.get("after", ""),
        before=request.GET.get("before", ""),
    )
    context: dict[str, Any] = {"page": page, "rows": page.rows, "account": account}
    return render_page(request, "home_today.html", context, parts=["today"])


# --- The checklist ----------------------------------------------------------------------------


def _setup(request: TenantRequest) -> list[SetupStep]:
    """Each line proved by rows that are there now, in the order in which one needs them."""
    tenant = request.tenant
    active = Connection.State.ACTIVE
    accounts = tenant.sending_accounts.filter(
        state=SendingAccount.State.ACTIVE, connection__state=active
    )
    crm = tenant.connections.filter(kind=Connection.Kind.GHL, state=active)

    def step(label: str, why: str, route: str, right: str, *proofs: QuerySet[Any]) -> SetupStep:
        return SetupStep(
            label=label,
            why=why,
            href=reverse(route, args=[tenant.slug]),
            done=any(proof.exists() for proof in proofs),
            allowed=can(request.membership, right),
            roles=", ".join(who_can(right)),
        )

    return [
        step(
            _("Publish an ICP"),
            _("It says who fits, and every lead gets a score by it."),
            "icp:editor",
            "icp.edit",
            Icp.objects.filter(tenant=tenant),
        ),
        step(
            _("Bring in leads"),
            _("A CSV file with handles is enough."),
            "leads:imports",
            "leads.import",
            tenant.leads.all(),
        ),
        step(
            _("Connect a sending account"),
            _("Messages leave through it, at its own pace. Its credential must work."),
            "accounts:list",
            "accounts.edit",
            accounts,
        ),
        step(
            _("Send yourself a test message"),
            _("A profile of the team gets one text for real, so you know that messages arrive."),
            "accounts:trial",
            "messages.test",
            TestSend.objects.filter(state=TestSend.State.SENT),
            # Who has sent to leads already needs no proof that messages arrive.
            CampaignCounts.objects.filter(sent__gt=0),
        ),
        step(
            _("Connect the CRM"),
            _("Everybody you wrote to appears there as a contact."),
            "integrations:list",
            "connections.manage",
            crm,
        ),
        step(
            _("Write a template"),
            _("A first message to begin campaigns with."),
            "templates:list",
            "campaigns.edit",
            tenant.templates.all(),
        ),
        step(
            _("Start a first campaign"),
            _("Choose who, what and when; nothing leaves before you say so."),
            "campaigns:create",
            "campaigns.edit",
            tenant.campaigns.filter(started_at__isnull=False),
        ),
    ]
