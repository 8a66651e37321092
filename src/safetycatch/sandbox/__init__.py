"""A server on loopback that speaks as OpenAI, Azure and Anthropic do: tiny learners, an echo model, scripted faults."""

from safetycatch.sandbox.faults import Fault, parse_fault
from safetycatch.sandbox.running import RunningSandbox, running, serve
from safetycatch.sandbox.server import Sandbox
from safetycatch.sandbox.settings import Latency, SandboxSettings, parse_latency

__all__ = [
    "Fault",
    "Latency",
    "RunningSandbox",
    "Sandbox",
    "SandboxSettings",
    "parse_fault",
    "parse_latency",
    "running",
    "serve",
]
