from dataclasses import replace

import pytest

from safetycatch.report.content import (
    Banner,
    CandidateRow,
    ComparisonRow,
    Confusion,
    FindingRow,
    Flip,
    FlipCount,
    GuardrailRow,
    ItemHealth,
    Ladder,
    LadderRow,
    Leakage,
    LeakPair,
    LeakScore,
    LeakTotal,
    Money,
    OtherMetric,
    PerhapsRow,
    ReportContent,
    SliceRow,
)

LONG = (
    "The customer says that the parcel arrived on Tuesday with a broken lid, that two of the three cups are chipped, "
    "and that a photograph was sent to the shop on the same day. Nobody answered. They ask for a refund of the cups "
    "and for the delivery costs, and want to know whether the damaged goods have to be sent back at their own expense."
)


def candidate(name, estimate, half, cost, p50, p95, *, baseline=False, **more):
    return CandidateRow(
        name,
        "test",
        "complete",
        384,
        estimate,
        estimate - half,
        estimate + half,
        n_clusters=37,
        cost_usd_per_1000=cost,
        cost_usd_total=None if cost is None else cost * 0.384,
        latency_p50_s=p50,
        latency_p95_s=p95,
        tokens_in=151_204,
        tokens_cached=98_304,
        tokens_out=1_536,
        method="t over clusters",
        baseline=baseline,
        other_metrics=(OtherMetric("macro_f1", estimate - 0.031, estimate - 0.031 - half, estimate - 0.031 + half),),
        **more,
    )


def versus(name, estimate, half, verdict, *, piece="all", n=384, p=None):
    return ComparisonRow(
        "zero",
        name,
        "accuracy",
        estimate,
        estimate - half,
        estimate + half,
        n,
        piece,
        p,
        p,
        37,
        0,
        "paired t over clusters",
        verdict,
    )


