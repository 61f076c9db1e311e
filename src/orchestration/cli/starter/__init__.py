"""The starter project that `orchestrate init` writes: package data."""
