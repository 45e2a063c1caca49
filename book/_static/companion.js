// The theme's markup, mended for keyboards, screen readers and the ends of lines.
addEventListener("load", () => {
  const every = (selector, mend) => document.querySelectorAll(selector).forEach(mend);

  // A button's name holds the words it shows, an icon's title among them.
  every(".search-button-field, details.hide > summary", (e) => e.removeAttribute("aria-label"));
  every(".theme-switch-button", (e) => {
    e.setAttribute("aria-label", "Color mode: Light, Dark or System Settings");
  });
  every(".sidebar-primary-item:has(> .navbar-brand)", (e) => {
    e.setAttribute("role", "navigation");
    e.setAttribute("aria-label", "Title");
  });
  every(".citation-list, .citation", (e) => e.removeAttribute("role"));
  // The lines of a long signature are no definitions.
  every("dt.sig dl", (list) => {
    const lines = Array.from(list.children, ({ childNodes }) => {
      const line = document.createElement("div");
      line.append(...childNodes);
      return line;
    });
    list.replaceWith(...lines);
  });
  // The side bar's folds say what they fold.
  every(".bd-links summary", (e) => {
    const page = e.closest("li").querySelector("a");
    e.setAttribute("aria-label", `Pages of ${page.textContent}`);
  });
  every("i[class*=fa-]", (e) => e.setAttribute("aria-hidden", "true"));

  // Code or a formula wider than its line scrolls, so the keyboard has to reach it, at once, and
  // when it is unfolded too.
  const reach = new ResizeObserver((boxes) =>
    boxes.forEach(({ target }) => {
      const lean = target.matches("span.math") ? 4 : 0; // a slanted letter is nothing to scroll for
      if (target.scrollWidth > target.clientWidth + lean) target.tabIndex = 0;
      else target.removeAttribute("tabindex");
    }),
  );
  every("pre, .pst-scrollable-table-container", (e) => reach.observe(e));
  window.MathJax?.startup?.promise.then(() =>
    every("div.math > mjx-container, span.math", (e) => reach.observe(e)),
  );

  // What a cell prints wraps where a line is a sentence; numbers in columns scroll.
  const isSentence = (line) =>
    /^[\p{L}\p{N}−]/u.test(line) && /\p{L}{2}/u.test(line) && !line.includes("  ");
  every(".cell_output pre", (e) => {
    if ([...e.children].some((part) => part.textContent)) return; // coloured, as an error is
    e.replaceChildren(
      ...e.textContent.split(/(?<=\n)/).map((line) => {
        if (!isSentence(line)) return line;
        const span = document.createElement("span");
        span.style.whiteSpace = "pre-wrap";
        span.append(line);
        return span;
      }),
    );
  });

  // A long name breaks after a dot or an underline, a short one nowhere, and a signature after the
  // module's name or a bracket.
  const wbr = () => document.createElement("wbr");
  every(":is(.bd-content, .page-toc) code .pre", (e) => {
    if (e.children.length) return;
    if (e.textContent.length < 24) {
      e.style.whiteSpace = "nowrap";
      return;
    }
    const parts = e.textContent.split(/(?<=_|\.(?=\w{3}))/).flatMap((part) => [part, wbr()]);
    e.replaceChildren(...parts.slice(0, -1));
  });
  every("dt.sig > :is(.sig-prename, .sig-paren)", (e) => e.append(wbr()));

  // No line begins with the comma after a formula.
  every("span.math", (formula) => {
    const text = formula.nextSibling;
    const marks = text?.nodeType === Node.TEXT_NODE && text.data.match(/^\p{P}+/u)?.[0];
    if (!marks) return;
    text.splitText(marks.length);
    const line = document.createElement("span");
    line.style.whiteSpace = "nowrap";
    formula.replaceWith(line);
    line.append(formula, text);
  });
});

// Paper is light, whatever the reader's theme.
{
  const page = document.documentElement.dataset;
  let theme;
  addEventListener("beforeprint", () => {
    theme = page.theme;
    page.theme = "light";
  });
  addEventListener("afterprint", () => (page.theme = theme));
}
