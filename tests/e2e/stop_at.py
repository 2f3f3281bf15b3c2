# SPDX-License-Identifier: Apache-2.0
"""Loaded into every process of a run by VERL_USE_EXTERNAL_MODULES: stand still at one place of step 2 and say so.

STOP_AT names the place, STOP_FILE the file that takes the number of the process that stands there. The test that
waits for the file then kills what it wants to kill, and knows where the run was.
"""

from __future__ import annotations

import functools
import inspect
import os
import time
from pathlib import Path

from recipe.tw_grpo.toolbox.after_import import after_import

_WORKERS = "verl.workers.engine_workers"
# The module, class and method, and the call that stands still: the second one is that of step 2 where a step has one.
PLACES = {
    "rollout": ("verl.workers.rollout.vllm_rollout.vllm_async_server", "vLLMHttpServer", "generate", 10 * 8),
    "log-prob pass": (_WORKERS, "ActorRolloutRefWorker", "compute_log_prob", 2),
    "update": (_WORKERS, "ActorRolloutRefWorker", "update_actor", 2),
    "checkpoint": ("verl.utils.checkpoint.fsdp_checkpoint_manager", "FSDPCheckpointManager", "save_checkpoint", 2),
}


def _stand_still() -> None:
    path = Path(os.environ["STOP_FILE"])
    path.with_suffix(".part").write_text(str(os.getpid()))
    path.with_suffix(".part").rename(path)
    time.sleep(600)


def _stopping(function, call: int, behind: bool):
    calls = 0

    @functools.wraps(function)
    def wrapper(*args, **kwargs):
        nonlocal calls
        calls += 1
        if calls == call and not behind:
            _stand_still()
        result = function(*args, **kwargs)
        if calls == call and behind:
            _stand_still()
        return result

    @functools.wraps(function)
    async def coroutine(*args, **kwargs):
        nonlocal calls
        calls += 1
        if calls == call:
            _stand_still()
        return await function(*args, **kwargs)

    return coroutine if inspect.iscoroutinefunction(function) else wrapper


if place := os.environ.get("STOP_AT"):
    _module, _class, _method, _call = PLACES[place]

    @after_import(_module)
    def _hook(module) -> None:
        owner = getattr(module, _class)
        # A checkpoint whose files are written, and which verl has not noted as complete: half a checkpoint.
        setattr(owner, _method, _stopping(getattr(owner, _method), _call, behind=place == "checkpoint"))
