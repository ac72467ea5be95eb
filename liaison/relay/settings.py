"""What an operator can set, each with its default and its reason.

Settings come from the environment (`LIAISON_RELAY_<NAME>`), then from
`liaison-relay.toml` in the data directory, then from the defaults here. An
unknown name in the file is an error: a misspelt limit must not pass unnoticed.
For people they are written by `settings_words`.
"""

from __future__ import annotations

import json
import os
import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Final

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from liaison.relay.errors import SettingsError
from liaison.relay.files import ENV_DATA, SETTINGS_FILE

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

ENV_PREFIX: Final = "LIAISON_RELAY_"
_ORIGIN = re.compile(r"https://(\[[0-9a-f:]+\]|[a-z0-9.-]+)(:[0-9]{1,5})?")
_WITNESS = re.compile(r"(https?)://(\[[0-9a-f:]+\]|[a-z0-9.-]+)(:[0-9]{1,5})?(/[A-Za-z0-9._~/-]*)?")
_NATS = re.compile(
    r"(tls|nats)://([^\s/@:]+(:[^\s/@]*)?@)?(\[[0-9a-f:]+\]|[a-z0-9.-]+)(:[0-9]{1,5})?"
)
_LISTEN = re.compile(r"(\[[0-9a-fA-F:]+\]|[^:\s]+):([0-9]{1,5})")

Positive = Annotated[int, Field(gt=0)]
Rate = Annotated[float, Field(gt=0)]


class TLSMode(StrEnum):
    """Who ends the TLS connection."""

    FILES = "files"
    DEV = "dev"
    PROXY = "proxy"


