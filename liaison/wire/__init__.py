"""What crosses the network between a client and its relay, without the network.

`v1` has the bodies of the HTTP API, `frames` and `stream` the WebSocket,
`handshake` the mutual authentication that opens a session, `problems` the
errors. `docs/protocol/wire.md` tells the same story in prose.
"""
