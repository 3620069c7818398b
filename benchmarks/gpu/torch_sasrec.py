"""SASRec as one writes it in PyTorch: eager, with random weights, the same sizes as `session`.

Not aware of releases. Imports PyTorch.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional


class SasRec(nn.Module):  # type: ignore[misc]  # PyTorch is not among the checked packages
    """Histories int64[batch, L], padded with 0 on the left, to the top k of the item table."""

    def __init__(self, items: int, length: int, units: int = 64, blocks: int = 2) -> None:
        super().__init__()
        self.table = nn.Embedding(items + 1, units)
        nn.init.normal_(self.table.weight, std=units**-0.5)
        self.positions = nn.Parameter(torch.randn(length, units) * 0.02)
        self.bias = nn.Parameter(torch.zeros(items + 1))
        self.blocks = nn.ModuleList(_Block(units) for _ in range(blocks))
        self.final = nn.LayerNorm(units)

    def forward(self, history: torch.Tensor, k: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Returns scores float[batch, k], descending, and item indices int64[batch, k]."""
        present = (history != 0).unsqueeze(-1).to(self.bias.dtype)
        state = (self.table(history) + self.positions) * present
        for block in self.blocks:
            state = block(state) * present
        last = self.final(state[:, -1])
        scores = functional.linear(last, self.table.weight, self.bias)
        best = torch.topk(scores[:, 1:], k)
        return best.values, best.indices + 1


class _Block(nn.Module):  # type: ignore[misc]  # PyTorch is not among the checked packages
    def __init__(self, units: int) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(units)
        self.query_key_value = nn.Linear(units, 3 * units, bias=False)
        self.out = nn.Linear(units, units)
        self.network_norm = nn.LayerNorm(units)
        self.wide, self.narrow = nn.Linear(units, 2 * units), nn.Linear(2 * units, units)

    def forward(self, state: torch.Tensor) -> torch.Tensor:
        query, key, value = self.query_key_value(self.attention_norm(state)).chunk(3, dim=-1)
        mixed = functional.scaled_dot_product_attention(
            query.unsqueeze(1), key.unsqueeze(1), value.unsqueeze(1), is_causal=True
        )
        state = state + self.out(mixed.squeeze(1))
        return state + self.narrow(functional.relu(self.wide(self.network_norm(state))))


def open_model(items: int, length: int, *, half: bool) -> Any:
    """Returns the model, ready to be called, on the card where there is one."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = SasRec(items, length).to(device).eval()
    return model.half() if half and device == "cuda" else model
