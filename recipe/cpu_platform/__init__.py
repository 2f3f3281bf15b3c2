# SPDX-License-Identifier: Apache-2.0
"""verl on a CPU, from outside verl: everything here does nothing unless the environment says `VERL_PLATFORM=cpu`.

plugin.py is verl's entry point and vllm_plugin.py vLLM's; patches.py lists what stock verl and vLLM lack, each item
with the line that makes it necessary. env.sh and overrides.args hold what a training run on CPU needs, packed.args
(with torch_flash.py) or padded.args how its model attends; separate_async.args and gloo_checkpoint_engine.py what
rollout workers in processes of their own need besides.
"""
