"""The local page on which people label answers and read the rows of a run."""
