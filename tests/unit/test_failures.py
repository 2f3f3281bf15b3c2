# SPDX-License-Identifier: Apache-2.0
"""Counting failed responses, naming each record once, stopping when too many fail."""

import logging

import pytest

from recipe.tw_grpo.integration.failures import FailureCount, _FirstOfItsKind, cause_of
from recipe.tw_grpo.toolbox.errors import UserError


def note(uid="u", index=3, validate=False, reason="cannot decode"):
    return {"uid": uid, "index": str(index), "video": "a.mp4", "validate": validate, "reason": reason}


def test_a_record_is_named_once_and_every_response_is_counted():
    count = FailureCount("train.parquet", responses=4, largest_share=1)
    assert count.add([note(), note()]) == [
        "tw_grpo: train.parquet: record 3 (video a.mp4) cannot be used: cannot decode"
    ]
    assert count.add([note(), note(uid="v", index=4)]) == [
        "tw_grpo: train.parquet: record 4 (video a.mp4) cannot be used: cannot decode"
    ]
    assert count.take() == {"tw_grpo/failed_prompts": 0, "tw_grpo/failed_responses": 4}
    assert count.add([note()]) == []
    assert count.take() == {"tw_grpo/failed_prompts": 1, "tw_grpo/failed_responses": 1}
    assert count.take() == {"tw_grpo/failed_prompts": 0, "tw_grpo/failed_responses": 0}


def test_the_same_record_in_another_epoch_is_counted_and_not_named_again():
    count = FailureCount("f", responses=2, largest_share=1)
    assert len(count.add([note("first"), note("first"), note("second"), note("second")])) == 1
    assert count.take()["tw_grpo/failed_prompts"] == 2


def test_validation_is_named_and_not_counted():
    count = FailureCount("f", responses=1, largest_share=0)
    assert count.add([note(validate=True)]) == [
        "tw_grpo: validation: record 3 (video a.mp4) cannot be used: cannot decode"
    ]
    assert count.take() == {"tw_grpo/failed_prompts": 0, "tw_grpo/failed_responses": 0}


def test_too_many_failed_prompts_stop_the_run_and_a_tenth_does_not():
    count = FailureCount("f", responses=1, largest_share=0.5)
    for step in range(40):
        count.used(9)
        count.add([note(uid=str(step))])
    with pytest.raises(UserError, match=r"max_failed_share=0.5; the last one: f: record 3 .*: cannot decode"):
        count.add(note(uid=f"bad {i}") for i in range(50))
    assert sum(count.recent) == 26


def test_a_run_whose_first_prompts_all_fail_stops_after_eight():
    count = FailureCount("f", responses=1, largest_share=0.5)
    count.add(note(uid=str(i)) for i in range(7))
    with pytest.raises(UserError, match="8 of the last 8 prompts failed"):
        count.add([note(uid="eighth")])
    never = FailureCount("f", responses=1, largest_share=1)
    never.add(note(uid=str(i)) for i in range(100))


def record(error):
    try:
        raise error
    except Exception as raised:
        return logging.LogRecord("n", logging.ERROR, "p", 1, "m", (), (type(raised), raised, raised.__traceback__))


def test_one_traceback_for_each_kind_of_failure_and_none_for_bad_records():
    passes = _FirstOfItsKind().filter
    assert passes(record(ValueError("a"))) and not passes(record(ValueError("b"))) and passes(record(OSError("b")))
    assert not passes(record(UserError("its prompt has 9 tokens")))
    assert passes(logging.LogRecord("n", logging.INFO, "p", 1, "m", (), None))


def test_the_cause_is_taken_out_of_what_is_around_it():
    inner, outer = UserError("x"), RuntimeError("y")
    outer.cause = RuntimeError("z")
    outer.cause.cause = inner
    assert cause_of(outer) is inner and cause_of(inner) is inner
