# SPDX-License-Identifier: Apache-2.0
"""The settings: defaults of the paper, and one line that names the setting for everything that cannot work."""

import dataclasses
import math
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recipe.tw_grpo.config import CHOICES, RewardConfig, TWGRPOConfig
from recipe.tw_grpo.toolbox.errors import UserError

ROOT = Path(__file__).resolve().parents[2]


def test_defaults_are_the_papers():
    config = TWGRPOConfig()
    assert (config.alpha, config.positions, config.divergence) == (0.7, "all", "kl")
    assert (config.weight_form, config.loss_normalization) == ("offset", "prompt")
    reward = RewardConfig()
    assert (reward.accuracy, reward.accuracy_weight, reward.format_weight) == ("soft", 1.0, 1.0)


@pytest.mark.parametrize("cls", [TWGRPOConfig, RewardConfig])
def test_nothing_set_means_the_defaults(cls):
    assert cls.from_mapping(None) == cls.from_mapping({}) == cls()


@pytest.mark.parametrize("cls", [TWGRPOConfig, RewardConfig])
def test_every_choice_is_accepted_and_kept(cls):
    for field in dataclasses.fields(cls):
        for value in CHOICES.get(field.name, ()):
            assert getattr(cls.from_mapping({field.name: value}), field.name) == value
        assert field.name not in CHOICES or field.default in CHOICES[field.name]


def test_every_setting_is_documented():
    for cls in (TWGRPOConfig, RewardConfig):
        for field in dataclasses.fields(cls):
            assert f"\n        {field.name}: " in cls.__doc__


def test_integers_become_floats():
    alpha = TWGRPOConfig.from_mapping({"alpha": 1}).alpha
    assert isinstance(alpha, float) and alpha == 1.0


@pytest.mark.parametrize(
    "settings, named",
    [
        ({"alpha": -0.1}, ["algorithm.tw_grpo.alpha=-0.1", "0 or larger"]),
        ({"alpha": math.nan}, ["algorithm.tw_grpo.alpha=nan", "finite"]),
        ({"alpha": math.inf}, ["algorithm.tw_grpo.alpha=inf", "finite"]),
        ({"alpha": "big"}, ["algorithm.tw_grpo.alpha='big'", "number"]),
        ({"alpha": None}, ["algorithm.tw_grpo.alpha=None", "number"]),
        ({"alpha": True}, ["algorithm.tw_grpo.alpha=True", "number"]),
        ({"alpha": [0.7]}, ["algorithm.tw_grpo.alpha=[0.7]", "number"]),
        ({"epsilon": 0}, ["algorithm.tw_grpo.epsilon=0", "larger than 0"]),
        ({"epsilon": -1e-6}, ["algorithm.tw_grpo.epsilon=-1e-06"]),
        ({"positions": "All"}, ["algorithm.tw_grpo.positions='All'", "none, padding, content, all"]),
        ({"positions": None}, ["algorithm.tw_grpo.positions=None"]),
        ({"positions": ["all"]}, ["algorithm.tw_grpo.positions=['all']"]),
        ({"divergence": "js"}, ["algorithm.tw_grpo.divergence='js'", "kl, logspace_k3"]),
        ({"weight_form": 1}, ["algorithm.tw_grpo.weight_form=1", "offset, literal"]),
        ({"loss_normalization": "token-mean"}, ["algorithm.tw_grpo.loss_normalization", "prompt, batch"]),
        ({"alfa": 1}, ["algorithm.tw_grpo.alfa", "did you mean alpha?"]),
        ({"weightform": "offset"}, ["did you mean weight_form?"]),
        ({"max_weight": 1.7}, ["algorithm.tw_grpo.max_weight", "1 + alpha", "alpha=0.7"]),
        ({"beta": 0.04}, ["actor_rollout_ref.actor.use_kl_loss"]),
        ({"num_generations": 8}, ["actor_rollout_ref.rollout.n"]),
        ({"zzz": 1}, ["known are alpha, positions"]),
        ({7: 1}, ["algorithm.tw_grpo.7"]),
        (0.7, ["algorithm.tw_grpo=0.7", "NAME=VALUE"]),
        (["alpha"], ["algorithm.tw_grpo=['alpha']"]),
    ],
)
def test_impossible_settings_are_named(settings, named):
    with pytest.raises(UserError) as caught:
        TWGRPOConfig.from_mapping(settings)
    assert all(part in str(caught.value) for part in named), str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "settings, named",
    [
        ({"accuracy": "hard"}, ["reward.reward_kwargs.accuracy='hard'", "soft, fixed"]),
        ({"rule": "lenient"}, ["reward.reward_kwargs.rule='lenient'", "tolerant, strict"]),
        ({"format_weight": "1"}, ["reward.reward_kwargs.format_weight='1'"]),
        ({"accuracy_weight": math.nan}, ["reward.reward_kwargs.accuracy_weight=nan"]),
        ({"format_wieght": 1}, ["did you mean format_weight?"]),
    ],
)
def test_impossible_reward_settings_are_named(settings, named):
    with pytest.raises(UserError) as caught:
        RewardConfig.from_mapping(settings)
    assert all(part in str(caught.value) for part in named), str(caught.value)


anything = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8), st.lists(st.integers()))


@given(st.dictionaries(st.one_of(st.sampled_from(["alpha", "positions", "epsilon"]), st.text(max_size=8)), anything))
def test_any_mapping_is_a_configuration_or_a_user_error(settings):
    try:
        config = TWGRPOConfig.from_mapping(settings)
    except UserError:
        return
    assert config.alpha >= 0 and config.epsilon > 0 and config.positions in CHOICES["positions"]


def test_settings_cannot_be_changed_later():
    with pytest.raises(dataclasses.FrozenInstanceError):
        TWGRPOConfig().alpha = 1.0


def test_stop_prints_one_line_and_exits_with_2():
    program = "from recipe.tw_grpo.toolbox.errors import UserError, stop; stop(UserError('a\\n  b'))"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", "tw_grpo: error: a b\n")


def documented(heading):
    """name -> (default, values) of the table in docs/settings.md after a heading."""
    text = (ROOT / "docs/settings.md").read_text()
    table = text[text.index(heading) :].split("\n\n")[1]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[2:]]
    return {row[0].strip("`"): (row[1], row[2]) for row in rows}


@pytest.mark.parametrize(
    "config, heading",
    [(TWGRPOConfig, "Under `algorithm.tw_grpo`"), (RewardConfig, "Under `reward.reward_kwargs`")],
)
def test_the_documented_settings_are_those_of_the_code(config, heading):
    found = documented(heading)
    fields = {field.name: field.default for field in dataclasses.fields(config)}
    assert list(found) == list(fields)
    for name, default in fields.items():
        shown, values = found[name]
        assert shown == str(default)
        if name in CHOICES:
            assert tuple(values.split(", ")) == CHOICES[name]
