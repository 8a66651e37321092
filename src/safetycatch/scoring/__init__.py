"""Turning replies into numbers: parsers, scorers, and the metrics that need the whole set."""
