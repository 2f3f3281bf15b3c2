# SPDX-License-Identifier: Apache-2.0
"""Compose a verl training configuration and validate it the way `verl.trainer.main_ppo` does, then print it and stop.

`python -m recipe.tw_grpo.dry_run OVERRIDES…` takes the same overrides, starts no Ray, loads no model and needs no GPU.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from omegaconf import DictConfig


def compose(overrides: Sequence[str]) -> DictConfig:
    """verl's configuration for these overrides, not checked.

    Raises:
        HydraException, OmegaConfBaseException: as Hydra refuses it.
    """
    import torch

    if torch.version.cuda is None:  # a machine made by examples/setup_cpu.sh; verl cannot be imported there otherwise
        os.environ.setdefault("VERL_PLATFORM", "cpu")
    from hydra import compose, initialize_config_module

    with initialize_config_module("verl.trainer.config", version_base=None):
        return compose("ppo_trainer", overrides=[word for word in overrides if not word.startswith("hydra.")])


def compose_checked(overrides: Sequence[str]) -> DictConfig:
    """verl's configuration for these overrides, accepted by verl's own check and by this plugin's.

    Raises:
        HydraException, OmegaConfBaseException, ValueError, AssertionError: as verl and the plugin refuse it.
    """
    config = compose(overrides)
    from verl.trainer.ppo.utils import need_critic, need_reference_policy
    from verl.utils.config import validate_config  # with the plugin's check in front, see plugin.py

    validate_config(config=config, use_reference_policy=need_reference_policy(config), use_critic=need_critic(config))
    return config


def main(overrides: list[str] | None = None) -> None:
    """Print the resolved configuration as YAML; exit code 2 with one line when verl or this plugin refuses it."""
    overrides = sys.argv[1:] if overrides is None else overrides
    from hydra.errors import HydraException
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    from recipe.tw_grpo.toolbox.errors import stop

    try:
        config = compose_checked(overrides)
        print(OmegaConf.to_yaml(config, resolve=True))
    except (HydraException, OmegaConfBaseException, ValueError, AssertionError) as error:
        stop(error)
