# SPDX-License-Identifier: Apache-2.0
"""Stored frames (--frames-dir) through verl's own dataset and the processor: the model's inputs do not change.

The same questions are prepared twice, as videos and as listed frames; what verl's RLHFDataset and Qwen2.5-VL's
processor make of them is compared bit by bit. Also: inspect counts as many tokens as they do.
"""

import json
import os

os.environ.setdefault("FORCE_QWENVL_VIDEO_READER", "decord")

import numpy as np
import pytest
import torch

pytest.importorskip("verl")

from omegaconf import OmegaConf  # noqa: E402

from data_prep import clevrer_counterfactual  # noqa: E402
from data_prep.check import __main__ as check  # noqa: E402
from data_prep.check.records import prompt_counter  # noqa: E402
from data_prep.videos import frames  # noqa: E402
from examples.tiny.render import write_mp4  # noqa: E402


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("place")
    rng = np.random.default_rng(0)
    scenes = []
    for index, (count, height, width) in enumerate([(24, 120, 200), (11, 96, 64)]):
        base = rng.integers(0, 255, (6, 8, 3))
        pictures = [np.kron(np.roll(base, t, 1), np.ones((height // 6 + 1, width // 8 + 1, 1))) for t in range(count)]
        pictures = np.stack(pictures)[:, :height, :width].astype(np.uint8)
        write_mp4(pictures, folder / f"video_{index:05d}.mp4", 8)
        choices = [{"choice_id": i, "choice": f"the ball hits wall {i}", "answer": "correct"} for i in range(3)]
        question = {"question_id": 0, "question": "What will happen?", "question_type": "counterfactual"}
        question["choices"] = choices
        scenes.append({"scene_index": index, "video_filename": f"video_{index:05d}.mp4", "questions": [question]})
    (folder / "train.json").write_text(json.dumps(scenes))
    return folder


@pytest.fixture(scope="module")
def model(place):
    from examples.tiny.policy import build_processor, build_tokenizer

    text = (place / "train.json").read_text()
    tokenizer = build_tokenizer([text, "Output the thinking process user assistant"])
    processor = build_processor(tokenizer, max_pixels=256 * 784)
    processor.save_pretrained(place / "model")
    return place / "model", processor


def prepare(place, name, *extra):
    output = place / f"{name}.parquet"
    arguments = ["--annotations", str(place / "train.json"), "--video-root", str(place), "--output", str(output)]
    clevrer_counterfactual.main([*arguments, *extra])
    return output


def inputs(path, place, processor):
    """Per record: videos as verl's dataset class reads them, and the processor's inputs for the model."""
    from verl.utils.dataset.rl_dataset import RLHFDataset
    from verl.utils.tokenizer.tokenizer import build_multimodal_processor_inputs

    config = OmegaConf.create(
        {"cache_dir": str(place / "cache"), "filter_overlong_prompts": True, "max_prompt_length": 4096,
         "filter_overlong_prompts_workers": None}
    )  # fmt: skip
    dataset = RLHFDataset(str(path), processor.tokenizer, config, processor)
    assert len(dataset) == 2  # verl leaves a row out, and goes on, when anything fails while it measures its prompt
    results = []
    for row in dataset:
        messages = row["raw_prompt"]
        text = processor.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
        _, videos, _ = RLHFDataset._process_multi_modal_info(messages, 14, config)
        results.append((videos, build_multimodal_processor_inputs(processor, text=[text], videos=videos)))
    return results


@pytest.mark.parametrize("sampling", [["--num-frames", "8"], ["--fps", "2", "--num-frames", "12"]], ids=["even", "fps"])
def test_the_model_gets_the_same_inputs(place, model, sampling):
    _, processor = model
    size = ["--resized-height", "112", "--resized-width", "168"]
    decoded = inputs(prepare(place, "decoded", *sampling, *size), place, processor)
    stored = prepare(place, "stored", *sampling, *size, "--frames-dir", str(place / "frames"))
    for file in place.glob("*.mp4"):
        file.rename(file.with_suffix(".away"))  # nothing may be decoded again
    try:
        listed = inputs(stored, place, processor)
    finally:
        for file in place.glob("*.away"):
            file.rename(file.with_suffix(".mp4"))
    for (videos, model_inputs), (videos_listed, listed_inputs) in zip(decoded, listed, strict=True):
        assert torch.equal(videos[0][0], videos_listed[0][0])
        assert model_inputs.keys() == listed_inputs.keys() and "pixel_values_videos" in model_inputs
        for key in model_inputs:
            if key == "second_per_grid_ts":
                assert listed_inputs[key] == pytest.approx(model_inputs[key], rel=1e-6)
            else:
                assert torch.equal(torch.as_tensor(model_inputs[key]), torch.as_tensor(listed_inputs[key])), key


def test_without_a_size_the_frames_are_what_qwen_makes_of_lists(place, model):
    """Sides are multiples of frames.list_grid(), and the processor keeps them."""
    stored = prepare(place, "free", "--num-frames", "8", "--frames-dir", str(place / "frames"))
    for videos, model_inputs in inputs(stored, place, model[1]):
        height, width = videos[0][0].shape[-2:]
        assert height % frames.list_grid() == width % frames.list_grid() == 0
        assert model_inputs["video_grid_thw"].tolist() == [[4, height // 14, width // 14]]


@pytest.mark.parametrize("extra", [[], ["--frames-dir"]], ids=["videos", "frames"])
def test_inspect_counts_the_tokens_verl_counts(place, model, extra, capsys):
    folder, processor = model
    path = prepare(place, "counted", "--num-frames", "8", *extra, *([str(place / "frames")] if extra else []))
    expected = [model_inputs["input_ids"].shape[1] for _, model_inputs in inputs(path, place, processor)]
    count = prompt_counter(folder)
    assert [count(row) for row in check.read_rows(path)] == expected
    common = [str(path), "--model", str(folder), "--samples", "0", "--print", "0", "--max-prompt-length"]
    assert check.main([*common, str(max(expected))]) == 0
    assert check.main([*common, str(max(expected) - 1)]) == 2
    assert f"prompt length: 1 record(s), first record {expected.index(max(expected))}" in capsys.readouterr().err
