"""Settings of the service, from flags, environment variables, a TOML file and defaults.

A flag comes before the environment, the environment before the file, the file before the default.
"""

from __future__ import annotations

import difflib
import ipaddress
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from lusifer.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = [
    "ENVIRONMENT_PREFIX",
    "UNIX_SOCKET",
    "SettingHelp",
    "Settings",
    "load_settings",
    "settings_help",
]

ENVIRONMENT_PREFIX = "LUSIFER_SERVE_"
"""Prefix of the environment variables: ``LUSIFER_SERVE_PORT=9000`` sets ``port``."""

UNIX_SOCKET = "unix:"
"""Prefix of the setting ``host`` for a socket in a file."""

_CONFIG = ENVIRONMENT_PREFIX + "CONFIG"

Positive = Annotated[int, Field(gt=0)]
Seconds = Annotated[float, Field(gt=0)]


class Settings(BaseModel):
    """All settings of the service. The description of a field names its unit."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    host: str = "127.0.0.1"
    """Address to listen on; 0.0.0.0 for every network, :: for IPv6 too, unix:PATH for a socket in a
    file."""
    port: Annotated[int, Field(ge=0, le=65535)] = 8000
    """Port to listen on; 0 takes a free one."""

    live_port: Annotated[int, Field(ge=0, le=65535)] | None = None
    """Port of a sign of life that does not depend on the event loop: any request gets 204, or 503
    after minutes without a sign of it; without it none."""

    bundle: Path | None = None
    """Folder of the model's bundle; without it the default model."""
    engine: Literal["onnx", "openvino", "openvino-bf16", "auto", "triton"] = "onnx"
    """Engine that computes vectors: ONNX Runtime, OpenVINO, the faster of the two (auto, measured
    once) or a Triton server."""
    triton_url: str | None = None
    """Host and port of Triton's gRPC endpoint, for the engine triton."""
    triton_model: str = "lusifer_core"
    """Name of the model in Triton's repository."""
    threads: Positive | None = None
    """Threads of an engine other than triton; without it one for each physical core."""
    long_text: Literal["truncate", "mean_of_windows", "error"] = "truncate"
    """Policy for a text over the token limit: cut and report it, average its windows, or refuse
    it."""
    model_aliases: tuple[str, ...] = ()
    """Other names that a request may give the model, separated by commas in a flag and in the
    environment."""
    page: bool = True
    """Whether GET / shows the page with status and playground."""

    batch_tokens: Positive = 1024
    """Padded tokens in one call of the engine. More makes bulk faster, and queries behind it
    slower."""
    maximum_wait_ms: Annotated[float, Field(ge=0, le=1000)] = 5.0
    """Milliseconds an idle engine waits for more texts while requests come fast."""
    queue_tokens: Positive = 655_360
    """Tokens of all requests being served; further requests are refused with Retry-After."""
    key_share: Annotated[float, Field(gt=0, le=1)] = 0.5
    """Share of queue_tokens and of in_flight_bytes that one API key may hold, above 0 to 1."""
    in_flight_bytes: Positive = 256 * 2**20
    """Maximum bytes of the bodies, texts and answers of all requests; further requests are refused
    with Retry-After. An answer counts until its client has read it."""
    deadline_s: Seconds = 300.0
    """Seconds after which a request is given up."""
    maximum_body_bytes: Positive = 16 * 2**20
    """Maximum bytes of a request's body."""
    maximum_texts: Positive = 4096
    """Maximum texts in one request."""
    maximum_text_bytes: Positive = 2**20
    """Maximum UTF-8 bytes of one text."""

    cache: Literal["memory", "disk", "off"] = "memory"
    """Cache of computed vectors: in this process, in a file that processes share, or none."""
    cache_bytes: Positive = 256 * 2**20
    """Maximum bytes of cached vectors; those used longest ago make room."""
    cache_path: Path | None = None
    """File of the cache on disk; without it one in the user's cache folder."""

    api_keys_file: Path | None = None
    """File of API keys, written by `lusifer keys`; without it no key is needed."""
    open: bool = False
    """Whether other machines may use the service without a key: a `host` other than this machine's
    own needs keys or this."""
    canary: bool = True
    """Whether known translations must be neighbours, at start-up and from then on."""
    canary_interval_s: Seconds = 300.0
    """Seconds between two checks of the canary."""
    allowed_hosts: tuple[str, ...] = ()
    """Other names by which browsers reach the service, such as search.example behind a proxy,
    separated by commas. On a loopback address, requests for unknown names are refused."""
    cors_origins: tuple[str, ...] = ()
    """Origins of web pages that may use the service, such as https://app.example, separated by
    commas; * for all. Without them only the service's own page may."""
    maximum_connections: Positive = 2048
    """Maximum open connections; idle ones are closed to make room. The limit of open files may
    lower it."""
    maximum_connections_per_address: Positive = 1024
    """Maximum open connections of one IPv4 address or IPv6 network of 64 bits."""
    maximum_head_bytes: Annotated[int, Field(ge=1024)] = 32_768
    """Maximum bytes of a request's first line and header fields."""
    head_timeout_s: Seconds = 20.0
    """Seconds in which the head of a request must arrive."""
    stall_timeout_s: Seconds = 30.0
    """Seconds over which the speed of a client is measured that sends a body or reads an answer."""
    minimum_bytes_per_s: Positive = 1024
    """Bytes a second that a client must send of a body or read of an answer."""
    keep_alive_s: Annotated[int, Field(ge=95)] = 95
    """Seconds an idle connection stays open, at least 95: Weaviate reuses one for 90."""
    shutdown_grace_s: Annotated[int, Field(ge=0)] = 60
    """Seconds that requests in flight have to end when the service stops."""
    log_format: Literal["json", "console"] = "json"
    """Format of the logs: JSON lines, or columns for people."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """Least severe level that is logged; info logs each request."""
    otlp_endpoint: str | None = None
    """URL that OpenTelemetry traces are sent to, such as http://localhost:4318/v1/traces."""

    @property
    def is_local(self) -> bool:
        """Whether only this machine reaches the service."""
        if self.host == "localhost" or self.host.startswith(UNIX_SOCKET):
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False


