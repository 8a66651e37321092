"""The safety catches: the catalogue, the findings, and a file of checks a series."""

from safetycatch.catches.catalogue import CATCHES, Catch
from safetycatch.catches.finding import Finding, Observation, Policy, judge, refuse

__all__ = ["CATCHES", "Catch", "Finding", "Observation", "Policy", "judge", "refuse"]
