"""Whoever buys for 100.00 or more pays 10 % less."""
# ruff: noqa: PT009 -- with the standard library alone, so that the example needs nothing else

import unittest

from shop.discount import discounted


class TestDiscount(unittest.TestCase):
    """What is asked of the task `discount`."""

    def test_small_purchases_cost_what_they_cost(self) -> None:
        """One cent short of the limit."""
        self.assertEqual(discounted(9_999), 9_999)

    def test_large_purchases_cost_less(self) -> None:
        """The limit itself is large enough."""
        self.assertEqual(discounted(10_000), 9_000)
