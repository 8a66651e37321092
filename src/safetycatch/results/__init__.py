"""From score tables to estimates, paired comparisons, verdicts and what a report shows."""
