"""Cryptographic primitives; the only package that imports `cryptography` and `nacl`.

Bytes go in and bytes come out, so no other layer depends on the library's
objects. Nothing here knows what a group, a message or an agreement is:
`liaison.mls` does. `suites` is where most callers start.

Modules: `suites` (MLS cipher suites), `signing`, `ed25519`, `hpke` and `kem`, `kdf`,
`aead`, `secret` (sealing of files and attachments, randomness), `errors`.
"""
