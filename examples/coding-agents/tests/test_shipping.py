"""Shipping costs 4.90."""
# ruff: noqa: PT009 -- with the standard library alone, so that the example needs nothing else

import unittest

import shop
from shop.shipping import add_shipping


class TestShipping(unittest.TestCase):
    """What is asked of the task `shipping`."""

    def test_shipping_is_added(self) -> None:
        """Whatever is bought."""
        self.assertEqual(add_shipping(1_000), 1_490)

    def test_shipping_is_a_rule_of_the_shop(self) -> None:
        """It counts in every total."""
        self.assertIn(add_shipping, shop.RULES)
