"""Save the build work that changes no page.

Most pages are the library's source. None is in the table of contents, so the side bars of all that
lie equally deep are equal, and one is made for them. And the garbage collector, which would go
through all documents again and again, runs less often: what lives long is most of what there is.
"""

import gc
from collections.abc import Callable
from typing import Any

from sphinx.application import Sphinx

SOURCE = "_modules/"
ALLOCATIONS = 1_000_000  # net ones between two collections of the youngest; Python's own is 700

_made: dict[tuple[Any, ...], str] = {}


def shared(page: str, toctree: Callable[..., str]) -> Callable[..., str]:
    """Remember what the function returns for all pages that lie as deep as this one."""

    def remembered(**options: Any) -> str:
        key = page.count("/"), *sorted(options.items())
        if key not in _made:
            _made[key] = toctree(**options)
        return _made[key]

    return remembered


def _share(
    _app: Sphinx, page: str, _template: str, context: dict[str, Any], _doctree: object
) -> None:
    if page.startswith(SOURCE):
        context["toctree"] = shared(page, context["toctree"])


def setup(app: Sphinx) -> dict[str, Any]:
    """Tell Sphinx when to call the above: before the theme, which asks for the side bar."""
    gc.set_threshold(ALLOCATIONS, *gc.get_threshold()[1:])
    app.connect("html-page-context", _share, priority=400)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
