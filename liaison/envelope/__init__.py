"""What travels with a message and in it: the header, the content, receipts.

The header is MLS `authenticated_data`: the relay reads it, nobody can change
it. The content is the plaintext: only members read it.
"""
