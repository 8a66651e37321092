"""Prefect tasks: one stage each, cached by content, passing references to Parquet artifacts."""
