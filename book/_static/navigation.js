// The buttons of the theme: colours, search, and the side bars, which are dialogs on a small screen.
{
  const root = document.documentElement.dataset;
  const every = (selector, each) => document.querySelectorAll(selector).forEach(each);

  // Colours: as the system has them, and then the other way, and back.
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const colour = () => (root.theme = root.mode === "auto" ? (dark.matches ? "dark" : "light") : root.mode);
  dark.addEventListener("change", colour);
  every(".theme-switch-button", (button) =>
    button.addEventListener("click", () => {
      const modes = ["auto", ...(dark.matches ? ["light", "dark"] : ["dark", "light"])];
      root.mode = modes[(modes.indexOf(root.mode) + 1) % 3];
      colour();
      try {
        localStorage.setItem("mode", root.mode);
      } catch {} // then it holds for this page
    }),
  );

  // A click beside a dialog closes it.
  every("dialog", (dialog) =>
    dialog.addEventListener("click", ({ clientX: x, clientY: y, target }) => {
      const { left, right, top, bottom } = dialog.getBoundingClientRect();
      if (target === dialog && (x < left || x > right || y < top || y > bottom)) dialog.close();
    }),
  );

  // The search is a dialog, or the field of its own page.
  const dialog = document.querySelector("#pst-search-dialog");
  const search = () => {
    const field = document.querySelector(".bd-search-container input");
    if (field) field.select();
    else if (dialog.open) dialog.close();
    else dialog.showModal();
  };
  every(".search-button__button", (button) => button.addEventListener("click", search));
  const isMac = /^(Mac|iPhone)/.test(navigator.platform);
  if (isMac) every(".kbd-shortcut__modifier:first-child", (e) => (e.textContent = "⌘"));
  addEventListener("keydown", (event) => {
    const { key, ctrlKey, metaKey, shiftKey, altKey } = event;
    if (key.toLowerCase() !== "k" || shiftKey || altKey || !(isMac ? metaKey : ctrlKey)) return;
    event.preventDefault();
    search();
  });

  // What a side bar holds moves into its dialog, and back when that is closed.
  const move = (from, to) => {
    to.append(...from.childNodes);
    to.classList.add(...from.classList);
    from.className = "";
  };
  for (const [side, least] of [["primary", 992], ["secondary", 1200]]) {
    const bar = document.querySelector(`#pst-${side}-sidebar`);
    const modal = document.querySelector(`#pst-${side}-sidebar-modal`);
    every(bar && modal ? `.${side}-toggle` : "none", (button) =>
      button.addEventListener("click", () => {
        if (innerWidth >= least) bar.classList.toggle("pst-sidebar-hidden");
        else {
          move(bar, modal);
          modal.showModal();
          modal.addEventListener("close", () => (move(modal, bar), button.focus()), { once: true });
        }
      }),
    );
  }

  // The contents of the page mark the section that is read.
  const links = new Map();
  every("#pst-page-toc-nav a", (link) => {
    const section = document.getElementById(decodeURIComponent(link.hash.slice(1)));
    const heading = section?.querySelector("h1, h2, h3, h4, h5, h6") ?? section;
    if (heading) links.set(heading, link);
  });
  const read = new IntersectionObserver(
    (seen) => {
      const link = links.get(seen.filter((entry) => entry.isIntersecting).pop()?.target);
      if (!link) return;
      every("#pst-page-toc-nav .active", (e) => (e.classList.remove("active"), e.removeAttribute("aria-current")));
      link.classList.add("active");
      link.setAttribute("aria-current", "true");
      for (let item = link.closest("li"); item; item = item.parentElement.closest("li")) item.classList.add("active");
    },
    { rootMargin: "0px 0px -70% 0px" },
  );
  for (const heading of links.keys()) read.observe(heading);

  // The side bar shows where in the book one is, once there is time.
  addEventListener("load", () => {
    const bar = document.querySelector(".bd-sidebar-primary");
    const here = bar?.querySelector("li.current > a.current");
    if (here && here.offsetTop > bar.clientHeight) bar.scrollTop = here.offsetTop - bar.clientHeight / 2;
  });
}
