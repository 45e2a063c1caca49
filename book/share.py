"""Make the picture that a shared link shows, of the cover's drawing: `book/_static/share.png`.

    python book/share.py

Needs a Chromium, as `book/pdf.py` does. What it writes is stored: make it again when the drawing
changes.
"""

import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

from book import pdf

STATIC = Path(__file__).parent / "_static"
PAGE = """<!DOCTYPE html>
<meta charset="utf-8">
<style>
  body {{ display: flex; align-items: center; gap: 50px; margin: 0; padding: 0 60px; height: 630px;
         box-sizing: border-box; background: white; color: #1c2733; font: 30px/1.4 sans-serif }}
  h1 {{ margin: 0 0 24px; font-size: 62px; line-height: 1.12 }}
  p {{ margin: 0; color: #48566b }}
  svg {{ flex: none; width: auto; height: 560px; max-width: 560px }}
</style>
<div><h1>Attention as matrix multiplication</h1><p>Every line computed, proved and drawn.</p></div>
{drawing}"""


def main() -> None:
    """Draw the page and store what it looks like."""
    drawing = (STATIC / "cover.svg").read_text(encoding="utf-8").partition("<svg")
    with sync_playwright() as playwright:
        executable = pdf.chromium() or sys.exit("drawing needs a Chromium")
        browser = playwright.chromium.launch(executable_path=executable, args=pdf.OPTIONS)
        page = browser.new_page(viewport={"width": 1200, "height": 630})
        page.set_content(PAGE.format(drawing="".join(drawing[1:])))
        page.screenshot(path=STATIC / "share.png")
        browser.close()


if __name__ == "__main__":
    main()