class Settings(BaseModel):
    """The relay's settings. Times are seconds and sizes bytes unless the name says otherwise."""

    model_config: ClassVar[ConfigDict] = ConfigDict(
        extra="forbid", frozen=True, hide_input_in_errors=True
    )

    listen: str = Field(
        "127.0.0.1:8443",
        description="Address and port to listen on; port 0 takes a free one and prints it.",
    )
    database_url: str = Field(
        "",
        description="SQLAlchemy URL of the database, `sqlite+aiosqlite:///...` or "
        "`postgresql+asyncpg://...`; empty: `relay.db` in the data directory.",
        repr=False,
    )
    tls: TLSMode = Field(
        TLSMode.FILES,
        description="`files`: the relay ends TLS with the two files below; `dev`: with a "
        "certificate of a local CA that it makes itself, for trials; `proxy`: a reverse proxy "
        "on the same host ends TLS and the relay speaks plain HTTP on a loopback address.",
    )
    tls_certificate: Path | None = Field(
        None, description="PEM file with the server's certificate chain, leaf first."
    )
    tls_key: Path | None = Field(None, description="PEM file with the server's private key.")
    trusted_proxies: tuple[str, ...] = Field(
        (),
        description="Addresses whose `X-Forwarded-For` is believed, for the limits by address.",
    )
    hosts: tuple[str, ...] = Field(
        (),
        description="Names, beside that of the origin, that requests may carry in `Host`.",
    )
    log_level: str = Field(
        "info", description="Least severity that is logged: `debug`, `info`, `warning`, `error`."
    )
    request_timeout: Rate = Field(
        30.0, description="How long a request's body may take to arrive, blobs excepted."
    )
    shutdown_grace: Rate = Field(
        10.0, description="How long requests and streams have to end when the relay stops."
    )
    max_body: Positive = Field(
        24 << 20,
        description="Largest body of a commit or a new channel, which carry ratchet trees.",
    )
    max_small_body: Positive = Field(
        2 << 20, description="Largest body of every other authenticated request."
    )
    max_open_body: Positive = Field(
        128 << 10, description="Largest body of a request without a session."
    )
    max_blob: Positive = Field(256 << 20, description="Largest ciphertext of one attachment.")
    max_body_memory: Positive = Field(
        256 << 20,
        description="Bodies that are in memory at once, of all requests that have a session.",
    )
    max_body_memory_per_device: Positive = Field(
        56 << 20, description="The same, of the requests of one device or office."
    )
    max_attachments_per_channel: Positive = Field(
        16 << 30, description="Bytes of the attachments that one channel holds."
    )
    max_attachments_per_party: Positive = Field(
        64 << 30, description="Bytes of the attachments that one party's devices have stored."
    )
    max_messages_per_channel: Positive = Field(
        1_000_000,
        description="Messages that one channel holds; a tenth more is kept for FLASH and above.",
    )
    max_bytes_per_channel: Positive = Field(
        16 << 30,
        description="Bytes of the messages that one channel holds; a tenth more as above.",
    )
    max_channels_per_agreement: Positive = Field(
        20_000, description="Channels that may be open under one agreement."
    )
    max_invitations: Positive = Field(
        500, description="Invitations of one party that wait for their device or its registrar."
    )
    max_connections: Positive = Field(
        24_000, description="Connections that the relay keeps open at once, streams among them."
    )
    max_connections_per_device: Positive = Field(
        64, description="Connections on which one device or office has shown its session."
    )
    max_unproven: Positive = Field(
        4_096, description="Connections on which nobody has shown a session yet, TLS or not."
    )
    max_unproven_per_address: Positive = Field(
        512, description="The same, from one address (IPv6: a /64); trusted proxies have no bound."
    )
    handshake_timeout: Rate = Field(10.0, description="How long the handshake of TLS may take.")
    unproven_timeout: Rate = Field(
        60.0, description="How long a connection may stay open on which nobody shows a session."
    )
    keepalive_timeout: Rate = Field(
        75.0, description="How long a connection may wait for the head of its next request."
    )
    stall_timeout: Rate = Field(
        60.0, description="How long a peer may take nothing of what was sent to it."
    )
    max_streams: Positive = Field(
        20_000, description="WebSocket connections that the relay keeps open at once."
    )
    max_streams_per_device: Positive = Field(
        4, description="WebSocket connections of one device; one of them takes deliveries."
    )
    max_in_flight: Positive = Field(
        64,
        description="Messages of one connection that wait for their acknowledgement; beyond it "
        "the relay reads no further from that connection.",
    )
    delivery_batch: Positive = Field(
        128, description="Items read from the database at once for one connection."
    )
    heartbeat: Rate = Field(
        25.0, description="Time between WebSocket pings; a silent connection ends after half more."
    )
    rate_device: Rate = Field(200.0, description="Requests and messages a second of one device.")
    burst_device: Rate = Field(1_000.0, description="How many of them at once.")
    rate_endpoint: Rate = Field(
        400.0, description="Requests and messages a second of all devices of one endpoint."
    )
    burst_endpoint: Rate = Field(2_000.0, description="How many of them at once.")
    rate_party: Rate = Field(2_000.0, description="Requests and messages a second of one party.")
    burst_party: Rate = Field(10_000.0, description="How many of them at once.")
    rate_address: Rate = Field(
        20.0, description="Requests without a session a second of one address (IPv6: of a /64)."
    )
    burst_address: Rate = Field(200.0, description="How many of them at once.")
    rate_connections: Rate = Field(
        100.0, description="New connections a second from one address (IPv6: a /64)."
    )
    burst_connections: Rate = Field(1_000.0, description="How many of them at once.")
    rate_claims: Rate = Field(
        0.5, description="Key packages a second that one party may take of one endpoint."
    )
    burst_claims: Rate = Field(100.0, description="How many of them at once.")
    rate_handshakes: Rate = Field(
        10.0, description="New channels, commits and proposals a second of one device."
    )
    burst_handshakes: Rate = Field(500.0, description="How many of them at once.")
    rate_attachments: Positive = Field(
        4 << 20, description="Bytes of attachments a second that one device moves, up and down."
    )
    burst_attachments: Positive = Field(1 << 30, description="How many of them at once.")
    rate_party_attachments: Positive = Field(
        32 << 20, description="Bytes of attachments a second that one party's devices move."
    )
    burst_party_attachments: Positive = Field(16 << 30, description="How many of them at once.")
    revocation_poll_ms: Positive = Field(
        500, description="Milliseconds between looks for revocations that other nodes accepted."
    )
    retention_interval: Rate = Field(
        60.0,
        description="Time between runs that erase expired messages, attachments and invitations.",
    )
    metrics_listen: str = Field(
        "",
        description="Loopback address and port where `GET /metrics` gives Prometheus the relay's "
        "numbers, without TLS; empty: nowhere.",
    )
    witnesses: Mapping[str, str] = Field(
        {},
        description="Where the witnesses of agreements' logs are: a table of names, as agreements "
        "have them, and addresses, such as "
        '`{ "witness.example.org/1" = "https://witness.example.org" }`.',
    )
    witness_ca: Path | None = Field(
        None,
        description="PEM file with the authorities of the witnesses' TLS; none: the system's.",
    )

    nats_servers: tuple[str, ...] = Field(
        (),
        description="NATS servers that carry wake-ups between the nodes of this relay, such as "
        '`["tls://relay:password@nats.example:4222"]`; none: this process is the whole relay.',
        repr=False,
    )
    nats_ca: Path | None = Field(
        None,
        description="PEM file with the authorities of the NATS servers' TLS; none: the system's.",
    )

    @field_validator("witnesses")
    @classmethod
    def _witnesses(cls, value: Mapping[str, str]) -> Mapping[str, str]:
        for url in value.values():
            found = _WITNESS.fullmatch(url)
            # A checkpoint names the agreement: it goes over a network encrypted.
            if found is None or not (found[1] == "https" or is_loopback(found[2].strip("[]"))):
                raise ValueError("a witness's address is https://host[:port][/path]")
        return {name: url.rstrip("/") for name, url in value.items()}

    @field_validator("nats_servers")
    @classmethod
    def _nats(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        found = [_NATS.fullmatch(url) for url in value]
        for match in found:
            # The password is in the address; it goes over a network encrypted.
            if match is None or not (match[1] == "tls" or is_loopback(match[4].strip("[]"))):
                raise ValueError("a NATS server's address is tls://[user:password@]host[:port]")
        if len({match[1] for match in found if match}) > 1:
            raise ValueError("all NATS servers with tls:// or all without")
        return value

    @field_validator("listen")
    @classmethod
    def _listen(cls, value: str) -> str:
        match = _LISTEN.fullmatch(value)
        if match is None or int(match[2]) > 65535:
            raise ValueError("an address and a port, such as 127.0.0.1:8443 or [::1]:8443")
        return value

    @field_validator("metrics_listen")
    @classmethod
    def _metrics_listen(cls, value: str) -> str:
        if value:
            cls._listen(value)
            if not is_loopback(value.rpartition(":")[0].strip("[]")):
                raise ValueError("a loopback address: the numbers are for this host alone")
        return value

    @field_validator("log_level")
    @classmethod
    def _level(cls, value: str) -> str:
        if value not in ("debug", "info", "warning", "error"):
            raise ValueError("one of debug, info, warning, error")
        return value

    @model_validator(mode="after")
    def _consistent(self) -> Settings:
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise ValueError("tls_certificate and tls_key go together")
        if self.tls is TLSMode.PROXY and not is_loopback(self.host):
            # Plain HTTP carries session tokens; it must not leave the machine.
            raise ValueError("tls = proxy needs a loopback address in listen")
        return self

    @property
    def host(self) -> str:
        """The address of `listen`, without brackets."""
        return self.listen.rpartition(":")[0].strip("[]")

    @property
    def port(self) -> int:
        """The port of `listen`."""
        return int(self.listen.rpartition(":")[2])


def is_loopback(host: str) -> bool:
    """Say whether an address never leaves the machine."""
    return host in ("localhost", "::1") or host.startswith("127.")


def check_origin(origin: str) -> str:
    """Return an origin, `https://relay.example:8443`, as clients will spell it.

    Raises:
        SettingsError: it has a path, capitals, or is no https URL.
    """
    if not _ORIGIN.fullmatch(origin):
        raise SettingsError(
            f"{origin[:100]!r} is not an origin",
            hint="scheme, host and port only, such as https://relay.example:8443",
        )
    return origin


def load(data: Path, **overrides: object) -> Settings:
    """Read the settings of the relay in `data`.

    Args:
        data: the data directory; its settings file may be absent.
        overrides: options of the command line, which win over everything.

    Raises:
        SettingsError: the file is no TOML, or a setting is unknown or out of range.
    """
    path = data / SETTINGS_FILE
    given = _file(path) | _environment()
    given |= {name: value for name, value in overrides.items() if value is not None}
    try:
        return Settings.model_validate(given)
    except ValidationError as e:
        raise SettingsError(_words(e), hint=f"see {path} and {ENV_PREFIX}*") from None


def _file(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text()) if path.exists() else {}
    except ValueError as e:
        raise SettingsError(f"{path} is not TOML: {e}") from None


def _environment() -> dict[str, Any]:
    variables = {ENV_PREFIX + name.upper(): name for name in Settings.model_fields}
    given = {v: text for v, text in os.environ.items() if v.startswith(ENV_PREFIX)}
    unknown = sorted(given.keys() - variables.keys() - {ENV_DATA})
    if unknown:
        raise SettingsError(_unknown(unknown, variables))
    return {
        variables[v]: _value(v, variables[v], given[v]) for v in given.keys() & variables.keys()
    }


def _value(variable: str, name: str, text: str) -> Any:
    """Read lists and tables as JSON, which they have to be in a variable."""
    if not isinstance(Settings.model_fields[name].default, (tuple, dict)):
        return text
    try:
        return json.loads(text)
    except ValueError as e:
        # Not the text: there may be a password in it.
        raise SettingsError(f"{variable} is not JSON: {e}") from None


def _words(error: ValidationError) -> str:
    return "; ".join(map(_said, error.errors(include_input=False, include_url=False)))


def _said(wrong: ErrorDetails) -> str:
    name = ".".join(str(part) for part in wrong["loc"]) or "settings"
    if wrong["type"] == "extra_forbidden":
        return _unknown([name], Settings.model_fields)
    return f"{name}: {wrong['msg'].removeprefix('Value error, ')}".lower()


def _unknown(names: Sequence[str], known: Iterable[str]) -> str:
    """Say that there are no such settings, and which were meant where that can be told."""
    possible = list(known)
    near = [match for name in names for match in get_close_matches(name, possible, 1)]
    meant = f"; did you mean {', '.join(near)}?" if near else ""
    return f"no setting is called {', '.join(names)}{meant}"
