"""Several answers to one question become one: votes, weights, confusion matrices, and what the members share."""

from safetycatch.ensembles.ballots import Ballots, read_ballots
from safetycatch.ensembles.dawid_skene import DawidSkene, dawid_skene
from safetycatch.ensembles.diversity import Correlation, effective_voters, error_correlation
from safetycatch.ensembles.election import Ballot, Decision, Election, elect, n_nobody, n_unvoted, settled, tie_counts
from safetycatch.ensembles.records import Record, best_member, fold_of, ranked, without_own_fold
from safetycatch.ensembles.self_consistency import samples_to_ask
from safetycatch.ensembles.voting import Vote, majority_vote, vote_weight, weighted_vote

__all__ = [
    "Ballot",
    "Ballots",
    "Correlation",
    "DawidSkene",
    "Decision",
    "Election",
    "Record",
    "Vote",
    "best_member",
    "dawid_skene",
    "effective_voters",
    "elect",
    "error_correlation",
    "fold_of",
    "majority_vote",
    "n_nobody",
    "n_unvoted",
    "ranked",
    "read_ballots",
    "samples_to_ask",
    "settled",
    "tie_counts",
    "vote_weight",
    "weighted_vote",
    "without_own_fold",
]
