"""The style of the list of references: by surname and year, as the text cites."""

from typing import Any

from pybtex.plugin import register_plugin
from pybtex.style.formatting import plain
from pybtex.style.template import names, sentence


class Style(plain.Style):
    """Sets surnames first; a book's draft is set as a book."""

    default_name_style = "lastfirst"

    def format_names(self, role: str, as_sentence: bool = True) -> Any:
        """Part inverted names by semicolons, since each has a comma."""
        listed = names(role, sep="; ", sep2=" and ", last_sep=" and ")
        return sentence[listed] if as_sentence else listed

    def get_unpublished_template(self, e: Any) -> Any:
        """Set the title in italics."""
        return self.get_manual_template(e)


def setup(_app: Any) -> dict[str, Any]:
    """Name the style for `bibtex_default_style`."""
    register_plugin("pybtex.style.formatting", "by_surname", Style)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
