# SPDX-License-Identifier: Apache-2.0
"""verl's trainers with token weights: groups stay on one rank, D_t comes back from the log-probability pass, w_t goes
into the advantages (placement `outside`: w min(r A, clip(r) A) is verl's own loss on w A) or beside them to the policy
loss `tw_grpo` (`inside`), and metrics and dumps say so.

With any other estimator every method is verl's.
"""

from __future__ import annotations

from typing import Any

import torch
import transfer_queue as tq
from tensordict import TensorDict
from transfer_queue import KVBatchMeta
from verl.trainer.ppo.padding_utils import upsample_batch_to_divisible_size
from verl.trainer.ppo.v1.trainer_base import PPOTrainer
from verl.utils import tensordict_utils as tu
from verl.utils.seqlen_balancing import calculate_workload, log_seqlen_unbalance

from recipe.tw_grpo.groups import rows_by_group
from recipe.tw_grpo.integration import names, repairs
from recipe.tw_grpo.integration.balancing import pack_groups, rows_per_rank
from recipe.tw_grpo.integration.guard import GuardMixin
from recipe.tw_grpo.integration.validation import settings_of
from recipe.tw_grpo.metrics import advantage_metrics, answer_metrics, group_metrics, weight_metrics
from recipe.tw_grpo.token_weights import weigh_groups


def with_token_weights(trainer: type[PPOTrainer]) -> type[PPOTrainer]:
    """Subclass of one of verl's trainers that behaves like its parent unless `adv_estimator` is tw_grpo."""
    guard = (GuardMixin,) if repairs.guarded() else ()
    bases = (TokenWeightsMixin, *guard, trainer)
    return type(f"TWGRPO{trainer.__name__}", bases, {"__doc__": TokenWeightsMixin.__doc__})


class TokenWeightsMixin:
    """The steps of a verl trainer that TW-GRPO adds to; to be put before a PPOTrainer in the bases."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.tw_grpo = settings_of(config)
        self._left_out: frozenset[str] = frozenset()  # prompts of this step without D_t
        self._dump_columns: dict[str, dict[str, Any]] = {}

    def _balance_batch(self, batch: KVBatchMeta, metrics: dict, logging_prefix: str = "global_seqlen", **kwargs: Any):
        """As verl's, but a prompt's responses stay on one data-parallel rank."""
        if self.tw_grpo is None:
            return super()._balance_batch(batch, metrics, logging_prefix=logging_prefix, **kwargs)
        ranks = self._data_parallel_size()
        if ranks == 1:
            return super()._balance_batch(batch, metrics, logging_prefix=logging_prefix, **kwargs)
        multiple = self._get_required_batch_multiple(ranks)
        groups = rows_by_group([names.uid_of(key) for key in batch.keys])
        cost = calculate_workload(torch.tensor([tag["seq_len"] for tag in batch.tags])).tolist()
        sizes = [len(rows) for rows in groups.values()]
        workloads = [sum(cost[row] for row in rows) for rows in groups.values()]
        rows_each = rows_per_rank(sizes, workloads, ranks, multiple)
        packed = pack_groups(sizes, workloads, ranks, rows_each)
        real = len(batch)
        batch = upsample_batch_to_divisible_size(batch, rows_each * ranks, self.tokenizer.eos_token_id)
        members = list(groups.values())
        placeholders = iter(range(real, len(batch)))
        partitions = []
        for rank_groups in packed:
            rows = [row for group in sorted(rank_groups) for row in members[group]]
            partitions.append(rows + [next(placeholders) for _ in range(rows_each - len(rows))])
        lengths = [tag["seq_len"] for tag in batch.tags]
        metrics.update(log_seqlen_unbalance(seqlen_list=lengths, partitions=partitions, prefix=logging_prefix))
        batch.reorder([row for rows in partitions for row in rows])
        return batch

    def _data_parallel_size(self) -> int:
        mapping = self.actor_rollout_wg._dispatch_info.get("actor")
        if mapping is None:
            mapping = self.actor_rollout_wg._dispatch_info["actor"] = self.actor_rollout_wg._query_dispatch_info(
                "actor"
            )
        return max(mapping) + 1

    def _compute_old_log_prob(self, batch: KVBatchMeta, metrics: dict) -> KVBatchMeta:
        """As verl's, with a request to the engine for D_t, which it leaves in the field TOKEN_DIVERGENCE."""
        if self.tw_grpo is None:
            return super()._compute_old_log_prob(batch, metrics)
        self._left_out = _dead_prompts(batch) if self.tw_grpo.skip_dead_groups else frozenset()
        batch.extra_info[names.DIVERGENCE_REQUEST] = names.DivergenceRequest(
            self.tw_grpo.divergence, self._left_out, self.tw_grpo.offload_states
        )
        result = super()._compute_old_log_prob(batch, metrics)
        for meta in (batch, result):
            meta.extra_info.pop(names.DIVERGENCE_REQUEST, None)
        return result

    def _compute_advantage(self, batch: KVBatchMeta, metrics: dict) -> KVBatchMeta:
        """As verl's, then w_t: multiplied into the advantages, or as a field of its own for the loss."""
        batch = super()._compute_advantage(batch, metrics)
        if self.tw_grpo is None:
            return batch
        fields = ["advantages", names.TOKEN_DIVERGENCE, "rm_scores", "extra_fields"]
        data = tq.kv_batch_get(keys=batch.keys, partition_id=batch.partition_id, select_fields=fields)
        groups = _groups(batch)
        weighed = {uid: rows for uid, rows in groups.items() if uid not in self._left_out}
        divergence = list(data[names.TOKEN_DIVERGENCE].unbind())
        weights, not_finite = weigh_groups(weighed, divergence, self.tw_grpo)
        advantages, packed = data["advantages"], torch.cat(weights)
        metrics["tw_grpo/groups_not_finite"] = float(not_finite)
        metrics["tw_grpo/groups_left_out"] = float(len(groups) - len(weighed))
        metrics.update(weight_metrics(weighed, divergence, weights))
        metrics.update(group_metrics(groups, torch.stack([row.sum() for row in data["rm_scores"].unbind()])))
        metrics.update(advantage_metrics(advantages.values(), packed))
        if "extra_fields" in data.keys():
            reports = [extra.get("reward_extra_info", {}) for extra in tu.get(data, "extra_fields")]
            metrics.update(answer_metrics(groups, reports))
        output = {names.TOKEN_WEIGHTS: torch.nested.as_nested_tensor(weights, layout=torch.jagged)}
        if self.tw_grpo.weight_placement == "outside":
            weighted = advantages.values() * packed.to(advantages.dtype)
            output["advantages"] = torch.nested.nested_tensor_from_jagged(weighted, advantages.offsets())
        else:  # the one further tensor verl gives a policy loss, see inside_loss.py
            output[names.LOSS_WEIGHTS] = output[names.TOKEN_WEIGHTS].clone()
        return tq.kv_batch_put(
            keys=batch.keys, partition_id=batch.partition_id, fields=TensorDict(output, batch_size=len(batch))
        )

    def _update_actor(self, batch: KVBatchMeta, metrics: dict) -> KVBatchMeta:
        """As verl's; the engine is told how to normalise each mini-batch."""
        if self.tw_grpo is None:
            return super()._update_actor(batch, metrics)
        batch.extra_info[names.NORMALIZATION_REQUEST] = self.tw_grpo.loss_normalization
        try:
            return super()._update_actor(batch, metrics)
        finally:
            batch.extra_info.pop(names.NORMALIZATION_REQUEST, None)

    def _log_rollout_data(self, batch: KVBatchMeta, timing_raw: dict, rollout_data_dir: str) -> None:
        """As verl's; each line also has what is needed to recompute its token weights."""
        if self.tw_grpo is not None:
            self._dump_columns = _dump_columns(batch, self._left_out)
        super()._log_rollout_data(batch, timing_raw, rollout_data_dir)
        self._dump_columns = {}

    def _dump_generations(self, *args: Any, reward_extra_infos_dict: dict[str, list], **kwargs: Any) -> None:
        rows = [self._dump_columns.get(key) for key in reward_extra_infos_dict.get("uid", [])]
        if rows and all(row is not None for row in rows):
            reward_extra_infos_dict = reward_extra_infos_dict | {
                column: [row[column] for row in rows] for column in rows[0]
            }
        super()._dump_generations(*args, reward_extra_infos_dict=reward_extra_infos_dict, **kwargs)


