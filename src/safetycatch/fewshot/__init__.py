"""Choosing the examples a prompt shows, and writing the prompt."""
