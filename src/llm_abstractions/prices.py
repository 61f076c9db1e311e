"""Price one call by the published price list (genai-prices). Knows no provider's SDK."""

import asyncio
from decimal import Decimal

from llm_abstractions.types import Usage

__all__ = ["cost_usd"]

_NAMES_IN_LIST = {"gemini": "google"}
_FREE = frozenset({"local"})

# The list takes half a second to load and remembers the models it found, but not those it did not find.
_state = {"is_loaded": False}
_unknown: set[tuple[str, str]] = set()


async def cost_usd(provider: str, model: str, usage: Usage) -> Decimal | None:
    """Return what one call cost; None when the price is not known, which is not the same as nothing.

    Give it one call at a time, never a sum: prices have tiers by the size of a call. Models on this machine cost 0.
    """
    if provider in _FREE:
        return Decimal(0)
    if (provider, model) in _unknown:
        return None
    if _state["is_loaded"]:
        return _price(provider, model, usage)  # under 0.1 ms: too little to leave the loop for
    return await asyncio.to_thread(_price, provider, model, usage)


def _price(provider: str, model: str, usage: Usage) -> Decimal | None:
    try:
        import genai_prices  # noqa: PLC0415
    except ImportError:  # a server of one's own without the extras: nothing to price it by
        return None
    tokens = genai_prices.Usage(
        input_tokens=usage.input_tokens,
        cache_read_tokens=usage.cached_tokens,
        cache_write_tokens=usage.cache_write_tokens,
        output_tokens=usage.output_tokens,
    )
    try:
        return genai_prices.calc_price(tokens, model, provider_id=_NAMES_IN_LIST.get(provider, provider)).total_price
    except LookupError:
        _unknown.add((provider, model))
        return None
    except ValueError:  # counts that contradict each other, as odd servers send them
        return None
    finally:
        _state["is_loaded"] = True
