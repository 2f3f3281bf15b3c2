# SPDX-License-Identifier: Apache-2.0
"""The tensors of a model without its weights: transformers builds it from the configuration on the meta device.

So every count is exact, for every architecture, with the vision tower frozen and adapters added as the run would.
model_sizes.json has the shapes of the published models, for those that are not on this machine yet.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recipe.tw_grpo.toolbox.errors import UserError

if TYPE_CHECKING:
    from omegaconf import DictConfig

SHAPES = Path(__file__).with_suffix(".json")


@dataclass(frozen=True)
class Weight:
    """One parameter: its shape, whether it is trained, and the FSDP unit that gathers it ("" is the root's)."""

    shape: tuple[int, ...]
    trained: bool
    unit: str


def shard(shape: tuple[int, ...], ranks: int) -> int:
    """Elements on the rank that has most: FSDP2 cuts the first dimension into equal parts, the last one padded."""
    return -(-shape[0] // ranks) * math.prod(shape[1:]) if shape else 1


@dataclass(frozen=True)
class Sizes:
    """A model's parameters (shared ones once) and the numbers of its text part that activations depend on."""

    weights: tuple[Weight, ...]
    tied: bool
    vocabulary: int
    hidden: int
    layers: int
    intermediate: int
    query: int  # heads times their size
    key_value: int  # key-value heads times their size, keys and values together
    positions: int  # what the model was made for; vLLM's max_model_len where none is set

    @cached_property
    def kinds(self) -> Counter[tuple[tuple[int, ...], bool]]:
        """How many weights there are of each (shape, trained)."""
        return Counter((weight.shape, weight.trained) for weight in self.weights)

    @cached_property
    def elements(self) -> int:
        return sum(n * math.prod(shape) for (shape, _), n in self.kinds.items())

    @cached_property
    def trained(self) -> int:
        return sum(n * math.prod(shape) for (shape, trained), n in self.kinds.items() if trained)

    def shards(self, ranks: int, trained: bool = False) -> Counter[int]:
        """How many weights leave that many elements on a rank: of all weights, or of the trained ones."""
        counts: Counter[int] = Counter()
        for (shape, is_trained), n in self.kinds.items():
            if is_trained or not trained:
                counts[shard(shape, ranks)] += n
        return counts

    def local(self, ranks: int, trained: bool = False) -> int:
        """Elements of a rank."""
        return sum(elements * n for elements, n in self.shards(ranks, trained).items())

    @cached_property
    def largest(self) -> int:
        """Elements of the largest weight."""
        return max(math.prod(shape) for shape, _ in self.kinds)

    @cached_property
    def units(self) -> dict[str, tuple[int, int]]:
        """{FSDP unit: (elements, trained elements)}."""
        sums: dict[str, tuple[int, int]] = {}
        for weight in self.weights:
            elements, trained = sums.get(weight.unit, (0, 0))
            count = math.prod(weight.shape)
            sums[weight.unit] = elements + count, trained + count * weight.trained
        return sums


def published() -> dict[str, dict[str, Any]]:
    """{name on the hub: its shapes} of model_sizes.json."""
    return json.loads(SHAPES.read_text(encoding="utf-8"))["models"]


def configuration(path: str) -> Any:
    """transformers' configuration of a folder, a name in this machine's cache, or a name of model_sizes.json.

    Raises:
        UserError: none of these.
    """
    import transformers

    shapes = published().get(path)
    try:
        return transformers.AutoConfig.from_pretrained(str(Path(path).expanduser()), local_files_only=True)
    except (OSError, ValueError) as error:
        if shapes is None:
            raise UserError(
                f"actor_rollout_ref.model.path={path}: its configuration is not on this machine: download it, or name "
                f"one of {', '.join(published())}"
            ) from error
    wanted = ("text_config", "vision_config", "tie_word_embeddings")
    return transformers.AutoConfig.for_model(shapes["model_type"], **{name: shapes[name] for name in wanted})


def sizes(config: DictConfig) -> Sizes:
    """The sizes of the model of a verl configuration, with its frozen tower and its adapters.

    Raises:
        UserError: the configuration of the model is not there, or there is no tower to freeze.
    """
    import torch
    from verl.utils.model import get_hf_auto_model_class

    from recipe.tw_grpo.integration.freezing import OPTION, freeze_vision_tower

    options = config.actor_rollout_ref
    hugging_face = configuration(str(options.model.path))
    with torch.device("meta"):
        model = get_hf_auto_model_class(hugging_face).from_config(hugging_face)
    units = fsdp_units(model)
    if options.model.get("lora_rank", 0) > 0:
        add_adapters(model, options.model)
    if options.actor.get(OPTION):
        try:
            freeze_vision_tower(model)
        except ValueError as error:
            raise UserError(str(error)) from error
    return measured(model, units)


def add_adapters(model: Any, options: DictConfig) -> None:
    """LoRA as verl's engine adds it (verl/workers/engine/fsdp/transformer_impl.py:347); the rest is frozen."""
    from omegaconf import OmegaConf
    from peft import LoraConfig, inject_adapter_in_model

    names = ("target_modules", "exclude_modules")
    chosen = {name: OmegaConf.to_container(OmegaConf.create({name: options.get(name)}))[name] for name in names}
    inject_adapter_in_model(LoraConfig(r=options.lora_rank, lora_alpha=options.lora_alpha, **chosen), model)


def fsdp_units(model: Any) -> list[str]:
    """Names of the modules that verl gives to fully_shard one by one; the root takes what is left."""
    from verl.utils.fsdp_utils import _select_fsdp2_wrap_targets

    chosen = {id(module) for module in _select_fsdp2_wrap_targets(model, list(model._no_split_modules or ()))}
    return [name for name, module in model.named_modules() if id(module) in chosen]


def measured(model: Any, units: Iterable[str]) -> Sizes:
    """The sizes of a built model, on whatever device it is."""
    units, hugging_face = set(units), model.config

    def unit_of(name: str) -> str:
        parts = name.split(".")
        prefixes = (".".join(parts[:n]) for n in range(len(parts) - 1, 0, -1))
        return next((prefix for prefix in prefixes if prefix in units), "")

    text = hugging_face.get_text_config()
    size = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    return Sizes(
        weights=tuple(Weight(tuple(p.shape), p.requires_grad, unit_of(name)) for name, p in model.named_parameters()),
        tied=bool(hugging_face.tie_word_embeddings),
        vocabulary=text.vocab_size,
        hidden=text.hidden_size,
        layers=text.num_hidden_layers,
        intermediate=text.intermediate_size,
        query=text.num_attention_heads * size,
        key_value=2 * text.num_key_value_heads * size,
        positions=text.max_position_embeddings,
    )
