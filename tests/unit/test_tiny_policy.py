# SPDX-License-Identifier: Apache-2.0
"""The untrained parts of the tiny policy: tokenizer, sizes, and lessons that do not know which answers are right."""

import json
import random
import re
import threading
from collections import Counter
from dataclasses import replace

import pytest

pytest.importorskip("tokenizers")
pytest.importorskip("transformers")

from data_prep.write.prompts import VIDEO_TAG, multi_answer_prompt  # noqa: E402
from examples.tiny import lessons, policy  # noqa: E402
from examples.tiny.world import make_scene, questions  # noqa: E402

PHRASE = "what will happen next"


@pytest.fixture(scope="module")
def tokenizer():
    corpus = ["The red disc and the blue square collide", f"{PHRASE}? A. B. A, C", "user\n", "assistant\n"] * 5
    return policy.build_tokenizer(corpus, [" red disc", PHRASE])


@pytest.mark.parametrize(
    "text",
    [
        "<think>x</think><answer>A, C</answer>",
        "And A.B é 漢字 \t 17\n\n",
        "",
        "The red disc  collides",
        "<|oops|> <answer",
    ],
)
def test_any_text_survives_the_tokenizer(tokenizer, text):
    assert tokenizer.decode(tokenizer(text).input_ids, skip_special_tokens=True) == text


def test_letters_tags_and_phrases_are_one_token_in_every_context(tokenizer):
    pieces = [tokenizer.decode([i]) for i in tokenizer(f"<answer>A, C</answer>\nC. The red disc\n{PHRASE}").input_ids]
    assert pieces[:5] == ["<answer>", "A", ", ", "C", "</answer>"]
    assert pieces.count("C") == 2
    assert " red disc" in pieces and PHRASE in pieces


def test_equal_corpora_give_equal_tokenizers(tokenizer):
    corpus = ["The red disc and the blue square collide", f"{PHRASE}? A. B. A, C", "user\n", "assistant\n"] * 5
    assert policy.build_tokenizer(corpus, [PHRASE, " red disc"]).get_vocab() == tokenizer.get_vocab()


def test_model_vocabulary_is_exactly_the_tokenizer_and_seeded(tokenizer):
    size = policy.PolicySize(hidden_size=32, intermediate_size=32, num_layers=1, num_heads=2, num_key_value_heads=2)
    one, same, other = (policy.build_model(tokenizer, size=size, seed=seed) for seed in (0, 0, 1))
    assert one.lm_head.weight.shape[0] == len(tokenizer) == one.config.text_config.vocab_size
    assert one.lm_head.weight.equal(same.lm_head.weight)
    assert not one.lm_head.weight.equal(other.lm_head.weight)


def test_head_width_must_fit_the_rotary_sections():
    with pytest.raises(ValueError, match="multiple of 16"):
        policy.PolicySize(hidden_size=128, num_heads=3)


@pytest.fixture(scope="module")
def asked():
    views = [lessons.View.of(make_scene(seed, 1)) for seed in range(60)]
    pairs = [(view, question) for view in views for question in questions(view.scene, random.Random(0))]
    assert len(pairs) > 30
    return pairs


def test_response_does_not_change_when_the_truth_is_flipped(asked):
    for seed, (view, question) in enumerate(asked):
        flipped = replace(question, choices=tuple(replace(c, correct=not c.correct) for c in question.choices))
        true, false = (lessons.lesson_about(view, q, random.Random(seed)) for q in (question, flipped))
        assert (true.prompt, true.response) == (false.prompt, false.response)
        assert true.truth != false.truth


def test_prompt_is_the_one_of_data_prep_and_the_format_is_the_reward_s(asked):
    for view, question in asked:
        lesson = lessons.lesson_about(view, question, random.Random(1))
        assert VIDEO_TAG + lesson.prompt == multi_answer_prompt(question.text, [c.text for c in question.choices])
        match = re.fullmatch(r"<think>.+</think><answer>([A-D](?:, [A-D])*)</answer>", lesson.response)
        letters = "ABCD"[: len(question.choices)]
        assert match and set(match[1].split(", ")) <= set(letters)
        verdicts = dict(re.findall(r"([A-D]) [^;<]+ (yes|no)(?=;|<)", lesson.response))
        assert "".join(verdicts) == letters
        assert {letter for letter, verdict in verdicts.items() if verdict == "yes"} == set(match[1].split(", "))
        assert all(item in lesson.response for item in lesson.items) and len(lesson.items) == len(letters)


def test_think_text_names_the_options_objects_and_rows_in_their_order(asked):
    for view, question in asked:
        for choice, item in zip(
            question.choices, lessons.lesson_about(view, question, random.Random(2)).items, strict=True
        ):
            one, two = sorted((view.names[i] for i in choice.pair), key=choice.text.index)
            assert item[2:].startswith(f"{one} {view.rows[one]} {two} {view.rows[two]}")


def test_random_answers_treat_letters_alike_and_are_never_empty():
    rng = random.Random(0)
    counts = Counter(lessons.random_answer(3, rng) for _ in range(26000))
    assert len(counts) == 7 and frozenset() not in counts
    for count in counts.values():
        assert count == pytest.approx(26000 / 7, rel=0.08)


def test_verdicts_do_not_follow_what_is_seen(asked):
    """The share of yes is the same after "same" and after "apart": the warm start teaches no preference."""
    said = Counter()
    for seed in range(30):
        for view, question in asked:
            lesson = lessons.lesson_about(view, question, random.Random(f"{seed} {view.scene.seed}"))
            said.update(re.findall(r"(same|apart) (yes|no)", lesson.response))
    share = {seen: said[seen, "yes"] / (said[seen, "yes"] + said[seen, "no"]) for seen in ("same", "apart")}
    assert abs(share["same"] - share["apart"]) < 0.04
    assert 0.5 < share["same"] < 0.65  # no empty answers, so a little above YES_RATE


def test_two_that_build_one_policy_at_once_train_it_once(tmp_path, monkeypatch):
    """Threads stand for processes: each opens the lock for itself."""
    from concurrent.futures import ThreadPoolExecutor

    from examples.tiny import warm_start

    trained, both = [], threading.Barrier(2)

    def fingerprint(sources, **settings):
        both.wait(timeout=30)  # neither sees the other's policy before it asks for the lock
        return "name"

    def build(out, name, *settings):
        trained.append(threading.get_ident())
        out.mkdir()
        report = {"fingerprint": "name", "seed": 7}
        (out / "warm_start.json").write_text(json.dumps(report))
        return report

    monkeypatch.setattr(warm_start, "fingerprint", fingerprint)
    monkeypatch.setattr(warm_start, "_build", build)
    with ThreadPoolExecutor(2) as pool:
        settings = {"seed": 7, "worlds": 32, "vision_steps": 32, "text_steps": 32}
        made = [pool.submit(warm_start.build, tmp_path / "policy", **settings) for _ in range(2)]
        assert [future.result(timeout=60)["seed"] for future in made] == [7, 7]
    assert len(trained) == 1
