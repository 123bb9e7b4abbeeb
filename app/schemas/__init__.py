"""Pydantic models of what crosses HTTP, one file per resource, apart from the tables."""
