"""The tables of the journal, and the statements that write them: in SQL that Postgres speaks too but for BLOB, REAL."""

from __future__ import annotations

from safetycatch.database import Kind

CALLS = """
CREATE TABLE intent (
  intent_id BIGINT PRIMARY KEY, call_key TEXT NOT NULL, run_id TEXT NOT NULL, endpoint TEXT NOT NULL,
  model TEXT NOT NULL, candidate TEXT NOT NULL, example_id TEXT NOT NULL, replicate BIGINT NOT NULL,
  attempt BIGINT NOT NULL, max_cost_usd REAL, max_tokens BIGINT NOT NULL, sent_at REAL NOT NULL);
CREATE INDEX intent_run ON intent (run_id);
CREATE TABLE answer (
  intent_id BIGINT PRIMARY KEY, call_key TEXT NOT NULL, run_id TEXT NOT NULL, state TEXT NOT NULL, text TEXT,
  model_returned TEXT, n_tokens_in BIGINT, n_tokens_cached BIGINT, n_tokens_out BIGINT, cost_usd REAL, latency_s REAL,
  attempts BIGINT NOT NULL, error_class TEXT, error_text TEXT, answered_at REAL NOT NULL, raw BLOB);
CREATE INDEX answer_key ON answer (call_key);
CREATE INDEX answer_run ON answer (run_id);
CREATE TABLE fault (
  intent_id BIGINT PRIMARY KEY, call_key TEXT NOT NULL, run_id TEXT NOT NULL, kind TEXT NOT NULL,
  error_class TEXT NOT NULL, charge TEXT NOT NULL, text TEXT NOT NULL, at REAL NOT NULL)
"""
# Who is asking now: from a call's first intent to its answer or its end without one. `writer` names a lock file.
CLAIMS = """
CREATE TABLE claim (
  call_key TEXT PRIMARY KEY, writer TEXT NOT NULL, asker BIGINT NOT NULL, claimed_at REAL NOT NULL);
ALTER TABLE answer ADD COLUMN cache_saved_usd REAL
"""

JOURNAL = Kind(
    name="journal",
    what="the journal of paid calls",
    fix="restore it from a copy; or move it away and pay for its calls again",
    versions=(CALLS, CLAIMS),
    # What was committed survives the death of the process; a power cut may take the last moments.
    synchronous="NORMAL",
)

INTENT = "INSERT INTO intent VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
ANSWER = (
    "INSERT INTO answer (intent_id, call_key, run_id, state, text, model_returned, n_tokens_in, n_tokens_cached,"
    " n_tokens_out, cost_usd, latency_s, attempts, error_class, error_text, answered_at, cache_saved_usd, raw)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
FAULT = "INSERT INTO fault VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
HOLDER = "SELECT writer, asker FROM claim WHERE call_key = ?"
RELEASE = "DELETE FROM claim WHERE call_key = ? AND writer = ? AND asker = ?"
FORGET = "DELETE FROM claim WHERE writer = ?"

REPLY = (
    "state, text, model_returned, n_tokens_in, n_tokens_cached, n_tokens_out, cost_usd, latency_s, attempts,"
    " error_class, error_text, cache_saved_usd"
)
# Invalid replies (another model, no content) were paid for but are not reused: the call is asked again.
REUSED = "state <> 'invalid'"
FIRST_REPLY = f"SELECT {REPLY} FROM answer WHERE call_key = ? AND {REUSED} ORDER BY answered_at, intent_id LIMIT 1"  # noqa: S608
# One statement for what nearly always happens: nobody has answered, nobody asks.
CLAIM = (
    "INSERT INTO claim SELECT ?, ?, ?, ? WHERE NOT EXISTS"  # noqa: S608
    f" (SELECT 1 FROM answer WHERE call_key = ? AND {REUSED}) ON CONFLICT (call_key) DO NOTHING"
)
# An intent is settled by an answer, or by a fault that is known to cost nothing.
OPEN = (
    "NOT EXISTS (SELECT 1 FROM answer a WHERE a.intent_id = i.intent_id) AND NOT EXISTS"
    " (SELECT 1 FROM fault f WHERE f.intent_id = i.intent_id AND f.charge = 'none')"
)
