# SPDX-License-Identifier: Apache-2.0
"""Log-probabilities of one random Qwen2.5-VL (float32) under the positions that different programs give it.

`python tests/verl/time_positions_log_probs.py` prints the table of docs/evaluation.md: transformers' model under each
program's positions. With `vllm` also vLLM itself, as the environment sets it up: `TW_GRPO_VLLM_REPAIRS=1` opts in.
"""

import json
import os
import sys
import tempfile
import warnings
from pathlib import Path

warnings.filterwarnings("ignore")
os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
import torch  # noqa: E402
import verl  # noqa: E402, F401  on a CPU its plugins make torchvision importable

from recipe.tw_grpo.integration.repairs import probe_model, time_positions  # noqa: E402

WORDS = 48  # tokens behind the video, whose log-probabilities are compared


def prepared(folder: str):
    """(model, processor, its inputs, (text, videos)) of CLEVRER's sampling: 16 of 128 frames at 25 a second."""
    from transformers import AutoModelForImageTextToText

    probe_model.write(folder, weights=True)
    model = AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32).eval()
    processor = probe_model.processor(folder)
    words = torch.randint(5, len(probe_model.TOKENS), (WORDS,), generator=torch.Generator().manual_seed(1)).tolist()
    text = " ".join([probe_model.prompt("video"), *(probe_model.TOKENS[word] for word in words)])
    videos = [probe_model.video(16, 25.0, of=128)]
    inputs = processor(
        text=[text],
        videos=[videos[0][0]],
        video_metadata=[videos[0][1]],
        do_sample_frames=False,
        return_tensors="pt",
    )
    return model, processor, inputs, (text, videos)


def positions(model, inputs) -> dict[str, torch.Tensor]:
    """{program: [3, 1, L]}, each by that program's own function where it can be called from here."""
    ids, grid = inputs["input_ids"], inputs["video_grid_thw"]
    true = time_positions.seconds_per_grid({"fps": 25.0, "frames_indices": range(16), "total_num_frames": 128}, 2)
    ours = {
        "verl with the repair (trained, true rate)": true,
        "published rule, 1.0 s a grid": 1.0,
        "plain vLLM (24 fps assumed)": 2 / time_positions.ASSUMED_FPS,
    }
    rows = {
        name: time_positions.position_ids(model.config, ids, video_grid_thw=grid, second_per_grid_ts=[seconds])[0]
        for name, seconds in ours.items()
    }
    theirs = {
        "transformers 5.9 with the rate": [true],
        "transformers 5.9 without it (24 fps assumed)": [2 / time_positions.ASSUMED_FPS],
        "verl without the repair": None,
    }
    for name, seconds in theirs.items():
        rows[name], _ = model.model.get_rope_index(
            ids, mm_token_type_ids=inputs["mm_token_type_ids"], video_grid_thw=grid, second_per_grid_ts=seconds
        )
    return rows


@torch.no_grad()
def log_probs(model, inputs, position_ids) -> torch.Tensor:
    """[WORDS, V] that predict the last tokens of the prompt."""
    given = {name: inputs[name] for name in ("input_ids", "pixel_values_videos", "video_grid_thw")}
    logits = model(**given, mm_token_type_ids=inputs["mm_token_type_ids"], position_ids=position_ids).logits
    return logits[0, -WORDS - 1 : -1].log_softmax(-1)


def of_vllm(folder: str, text: str, videos, tokens: torch.Tensor) -> torch.Tensor:
    """[WORDS] log-probabilities of the prompt's last tokens by vLLM."""
    from vllm import LLM, SamplingParams

    llm = LLM(model=folder, dtype="float32", enforce_eager=True, max_model_len=512, max_num_seqs=1, seed=0)
    ids = probe_model.processor(folder).tokenizer(text)["input_ids"]
    prompt = {"prompt_token_ids": ids, "multi_modal_data": {"video": videos}}
    (done,) = llm.generate([prompt], SamplingParams(max_tokens=1, temperature=0, prompt_logprobs=0), use_tqdm=False)
    last = done.prompt_logprobs[-WORDS:]
    return torch.tensor([by_token[token].logprob for by_token, token in zip(last, tokens.tolist(), strict=True)])


def main() -> None:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        model, _, inputs, (text, videos) = prepared(folder)
        tokens = inputs["input_ids"][0, -WORDS:]
        rows = {name: log_probs(model, inputs, where) for name, where in positions(model, inputs).items()}
        trained = next(iter(rows.values()))
        taken = {name: row.gather(-1, tokens[:, None])[:, 0] for name, row in rows.items()}
        for name, row in rows.items():
            moved = (taken[name] - next(iter(taken.values()))).abs()
            kl = (trained.exp() * (trained - row)).sum(-1).mean()
            print(f"{name:46} mean |dlogp| {moved.mean():.4f}  max {moved.max():.4f}  KL {kl:.4f}")
        if "vllm" in sys.argv[1:]:
            vllms = of_vllm(folder, text, videos, tokens)
            away = {name: (vllms - row).abs().max().item() for name, row in taken.items()}
            print("RESULT " + json.dumps(away))


if __name__ == "__main__":
    main()
