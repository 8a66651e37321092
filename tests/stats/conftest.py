"""Property tests here are repeatable, and an oracle's first import may take seconds."""

from hypothesis import settings

settings.register_profile("stats", deadline=None, derandomize=True, max_examples=60)
settings.load_profile("stats")
