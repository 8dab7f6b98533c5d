"""``lusifer reindex plan``: inspects, estimates, and writes a plan."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lusifer.cli import options
from lusifer.cli.common import Command, write_json
from lusifer.cli.embedders import open_embedder
from lusifer.cli.reindex.job_options import DEFAULT_JOB
from lusifer.cli.reindex.output import show_plan
from lusifer.cli.store_options import StoreOptions

__all__ = ["COMMAND", "plan"]


def plan(
    index_path: options.Index = options.DEFAULT_INDEX,
    source: Annotated[str | None, typer.Option("--from", metavar="FILE")] = None,
    qdrant: options.Qdrant = None,
    weaviate: options.Weaviate = None,
    grpc: options.Grpc = False,
    collection: options.Collection = None,
    job: Annotated[Path, typer.Option(metavar="DIR")] = DEFAULT_JOB,
    alias: Annotated[str | None, typer.Option(metavar="NAME")] = None,
    new_collection: Annotated[str | None, typer.Option(metavar="NAME")] = None,
    in_place: Annotated[bool, typer.Option("--in-place")] = False,
    vector_name: Annotated[str | None, typer.Option(metavar="NAME")] = None,
    service_address: Annotated[str | None, typer.Option(metavar="URL")] = None,
    skip_inactive_tenants: Annotated[bool, typer.Option("--skip-inactive-tenants")] = False,
    text_field: Annotated[str | None, typer.Option(metavar="FIELD")] = None,
    template: options.Template = "",
    drop: options.Drop = None,
    rename: options.Rename = None,
    id_field: Annotated[str, typer.Option(metavar="FIELD")] = "id",
    language_field: Annotated[str, typer.Option(metavar="FIELD")] = "lang",
    window: Annotated[int, typer.Option(metavar="N", min=1)] = 256,
    samples: Annotated[int, typer.Option(metavar="N", min=1)] = 128,
    source_per_s: Annotated[float, typer.Option(metavar="X", min=0)] = 0,
    tokens_per_s: Annotated[float, typer.Option(metavar="X", min=0)] = 0,
    target_per_s: Annotated[float, typer.Option(metavar="X", min=0)] = 0,
    price_per_hour: Annotated[float | None, typer.Option(metavar="X", min=0)] = None,
    maximum_recall_loss: Annotated[float, typer.Option(metavar="X", min=0, max=1)] = 0.05,
    minimum_recall: Annotated[float, typer.Option(metavar="X", min=0, max=1)] = 0.5,
    minimum_overlap: Annotated[float, typer.Option(metavar="X", min=0, max=1)] = 0.1,
    maximum_first_share: Annotated[float, typer.Option(metavar="X", min=0, max=1)] = 0.1,
    dimension: options.Dimension = None,
    bundle: options.Bundle = None,
    service: options.Service = None,
    long_text: options.LongText = "truncate",
    as_json: options.Json = False,
) -> None:
    """Inspect a collection, embed a sample, and write a plan; nothing is changed.

    The plan says how many documents there are in which languages, how long the job will take and
    what it will cost. It also says how large the new index becomes, and what about the server
    speaks against it.

    Options:
        source: File whose documents are taken instead: .jsonl, .csv or .parquet.
        job: New folder for plan and state.
        alias: Alias that applications are going to use, if --collection is not an alias.
        new_collection: Name of the new collection.
        in_place: Fill a second named vector of the same documents instead.
        vector_name: Name of the new vector.
        service_address: Address at which Weaviate reaches lusifer serve with the new model.
        skip_inactive_tenants: Leave out Weaviate's tenants that are not active; otherwise each
            is made active while it is copied.
        text_field: Field with the text, text by default; body.text is the field text inside of
            body. The new collection remembers it for searches.
        id_field: Field of a file with the id.
        language_field: Field with a document's language; detected if absent.
        window: Documents between two checkpoints.
        samples: Documents to embed for the estimate.
        source_per_s: Most documents read per second; 0 is no limit.
        tokens_per_s: Most tokens embedded per second; 0 is no limit.
        target_per_s: Most documents written per second; 0 is no limit.
        price_per_hour: Price of the machine per hour, to estimate the cost.
        maximum_recall_loss: Largest fall of recall@10 in any language that the gate allows.
        minimum_recall: Smallest recall@10 in any language that the gate allows.
        minimum_overlap: Smallest share of common neighbours, old and new, that the gate allows.
        maximum_first_share: Largest share of queries with the same wrong first hit that the gate
            allows.
    """
    from lusifer.reindex.inspection import PlanRequest
    from lusifer.reindex.job import Job
    from lusifer.reindex.plan import GateLimits, RateLimits
    from lusifer.reindex.planner import make_plan

    target = StoreOptions(index_path, qdrant, weaviate, collection, grpc=grpc)
    request = PlanRequest(
        kind=target.kind,
        address=target.address,
        name=collection or "",
        bundle=None if bundle is None else str(bundle.resolve()),
        service=service,
        long_text=long_text,
        file=source,
        alias=alias,
        new_collection=new_collection,
        in_place=in_place,
        vector_name=vector_name,
        service_address=service_address,
        skip_inactive_tenants=skip_inactive_tenants,
        dimension=dimension,
        grpc=grpc,
        text_field=text_field,
        template=template,
        drop=tuple(drop or ()),
        rename=tuple(rename or ()),
        id_field=id_field,
        language_field=language_field,
        window=window,
        samples=samples,
        limits=RateLimits(
            source_per_s=source_per_s, tokens_per_s=tokens_per_s, target_per_s=target_per_s
        ),
        gate=GateLimits(
            maximum_recall_loss=maximum_recall_loss,
            minimum_recall=minimum_recall,
            minimum_overlap=minimum_overlap,
            maximum_first_share=maximum_first_share,
        ),
        price_per_hour=price_per_hour,
    )
    Job.refuse_existing(job)
    with open_embedder(bundle, service, dimension=dimension, long_text=long_text) as embedder:
        made = make_plan(request, embedder)
    Job.create(job, made)
    if as_json:
        write_json(made.model_dump(mode="json"))
        return
    show_plan(made, job)


COMMAND = Command(
    plan,
    (
        "lusifer reindex plan --qdrant http://db:6333 --collection news --bundle ./new",
        "lusifer reindex plan --qdrant http://db:6333 --collection news --in-place",
        "lusifer reindex plan --weaviate http://db:8080 --collection News "
        "--service http://gpu:8000",
        "lusifer reindex plan --weaviate http://db:8080 --collection News --in-place "
        "--service-address http://gpu:8000",
        "lusifer reindex plan --index ./db --collection news --bundle ./new",
        "lusifer reindex plan --index ./articles --bundle ./new",
        "lusifer reindex plan --from news.parquet --qdrant http://db:6333 --collection news",
    ),
)
