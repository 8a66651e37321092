"""What a run would still pay, as a person is shown it before they say yes."""

from __future__ import annotations

from dataclasses import dataclass, replace

from safetycatch.report.numbers import money

# Sums of the same prices in another order differ in their last digits.
SLACK = 1e-9


@dataclass(frozen=True, slots=True)
class Estimate:
    """Calls still to send, at most, and US dollars for them: expected, and at most (None: a price is not known).

    `highest_usd` is what the calls cost when each costs the most it can. Under a ceiling neither sum is above it.
    `n_from_journal` calls are answered already and cost nothing.
    """

    n_calls: int
    n_from_journal: int
    expected_usd: float | None
    highest_usd: float | None
    highest_tokens: int

    def __add__(self, other: Estimate) -> Estimate:
        return Estimate(
            self.n_calls + other.n_calls,
            self.n_from_journal + other.n_from_journal,
            _sum(self.expected_usd, other.expected_usd),
            _sum(self.highest_usd, other.highest_usd),
            self.highest_tokens + other.highest_tokens,
        )

    def under(self, ceiling_usd: float | None) -> Estimate:
        """Return the estimate under a ceiling in US dollars (None: there is none)."""
        if ceiling_usd is None or self.expected_usd is None or self.highest_usd is None:
            return self
        bounded = min(self.expected_usd, ceiling_usd), min(self.highest_usd, ceiling_usd)
        return replace(self, expected_usd=bounded[0], highest_usd=bounded[1])

    def likely(self, share: float) -> Estimate:
        """Return the estimate where only a `share` of the calls is expected to be needed; all may be."""
        return self if self.expected_usd is None else replace(self, expected_usd=share * self.expected_usd)

    def below(self, usd: float) -> bool:
        """Whether at most `usd` dollars are expected; an unknown price is below nothing, no call below everything."""
        return not self.n_calls or (self.expected_usd is not None and self.expected_usd <= usd)

    def within(self, approved: Estimate) -> bool:
        """Whether a yes to `approved` is a yes to this: neither sum has grown; without a price, neither the calls."""
        if self.expected_usd is None or self.highest_usd is None:
            fewer = self.n_calls <= approved.n_calls and self.highest_tokens <= approved.highest_tokens
            return approved.expected_usd is None and fewer
        if approved.expected_usd is None or approved.highest_usd is None:
            return False
        sums = ((self.expected_usd, approved.expected_usd), (self.highest_usd, approved.highest_usd))
        return all(mine <= theirs * (1 + SLACK) for mine, theirs in sums)

    @property
    def text(self) -> str:
        """The estimate in words."""
        held = f" ({self.n_from_journal:,} known or repeated)" if self.n_from_journal else ""
        calls = f"up to {self.n_calls:,} call{'' if self.n_calls == 1 else 's'}{held}"
        if self.expected_usd is None or self.highest_usd is None:
            return f"{calls}, at a price that is not known; up to {self.highest_tokens:,} tokens"
        return f"{calls}, {money(self.expected_usd)} expected, {money(self.highest_usd)} at most"


def _sum(left: float | None, right: float | None) -> float | None:
    return None if left is None or right is None else left + right
