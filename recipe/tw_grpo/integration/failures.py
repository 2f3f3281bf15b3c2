# SPDX-License-Identifier: Apache-2.0
"""Responses that could not be made: each failure is named once, counted, and never ends a run by itself.

verl's agent loop drops a response whose video, prompt, request or reward raises, and tells nobody which record it was.
`report_failures` makes the worker put a note into TransferQueue; the trainer's `FailureCount` reads the notes of a
step. A prompt without any response is replaced by verl; one that lost some is used at the size it has left.
"""

from __future__ import annotations

import functools
import logging
import os
import re
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping
from types import ModuleType
from typing import Any

from recipe.tw_grpo.integration import names
from recipe.tw_grpo.toolbox.errors import UserError, one_line

_LONGEST_REASON = 300
_TOO_LONG = re.compile(r"Multimodal prompt produced (\d+) tokens")  # verl's own check, agent_loop.py:355
_WINDOW = 50  # prompts over which the share of failures is taken
_FEWEST = 8  # failed prompts below which no share stops a run


def cause_of(error: BaseException) -> BaseException:
    """What a Ray task raised, out of the RayTaskErrors around it."""
    while (cause := getattr(error, "cause", None)) is not None and isinstance(cause, BaseException):
        error = cause
    return error


def root_of(error: BaseException) -> BaseException:
    """The first error of those that were handled by raising another: qwen-vl-utils answers a reader that cannot open a
    video with a second reader, which torchvision no longer has."""
    error = cause_of(error)
    while error.__context__ is not None and not error.__suppress_context__:
        error = cause_of(error.__context__)
    return error


def report_failures(agent_loop: ModuleType) -> None:
    """For verl.experimental.agent_loop.agent_loop: note every failed response, refuse prompts that are too long.

    verl 0.9.1 reads data.truncation in the dataset only: a multimodal prompt above data.max_prompt_length reaches vLLM
    and takes the tokens it has too many from the room of the response (vllm_async_server.py:611).
    """
    run_loop = agent_loop.AgentLoopWorker._run_agent_loop
    build_tokens = agent_loop.AgentLoopBase.ct_build_initial_tokens

    @functools.wraps(run_loop)
    async def _run_agent_loop(self, sampling_params, trajectory, **kwargs):
        try:
            return await run_loop(self, sampling_params, trajectory, **kwargs)
        except Exception as error:
            if "session_id" in kwargs:  # verl's legacy trainer has no TransferQueue
                import transfer_queue as tq

                note = _note(error, trajectory, kwargs)
                await tq.async_kv_put(f"{kwargs['uid']}_{kwargs['session_id']}", partition_id=names.FAILURES, tag=note)
            raise

    @functools.wraps(build_tokens)
    async def ct_build_initial_tokens(self, *args, **kwargs):
        room = self.rollout_config.prompt_length
        try:
            tokens = await build_tokens(self, *args, **kwargs)
            if len(tokens) <= room or self.data_config.get("truncation") != "error":
                return tokens
            count = len(tokens)
        except ValueError as error:
            if (match := _TOO_LONG.match(str(error))) is None:
                raise
            count = int(match[1])
        raise UserError(f"its prompt has {count} tokens, data.max_prompt_length={room}")

    agent_loop.AgentLoopWorker._run_agent_loop = _run_agent_loop
    agent_loop.AgentLoopBase.ct_build_initial_tokens = ct_build_initial_tokens


def shorten_tracebacks(agent_loop_tq: ModuleType) -> None:
    """For verl.trainer.ppo.v1.agent_loop_tq: one traceback for each kind of failure, where verl logs one a response."""
    agent_loop_tq.logger.addFilter(_FirstOfItsKind())


def keep_what_is_left(replay_buffer: ModuleType) -> None:
    """For verl.trainer.ppo.v1.replay_buffer: the asynchronous trainers use a group that lost some responses.

    verl 0.9.1 throws such a group away there (replay_buffer.py:539) and uses it in the synchronous trainer.
    """
    synchronise = replay_buffer.ReplayBufferAsync._sync_metadata_from_transfer_queue

    @functools.wraps(synchronise)
    def _sync_metadata_from_transfer_queue(self):
        synchronise(self)
        for partition, keys in self.partitions.items():
            left = self.failure_keys[partition] & {names.uid_of(key) for key in keys}
            self.failure_keys[partition] -= left
            self.finished_keys[partition] |= left

    replay_buffer.ReplayBufferAsync._sync_metadata_from_transfer_queue = _sync_metadata_from_transfer_queue


