"""The benchmarks: what relaying costs, beside a C program that does the least a relay can do.

`./dev bench` runs them all; docs/benchmarks.md says what is measured, how, and what came out.
"""
