"""Compare a sentence-transformers folder with what a configuration makes of its encoder.

Such a folder says in small files what follows the transformer and what precedes it. We apply a
transformer and mean or CLS pooling. Everything else is refused by name, because the vectors would
be wrong without a sign.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NoReturn

from transformers import AutoTokenizer

from lusifer_training.backbones.load import load_tokenizer
from lusifer_training.backbones.source import locate
from lusifer_training.errors import ConfigError, WrongLayoutError

if TYPE_CHECKING:
    from pathlib import Path

    from lusifer_training.config import ModelConfig

__all__ = ["check_encoder"]

MODULES = (["Transformer", "Pooling"], ["Transformer", "Pooling", "Normalize"])
POOLINGS = {
    "cls_token": "cls",
    "max_tokens": "max",
    "mean_tokens": "mean",
    "mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "weightedmean_tokens": "weightedmean",
    "lasttoken": "lasttoken",
}
"""Names of pooling modes, by the end of the key that older versions write for each."""
SUPPORTED = {"mean": "mean", "cls": "cls", "mean_sqrt_len_tokens": "mean"}
"""Ours by theirs; mean over the root of the length has the direction of the mean."""
ROLES = {"query": ("query",), "document": ("document", "passage", "corpus")}
"""Names of the prompts that the library reads for each role."""
TEXT = {"method": "forward", "method_output_name": "last_hidden_state"}
EXPECTED: dict[str, object] = {
    "transformer_task": "feature-extraction",
    "module_output_name": "token_embeddings",
}
PROBES = (
    "The QUICK  brown fox",
    "Ça Straße İÉ",
    "検索ﬁ①",
    "हिन्दी",
    "line\nbreak\ttab",
    "don't 👩‍👧",
)
"""Texts on which normalizers and pre-tokenizers differ."""
CHOOSE = (
    "Choose another encoder. If only the states of the transformer are wanted, name a copy of its "
    "folder without modules.json."
)


def check_encoder(config: ModelConfig) -> None:
    """Refuse an encoder whose folder asks for something else than the configuration applies.

    A folder without ``modules.json`` asks for nothing.

    Raises:
        WrongLayoutError: The folder has modules, a pooling or settings that are not supported.
        ConfigError: Pooling, prompts, token limit or tokenizer of the configuration are others.
        BackboneError: A file can't be read.
    """
    if config.encoder.format != "huggingface":
        return
    folder = locate(config.encoder, weights=False)
    root = _root(folder)
    if root is not None:
        _Check(config, folder, root).run()


def _root(folder: Path) -> Path | None:
    """Return the sentence-transformers folder that a transformer's folder is, or is a part of."""
    if (folder / "modules.json").is_file():
        return folder
    resolved = folder.resolve()
    parts = _read(resolved.parent / "modules.json", [])
    return resolved.parent if any(part.get("path") == resolved.name for part in parts) else None


def _read(path: Path, default: Any) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return default
    except (OSError, ValueError) as error:
        raise WrongLayoutError(
            f"{path} can't be read: {error}.", next_step="Check that the folder is complete."
        ) from error


