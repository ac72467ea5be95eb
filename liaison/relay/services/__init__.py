"""What the relay does, each service one subject; `liaison.relay.routes` is how it is reached.

A service checks, then submits operations to the one writer. It answers with
bodies of the wire where there are such, and refuses with typed errors.
"""

from __future__ import annotations

from liaison.relay.services.assembly import Services
from liaison.relay.services.limits import Limits

__all__ = ["Limits", "Services"]
