"""Liaison: secure messaging between nations, under an agreement they signed.

The packages below are cores (pure, synchronous, typed) and the rim that does
I/O; `ARCHITECTURE.md` has the map. Nothing is imported here, so that a client
that needs one core does not pay for the others.
"""
