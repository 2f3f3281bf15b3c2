# SPDX-License-Identifier: Apache-2.0
"""The pieces of the CPU rehearsal: its videos, its list of replaced settings, its judgement of a run's files."""

import json

import numpy as np
import pytest

pytest.importorskip("transformers")

import torch  # noqa: E402
from safetensors.torch import save_file  # noqa: E402

from examples.rehearsal import checks, videos  # noqa: E402
from examples.rehearsal.differences import differences, read_args, table  # noqa: E402
from examples.tiny import policy  # noqa: E402
from examples.tiny.initialisation import give_attention_patterns  # noqa: E402
from examples.tiny.lessons import WAYS  # noqa: E402
from examples.tiny.physics import slower  # noqa: E402
from examples.tiny.render import render_frames  # noqa: E402
from examples.tiny.world import make_scene, simulate  # noqa: E402
from recipe.tw_grpo.toolbox.errors import UserError  # noqa: E402


def test_slower_motion_passes_the_same_places():
    scene = make_scene(5, 2)
    slow = simulate(slower(scene, 8, 25))
    assert slow.positions.shape[0] == 128
    assert np.allclose(slow.positions[::8], simulate(scene).positions)


def test_a_larger_picture_shows_the_same_scene():
    scene = make_scene(3, 2, height=112, width=168)
    small, large = render_frames(scene, frames=[4]), render_frames(scene, frames=[4], scale=2.0)
    assert large.shape == (1, 224, 336, 3)
    halved = large.reshape(112, 2, 168, 2, 3).mean(axis=(1, 3))
    assert np.abs(halved - small[0]).mean() < 1.5  # grey levels; edges differ by less than a pixel


def test_videos_have_clevrer_s_form_and_the_script_s_number_of_tokens():
    scene = videos.world(1)
    assert (scene.frames, scene.fps) == (128, 25)
    assert render_frames(scene, frames=[0], scale=videos.SCALE).shape[1:3] == (320, 480)
    assert videos.tokens_of_a_grid() == (9, 13)
    assert videos.sampled_frames()[:3] == [0, 8, 17] and videos.sampled_frames()[-1] == 127


def test_every_visible_object_is_at_a_token_and_says_which_way_it_moves():
    view = videos.view(4)
    seen = videos.seen(view.scene)
    assert seen.body.shape == (8, 9, 13)
    assert set(range(len(view.names))) <= set(seen.body[0].flatten().tolist())
    for body, name in enumerate(view.names):
        rows = seen.lane[np.argwhere(seen.body[0] == body)[:, 0]]
        assert view.scene.bodies[body].lane in rows
        if way := int(seen.way[0, body]):
            assert view.ways[name] == WAYS[way > 0]


