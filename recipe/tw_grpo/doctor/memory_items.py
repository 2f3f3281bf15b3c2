# SPDX-License-Identifier: Apache-2.0
"""What a memory plan is made of (Item, Phase, Plan), and verl's composed settings as plain values (Settings).

The arithmetic is memory.py's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from omegaconf import DictConfig

GIB = 2**30


@dataclass(frozen=True)
class Item:
    """One thing that takes room: its name, its bytes, and whether they follow from sizes alone."""

    name: str
    bytes: float
    exact: bool = True


@dataclass(frozen=True)
class Phase:
    """What lies on one GPU at once at the fullest moment of a phase."""

    name: str
    items: tuple[Item, ...]

    @property
    def bytes(self) -> float:
        return sum(item.bytes for item in self.items)

    @property
    def least(self) -> float:
        """Bytes of the exact items: with less memory the phase cannot run."""
        return sum(item.bytes for item in self.items if item.exact)


@dataclass(frozen=True)
class Plan:
    """The plan of a run: per GPU the phases, per node the host's memory, and the checkpoints.

    Attributes:
        capacity: bytes of a GPU.
        phases: rollout, log-prob pass, backward pass, optimizer step, weight sync, checkpoint.
        cache: bytes a GPU left for vLLM's KV cache; request: bytes a GPU of it that one request of full length needs;
            weights: bytes a GPU of vLLM's weights.
        host: of the first node while it trains; it also writes the whole model.
        start: bytes of the first node's host memory while models are loaded, before anything of `host` is there.
        checkpoint: files of one checkpoint; kept: how many stay at most, and one more while it is written.
    """

    capacity: float
    phases: tuple[Phase, ...]
    cache: float
    request: float
    weights: float
    host: tuple[Item, ...]
    start: float
    checkpoint: tuple[Item, ...]
    kept: int

    @property
    def fullest(self) -> Phase:
        return max(self.phases, key=lambda phase: phase.bytes)

    @property
    def starved(self) -> bool:
        """vLLM may not take as much as its weights and one request need."""
        budget = next(item.bytes for item in self.phases[0].items if item.name == "vLLM")
        return self.weights + self.request > budget

    @property
    def possible(self) -> bool:
        """Nothing that is exact is larger than a GPU."""
        return not self.starved and all(phase.least <= self.capacity for phase in self.phases)

    def lack(self, spare: float = 0.0) -> float:
        """Bytes that are missing on a GPU of which the share `spare` stays free, over all phases and the KV cache, with
        all estimates; 0 when the run fits."""
        missing = sum(max(0.0, phase.bytes - (1 - spare) * self.capacity) for phase in self.phases)
        return missing + max(0.0, self.request - self.cache)

    @property
    def fits(self) -> bool:
        return self.lack() == 0

    @property
    def headroom(self) -> float:
        """Share of a GPU that the fullest phase leaves, estimates included."""
        return 1 - self.fullest.bytes / self.capacity

    @property
    def host_bytes(self) -> float:
        return max(self.start, sum(item.bytes for item in self.host))

    @property
    def checkpoint_bytes(self) -> float:
        return sum(item.bytes for item in self.checkpoint)

    @property
    def disk_bytes(self) -> float:
        """Of all checkpoints that stay and the one that is being written."""
        return self.checkpoint_bytes * (self.kept + 1)


class Settings(dict):
    """Composed settings as plain values with attributes; a change makes a new tree and leaves the old one alone."""

    __getattr__ = dict.__getitem__

    @classmethod
    def of(cls, config: DictConfig | Settings) -> Settings:
        """The sections that the plan reads."""
        if isinstance(config, Settings):
            return config
        from omegaconf import OmegaConf

        names = ("actor_rollout_ref", "algorithm", "data", "trainer")
        return cls._plain({name: OmegaConf.to_container(config[name], resolve=True) for name in names})

    @classmethod
    def _plain(cls, value: Any) -> Any:
        return cls({k: cls._plain(v) for k, v in value.items()}) if isinstance(value, dict) else value

    def changed(self, setting: str, value: Any) -> Settings:
        """A copy with one setting, named with dots, made where it is not there."""
        name, _, rest = setting.partition(".")
        return Settings(self | {name: (self.get(name) or Settings()).changed(rest, value) if rest else value})
