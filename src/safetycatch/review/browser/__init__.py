"""Read-only pages over the rows of a stored run: filter, search, and candidates side by side."""

from safetycatch.review.browser.pages import routes

__all__ = ["routes"]
