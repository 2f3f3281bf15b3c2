# SPDX-License-Identifier: Apache-2.0
"""verl's single-turn agent loop with a sampling seed for each response, so that a run can be repeated.

vLLM draws the tokens of all requests in flight from one random stream, in the order in which they happen to arrive.
A seed per request makes a response depend on the run's seed, the step, the prompt and its number in the group only.
(verl's own `rollout.full_determinism` gives every request the same seed, so that all responses of a group are equal,
and needs GPU kernels.) Registered by seeded_agent.yaml; select it with `rollout.agent.default_agent_loop=seeded_agent`.
"""

from __future__ import annotations

from typing import Any

from verl.experimental.agent_loop.agent_loop import AgentLoopOutput
from verl.experimental.agent_loop.single_turn_agent_loop import SingleTurnAgentLoop

from examples.tiny.seeds import response_seed


class SeededAgentLoop(SingleTurnAgentLoop):
    """As verl's; the seed of the run is `actor_rollout_ref.rollout.seed`."""

    async def run(self, sampling_params: dict[str, Any], priority: int = 0, **kwargs: Any) -> AgentLoopOutput:
        seed = response_seed(
            int(self.rollout_config.seed),
            int(kwargs["global_steps"]),
            int(kwargs["index"]),
            int(kwargs["session_id"]),
        )
        return await super().run(sampling_params | {"seed": seed}, priority, **kwargs)
