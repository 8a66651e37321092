"""Rows about limits and faults: requests and tokens a minute, errors, broken and hung answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from calls_jobs import MAX_TOKENS, prompts
from calls_processes import Server, run
from calls_rows import Figure

from safetycatch.sandbox.tokens import count_prompt_tokens

if TYPE_CHECKING:
    from collections.abc import Iterator

    from calls_rows import Options

IDEAL_BAR = 1.08
REFUSED_BAR = 0.02
USERS_NAME = "{:,} prompts, log-normal 1.5 s, 600 requests and 60,000 tokens a minute, 2 % faults, 64 at once"
USERS = {
    "latency": "lognormal:1.5s:0.5",
    "requests_per_minute": 600,
    "tokens_per_minute": 60_000,
    "faults": ["500:0.005", "503:0.005", "drop:0.005", "truncated:0.005"],
}


def ideal_s(n: int, salt: str, limits: dict[str, Any]) -> float:
    """Return the seconds that the limits alone need for a job."""
    tokens = sum(count_prompt_tokens([prompt]) + MAX_TOKENS for _, prompt, _ in prompts(n, salt))
    requests_s = 60 * n / limits["requests_per_minute"] if "requests_per_minute" in limits else 0.0
    tokens_s = 60 * tokens / limits["tokens_per_minute"] if "tokens_per_minute" in limits else 0.0
    return max(requests_s, tokens_s)


def _limited(options: Options, n: int, name: str, server_options: dict[str, Any], **job: Any) -> Figure:
    ideal = ideal_s(n, "job", server_options)
    with Server(**server_options) as server:
        found = run(server, options.fresh(), n=n, **job)
        stats = server.stats()
    struck = stats["faults"]
    refused = stats["by_status"].get("429", 0) - struck.get("429", 0)
    ratio = stats["window_s"] / ideal
    lost = n - found["correct"]
    ok = lost == 0 == stats["repeated"] and ratio <= IDEAL_BAR and refused <= REFUSED_BAR * stats["received"]
    figure = f"{lost} lost, {stats['repeated']} paid twice, {refused} of {stats['received']} refused by the limits; "
    figure += f"{stats['window_s']:.1f} s = {ratio:.3f}x the ideal {ideal:.1f} s"
    if struck:
        figure += f"; faults {sum(struck.values())}"
    bar = f"0, 0, ≤ {REFUSED_BAR:.0%}; ≤ {IDEAL_BAR}x"
    return Figure(name, figure, bar, ok)


def users(options: Options) -> Iterator[Figure]:
    """As users run it."""
    n = options.n(1000)
    yield _limited(options, n, USERS_NAME.format(n), USERS)


def rpm(options: Options) -> Iterator[Figure]:
    """600 requests a minute."""
    n = options.n(200)
    limits = {"latency": "50ms", "requests_per_minute": 600}
    yield _limited(options, n, f"600 requests a minute, {n} prompts, 64 at once", limits)


def tpm(options: Options) -> Iterator[Figure]:
    """60,000 tokens a minute, and nothing else."""
    n = options.n(200)
    limits = {"latency": "50ms", "tokens_per_minute": 60_000}
    yield _limited(options, n, f"60,000 tokens a minute, {n} prompts of 100, 64 at once", limits)


def faults(options: Options) -> Iterator[Figure]:
    """Errors that pass: nothing is lost."""
    n = options.n(1000)
    for name, script in (
        ("5 % 500 and 5 % 429", ["500:0.05", "429:0.05,seconds=0.2"]),
        ("2 % truncated and 2 % dropped", ["truncated:0.02", "drop:0.02"]),
        ("2 % hung, our deadline 2 s", ["hang:0.02"]),
    ):
        with Server(latency="50ms", faults=script) as server:
            found = run(server, options.fresh(), n=n, settings={"read_s": 1.0, "connect_s": 1.0})
            stats = server.stats()
        lost, struck = n - found["correct"], ", ".join(f"{kind} {count}" for kind, count in stats["faults"].items())
        ok = lost == 0 == stats["repeated"] and sum(stats["faults"].values()) > 0
        figure = f"{lost} lost, {stats['repeated']} paid twice ({struck}; {found['perhaps_paid']} perhaps paid), "
        yield Figure(f"{name}, {n:,} prompts", figure + f"{stats['window_s']:.1f} s", "0 lost", ok)
