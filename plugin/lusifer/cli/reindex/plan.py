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
from lusifer.errors import InvalidInputError

__all__ = ["COMMAND", "plan"]

FileOption = Annotated[
    str | None,
    typer.Option(
        "--from",
        metavar="FILE",
        help="Take the documents from a .jsonl, .csv or .parquet file instead.",
    ),
]
NewJobOption = Annotated[
    Path, typer.Option("--job", metavar="DIR", help="New folder for plan and state.")
]
AliasOption = Annotated[
    str | None,
    typer.Option(
        "--alias", help="Alias that applications are going to ask, if --collection is none."
    ),
]
NewCollectionOption = Annotated[
    str | None,
    typer.Option("--new-collection", metavar="NAME", help="Name of the new collection."),
]
InPlaceOption = Annotated[
    bool,
    typer.Option("--in-place", help="Fill a second named vector of the same documents instead."),
]
VectorNameOption = Annotated[
    str | None, typer.Option("--vector-name", metavar="NAME", help="Name of the new vector.")
]
_SERVICE_ADDRESS = "Where Weaviate reaches lusifer serve with the new model."
ServiceAddressOption = Annotated[
    str | None, typer.Option("--service-address", metavar="URL", help=_SERVICE_ADDRESS)
]
TextFieldOption = Annotated[str, typer.Option("--text-field", help="Field with the text.")]
IdFieldOption = Annotated[str, typer.Option("--id-field", help="Field of a file with the id.")]
LanguageFieldOption = Annotated[
    str,
    typer.Option("--language-field", help="Field with a document's language; detected if absent."),
]
WindowOption = Annotated[
    int, typer.Option("--window", min=1, help="Documents between two checkpoints.")
]
EstimateOption = Annotated[
    int, typer.Option("--samples", min=1, help="Documents to embed for the estimate.")
]
SourceRateOption = Annotated[
    float,
    typer.Option("--source-per-s", min=0, help="Documents read per second, at most; 0: no limit."),
]
TokenRateOption = Annotated[
    float, typer.Option("--tokens-per-s", min=0, help="Tokens embedded per second, at most.")
]
TargetRateOption = Annotated[
    float, typer.Option("--target-per-s", min=0, help="Documents written per second, at most.")
]
PriceOption = Annotated[
    float | None,
    typer.Option(
        "--price-per-hour", min=0, help="Price of the machine, for the estimate of the cost."
    ),
]
RecallLossOption = Annotated[
    float,
    typer.Option(
        "--maximum-recall-loss",
        min=0,
        max=1,
        help="Largest fall of recall@10 in any language that the gate allows.",
    ),
]
RecallOption = Annotated[
    float,
    typer.Option(
        "--minimum-recall",
        min=0,
        max=1,
        help="Smallest recall@10 in any language that the gate allows.",
    ),
]
OverlapOption = Annotated[
    float,
    typer.Option(
        "--minimum-overlap",
        min=0,
        max=1,
        help="Smallest share of common neighbours, old and new, that the gate allows.",
    ),
]


def plan(
    index_path: options.Index = options.DEFAULT_INDEX,
    qdrant: options.Qdrant = None,
    weaviate: options.Weaviate = None,
    collection: options.Collection = None,
    grpc: options.Grpc = False,
    source: FileOption = None,
    job: NewJobOption = DEFAULT_JOB,
    alias: AliasOption = None,
    new_collection: NewCollectionOption = None,
    in_place: InPlaceOption = False,
    vector_name: VectorNameOption = None,
    service_address: ServiceAddressOption = None,
    text_field: TextFieldOption = "text",
    id_field: IdFieldOption = "id",
    language_field: LanguageFieldOption = "lang",
    window: WindowOption = 256,
    samples: EstimateOption = 128,
    source_per_s: SourceRateOption = 0,
    tokens_per_s: TokenRateOption = 0,
    target_per_s: TargetRateOption = 0,
    price_per_hour: PriceOption = None,
    maximum_recall_loss: RecallLossOption = 0.05,
    minimum_recall: RecallOption = 0.5,
    minimum_overlap: OverlapOption = 0.1,
    bundle: options.Bundle = None,
    service: options.Service = None,
    dimension: options.Dimension = None,
    long_text: options.LongText = "truncate",
    as_json: options.Json = False,
) -> None:
    """Inspect a collection, embed a sample, and write a plan; nothing is changed.

    The plan says how many documents there are in which languages, how long it will take, what it
    costs, how large the new index becomes, and what about the server speaks against it.
    """
    from lusifer.reindex.inspection import PlanRequest
    from lusifer.reindex.job import Job
    from lusifer.reindex.plan import GateLimits, RateLimits
    from lusifer.reindex.planner import make_plan

    if collection is None:
        raise InvalidInputError("No collection is named.", next_step="Add --collection NAME.")
    target = StoreOptions(
        index_path, qdrant=qdrant, weaviate=weaviate, collection=collection, grpc=grpc
    )
    request = PlanRequest(
        kind=target.kind,
        address=target.address,
        name=collection,
        bundle=None if bundle is None else str(bundle.resolve()),
        service=service,
        long_text=long_text,
        file=source,
        alias=alias,
        new_collection=new_collection,
        in_place=in_place,
        vector_name=vector_name,
        service_address=service_address,
        dimension=dimension,
        grpc=grpc,
        text_field=text_field,
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
        "lusifer reindex plan --qdrant http://localhost:6333 --collection articles "
        "--bundle ./new-model",
        "lusifer reindex plan --qdrant http://localhost:6333 --collection articles --in-place",
        "lusifer reindex plan --weaviate http://localhost:8080 --collection Articles "
        "--service http://gpu:8000",
        "lusifer reindex plan --weaviate http://localhost:8080 --collection Articles --in-place "
        "--service-address http://gpu:8000",
        "lusifer reindex plan --index ./db --collection articles --bundle ./new-model",
        "lusifer reindex plan --from export.parquet --qdrant http://localhost:6333 "
        "--collection articles",
    ),
)
