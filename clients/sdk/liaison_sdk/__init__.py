"""Liaison's client library for asyncio programs."""
