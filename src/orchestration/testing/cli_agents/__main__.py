"""Be a coding agent."""

import sys

from orchestration.testing.cli_agents.program import main

sys.exit(main())
