"""The demo of `make run`: two rival tenants, invented leads, a campaign that runs.

Everything goes through the doors that people use: provisioning, the import, the campaign's start.
A seeding that was interrupted is taken up again, since a marker stays in `var/` until it is whole.
"""

from __future__ import annotations

import time
from pathlib import Path

from django.conf import settings
from django.core.files import File
from django.utils import timezone

from agenticos import provisioning, scope
from campaigns import actions as campaigns
from campaigns.models import Campaign, SendingAccount, Template
from leads import actions as leads, tasks as lead_tasks
from leads.models import IcpVersion, LeadImport
from tenants.models import Tenant, User

HERE = Path(__file__).parent
PASSWORD = "agenticos-demo"  # noqa: S105 - printed for everybody who runs the demo
STAFF = "staff@agenticos.example"
CAMPAIGN = "Agenda de verão"
AUDIENCE = 300
LIST = "Demo"
LOG_INS = [
    ("owner@acme.example", "everything of Acme"),
    ("manager@acme.example", "all but members and credentials"),
    ("operator@acme.example", "imports, pauses and stops, does not launch"),
    ("reviewer@acme.example", "reads texts, changes nothing yet"),
    ("viewer@acme.example", "reads, without message texts"),
    ("owner@globex.example", "a rival tenant: sees nothing of Acme"),
    (STAFF, "the admin, at /admin/"),
]


def _marker() -> Path:
    return Path(settings.VAR_DIR) / "demo.pending"


def is_wanted() -> bool:
    """Whether the database is empty, or a seeding was cut off."""
    return _marker().is_file() or not Tenant.objects.exists()


def is_there() -> bool:
    """Whether this database holds the demo."""
    return User.objects.filter(email=LOG_INS[0][0]).exists()


def seed() -> None:
    """Make the demo, or what is missing of it. Takes a few seconds."""
    marker = _marker()
    marker.parent.mkdir(parents=True, exist_ok=True)
    marker.touch()
    now = timezone.now()
    for name in ("acme", "globex"):
        text = (HERE / f"{name}.json").read_text(encoding="utf-8")
        provisioning.provision(provisioning.read(text), now=now)
    if not User.objects.filter(email=STAFF).exists():
        User.objects.create_superuser(STAFF, PASSWORD, name="Staff")
    acme, globex = Tenant.objects.get(slug="acme"), Tenant.objects.get(slug="globex")
    _import(acme, Path(settings.BASE_DIR) / "leads" / "demo" / "leads-500.csv")
    _import(globex, HERE / "globex.csv")
    _work_off()
    _start_campaign(acme)
    marker.unlink()


def _import(tenant: Tenant, file: Path) -> None:
    """Hand the file to the import, unless that was done."""
    with scope.as_tenant(tenant):
        if LeadImport.objects.filter(list_name=LIST).exists():
            return
        with file.open("rb") as stream:
            leads.start_import(
                tenant, File(stream), file.name, list_name=LIST, by=None, now=timezone.now()
            )


def _work_off() -> None:
    """Do here what the workers would do: import, and score under the first version."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with scope.as_system("whether the demo's leads are in"):
            importing = LeadImport.objects.filter(
                state__in=[LeadImport.State.WAITING, LeadImport.State.RUNNING]
            ).exists()
            scoring = IcpVersion.objects.filter(state=IcpVersion.State.SCORING).exists()
        if not importing and not scoring:
            return
        with scope.as_nobody():
            if scoring:
                lead_tasks.rescore_slice()
            if importing:
                lead_tasks.import_slice()


def _start_campaign(tenant: Tenant) -> None:
    with scope.as_tenant(tenant):
        campaign = Campaign.objects.filter(name=CAMPAIGN).first()
        owner = User.objects.get(email=LOG_INS[0][0])
        if campaign is None:
            campaign = campaigns.create_campaign(
                tenant,
                name=CAMPAIGN,
                text=Template.objects.get(name="Primeiro contato").body,
                audience={"kind": "filter", "tag": LIST},
                accounts=list(SendingAccount.objects.order_by("pk")),
                limit=AUDIENCE,
                window={},
                by=owner,
                now=timezone.now(),
            )
        if campaign.state == Campaign.State.DRAFT:
            campaigns.start_campaign(campaign, by=owner, now=timezone.now())


def guide(port: int) -> list[str]:
    """The log-ins and what to look at, as lines for the terminal."""
    width = max(len(email) for email, _ in LOG_INS)
    return [
        f"Log in (every password is {PASSWORD}):",
        *(f"  {email:<{width}}  {what}" for email, what in LOG_INS),
        "",
        "What to click, as owner@acme.example:",
        f"  1. Campaigns, then “{CAMPAIGN}”: {AUDIENCE} messages leave within two minutes, live.",
        "  2. Pause and resume it; every number opens the messages behind it.",
        "  3. Leads: filter by band, open one, see why its score is what it is.",
        f"  As owner@globex.example the same address (http://localhost:{port}/t/acme/…) is a 404.",
    ]
