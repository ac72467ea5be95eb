"""The relay's database: SQLAlchemy Core tables, and functions on the caller's transaction.

SQLite and PostgreSQL, one set of tables and one set of statements. Nothing here
commits, caches or decides: `liaison.relay.writer` owns the transaction and
`liaison.relay.services` the decisions.
"""
