"""Intervals, comparisons and decisions from plain arrays; no global random state, NaN means missing."""

from safetycatch.stats.bootstrap import ClusterBootstrap, cluster_bootstrap
from safetycatch.stats.design import Allocation, SimulatedPower, replicates_or_items, simulated_power
from safetycatch.stats.discordance import McNemar, ScoreInterval, mcnemar, tango_interval
from safetycatch.stats.guardrails import Guardrail, check_guardrail
from safetycatch.stats.intervals import Interval, mean_interval, rate_interval
from safetycatch.stats.multiplicity import benjamini_hochberg, holm, luck_of_best
from safetycatch.stats.paired import (
    Equivalence,
    NonInferiority,
    PairedDifference,
    equivalence,
    noninferiority,
    paired_difference,
)
from safetycatch.stats.permutation import SignFlip, max_t, sign_flip
from safetycatch.stats.power import detectable_effect, required_n
from safetycatch.stats.racing import Eliminated, MeanERace, PairEvidence, Pruned, Standing
from safetycatch.stats.variance import DifferenceNoise, VarianceComponents, difference_noise, variance_components
from safetycatch.stats.verdict import Verdict, decide

__all__ = [
    "Allocation",
    "ClusterBootstrap",
    "DifferenceNoise",
    "Eliminated",
    "Equivalence",
    "Guardrail",
    "Interval",
    "McNemar",
    "MeanERace",
    "NonInferiority",
    "PairEvidence",
    "PairedDifference",
    "Pruned",
    "ScoreInterval",
    "SignFlip",
    "SimulatedPower",
    "Standing",
    "VarianceComponents",
    "Verdict",
    "benjamini_hochberg",
    "check_guardrail",
    "cluster_bootstrap",
    "decide",
    "detectable_effect",
    "difference_noise",
    "equivalence",
    "holm",
    "luck_of_best",
    "max_t",
    "mcnemar",
    "mean_interval",
    "noninferiority",
    "paired_difference",
    "rate_interval",
    "replicates_or_items",
    "required_n",
    "sign_flip",
    "simulated_power",
    "tango_interval",
    "variance_components",
]
