"""A party's registrar: its keys, its invitations, its certificates, its revocations.

`office` works on the registrar's own disk and needs no relay; what it issues is made
in `issuing`. `desk` brings what the office made to the relay and back. `store` and
`state` are how it rests.
"""
