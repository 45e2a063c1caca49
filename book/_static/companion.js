// What only a browser can know: whether a box has more than it shows, and what was asked to copy or print.
{
  const every = (selector, each) => document.querySelectorAll(selector).forEach(each);

  // Code, a table or a formula wider than its line scrolls, so the keyboard has to reach it, at once,
  // and when it is unfolded too.
  const reach = new ResizeObserver((boxes) => {
    const wide = boxes.map(({ target, contentRect }) =>
      target.matches("math")
        ? contentRect.width > target.closest("p, li, dd, td, th, figcaption, div, section")?.clientWidth
        : target.scrollWidth > target.clientWidth,
    );
    boxes.forEach(({ target }, i) => {
      const box = target.closest("span.math") ?? target;
      if (wide[i]) box.tabIndex = 0;
      else box.removeAttribute("tabindex");
    });
  });
  every("pre, .pst-scrollable-table-container, div.formula, .bd-article span.math > math", (e) => reach.observe(e));

  // Sections that wait for a reader are laid out one by one, when the page is there.
  const waiting = [...document.querySelectorAll(".bd-article > section > section")];
  window.laysOut = true;
  const layOut = () => {
    const section = waiting.shift();
    if (!section) return (window.laysOut = false);
    section.style.contentVisibility = "visible";
    setTimeout(layOut, 30);
  };
  addEventListener("load", () => setTimeout(layOut, 100));

  // Code of some lines can be copied; so can what is typed into a terminal.
  const worthCopying = ".cell_input pre, div:is(.highlight-bash, .highlight-console, .highlight-shell) pre";
  every(worthCopying, (pre) => {
    const text = pre.textContent.replace(/^\$ /gm, "").trimEnd();
    if (pre.closest(".cell_input") && text.split("\n").length < 14) return;
    const button = Object.assign(document.createElement("button"), { type: "button", className: "copy" });
    const say = (words) => {
      button.textContent = words;
      setTimeout(() => (button.textContent = "Copy"), 2000);
    };
    button.textContent = "Copy";
    button.addEventListener("click", () =>
      navigator.clipboard.writeText(text).then(
        () => say("Copied"),
        () => say("Not allowed"),
      ),
    );
    pre.parentElement.append(button);
  });

  // The search comes when it is asked for.
  const load = (name, then) => {
    const script = document.createElement("script");
    script.src = `${document.documentElement.dataset.content_root ?? "./"}_static/${name}`;
    script.onload = then;
    document.head.append(script);
  };
  const find = () => load("search-index.js", () => load("search.js"));
  const fields = document.querySelectorAll(".bd-search input");
  if (document.querySelector("#search-results")) find();
  else fields.forEach((e) => e.addEventListener("focus", find, { once: true }));

  // A menu closes when something else is chosen.
  addEventListener("click", ({ target }) =>
    every("details.page-downloads[open]", (menu) => {
      if (!menu.contains(target) || target.closest("li")) menu.open = false;
    }),
  );

  // Paper is light, whatever the reader's theme.
  const page = document.documentElement.dataset;
  let theme;
  addEventListener("beforeprint", () => {
    theme = page.theme;
    page.theme = "light";
  });
  addEventListener("afterprint", () => (page.theme = theme));
}
