"""Benchmarks: ratios of ours against a plain reference, both measured in one run.

``python -m benchmarks --list`` names them, ``python -m benchmarks NAME --json`` runs one.
"""
