"""The relay: an asyncio service that stores and forwards what it can't read.

`app` puts it together, `services` does the work, `routes` and `stream` are how
clients reach it, `admin` how its operator does. Every write goes through
`writer`, so that there is one order of things and one commit per group.
"""
