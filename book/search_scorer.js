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

// What a result quotes is the page's text, without the buttons above it.
const textOf = Search.htmlToText;
Search.htmlToText = (html, anchor) => {
  const page = new DOMParser().parseFromString(html, "text/html");
  page.querySelectorAll(".bd-header-article, .onlyprint").forEach((e) => e.remove());
  return textOf(page.documentElement.outerHTML, anchor);
};

// A page opened as a file may not fetch the others for a summary: the list of titles is enough.
addEventListener("DOMContentLoaded", () => {
  if (location.protocol === "file:") DOCUMENTATION_OPTIONS.SHOW_SEARCH_SUMMARY = false;
});
