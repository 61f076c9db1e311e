"""Tax is 20 %."""
# ruff: noqa: PT009 -- with the standard library alone, so that the example needs nothing else

import unittest

import shop
from shop.tax import add_tax


class TestTax(unittest.TestCase):
    """What is asked of the task `tax`."""

    def test_tax_is_added(self) -> None:
        """A fifth more."""
        self.assertEqual(add_tax(1_000), 1_200)

    def test_tax_is_a_rule_of_the_shop(self) -> None:
        """It counts in every total."""
        self.assertIn(add_tax, shop.RULES)
