// The sheet of matrices: point at an entry and see what makes it, change one and see what follows.
// The explorer has it whole; a chapter has the matrices that it is about.
const matrixSheet = (() => {
  const { make, tell } = attentionRow;
  const { MATRICES, compute, sources } = matrixProducts;
  const { fixed, place, plain, said, short, trimmed } = matrixWords;
  const STATIONS = {
    all: { shown: Object.keys(MATRICES), at: ["q", 2, 0], causal: false },
    projections: { shown: ["x", "wq", "wk", "wv", "q", "k", "v"], at: ["q", 2, 0] },
    scores: { shown: ["q", "k", "s"], at: ["s", 2, 1] },
    softmax: { shown: ["s", "a", "v", "z"], at: ["a", 2, 1] },
    masks: { shown: ["s", "a", "v", "z"], at: ["a", 2, 1], causal: true },
    heads: { shown: ["a", "v", "z", "wo", "y"], at: ["y", 2, 0] },
  };
  const MADE = Object.keys(MATRICES).filter((id) => MATRICES[id].of || MATRICES[id].softmaxOf);
  const STEP = 1200; // milliseconds
  const placeNamed = (name) => {
    const [id, i, j] = name.split(".");
    return [id, Number(i), Number(j)];
  };
  const within = (number) => Math.max(-99, Math.min(99, number));

  function begin(root, data) {
    const station = STATIONS[root.dataset.sheet];
    const start = () => ({
      head: 0,
      causal: Boolean(station.causal),
      at: station.at,
      changes: {},
    });
    const part = Object.fromEntries(
      Array.from(root.querySelectorAll("[data-sheet-part]"), (e) => [e.dataset.sheetPart, e]),
    );
    const cells = {}; // by place
    let state = start();
    let peek = null;
    let all;
    let playing = null;
    let entered = false; // until then the whole sheet is one stop of the tab key
    const words = matrixWords.of(data);

    const { letter, rowName, columnName } = words;
    // The sheet, laid out once

    function matrix(id) {
      const { says, rows, columns } = MATRICES[id];
      const values = all[id];
      const caption = make("caption", {}, make("b", {}, ...letter(id)));
      caption.append(` ${values.length}\u00a0×\u00a0${values[0].length}`);
      if (says) caption.append(make("span", {}, "= ", ...said(says)));
      const body = values.map((row, i) => {
        const head = rows === "tokens" ? [make("th", { scope: "row" }, rowName(id, i))] : [];
        return make("tr", {}, ...head, ...row.map((_, j) => make("td", {}, cell([id, i, j]))));
      });
      const kinds = `ms-${id} ${columns === "tokens" ? "ms-square" : ""}`;
      return make("table", { class: `ms-matrix ${kinds}` }, caption, make("tbody", {}, ...body));
    }

    function cell(at) {
      const button = make("button", { type: "button", "data-at": place(at) });
      return (cells[place(at)] = button);
    }

    // What a change draws anew

    function draw() {
      all = compute(data, state);
      const plainly = compute(data, { ...state, changes: {} });
      for (const [name, button] of Object.entries(cells)) {
        const [id, i, j] = placeNamed(name);
        const value = all[id][i][j];
        const shown = short(value);
        button.textContent = shown;
        const whole =
          Number.isFinite(value) && shown !== trimmed(value, 4) ? ` (${fixed(value, 4)})` : "";
        button.setAttribute(
          "aria-label",
          `${plain(id)}, ${rowName(id, i)}, ${columnName(id, j)}: ${shown}${whole}`,
        );
        const size = id === "a" ? value : Math.min(1, Math.abs(value) / 2.5);
        button.style.setProperty("--m", Number.isFinite(value) ? size.toFixed(3) : 0);
        button.classList.toggle("ms-minus", value < 0);
        button.classList.toggle("ms-hidden", value === -Infinity);
        button.classList.toggle("ms-set", name in state.changes);
        button.classList.toggle("ms-moved", value !== plainly[id][i][j]);
        const chosen = name === place(state.at);
        button.setAttribute("aria-pressed", chosen);
        button.tabIndex = chosen || tabStop(name) ? 0 : -1;
      }
      part.heads?.querySelectorAll("input").forEach((e, h) => (e.checked = h === state.head));
      part.causal.checked = state.causal;
      light();
      edit();
    }

    // Then each matrix is one: its chosen entry, or its first.
    const tabStop = (name) =>
      entered && name.endsWith(".0.0") && !name.startsWith(`${state.at[0]}.`);

    function enter(now) {
      entered = now;
      for (const control of root.querySelectorAll("input, .ms-rules button, .ms-edit button")) {
        control.tabIndex = now ? 0 : -1;
      }
      draw();
    }

    function light() {
      const at = peek ?? state.at;
      const made = sources(all, ...at);
      const sides = { left: new Set(), right: new Set() };
      for (const source of made) {
        for (const [side, from] of Object.entries(source)) sides[side].add(place(from));
      }
      for (const [name, button] of Object.entries(cells)) {
        button.classList.toggle("ms-left", sides.left.has(name));
        button.classList.toggle("ms-right", sides.right.has(name));
        button.classList.toggle("ms-pointed", peek !== null && name === place(peek));
      }
      tell(part.formula, ...words.formula(all, at, made, place(at) in state.changes));
    }

    const value = ([id, i, j]) => all[id][i][j];

    function edit() {
      const [id, i, j] = state.at;
      const number = all[id][i][j];
      part.number.disabled = !Number.isFinite(number);
      if (document.activeElement !== part.number) showNumber();
      part.numberName.replaceChildren(
        "Change ",
        ...letter(id),
        " of ",
        make("em", {}, rowName(id, i)),
        `, ${columnName(id, j)} (−99 to 99)`,
      );
      part.back.disabled = !Object.keys(state.changes).length;
    }

    function showNumber() {
      const number = value(state.at);
      part.number.value = Number.isFinite(number) ? Number(number.toFixed(4)) : "";
    }

    // Choices

    const reach = (at) => all[at[0]]?.[at[1]]?.[at[2]] !== undefined;

    function choose(at, focus = false) {
      if (!reach(at)) return;
      state = { ...state, at };
      peek = null;
      draw();
      if (focus) cells[place(at)].focus();
    }

    function set(number) {
      if (!Number.isFinite(number)) return;
      const kept = within(number);
      state = { ...state, changes: { ...state.changes, [place(state.at)]: kept } };
      draw();
      if (kept !== number) showNumber();
    }

    // From entry to entry, in the order of the computation.
    function step(by) {
      const made = MADE.filter((id) => station.shown.includes(id));
      const places = made.flatMap((id) =>
        all[id].flatMap((row, i) => row.map((_, j) => [id, i, j])),
      );
      const now = places.findIndex((at) => place(at) === place(state.at));
      const next = now < 0 ? 0 : (now + by + places.length) % places.length;
      choose(places[next]);
      reveal();
    }

    const reveal = () => cells[place(state.at)].scrollIntoView({ block: "nearest" });

    function play(on) {
      clearInterval(playing);
      playing = on ? setInterval(() => step(1), STEP) : null;
      part.play.textContent = on ? "Pause" : "Play";
      part.play.setAttribute("aria-pressed", on);
    }

    function reset() {
      play(false);
      state = start();
      draw();
    }

    function onKey(event) {
      const ways = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
      const way = ways[event.key];
      const at = placeOf(event.target);
      if (!way || !at) return;
      event.preventDefault();
      choose([at[0], at[1] + way[0], at[2] + way[1]], true);
    }

    const placeOf = (element) => {
      const name = element.closest?.("[data-at]")?.dataset.at;
      return name ? placeNamed(name) : null;
    };

    function pointAt(event) {
      if (event.pointerType !== "mouse") return;
      const at = event.type === "pointerleave" ? null : placeOf(event.target);
      if (String(at) === String(peek)) return;
      peek = at;
      light();
    }

    function listen() {
      const on = (element, event, act) => element.addEventListener(event, act);
      on(part.sheet, "click", ({ target }) => placeOf(target) && choose(placeOf(target)));
      on(part.sheet, "keydown", onKey);
      on(part.sheet, "pointermove", pointAt); // what slides under a mouse at rest is not pointed at
      on(part.sheet, "pointerleave", pointAt);
      on(part.number, "input", () => part.number.value !== "" && set(Number(part.number.value)));
      for (const left of ["change", "blur"]) on(part.number, left, showNumber);
      on(part.less, "click", () => set(value(state.at) - 0.5));
      on(part.more, "click", () => set(value(state.at) + 0.5));
      on(part.back, "click", () => {
        state = { ...state, changes: {} };
        draw();
      });
      on(part.before, "click", () => step(-1));
      on(part.after, "click", () => step(1));
      on(part.play, "click", () => play(!playing));
      on(part.causal, "change", () => {
        state = { ...state, causal: part.causal.checked };
        draw();
      });
      part.heads?.addEventListener("change", ({ target }) => {
        state = { ...state, head: Number(target.value) };
        draw();
      });
    }

    // The view as a text, and back

    function write() {
      const { head, causal, at, changes } = state;
      const set = Object.entries(changes).map(([name, number]) => `${name}:${number}`);
      return [head, causal ? 1 : 0, place(at), ...set].join(",");
    }

    function read(text) {
      const [head, causal, at, ...set] = (text ?? "").split(",");
      const known = (name) => name in cells;
      if (!/^[01]$/.test(head) || !known(at)) return;
      const pairs = set
        .map((one) => one.split(":"))
        .filter(([name, n]) => known(name) && isFinite(n));
      state = {
        head: Number(head),
        causal: causal === "1",
        at: placeNamed(at),
        changes: Object.fromEntries(pairs.map(([name, n]) => [name, within(Number(n))])),
      };
      draw();
    }

    all = compute(data, state);
    part.causal.parentElement.hidden = station.causal === undefined; // not yet met, there
    part.sheet.prepend(...station.shown.map(matrix));
    listen();
    enter(false);
    root.addEventListener("focusin", () => entered || enter(true));
    root.hidden = false;
    return { reset, read, reveal, write };
  }

  const data = () => JSON.parse(document.querySelector(".sheet-data").textContent);
  const sheets = Array.from(document.querySelectorAll("[data-sheet]"), (root) =>
    begin(root, data()),
  );
  return sheets[0];
})();
