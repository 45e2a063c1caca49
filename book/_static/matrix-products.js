// One head on the running example, every matrix by its letter, and what each entry is made of.
// Nothing here knows of the page.
const matrixProducts = (() => {
  // In the order of the computation; a product has its two sides, and says of which of them the
  // rows meet, and not the columns.
  const MATRICES = {
    x: { title: ["X"], rows: "tokens", columns: "features" },
    wq: { title: ["W", "Q"], rows: "features" },
    wk: { title: ["W", "K"], rows: "features" },
    wv: { title: ["W", "V"], rows: "features" },
    q: { title: ["Q"], rows: "tokens", of: ["x", "wq"], says: "X W^Q" },
    k: { title: ["K"], rows: "tokens", of: ["x", "wk"], says: "X W^K" },
    v: { title: ["V"], rows: "tokens", of: ["x", "wv"], says: "X W^V" },
    s: {
      title: ["scores"],
      rows: "tokens",
      columns: "tokens",
      of: ["q", "k"],
      says: "Q K^T ÷ √3",
      turned: true,
      root: true,
    },
    a: { title: ["weights"], rows: "tokens", columns: "tokens", softmaxOf: "s", says: "softmax" },
    z: { title: ["output"], rows: "tokens", of: ["a", "v"], says: "weights · V" },
    wo: { title: ["W", "O"], columns: "features" },
    y: {
      title: ["added"],
      rows: "tokens",
      columns: "features",
      of: ["z", "wo"],
      says: "output · W^O",
    },
  };

  const product = (a, b, divisor = 1) =>
    a.map((row) => b[0].map((_, j) => row.reduce((sum, x, l) => sum + x * b[l][j], 0) / divisor));
  const turned = (a) => a[0].map((_, j) => a.map((row) => row[j]));

  function softmax(row) {
    const top = Math.max(...row);
    const powers = row.map((x) => Math.exp(x - top));
    const total = powers.reduce((a, b) => a + b);
    return powers.map((power) => power / total);
  }

  // All matrices of a head; `changes` are entries that are set by hand, such as {"q.2.0": 3}.
  function compute({ x, heads }, { head, causal, changes }) {
    const given = { x, ...heads[head] };
    const all = {};
    for (const [id, { of, turned: turns, root, softmaxOf }] of Object.entries(MATRICES)) {
      if (of) {
        const [left, right] = of.map((side) => all[side]);
        const divisor = root ? Math.sqrt(left[0].length) : 1;
        all[id] = product(left, turns ? turned(right) : right, divisor);
      } else all[id] = softmaxOf ? all[softmaxOf].map(softmax) : given[id].map((row) => [...row]);
      for (const [place, number] of Object.entries(changes)) {
        const [matrix, i, j] = place.split(".");
        if (matrix === id) all[id][i][j] = number;
      }
      if (id === "s" && causal) all.s.forEach((row, i) => row.fill(-Infinity, i + 1));
    }
    return all;
  }

  // The entries that one is made of: pairs of a product, or the row of a softmax.
  function sources(all, id, i, j) {
    const { of, turned: turns, softmaxOf } = MATRICES[id];
    if (softmaxOf) return all[softmaxOf][i].map((_, l) => ({ left: [softmaxOf, i, l] }));
    if (!of) return [];
    return all[of[0]][i].map((_, l) => ({
      left: [of[0], i, l],
      right: turns ? [of[1], j, l] : [of[1], l, j],
    }));
  }

  return { MATRICES, compute, sources };
})();
