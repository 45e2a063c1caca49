// What a test asks of a page; each answer is a list of what is wrong.
const all = (selector) => [...document.querySelectorAll(selector)];
const start = (element) => element.outerHTML.slice(0, 200);
const size = (element) => element.getBoundingClientRect();

window.checks = {
  // What is folded away is judged too.
  unfold() {
    for (const e of all("details")) e.open = true;
    for (const e of document.images) e.loading = "eager";
    for (const e of all("section")) e.style.contentVisibility = "visible";
    return Promise.allSettled([...document.images].map((e) => e.decode()));
  },

  mathematics() {
    const drawn = (e) => e.querySelector("math > *") && !e.querySelector("merror");
    const wrong = all(".math").filter((e) => !drawn(e) || !size(e.querySelector("math")).width);
    const raw = [];
    const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (texts.nextNode()) {
      const { data, parentElement } = texts.currentNode;
      const shown = !parentElement.closest("code, pre, script, style");
      if (shown && /\$|\\[([]|\\begin/.test(data)) raw.push(data.trim());
    }
    return [...wrong.map(start), ...raw];
  },

  figures() {
    const empty = (e) => e.checkVisibility() && !(size(e).width * size(e).height);
    const unnamed = (e) =>
      !e.closest("[aria-hidden=true]") && !e.ariaLabel && !e.ariaLabelledByElements?.length && !e.querySelector("title");
    const images = all("img").filter(
      (e) => !e.complete || !e.naturalWidth || !e.alt.trim() || empty(e),
    );
    const drawings = all("main svg").filter(
      (e) => !e.closest("button, summary, .admonition-title") && !e.matches(".page-icon"),
    );
    return [...images, ...drawings.filter((e) => empty(e) || unnamed(e))].map(start);
  },

  // What each output of each cell shows.
  outputs() {
    const shown = (e) =>
      size(e).height < 4 ? "nothing"
      : e.querySelector("img") ? "figure"
      : e.innerText.trim() ? "text"
      : "nothing";
    // What is folded below a figure are its numbers, which the notebook does not store.
    const outputs = ".cell_output > :not(details.figure-numbers)";
    return all("div.cell").map((cell) => [...cell.querySelectorAll(outputs)].map(shown));
  },

  tooWide() {
    const { clientWidth, scrollWidth } = document.documentElement;
    if (scrollWidth <= clientWidth) return [];
    const scrolls = (e) => e && (getComputedStyle(e).overflowX !== "visible" || scrolls(e.parentElement));
    const over = all("main *").filter(
      (e) => size(e).right > clientWidth + 1 && !scrolls(e.parentElement),
    );
    return [`${scrollWidth} pixels`, ...over.slice(0, 3).map(start)];
  },

  async accessibility(rules) {
    return violations(document, { rules: disabled(rules) });
  },

  // Text of the same colour, size and weight on the same grounds has the same contrast: what was
  // judged on an earlier page, and in an earlier view of this one, is passed over.
  markNewKinds(judged) {
    known.clear();
    const kinds = new Set(judged);
    for (const e of all("body *").filter(readable)) {
      const kind = kindOf(e);
      if (kinds.has(kind)) continue;
      kinds.add(kind);
      for (let kept = e; kept; kept = kept.parentElement) marked.add(kept);
    }
    return [...kinds].slice(judged.length);
  },

  // axe-core spends most of its time on the colours of each piece of text: keep one of each kind.
  keepOneOfEachKind() {
    for (const e of all("body, body *")) {
      for (const node of marked.has(e) ? e.childNodes : []) {
        if (node.nodeType === Node.ELEMENT_NODE && !marked.has(node)) node.replaceChildren();
      }
    }
  },

  async colours(rules) {
    return violations(document, { runOnly: rules });
  },
};

const marked = new Set();

const disabled = (rules) => Object.fromEntries(rules.map((rule) => [rule, { enabled: false }]));

async function violations(context, options) {
  const { violations } = await axe.run(context, {
    ...options,
    preload: false, // it would ask for style sheets at addresses of its own making
    resultTypes: ["violations"],
  });
  return violations.flatMap(({ id, nodes }) =>
    nodes.map(({ target, html }) => `${id}: ${target.join(" ")}: ${html.slice(0, 200)}`),
  );
}

// What one pixel holds is for screen readers alone.
function readable(element) {
  const text = [...element.childNodes].some((n) => n.nodeType === Node.TEXT_NODE && n.data.trim());
  if (!text || element.closest("math") || !element.checkVisibility()) return false;
  return size(element).width > 1 && size(element).height > 1;
}

function kindOf(element) {
  const { color, fontSize, fontWeight, textDecorationLine } = getComputedStyle(element);
  const around = getComputedStyle(element.parentElement).color;
  return [element.tagName, color, fontSize, fontWeight, textDecorationLine, around, grounds(element)].join();
}

const known = new Map();

function grounds(element) {
  if (!element) return "";
  if (!known.has(element)) {
    const { backgroundColor, backgroundImage, opacity, filter } = getComputedStyle(element);
    const own = [backgroundColor, backgroundImage, opacity, filter].join();
    const none = "rgba(0, 0, 0, 0),none,1,none";
    known.set(element, (own === none ? "" : own) + grounds(element.parentElement));
  }
  return known.get(element);
}
