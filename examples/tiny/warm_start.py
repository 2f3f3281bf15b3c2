# SPDX-License-Identifier: Apache-2.0
"""The tiny policy, built once and taught in about two minutes to see, to name what it sees and to answer in the format.

Two supervised stages on level-1 worlds: the vision tower learns to put an object's name and row into each cell's token;
then the language model learns the texts of lessons.py. Which options of a counterfactual question are right is never
taught; measure.py measures that, on worlds of its own, before anybody trains.
"""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from data_prep.write.prompts import MULTI_ANSWER
from examples.tiny.initialisation import give_attention_patterns
from examples.tiny.lessons import ROWS, Lesson, View, make_lesson
from examples.tiny.measure import measure
from examples.tiny.once import RECORD, Report, fingerprint, made_once, settings_of
from examples.tiny.physics import CELL
from examples.tiny.policy import PolicySize, build_model, build_processor, build_tokenizer, save_policy
from examples.tiny.render import render_frames, through_codec
from examples.tiny.world import COLORS, SHAPES, make_scene, questions
from recipe.tw_grpo.toolbox.command_line import run_main

FRAMES = 2  # of each video, the first and the last: what data_prep is told to sample as well
HEIGHT, WIDTH = 112, 140
CELLS = (HEIGHT // CELL) * (WIDTH // CELL)
EMPTY = "nothing"
SIZE = PolicySize(num_layers=3, intermediate_size=256)
# What stands in prompts word for word becomes one token, an object's name above all: "find what the prompt names" is
# then one look-up, which a network of three layers can learn in minutes.
PHRASES = (
    *(f" {color} {shape}" for color in COLORS for shape in SHAPES),
    *(". The", " and the", " collides with the", " collide", "Without the", " what will happen?"),
)
_NAMES = ("initialisation", "lessons", "measure", "physics", "policy", "render", "warm_start", "world")
_SOURCES = tuple(f"tiny/{name}" for name in _NAMES)
_CORPUS = 10**6  # first seed of the worlds whose texts the tokenizer is trained on


class Teacher:
    """A model with its tokenizer and processor, and the tensors of lessons."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.tokenizer = build_tokenizer(_corpus(), [*MULTI_ANSWER_PARTS, *PHRASES])
        self.processor = build_processor(self.tokenizer, max_pixels=HEIGHT * WIDTH)
        self.model = build_model(self.tokenizer, size=SIZE, seed=seed)
        give_attention_patterns(self.model, seed=seed)
        self.grid = torch.tensor([[FRAMES // 2, HEIGHT // 14, WIDTH // 14]])
        self.video = self.tokenizer.convert_tokens_to_ids("<|video_pad|>")

    def ids(self, text: str) -> list[int]:
        return self.tokenizer(text, add_special_tokens=False).input_ids

    def word(self, text: str) -> torch.Tensor:
        """Embedding [d] of a word or name that is one token after a blank."""
        (token,) = self.ids(f" {text}")
        return self.model.get_input_embeddings().weight[token].detach()

    def pixels(self, views: Sequence[View], rng: np.random.Generator | None = None) -> torch.Tensor:
        """What the processor makes of the first and the last frame of a video, [B, patches, 1176]; with some noise."""
        videos = []
        for view in views:
            frames = through_codec(render_frames(view.scene)[[0, -1]]).astype(np.int16)
            if rng is not None:
                frames = frames + rng.integers(-4, 5, frames.shape)
            videos.append(torch.from_numpy(frames.clip(0, 255).astype(np.uint8)).permute(0, 3, 1, 2))
        made = self.processor.video_processor(videos=videos, do_sample_frames=False, return_tensors="pt")
        return made["pixel_values_videos"].reshape(len(videos), -1, made["pixel_values_videos"].shape[-1])

    def seen(self, pixels: torch.Tensor) -> torch.Tensor:
        """Vision tokens [B, CELLS, d] of processed pixels [B, patches, 1176]."""
        grids = self.grid.repeat(len(pixels), 1)
        return self.model.model.visual(pixels.flatten(0, 1), grid_thw=grids).pooler_output.view(
            len(pixels), CELLS * FRAMES // 2, -1
        )

    def prompt_ids(self, prompt: str) -> list[int]:
        """As the chat template writes it, the video's tokens filled in."""
        head = self.ids("<|im_start|>user\n<|vision_start|>") + [self.video] * (CELLS * FRAMES // 2)
        return head + self.ids(f"<|vision_end|>{prompt}<|im_end|>\n<|im_start|>assistant\n")

    def hidden(self, ids: torch.Tensor, seen: torch.Tensor) -> torch.Tensor:
        """Last hidden states [B, L, d] of right-padded prompts and responses."""
        is_video = ids == self.video
        positions, _ = self.model.model.get_rope_index(
            ids, mm_token_type_ids=is_video.int() * 2, video_grid_thw=self.grid.repeat(len(ids), 1)
        )
        embeds = self.model.get_input_embeddings()(ids)
        embeds = embeds.masked_scatter(is_video[..., None].expand_as(embeds), seen.flatten(0, 1))
        return self.model.model.language_model(
            inputs_embeds=embeds, position_ids=positions, use_cache=False
        ).last_hidden_state

    def teach_vision(self, views: Sequence[View], pixels: torch.Tensor, steps: int, batch: int = 16) -> float:
        """Make each cell's vision token the sum of its object's name and row; returns the last mean squared error."""
        nothing = [[self.word(EMPTY) + self.word(row)] * (WIDTH // CELL) for row in ROWS[: HEIGHT // CELL]]
        targets = []
        for view in views:
            cells = [list(row) for row in nothing]
            for name, body in zip(view.names, view.scene.bodies, strict=True):
                lane, column = int(body.y // CELL), int(body.x // CELL)
                cells[lane][column] = self.word(name) + self.word(ROWS[lane])
            targets.append(torch.stack([cell for row in cells for cell in row]))
        wanted = torch.stack(targets)
        tower = self.model.model.visual
        optimizer = torch.optim.AdamW(tower.parameters(), lr=3e-3, betas=(0.9, 0.95), weight_decay=0.01)
        rng = random.Random(f"vision {self.seed}")
        loss = torch.zeros(())
        for step in tqdm(range(steps), desc="warm start 1/2: seeing", unit="step", mininterval=5):
            optimizer.param_groups[0]["lr"] = 3e-3 * min(1, (step + 1) / 20) * (1 - step / steps)
            rows = rng.sample(range(len(views)), batch)
            loss = torch.nn.functional.mse_loss(self.seen(pixels[rows])[:, :CELLS], wanted[rows])
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(tower.parameters(), 1.0)
            optimizer.step()
        return loss.item()

    def teach_texts(self, views: Sequence[View], pixels: torch.Tensor, steps: int, batch: int = 32) -> float:
        """Supervised training on lessons, vision tower fixed; returns the mean loss a token of the last 20 steps."""
        with torch.no_grad():
            seen = torch.cat([self.seen(part) for part in pixels.split(64)])
        parameters = [*self.model.model.language_model.parameters(), *self.model.lm_head.parameters()]
        optimizer = torch.optim.AdamW(parameters, lr=LEARNING_RATE, betas=(0.9, 0.95), weight_decay=0.01)
        rng = random.Random(f"texts {self.seed}")
        losses: list[float] = []
        bar = tqdm(range(steps), desc="warm start 2/2: naming and format", unit="step", mininterval=5)
        for step in bar:
            rate = LEARNING_RATE * min(1, (step + 1) / 30) * min(1, 2.5 * (1 - step / steps))
            optimizer.param_groups[0]["lr"] = rate
            rows = rng.sample(range(len(views)), batch)
            drawn = [(make_lesson(views[row], rng), row) for row in rows]
            lessons = [lesson for lesson, _ in drawn if lesson]
            ids, taught = self._padded(lessons)
            hidden = self.hidden(ids, seen[[row for lesson, row in drawn if lesson]])
            logits = self.model.lm_head(hidden[:, :-1][taught[:, 1:]])
            loss = torch.nn.functional.cross_entropy(logits, ids[:, 1:][taught[:, 1:]])
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            losses.append(loss.item())
            bar.set_postfix_str(f"loss {np.mean(losses[-20:]):.3f}", refresh=False)
        return float(np.mean(losses[-20:]))

    def _padded(self, lessons: Sequence[Lesson]) -> tuple[torch.Tensor, torch.Tensor]:
        prompts = [self.prompt_ids(lesson.prompt) for lesson in lessons]
        responses = [self.ids(lesson.response) + [self.tokenizer.eos_token_id] for lesson in lessons]
        length = max(len(p) + len(r) for p, r in zip(prompts, responses, strict=True))
        ids = torch.full((len(lessons), length), self.tokenizer.pad_token_id)
        taught = torch.zeros_like(ids, dtype=torch.bool)
        for row, (prompt, response) in enumerate(zip(prompts, responses, strict=True)):
            end = len(prompt) + len(response)
            ids[row, :end] = torch.tensor(prompt + response)
            taught[row, len(prompt) : end] = True
        return ids, taught


MULTI_ANSWER_PARTS = tuple(
    part
    for part in MULTI_ANSWER.replace("</", "<").replace("think>", "<").replace("answer>", "<").split("<")
    if len(part) > 5
)
LEARNING_RATE = 1.5e-3


def _corpus() -> list[str]:
    """Texts of all levels, for the tokenizer; the same for every policy."""
    rng = random.Random(0)
    corpus = ["user\n", "assistant\n", f" {EMPTY}"] * 20 + [f" {row}" for row in ROWS] * 20
    for level in (1, 2, 3, 4):
        for seed in range(150):
            view = View.of(make_scene(_CORPUS + seed, level))
            corpus += [choice.text for question in questions(view.scene, rng, 2) for choice in question.choices]
            corpus += [question.text for question in questions(view.scene, rng, 2)]
            if level == 1 and (lesson := make_lesson(view, rng)):
                corpus += [lesson.prompt, lesson.response]
    return corpus


def build(out: Path, *, seed: int, worlds: int, vision_steps: int, text_steps: int) -> Report:
    """Build, teach, measure and save the policy in `out`, or return the report of the one that is there already."""
    name = fingerprint(_SOURCES, seed=seed, worlds=worlds, vision_steps=vision_steps, text_steps=text_steps)
    return made_once(out, name, lambda: _build(out, name, seed, worlds, vision_steps, text_steps))


def _build(out: Path, name: str, seed: int, worlds: int, vision_steps: int, text_steps: int) -> Report:
    torch.manual_seed(seed)
    teacher = Teacher(seed)
    views = [View.of(make_scene(seed * 10**5 + number, 1)) for number in range(worlds)]
    pixels = teacher.pixels(views, np.random.default_rng(seed))
    vision_error = teacher.teach_vision(views, pixels, vision_steps)
    text_loss = teacher.teach_texts(views, pixels, text_steps)
    report = {"fingerprint": name, "seed": seed, "vision_error": vision_error, "text_loss": text_loss}
    report |= {"parameters": sum(p.numel() for p in teacher.model.parameters())} | measure(teacher)
    save_policy(out, teacher.model, teacher.processor, {RECORD: json.dumps(report, indent=1) + "\n"})
    return report


def main(arguments: list[str] | None = None) -> int:
    """Command line."""
    defaults = {"worlds": 1500, "vision_steps": 400, "text_steps": 450}  # level-1 worlds
    about = __doc__.split("\n\n")[0]
    options = settings_of("python -m examples.tiny.warm_start", about, defaults, arguments)
    report = build(**vars(options))
    print(
        f"policy {options.out}: {report['parameters'] / 1e6:.2f} M parameters; on {report['worlds']} held-out worlds: "
        f"format {report['format_rate']:.0%}, options named right {report['named_right']:.0%}, "
        f"soft reward {report['soft_reward']:.2f} (random subsets {report['soft_reward_of_random_subsets']:.2f}), "
        f"correlation of answers with the truth {report['letter_correlation']:+.2f}"
    )
    return 0


if __name__ == "__main__":
    run_main(main)