def test_heads_that_share_keys_and_padded_rows():
    tokenizer = policy.build_tokenizer(["The red disc and the blue square collide user\n"] * 9)
    size = policy.PolicySize(
        num_layers=2, num_key_value_heads=2, vision_depth=4, full_attention_blocks=(1, 3), vocabulary_multiple=128
    )
    model = policy.build_model(tokenizer, size=size)
    give_attention_patterns(model, seed=0)
    rows = model.lm_head.weight.shape[0]
    assert rows % 128 == 0 and 0 < rows - len(tokenizer) <= 128
    assert model.config.vision_config.fullatt_block_indexes == [1, 3]
    hidden = torch.randn(1, 6, 128)
    query = model.model.language_model.layers[1].self_attn.q_proj(hidden).view(1, 6, 4, 32)
    key = model.model.language_model.layers[1].self_attn.k_proj(hidden).view(1, 6, 2, 32)
    for head in range(4):  # every head starts by looking for what it is itself
        assert (query[..., head, :] * key[..., head // 2, :]).sum(-1).gt(0).all()


def test_padding_always_adds_rows():
    assert policy.padded_vocabulary(485, 1) == 485
    assert policy.padded_vocabulary(485, 128) == policy.padded_vocabulary(384, 128) == 512


# --- what is replaced -----------------------------------------------------------------------------------------------


def test_a_reason_is_the_comment_above(tmp_path):
    file = tmp_path / "some.args"
    file.write_text("# head\n\n# Because\n# of this.\n+a.b=1\nc=2\n# Another.\nd=3\n")
    assert read_args(file) == {"+a.b=1": "Because of this.", "c=2": "Because of this.", "d=3": "Another."}


def test_an_override_without_a_reason_is_refused(tmp_path):
    file = tmp_path / "some.args"
    file.write_text("# head\n\na=1\n")
    with pytest.raises(UserError, match=r"some.args:3: a=1 has no comment"):
        read_args(file)


def test_only_what_differs_is_listed_with_its_reason():
    found = differences(["a=1", "b=2", "c=x"], ["a=1", "b=2", "c=x", "b=3", "+d=4", "a=1"], {"b=3": "B.", "+d=4": "D."})
    assert [(one.key, one.before, one.after, one.reason) for one in found] == [
        ("b", "2", "3", "B."),
        ("d", None, "4", "D."),
    ]
    assert table(found) == ["  B.", "      b: 2 -> 3", "  D.", "      d: (not set) -> 4"]


# --- the judgement --------------------------------------------------------------------------------------------------

GOOD = {
    "training/rollout_probs_diff_mean": 2e-7,
    "training/rollout_probs_diff_max": 1e-6,
    "rollout_corr/kl": -3e-8,
    "actor/grad_norm": 0.4,
    "val-core/toy/acc/mean@1": 0.5,
}
VIDEO, STOP = 7, 2


@pytest.fixture
def run(tmp_path):
    """A rehearsal of one step of grpo, in which everything holds; and its metrics file."""
    model, after = tmp_path / "policy", tmp_path / "run/checkpoints/global_step_1/actor/huggingface"
    weights = {
        "model.visual.a": torch.zeros(2),
        "model.language_model.b": torch.zeros(2),
        "lm_head.weight": torch.ones(2),
    }
    for folder, moved in ((model, 0), (after, 1e-6)):
        folder.mkdir(parents=True)
        tensors = {name: tensor + moved * ("visual" not in name) for name, tensor in weights.items()}
        save_file(tensors, folder / "model.safetensors")
    (model / "config.json").write_text(json.dumps({"model_type": "qwen2_5_vl", "video_token_id": VIDEO}))
    (model / "generation_config.json").write_text(json.dumps({"eos_token_id": [STOP, 3]}))
    rows = [
        {
            "uid": f"{prompt}_{n}_0",
            "score": float(n % 2),
            "prompt_ids": [1] + [VIDEO] * 936,
            "response_ids": [9, STOP],
        }
        for prompt in "ab"
        for n in range(8)
    ]
    made = checks.Run(tmp_path / "run", model, tmp_path / "train.parquet", "grpo", "fp32")
    write(made, rows, GOOD)
    return made, rows


def write(run, rows, metrics):
    (run.out / "rollouts").mkdir(exist_ok=True)
    (run.out / "rollouts/1.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (run.out / "metrics.jsonl").write_text(json.dumps({"step": 1, "data": metrics}) + "\n")


def failing(run, first=0):
    return [verdict.what for verdict in run.verdicts(run.out / "metrics.jsonl", first, first + 1) if not verdict.holds]


def test_a_good_run_passes_every_check(run):
    assert failing(run[0]) == []


@pytest.mark.parametrize(
    ("metric", "value", "what"),
    [
        ("training/rollout_probs_diff_mean", 2e-5, "sampler and actor agree"),
        ("rollout_corr/kl", 0.69, "sampler and actor agree"),
        ("rollout_corr/kl", -0.69, "sampler and actor agree"),
        ("rollout_corr/kl", float("nan"), "sampler and actor agree"),
        ("actor/grad_norm", 0.0, "a gradient"),
        ("actor/grad_norm", float("nan"), "a gradient"),
    ],
)
def test_a_bad_metric_fails_its_check(run, metric, value, what):
    write(*run, GOOD | {metric: value})
    assert failing(run[0]) == [f"step 1: {what}"]


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"score": 0.5}, "a live group"),
        ({"response_ids": [STOP, 9]}, "responses end by themselves"),
        ({"prompt_ids": [VIDEO] * 117}, "sixteen frames"),
    ],
)
def test_bad_responses_fail_their_check(run, change, what):
    made, rows = run
    write(made, [row | change for row in rows], GOOD)
    assert failing(made) == [f"step 1: {what}"]


def test_a_frozen_tensor_that_moves_and_a_trained_one_that_does_not_are_seen(run):
    made, _ = run
    for name, what in (("model.visual.a", "frozen parameters do not"), ("lm_head.weight", "trained parameters change")):
        file = made.policy(1) / "model.safetensors"
        kept = file.read_bytes()
        tensors = {key: tensor.clone() for key, tensor in checks._weights(made.policy(1)).items()}
        tensors[name] = torch.full((2,), 5.0) if "visual" in name else torch.ones(2)
        save_file(tensors, file)
        assert failing(made) == [f"step 1: {what}"]
        file.write_bytes(kept)


def test_a_run_that_starts_again_instead_of_resuming_is_seen(run):
    assert "it goes on after step 1" in failing(run[0], first=1)


def test_a_missing_validation_is_seen(run):
    write(*run, {name: value for name, value in GOOD.items() if not name.startswith("val-core")})
    assert failing(run[0]) == ["step 1: validation"]
