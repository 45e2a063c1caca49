// A sentence whose words show how much of its weight one of them gives to each: the cover's row and
// the explorer's, and what both say of it.
const attentionRow = (() => {
  const ENDINGS = { one: "st", two: "nd", few: "rd", other: "th" };
  const rules = new Intl.PluralRules("en", { type: "ordinal" });
  const ordinal = (n) => n + ENDINGS[rules.select(n)];

  const percent = (w) => (w > 0 && w < 0.005 ? "<\u00a01\u00a0%" : `${Math.round(100 * w)}\u00a0%`);

  // A token, and which one where several are alike.
  function name(tokens, i) {
    const alike = tokens.flatMap((token, j) => (token === tokens[i] ? [j] : []));
    return tokens[i] + (alike.length > 1 ? ` (${ordinal(alike.indexOf(i) + 1)})` : "");
  }

  function make(tag, attributes = {}, ...children) {
    const element = document.createElement(tag);
    Object.entries(attributes).forEach(([key, value]) => element.setAttribute(key, value));
    element.append(...children);
    return element;
  }

  // Only what is new is said aloud.
  function tell(place, ...children) {
    const news = make("div", {}, ...children);
    if (news.textContent !== place.textContent) place.replaceChildren(...news.childNodes);
  }

  // Strings stay, a number becomes the token at that place.
  const worded = (tokens, parts) =>
    parts.map((text) => (typeof text === "number" ? make("em", {}, name(tokens, text)) : text));

  function said(tokens, row, i) {
    const order = tokens.map((_, j) => j).sort((a, b) => row[b] - row[a]);
    const told = order.slice(0, 4).filter((j, rank) => rank === 0 || row[j] >= 0.1);
    if (row[order[0]] === 0) return worded(tokens, [i, " gives nothing: it sees no word."]);
    const rest = 1 - told.reduce((sum, j) => sum + row[j], 0);
    const shares = told.flatMap((j) => [", ", make("b", {}, percent(row[j])), " to ", j]).slice(1);
    const end = rest < 0.005 ? "." : `, ${percent(rest)} to all others together.`;
    return worded(tokens, [i, " gives ", ...shares, end]);
  }

  const word = (token, i) =>
    make(
      "label",
      { class: "ex-word", "data-row": i },
      make("span", { class: "ex-share" }),
      make("span", { class: "ex-bar" }),
      make("input", { type: "radio", name: "ex-token", value: i }),
      make("span", { class: "ex-token" }, token),
    );

  const layOut = (words, tokens) =>
    words.replaceChildren(words.firstElementChild, ...tokens.map(word));

  function paint(element, weight, isHidden = false) {
    element.style.setProperty("--w", weight.toFixed(4));
    element.classList.toggle("ex-strong", weight >= 0.5);
    element.classList.toggle("ex-hidden", isHidden);
  }

  // The row of token i, while `chosen` is the word that stays.
  function draw(words, row, i, chosen, isHidden = () => false) {
    words.querySelectorAll(".ex-word").forEach((label, j) => {
      paint(label, row[j], isHidden(j));
      label.classList.toggle("ex-asks", j === i);
      label.querySelector("input").checked = j === chosen;
      label.firstElementChild.textContent = isHidden(j) ? "hidden" : percent(row[j]);
    });
  }

  // Calls `act` with the row that a mouse moves to, and with null when it leaves: what slides under
  // a mouse at rest is not pointed at.
  function follow(area, act) {
    const pointAt = ({ type, pointerType, target }) => {
      if (pointerType !== "mouse") return;
      const row = type === "pointerleave" ? null : target.closest("[data-row]")?.dataset.row;
      act(row ? Number(row) : null);
    };
    area.addEventListener("pointermove", pointAt);
    area.addEventListener("pointerleave", pointAt);
  }

  return { draw, follow, layOut, make, name, paint, said, tell, worded };
})();
