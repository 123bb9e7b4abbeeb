"""Level-triggered loops: each compares what should be with what is, and closes the difference.

Any number of controllers run side by side and none leads: rows are taken with SKIP LOCKED, and a
pool's window is filled under its own row's lock.
"""
