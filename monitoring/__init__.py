"""Dashboards, objectives and alerts, written in Python; `python -m monitoring` writes the files.

A tool for developers: no image has it. What it writes is committed and goes into the Helm chart.
"""
