"""What every test needs."""

import asyncio

# pytest-asyncio asks for the current event loop before its first test. Where none was ever set, Python 3.11 makes one
# for the occasion, which nobody closes: a ResourceWarning in whichever test comes next.
asyncio.set_event_loop(None)
