"""Every alert, one in each module of this package."""

from importlib import import_module
from pkgutil import iter_modules

from monitoring.model import Alert


def _declared(module: str) -> Alert:
    alert: Alert = import_module(f"{__name__}.{module}").ALERT
    return alert


ALERTS = tuple(_declared(found.name) for found in iter_modules(__path__))
