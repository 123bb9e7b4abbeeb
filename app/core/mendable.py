class Mendable(Exception):
    """One line that says what whoever ran a command can mend: it ends with exit code 2.

    In a module of its own, so that the command's start loads nothing else for it.
    """
