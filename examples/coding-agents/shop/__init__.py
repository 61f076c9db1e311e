"""What a purchase costs, in cents."""

from collections.abc import Callable

RULES: tuple[Callable[[int], int], ...] = ()


def total(prices: list[int]) -> int:
    """Add up the prices, and apply the rules one after the other."""
    amount = sum(prices)
    for rule in RULES:
        amount = rule(amount)
    return amount