def full_content() -> ReportContent:
    """A claiming run with everything in it; the numbers are made up."""
    return ReportContent(
        name="ticket-routing",
        run_id="2026-11-22-ticket-routing-1",
        mode="claiming",
        created_at="2026-11-22T09:14:03Z",
        banner=Banner(
            "BETTER",
            "knn8 vs zero: +14.1 points [+9.0, +19.1], n = 384, clustered by customer (37)",
            "The 95 % interval lies above zero, and the estimate above the 3 points that matter.",
            "Take knn8.",
        ),
        metric="accuracy",
        smallest_effect=0.03,
        headline_candidate="knn8",
        candidates=(
            candidate("zero", 0.701, 0.049, 0.11, 0.31, 0.82, baseline=True, description="no examples"),
            candidate("knn8", 0.842, 0.041, 0.46, 0.38, 0.97, description="8 nearest examples", n_unparsable=2),
            candidate("static8", 0.83, 0.042, 0.31, 0.36, 0.9, description="8 examples, the same for all", n_missing=1),
            candidate("llama3.1-8b", 0.694, 0.052, 0.09, 0.91, 2.4, description="a smaller model"),
            candidate("large", 0.839, 0.04, 4.9, 0.88, 2.2, description="a larger model"),
        ),
        comparisons=(
            versus("knn8", 0.141, 0.051, "BETTER", p=0.0004),
            versus("static8", 0.129, 0.05, "BETTER", p=0.0008),
            versus("llama3.1-8b", -0.007, 0.044, "INCONCLUSIVE", p=0.76),
            versus("large", 0.138, 0.052, "BETTER", p=0.0006),
            versus("knn8", 0.16, 0.06, None, piece="language=en", n=260),
            versus("knn8", 0.11, 0.09, None, piece="language=de", n=84),
            versus("knn8", -0.19, 0.16, None, piece="language=fr", n=40),
            versus("knn8", 0.15, 0.06, None, piece="channel=mail", n=301),
            versus("knn8", 0.09, 0.11, None, piece="channel=chat", n=83),
        ),
        guardrails=(
            GuardrailRow("cost_usd", "zero", "knn8", 0.00035, 0.00033, 0.00037, "$0.001", "passed", "usd"),
            GuardrailRow("latency_p95", "zero", "knn8", 0.15, 0.02, 0.29, "10 %", "INCONCLUSIVE", "s"),
        ),
        findings=(
            FindingRow(
                "SC501",
                "refuse",
                "overridden",
                "test rows also appear in the training data",
                "23 of 384 test rows: 17 exact, 6 near (Jaccard ≥ 0.80), e.g. test 118 ~ train 902",
                "they score 100 %, the other 361 score 81.2 %: the 82.6 % is 81.2 %",
                "safetycatch check experiments/tickets.yaml --write-clean",
                '--override SC501 --because "…"',
                "public benchmark, by j",
            ),
            FindingRow(
                "SC203",
                "warn",
                "fired",
                "rows repeat within a group",
                "384 rows of 37 customers, the largest has 31",
                "the interval is 1.4 times as wide as without clusters",
                "nothing: the intervals are clustered",
                "--override SC203",
            ),
            FindingRow(
                "SC205",
                "warn",
                "fired",
                "several candidates were tried",
                "4 candidates against one baseline",
                "the best of 4 equal ones looks 2.1 points better by luck",
                "p-values are Holm-adjusted",
                "--override SC205",
            ),
            FindingRow("SC506", "warn", "not_applicable", "saturated"),
            FindingRow("SC503", "warn", "not_checked", "paraphrase across splits", "no embedding tier is configured"),
            *(
                FindingRow(f"SC{n}", "refuse", "passed", "a catch that passed", "384 rows looked at")
                for n in (201, 204, 207, 301, 303, 307, 502, 509, 511, 702, 901)
            ),
        ),
        flips=(
            Flip(
                "knn8",
                "zero",
                "t-0417",
                "My card was charged twice for the same order, please pay one back.",
                "refund",
                "billing",
                "refund",
                "fixed",
            ),
            Flip(
                "knn8",
                "zero",
                "t-0033",
                "How do I change the address of an order that has left the warehouse?",
                "delivery",
                "delivery",
                "account",
                "broken",
            ),
            Flip(
                "knn8",
                "zero",
                "t-0102",
                LONG,
                "refund",
                "This is about a broken parcel, so: delivery. " + LONG,
                "This is about money for a broken parcel, so: refund. " + LONG,
                "fixed",
            ),
            Flip("knn8", "zero", "t-0107", "Where is my invoice?", "billing", None, "billing", "fixed"),
        ),
        flip_counts=(FlipCount("knn8", "zero", 71, 17), FlipCount("static8", "zero", 66, 16)),
        slices=tuple(
            SliceRow(piece, name, n, rate, rate - half, rate + half)
            for piece, n, half in (("language=en", 260, 0.05), ("language=de", 84, 0.09), ("language=fr", 40, 0.14))
            for name, rate in (("zero", 0.7), ("knn8", 0.84))
        ),
        confusions=(
            Confusion("knn8", "refund", "billing", 14),
            Confusion("zero", "refund", "billing", 41),
            Confusion("knn8", "account", "login", 6),
            Confusion("zero", "delivery", "other", 22),
        ),
        item_health=ItemHealth(384, 201, 31, 152, 2.1, 4),
        leakage=Leakage(
            (
                LeakPair(
                    "118",
                    "902",
                    "test",
                    "train",
                    "exact",
                    1.0,
                    "My card was charged twice",
                    "My card was charged twice",
                ),
                LeakPair(
                    "204",
                    "77",
                    "test",
                    "train",
                    "near",
                    0.86,
                    "Hello, my card was charged twice for order 1182, what now?",
                    "my card was charged twice for order 9917, what should I do now?",
                ),
            ),
            (LeakTotal("exact", 17, 17), LeakTotal("near", 6, 6)),
            (LeakScore("knn8", 0.842, 384, 0.831, 361), LeakScore("zero", 0.701, 384, 0.688, 361)),
            "384 test rows against 128 dev and 128 train rows",
        ),
        ladder=Ladder(
            "accuracy",
            (60, 68),
            (
                LadderRow("knn8", "running", 128, 0.86, True, e_value=0.2),
                LadderRow("zero", "running", 128, 0.72, True, e_value=31.0, baseline=True),
                LadderRow("static8", "pruned", 60, 0.75, False, 1, 1.4),
                LadderRow("llama", "eliminated", 50, 0.5, False, 1, 40.1, "knn8"),
            ),
            366,
            512,
        ),
        money=Money(
            *(3.12, 1_064, 1_061, 412, 3, 9, 1, 0.004, 0.87, 0.21, "$5.00", (("timeout", 2), ("rate_limit", 1))),
            n_tokens_in=151_204,
            n_tokens_cached=98_304,
            saved_by_race_usd=0.4,
            perhaps=(PerhapsRow("knn8", "T0007", "openai/gpt-4o-mini", "2026-11-22T10:00:00+00:00", 0.004),),
        ),
        provenance=(
            ("experiment", "sha256 1f0c…"),
            ("data", "tickets.csv, 640 rows, sha256 9a41…"),
            ("git commit", "0123456789abcdef0123456789abcdef01234567, clean"),
            ("versions", "safetycatch 0.1.0, Python 3.11.9"),
            ("looks at this test set", "1 of 3"),
        ),
        command="safetycatch run experiments/tickets.yaml --run-id 2026-11-22-ticket-routing-1",
        notes=("No max_tokens was given: 64 were sent, as for every classification.",),
    )


@pytest.fixture
def content() -> ReportContent:
    return full_content()


@pytest.fixture
def minimal() -> ReportContent:
    """An exploring run with one candidate and nothing else."""
    return ReportContent(
        "quick-look",
        "2026-11-22-quick-look-1",
        "exploring",
        "2026-11-22T09:14:03Z",
        Banner("EXPLORING", "gpt-4o-mini: 71 % [58, 84], n = 48"),
        "accuracy",
        (CandidateRow("gpt-4o-mini", "dev", "complete", 48, 0.71, 0.58, 0.84),),
    )


@pytest.fixture
def empty(minimal) -> ReportContent:
    """A refused run: no candidate was scored."""
    return replace(minimal, mode="claiming", banner=Banner("REFUSED", "SC501 refused before any call"), candidates=())
