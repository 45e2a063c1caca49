// Station 1: whom a word looks at, in each head of a layer.
(() => {
  if (!explorer) return;
  const { choose, fixed, isHidden, keyInView, map, name, part, places, state, tokens } = explorer;
  const { make, paint, tell } = attentionRow;
  let peek = null; // the row that a mouse points at

  const percent = (w) => `${Math.round(100 * w)}`;
  const measured = () => explorer.data().measured;

  function layOut() {
    const { heads, layer, sentences } = explorer.data();
    part.sentence.replaceChildren(
      ...sentences.map(({ text }, s) => make("option", { value: s }, text)),
    );
    attentionRow.layOut(part.words, tokens());
    const columns = tokens().map((token) => make("th", { scope: "col" }, make("span", {}, token)));
    part.map.replaceChildren(
      part.map.caption,
      make("thead", {}, make("tr", {}, make("td", {}, "key\u00a0→ query\u00a0↓"), ...columns)),
      make("tbody", {}, ...places().map(mapRow)),
    );
    if (part.heads.dataset.layer === String(layer)) return;
    part.heads.dataset.layer = layer;
    const choices = Array.from({ length: heads }, headChoice);
    part.heads.replaceChildren(part.heads.firstElementChild, ...choices);
  }

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
      make("span", {}, `${explorer.data().layer}.${h}`),
      make("small", {}, measured()[h].name),
    );

  function draw() {
    peek = null;
    part.layer.value = state.layer;
    part.sentence.value = state.sentence;
    part.heads.querySelectorAll("input")[state.head].checked = true;
    part.heads.querySelectorAll("canvas").forEach(drawThumbnail);
    part.root.checked = state.root;
    part.causal.checked = state.causal;
    part.rest.checked = !state.rest;
    part.temperature.value = state.temperature;
    part.degrees.textContent = state.temperature.toFixed(1);
    tell(part.does, ...whatItDoes());
    drawMap();
    drawRow();
  }

  function drawThumbnail(canvas, h) {
    const { weights } = explorer.maps()[h];
    canvas.width = canvas.height = weights.length;
    const pixels = new ImageData(weights.length, weights.length);
    weights.flat().forEach((w, p) => pixels.data.set([47, 116, 192, 255 * w ** 0.6], 4 * p));
    canvas.getContext("2d").putImageData(pixels, 0, 0);
  }

  // What the head was measured to do, with no rule changed.
  function whatItDoes() {
    const { long, share, rows, rest, words } = measured()[state.head];
    const bold = (w) => make("b", {}, `${percent(w)}\u00a0%`);
    const does = long
      ? [bold(share), ` to ${long}: a mean over the ${rows} in the four sentences. `]
      : [
          "less than a quarter each to the noun of a pronoun, the same word, the token before " +
            "and the one after. ",
        ];
    const { layer, head } = state;
    return [
      `Head ${layer}.${head}, which is head ${head} of layer ${layer}, counted from 0, gives `,
      ...does,
      `Over all ${words} words, and with no rule changed, it gives `,
      bold(rest),
      " to [CLS], which is none of them: so far it is at rest.",
    ];
  }

  function drawMap() {
    const { weights } = map();
    for (const cell of part.map.querySelectorAll("button")) {
      const [i, j] = [Number(cell.dataset.row), Number(cell.dataset.key)];
      const weight = weights[i][j];
      const chosen = i === state.token && j === keyInView();
      paint(cell, weight, isHidden(i, j));
      const shown = isHidden(i, j) ? "–" : percent(weight);
      const said = isHidden(i, j) ? "hidden" : `${shown}\u00a0%, ${fixed(weight)}`;
      cell.textContent = shown;
      cell.setAttribute("aria-label", `${name(i)} to ${name(j)}: ${said}`);
      cell.setAttribute("aria-pressed", chosen);
      cell.tabIndex = chosen ? 0 : -1;
    }
    const [i, j] = [state.token, keyInView()];
    const number = make("b", {}, isHidden(i, j) ? "hidden" : fixed(weights[i][j]));
    part.cell.replaceChildren(...explorer.worded([i, " → ", j]), number);
  }

  // The row of the chosen token stays marked while another is pointed at.
  function drawRow() {
    const i = peek ?? state.token;
    const row = map().weights[i];
    attentionRow.draw(part.words, row, i, state.token, (j) => isHidden(i, j));
    for (const line of part.map.tBodies[0].rows) {
      const at = Number(line.dataset.row);
      line.classList.toggle("ex-chosen", at === state.token);
      line.classList.toggle("ex-pointed", at === i && at !== state.token);
    }
    tell(part.said, ...attentionRow.said(tokens(), row, i));
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

  const switchRule = (change) => choose({ ...change, key: state.key });

  const on = (element, event, act) => element.addEventListener(event, act);
  const numbered = (element, key, act = choose) =>
    on(element, "change", ({ target }) => act({ [key]: Number(target.value) }));
  numbered(part.layer, "layer");
  numbered(part.sentence, "sentence");
  numbered(part.heads, "head");
  numbered(part.words, "token");
  on(part.root, "change", ({ target }) => switchRule({ root: target.checked }));
  on(part.causal, "change", ({ target }) => switchRule({ causal: target.checked }));
  on(part.rest, "change", ({ target }) => switchRule({ rest: !target.checked }));
  on(part.temperature, "input", ({ target }) => {
    switchRule({ temperature: Number(target.value) });
  });
  on(part.map, "click", ({ target }) => {
    const { row, key } = target.closest("button")?.dataset ?? {};
    if (key) choose({ token: Number(row), key: Number(key) });
  });
  on(part.map, "keydown", moveOnMap);
  for (const area of [part.words, part.map]) attentionRow.follow(area, pointAt);
  explorer.stations.push({ layOut, draw });
})();
