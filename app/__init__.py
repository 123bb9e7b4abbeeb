"""Heavylift's API process, and everything that it shares with the workers."""
