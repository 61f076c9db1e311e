"""Readers of facts: what a person sees of a project. Nothing in here changes anything."""
