"""Judges of free answers: what they are asked, what they said, how far people agree with them, and what that costs."""

from safetycatch.judging.agreement import agreement, class_agreement, ordinal_agreement
from safetycatch.judging.alpha import krippendorff_alpha
from safetycatch.judging.alternative_annotator import alternative_annotator_test
from safetycatch.judging.correction import Corrected, corrected_rate, rogan_gladen_from_counts
from safetycatch.judging.difference import CorrectedDifference, corrected_difference, labelled_difference
from safetycatch.judging.labels_needed import labels_for_kappa, labels_for_rate

__all__ = [
    "Corrected",
    "CorrectedDifference",
    "agreement",
    "alternative_annotator_test",
    "class_agreement",
    "corrected_difference",
    "corrected_rate",
    "krippendorff_alpha",
    "labelled_difference",
    "labels_for_kappa",
    "labels_for_rate",
    "ordinal_agreement",
    "rogan_gladen_from_counts",
]
