"""Self-consistency: how many more samples an item needs before its leader cannot be caught."""

from __future__ import annotations

from typing import TYPE_CHECKING

from safetycatch.errors import StatisticsError

if TYPE_CHECKING:
    from collections.abc import Mapping


def samples_to_ask(counts: Mapping[str, int], n_asked: int, n_samples: int) -> int:
    """Return the fewest further samples that could decide an item, 0 once nothing can change its winner.

    `counts` are the votes by answer among the `n_asked` samples so far (an unreadable sample is no vote), `n_samples`
    the most that are asked. The result of stopping is that of asking all. Raises: StatisticsError for more asked.
    """
    left = n_samples - n_asked
    if left < 0 or sum(counts.values()) > n_asked:
        raise StatisticsError(f"{sum(counts.values())} votes in {n_asked} of {n_samples} samples")
    leader, second = [*sorted(counts.values(), reverse=True), 0, 0][:2]
    lead = leader - second
    # The runner-up may take all that is left: only a lead above that is safe.
    return 0 if lead > left else min(left, (left - lead) // 2 + 1)
