"""Load tests: users of the API as Locust plays them. They know Heavylift by HTTP alone.

`locust -f loadtests` takes every Python file below this folder for a locustfile, and each for a
module of its own, but those whose names begin with an underscore: here a file without one is a
scenario, and all that scenarios share has one.
"""
