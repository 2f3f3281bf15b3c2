# SPDX-License-Identifier: Apache-2.0
"""The rehearsed policy, built once and taught to see sixteen frames, to name what moves which way and to end an answer.

Two supervised stages, as in examples/tiny/warm_start.py: the tower learns to put an object's name, row and way into the
tokens that show it; then the language model learns lessons whose verdicts do not know the truth. Many lessons share one
video in one row, each seeing the video and itself only, because the video is nine tenths of every prompt.
"""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from examples.rehearsal import videos
from examples.rehearsal.policy import SIZE
from examples.tiny.initialisation import give_attention_patterns
from examples.tiny.lessons import ROWS, WAYS, Lesson, View, make_lesson
from examples.tiny.once import RECORD, Report, fingerprint, made_once, settings_of
from examples.tiny.policy import build_model, build_processor, build_tokenizer, save_policy
from examples.tiny.warm_start import EMPTY, MULTI_ANSWER_PARTS, PHRASES
from examples.tiny.world import questions
from recipe.tw_grpo.integration.repairs.time_positions import position_ids
from recipe.tw_grpo.toolbox.command_line import run_main

VISION_RATE, TEXT_RATE = 3e-3, 2e-3
OBJECTS_COUNT = 6.0  # weight of a token that shows an object; nine in ten show none
LESSONS_A_VIDEO = 8
SECONDS_A_GRID = 2 * videos.WORLD_FRAMES * videos.SLOWER / videos.FPS / videos.PAPER_FRAMES
_TEXTS, _HELD_OUT = 10**6, 2 * 10**6  # first numbers of the worlds of the tokenizer, and of the measurement
SILENT = 60.0  # nats below 0 of the logits of padded rows
_SOURCES = ("rehearsal/policy", "rehearsal/videos", "rehearsal/warm_start")
_SOURCES += tuple(f"tiny/{name}" for name in ("initialisation", "lessons", "physics", "policy", "render", "world"))


