"""The one scoring engine: (profile, ICP configuration) -> 0-100, band, eligibility, breakdown.

Design: four groups (bio, engagement, profile, recency) of fourteen criteria with natural points;
a group's weight scales its natural maximum. Unknown is neither zero nor bad: an unknown factor
earns nothing, is marked `missing` and shows what it could add. Gates and blocklists never touch
points, they make a lead not eligible. Pure: no ORM, clock or network; who can be scored together
shares one `Scorer`, which is compiled once per configuration.

Text is matched on whole words of folded text (`identities.fold`): a word is a run of letters and
digits, so "sp" is not in "especialista", "medico" is "Médico", and the punctuation of a keyword
("dr.", "bem-estar") stands for any punctuation or none.
"""

from leads.scoring.breakdown import Score, from_compact, what_would_lift
from leads.scoring.config import DEFAULT, BadConfig, IcpConfig, Weights
from leads.scoring.engine import Scorer, score, scorer_for
from leads.scoring.schema import SCHEMA
from leads.scoring.texts import CRITERION_LABELS, GROUP_LABELS, INELIGIBLE, evidence_text
from leads.scoring.values import GROUPS, Band, Line, Profile

__all__ = [
    "CRITERION_LABELS", "DEFAULT", "GROUPS", "GROUP_LABELS", "INELIGIBLE", "SCHEMA", "BadConfig",
    "Band", "IcpConfig", "Line", "Profile", "Score", "Scorer", "Weights", "evidence_text",
    "from_compact", "score", "scorer_for", "what_would_lift",
]  # fmt: skip
