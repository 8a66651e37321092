"""Judges of free answers: what they are asked, what they said, how far people agree with them, and what that costs."""
