"""What is asked for. The tests are there before the code."""
