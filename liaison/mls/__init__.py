"""MLS, RFC 9420: the whole protocol, one module per chapter.

Two halves. The public half (`public_group` and what it imports) works on what
everyone may see: trees, proposals, commits, signatures; a relay holds it. The
members' half (`group` and `key_schedule`, `secret_tree`, `tree_kem`,
`protection`, `commit`, `welcome`, `external`, `snapshot`) adds the secrets; no
server module may import it, and a contract keeps it so.

State is a value: verbs return a new state and leave the old one as it was, so a
verb that raises has changed nothing. `now` is Unix time in seconds, `rng(n)`
gives n random bytes; the engine has neither clock nor entropy of its own.
Nothing is imported here.
"""