class _Check:
    def __init__(self, config: ModelConfig, folder: Path, root: Path) -> None:
        self.config, self.folder, self.root = config, folder, root
        self.name = config.encoder.location
        self.model: dict[str, Any] = _read(root / "config_sentence_transformers.json", {})

    def run(self) -> None:
        parts = _read(self.root / "modules.json", [])
        self._check_modules(parts)
        self._check_pooling(_read(self.root / parts[1]["path"] / "config.json", {}))
        self._check_settings()
        self._check_prompts()
        self._check_tokenizer()

    def _refuse(self, reason: str, next_step: str = CHOOSE) -> NoReturn:
        raise WrongLayoutError(f"The encoder {self.name} {reason}.", next_step=next_step)

    def _contradict(self, reason: str, next_step: str) -> NoReturn:
        raise ConfigError(f"The encoder {self.name} {reason}.", next_step=next_step)

    def _check_modules(self, parts: list[dict[str, str]]) -> None:
        types = [part["type"] for part in parts]
        names = [each.rpartition(".")[2] for each in types]
        if foreign := [each for each in types if not each.startswith("sentence_transformers.")]:
            self._refuse(f"has modules with code of their own: {', '.join(foreign)}")
        kind = self.model.get("model_type", "SentenceTransformer")
        if kind != "SentenceTransformer":
            self._refuse(f"is a {kind}, not a model of one vector per text")
        if names not in MODULES:
            extra = [name for name in names if name not in MODULES[-1]]
            what = f"{', '.join(extra)} would be left out" if extra else "their order is another"
            self._refuse(
                f"has the modules {', '.join(names)}; supported are {', '.join(MODULES[0])} and "
                f"optionally Normalize, and {what}"
            )
        similarity = self.model.get("similarity_fn_name") or "cosine"
        equal = ("cosine", "dot", "euclidean") if "Normalize" in names else ("cosine",)
        if similarity not in equal:
            self._refuse(f"compares its vectors by {similarity}, ours are compared by cosine")

    def _check_pooling(self, values: dict[str, Any]) -> None:
        modes = values.get("pooling_mode") or [
            mode for key, mode in POOLINGS.items() if values.get(f"pooling_mode_{key}")
        ]
        modes = [modes] if isinstance(modes, str) else list(modes) or ["mean"]
        ours = SUPPORTED.get(modes[0]) if len(modes) == 1 else None
        if ours is None:
            self._refuse(f"pools by {' + '.join(modes)}; supported are mean and cls")
        if ours != self.config.encoder_pooling:
            self._contradict(
                f"pools by {ours}, the configuration by {self.config.encoder_pooling}",
                f"Set encoder_pooling to {ours}; train a checkpoint of the other pooling again.",
            )
        if values.get("include_prompt") is False and any(self.config.role_prompts.values()):
            self._refuse("leaves the prompt out of its pooling (include_prompt: false)")

    def _check_settings(self) -> None:
        files = sorted(self.folder.glob("sentence_*_config.json"))
        settings = _read(files[0], {}) if files else {}
        if settings.get("do_lower_case"):
            self._refuse(
                "lower-cases texts before its tokenizer (do_lower_case)",
                "Add the normalizer Lowercase to its tokenizer.json, and set do_lower_case to "
                f"false in {files[0].name}.",
            )
        for key, value in settings.items():
            if key == "modality_config":
                known = value.get("text") == TEXT
            else:
                known = key == "max_seq_length" or not value or EXPECTED.get(key) == value
            if not known:
                self._refuse(f"has the setting {key}: {value!r} in {files[0].name}")
        limit = settings.get("max_seq_length") or self._tokenizers_limit()
        ours = self.config.maximum_tokens
        if limit and (ours > limit or (ours < limit and not self._states("maximum_tokens"))):
            self._contradict(
                f"cuts texts after {limit} tokens, the configuration after {ours}",
                f"Set maximum_tokens to {limit}, or to less.",
            )

    def _tokenizers_limit(self) -> int | None:
        """Return the limit where only tokenizer and transformer state one."""
        config = _read(self.folder / "config.json", {})
        tokenizer = _read(self.folder / "tokenizer_config.json", {})
        limits = [tokenizer.get("model_max_length")]
        if positions := config.get("max_position_embeddings"):
            # XLM-R counts positions from the padding token's id + 1.
            first = config["pad_token_id"] + 1 if config["model_type"] == "xlm-roberta" else 0
            limits.append(positions - first)
        return min((int(limit) for limit in limits if limit), default=None)

    def _check_prompts(self) -> None:
        prompts: dict[str, str] = self.model.get("prompts") or {}
        fallback: str = self.model.get("default_prompt_name") or ""
        names = (*ROLES["query"], *ROLES["document"], fallback)
        declared = any(prompts.get(name) for name in names)
        for role, ours in self.config.role_prompts.items():
            key = f"{role}_prompt"
            named = [prompts[name] for name in ROLES[role] if name in prompts]
            theirs = next(filter(None, named or [prompts.get(fallback, "")]), "")
            if declared and theirs != ours:
                self._contradict(
                    f"puts {theirs!r} before each {role}, the configuration {ours!r}",
                    f"Set {key} to {theirs!r}.",
                )
            if not declared and not self._states(key):
                others = f" Its prompts are {json.dumps(prompts)}." if any(prompts.values()) else ""
                self._contradict(
                    f"names no prompt for the role {role}, and the configuration states none",
                    f"Set {key}, to '' for none.{others}",
                )

    def _check_tokenizer(self) -> None:
        if not (self.folder / "tokenizer.json").is_file():
            return
        ours = load_tokenizer(self.config.tokenizer)
        try:
            theirs = AutoTokenizer.from_pretrained(
                self.folder, local_files_only=True, trust_remote_code=False
            )
            wrong = [text for text in PROBES if theirs(text).input_ids != ours.encode(text).ids]
        except (OSError, ValueError, KeyError) as error:
            self._refuse(f"has a tokenizer that can't be loaded: {error}")
        if wrong:
            self._contradict(
                f"cuts {wrong[0]!r} into other tokens than {self.config.tokenizer.location}",
                "Name the encoder's own tokenizer.json. If that is named, write its settings in "
                "tokenizer_config.json, such as do_lower_case, into it.",
            )

    def _states(self, key: str) -> bool:
        return key in self.config.model_fields_set
