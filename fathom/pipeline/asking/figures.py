"""What asking is like, and what it costs, from what was said."""

from collections import Counter
from collections.abc import Sequence

from fathom.language.remote_settings import RemoteSettings
from fathom.prompting.rank import RankedCandidates


def asked_figures(said: Sequence[RankedCandidates], seconds: float, endpoint: RemoteSettings | None) -> dict[str, float]:
    """What the answers are like, and what they cost.

    For each person `questions`, `tokens` written, `context_tokens` read and written, `seconds_per_user`, `money` by the endpoint's prices.
    Shares of all answers: `compliant`, `unreadable`; of the lines that there should be: `invalid_items`, `duplicate_items`,
    `missing_items`.
    """
    total: Counter[str] = Counter()
    for one in said:
        total.update(one.tally)
    users, questions, lines = len(said), max(total["questions"], 1), max(total["lines"], 1)
    figures = {
        "questions": total["questions"] / users,
        "compliant": total["compliant"] / questions,
        "unreadable": total["unreadable"] / questions,
        "tokens": total["written"] / users,
        "context_tokens": (total["read"] + total["written"]) / users,
        "seconds_per_user": seconds / users,
    }
    if endpoint is not None:
        figures["money"] = endpoint.price(total["read"], total["written"]) / users
    if total["lines"]:
        figures |= {
            f"{name}_items": total[key] / lines for name, key in (("invalid", "unknown"), ("duplicate", "repeated"), ("missing", "missing"))
        }
    return figures
