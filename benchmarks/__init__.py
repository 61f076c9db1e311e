"""What the project promises about its own cost, measured: `make bench`, or `python -m benchmarks NAME...`.

One measure per file; each also runs by itself (`python -m benchmarks.startup`) and then prints its rows as JSON.
"""
