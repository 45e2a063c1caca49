"""Libraries that only a part of the work needs: they are imported when they are first used."""

import importlib
from types import ModuleType


def import_extra(name: str, extra: str, purpose: str) -> ModuleType:
    """Import a library that comes with an extra, or say what needs it and how to install it."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ModuleNotFoundError(
            f"{purpose} needs the library {name}, which is not installed: "
            f"pip install 'attention-companion[{extra}]'"
        ) from error
