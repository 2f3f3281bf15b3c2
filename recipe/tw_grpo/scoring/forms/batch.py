# SPDX-License-Identifier: Apache-2.0
"""Output files of batch requests, OpenAI's and vLLM's (`vllm run-batch`).

    {"id": "vllm-1", "custom_id": "q7", "error": null, "response": {"status_code": 200, "body": {"choices":
     [{"index": 0, "message": {"role": "assistant", "content": "<think>…</think><answer>B</answer>"}}]}}}

They hold no question and no right answer: `--truths FILE` gives them by `custom_id`, or the lines carry a truth that
somebody added. A request that failed is an empty answer.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from recipe.tw_grpo.scoring.sample import Sample, field, make_sample, truth_of
from recipe.tw_grpo.toolbox.errors import UserError

_TRUTHS = ("truth", "ground_truth", "target", "gt", "label", "answer", "solution")


def fits(record: Mapping[str, Any]) -> bool:
    """Whether this is a record of the form."""
    return "custom_id" in record and ("response" in record or "error" in record)


def samples(record: dict[str, Any], where: str, line: int) -> Iterator[Sample]:
    """The choices of one request; with several, each is a response."""
    texts = _texts(record.get("response"), where)
    key = field(record, "custom_id", where)
    for i, text in enumerate(texts):
        yield make_sample(
            record,
            where,
            line,
            response=text,
            truth=truth_of(record, *_TRUTHS, where=where),
            key=key if len(texts) == 1 else f"{key}#{i + 1}",
            question=record.get("question"),
            options=record.get("options"),
            video=record.get("video"),
        )


def _texts(response: Any, where: str) -> list[str]:
    """Texts of chat completions, of completions, or of the newer "responses"."""
    body = response.get("body", response) if isinstance(response, dict) else response
    if body is None or isinstance(body, str):
        return [body or ""]
    if not isinstance(body, dict):
        raise UserError(f"{where}: 'response' is neither null nor the answer of a server: {response!r:.60}")
    choices = body.get("choices")
    if isinstance(choices, list) and choices:
        return [_choice(choice) for choice in choices if isinstance(choice, dict)]
    output = body.get("output")
    if isinstance(output, list):
        messages = [part for part in output if isinstance(part, dict) and part.get("type") in (None, "message")]
        return ["\n".join(_content(message.get("content")) for message in messages)]
    return [""]  # the server's own error stands there


def _choice(choice: Mapping[str, Any]) -> str:
    message = choice.get("message")
    return _content(message.get("content") if isinstance(message, dict) else choice.get("text"))


def _content(content: Any) -> str:
    if isinstance(content, list):
        content = "".join(str(part.get("text") or "") for part in content if isinstance(part, dict))
    return content if isinstance(content, str) else ""
