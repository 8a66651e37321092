"""The journal of every paid call: intent before it is sent, answer or fault after it came back. It is the only cache."""
