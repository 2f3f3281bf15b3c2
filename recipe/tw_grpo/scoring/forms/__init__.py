# SPDX-License-Identifier: Apache-2.0
"""The forms of logs, one small reader each. A new form is a module here and a line in FORMS.

A module has `fits(record)`: whether a record has the fields of its form; and `samples(record, where, line)`: the
responses in it. Its docstring shows a record. `sample.make_sample` does what all of them do alike.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Protocol

from recipe.tw_grpo.scoring.forms import (
    batch,
    generic,
    lmms_eval,
    mmvu,
    ms_swift,
    public,
    verl_dump,
    verl_generation,
    video_mme,
    video_r1,
    videochat_r1,
    vlmevalkit,
)
from recipe.tw_grpo.scoring.sample import Sample
from recipe.tw_grpo.toolbox.errors import UserError


class Form(Protocol):
    """What a module of this folder has."""

    def fits(self, record: Mapping[str, Any]) -> bool: ...

    def samples(self, record: dict[str, Any], where: str, line: int) -> Iterator[Sample]: ...


# In this order: the first form that fits is taken.
FORMS: dict[str, Form] = {
    "public": public,
    "lmms-eval": lmms_eval,
    "batch": batch,
    "video-r1": video_r1,
    "videochat-r1": videochat_r1,
    "video-mme": video_mme,
    "mmvu": mmvu,
    "vlmevalkit": vlmevalkit,
    "ms-swift": ms_swift,
    "verl": verl_dump,
    "verl-generation": verl_generation,
    "generic": generic,
}


def form_of(record: Mapping[str, Any]) -> str | None:
    """Name of the form of a record, None for an unknown one."""
    return next((name for name, form in FORMS.items() if form.fits(record)), None)


def unknown_form(record: Mapping[str, Any], where: str) -> UserError:
    """The refusal of a record of no known form; it names the fields that are there."""
    found = ", ".join(map(str, record)) or "nothing"
    return UserError(
        f"{where}: not a known form of log (found {found:.200}); forms are listed in docs/scoring.md; "
        f"a generic line has {generic.KEYS}"
    )
