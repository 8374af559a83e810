"""Every reason why something is not sent: one list for worker, page, API and forecast.

The codes are a promise to programs; the sentences are for people and say what to do.
"""

from __future__ import annotations

from enum import StrEnum

from django.utils.functional import Promise
from django.utils.translation import gettext, gettext_lazy as _


class Code(StrEnum):
    """Why not now. The comment of each group says what it does to a message."""

    # A normal wait: it passes by itself at a known time.
    STEP_DELAY = "step_delay"
    OUTSIDE_WINDOW = "outside_window"
    ACCOUNT_HOURLY_CAP = "account_hourly_cap"
    ACCOUNT_DAILY_CAP = "account_daily_cap"
    CAMPAIGN_CAP = "campaign_cap"
    TENANT_CAP = "tenant_cap"
    MINIMUM_GAP = "minimum_gap"
    BACK_OFF = "back_off"
    FAIR_SHARE_TURN = "fair_share_turn"
    # Blocked: a person must act.
    TENANT_STOP = "tenant_stop"
    CAMPAIGN_PAUSED = "campaign_paused"
    CAMPAIGN_NOT_RUNNING = "campaign_not_running"
    NO_ELIGIBLE_ACCOUNT = "no_eligible_account"
    SESSION_INVALID = "session_invalid"
    ACCOUNT_BLOCKED = "account_blocked"
    TEMPLATE_REJECTED = "template_rejected"
    ERROR_RATE = "error_rate"
    OUTCOME_UNKNOWN = "outcome_unknown"
    WORKER_LOST = "worker_lost"
    NOBODY_TO_WRITE_TO = "nobody_to_write_to"
    START_OVERDUE = "start_overdue"
    # A final skip of one lead.
    SUPPRESSED = "suppressed"
    CONTACT_POLICY_GAP = "contact_policy_gap"
    BELOW_MIN_SCORE = "below_min_score"
    NURTURING_BAND = "nurturing_band"
    NOT_ELIGIBLE = "not_eligible"
    NOT_SCORED = "not_scored"
    MISSING_VARIABLE = "missing_variable"
    SKIPPED_BY_PERSON = "skipped_by_person"
    LEAD_REMOVED = "lead_removed"
    # Of a test message alone.
    TEST_NOT_TAKEN = "test_not_taken"
    TEST_UNKNOWN = "test_unknown"
    # Not a reason of a message: an account that a person took out of rotation.
    BLOCKED_BY_PERSON = "blocked_by_person"


SENTENCES: dict[str, Promise | str] = {
    Code.STEP_DELAY: _("The next step is not due yet."),
    Code.OUTSIDE_WINDOW: _("It is outside the campaign's sending hours."),
    Code.ACCOUNT_HOURLY_CAP: _("The account has sent all that its hourly cap allows."),
    Code.ACCOUNT_DAILY_CAP: _("The account has sent all that its daily cap allows."),
    Code.CAMPAIGN_CAP: _("The campaign has sent all that its own daily cap allows."),
    Code.TENANT_CAP: _("The workspace has sent all that its plan allows in a day."),
    Code.MINIMUM_GAP: _("The pause between two sends of an account is not over."),
    Code.BACK_OFF: _("The provider asked to wait; it is tried again by itself."),
    Code.FAIR_SHARE_TURN: _("Due now: waiting for its turn."),
    Code.TENANT_STOP: _("All sending of this workspace is stopped. Lift the stop to go on."),
    Code.CAMPAIGN_PAUSED: _("The campaign is paused. Resume it to go on."),
    Code.CAMPAIGN_NOT_RUNNING: _("The campaign is not running."),
    Code.NO_ELIGIBLE_ACCOUNT: _(
        "No sending account is able to send. Unblock or add one, then resume the campaign."
    ),
    Code.SESSION_INVALID: _(
        "The provider no longer accepts the account's credential. Renew it, unblock the account, "
        "then resume the campaign."
    ),
    Code.ACCOUNT_BLOCKED: _(
        "The provider has restricted the account. Clear it in the provider's app, unblock the "
        "account here, then resume the campaign."
    ),
    Code.TEMPLATE_REJECTED: _(
        "The provider refused the message itself three times in a row. Mend the text, then resume."
    ),
    Code.ERROR_RATE: _(
        "Too many messages went wrong in a short time. Look at them, mend the cause, then go on."
    ),
    Code.OUTCOME_UNKNOWN: _(
        "It may or may not have reached the person. Look at the thread, then say what happened."
    ),
    Code.WORKER_LOST: _(
        "The worker ended during the call, so it may or may not have reached the person. Look at "
        "the thread, then say what happened."
    ),
    Code.NOBODY_TO_WRITE_TO: _(
        "Nobody in the audience may be written to now. Widen the audience, then start again."
    ),
    Code.START_OVERDUE: _(
        "Its time to start passed while no worker was running. Look at the plan, then start it."
    ),
    Code.SUPPRESSED: _("This person must not be written to."),
    Code.CONTACT_POLICY_GAP: _("This person had a first message from this workspace recently."),
    Code.BELOW_MIN_SCORE: _("The current score is below the campaign's minimum."),
    Code.NURTURING_BAND: _("Nurturing leads are never written to."),
    Code.NOT_ELIGIBLE: _("The ICP's gates exclude this lead."),
    Code.NOT_SCORED: _("This lead has no score yet."),
    Code.MISSING_VARIABLE: _("The text needs something that is not known of this lead."),
    Code.TEST_NOT_TAKEN: _(
        "No worker took it in time, so it was surely not sent. See that the workers run, then "
        "send another test."
    ),
    Code.TEST_UNKNOWN: _(
        "The worker ended during the call. Look at the phone: it may have arrived. It is not sent "
        "again by itself."
    ),
    Code.BLOCKED_BY_PERSON: _("A person took this account out of rotation."),
    Code.SKIPPED_BY_PERSON: _("A person decided not to send it."),
    Code.LEAD_REMOVED: _("The person was erased, so nothing is sent to them."),
}


def sentence(code: str, stored: str = "") -> str:
    """What a code means, in the reader's language.

    Our own codes have their sentence here; a provider's was stored, in English, beside the code.
    """
    if code in SENTENCES:
        return str(SENTENCES[code])
    return gettext(stored) if stored else code
