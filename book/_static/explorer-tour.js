// The tour of one minute: a card at the foot of the page that leads from station to station.
const explorerTour = (() => {
  if (!explorer) return null;
  const { part } = explorer;
  const { tell, make } = attentionRow;
  const SHE = "sentence=2&head=4&token=7";
  const STOPS = [
    [`${SHE}&station=look`, "Choose a word and see whom it looks at: this head gives most of she to girl. Twelve heads look in twelve ways; the line below them says what this one was measured to do."],
    [`${SHE}&key=2&station=arithmetic`, "The weight of girl, from the start: a query meets a key, product by product, and the softmax turns the score into a share. Then the shares mix the value rows, and W^O takes the mixture into the row of she."],
    ["sheet=0,0,s.2.1&station=matrices", "The same on five words, whole: every matrix stands on one sheet. Point at an entry, and what makes it lights up; change it, and what follows moves."],
    [`${SHE}&experiment=value&station=predict`, "Now you: write down what will happen, then look. The first answer surprises many."],
    ["station=write", "And this is where it leads: a small model writes on behind your own words, one token at a time, and shows what each of its heads looked at."],
  ];
  let at = -1;

  const stops = () => STOPS.filter(([view]) => view !== "station=write" || !part.toWrite.hidden);

  function go(to) {
    const all = stops();
    at = to;
    part.card.hidden = !all[at];
    if (part.card.hidden) return part.tour.focus();
    const [view, text] = all[at];
    history.replaceState(null, "", `#${view}`);
    explorer.followAddress();
    const [back, next] = part.card.querySelectorAll("button");
    back.disabled = at === 0;
    next.textContent = at === all.length - 1 ? "Done" : "Next";
    const said = text.split(/(\^\w)/).map((p) => (p[0] === "^" ? make("sup", {}, p[1]) : p));
    tell(part.card.firstElementChild, make("b", {}, `${at + 1}/${all.length} `), ...said);
  }

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
