# SPDX-License-Identifier: Apache-2.0
"""What every run is watched for, whatever its estimator: records that fail, and a sampler that is not the actor.

A mixin for verl's trainers, so that a baseline is trained under the same conditions as TW-GRPO. The decisions are in
failures.py and agreement.py; the settings are `config.GuardConfig`.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import transfer_queue as tq
from transfer_queue import KVBatchMeta

from recipe.tw_grpo.config import GuardConfig
from recipe.tw_grpo.integration import agreement, names
from recipe.tw_grpo.integration.checkpoints import note_best, prune
from recipe.tw_grpo.integration.failures import FailureCount
from recipe.tw_grpo.toolbox.errors import UserError


class GuardMixin:
    """To be put before a PPOTrainer in the bases."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.guard = GuardConfig.from_mapping(config.trainer.get("tw_grpo"))
        files = config.data.train_files
        self._failures = FailureCount(
            files if isinstance(files, str) else ", ".join(map(str, files)),
            config.actor_rollout_ref.rollout.n,
            self.guard.max_failed_share,
        )
        self._steps_compared = 0

    def step(self, metrics: dict, timing_raw: dict) -> KVBatchMeta:
        """As verl's; the step's failed responses and prompts are among its metrics."""
        batch = super().step(metrics, timing_raw)
        metrics.update(self._failures.take())
        return batch

    def on_sample_end(self) -> None:
        super().on_sample_end()
        self._collect_failures()
        self._failures.used(self.config.data.train_batch_size // self.parameter_sync_step)

    def _add_prompts_to_generate(self, num_prompts: int) -> int:
        """verl asks for further prompts in place of failed ones; when all fail this is the only place that sees it."""
        self._collect_failures()
        return super()._add_prompts_to_generate(num_prompts)

    def _validate(self) -> dict[str, float]:
        """As verl's; then a saved checkpoint that validated best is noted, and those nobody needs go."""
        metrics = super()._validate()
        self._collect_failures()
        if self.guard.keep_newest:
            folder = Path(self.config.trainer.default_local_dir)
            note_best(folder, self.global_steps, metrics, self.guard.best_metric)
            prune(folder, self.guard.keep_newest)
        return metrics

    def _collect_failures(self) -> None:
        notes = (tq.kv_list(partition_id=names.FAILURES) or {}).get(names.FAILURES) or {}
        if notes:
            tq.kv_clear(keys=list(notes), partition_id=names.FAILURES)
            for line in self._failures.add(notes.values()):
                print(line, file=sys.stderr, flush=True)

    def _compute_old_log_prob(self, batch: KVBatchMeta, metrics: dict) -> KVBatchMeta:
        """As verl's, then the comparison of sampler and actor.

        Synchronous trainers compare every step. The others answer with older policies from the second step on.
        """
        batch = super()._compute_old_log_prob(batch, metrics)
        first, self._steps_compared = self._steps_compared == 0, self._steps_compared + 1
        reason = agreement.incomparable(self.config)
        if reason is not None:
            if first:
                print(f"tw_grpo: sampler and actor are not compared: {reason}", file=sys.stderr, flush=True)
        elif agreement.METRIC in metrics and (first or self.trainer_mode == "sync"):
            line = agreement.disagreement(self.config, self.global_steps, metrics[agreement.METRIC])
            if line is not None and self.guard.on_disagreement == "stop":
                raise UserError(line)
            if line is not None and first:
                print(f"tw_grpo: warning: {line}", file=sys.stderr, flush=True)
        return batch
