"""A party's witness: it cosigns what a log shows, if the log has only grown.

A folder holds it: `witness.toml` (address and logs), `keys/` (private, 0600), `witness.sqlite`
(what was cosigned last for each log, and the evidence against one).
"""
