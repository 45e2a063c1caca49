// The explorer's frame: its stations, the links to views, the reset; and the start of it all.
(() => {
  if (!explorer) return;
  const { figure, part, stations } = explorer;

  const station = (name) => figure.querySelector(`[data-station="${name}"]`);

  function goTo(section) {
    section.scrollIntoView();
    section.querySelector("h2").focus({ preventScroll: true });
  }

  // The station in sight is the one that the list of stations marks.
  function mark(entries) {
    const seen = entries.filter(({ isIntersecting }) => isIntersecting).at(-1)?.target;
    if (!seen) return;
    for (const link of figure.querySelectorAll(".ex-stations a")) {
      if (link.hash === `#${seen.id}`) link.setAttribute("aria-current", "true");
      else link.removeAttribute("aria-current");
    }
  }

  // The address bar holds the link; where the page may, it is copied too.
  function giveLink(button) {
    const address = explorer.link(button.closest("[data-station]").dataset.station);
    const say = (text) => {
      button.textContent = text;
      setTimeout(() => (button.textContent = "Link to this view"), 2500);
    };
    const inBar = () => say("It is in the address bar");
    if (!navigator.clipboard) return inBar();
    return navigator.clipboard.writeText(address).then(() => say("Copied"), inBar);
  }

  const sheet = {
    read: (given) => {
      if (!given.has("sheet")) return;
      matrixSheet.read(given.get("sheet"));
      if (given.get("station") === "matrices") matrixSheet.reveal();
    },
    write: (view, at) => at === "matrices" && view.set("sheet", matrixSheet.write()),
    reset: () => matrixSheet.reset(),
  };
  const places = {
    read: (given) => {
      const there = station(given.get("station"));
      if (there && !there.hidden) there.scrollIntoView();
    },
  };
  // An experiment is a place within a station: its own, so, comes after the station's.
  stations.splice(0, 0, places);
  stations.push(sheet);

  for (const heading of figure.querySelectorAll("h2")) heading.tabIndex = -1;
  figure.addEventListener("click", (event) => {
    const { target } = event;
    const link = target.closest("a[href^='#']");
    if (target.closest(".ex-link")) giveLink(target.closest(".ex-link"));
    if (!link) return;
    if (link.hash.startsWith("#station-")) {
      event.preventDefault();
      goTo(figure.querySelector(link.hash));
      if (link === part.toWrite) explorerWriter.open();
    } else if (link.hash === location.hash) explorer.followAddress();
  });
  part.reset.addEventListener("click", () => {
    explorerTour.end();
    explorer.startAgain();
  });
  addEventListener("hashchange", explorer.followAddress);

  explorer.start();
  figure.hidden = false;
  document.documentElement.classList.add("explorer-on");
  const sight = new IntersectionObserver(mark, { rootMargin: "-30% 0px -50%" });
  for (const section of figure.querySelectorAll("[data-station]")) sight.observe(section);
  explorer.followAddress();
})();