@dataclass(frozen=True)
class SettingHelp:
    """Help for one setting, for the command line and the reference."""

    name: str
    description: str
    """Sentences that end in a full stop, with the choices where only some values are allowed."""
    default: str | None
    """The default as it is written in a file, None for a setting without one."""


def settings_help() -> dict[str, SettingHelp]:
    """Return the help of all settings by name, in the order of the class."""
    found = {}
    for name, field in Settings.model_fields.items():
        description = " ".join((field.description or "").split())
        if get_origin(field.annotation) is Literal:
            description += f" One of {', '.join(get_args(field.annotation))}."
        default = field.default
        text = str(default).lower() if isinstance(default, bool) else str(default)
        found[name] = SettingHelp(name, description, None if default in (None, ()) else text)
    return found


def load_settings(
    flags: Mapping[str, object], environment: Mapping[str, str], config: Path | None = None
) -> Settings:
    """Merge the sources; the first source that has a setting counts.

    Args:
        flags: Values by field name, None for a flag that was not given.
        environment: Environment variables, usually ``os.environ``.
        config: A TOML file with the fields as top-level keys, by default the file that
            ``LUSIFER_SERVE_CONFIG`` names.

    Raises:
        SettingsError: A source has a wrong value or name. The message has all of them.
    """
    if config is None and environment.get(_CONFIG):
        config = Path(environment[_CONFIG])
    sources: dict[str, dict[str, object]] = {}
    if config is not None:
        sources[str(config)] = _read(config)
    sources["the environment"] = {
        name.removeprefix(ENVIRONMENT_PREFIX).lower(): value
        for name, value in environment.items()
        if name.startswith(ENVIRONMENT_PREFIX) and name != _CONFIG
    }
    sources["the command line"] = {
        name: value for name, value in flags.items() if value is not None
    }
    problems = [
        problem for source, values in sources.items() for problem in _unknown(source, values)
    ]
    values: dict[str, object] = {}
    origin: dict[str, str] = {}
    for source, given in sources.items():
        known = {
            name: _split(name, value)
            for name, value in given.items()
            if name in Settings.model_fields
        }
        values.update(known)
        origin.update(dict.fromkeys(known, source))
    try:
        settings = Settings.model_validate(values)
    except ValidationError as error:
        for problem in error.errors():
            name = str(problem["loc"][0])
            problems.append(f"{name} is {values[name]!r} in {origin[name]}: {problem['msg']}")
    else:
        problems += _contradictions(settings)
    if problems:
        raise SettingsError(
            "; ".join(problems) + ".",
            next_step="Correct them. lusifer serve --help and the reference list the settings.",
        )
    return settings


def _read(config: Path) -> dict[str, object]:
    try:
        return tomllib.loads(config.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SettingsError(
            f"The settings file {config} can't be read: {error}.",
            next_step="Name a TOML file with --config.",
        ) from error


def _split(name: str, value: object) -> object:
    """Split a list among the settings, which flags and environment write with commas."""
    if Settings.model_fields[name].annotation == tuple[str, ...] and isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    return value


def _unknown(source: str, values: Mapping[str, object]) -> Iterator[str]:
    for name in values:
        if name not in Settings.model_fields:
            near = difflib.get_close_matches(name, Settings.model_fields, n=1)
            yield f"there is no setting {name} ({source})" + (
                f", did you mean {near[0]}?" if near else ""
            )


def _contradictions(settings: Settings) -> Iterator[str]:
    if settings.engine == "triton" and not settings.triton_url:
        yield "engine is triton and triton_url is missing"
    if settings.api_keys_file is None and not settings.open and not settings.is_local:
        yield (
            f"host {settings.host!r} is reached by other machines, and no API key is asked for: "
            "give api_keys_file (lusifer keys add NAME makes one), or open (--open) where the "
            "network is trusted"
        )
    if settings.maximum_body_bytes > settings.in_flight_bytes * settings.key_share:
        yield (
            f"maximum_body_bytes {settings.maximum_body_bytes} is over the share of one API key in "
            f"in_flight_bytes ({settings.key_share:g} of {settings.in_flight_bytes})"
        )
    if settings.batch_tokens > settings.queue_tokens:
        yield f"batch_tokens {settings.batch_tokens} is over queue_tokens {settings.queue_tokens}"
