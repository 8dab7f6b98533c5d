"""Tokens per second and peak memory of ``Vectorizer.embed_documents``, engine by engine, on this machine.

::

    python benchmarks/embed_documents.py                     # a table on standard output, in minutes
    python benchmarks/embed_documents.py --write             # and into docs/results.md
    python benchmarks/embed_documents.py --quick             # a few texts, once: does it run at all?
    python benchmarks/embed_documents.py --profile           # where ONNX Runtime's time goes, by operator

Every engine runs in a process of its own, because memory that one engine leaves behind would be
counted against the next, and gets the same texts through the same vectorizer. Speed is put beside
what the machine can do: the model's operations, counted from its shapes, by the matrix peak that
PyTorch reaches here in the same run. Run it alone: a second heavy process halves everything."""

from __future__ import annotations

import argparse
import datetime
import importlib.metadata
import json
import math
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import numpy as np
from benchmarks.report import parser_for, write_table

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from lusifer.bundle.format import Bundle
    from lusifer_training.model.lusifer import Lusifer

ROOT = Path(__file__).resolve().parents[1]
PARITY_TEXTS = ROOT / "export" / "lusifer_export" / "parity_texts.json"

MATRIX_SIZE = 2048
PROMPT_AND_SPECIAL_TOKENS = 5
"""Tokens that the role prompt and the special tokens add to a text, about: the texts are cut that much
shorter."""
QUERY_TOKENS, QUERY_REPEATS = 12, 30
PEAK_BAR = 0.45
"""Share of the matrix peak that the best engine must reach on the first workload."""
QUERY_BAR_FACTOR, QUERY_BAR_MS = 2, 2.0
"""A query may take this many times its own arithmetic, and this much more."""
PROFILED = {
    "a batch of 8 x 128 tokens": (8, 128),
    f"one query of {QUERY_TOKENS} tokens": (1, QUERY_TOKENS),
}


class Candidate(NamedTuple):
    """An engine on the bundle of a precision."""

    label: str
    engine: str
    """``torch`` or a name that ``Vectorizer.load`` knows."""
    precision: str
    """Precision of the bundle; for PyTorch, of the model."""
    peak: str = "fp32"
    """The matrix peak that its speed is put beside."""


CANDIDATES = {
    "torch-fp32": Candidate("PyTorch fp32", "torch", "fp32"),
    "torch-bf16": Candidate("PyTorch bf16", "torch", "bf16", "bf16"),
    "onnx-fp32": Candidate("ONNX Runtime fp32", "onnx", "fp32"),
    "onnx-int8": Candidate("ONNX Runtime int8 weights, fp32 arithmetic", "onnx", "int8"),
    "onnx-int8-dynamic": Candidate("ONNX Runtime int8-dynamic (default)", "onnx", "int8-dynamic"),
    "onnx-int4": Candidate("ONNX Runtime int4", "onnx", "int4"),
    "openvino-fp32": Candidate("OpenVINO fp32", "openvino", "fp32"),
    "openvino-bf16": Candidate("OpenVINO bf16", "openvino-bf16", "fp32", "bf16"),
    "openvino-bf16-int8": Candidate(
        "OpenVINO bf16 on the default bundle", "openvino-bf16", "int8-dynamic", "bf16"
    ),
}
PRECISIONS = ("fp32", "int8", "int8-dynamic", "int4")
BUNDLED = [name for name, each in CANDIDATES.items() if each.engine != "torch"]


class Workload(NamedTuple):
    """Texts of one length."""

    texts: int
    tokens: int
    """Tokens of each text, about."""

    @property
    def name(self) -> str:
        return f"{self.texts} texts x {self.tokens} tokens"


FULL = (Workload(32, 128), Workload(128, 16))
QUICK = (Workload(4, 128), Workload(8, 16))


