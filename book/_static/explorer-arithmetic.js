// Station 2: one weight, step by step, and on: the mixture of the values, W^O, and the row that the
// head's part is added to.
(() => {
  if (!explorer) return;
  const { choose, figure, fixed, head, isHidden, keyInView, map, name, part, places, state } =
    explorer;
  const { make } = attentionRow;
  const PRODUCTS = 4; // so many are written out
  const outputs = {}; // of each layer, once it is loaded
  let asked = false; // whether a reader has come so far
  let most = 0; // the column to which the head adds the most

  const option = (i) => make("option", { value: i }, name(i));
  const sub = (letter, number) => [letter, make("sub", {}, number)];
  const bracketed = (x, digits) => (x < 0 ? `(${fixed(x, digits)})` : fixed(x, digits));

  function layOut() {
    for (const select of [part.query, part.key]) select.replaceChildren(...places().map(option));
  }

  function draw() {
    part.query.value = state.token;
    part.key.value = keyInView();
    drawSteps();
    drawMixture();
    drawOutput();
  }

  function step(kind, value, ...what) {
    const title = make("th", { scope: "row" }, ...what);
    return make("tr", { class: kind }, title, make("td", {}, fixed(value)));
  }

  // From the query and the key to the weight

  function drawSteps() {
    const [i, j] = [state.token, keyInView()];
    const [q, k] = [head().query[i], head().key[j]];
    const { largest, others, rest } = attention.largestProducts(q, k, PRODUCTS);
    const s = attention.steps(q, k, map().scores[i], j, state);
    const masked = state.causal || !state.rest;
    const mask = !masked ? "off" : isHidden(i, j) ? "hidden" : "may be seen";
    part.steps.replaceChildren(
      ...largest.map(product),
      step("ex-term", rest, `the other ${others} products`),
      step("ex-sum", s.product, "q · k, their sum"),
      step(state.root ? "" : "ex-off", s.rooted, `÷ √${q.length}`, state.root ? "" : ": off"),
      step(
        state.temperature === 1 ? "ex-off" : "",
        s.cooled,
        `÷ temperature ${part.degrees.value}`,
      ),
      step(masked ? "" : "ex-off", s.score, `mask: ${mask}`),
      step("", s.shifted, `− the row’s largest, ${fixed(s.top)}`),
      step("", s.power, "exp"),
      step("ex-weight", s.weight, `÷ the row’s sum, ${fixed(s.total)}`),
    );
  }

  function product({ entry, q, k, product }) {
    const factors = ` = ${fixed(q, 3)} · ${bracketed(k, 3)}`;
    return step("ex-term", product, ...sub("q", entry + 1), " ", ...sub("k", entry + 1), factors);
  }

  // The weights times the value rows

  function drawMixture() {
    const { entry, token } = state;
    const { value } = head();
    const weights = map().weights[token];
    part.entry.value = entry;
    part.entry.max = value[0].length - 1;
    part.entryName.textContent = `${entry + 1} of ${value[0].length}`;
    const row = (j) =>
      make(
        "tr",
        { class: j === keyInView() ? "ex-chosen" : "", style: `--w: ${weights[j].toFixed(4)}` },
        make("th", { scope: "row" }, name(j)),
        make("td", {}, fixed(weights[j])),
        make("td", {}, fixed(value[j][entry])),
        make("td", {}, fixed(weights[j] * value[j][entry])),
      );
    const sum = make(
      "th",
      { scope: "row", colspan: 3 },
      "z",
      make("sub", {}, entry + 1),
      ", the sum",
    );
    const total = make("tr", { class: "ex-sum" }, sum, make("td", {}, fixed(mixed()[entry])));
    part.mixture.replaceChildren(...places().map(row), total);
    drawStrips(part.values, [...value, mixed()], entry);
  }

  const mixed = () => map().output[state.token];

  // Rows of numbers as shades, each column as wide as the drawing allows; one column is outlined.
  function drawStrips(canvas, rows, column) {
    const [width, height] = [rows[0].length, rows.length];
    canvas.width = width;
    canvas.height = height;
    const largest = Math.max(...rows.flatMap((row) => Array.from(row, Math.abs)));
    const pixels = new ImageData(width, height);
    rows.forEach((row, i) =>
      row.forEach((x, c) => {
        const hue = x < 0 ? [196, 98, 16] : [47, 116, 192];
        pixels.data.set([...hue, 255 * Math.sqrt(Math.abs(x) / largest)], 4 * (i * width + c));
      }),
    );
    canvas.getContext("2d").putImageData(pixels, 0, 0);
    canvas.parentElement.style.setProperty("--at", (column + 0.5) / width);
    canvas.parentElement.style.setProperty("--rows", height);
  }

  // W^O, and into the row

  function load() {
    asked = true;
    const { layer } = state;
    const name = `output-${layer}`;
    if (outputs[layer]) return;
    const address = figure.querySelector(`[data-layer="${layer}"]`).dataset.output;
    explorerData.load(name, address).then((packed) => {
      outputs[layer] = unpacked(packed);
      drawOutput();
    });
  }

  function unpacked({ weights, bias, inputs }) {
    const { heads, width, sentences } = explorer.data();
    const numbers = attention.halves(weights);
    const outer = numbers.length / (heads * width);
    return {
      weights: attention.unpack(numbers, heads, width, outer),
      bias: attention.unpack(bias, outer),
      inputs: inputs.map((packed, s) =>
        attention.unpack(packed, sentences[s].tokens.length, outer),
      ),
    };
  }

  function drawOutput() {
    const there = outputs[state.layer];
    part.output.hidden = !there;
    part.waiting.hidden = Boolean(there);
    if (!there) {
      if (asked) load();
      return;
    }
    const { weights, bias, inputs } = there;
    const { column, head: h, token } = state;
    const x = inputs[state.sentence][token];
    const parts = explorer
      .maps()
      .map(({ output }, g) => attention.through(output[token], weights[g]));
    const added = Array.from(bias, (b, c) => parts.reduce((sum, row) => sum + row[c], b));
    const sum = added.map((y, c) => y + x[c]);
    const z = mixed();
    const { largest, others, rest } = attention.largestProducts(
      z,
      weights[h].map((row) => row[column]),
      3,
    );
    part.column.value = column;
    part.column.max = x.length - 1;
    part.columnName.textContent = `${column + 1} of ${x.length}`;
    most = mostOf(parts[h]);
    const term = ({ entry, q, k, product }) =>
      step("ex-term", product, ...sub("z", entry + 1), ` W = ${fixed(q, 3)} · ${bracketed(k, 3)}`);
    part.residual.replaceChildren(
      ...largest.map(term),
      step("ex-term", rest, `the other ${others} products`),
      step("ex-sum", parts[h][column], `what head ${state.layer}.${h} adds`),
      step(
        "",
        added[column] - parts[h][column] - bias[column],
        `the other ${parts.length - 1} heads`,
      ),
      step("", bias[column], "bias"),
      step("", x[column], "the row that came in"),
      step("ex-weight", sum[column], "their sum, which the layer norm takes next"),
    );
    drawStrips(part.rows, [x, parts[h], added, sum], column);
    const length = (row) => fixed(Math.hypot(...row), 2);
    part.lengths.textContent =
      `The whole row that came in is ${length(x)} long, this head’s part ${length(parts[h])}, ` +
      `and what goes on ${length(sum)}.`;
  }

  const mostOf = (row) => row.map(Math.abs).indexOf(Math.max(...row.map(Math.abs)));

  const on = (element, event, act) => element.addEventListener(event, act);
  const stay = (change) => choose({ key: state.key, ...change });
  on(part.query, "change", ({ target }) => {
    choose({ token: Number(target.value), key: keyInView() });
  });
  on(part.key, "change", ({ target }) => choose({ key: Number(target.value) }));
  on(part.entry, "input", ({ target }) => stay({ entry: Number(target.value) }));
  on(part.column, "input", ({ target }) => stay({ column: Number(target.value) }));
  on(part.most, "click", () => stay({ column: most }));
  for (const [canvas, key] of [
    [part.values, "entry"],
    [part.rows, "column"],
  ]) {
    on(canvas, "click", (event) => {
      const { left, width } = canvas.getBoundingClientRect();
      const at = Math.floor((canvas.width * (event.clientX - left)) / width);
      stay({ [key]: Math.max(0, Math.min(canvas.width - 1, at)) });
    });
  }
  new IntersectionObserver(([{ isIntersecting }]) => isIntersecting && load(), {
    rootMargin: "300px",
  }).observe(part.output.parentElement);
  explorer.stations.push({ layOut, draw });
})();