class Teacher:
    """A model with its tokenizer and processor, and the tensors of lessons."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.tokenizer = build_tokenizer(_corpus(), [*MULTI_ANSWER_PARTS, *PHRASES])
        self.processor = build_processor(self.tokenizer, max_pixels=videos.PICTURE_HEIGHT * videos.PICTURE_WIDTH)
        self.model = build_model(self.tokenizer, size=SIZE, seed=seed)
        give_attention_patterns(self.model, seed=seed)
        self.video = self.tokenizer.convert_tokens_to_ids("<|video_pad|>")
        self.tokens = videos.GRIDS * int(np.prod(videos.tokens_of_a_grid()))
        patches = [side // 14 for side in videos.input_size()]
        self.grid = torch.tensor([[1, *patches]])

    def ids(self, text: str) -> list[int]:
        return self.tokenizer(text, add_special_tokens=False).input_ids

    def word(self, text: str) -> torch.Tensor:
        """Embedding [d] of a word or name that is one token after a blank."""
        (token,) = self.ids(f" {text}")
        return self.model.get_input_embeddings().weight[token].detach()

    def features(self, pictures: torch.Tensor) -> torch.Tensor:
        """Vision tokens [n, rows, columns, d] of pairs of frames, uint8 [2 * n, 3, H, W]."""
        pairs = list(pictures.view(-1, 2, *pictures.shape[1:]))
        made = self.processor.video_processor(videos=pairs, do_sample_frames=False, return_tensors="pt")
        tower = self.model.model.visual(made["pixel_values_videos"], grid_thw=self.grid.repeat(len(pairs), 1))
        return tower.pooler_output.view(len(pairs), *videos.tokens_of_a_grid(), -1)

    def targets(self, view: View, grids: Sequence[int]) -> tuple[torch.Tensor, torch.Tensor]:
        """What the tokens of these grids should be, [n, rows, columns, d], and whether they show an object."""
        seen = videos.seen(view.scene)
        rows = torch.stack([self.word(ROWS[lane]) for lane in seen.lane])
        nothing = (self.word(EMPTY) + rows)[:, None].expand(-1, seen.body.shape[2], -1)
        made = []
        for grid in grids:
            cells = nothing.clone()
            for y, x in np.argwhere(seen.body[grid] >= 0):
                body = seen.body[grid, y, x]
                name = view.names[body]
                cells[y, x] = self.word(name) + self.word(view.rows[name])
                if way := int(seen.way[grid, body]):
                    cells[y, x] += self.word(WAYS[way > 0])
            made.append(cells)
        return torch.stack(made), torch.from_numpy(seen.body[list(grids)] >= 0)

    def teach_vision(self, views: Sequence[View], steps: int, batch: int = 8) -> float:
        """Teach the tower on two grids of each video; returns the mean squared error of the last ten steps."""
        rng, noise = random.Random(f"vision {self.seed}"), torch.Generator().manual_seed(self.seed)
        pictures, wanted, shown = [], [], []
        for view in tqdm(views, desc="warm start: drawing", unit="video", mininterval=5):
            grids = rng.sample(range(videos.GRIDS), 2)
            targets, objects = self.targets(view, grids)
            pictures += list(videos.pictures(view.scene, grids).view(2, 2, 3, *videos.input_size()))
            wanted += list(targets)
            shown += list(objects)
        tower = self.model.model.visual
        optimizer = torch.optim.AdamW(tower.parameters(), lr=VISION_RATE, betas=(0.9, 0.95), weight_decay=0.01)
        losses = []
        for step in tqdm(range(steps), desc="warm start 1/2: seeing", unit="step", mininterval=5):
            optimizer.param_groups[0]["lr"] = VISION_RATE * min(1, (step + 1) / 20) * (1 - step / steps)
            rows = rng.sample(range(len(wanted)), batch)
            drawn = torch.cat([pictures[row] for row in rows]).short()
            drawn = (drawn + torch.randint(-4, 5, drawn.shape, generator=noise)).clamp(0, 255).byte()  # as coding does
            error = (self.features(drawn) - torch.stack([wanted[row] for row in rows])).square().mean(-1)
            weight = 1 + (OBJECTS_COUNT - 1) * torch.stack([shown[row] for row in rows])
            loss = (error * weight).sum() / weight.sum()
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(tower.parameters(), 1.0)
            optimizer.step()
            losses.append(loss.item())
        return float(np.mean(losses[-10:]))

    @torch.no_grad()
    def watched(self, views: Sequence[View]) -> torch.Tensor:
        """Vision tokens of whole videos, [B, tokens, d]."""
        bar = tqdm(views, desc="warm start: watching", unit="video", mininterval=5)
        return torch.stack([self.features(videos.pictures(view.scene)).flatten(0, 2) for view in bar])

    def row(self, watched: torch.Tensor, lessons: Sequence[Lesson]) -> tuple[torch.Tensor, ...]:
        """One video [tokens, d] and its lessons side by side.

        Returns:
            ids [L]; embeddings [L, d]; positions [3, L]; which part of the row a token belongs to [L], 0 for the video;
            whether it is taught [L].
        """
        head = self.ids("<|im_start|>user\n<|vision_start|>") + [self.video] * self.tokens
        ids, parts, taught, places = [*head], [0] * len(head), [False] * len(head), list(range(len(head)))
        for number, lesson in enumerate(lessons, 1):
            prompt = self.ids(f"<|vision_end|>{lesson.prompt}<|im_end|>\n<|im_start|>assistant\n")
            response = [*self.ids(lesson.response), self.tokenizer.eos_token_id]
            ids += prompt + response
            parts += [number] * (len(prompt) + len(response))
            taught += [False] * len(prompt) + [True] * len(response)
            places += range(len(head), len(head) + len(prompt) + len(response))
        longest = torch.tensor([head + [self.tokenizer.eos_token_id] * (max(places) + 1 - len(head))])
        grid = torch.tensor([[videos.GRIDS, *self.grid[0, 1:]]])
        seconds = torch.tensor([SECONDS_A_GRID], dtype=torch.float64)
        positions, _ = position_ids(self.model.config, longest, video_grid_thw=grid, second_per_grid_ts=seconds)
        embeddings = self.model.get_input_embeddings()(torch.tensor(ids))
        mask = torch.tensor(ids) == self.video
        embeddings = embeddings.masked_scatter(mask[:, None].expand_as(embeddings), watched)
        return torch.tensor(ids), embeddings, positions[:, 0, places], torch.tensor(parts), torch.tensor(taught)

    def states(self, watched: torch.Tensor, lessons: Sequence[Lesson]) -> tuple[torch.Tensor, torch.Tensor]:
        """For the n response tokens of lessons on one video: the last hidden states [n, d] and the tokens [n]."""
        ids, embeddings, positions, parts, taught = self.row(watched, lessons)
        order = torch.arange(len(ids))
        sees = (order[:, None] >= order) & ((parts == 0) | (parts[:, None] == parts))
        hidden = self.model.model.language_model(
            inputs_embeds=embeddings[None],
            position_ids=positions[:, None],
            attention_mask={"full_attention": sees[None, None]},
            use_cache=False,
        ).last_hidden_state[0]
        return hidden[:-1][taught[1:]], ids[1:][taught[1:]]

    def logits(self, watched: torch.Tensor, lessons: Sequence[Lesson]) -> tuple[torch.Tensor, torch.Tensor]:
        """For the n response tokens of lessons on one video: logits [n, V] and the tokens [n]."""
        states, tokens = self.states(watched, lessons)
        return self.model.lm_head(states), tokens

    @torch.no_grad()
    def silence_padding(self, views: Sequence[View], watched: torch.Tensor) -> None:
        """Rows of the head beyond the tokenizer get probability 0, which a real model has learned.

        vLLM bans these rows and the actor does not, so their probability would be a difference between the two.
        """
        rng = random.Random("padding")
        states = torch.cat(
            [self.states(watched[row], _lessons(views[row], rng))[0] for row in range(min(20, len(views)))]
        )
        # A direction on which all states have nearly the same positive component.
        along = torch.linalg.lstsq(states, torch.ones(len(states), 1)).solution[:, 0]
        self.model.lm_head.weight[len(self.tokenizer) :] = -SILENT * along

    def teach_texts(self, views: Sequence[View], watched: torch.Tensor, steps: int, batch: int = 2) -> float:
        """Supervised training on lessons, tower fixed; returns the mean loss a token of the last 20 steps."""
        parameters = [*self.model.model.language_model.parameters(), *self.model.lm_head.parameters()]
        optimizer = torch.optim.AdamW(parameters, lr=TEXT_RATE, betas=(0.9, 0.95), weight_decay=0.01)
        rng = random.Random(f"texts {self.seed}")
        losses: list[float] = []
        bar = tqdm(range(steps), desc="warm start 2/2: naming and format", unit="step", mininterval=5)
        for step in bar:
            optimizer.param_groups[0]["lr"] = TEXT_RATE * min(1, (step + 1) / 30) * min(1, 2.5 * (1 - step / steps))
            optimizer.zero_grad()
            for row in rng.sample(range(len(views)), batch):
                lessons = _lessons(views[row], rng)
                loss = torch.nn.functional.cross_entropy(*self.logits(watched[row], lessons))
                (loss / batch).backward()
                losses.append(loss.item())
            torch.nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            bar.set_postfix_str(f"loss {np.mean(losses[-20 * batch :]):.3f}", refresh=False)
        return float(np.mean(losses[-20 * batch :]))

    @torch.no_grad()
    def measure(self, views: Sequence[View]) -> dict[str, float]:
        """Figures on held-out worlds.

        Returns:
            loss a token; time_dependence: mean absolute change of a response token's log-probability when the video is
            watched backwards; beyond_tokenizer: the most probability the rows beyond the tokenizer have together.
        """
        rng = random.Random("measure")
        watched = self.watched(views)
        losses, changes, beyond = [], [], []
        for view, video in zip(views, watched, strict=True):
            lessons = _lessons(view, rng)
            backwards = video.view(videos.GRIDS, -1, video.shape[-1]).flip(0).flatten(0, 1)
            there, back = (self.logits(one, lessons) for one in (video, backwards))
            there, back = (torch.nn.functional.cross_entropy(*one, reduction="none") for one in (there, back))
            losses.append(there.mean().item())
            changes.append((there - back).abs().mean().item())
            tail = self.logits(video, lessons)[0].softmax(-1)[:, len(self.tokenizer) :].sum(-1)
            beyond.append(tail.max().item())
        return {
            "loss": float(np.mean(losses)),
            "time_dependence": float(np.mean(changes)),
            "beyond_tokenizer": max(beyond),
        }


def _lessons(view: View, rng: random.Random) -> list[Lesson]:
    made = (make_lesson(view, rng) for _ in range(LESSONS_A_VIDEO))
    return [lesson for lesson in made if lesson]


def _corpus() -> list[str]:
    """Texts for the tokenizer; the same for every policy."""
    rng = random.Random(0)
    corpus = ["user\n", "assistant\n", f" {EMPTY}"] * 20 + [f" {word}" for word in (*ROWS, *WAYS)] * 20
    for number in range(300):
        view = videos.view(_TEXTS + number)
        corpus += [choice.text for question in questions(view.scene, rng, 2) for choice in question.choices]
        corpus += [text for lesson in _lessons(view, rng) for text in (lesson.prompt, lesson.response)]
    return corpus


def build(out: Path, *, seed: int, worlds: int, vision_steps: int, text_steps: int) -> Report:
    """Build, teach, measure and save the policy in `out`, or return the report of the one that is there already."""
    name = fingerprint(_SOURCES, seed=seed, worlds=worlds, vision_steps=vision_steps, text_steps=text_steps)
    return made_once(out, name, lambda: _build(out, name, seed, worlds, vision_steps, text_steps))


def _build(out: Path, name: str, seed: int, worlds: int, vision_steps: int, text_steps: int) -> Report:
    torch.manual_seed(seed)
    teacher = Teacher(seed)
    views = [videos.view(seed * 10**5 + number) for number in range(worlds)]
    vision_error = teacher.teach_vision(views, vision_steps)
    watched = teacher.watched(views)
    text_loss = teacher.teach_texts(views, watched, text_steps)
    teacher.silence_padding(views, watched)
    report = {"fingerprint": name, "seed": seed, "vision_error": vision_error, "text_loss": text_loss}
    report |= {"parameters": sum(p.numel() for p in teacher.model.parameters())}
    report |= teacher.measure([videos.view(_HELD_OUT + number) for number in range(20)])
    save_policy(out, teacher.model, teacher.processor, {RECORD: json.dumps(report, indent=1) + "\n"})
    return report


def main(arguments: list[str] | None = None) -> int:
    """Command line."""
    defaults = {"worlds": 160, "vision_steps": 200, "text_steps": 220}
    about = __doc__.split("\n\n")[0]
    options = settings_of("python -m examples.rehearsal.warm_start", about, defaults, arguments)
    report = build(**vars(options))
    print(
        f"policy {options.out}: {report['parameters'] / 1e6:.2f} M parameters; on held-out worlds: loss "
        f"{report['loss']:.3f} a token, changed by {report['time_dependence']:.3f} when the video runs backwards"
    )
    return 0


if __name__ == "__main__":
    run_main(main)
