"""Several answers to one question become one: votes, weights, confusion matrices, and what the members share."""

from safetycatch.ensembles.ballots import Ballots, read_ballots
from safetycatch.ensembles.dawid_skene import DawidSkene, dawid_skene
from safetycatch.ensembles.diversity import Correlation, effective_voters, error_correlation
from safetycatch.ensembles.self_consistency import samples_to_ask
from safetycatch.ensembles.voting import Vote, majority_vote, vote_weight, weighted_vote

__all__ = [
    "Ballots",
    "Correlation",
    "DawidSkene",
    "Vote",
    "dawid_skene",
    "effective_voters",
    "error_correlation",
    "majority_vote",
    "read_ballots",
    "samples_to_ask",
    "vote_weight",
    "weighted_vote",
]
