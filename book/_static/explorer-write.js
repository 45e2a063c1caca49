// Station 5: the small writer goes on behind the reader's words. What is chosen is here, and what
// follows from it; explorer-written.js shows it.
const explorerWriter = (() => {
  const station = explorer?.figure.querySelector("[data-writer]");
  if (!station) return null;
  const { part } = explorer;
  const START = { heat: 0.8, topP: 0.9, cache: true, layer: 0, head: 0, row: null, seed: 1 };
  const PAUSE = 120; // milliseconds between two tokens
  const ENDS = /[.!?]["'”’)_]*$/; // as a sentence does, unless it is a title
  const TITLE = /\b(Mr|Mrs|Dr|St)\.$/;

  const state = { ...START, text: null, written: [], out: new Set() };
  let model = null;
  let tokens = null;
  let memory = null; // keys, values and weights of the rows that were read
  let scores = null;
  let scoring = 0; // multiplications that the scores cost
  let running = null;
  let from = 0; // how many tokens there were when it was told to write on
  let show = () => {};

  // The reader's words, or else the sentence of the first station.
  const words = () => state.text ?? explorer.sentence().text;
  const room = () => model.config.context;

  function given() {
    const ids = tokens.encode(words());
    return ids.length ? ids : tokens.encode(" ");
  }

  const known = () => given().slice(0, room() - 1);
  const ids = () => [...known(), ...state.written].slice(0, room());
  const isFull = () => ids().length >= room();
  const isOver = () => model.config.stops.includes(state.written.at(-1));
  const shares = () =>
    writerModel.probabilities(scores, { temperature: state.heat, topP: state.topP });

  // Reads what is new. Without a cache all is read again, for every token.
  function read(afresh) {
    if (afresh || !state.cache) memory = model.empty();
    ({ scores, scoring } = model.read(ids(), memory, state.out));
  }

  // Each step costs the rows that it reads, all of them where none is kept, and the scores.
  function costs() {
    const sum = (numbers) => numbers.reduce((a, b) => a + b, 0);
    const first = known().length;
    const steps = memory.costs
      .slice(first - 1)
      .map((row, s) => scoring + (state.cache && s ? row : sum(memory.costs.slice(0, first + s))));
    return { last: steps.at(-1), all: sum(steps) };
  }

  // From the first token on: the words are others, or the heads that speak.
  function startAgain() {
    pause();
    state.written = [];
    state.row = null;
    read(true);
    show();
  }

  // Other words, then, where something is left to chance.
  function drawAnew() {
    state.seed += 1;
    startAgain();
  }

  function push(token) {
    if (isFull() || isOver()) return pause();
    state.written.push(token);
    state.row = null;
    read(false);
    if (isFull() || isOver()) pause();
    return show();
  }

  const drawn = () =>
    writerModel.choose(shares(), writerModel.chance(state.seed, state.written.length));
  const next = () => push(drawn());

  // On to the end of a sentence, which is where the next token begins after a space.
  function goOn() {
    const text = tokens.decode(ids());
    const isEnd = ENDS.test(text) && !TITLE.test(text) && state.written.length > from;
    if (!isEnd || !/^\s/.test(tokens.decode([drawn()]))) return next();
    pause();
    return show();
  }

  // All is read again, since the cache holds rows that are no more.
  function undo() {
    pause();
    state.written.pop();
    state.row = null;
    read(true);
    show();
  }

  function pause() {
    clearInterval(running);
    running = null;
  }

  function toggle() {
    if (running) pause();
    else {
      from = state.written.length;
      running = setInterval(goOn, PAUSE);
    }
    show();
  }

  // A head falls silent, or speaks again: as many tokens are written anew.
  function knock(name, silent) {
    const count = state.written.length;
    if (silent) state.out.add(name);
    else state.out.delete(name);
    startAgain();
    while (state.written.length < count && !isOver()) {
      state.written.push(drawn());
      read(false);
    }
    show();
  }

  const change = (what) => {
    Object.assign(state, what);
    show();
  };

  function setText(text) {
    state.text = text;
    startAgain();
  }

  // Opening: the script comes, once

  function open() {
    if (!station.dataset.writer) return null;
    part.writeOpen.querySelector("span").textContent = "It is coming …";
    return explorerData.load("writer", station.dataset.writer).then(
      (data) => {
        if (!model) {
          model = writerModel.make(data);
          tokens = writerTokens.make(data.tokens);
          part.writeOpen.hidden = true;
          part.writer.hidden = false;
          begun();
        }
      },
      () => (part.writeOpen.querySelector("span").textContent = "It did not come. Try again."),
    );
  }

  // Rows that were written stand in a link as they are, since a reader may have chosen some.
  function begun() {
    const { written } = state;
    startAgain();
    state.written = written.filter((t) => t < model.config.vocabulary);
    if (written.length) read(true);
    show();
  }

  function reset() {
    Object.assign(state, START, { text: null, written: [], out: new Set() });
    if (model) startAgain();
  }

  function write(view, at) {
    if (at !== "write") return;
    view.set("text", words());
    view.set("seed", state.seed);
    view.set("heat", state.heat);
    view.set("top", state.topP);
    view.set("eye", [state.layer, state.head, state.row ?? ""].join("."));
    if (!state.cache) view.set("cache", "off");
    if (state.out.size) view.set("out", [...state.out].join(","));
    if (state.written.length) view.set("written", state.written.join("."));
  }

  function read_(given) {
    if (given.get("station") !== "write" || station.hidden) return;
    const number = (name, low, high, otherwise) => {
      const value = given.has(name) ? Number(given.get(name)) : NaN;
      return value >= low && value <= high ? value : otherwise;
    };
    const places = (text, limits) => {
      const all = (text ?? "").split(".").map((p) => (/^\d+$/.test(p) ? Number(p) : -1));
      return limits.map((limit, l) => (all[l] >= 0 && all[l] < limit ? all[l] : null));
    };
    const [layer, head, row] = places(given.get("eye"), [64, 64, 4096]);
    Object.assign(state, {
      text: given.get("text")?.slice(0, part.prompt.maxLength) ?? state.text,
      seed: number("seed", 0, 2 ** 31, START.seed),
      heat: number("heat", 0, 2, START.heat),
      topP: number("top", 0.05, 1, START.topP),
      cache: given.get("cache") !== "off",
      layer: layer ?? 0,
      head: head ?? 0,
      row,
      out: new Set((given.get("out") ?? "").split(",").filter((name) => /^\d+\.\d+$/.test(name))),
      written: (given.get("written") ?? "").split(".").filter(Boolean).map(Number),
    });
    if (model) begunWithRow(row);
    else open()?.then(() => change({ row }));
  }

  function begunWithRow(row) {
    begun();
    change({ row });
  }

  explorer.stations.push({
    draw: () => model && state.text === null && startAgain(),
    read: read_,
    reset,
    write,
  });

  return {
    change,
    costs,
    drawAnew,
    ids,
    isCut: () => given().length > known().length,
    isFull,
    isOver,
    isRunning: () => Boolean(running),
    knock,
    known,
    memory: () => memory,
    model: () => model,
    next,
    open,
    push,
    room,
    setText,
    shares,
    showWith: (act) => (show = act),
    startAgain,
    state,
    station,
    toggle,
    tokens: () => tokens,
    undo,
    words,
  };
})();
