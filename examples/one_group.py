# SPDX-License-Identifier: Apache-2.0
"""TW-GRPO on one prompt, from hidden states to the gradient: `python -m examples.one_group`. No verl, no video, no GPU.

The same functions that a training run calls, on a toy policy: one embedding as "model" and one LM head.
G: responses of the prompt, T: tokens of the longest one, d: width of the hidden states, V: vocabulary.
"""

from __future__ import annotations

import torch

from recipe.tw_grpo.advantage import group_advantages
from recipe.tw_grpo.divergence import group_divergence
from recipe.tw_grpo.reward import score_response
from recipe.tw_grpo.token_weights import token_weights

OPTIONS = ["the cube enters", "the sphere leaves", "they collide"]
TRUTH = "A,C"
RESPONSES = [  # G = 4 texts that the policy has sampled; here a token is a character
    "<think>It rolls on.</think><answer>A,C</answer>",
    "<think>It rolls on.</think><answer>A</answer>",
    "<think>It rolls on.</think><answer>B</answer>",
    "<think>It stops.</think><answer>A,C</answer>",
]
CLIP_LOW, CLIP_HIGH = 0.2, 0.28
WIDTH = 16  # d


class Policy(torch.nn.Module):
    """Next-token distributions that depend on the last two characters; stands for a language model."""

    def __init__(self, vocabulary: int) -> None:
        super().__init__()
        self.now, self.before = (torch.nn.Embedding(vocabulary, WIDTH) for _ in range(2))
        self.lm_head = torch.nn.Linear(WIDTH, vocabulary, bias=False)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """[T + 1] ids, the last one of the prompt first -> [T, d] hidden states that predict ids[1:]."""
        states = self.now(ids)
        states = states + torch.cat([torch.zeros_like(states[:1]), self.before(ids)[:-1]])
        return torch.tanh(states)[:-1]


def one_update(seed: int = 0) -> dict[str, torch.Tensor]:
    """One prompt through the whole method; returns every quantity by name."""
    torch.manual_seed(seed)
    characters = sorted(set("".join(RESPONSES)) | {"\n"})  # V; "\n" stands for the prompt
    policy = Policy(len(characters))
    ids = [torch.tensor([characters.index(c) for c in "\n" + text]) for text in RESPONSES]  # G x [length + 1]
    lengths = torch.tensor([len(one) - 1 for one in ids])  # [G]
    T = int(lengths.max())

    states = [policy(one) for one in ids]  # G x [length, d]
    log_probs = [
        policy.lm_head(h).log_softmax(-1).gather(-1, i[1:, None])[:, 0] for h, i in zip(states, ids, strict=True)
    ]

    # Eq. 4: how much the G next-token distributions differ at each position. It has no gradient.
    D = group_divergence(torch.cat(states), policy.lm_head.weight, lengths)  # [T], nats
    # Eq. 5: w_t = 1 + alpha * minmax(D)_t.
    w = token_weights(D, lengths, alpha=0.7)  # [T]
    # Eq. 7 plus the format reward, then Eq. 1.
    R = torch.tensor([score_response(text, TRUTH, OPTIONS)["score"] for text in RESPONSES])  # [G]
    A = group_advantages(R, ["this prompt"] * len(RESPONSES))  # [G]

    # Eq. 6 for one prompt: the mean over all its tokens of w_t min(r A, clip(r) A).
    terms = []
    for log_prob, advantage in zip(log_probs, A, strict=True):
        ratio = (log_prob - log_prob.detach()).exp()  # [length]; 1 in the first update after sampling
        clipped = ratio.clamp(1 - CLIP_LOW, 1 + CLIP_HIGH)
        terms.append(w[: len(log_prob)] * torch.minimum(ratio * advantage, clipped * advantage))
    loss = -torch.cat(terms).sum() / lengths.sum()
    loss.backward()
    assert D.shape == w.shape == (T,)
    return {"D": D, "w": w, "R": R, "A": A, "loss": loss.detach(), "gradient": policy.lm_head.weight.grad}


def main() -> None:
    """Print the numbers position by position."""
    found = one_update()
    print("rewards R:   ", found["R"].tolist())
    print("advantages A:", [round(a, 3) for a in found["A"].tolist()])
    print("\n  t  tokens       D_t    w_t")
    for t, (d, w) in enumerate(zip(found["D"].tolist(), found["w"].tolist(), strict=True)):
        tokens = "".join(text[t] if t < len(text) else " " for text in RESPONSES)
        print(f"{t:3d}  {tokens!r:8s} {d:8.4f} {w:6.3f}")
    print(f"\nloss {found['loss']:.4f}, norm of the LM head's gradient {found['gradient'].norm():.4f}")


if __name__ == "__main__":
    main()
