# SPDX-License-Identifier: Apache-2.0
"""A run as verl and the launcher leave it, made up: any number of steps, prompts, responses and tokens, with a
tokenizer, a parquet file and videos. Its weights are Eq. 5 of its D_t, its scores the reward of its texts.
"""

from __future__ import annotations

import json
import random
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from recipe.tw_grpo.reward import score_response

ROOT = Path(__file__).resolve().parents[2]
HOSTILE = {
    "script": "<script>window.hurt = 1</script><img src=x onerror='window.hurt = 2'></p></script>",
    "right to left": "abc \u202edesrever\u202c \u200f\u0627\u0644\u0639\u0631\u0628\u064a\u0629 end",
    "emoji": "look \U0001f468\u200d\U0001f469\u200d\U0001f467 \U0001f9ea and \u4e2d\u6587",
}
_PROMPT = """user
Without object {n}, what will happen?
A. The cyan disc and the red triangle collide
B. The cyan square and the purple triangle collide
C. The purple triangle and the green triangle collide
Output the thinking process in <think></think> and the final answer in <answer></answer> tags.
assistant
"""


@lru_cache(maxsize=1)
def _words() -> tuple[Tokenizer, list[int]]:
    """A byte-level tokenizer of this project's own documents, and their ids."""
    text = "\n".join(path.read_text(encoding="utf-8") for path in sorted((ROOT / "docs").glob("*.md")))
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=6000, special_tokens=["<|im_end|>"], initial_alphabet=alphabet)
    tokenizer.train_from_iterator([text], trainer)
    return tokenizer, tokenizer.encode(text).ids


def write_made_up(
    out: Path,
    *,
    steps: int = 6,
    prompts: int = 3,
    responses: int = 4,
    tokens: int = 90,
    first: int = 1,
    videos: int = 0,
    seed: int = 0,
    **run_json: Any,
) -> Path:
    """Write steps `first` to `steps` of a run into `out`.

    Among the texts of step 1's first prompt are those of HOSTILE; its second prompt is dead; in its third a response
    lacks the format and one never ends. With `videos` there is a parquet file, and so many videos.
    """
    tokenizer, ids = _words()
    rng, noise = random.Random(f"{seed} {first}"), np.random.default_rng([seed, first])
    for name in ("rollouts", "metrics"):
        (out / name).mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(out / "tokenizer.json"))
    hostile = list(HOSTILE.values())
    for step in range(first, steps + 1):
        lines = []
        for p in range(prompts):
            n = (step * prompts + p) % 1000
            truth = "A,B" if n % 2 else "C"
            lengths = [tokens, *(rng.randint(max(20, tokens * 4 // 5), tokens - 1) for _ in range(responses - 1))]
            divergence = np.abs(noise.normal(2, 1.5, tokens)).astype(np.float32)
            divergence[:3] = 0
            weights = (1 + 0.7 * divergence / divergence.max()).astype(np.float32)
            shown = [[repr(float(v)) for v in values] for values in (divergence, weights)]
            for g, length in enumerate(lengths):
                special = step == 1 and p == 0 and g < len(hostile)
                answer = "C" if step == 1 and p == 1 else rng.choice(["A", "B", "A, B", "C", "C, D"])
                start = rng.randrange(len(ids) - tokens)
                body = tokenizer.encode(hostile[g]).ids if special else ids[start : start + length]
                head = [] if step == 1 and p == 2 and g == 1 else tokenizer.encode("<think>").ids
                tail = [*tokenizer.encode(f"</think><answer>{answer}</answer>").ids, 0]
                row = (head + body)[: length - len(tail)] + tail if not special else head + body + tail
                if step == 1 and p == 2 and g == 0:
                    row = row[:-1] + ids[:1]  # as long as may be, and no end
                row = row[:tokens]
                text = tokenizer.decode(row, skip_special_tokens=True)
                parts = score_response(text, truth)
                lines.append(_line(parts, _PROMPT.format(n=n), text, truth, step, f"{step}x{p}_{g}_0", row, n, shown))
        (out / "rollouts" / f"{step}.jsonl").write_text("".join(lines), encoding="utf-8")
    with (out / "metrics" / f"{first:03d}.jsonl").open("w") as file:
        for step in range(first, steps + 1):
            file.write(json.dumps({"step": step, "data": _metrics(step)}) + "\n")
    command = [f"data.max_response_length={tokens}", f"data.seed={seed}", "algorithm.tw_grpo.alpha=0.7"]
    if videos:
        command.append(f"data.train_files={_parquet(out, videos, prompts)}")
    record = {"estimator": "tw_grpo", "seed": seed, "steps": steps + 2, "tokenizer": str(out), "reward_kwargs": {}}
    record["command"] = " ".join(["python", "-m", "verl.trainer.main_ppo", *command])
    (out / "run.json").write_text(json.dumps(record | run_json))
    return out


def _line(parts, prompt, text, truth, step, uid, ids, n, shown) -> str:
    record = {"input": prompt, "output": text, "gts": truth, "score": parts["score"], "step": step, "uid": uid}
    record |= {"prompt_ids": list(range(1000, 1100)), "response_ids": ids, "index": n}
    record["reward"] = parts | {"video": f"v{n}.mp4", "index": str(n)}
    d, w = (", ".join(values[: len(ids)]) for values in shown)
    return f'{json.dumps(record)[:-1]}, "token_weights": [{w}], "token_divergence": [{d}]}}\n'


def _metrics(step: int) -> dict[str, float]:
    data = {"actor/entropy": 1 / step, "actor/grad_norm": 0.3, "timing_s/step": 28.0, "timing_s/gen": 15.0}
    data |= {"timing_s/update_actor": 10.0, "training/rollout_actor_probs_pearson_corr": 0.999}
    data["tw_grpo/failed_prompts"] = 0.0
    if step % 3 == 0:
        data |= {"val-core/toy/acc/mean@1": 0.4, "val-aux/toy/multi_soft_acc/mean@1": 0.5}
    return data


def _parquet(out: Path, videos: int, prompts: int) -> Path:
    """Records 0 to 999 over `videos` short videos, each with a grey of its own."""
    import av
    import pyarrow as pa
    import pyarrow.parquet as pq

    (out / "videos").mkdir(exist_ok=True)
    paths = []
    for v in range(videos):
        paths.append(out / "videos" / f"v{v}.mp4")
        with av.open(str(paths[-1]), "w") as container:
            stream = container.add_stream("mpeg4", rate=8)
            stream.width, stream.height, stream.pix_fmt = 112, 56, "yuv420p"
            for t in range(16):
                grey = np.full((56, 112, 3), 20 + 200 * v // max(1, videos - 1), np.uint8)
                grey[:, : 7 * t] = 255
                for packet in stream.encode(av.VideoFrame.from_ndarray(grey, format="rgb24")):
                    container.mux(packet)
            for packet in stream.encode():
                container.mux(packet)
    entry = {"fps": 2.0, "min_frames": 4, "max_frames": 4}
    rows = [
        {
            "videos": [{"video": f"file://{paths[n % videos]}", **entry}],
            "extra_info": {"index": n, "question": f"Without object {n}, what will happen?"},
        }
        for n in range(1000)
    ]
    pq.write_table(pa.Table.from_pylist(rows), out / "train.parquet")
    return out / "train.parquet"
