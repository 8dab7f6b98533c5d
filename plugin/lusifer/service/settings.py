"""The settings of the service: flags before environment before a TOML file before defaults."""

from __future__ import annotations

import difflib
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from lusifer.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["ENVIRONMENT_PREFIX", "Settings", "load_settings"]

ENVIRONMENT_PREFIX = "LUSIFER_SERVE_"
"""``LUSIFER_SERVE_PORT=9000`` sets ``port``."""

_CONFIG = ENVIRONMENT_PREFIX + "CONFIG"

Positive = Annotated[int, Field(gt=0)]
Seconds = Annotated[float, Field(gt=0)]


class Settings(BaseModel):
    """Everything that can be set. A field's description says its unit."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    host: str = "127.0.0.1"
    """Address to listen on; 0.0.0.0 for every network."""
    port: Annotated[int, Field(ge=0, le=65535)] = 8000
    """Port to listen on; 0 takes a free one."""

    bundle: Path | None = None
    """Folder of the model's bundle; by default the default model."""
    engine: Literal["onnx", "openvino", "openvino-bf16", "auto", "triton"] = "onnx"
    """What computes: ONNX Runtime, OpenVINO, the faster of them (auto, measured once) or a Triton
    server."""
    triton_url: str | None = None
    """Host and port of Triton's gRPC endpoint, for the engine triton."""
    triton_model: str = "lusifer_core"
    """Name of the model in Triton's repository."""
    threads: Positive | None = None
    """Threads of the engine, unless it is triton; by default one for each physical core."""
    long_text: Literal["truncate", "mean_of_windows", "error"] = "truncate"
    """A text over the token limit is cut (and reported), averaged over windows, or refused."""
    model_aliases: tuple[str, ...] = ()
    """Other names that a request may give the model; in the environment and in a flag separated by
    commas."""
    page: bool = True
    """Whether GET / shows the page with status and playground."""

    batch_tokens: Positive = 1024
    """Padded tokens in one call of the engine. More is faster for bulk and slower for questions
    behind it."""
    maximum_wait_ms: Annotated[float, Field(ge=0, le=1000)] = 5.0
    """Milliseconds an idle engine waits for company, while requests come fast."""
    queue_tokens: Positive = 262_144
    """Tokens of all requests being served; over it they are told when to come back."""
    key_share: Annotated[float, Field(gt=0, le=1)] = 0.5
    """Share of queue_tokens that one API key may hold."""
    deadline_s: Seconds = 300.0
    """Seconds after which a request is given up."""
    maximum_body_bytes: Positive = 16 * 2**20
    """Bytes of a request's body."""
    maximum_texts: Positive = 4096
    """Texts in one request."""
    maximum_text_bytes: Positive = 2**20
    """UTF-8 bytes of one text."""

    cache: Literal["memory", "disk", "off"] = "memory"
    """Where computed vectors are kept: in this process, in a file shared between processes, or
    nowhere."""
    cache_bytes: Positive = 256 * 2**20
    """Bytes of cached vectors; the ones used longest ago make room."""
    cache_path: Path | None = None
    """File of the cache on disk; by default in the user's cache folder."""

    api_keys_file: Path | None = None
    """File of API keys, written by `lusifer keys`; without it no key is asked for."""
    canary: bool = True
    """Whether known translations must be neighbours at the start and from then on."""
    canary_interval_s: Seconds = 300.0
    """Seconds between two looks at the canary."""
    keep_alive_s: Annotated[int, Field(ge=95)] = 95
    """Seconds an idle connection stays open, at least 95: Weaviate uses one again for 90."""
    shutdown_grace_s: Annotated[int, Field(ge=0)] = 60
    """Seconds that requests in flight have to end when the service stops."""
    log_format: Literal["json", "console"] = "json"
    """JSON lines, or columns for people."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """Least severe log that is written; info has a line for each request."""
    otlp_endpoint: str | None = None
    """Where OpenTelemetry traces are sent, such as http://localhost:4318/v1/traces."""


def load_settings(
    flags: Mapping[str, Any], environment: Mapping[str, str], config: Path | None = None
) -> Settings:
    """Put the sources together; the first that names a setting counts.

    Args:
        flags: By field name; None means not given.
        environment: Usually ``os.environ``.
        config: A TOML file with the fields as top-level keys; else the one ``LUSIFER_SERVE_CONFIG``
            names.

    Raises:
        SettingsError: All that is wrong in all sources, at once.
    """
    if config is None and environment.get(_CONFIG):
        config = Path(environment[_CONFIG])
    sources: dict[str, dict[str, Any]] = {}
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
    values: dict[str, Any] = {}
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
        settings = Settings(**values)
    except ValidationError as error:
        for problem in error.errors():
            name = str(problem["loc"][0])
            problems.append(f"{name} is {values[name]!r} in {origin[name]}: {problem['msg']}")
    else:
        problems += _contradictions(settings)
    if problems:
        raise SettingsError(
            "; ".join(problems) + ".",
            next_step="The settings are listed by: lusifer serve --help, and in the reference.",
        )
    return settings


def _read(config: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(config.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SettingsError(
            f"The settings file {config} can't be read: {error}.",
            next_step="Name a TOML file with --config.",
        ) from error


def _split(name: str, value: Any) -> Any:
    """The one list, which is written with commas where there are no lists."""
    if name == "model_aliases" and isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    return value


def _unknown(source: str, values: Mapping[str, Any]) -> Iterator[str]:
    for name in values:
        if name not in Settings.model_fields:
            near = difflib.get_close_matches(name, Settings.model_fields, n=1)
            yield f"there is no setting {name} ({source})" + (
                f", did you mean {near[0]}?" if near else ""
            )


def _contradictions(settings: Settings) -> Iterator[str]:
    if settings.engine == "triton" and not settings.triton_url:
        yield "engine is triton and triton_url is missing"
    if settings.batch_tokens > settings.queue_tokens:
        yield f"batch_tokens {settings.batch_tokens} is over queue_tokens {settings.queue_tokens}"
