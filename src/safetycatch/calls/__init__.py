"""Calls to models and to the user's own functions: journaled before they are sent, budgeted, resumed, drained."""

from safetycatch.calls.attempt import EngineSettings
from safetycatch.calls.budget import Budget, Spent, UnknownPrice, UnknownPriceError
from safetycatch.calls.counts import CallCounts, Progress
from safetycatch.calls.embedding import embed
from safetycatch.calls.engine import Engine
from safetycatch.calls.faults import Fault
from safetycatch.calls.journal import Journal
from safetycatch.calls.journal_reading import JournalReader, PerhapsPaid
from safetycatch.calls.limiter import Lanes
from safetycatch.calls.prices import Price, Prices
from safetycatch.calls.request import Endpoint, Reply, Request
from safetycatch.calls.signals import StopFlag, install

__all__ = [
    "Budget",
    "CallCounts",
    "Endpoint",
    "Engine",
    "EngineSettings",
    "Fault",
    "Journal",
    "JournalReader",
    "Lanes",
    "PerhapsPaid",
    "Price",
    "Prices",
    "Progress",
    "Reply",
    "Request",
    "Spent",
    "StopFlag",
    "UnknownPrice",
    "UnknownPriceError",
    "embed",
    "install",
]
