"""Where facts are kept: one small port and its adapters."""