def _groups(batch: KVBatchMeta) -> dict[str, list[int]]:
    """Rows of each prompt; verl's placeholders are in none."""
    real = [not tag.get("is_padding", False) for tag in batch.tags]
    return rows_by_group([names.uid_of(key) for key in batch.keys], real)


def _dead_prompts(batch: KVBatchMeta) -> frozenset[str]:
    """uids of the prompts whose responses all have the same reward."""
    data = tq.kv_batch_get(keys=batch.keys, partition_id=batch.partition_id, select_fields=["rm_scores"])
    rewards = [row.sum().item() for row in data["rm_scores"].unbind()]
    return frozenset(uid for uid, rows in _groups(batch).items() if len({rewards[row] for row in rows}) == 1)


def _dump_columns(batch: KVBatchMeta, left_out: frozenset[str]) -> dict[str, dict[str, Any]]:
    """Columns of the rollout dump, by TransferQueue key; D_t is an empty list where it was left out."""
    fields = {
        "prompt_ids": "prompts",
        "response_ids": "responses",
        names.TOKEN_WEIGHTS: names.TOKEN_WEIGHTS,
        names.TOKEN_DIVERGENCE: names.TOKEN_DIVERGENCE,
    }
    data = tq.kv_batch_get(
        keys=batch.keys, partition_id=batch.partition_id, select_fields=[*fields.values(), "index", "extra_fields"]
    )
    columns = {column: [row.tolist() for row in data[field].unbind()] for column, field in fields.items()}
    for row, key in enumerate(batch.keys):
        if names.uid_of(key) in left_out:
            columns[names.TOKEN_DIVERGENCE][row] = []
    if "index" in data.keys():
        columns["index"] = list(tu.get(data, "index"))
    if "extra_fields" in data.keys():
        columns["reward"] = [extra.get("reward_extra_info", {}) for extra in tu.get(data, "extra_fields")]
    return {key: {name: values[row] for name, values in columns.items()} for row, key in enumerate(batch.keys)}
