// The search: what it calls the same, what comes first, and how it shows what it finds.
//
// Every word that is asked for must be there, or every one that is anywhere. A page with them all in its
// title comes first, then one with a section that has; chapters before reference pages; then where the
// title has little else; then where the words stand close together most often. A term of the glossary that
// is just what was asked is the second at the latest, the first where no chapter answers. A word of five
// letters or more finds longer ones that begin with it, a number is one word, and the title of a function
// counts for who spells it as code.
(() => {
  const SAME = [
    ["rope", "rotary"],
    ["backpropagation", "backprop", "backward pass", "gradient"],
    ["flash attention", "flashattention", "tile"],
    ["q", "query"],
    ["k", "key"],
    ["v", "value"],
    ["sqrt", "√", "square root"],
    ["minus infinity", "−∞", "-inf"],
    ["gpu", "cuda", "cupy"],
    ["ffn", "mlp", "feed forward network", "feed forward"],
    ["layernorm", "layer norm", "layer normalization"],
    ["rmsnorm", "rms norm"],
    ["mha", "multi head attention", "many head", "multihead attention"],
    ["gqa", "grouped query attention", "grouped query"],
    ["residual connection", "skip connection", "residual"],
    ["positional encoding", "position", "positional embedding"],
    ["logsumexp", "log sum exp", "lse"],
    ["normalisation", "normalization"],
    ["dot product", "inner product"],
    ["sliding window", "local attention", "window"],
    ["kv cache", "key value cache", "cache"],
  ];
  const SMALL = new Set("a an and as at by for from in is it its of on or the to what with".split(" "));
  const WORD = /\p{L}+|\p{N}+(?:\.\p{N}+)*|[√∞Σ∂‖≤≥≠∈⊕⊙−]/gu;

  const singular = (word) =>
    word.length < 4 || /(ss|us|is)$/.test(word) ? word
    : word.endsWith("ies") ? `${word.slice(0, -3)}y`
    : word.replace(/s$/, "");
  const wordsOf = (text) =>
    (text.toLowerCase().replace(/[-‑](?=inf\b|∞)/g, "−").replace(/[’']s\b/g, "").match(WORD) ?? []).map(singular);

  const same = SAME.map((group) => group.map(wordsOf));
  const begins = (words, at, part) => part.every((word, i) => words[at + i] === word);

  // Each part of a question with the other ways to say it; its own comes first.
  function partsOf(question) {
    const words = wordsOf(question);
    const parts = [];
    for (let at = 0; at < words.length; ) {
      let [length, ways] = [1, []];
      for (const group of same) {
        for (const way of group) {
          if (begins(words, at, way) && (way.length > length || (way.length === length && !ways.length))) {
            [length, ways] = [way.length, group];
          }
        }
      }
      const own = words.slice(at, at + length);
      parts.push([own, ...ways.filter((way) => way.join(" ") !== own.join(" "))]);
      at += length;
    }
    const telling = parts.filter(([own]) => own.some((word) => !SMALL.has(word)));
    return telling.length ? telling : parts;
  }

  const fits = (word, asked, partly) =>
    word === asked || ((partly || asked.length >= 5) && word.startsWith(asked));

  // Where a part stands among the words, and what that is worth: less where it is said in another way.
  function found(words, part, partly = false) {
    const places = [];
    let worth = 0;
    part.forEach((way, other) => {
      for (let at = 0; at + way.length <= words.length; at++) {
        if (!way.every((asked, i) => fits(words[at + i], asked, partly && i === way.length - 1))) continue;
        places.push(at);
        const whole = way.every((asked, i) => words[at + i] === asked);
        worth = Math.max(worth, (other ? 0.8 : 1) * (whole ? 1 : 0.9));
      }
    });
    return { count: places.length, first: Math.min(...places), places, worth };
  }

  function prepared(pages) {
    return pages.map((page, order) => ({
      ...page,
      order,
      title: page.entries[0].title,
      entries: page.entries.map((entry) => ({
        ...entry,
        words: wordsOf(entry.title.replace(/^companion\./, "")),
        all: wordsOf(entry.text),
      })),
    }));
  }
  let pages;
  const ready = () => (pages ??= prepared(searchPages));

  // How well a title answers: the share of its words that is asked for, more where it begins so.
  function closeness(words, hits) {
    const telling = words.filter((word) => !SMALL.has(word)).length || 1;
    const share = hits.reduce((sum, hit) => sum + hit.worth, 0) / telling;
    return Math.min(share, 1) + (hits.some((hit) => hit.first === 0) ? 0.1 : 0);
  }

  // How often all parts stand within a dozen words: the places of the rarest with the others around.
  function together(words, parts) {
    const places = parts.map((part) => found(words, part).places).sort((a, b) => a.length - b.length);
    const near = (at) => places.every((others) => others.some((other) => Math.abs(other - at) <= 12));
    return places[0].filter(near).length;
  }

  function judged(page, entry, parts, spelt, partly) {
    const top = page.entries[0];
    const own = parts.map((part) => found(entry.words, part, partly));
    const above = parts.map((part) => found(top.words, part, partly));
    const text = parts.map((part) => found(entry.all, part));
    const every = (test) => parts.every((_, i) => test(i));
    const titled = { section: true, statement: true, code: spelt, term: partly }[entry.kind];
    const tier =
      titled && every((i) => own[i].count) ? (entry === top ? 4 : entry.kind === "statement" ? 2 : 3)
      : titled && every((i) => own[i].count || above[i].count) && own.some((hit) => hit.count) ? 2
      : every((i) => own[i].count || above[i].count || text[i].count) ? 1
      : 0;
    const close =
      tier > 1 && own.every((hit) => hit.count) ? closeness(entry.words, own)
      : tier > 1 ? closeness([...top.words, ...entry.words], own) / 2
      : 0;
    const counts = parts.map((_, i) => own[i].count + text[i].count);
    return { page, entry, tier, close, counts, many: together([...entry.words, ...entry.all], parts) };
  }

  const better = (a, b) =>
    b.tier - a.tier || a.page.rank - b.page.rank || b.close - a.close || b.many - a.many || a.page.order - b.page.order;
  const isTerm = (entry, words) => entry.kind === "term" && entry.words.join(" ") === words.join(" ");

  // The parts of a question that stand somewhere.
  const known = (parts) =>
    parts.filter((part) => ready().some(({ entries }) =>
      entries.some(({ words, all }) => found(words, part).count || found(all, part).count)));

  // The pages that answer, best first, each with its entries.
  function search(question, parts = partsOf(question)) {
    if (!parts.length) return [];
    const spelt = /[_(]|[a-z]\.[a-z]/i.test(question);
    const answers = [];
    for (const page of ready()) {
      const all = page.entries.map((entry) => judged(page, entry, parts, spelt, false));
      const entries = all.filter(({ tier }) => tier).sort(better);
      const counts = parts.map((_, i) => all.reduce((sum, { counts }) => sum + counts[i], 0));
      const many = all.reduce((sum, { many }) => sum + many, 0) + Math.min(...counts) / 1000;
      if (entries.length) answers.push({ ...entries[0], many, entries });
      else if (Math.min(...counts)) {
        const some = all.filter(({ counts }) => Math.max(...counts));
        answers.push({ page, entry: page.entries[0], tier: 1, close: 0, many, entries: some });
      }
    }
    answers.sort(better);
    const asked = wordsOf(question);
    const term = answers.findIndex(({ entries }) => entries.some(({ entry }) => isTerm(entry, asked)));
    if (term >= 0) {
      const [answer] = answers.splice(term, 1);
      const own = answer.entries.find(({ entry }) => isTerm(entry, asked));
      answers.splice(answers[0]?.page.rank === 0 ? Math.min(term, 1) : 0, 0, { ...answer, entry: own.entry });
    }
    return answers;
  }

  // What a question that is still being typed may become.
  function suggest(question, most = 7) {
    const parts = partsOf(question);
    if (!parts.length || question.trim().length < 2) return [];
    return ready()
      .flatMap((page) => page.entries.map((entry) => judged(page, entry, parts, true, true)))
      .filter(({ tier }) => tier >= 2)
      .sort(better)
      .slice(0, most);
  }

  // The sentence that has most of what is asked for. Below a title that has it all, the first, unless
  // one has it all too.
  function sentence(text, parts, close) {
    const sentences = text.split(/(?<=[.!?…:])\s+(?=\S)/);
    const scores = sentences.map((s) => parts.filter((part) => found(wordsOf(s), part).count).length);
    const most = Math.max(...scores);
    const best = sentences[close && most < parts.length ? 0 : scores.indexOf(most)];
    if (best.length <= 240) return best;
    const words = best.split(" ");
    const at = words.findIndex((word) => parts.some((part) => found(wordsOf(word), part).count));
    const start = Math.max(0, at - 12);
    return `${start ? "… " : ""}${words.slice(start, start + 36).join(" ")}${start + 36 < words.length ? " …" : ""}`;
  }

  const root = document.documentElement.dataset.content_root ?? "./";
  const address = ({ page, entry }) => root + page.path + (entry.anchor && `#${entry.anchor}`);
  const titled = (page) => (page.number ? `${page.number}. ${page.title}` : page.title);
  const make = (tag, properties = {}, ...children) => {
    const element = Object.assign(document.createElement(tag), properties);
    element.append(...children);
    return element;
  };

  // A text with what is asked for marked.
  function marked(text, parts) {
    return text.split(/(\s+)/).map((word) => {
      const asked = parts.some((part) => part.some((way) => way.some((w) => wordsOf(word).some((x) => fits(x, w)))));
      if (!asked) return word;
      const [, before, inner, after] = word.match(/^([^\p{L}\p{N}√∞−]*)(.*?)([.,;:!?)]*)$/u);
      return make("span", {}, before, make("mark", {}, inner), after);
    });
  }

  function shown(answer, parts) {
    const { page, entry, entries } = answer;
    const where = entry.anchor ? `${titled(page)} › ${entry.title}` : titled(page);
    const item = make("li", {}, make("a", { href: address(answer) }, where));
    const quoted = entries.find(({ entry }) => parts.some((part) => found(entry.all, part).count)) ?? answer;
    if (quoted.entry.text) item.append(make("p", { className: "context" }, ...marked(sentence(quoted.entry.text, parts, quoted.close), parts)));
    const others = entries.filter((other) => other.entry !== entry && other.entry.anchor && other.tier >= 1).slice(0, 3);
    if (others.length) {
      const links = others.flatMap((other) => [", ", make("a", { href: address(other) }, other.entry.title)]);
      item.append(make("p", { className: "also" }, "Also there: ", ...links.slice(1), "."));
    }
    return item;
  }

  function show(question) {
    const place = document.querySelector("#search-results");
    const asked = partsOf(question);
    let [parts, answers] = [asked, search(question)];
    if (!answers.length) answers = search(question, (parts = known(asked)));
    const without = asked.filter((part) => !parts.includes(part)).map(([own]) => `“${own.join(" ")}”`);
    const said =
      !answers.length ? `Nothing here has “${question}”.`
      : without.length ? `No page has ${without.join(" or ")}; of the rest:`
      : answers.length === 1 ? "One page:"
      : `${answers.length} pages, the best first:`;
    const list = make("ul", { className: "search" }, ...answers.map((answer) => shown(answer, parts)));
    place.replaceChildren(make("p", { role: "status" }, said), ...(answers.length ? [list] : []));
  }

  // The list below a field: arrows choose, Enter goes there, Escape closes.
  function attend(field, number) {
    const list = make("ul", { className: "suggestions", id: `suggestions-${number}`, hidden: true });
    list.setAttribute("role", "listbox");
    list.setAttribute("aria-label", "Suggestions");
    field.form.append(list);
    const set = (name, value) => field.setAttribute(name, value);
    set("role", "combobox");
    set("aria-autocomplete", "list");
    set("aria-controls", list.id);
    set("aria-expanded", false);
    let chosen = -1;
    const choose = (at) => {
      chosen = at;
      [...list.children].forEach((item, i) => item.setAttribute("aria-selected", i === at));
      if (at < 0) field.removeAttribute("aria-activedescendant");
      else set("aria-activedescendant", list.children[at].id);
      list.children[at]?.scrollIntoView({ block: "nearest" });
    };
    const open = (answers) => {
      list.replaceChildren(
        ...answers.map((answer, i) => {
          const { page, entry } = answer;
          const item = make("li", { id: `${list.id}-${i}` }, make("a", { href: address(answer), tabIndex: -1 }, entry.title));
          if (entry.anchor) item.append(make("span", {}, ` ${titled(page)}`));
          item.setAttribute("role", "option");
          return item;
        }),
      );
      list.hidden = !answers.length;
      set("aria-expanded", !list.hidden);
      choose(-1);
    };
    field.addEventListener("input", () => open(suggest(field.value)));
    field.addEventListener("blur", () => setTimeout(() => list.contains(document.activeElement) || open([]), 150));
    field.addEventListener("keydown", (event) => {
      const { length } = list.children;
      const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
      if (list.hidden) return;
      // Above the first and below the last is the field itself, which is place -1.
      if (step) choose(((chosen + 1 + step + length + 1) % (length + 1)) - 1);
      else if (event.key === "Enter" && chosen >= 0) list.children[chosen].querySelector("a").click();
      else if (event.key === "Escape") open([]);
      else return;
      event.preventDefault();
      event.stopPropagation();
    });
    if (field.value && document.activeElement === field) open(suggest(field.value));
  }

  window.bookSearch = { search, suggest, attend };
  if (document.querySelector("#search-results")) {
    const field = document.querySelector(".bd-search-container input");
    const question = new URLSearchParams(location.search).get("q")?.trim();
    if (question) {
      field.value = question;
      show(question);
    }
  }
  document.querySelectorAll(".bd-search input").forEach(attend);
})();
