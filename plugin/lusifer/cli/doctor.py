"""``lusifer doctor``: what is wrong with a database's setup, and how to mend it."""

from __future__ import annotations

import sys
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lusifer.cli.common import (
    DEFAULT_INDEX,
    EXIT_ERROR,
    BundleOption,
    JsonOption,
    epilog_of,
    guarded,
    write_json,
)
from lusifer.cli.store_options import (
    CollectionOption,
    GrpcOption,
    ServiceOption,
    StoreOptions,
    TenantOption,
    connected,
    open_embedder,
)
from lusifer.errors import LusiferError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from lusifer.stores.diagnostics import Diagnostic

__all__ = ["doctor_app", "show_findings"]

doctor_app = typer.Typer(
    help="Find out why a database does not embed or find.", no_args_is_help=True
)

_MARKS = {"ok": "ok     ", "note": "note   ", "warning": "WARNING", "error": "ERROR  "}
_QDRANT_EXAMPLES = (
    "lusifer doctor qdrant http://localhost:6333",
    "lusifer doctor qdrant http://localhost:6333 --collection articles --service http://localhost:8000",
)
_WEAVIATE_EXAMPLES = ("lusifer doctor weaviate http://localhost:8080 --collection Articles",)


@doctor_app.command("qdrant", epilog=epilog_of(*_QDRANT_EXAMPLES))
@guarded
def qdrant(
    url: Annotated[str, typer.Argument(metavar="URL", help="The server (key: QDRANT_API_KEY).")],
    collection: CollectionOption = None,
    service: ServiceOption = None,
    bundle: BundleOption = None,
    grpc: GrpcOption = False,
    as_json: JsonOption = False,
) -> None:
    """Look at a Qdrant server, its inference and a collection; exit code 1 if something does not work."""
    from lusifer.qdrant.doctor import examine

    with ExitStack() as opened:
        client = opened.enter_context(connected(url, grpc=grpc, timeout_s=30))
        # With a service alone there is no need to load a model, and if it is away, that is a
        # finding.
        embedder = None
        if bundle is not None or service is None:
            embedder = opened.enter_context(open_embedder(bundle, None))
        findings = examine(client, collection=collection, embedder=embedder, service_url=service)
        failed = show_findings(findings, as_json=as_json)
    if failed:
        raise typer.Exit(EXIT_ERROR)


@doctor_app.command("weaviate", epilog=epilog_of(*_WEAVIATE_EXAMPLES))
@guarded
def weaviate(
    url: Annotated[str, typer.Argument(metavar="URL", help="The server (key: WEAVIATE_API_KEY).")],
    collection: CollectionOption = None,
    tenant: TenantOption = None,
    service: ServiceOption = None,
    bundle: BundleOption = None,
    as_json: JsonOption = False,
) -> None:
    """Look at a Weaviate server, its module and a collection; exit code 1 if something does not work."""
    stored = None
    if collection is not None:
        # What is wrong with the collection is among the findings.
        with suppress(LusiferError):
            stored = StoreOptions(DEFAULT_INDEX, weaviate=url, collection=collection).stored()
    with open_embedder(bundle, service if bundle is None else None, stored=stored) as embedder:
        findings = _examine_weaviate(
            url, collection=collection, tenant=tenant, embedder=embedder, service_url=service
        )
        failed = show_findings(findings, as_json=as_json)
    if failed:
        raise typer.Exit(EXIT_ERROR)


def _examine_weaviate(url: str, **options: Any) -> Iterator[Diagnostic]:
    from lusifer.stores.diagnostics import error
    from lusifer.weaviate.connection import connect_by_environment
    from lusifer.weaviate.doctor import examine

    try:
        client = connect_by_environment(url)
    except LusiferError as failed:
        yield error("server", failed.message, failed.next_step)
        return
    with client:
        yield from examine(client, **options)


def show_findings(findings: Iterable[Diagnostic], *, as_json: bool) -> bool:
    """Print findings as they come; True if one is an error."""
    failed = False
    for finding in findings:
        failed = failed or finding.severity == "error"
        if as_json:
            write_json(finding.as_dict())
            continue
        sys.stdout.write(f"{_MARKS[finding.severity]}  {finding.subject}: {finding.message}\n")
        if finding.fix:
            sys.stdout.write(f"         → {finding.fix}\n")
        sys.stdout.flush()
    return failed
