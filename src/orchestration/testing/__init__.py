"""A simulator for projects: the real orchestrator, executor and lanes on a virtual clock, against made-up servers.

    report = play(Scenario(tasks=[...], agents=[...], servers=[SimulatedServer(requests_per_minute=60)]))
    report.check()  # nothing that has to hold was violated
    assert report.duration_s < 3_600  # an hour that took milliseconds

`simulate(seed)` plays a project made up by chance; `python -m orchestration.testing SEED` tells that story again. `run`
runs any coroutine in virtual time. Nothing here needs a key, a network or a test framework.
"""

from orchestration.testing.provider import serving
from orchestration.testing.scenario import Order, Scenario, random_scenario
from orchestration.testing.server import Request, ServerCall, SimulatedServer, Trouble
from orchestration.testing.simulation import Report, play, simulate
from orchestration.testing.transcript import Line
from orchestration.testing.virtual_loop import EndlessError, StandstillError, VirtualLoop, run

__all__ = [
    "EndlessError",
    "Line",
    "Order",
    "Report",
    "Request",
    "Scenario",
    "ServerCall",
    "SimulatedServer",
    "StandstillError",
    "Trouble",
    "VirtualLoop",
    "play",
    "random_scenario",
    "run",
    "serving",
    "simulate",
]
