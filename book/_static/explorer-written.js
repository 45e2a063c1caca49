// What the writer's station shows: the tokens, what they look at, what comes next, and its cost.
(() => {
  if (!explorerWriter) return;
  const { fixed, part } = explorer;
  const { make, name, paint, tell } = attentionRow;
  const w = explorerWriter;
  const SHOWN = 8; // of the tokens that may come next

  const { state } = w;
  const percent = (p) => `${(100 * p).toFixed(1)}\u00a0%`;
  const thousands = (n) => n.toLocaleString("en").replaceAll(",", "\u00a0");
  const headName = () => `${state.layer}.${state.head}`;
  const row = () => Math.min(state.row ?? Infinity, read() - 1);
  const read = () => w.memory().length; // rows
  const weights = () => w.memory().attention[state.layer][state.head][row()];

  function show() {
    if (!w.model()) return;
    const { layers, heads } = w.model().config;
    state.layer = Math.min(state.layer, layers - 1);
    state.head = Math.min(state.head, heads - 1);
    if (document.activeElement !== part.prompt) part.prompt.value = w.words();
    part.heat.value = state.heat;
    part.heatName.textContent = state.heat.toFixed(1);
    part.topP.value = state.topP;
    part.topPName.textContent = state.topP.toFixed(2);
    part.on.textContent = w.isRunning() ? "Pause" : "Write a sentence";
    part.on.setAttribute("aria-pressed", w.isRunning());
    for (const button of [part.one, part.on]) button.disabled = isOver();
    part.undo.disabled = !state.written.length;
    part.cache.checked = state.cache;
    part.out.checked = state.out.has(headName());
    for (const name of [part.headName, part.outName]) name.textContent = `head ${headName()}`;
    const written = w.tokens().decode(state.written);
    part.text.replaceChildren(w.tokens().decode(w.known()), make("mark", {}, written));
    const note = notes().join(" ");
    part.writerSaid.classList.toggle("ex-unseen", !note);
    tell(part.writerSaid, note || w.tokens().decode(state.written.slice(-1)));
    showPieces();
    showGrid();
    showNext();
    showCosts();
  }

  const isOver = () => w.isFull() || w.isOver();

  // What a reader should know of the text, if anything.
  function notes() {
    const letters = w.tokens().decode(w.known()).length;
    return [
      !w.words().trim() && !state.written.length && "You gave no words: it begins after a space.",
      w.isCut() && `Your words are cut here, after ${letters} letters.`,
      isOver() && "The text has reached its end.",
      (w.isCut() || w.isFull()) &&
        `The writer holds ${w.room()} tokens, yours and its own together.`,
    ].filter(Boolean);
  }

  function showPieces() {
    const [ids, known, at] = [w.ids(), w.known().length, row()];
    const shown = ids.map((id) => w.tokens().show(id));
    const named = (j) => make("em", {}, name(shown.map((token) => `“${token}”`), j));
    const shares = weights();
    if (part.pieces.children.length > ids.length) part.pieces.replaceChildren();
    while (part.pieces.children.length < ids.length) {
      part.pieces.append(make("button", { type: "button", class: "ex-piece" }));
    }
    shown.forEach((token, i) => {
      const piece = part.pieces.children[i];
      const share = shares[i] ?? 0;
      paint(piece, share, i > at);
      piece.textContent = token;
      piece.classList.toggle("ex-written", i >= known);
      piece.setAttribute("aria-pressed", i === at);
      piece.title = i > at ? "later: hidden" : fixed(share);
      piece.tabIndex = i === at ? 0 : -1;
    });
    const order = Array.from(shares, (_, j) => j).sort((a, b) => shares[b] - shares[a]);
    const told = order
      .slice(0, 3)
      .flatMap((j) => [
        ", ",
        make("b", {}, fixed(shares[j])),
        " to ",
        named(j),
      ]);
    tell(part.looks, named(at), " gives ", ...told.slice(1), ".");
    scrollTo(part.pieces.children[at]);
  }

  // The box alone, and not the page.
  function scrollTo(piece) {
    const [box, chosen] = [part.pieces, piece].map((e) => e.getBoundingClientRect());
    const EDGE = 6; // pixels, of the frame
    part.pieces.scrollTop +=
      Math.max(0, chosen.bottom + EDGE - box.bottom) + Math.min(0, chosen.top - EDGE - box.top);
  }

  function showGrid() {
    const { layers, heads } = w.model().config;
    if (part.grid.children.length === 1) {
      part.grid.style.setProperty("--heads", heads);
      for (let l = 0; l < layers; l++)
        for (let h = 0; h < heads; h++) part.grid.append(choice(l, h));
    }
    part.grid.querySelectorAll("label").forEach((label) => {
      const [l, h] = label.dataset.head.split(".").map(Number);
      label.querySelector("input").checked = l === state.layer && h === state.head;
      label.classList.toggle("ex-silent", state.out.has(label.dataset.head));
      drawThumbnail(label.querySelector("canvas"), w.memory().attention[l][h]);
    });
  }

  const choice = (l, h) =>
    make(
      "label",
      { class: "ex-head", "data-head": `${l}.${h}` },
      make("input", { type: "radio", name: "ex-writer-head", value: `${l}.${h}` }),
      make("canvas", { "aria-hidden": "true" }),
      make("span", {}, `${l}.${h}`),
    );

  function drawThumbnail(canvas, rows) {
    const size = (canvas.width = canvas.height = rows.length);
    const pixels = new ImageData(size, size);
    rows.forEach((row, i) =>
      row.forEach((x, j) => pixels.data.set([47, 116, 192, 255 * x ** 0.6], 4 * (i * size + j))),
    );
    canvas.getContext("2d").putImageData(pixels, 0, 0);
  }

  function showNext() {
    if (isOver()) return part.next.replaceChildren();
    const shares = w.shares();
    const order = shares.map((_, t) => t).sort((a, b) => shares[b] - shares[a] || a - b);
    const top = Math.max(...shares);
    const bar = (t) => {
      const name = make("span", {}, w.tokens().show(t));
      const share = make("output", {}, fixed(shares[t]));
      const style = `--w: ${shares[t] / top}`;
      return make(
        "li",
        {},
        make("button", { type: "button", "data-token": t, style }, name, share),
      );
    };
    return part.next.replaceChildren(
      ...order
        .slice(0, SHOWN)
        .filter((t) => shares[t] > 0)
        .map(bar),
      make("li", { class: "ex-rest" }, restOf(order, shares)),
    );
  }

  function restOf(order, shares) {
    const others = order.slice(SHOWN).filter((t) => shares[t] > 0);
    const sum = others.reduce((total, t) => total + shares[t], 0);
    return others.length
      ? `${others.length} others together: ${percent(sum)}`
      : "No other can come.";
  }

  function showCosts() {
    const { last, all } = w.costs();
    const line = (title, number) =>
      make("tr", {}, make("th", { scope: "row" }, title), make("td", {}, thousands(number)));
    part.costs.replaceChildren(
      line("multiplications for the last step", last),
      line("since the words began", all),
    );
  }

  const on = (element, event, act) => element.addEventListener(event, act);
  on(part.writeOpen.querySelector("button"), "click", () => {
    w.open()?.then(() => part.prompt.focus({ preventScroll: true }));
  });
  on(part.prompt, "input", () => w.setText(part.prompt.value));
  on(part.one, "click", w.next);
  on(part.on, "click", w.toggle);
  on(part.undo, "click", w.undo);
  on(part.again, "click", w.startAgain);
  on(part.anew, "click", w.drawAnew);
  on(part.heat, "input", () => w.change({ heat: Number(part.heat.value) }));
  on(part.topP, "input", () => w.change({ topP: Number(part.topP.value) }));
  on(part.cache, "change", () => w.change({ cache: part.cache.checked }));
  on(part.out, "change", () => w.knock(headName(), part.out.checked));
  on(part.grid, "change", ({ target }) => {
    const [layer, head] = target.value.split(".").map(Number);
    w.change({ layer, head });
  });
  on(part.next, "click", ({ target }) => {
    const token = target.closest("[data-token]")?.dataset.token;
    if (token) w.push(Number(token));
  });
  const places = () => [...part.pieces.children];
  on(part.pieces, "click", ({ target }) => {
    const at = places().indexOf(target.closest("button"));
    if (at >= 0) w.change({ row: at });
  });
  on(part.pieces, "keydown", (event) => {
    const by = { ArrowLeft: -1, ArrowUp: -1, ArrowRight: 1, ArrowDown: 1 }[event.key];
    if (!by) return;
    event.preventDefault();
    w.change({ row: Math.max(0, Math.min(read() - 1, row() + by)) });
    places()[row()].focus();
  });
  w.showWith(show);
  if (w.station.dataset.writer) w.station.hidden = part.toWrite.hidden = false;
})();