class _FirstOfItsKind(logging.Filter):
    """Passes the first log record of an exception of one type from one line of code; none for bad records."""

    def __init__(self) -> None:
        super().__init__()
        self.passed: set[tuple[type, str, int]] = set()

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        if error is None:
            return True
        error = cause_of(error)
        if isinstance(error, UserError):
            return False
        traceback = error.__traceback__
        while traceback is not None and traceback.tb_next is not None:
            traceback = traceback.tb_next
        code = traceback.tb_frame.f_code.co_filename if traceback is not None else ""
        kind = (type(error), code, traceback.tb_lineno if traceback is not None else 0)
        new = kind not in self.passed
        self.passed.add(kind)
        return new


def _note(error: Exception, trajectory: Mapping[str, Any], prompt: Mapping[str, Any]) -> dict[str, Any]:
    """What the trainer is told of a failed response; short texts only, because it travels as a tag."""
    error = root_of(error)
    extra = prompt.get("extra_info")
    extra = extra if isinstance(extra, Mapping) else {}
    paths = list(_paths(prompt.get("raw_prompt") or ()))
    missing = next((path for path in paths if not os.path.exists(path)), None)
    reason = one_line(error) if isinstance(error, UserError) else f"{type(error).__name__}: {one_line(error)}"
    if missing is not None:
        reason = f"no such file: {missing}"
    return {
        "uid": str(prompt["uid"]),
        "validate": bool(trajectory["validate"]),
        "index": str(extra.get("index", prompt.get("index", "?"))),
        "video": paths[0] if paths else "",
        "reason": reason[:_LONGEST_REASON],
    }


def _paths(messages: Iterable[Any]) -> Iterator[str]:
    """Files of the videos and images in chat messages."""
    for message in messages:
        content = message.get("content") if isinstance(message, Mapping) else None
        for part in content if isinstance(content, list) else ():
            for kind in ("video", "image"):
                files = part.get(kind) if isinstance(part, Mapping) else None
                for file in files if isinstance(files, list) else [files]:
                    if isinstance(file, str) and not file.startswith(("http://", "https://", "data:")):
                        yield file.removeprefix("file://")


class FailureCount:
    """Failed responses and prompts of a run, as the trainer sees them.

    Args:
        files: names the data in messages, as `data.train_files` has it.
        responses: rollout.n, how many failed responses make a failed prompt.
        largest_share: of failed prompts among the last fifty; above it the run stops (1: never).
    """

    def __init__(self, files: str, responses: int, largest_share: float) -> None:
        self.files = files
        self.responses = responses
        self.largest_share = largest_share
        self.named: set[str] = set()
        self.of_prompt: Counter[str] = Counter()  # failed responses of prompts that may lose more of them
        self.recent: deque[bool] = deque(maxlen=_WINDOW)  # whether each of the last prompts failed as a whole
        self.prompts_of_step = self.responses_of_step = 0

    def add(self, notes: Iterable[Mapping[str, Any]]) -> list[str]:
        """Count failed responses; one line for every record that had not failed before.

        Raises:
            UserError: too large a share of the prompts failed.
        """
        lines = []
        for note in notes:
            name = f"record {note['index']}" + (f" (video {note['video']})" if note["video"] else "")
            where = "validation" if note["validate"] else self.files
            if f"{where} {name}" not in self.named:
                self.named.add(f"{where} {name}")
                lines.append(f"tw_grpo: {where}: {name} cannot be used: {note['reason']}")
            if note["validate"]:
                continue
            self.responses_of_step += 1
            self.of_prompt[note["uid"]] += 1
            if self.of_prompt[note["uid"]] == self.responses:
                del self.of_prompt[note["uid"]]
                self.prompts_of_step += 1
                self.recent.append(True)
                self._check_share(f"{self.files}: {name}: {note['reason']}")
        return lines

    def used(self, prompts: int) -> None:
        """So many prompts were taken for training."""
        self.recent.extend([False] * prompts)

    def take(self) -> dict[str, float]:
        """The counts since the last call, as metrics."""
        metrics = {
            "tw_grpo/failed_prompts": float(self.prompts_of_step),
            "tw_grpo/failed_responses": float(self.responses_of_step),
        }
        self.prompts_of_step = self.responses_of_step = 0
        return metrics

    def _check_share(self, last: str) -> None:
        failed = sum(self.recent)
        if failed >= _FEWEST and failed > self.largest_share * len(self.recent):
            raise UserError(
                f"{failed} of the last {len(self.recent)} prompts failed, more than +trainer.tw_grpo.max_failed_share="
                f"{self.largest_share:g}; the last one: {last}"
            )
