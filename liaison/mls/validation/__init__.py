"""The checks of RFC 9420, one function each, each with its id.

An id `VAL-xxyy` stands in the error that the check raises, in the function's
docstring and in `docs/protocol/mls-validation.md`, which names the test that
breaks it. Groups: 01 framing, 02 leaf nodes, 03 key packages, 04 trees,
05 single proposals, 06 proposal lists, 07 commits, 08 GroupInfo and Welcome.
"""
