"""The shipped providers, one file per vendor. Each imports its SDK on first use, in a thread."""
