"""Prefect flows: chains of tasks."""

import os

# Read by pyarrow when it is first imported. Its own allocator keeps what each of its threads once held: at 10,000 rows
# of 200 characters 50 MB more, for no measurable time.
os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