class TorchEngine:
    """The model itself behind the engine protocol, so that batching and checks are the same as elsewhere."""

    def __init__(self, model: Lusifer, name: str) -> None:
        self.name = name
        self._model = model

    def run(
        self, input_ids: NDArray[np.int64], attention_mask: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        import torch

        with torch.inference_mode():
            vectors = self._model(
                torch.from_numpy(input_ids), torch.from_numpy(attention_mask)
            ).float()
            # A norm rounded to bf16 is not near enough to 1 for the vectorizer's check.
            return torch.nn.functional.normalize(vectors, dim=-1).numpy()

    def close(self) -> None:
        pass


# The processes that measure; each gets a job and answers with one JSON line.


def worker_bundles(job: dict[str, Any]) -> dict[str, Any]:
    """Return the folders of the bundles by precision; export those that the cache lacks."""
    from lusifer.common.paths import cache_directory
    from lusifer_export.build import export_checkpoint
    from lusifer_export.default import build_default_bundle
    from lusifer_export.fingerprint import checkpoint_fingerprint
    from lusifer_training.config import default_checkpoint, read_config

    cache = cache_directory() / "bundles"
    checkpoint = Path(job["checkpoint"]) if job["checkpoint"] else default_checkpoint()
    paths = {}
    for precision in PRECISIONS:
        if not job["checkpoint"]:
            paths[precision] = build_default_bundle(cache, precision)
            continue
        fingerprint = checkpoint_fingerprint(checkpoint, precision).removeprefix("sha256:")
        target = cache / f"{read_config(checkpoint).name}-{precision}-{fingerprint[:12]}"
        if not (target / "manifest.json").is_file():
            export_checkpoint(checkpoint, target, precision=precision)
        paths[precision] = target
    return {"checkpoint": str(checkpoint), **{name: str(path) for name, path in paths.items()}}


def worker_peak(job: dict[str, Any]) -> dict[str, Any]:
    """Measure the matrix peak of the machine in GFLOP/s, by precision: the median product of two square matrices."""
    import torch

    torch.set_num_threads(job["threads"])
    kinds = {"fp32": torch.float32} | ({"bf16": torch.bfloat16} if multiplies_bf16() else {})
    peaks = {}
    for name, dtype in kinds.items():
        left, right = (torch.randn(MATRIX_SIZE, MATRIX_SIZE).to(dtype) for _ in range(2))
        seconds = timed(lambda left=left, right=right: left @ right, warm_up=3, repeats=10)
        peaks[name] = 2 * MATRIX_SIZE**3 / statistics.median(seconds) / 1e9
    return peaks


def worker_engine(job: dict[str, Any]) -> dict[str, Any]:
    """Measure the seconds of each workload, peak memory and vectors of one engine."""
    from lusifer.bundle.format import Bundle
    from lusifer.embedding.vectorizer import Vectorizer

    candidate = CANDIDATES[job["engine"]]
    started_s = time.perf_counter()
    bundle = Bundle.open(job["bundle"], verify=False)
    shape: dict[str, int] = {}
    if candidate.engine == "torch":
        engine, shape = torch_engine(Path(job["checkpoint"]), candidate.precision, job["threads"])
        vectorizer = Vectorizer(bundle, engine)
    else:
        vectorizer = Vectorizer.load(
            bundle.path, threads=job["threads"], engine=candidate.engine, verify=False
        )
    load_s = time.perf_counter() - started_s
    loading_mib = peak_memory_mib()
    forget_peak_memory()
    workloads, vectors = [], []
    for texts in job["workloads"]:
        answers = []
        seconds = timed(
            lambda texts=texts, answers=answers: answers.append(vectorizer.embed_documents(texts)),
            warm_up=1,
            repeats=job["repeats"],
        )
        workloads.append({"seconds": seconds, "tokens": answers[-1].tokens})
        vectors.append(answers[-1].vectors)
    np.save(job["vectors"], np.concatenate(vectors))
    ids = np.arange(100, 100 + QUERY_TOKENS)[None]
    query = timed(
        lambda: vectorizer.engine.run(ids, np.ones_like(ids)), warm_up=3, repeats=QUERY_REPEATS
    )
    return {
        "query_ms": statistics.median(query) * 1000,
        "workloads": workloads,
        "shape": shape,
        "load_s": load_s,
        "peak_loading_mib": loading_mib,
        "peak_embedding_mib": peak_memory_mib(),
        "weights_mib": None if candidate.engine == "torch" else weights_mib(bundle),
    }


def worker_profile(job: dict[str, Any]) -> dict[str, Any]:
    """Measure the milliseconds of each operator in one call, by shape; ONNX Runtime's own profile."""
    import collections

    import onnxruntime

    profiles: dict[str, Any] = {}
    for name, (rows, tokens) in PROFILED.items():
        with tempfile.TemporaryDirectory(prefix="lusifer-profile-") as folder:
            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = job["threads"]
            # As in the plugin's engine.
            options.enable_cpu_mem_arena = False
            options.enable_mem_pattern = False
            options.enable_profiling = True
            options.profile_file_prefix = str(Path(folder, "profile"))
            session = onnxruntime.InferenceSession(str(Path(job["bundle"], "model.onnx")), options)
            ids = np.random.default_rng(0).integers(100, 20_000, (rows, tokens))
            for _ in range(job["repeats"]):
                session.run(None, {"input_ids": ids, "attention_mask": np.ones_like(ids)})
            events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
        spent: collections.Counter[str] = collections.Counter()
        for event in events:
            if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
                spent[event["args"]["op_name"]] += event["dur"]
        profiles[name] = {kind: us / 1000 / job["repeats"] for kind, us in spent.most_common()}
    return profiles


def torch_engine(
    checkpoint: Path, precision: str, threads: int
) -> tuple[TorchEngine, dict[str, int]]:
    """Load the trained model in PyTorch, LoRA merged, with its shapes."""
    import torch

    from lusifer_training.checkpoint import load_checkpoint

    torch.set_num_threads(threads)
    model = load_checkpoint(checkpoint)
    model.merge_lora()
    shape = model_shape(model)
    if precision == "bf16":
        model = model.to(torch.bfloat16)
    return TorchEngine(model.eval(), f"torch-{precision}"), shape


def model_shape(model: Lusifer) -> dict[str, int]:
    """Return the sizes that decide how much is computed."""
    encoder = model.encoder.backbone.config
    shape = {
        "encoder_layers": encoder.num_hidden_layers,
        "encoder_hidden": encoder.hidden_size,
        "encoder_intermediate": encoder.intermediate_size,
        "output": model.config.output_dimension,
        "llm_layers": 0,
    }
    if model.llm is None:
        return shape
    llm = model.llm.backbone.config
    head = getattr(llm, "head_dim", None) or llm.hidden_size // llm.num_attention_heads
    return shape | {
        "connector_hidden": model.config.connector_hidden,
        "llm_layers": llm.num_hidden_layers,
        "llm_hidden": llm.hidden_size,
        "llm_intermediate": llm.intermediate_size,
        "llm_query": llm.num_attention_heads * head,
        "llm_key_value": llm.num_key_value_heads * head,
    }


def flops_of_text(shape: dict[str, int], tokens: int) -> int:
    """Count the operations of the matrix products for one text of T tokens; a multiplication and its addition are two.

    Norms, activations and the token table are left out: they are below one percent.
    """
    hidden = shape["encoder_hidden"]
    layer = 4 * hidden**2 + 2 * hidden * shape["encoder_intermediate"]
    total = shape["encoder_layers"] * (2 * tokens * layer + 4 * tokens**2 * hidden)
    if not shape["llm_layers"]:
        return total
    llm, query, connector = shape["llm_hidden"], shape["llm_query"], shape["connector_hidden"]
    total += 2 * tokens * (hidden * connector + connector * llm)
    # Query and output, key and value, and the three matrices of the gated feed-forward.
    layer = 2 * llm * query + 2 * llm * shape["llm_key_value"] + 3 * llm * shape["llm_intermediate"]
    # BOS stands before the text.
    positions = tokens + 1
    total += shape["llm_layers"] * (2 * positions * layer + 4 * positions**2 * query)
    return total + 2 * llm * shape["output"]


def timed(action: Callable[[], object], *, warm_up: int, repeats: int) -> list[float]:
    """Return the seconds of each repeat."""
    for _ in range(warm_up):
        action()
    seconds = []
    for _ in range(repeats):
        started_s = time.perf_counter()
        action()
        seconds.append(time.perf_counter() - started_s)
    return seconds


def peak_memory_mib() -> float | None:
    """Return the largest resident memory since the start or since :func:`forget_peak_memory`; None outside Linux.

    Not ``getrusage``: its figure begins with the memory of the process that started this one.
    """
    try:
        status = Path("/proc/self/status").read_text(encoding="utf-8")
    except OSError:
        return None
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    return int(found.group(1)) / 1024 if found else None


def forget_peak_memory() -> None:
    """Reset the peak, where the kernel allows; elsewhere it stays that of loading."""
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")
    except OSError:
        sys.stderr.write("The kernel keeps the peak: memory while embedding includes loading.\n")


def weights_mib(bundle: Bundle) -> float:
    files = bundle.manifest.files.items()
    return sum(record.bytes for name, record in files if name.startswith("model.onnx")) / 2**20


def multiplies_bf16() -> bool:
    """Return whether the processor multiplies bf16 itself; elsewhere PyTorch emulates it, and crawls."""
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return False
    return "amx_bf16" in flags or "avx512_bf16" in flags


# The process that plans, starts the others and writes the report.


def workload_texts(tokenizer_path: Path, workload: Workload) -> list[str]:
    """Make texts of nearly equal length, cut from the parity texts; languages alternate, English first."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(tokenizer_path))
    tokenizer.no_truncation()
    length = workload.tokens - PROMPT_AND_SPECIAL_TOKENS
    by_language = []
    for texts in json.loads(PARITY_TEXTS.read_text(encoding="utf-8")).values():
        whole = " ".join(" ".join(texts).split())
        offsets = tokenizer.encode(whole, add_special_tokens=False).offsets
        starts = range(0, len(offsets) - length, length)
        by_language.append(
            [whole[offsets[at][0] : offsets[at + length - 1][1]].strip() for at in starts]
        )
    mixed = [
        texts[row]
        for row in range(max(map(len, by_language)))
        for texts in by_language
        if row < len(texts)
    ]
    # Two equal texts cost as much as two different ones.
    return [mixed[index % len(mixed)] for index in range(workload.texts)]


def run_worker(job: dict[str, Any]) -> dict[str, Any]:
    """Run one job in a fresh process and wait for its answer."""
    folders = [str(ROOT / name) for name in ("plugin", "training", "export")]
    search_path = os.pathsep.join([*folders, *filter(None, [os.environ.get("PYTHONPATH")])])
    finished = subprocess.run(
        [sys.executable, __file__, "--worker"],
        input=json.dumps(job),
        stdout=subprocess.PIPE,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": search_path, "TQDM_DISABLE": "1"},
    )
    if finished.returncode:
        raise SystemExit(f"The process for {job['kind']} ended with status {finished.returncode}.")
    return json.loads(finished.stdout.splitlines()[-1])


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def measure(checkpoint: Path | None, *, quick: bool, repeats: int, threads: int) -> dict[str, Any]:
    """Measure everything on this machine.

    Args:
        checkpoint: A checkpoint folder; None is the one that ships.
        quick: Small workloads.
        repeats: Timed calls of each workload, after one that is not timed.
        threads: Of every engine, and of the matrix peak.
    """
    workloads = QUICK if quick else FULL
    say("Bundles: exported now if the cache lacks them, which takes minutes")
    folders = run_worker({"kind": "bundles", "checkpoint": str(checkpoint) if checkpoint else None})
    texts = [
        workload_texts(Path(folders["fp32"], "tokenizer.json"), workload) for workload in workloads
    ]
    say("Matrix peak")
    peaks = [run_worker({"kind": "peak", "threads": threads})]
    names = [name for name, each in CANDIDATES.items() if each.peak == "fp32" or multiplies_bf16()]
    engines: dict[str, dict[str, Any]] = {}
    vectors: dict[str, NDArray[np.float32]] = {}
    with tempfile.TemporaryDirectory(prefix="lusifer-benchmark-") as scratch:
        for name in names:
            say(CANDIDATES[name].label)
            path = Path(scratch, f"{name}.npy")
            job = {
                "kind": "engine",
                "engine": name,
                "checkpoint": folders["checkpoint"],
                "bundle": folders[CANDIDATES[name].precision if name in BUNDLED else "fp32"],
                "workloads": texts,
                "repeats": repeats,
                "threads": threads,
                "vectors": str(path),
            }
            engines[name] = run_worker(job)
            vectors[name] = np.load(path)
    # Once more at the end: a machine that was shared in between shows here.
    say("Matrix peak again")
    peaks.append(run_worker({"kind": "peak", "threads": threads}))
    return {
        "machine": machine(threads),
        "quick": quick,
        "repeats": repeats,
        "matrix_peak_gflops": {kind: [round(each[kind], 1) for each in peaks] for kind in peaks[0]},
        "workloads": [workload.name for workload in workloads],
        "engines": [
            summary(name, each, engines["torch-fp32"]["shape"], peaks, vectors)
            for name, each in engines.items()
        ],
    }


def summary(
    name: str,
    engine: dict[str, Any],
    shape: dict[str, int],
    peaks: Sequence[dict[str, float]],
    vectors: dict[str, NDArray[np.float32]],
) -> dict[str, Any]:
    """Return what the report says about one engine."""
    # There is no common peak of int8 products: they are put beside fp32, which they may exceed.
    peak = max(each[CANDIDATES[name].peak] for each in peaks)
    workloads = []
    for each in engine["workloads"]:
        seconds = statistics.median(each["seconds"])
        gflops = sum(flops_of_text(shape, tokens) for tokens in each["tokens"]) / seconds / 1e9
        workloads.append(
            {
                "tokens": sum(each["tokens"]),
                "median_s": round(seconds, 4),
                "fastest_s": round(min(each["seconds"]), 4),
                "slowest_s": round(max(each["seconds"]), 4),
                "tokens_per_s": round(sum(each["tokens"]) / seconds),
                "gflops": round(gflops, 1),
                "share_of_peak": round(gflops / peak, 3),
            }
        )
    cosines = (vectors[name] * vectors["torch-fp32"]).sum(axis=1)
    return {
        "engine": name,
        "workloads": workloads,
        "query_ms": round(engine["query_ms"], 2),
        "query_arithmetic_ms": (
            arithmetic := round(flops_of_text(shape, QUERY_TOKENS) / peak / 1e6, 2)
        ),
        "query_bar_ms": round(QUERY_BAR_FACTOR * arithmetic + QUERY_BAR_MS, 2),
        "load_s": round(engine["load_s"], 1),
        "peak_embedding_mib": rounded(engine["peak_embedding_mib"]),
        "peak_loading_mib": rounded(engine["peak_loading_mib"]),
        "weights_mib": rounded(engine["weights_mib"]),
        "mean_cosine_to_torch_fp32": round(float(cosines.mean()), 6),
    }


def rounded(value: float | None) -> int | None:
    return None if value is None else math.ceil(value)


def machine(threads: int) -> dict[str, Any]:
    """Return processor, versions and date."""
    packages = ("lusifer", "torch", "transformers", "onnxruntime", "openvino", "numpy")
    versions = {"python": platform.python_version()}
    for package in packages:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = "not installed"
    return {
        "cpu": cpu_model(),
        "bf16": multiplies_bf16(),
        "threads": threads,
        "system": f"{platform.system()} {platform.machine()}",
        "versions": versions,
        "date": datetime.datetime.now(tz=datetime.UTC).date().isoformat(),
    }


def cpu_model() -> str:
    try:
        found = re.search(
            r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text(encoding="utf-8")
        )
    except OSError:
        found = None
    return found.group(1) if found else platform.processor() or "unknown"


def markdown(report: dict[str, Any]) -> str:
    """Format the report as a table with the conditions it holds under."""
    host = report["machine"]
    header = ["engine"]
    for name in report["workloads"]:
        header += [f"{name}: tokens/s", "GFLOP/s (of peak)"]
    header += [
        f"one query of {QUERY_TOKENS} tokens (its arithmetic)",
        "peak memory embedding",
        "loading",
        "weights",
        "cosine to PyTorch fp32",
    ]
    lines = ["| " + " | ".join(header) + " |", "|---" + "|---:" * (len(header) - 1) + "|"]
    for engine in report["engines"]:
        cells = [CANDIDATES[engine["engine"]].label]
        for each in engine["workloads"]:
            cells += [
                f"{each['tokens_per_s']:,}",
                f"{each['gflops']:.0f} ({each['share_of_peak']:.0%})",
            ]
        cells.append(f"{engine['query_ms']:.1f} ms ({engine['query_arithmetic_ms']:.1f})")
        for key in ("peak_embedding_mib", "peak_loading_mib", "weights_mib"):
            cells.append("–" if engine[key] is None else f"{engine[key]:,} MiB")
        cells.append(f"{engine['mean_cosine_to_torch_fp32']:.4f}")
        lines.append("| " + " | ".join(cells) + " |")
    peaks = "; ".join(
        f"{kind} {before:.0f} before and {after:.0f} GFLOP/s after"
        for kind, (before, after) in report["matrix_peak_gflops"].items()
    )
    versions = ", ".join(f"{name} {version}" for name, version in host["versions"].items())
    warning = "**A quick run: too few texts for a figure to quote.**\n" if report["quick"] else ""
    repeats = f"median of {report['repeats']} calls" if report["repeats"] > 1 else "one call"
    return "\n".join(
        [
            warning,
            *lines,
            "",
            f"{host['cpu']}, threads: {host['threads']}{', bf16 products' if host['bf16'] else ''}, "
            f"{host['system']}; {versions}; {host['date']}. Each figure is the {repeats} after one to "
            f"warm up; prompts and special tokens count, padding does not. Matrix peak "
            f"({MATRIX_SIZE} x {MATRIX_SIZE}, PyTorch): {peaks}; shares are of the higher. "
            "Command: `python benchmarks/embed_documents.py`.",
            "",
            bars(report),
        ]
    ).strip()


def bars(report: dict[str, Any]) -> str:
    """Return whether each engine reaches the bars of batches and of one query."""
    lines = [
        f"Bars: the best engine at {PEAK_BAR:.0%} of the matrix peak on {report['workloads'][0]}; one query "
        f"within {QUERY_BAR_FACTOR} times its own arithmetic plus {QUERY_BAR_MS:g} ms.",
        "",
    ]
    best = max(each["workloads"][0]["share_of_peak"] for each in report["engines"])
    lines.append(f"- best on batches: {best:.0%}, {'reached' if best >= PEAK_BAR else 'missed'}")
    for each in report["engines"]:
        share = each["workloads"][0]["share_of_peak"]
        reached = each["query_ms"] <= each["query_bar_ms"]
        lines.append(
            f"- {CANDIDATES[each['engine']].label}: batches at {share:.0%}; a query {each['query_ms']:.1f} "
            f"ms of {each['query_bar_ms']:.1f} ms, {'reached' if reached else 'missed'}"
        )
    return "\n".join(lines)


def profile(options: argparse.Namespace, threads: int) -> str:
    """Format a table of the operators that ONNX Runtime's time goes to, of the default bundle and of fp32."""
    folders = run_worker(
        {"kind": "bundles", "checkpoint": str(options.checkpoint) if options.checkpoint else None}
    )
    lines = []
    for precision in ("int8-dynamic", "fp32"):
        job = {"kind": "profile", "bundle": folders[precision], "threads": threads}
        found = run_worker(job | {"repeats": options.repeats})
        for name, spent in found.items():
            total = sum(spent.values())
            lines += [f"{precision}, {name}: {total:.1f} ms in operators", ""]
            lines += ["| operator | of the time | ms |", "|---|---:|---:|"]
            lines += [
                f"| {kind} | {ms / total:.1%} | {ms:.2f} |" for kind, ms in list(spent.items())[:12]
            ]
            lines.append("")
    return "\n".join(lines)


def main() -> None:
    """Run a worker's job, or all of the benchmark."""
    parser = parser_for(__doc__)
    parser.add_argument(
        "--checkpoint", type=Path, help="checkpoint folder; default: the one that ships"
    )
    parser.add_argument(
        "--repeats", type=int, default=5, help="timed calls of each workload (default: 5)"
    )
    parser.add_argument(
        "--threads", type=int, help="of every engine; default: the usable physical cores"
    )
    parser.add_argument(
        "--quick", action="store_true", help="a few texts, one call: only to see that it runs"
    )
    parser.add_argument(
        "--profile",
        action="store_true",
        help="only ONNX Runtime's time by operator, for default and fp32",
    )
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="also write everything measured as JSON"
    )
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        job = json.load(sys.stdin)
        workers = {
            "bundles": worker_bundles,
            "peak": worker_peak,
            "engine": worker_engine,
            "profile": worker_profile,
        }
        print(json.dumps(workers[job["kind"]](job)))
        return
    if options.quick and options.write:
        parser.error("--quick measures nothing worth writing down")
    if options.repeats < 1:
        parser.error("--repeats must be at least 1")
    sys.path[:0] = [str(ROOT / name) for name in ("plugin", "training", "export")]
    from lusifer.engines.cpu import usable_cores

    threads = options.threads or usable_cores()
    if options.profile:
        print(profile(options, threads))
        return
    report = measure(
        options.checkpoint,
        quick=options.quick,
        repeats=1 if options.quick else options.repeats,
        threads=threads,
    )
    table = markdown(report)
    print(table)
    if options.json:
        options.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    if options.write:
        write_table("embed_documents", table)


if __name__ == "__main__":
    main()
