"""How the list is shown: sort, columns, density; and its address in one spelling."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlencode

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from leads.filters import NO_BAND, LeadFilter, Scored
from leads.models import Icp
from tenants.models import Tenant


@dataclass(frozen=True, slots=True)
class Sort:
    """An order that an index serves; `scored`: only leads with a score have a place in it."""

    label: Promise
    order: tuple[str, ...]
    scored: bool = False
    known: str = ""  # a field that must be known


SORTS: Final[dict[str, Sort]] = {
    "score": Sort(_("Best score first"), ("-total", "pk"), scored=True),
    "lowest": Sort(_("Lowest score first"), ("total", "-pk"), scored=True),
    "newest": Sort(_("Newest first"), ("-pk",)),
    "oldest": Sort(_("Oldest first"), ("pk",)),
    "followers": Sort(_("Most followers first"), ("-followers", "pk"), known="followers"),
}
# What may stand beside the lead, in the order in which the chooser offers it.
COLUMNS: Final[dict[str, Promise]] = {
    "score": _("Score"),
    "reason": _("Top reason"),
    "followers": _("Followers"),
    "city": _("City"),
    "message": _("Last message"),
    "source": _("Source"),
    "owner": _("Owner"),
    "tags": _("Tags"),
    "category": _("Category"),
    "following": _("Following"),
    "posts": _("Posts"),
    "engagement": _("Engagement, %"),
    "email": _("E-mail"),
    "phone": _("Phone"),
    "first_message": _("First message"),
    "added": _("Added"),
    "updated": _("Updated"),
}
DEFAULT_COLUMNS: Final = ("score", "reason", "followers", "city", "message", "source")


@dataclass(frozen=True, slots=True)
class Layout:
    """The sort, the columns in their order, and whether the rows are set tightly."""

    sort: str = "score"
    columns: tuple[str, ...] = DEFAULT_COLUMNS
    dense: bool = False

    @classmethod
    def read(cls, data: Any) -> Layout:
        """What an address asks for; what is not known is left out."""
        sort = data.get("sort", "")
        wanted = dict.fromkeys(name for name in data.getlist("c") if name in COLUMNS)
        return cls(
            sort if sort in SORTS else "score",
            tuple(wanted) or DEFAULT_COLUMNS,
            data.get("rows") == "tight",
        )

    def pairs(self) -> list[tuple[str, str]]:
        """The layout as parameters of an address; what is as usual is left out."""
        found = [("sort", self.sort)] if self.sort != "score" else []
        if self.columns != DEFAULT_COLUMNS:
            found += [("c", name) for name in self.columns]
        return found + ([("rows", "tight")] if self.dense else [])


def canonical(found: LeadFilter, layout: Layout) -> str:
    """Filter and layout as the query of an address, in one spelling: two that say the same are
    the same text."""
    return urlencode([*found.pairs(), *layout.pairs()])


def band_of(found: LeadFilter, icp: Icp | None) -> str:
    """The band that is shown; without an ICP nobody has a score."""
    return found.band_chosen or ("" if icp else NO_BAND)


def narrowed(found: LeadFilter, sort: Sort, icp: Icp | None) -> Scored:
    """The leads of all bands that the filter leaves and the order has a place for."""
    leads = found.narrow(found.tenant.leads.scored_under(icp.live_id if icp else 0))
    return leads.filter(**{f"{sort.known}__isnull": False}) if sort.known else leads


def in_view(found: LeadFilter, sort: Sort, icp: Icp | None) -> Scored:
    """The leads that the pages of a list show, in no order yet."""
    leads = narrowed(found, sort, icp)
    band = band_of(found, icp)
    return found.in_band(leads, band) if band or sort.scored else leads


def order_of(found: LeadFilter, sort: Sort, icp: Icp | None) -> tuple[str, ...]:
    """The order for `paging.page`; who has no score is listed as they came in."""
    return ("pk",) if sort.scored and band_of(found, icp) == NO_BAND else sort.order


def matching(tenant: Tenant, found: LeadFilter, sort: str) -> Scored:
    """`in_view`, with the ICP in force."""
    icp = Icp.objects.filter(tenant=tenant).first()
    return in_view(found, SORTS[sort], icp).order_by()
