"""The work of scripts/benchmark.py: measure the speed of runs, side by side with plain loops written by hand."""
