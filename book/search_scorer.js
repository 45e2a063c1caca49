// How the search ranks what it finds and what it calls it: Sphinx takes this object as it is.
var Scorer = {
  // A term of the glossary or a sign of the notation is found by its name in the index, so that
  // name is what the list shows, and not only the page's.
  score: (result) => {
    const [page, , anchor, description, score] = result;
    const name = anchor && description === null && Scorer.nameOf(page, anchor.slice(1));
    if (name) [result[1], result[3]] = [name, `in ${Scorer.titleOf(page)}`];
    // A statement's title comes with brackets: "Causal masks >  (No leak)".
    else result[1] = result[1].replace(/ >\s+\((.*)\)$/, " > $1");
    return score;
  },

  titleOf: (page) => Search._index.titles[Search._index.docnames.indexOf(page)],

  nameOf: (page, id) => {
    const file = Search._index.docnames.indexOf(page);
    const entries = Object.entries(Search._index.indexentries);
    const name = entries.find(([, places]) => places.some((p) => p[0] === file && p[1] === id))?.[0];
    // The index is in small letters; an anchor that spells the same keeps the capitals.
    const spelt = id.replace(/^term-/, "").replaceAll("-", " ");
    return spelt.toLowerCase() === name ? spelt : name;
  },

  // Sphinx's own weights, but for what an object of the library adds: a chapter with the word in
  // its title comes before a function.
  objNameMatch: 11,
  objPartialMatch: 6,
  objPrio: { 0: 2, 1: 3, 2: -5 },
  objPrioDefault: 0,
  title: 15,
  partialTitle: 7,
  term: 5,
  partialTerm: 2,
};

// What a result quotes is the page's text, without the buttons above it and what is folded, and a
// formula in it is written with the signs that have a letter of their own; a colon parts a term from
// its entry, a space one cell of a table from the next.
const SIGNS = {
  sqrt: "√", cdot: "·", times: "×", odot: "⊙", oplus: "⊕", circ: "∘", pm: "±", sum: "Σ",
  partial: "∂", infty: "∞", dots: "…", ldots: "…", cdots: "…", lVert: "‖", rVert: "‖", ell: "ℓ",
  le: "≤", leq: "≤", ge: "≥", geq: "≥", ne: "≠", neq: "≠", approx: "≈", in: "∈", notin: "∉",
  to: "→", rightarrow: "→", leftarrow: "←", mapsto: "↦",
  alpha: "α", beta: "β", gamma: "γ", delta: "δ", varepsilon: "ε", theta: "θ", kappa: "κ",
  lambda: "λ", mu: "μ", pi: "π", rho: "ρ", sigma: "σ", phi: "φ", varphi: "φ", psi: "ψ", omega: "ω",
  Delta: "Δ", Pi: "Π", Sigma: "Σ", Phi: "Φ",
  max: "max", min: "min", log: "log", exp: "exp", sin: "sin", cos: "cos", tanh: "tanh",
  text: "", operatorname: "", mathbb: "", mathcal: "", mathsf: "",
};
const inLetters = (tex) =>
  tex
    .replaceAll("^{\\mathsf T}", "ᵀ")
    .replace(/\\[^A-Za-z]/g, "")
    .replace(/\\([A-Za-z]+)/g, (_, word) => SIGNS[word] ?? " ")
    .replace(/[{}]/g, "");
const textOf = Search.htmlToText;
Search.htmlToText = (html, anchor) => {
  const page = new DOMParser().parseFromString(html, "text/html");
  const unread = ".bd-header-article, .onlyprint, div.math, .figure-numbers, details > summary";
  page.querySelectorAll(unread).forEach((e) => e.remove());
  page.querySelectorAll("span.math").forEach((e) => (e.textContent = inLetters(e.textContent)));
  page.querySelectorAll("dl.glossary dt").forEach((e) => e.append(":"));
  page.querySelectorAll("th, td, dt").forEach((e) => e.append(" "));
  return textOf(page.documentElement.outerHTML, anchor).replace(/\s+/g, " ").trim();
};

// A word is looked up as a property of the index, and every object has some that no page holds, such
// as "constructor".
const setIndex = Search.setIndex;
Search.setIndex = (index) => {
  const bare = Object.create(null, { hasOwnProperty: { value: Object.prototype.hasOwnProperty } });
  for (const words of [index.terms, index.titleterms]) Object.setPrototypeOf(words, bare);
  setIndex(index);
};

// A quotation begins and ends with whole words.
const summaryOf = Search.makeSearchSummary;
Search.makeSearchSummary = (...given) => {
  const summary = summaryOf(...given);
  if (summary) {
    summary.textContent = summary.textContent
      .replace(/^\.{3}\S*\s+/, "… ")
      .replace(/\s+\S*\.{3}$/, " …");
  }
  return summary;
};

// A page opened as a file may not fetch the others for a summary: the list of titles is enough.
addEventListener("DOMContentLoaded", () => {
  if (location.protocol === "file:") DOCUMENTATION_OPTIONS.SHOW_SEARCH_SUMMARY = false;
  // What is found are terms and functions too, several on a page.
  const counted = "Search finished, found ${resultCount} page(s) matching the search query.";
  Documentation.TRANSLATIONS[counted] = "Places found: ${resultCount}.";
});
