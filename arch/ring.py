"""What a layer keeps of the tokens before, (batch, slots, ...), written in place: token t has slot t or, where the last
`limit` alone count, slot t mod limit."""

import torch
from torch import Tensor


def slots(capacity: int, limit: int | None) -> int:
    """How many there must be for `capacity` tokens."""
    return capacity if limit is None else min(capacity, limit)


def extend(ring: Tensor, seen: int, limit: int | None, tokens: Tensor) -> Tensor:
    """Write tokens (batch, length, ...) that come after `seen` others. Returns, in order, all that count for them:
    themselves and, of those before, all or the last limit - 1."""
    end = seen + tokens.shape[1]
    if limit is None:
        ring[:, seen:end] = tokens
        return ring[:, :end]
    past = torch.arange(max(0, seen - limit + 1), seen, device=ring.device) % limit
    whole = torch.cat([ring[:, past], tokens], 1)
    last = tokens[:, -limit:]
    ring[:, torch.arange(end - last.shape[1], end, device=ring.device) % limit] = last
    return whole


def put(ring: Tensor, seen: Tensor, limit: int | None, token: Tensor) -> None:
    """Write one token (batch, ...) that comes after seen (batch,) others."""
    slot = seen if limit is None else seen % limit
    ring[torch.arange(len(ring), device=ring.device), slot] = token


def lags(seen: Tensor, ring: Tensor) -> tuple[Tensor, Tensor]:
    """(batch, slots): how long before token number seen (batch,) that of a slot was, and whether there was one."""
    lag = (seen[:, None] - torch.arange(ring.shape[1], device=seen.device)) % ring.shape[1]
    return lag, lag <= seen[:, None]


def positions(seen: Tensor, length: int) -> Tensor:
    """(1, length): of tokens that come after seen (batch,) others, equally many in every row."""
    return seen[:1, None] + torch.arange(length, device=seen.device)


def counts(batch: int, like: Tensor) -> Tensor:
    """Of tokens seen, (batch,), all zero."""
    return torch.zeros(batch, dtype=torch.long, device=like.device)
