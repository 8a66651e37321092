"""What can go wrong with a call, and what follows: try again, wait, give up the row, or stop the lane.

kind   meaning
retry  the attempt failed (5xx, dropped, hung, truncated ...): bounded attempts, full jitter, a total deadline
wait   the provider asked to slow down (429): the lane pauses, no attempt is used up
row    this request can never succeed (400, too long): the row becomes an error
lane   no request can succeed (key, quota, unknown model): the run stops and can be resumed

`charge` says what the provider may bill for the attempt: `none` or `perhaps` (it may have answered).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

Kind = Literal["retry", "wait", "row", "lane"]
Charge = Literal["none", "perhaps"]
MAX_TEXT = 500
# Faults of requests that never left.
UNSENT = ("not_sent", "connect", "bad_url")

# Rate-limit texts speak of quotas and billing pages too; only these codes mean that the money is gone.
_CREDIT = ("insufficient_quota", "billing_hard_limit", "billing_not_active", "credit balance", "insufficient_funds")
_LENGTH = ("context_length", "context length", "context window", "maximum context", "too many tokens", "prompt is too")
_MODEL = ("model_not_found", "does not exist", "unknown model", "model not found")
_KEY = ("invalid_api_key", "api key not valid", "incorrect api key", "invalid api key")
_FILTER = (
    *("content_filter", "content_policy", "responsibleaipolicy", "content management policy"),
    *("blocked by content filter", "moderation_blocked", "flagged by moderation", "flagged_input"),
    *("input was flagged", "prompt was flagged", "content was flagged", "data_inspection", "datainspection"),
)
# What these statuses answer was refused, not worked for; behind any other a gateway may have lost a paid answer.
_UNBILLED = {409, 425, 500, 501, 503, 529}


@dataclass(frozen=True, slots=True)
class Fault:
    """One failed attempt, as recorded: its class, a redacted text, what it may have cost."""

    kind: Kind
    error_class: str
    text: str = ""
    charge: Charge = "none"
    retry_after_s: float | None = None

    @property
    def counts(self) -> bool:
        """Whether it counts against a ceiling of calls: it was sent, and not told to wait."""
        return self.kind != "wait" and self.error_class not in UNSENT


class CallFaultError(Exception):
    """Raised by a transport; the engine acts on its `fault` and the reply's `headers`, and shows it to nobody."""

    def __init__(self, fault: Fault, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(f"{fault.error_class}: {fault.text}")
        self.fault = fault
        self.headers: Mapping[str, str] = headers or {}


class FilteredPromptError(Exception):
    """The provider's filter refused the prompt: a reply in the state `filtered`, not an error."""


def of_status(status: int, text: str, retry_after_s: float | None = None) -> Fault:
    """Return the fault for an HTTP `status` with the (redacted) error `text`.

    Raises: FilteredPromptError when a content filter refused the prompt.
    """
    text = text[:MAX_TEXT]
    low = text.lower()

    def says(words: tuple[str, ...]) -> bool:
        return any(word in low for word in words)

    if status == 429:
        if says(_CREDIT):
            return Fault("lane", "no_credit", text)
        if "request too large" in low:
            return Fault("row", "too_large_request", text)
        return Fault("wait", "rate_limited", text, retry_after_s=retry_after_s)
    charge: Charge = "none" if status in _UNBILLED else "perhaps"
    if status in {408, 409, 425, 499} or status >= 500 or status < 300:
        return Fault("retry", f"http_{status}", text, charge, retry_after_s)
    # Before the lanes: some refuse a flagged prompt with a 403.
    if says(_FILTER):
        raise FilteredPromptError(text)
    if status in {401, 402, 403, 404} or status < 400:
        names = {401: "unauthorised", 402: "no_credit", 403: "forbidden", 404: "not_found"}
        return Fault("lane", names.get(status, "redirected"), text)
    # Anthropic tells an empty account with a 400.
    if says(_CREDIT):
        return Fault("lane", "no_credit", text)
    if says(_LENGTH):
        return Fault("row", "context_length", text)
    if says(_KEY):
        return Fault("lane", "unauthorised", text)
    if status == 400 and says(_MODEL):
        return Fault("lane", "not_found", text)
    return Fault("row", "too_large_request" if status == 413 else "bad_request", text)
