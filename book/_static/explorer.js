// The attention explorer: the page around the arithmetic of explorer-attention.js
// and the row of attention-row.js.
(() => {
  const figure = document.querySelector(".explorer");
  if (!figure) return;

  const START = { sentence: 2, head: 4, token: 7, key: null };
  const RULES = { root: true, causal: false, temperature: 1 };
  const PRODUCTS = 4; // so many are written out

  const { make, paint, tell } = attentionRow;
  const { layer, heads, width, gram, sentences } = unpacked();
  const part = named("[data-part]", "part");
  const forms = named("form", "experiment");
  const state = { ...START, ...RULES };
  let maps; // scores, weights and output of every head
  let peek = null; // the row that a mouse points at

  function named(selector, key) {
    return Object.fromEntries(
      Array.from(figure.querySelectorAll(selector), (element) => [element.dataset[key], element]),
    );
  }

  function unpacked() {
    const data = JSON.parse(document.getElementById("explorer-data").textContent);
    const { heads, width } = data;
    const sentences = data.sentences.map(({ text, tokens, lengths, ...roles }) => {
      const [query, key, value] = [roles.query, roles.key, roles.value].map((packed) =>
        attention.unpack(packed, heads, tokens.length, width),
      );
      return {
        text,
        tokens,
        lengths: attention.unpack(lengths, tokens.length),
        heads: query.map((_, h) => ({ query: query[h], key: key[h], value: value[h] })),
      };
    });
    return { ...data, sentences, gram: attention.unpack(data.gram, heads, width, width) };
  }

  const sentence = () => sentences[state.sentence];
  const head = () => sentence().heads[state.head];
  const map = () => maps[state.head];
  const tokens = () => sentence().tokens;
  const places = () => tokens().map((_, i) => i);
  const largest = (row) => row.indexOf(Math.max(...row));
  const keyInView = () => state.key ?? largest(map().weights[state.token]);
  const isHidden = (i, j) => map().scores[i][j] === -Infinity;

  // Words and elements

  const fixed = (x, digits = 4) =>
    (Number.isFinite(x) ? x.toFixed(digits) : "-∞").replace("-", "−");

  const name = (i) => attentionRow.name(tokens(), i);
  const worded = (parts) => attentionRow.worded(tokens(), parts);

  // The view in the address

  const address = () => new URLSearchParams(location.hash.slice(1));

  function viewInAddress() {
    const given = address();
    const place = (key, count) => {
      const text = given.get(key);
      return /^\d+$/.test(text) && Number(text) < count ? Number(text) : START[key];
    };
    const chosen = place("sentence", sentences.length);
    const count = sentences[chosen].tokens.length;
    const temperature = Number(given.get("temperature"));
    return {
      sentence: chosen,
      head: place("head", heads),
      token: place("token", count),
      key: place("key", count),
      root: given.get("root") !== "off",
      causal: given.get("mask") === "on",
      temperature: temperature >= 0.1 && temperature <= 4 ? temperature : RULES.temperature,
    };
  }

  function writeAddress() {
    const { sentence, head, token, key, root, causal, temperature } = state;
    const view = new URLSearchParams({ sentence, head, token });
    if (key !== null) view.set("key", key);
    if (!root) view.set("root", "off");
    if (causal) view.set("mask", "on");
    if (temperature !== RULES.temperature) view.set("temperature", temperature);
    history.replaceState(null, "", `#${view}`);
  }

  // What is laid out once for a sentence

  const option = (i) => make("option", { value: i }, name(i));
  const options = () => places().map(option);

  function layOut() {
    attentionRow.layOut(part.words, tokens());
    const columns = tokens().map((token) => make("th", { scope: "col" }, make("span", {}, token)));
    part.map.replaceChildren(
      part.map.caption,
      make("thead", {}, make("tr", {}, make("td", {}, "key\u00a0→ query\u00a0↓"), ...columns)),
      make("tbody", {}, ...places().map(mapRow)),
    );
    for (const select of [part.query, part.key]) select.replaceChildren(...options());
    for (const group of figure.querySelectorAll("[data-tokens]")) {
      group.replaceChildren(group.firstElementChild, ...places().map((i) => guess(group, i)));
    }
    layOutChanges();
  }

  function layOutChanges() {
    const { value, future } = forms;
    value.token.replaceChildren(...options());
    value.other.replaceChildren(
      make("option", { value: "zero" }, "zero"),
      make("option", { value: "twice" }, "twice itself"),
      make("optgroup", { label: "the value of" }, ...options()),
    );
    future.token.replaceChildren(...options().slice(1, -1));
    future.other.replaceChildren(...options());
    value.token.value = future.other.value = 2;
    future.token.value = tokens().length >> 1;
  }

  const guess = ({ dataset }, i) =>
    make(
      "label",
      {},
      make("input", { type: "radio", name: dataset.tokens, value: i, required: "" }),
      ` ${name(i)}`,
    );

  function mapRow(i) {
    const cell = (j) =>
      make("td", {}, make("button", { type: "button", "data-row": i, "data-key": j }));
    const title = make("th", { scope: "row" }, tokens()[i]);
    return make("tr", { "data-row": i }, title, ...places().map(cell));
  }

  const headChoice = (_, h) =>
    make(
      "label",
      { class: "ex-head" },
      make("input", { type: "radio", name: "ex-head", value: h }),
      make("canvas", { "aria-hidden": "true" }),
      `${layer}.${h}`,
    );

  // What every choice draws anew

  function draw() {
    maps = sentence().heads.map((one) => attention.attend(one, state));
    part.sentence.value = state.sentence;
    part.heads.querySelectorAll("input")[state.head].checked = true;
    part.heads.querySelectorAll("canvas").forEach(drawThumbnail);
    part.root.checked = state.root;
    part.causal.checked = state.causal;
    part.temperature.value = state.temperature;
    part.degrees.textContent = state.temperature.toFixed(1);
    part.name.textContent = `${layer}.${state.head}`;
    drawMap();
    drawRow();
    drawSteps();
    Object.values(forms).forEach(answer);
  }

  function drawThumbnail(canvas, h) {
    const { weights } = maps[h];
    canvas.width = canvas.height = weights.length;
    const pixels = new ImageData(weights.length, weights.length);
    weights.flat().forEach((w, p) => pixels.data.set([47, 116, 192, 255 * w ** 0.6], 4 * p));
    canvas.getContext("2d").putImageData(pixels, 0, 0);
  }

  function drawMap() {
    for (const cell of part.map.querySelectorAll("button")) {
      const [i, j] = [Number(cell.dataset.row), Number(cell.dataset.key)];
      const weight = map().weights[i][j];
      const chosen = i === state.token && j === keyInView();
      paint(cell, weight, isHidden(i, j));
      cell.textContent = isHidden(i, j) ? "–" : Math.round(100 * weight);
      const said = isHidden(i, j) ? "hidden" : fixed(weight);
      cell.setAttribute("aria-label", `${name(i)} to ${name(j)}: ${said}`);
      cell.setAttribute("aria-pressed", chosen);
      cell.tabIndex = chosen ? 0 : -1;
    }
  }

  function drawRow() {
    const i = peek ?? state.token;
    const row = map().weights[i];
    attentionRow.draw(part.words, row, i, state.token, (j) => isHidden(i, j));
    for (const line of part.map.tBodies[0].rows) {
      line.classList.toggle("ex-asks", Number(line.dataset.row) === i);
    }
    tell(part.said, ...attentionRow.said(tokens(), row, i));
  }

  function drawSteps() {
    const [i, j] = [state.token, keyInView()];
    const [q, k] = [head().query[i], head().key[j]];
    const { largest, others, rest } = attention.largestProducts(q, k, PRODUCTS);
    const s = attention.steps(q, k, map().scores[i], j, state);
    const mask = !state.causal ? "off" : isHidden(i, j) ? "hidden" : "may be seen";
    const cooling = `÷ temperature ${part.degrees.value}`;
    part.query.value = i;
    part.key.value = j;
    part.steps.replaceChildren(
      ...largest.map(product),
      step("ex-term", rest, `the other ${others} products`),
      step("ex-sum", s.product, "q · k, their sum"),
      step(state.root ? "" : "ex-off", s.rooted, `÷ √${width}`, state.root ? "" : ": off"),
      step(state.temperature === 1 ? "ex-off" : "", s.cooled, cooling),
      step(state.causal ? "" : "ex-off", s.score, `causal mask: ${mask}`),
      step("", s.shifted, `− the row’s largest, ${fixed(s.top)}`),
      step("", s.power, "exp"),
      step("ex-weight", s.weight, `÷ the row’s sum, ${fixed(s.total)}`),
    );
  }

  function product({ entry, q, k, product }) {
    const letters = ["q", make("sub", {}, entry + 1), " k", make("sub", {}, entry + 1)];
    const factor = k < 0 ? `(${fixed(k, 3)})` : fixed(k, 3);
    return step("ex-term", product, ...letters, ` = ${fixed(q, 3)} · ${factor}`);
  }

  function step(kind, value, ...what) {
    const title = make("th", { scope: "row" }, ...what);
    return make("tr", { class: kind }, title, make("td", {}, fixed(value)));
  }

  // Predictions and answers

  function answer(form) {
    const [says, table] = form.querySelector(".ex-answer").children;
    table.hidden = !form.dataset.asked;
    if (table.hidden) {
      tell(says, make("p", { class: "ex-wait" }, "Your prediction first."));
      return;
    }
    const { lengths } = sentence();
    const view = { head: head(), gram: gram[state.head], lengths, settings: state };
    const choice = Object.fromEntries(new FormData(form));
    const found = experiments[form.dataset.experiment](view, choice);
    tell(says, ...found.verdicts.map(judged), make("p", {}, ...worded(found.why)));
    const columns = found.columns.map((title) => make("th", { scope: "col" }, ...worded(title)));
    const longest = Math.max(...found.bars, Number.MIN_VALUE);
    const row = (numbers, i) =>
      make(
        "tr",
        { style: `--w: ${found.bars[i] / longest}` },
        make("th", { scope: "row" }, name(i)),
        ...numbers.map((text) => make("td", {}, text)),
      );
    table.replaceChildren(
      make("thead", {}, make("tr", {}, ...columns)),
      make("tbody", {}, ...found.rows.map(row)),
    );
  }

  function judged({ right, said, truth }) {
    const parts = right ? ["✓ As you said: "] : ["✗ You said ", said, "; it is "];
    return make("p", { class: "ex-verdict" }, ...worded([...parts, truth, "."]));
  }

  function askAnew(form) {
    delete form.dataset.asked;
    for (const radio of form.querySelectorAll("input")) radio.checked = false;
  }

  // Choices

  function show(view) {
    const other = view.sentence !== state.sentence;
    if (other || view.head !== state.head) Object.values(forms).forEach(askAnew);
    Object.assign(state, view);
    state.token = Math.min(state.token, tokens().length - 1);
    peek = null;
    if (other) layOut();
    draw();
  }

  // A new row is met at its largest weight, unless a key is chosen with it.
  function choose(change) {
    show({ ...state, key: null, ...change });
    writeAddress();
  }

  const switchRule = (change) => choose({ ...change, key: state.key });

  function startAgain() {
    Object.values(forms).forEach(askAnew);
    layOutChanges();
    show({ ...START, ...RULES });
    history.replaceState(null, "", location.pathname + location.search);
  }

  function followAddress() {
    if (!location.hash.includes("=")) return;
    show(viewInAddress());
    forms[address().get("experiment")]?.scrollIntoView();
  }

  function moveOnMap(event) {
    const ways = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
    const way = ways[event.key];
    if (!way) return;
    event.preventDefault();
    const within = (x) => Math.max(0, Math.min(tokens().length - 1, x));
    choose({ token: within(state.token + way[0]), key: within(keyInView() + way[1]) });
    part.map.querySelector("[aria-pressed=true]").focus();
  }

  function pointAt(row) {
    if (row === peek) return;
    peek = row;
    drawRow();
  }

  function listen() {
    const on = (element, event, act) => element.addEventListener(event, act);
    on(part.sentence, "change", ({ target }) => choose({ sentence: Number(target.value) }));
    on(part.heads, "change", ({ target }) => choose({ head: Number(target.value) }));
    on(part.words, "change", ({ target }) => choose({ token: Number(target.value) }));
    on(part.query, "change", ({ target }) => {
      choose({ token: Number(target.value), key: keyInView() });
    });
    on(part.key, "change", ({ target }) => choose({ key: Number(target.value) }));
    on(part.root, "change", ({ target }) => switchRule({ root: target.checked }));
    on(part.causal, "change", ({ target }) => switchRule({ causal: target.checked }));
    on(part.temperature, "input", ({ target }) => {
      switchRule({ temperature: Number(target.value) });
    });
    on(part.map, "click", ({ target }) => {
      const { row, key } = target.closest("button")?.dataset ?? {};
      if (key) choose({ token: Number(row), key: Number(key) });
    });
    on(part.map, "keydown", moveOnMap);
    for (const area of [part.words, part.map]) attentionRow.follow(area, pointAt);
    for (const form of Object.values(forms)) {
      on(form, "change", ({ target }) => {
        if (target.matches("select")) askAnew(form);
        answer(form);
      });
      on(form, "submit", (event) => {
        event.preventDefault();
        form.dataset.asked = "yes";
        answer(form);
      });
    }
    on(part.reset, "click", startAgain);
    addEventListener("hashchange", followAddress);
  }

  part.sentence.append(...sentences.map(({ text }, s) => make("option", { value: s }, text)));
  part.heads.append(...Array.from({ length: heads }, headChoice));
  layOut();
  draw();
  listen();
  figure.hidden = false;
  document.documentElement.classList.add("explorer-on");
  followAddress();
})();
