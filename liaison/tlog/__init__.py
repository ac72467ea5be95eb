"""The transparency log: what auditors of every party check without trusting the relay.

An RFC 6962 Merkle tree in the formats of C2SP (tlog-tiles, signed-note, tlog-checkpoint,
tlog-cosignature, tlog-witness, tlog-proof, tlog-policy), so that tools nobody here wrote can
check it, and the entries that Liaison puts into it. Nothing here reads a file, a socket or a clock:
tiles come through a callback, and what is to be written is returned as data.

docs/protocol/log.md tells the formats that are our own.
"""
