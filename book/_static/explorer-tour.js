// The tour of one minute: a card below the stations that leads from one to the next.
const explorerTour = (() => {
  if (!explorer) return null;
  const { part } = explorer;
  const { tell, make } = attentionRow;
  let at = -1;

  const stops = () =>
    Array.from(part.stops.children).filter(
      ({ dataset }) => dataset.view !== "station=write" || !part.toWrite.hidden,
    );

  function go(to) {
    const all = stops();
    at = to;
    part.card.hidden = !all[at];
    if (part.card.hidden) {
      keepClear();
      return part.tour.focus();
    }
    const [back, next, end] = part.card.querySelectorAll("button");
    back.disabled = at === 0;
    end.hidden = at === all.length - 1;
    next.textContent = end.hidden ? "Done" : "Next";
    const said = all[at].cloneNode(true);
    tell(
      part.card.firstElementChild,
      make("b", {}, `${at + 1}/${all.length} `),
      ...said.childNodes,
    );
    keepClear();
    history.replaceState(null, "", `#${all[at].dataset.view}`);
    explorer.followAddress();
  }

  // What the page scrolls to stands below the card.
  const keepClear = () => {
    const height = part.card.offsetHeight && part.card.offsetHeight + 8;
    document.documentElement.style.setProperty("--ex-tour", `${height}px`);
  };

  if (part.tour) {
    const [back, next, end] = part.card.querySelectorAll("button");
    part.tour.addEventListener("click", () => {
      go(0);
      next.focus({ preventScroll: true });
    });
    back.addEventListener("click", () => go(at - 1));
    next.addEventListener("click", () => go(at + 1));
    end.addEventListener("click", () => go(-1));
    part.card.addEventListener("keydown", ({ key }) => key === "Escape" && go(-1));
  }
  return { end: () => at >= 0 && go(-1) };
})();
