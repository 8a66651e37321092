"""Ways to send a request: direct HTTP, litellm, or a Python function."""
