// The view that all stations share: the layer's data, what is chosen, and the address that says so.
const explorer = (() => {
  const figure = document.querySelector(".explorer");
  if (!figure) return null;

  const START = { layer: 2, sentence: 2, head: 4, token: 7, key: null };
  const RULES = { root: true, causal: false, rest: true, temperature: 1 };
  const PARTS = { column: 0, entry: 0 };

  const part = named(figure, "[data-part]", "part");
  const state = { ...START, ...RULES, ...PARTS };
  const layers = {};
  const stations = []; // each lays out, draws, resets, and reads and writes its part of the address
  let data; // the layer's
  let maps; // scores, weights and output of each of its heads

  function named(area, selector, key) {
    return Object.fromEntries(
      Array.from(area.querySelectorAll(selector), (element) => [element.dataset[key], element]),
    );
  }

  // Unpacked when it is asked for: a view needs one sentence of all, and few views the Gram matrices.
  function once(make) {
    let made;
    return () => (made ??= make());
  }

  function unpacked(data) {
    const { heads, width } = data;
    const sentences = data.sentences.map(({ text, tokens, lengths, ...roles }) => {
      const rows = once(() => {
        const [query, key, value] = [roles.query, roles.key, roles.value].map((packed) =>
          attention.unpack(packed, heads, tokens.length, width),
        );
        return query.map((_, h) => ({ query: query[h], key: key[h], value: value[h] }));
      });
      return {
        text,
        tokens,
        lengths: attention.unpack(lengths, tokens.length),
        get heads() {
          return rows();
        },
      };
    });
    const gram = once(() =>
      attention
        .unpack(data.gram, heads, (width * (width + 1)) / 2)
        .map((triangle) => attention.symmetric(triangle, width)),
    );
    return {
      ...data,
      sentences,
      get gram() {
        return gram();
      },
    };
  }

  const sentence = () => data.sentences[state.sentence];
  const head = () => sentence().heads[state.head];
  const map = () => maps[state.head];
  const tokens = () => sentence().tokens;
  const places = () => tokens().map((_, i) => i);
  const largest = (row) => row.indexOf(Math.max(...row));
  const keyInView = () => state.key ?? largest(map().weights[state.token]);
  const isHidden = (i, j) => map().scores[i][j] === -Infinity;

  const fixed = (x, digits = 4) =>
    (Number.isFinite(x) ? x.toFixed(digits) : "-∞").replace(/^-(?=[0.]+$)/, "").replace("-", "−");
  const name = (i) => attentionRow.name(tokens(), i);
  const worded = (parts) => attentionRow.worded(tokens(), parts);

  // The view in the address

  const address = () => new URLSearchParams(location.hash.slice(1));
  const place = (text, count, otherwise) =>
    /^\d+$/.test(text) && Number(text) < count ? Number(text) : otherwise;

  function viewInAddress() {
    const given = address();
    const known = data.sentences;
    const sentence = place(given.get("sentence"), known.length, START.sentence);
    const count = known[sentence].tokens.length;
    const temperature = Number(given.get("temperature"));
    return {
      layer: place(given.get("layer"), 6, START.layer),
      sentence,
      head: place(given.get("head"), data.heads, START.head),
      token: place(given.get("token"), count, START.token),
      key: place(given.get("key"), count, START.key),
      root: given.get("root") !== "off",
      causal: given.get("mask") === "on",
      rest: given.get("rest") !== "off",
      temperature: temperature >= 0.1 && temperature <= 4 ? temperature : RULES.temperature,
      entry: place(given.get("entry"), data.width, PARTS.entry),
      column: place(given.get("column"), data.width * data.heads, PARTS.column),
    };
  }

  function view() {
    const { layer, sentence, head, token, key, root, causal, rest, temperature } = state;
    const view = new URLSearchParams({ sentence, head, token });
    if (layer !== START.layer) view.set("layer", layer);
    if (key !== null) view.set("key", key);
    if (!root) view.set("root", "off");
    if (causal) view.set("mask", "on");
    if (!rest) view.set("rest", "off");
    if (temperature !== RULES.temperature) view.set("temperature", temperature);
    for (const name of ["entry", "column"]) if (state[name]) view.set(name, state[name]);
    return view;
  }

  const writeAddress = () => history.replaceState(null, "", `#${view()}`);

  // The address of a station, with all that is chosen in it.
  function link(station) {
    const whole = view();
    whole.set("station", station);
    for (const { write } of stations) write?.(whole, station);
    history.replaceState(null, "", `#${whole}`);
    return location.href;
  }

  // What is shown

  function compute() {
    maps = sentence().heads.map((one) => attention.attend(one, state));
  }

  function layOut() {
    for (const { layOut } of stations) layOut?.();
  }

  function draw() {
    compute();
    for (const { draw } of stations) draw?.();
  }

  const isSpecial = (i) => i === 0 || i === tokens().length - 1;

  function show(view) {
    const moved = view.sentence !== state.sentence || view.layer !== state.layer;
    if (moved || view.head !== state.head) for (const { askAnew } of stations) askAnew?.();
    if (view.layer !== state.layer && !layers[view.layer]) return fetchLayer(view);
    Object.assign(state, view);
    data = layers[state.layer];
    state.token = Math.min(state.token, tokens().length - 1);
    if (moved) layOut();
    draw();
  }

  function fetchLayer(view) {
    const name = `layer-${view.layer}`;
    const address = figure.querySelector(`[data-layer="${view.layer}"]`)?.dataset.script;
    if (!address) return show({ ...view, layer: state.layer });
    figure.setAttribute("aria-busy", "true");
    return explorerData
      .load(name, address)
      .then((packed) => {
        layers[view.layer] ??= unpacked(packed);
        show(view);
      })
      .catch(() => draw())
      .finally(() => figure.removeAttribute("aria-busy"));
  }

  // A new row is met at its largest weight, unless a key is chosen with it.
  function choose(change) {
    const next = { ...state, key: null, ...change };
    const count = data.sentences[next.sentence].tokens.length;
    if (change.sentence !== undefined) next.token = Math.max(1, Math.min(next.token, count - 3));
    const shown = show(next);
    shown ? shown.then(writeAddress) : writeAddress();
  }

  function startAgain() {
    for (const { reset } of stations) reset?.();
    show({ ...START, ...RULES, ...PARTS });
    history.replaceState(null, "", location.pathname + location.search);
  }

  function followAddress() {
    if (!location.hash.includes("=")) return null;
    const given = address();
    const shown = given.has("sentence") ? show(viewInAddress()) : null;
    for (const { read } of stations) read?.(given);
    return shown;
  }

  function start() {
    data = layers[START.layer] = unpacked(
      JSON.parse(document.getElementById("explorer-data").textContent),
    );
    compute();
    layOut();
    draw();
  }

  return {
    address,
    choose,
    draw,
    figure,
    fixed,
    followAddress,
    head,
    isHidden,
    isSpecial,
    keyInView,
    link,
    map,
    maps: () => maps,
    data: () => data,
    name,
    named,
    part,
    place,
    places,
    sentence,
    show,
    start,
    startAgain,
    state,
    stations,
    tokens,
    worded,
  };
})();
