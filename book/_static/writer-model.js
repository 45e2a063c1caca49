// A decoder: the next token's scores from the ones before, row by row. A row is a Float32Array, and
// every multiplication of a product is counted, row by row. Nothing here knows of the page.
const writerModel = (() => {
  const unpack = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));

  // Bytes times the scale of their row, tensor by tensor in the order of the file.
  function tensors({ config: c, matrices, scales, norms }) {
    const [bytes, factors, ones] = [
      new Int8Array(unpack(matrices).buffer),
      new Float32Array(unpack(scales).buffer),
      new Float32Array(unpack(norms).buffer),
    ];
    let [at, row, one] = [0, 0, 0];
    const matrix = (rows, columns) => {
      const numbers = new Float32Array(rows * columns);
      for (let i = 0; i < numbers.length; i++) {
        numbers[i] = bytes[at + i] * factors[row + Math.floor(i / columns)];
      }
      at += numbers.length;
      row += rows;
      return { rows, columns, numbers };
    };
    const norm = () => ones.subarray(one, (one += c.width));
    const [all, kept] = [c.heads * c.headWidth, c.keyHeads * c.headWidth];
    const embedding = matrix(c.vocabulary, c.width);
    const layers = Array.from({ length: c.layers }, () => ({
      before: norm(),
      query: matrix(all, c.width),
      key: matrix(kept, c.width),
      value: matrix(kept, c.width),
      output: matrix(c.width, all),
      after: norm(),
      gate: matrix(c.hidden, c.width),
      up: matrix(c.hidden, c.width),
      down: matrix(c.width, c.hidden),
    }));
    const last = norm();
    return {
      embedding,
      layers,
      last,
      unembedding: c.tied ? embedding : matrix(c.vocabulary, c.width),
    };
  }

  function make(data) {
    const { config: c } = data;
    const { embedding, layers, last, unembedding } = tensors(data);
    let count = 0;

    // W x: each output is a row of the file's matrix times x.
    function product({ rows, columns, numbers }, x) {
      const out = new Float32Array(rows);
      for (let i = 0, at = 0; i < rows; i++) {
        let sum = 0;
        for (let l = 0; l < columns; l++, at++) sum += numbers[at] * x[l];
        out[i] = sum;
      }
      count += rows * columns;
      return out;
    }

    function normed(x, weight) {
      let squares = 0;
      for (const number of x) squares += number * number;
      const root = Math.sqrt(squares / x.length + c.eps);
      return x.map((number, l) => (number / root) * weight[l]);
    }

    // Rotary positions: each head's number l turns with number l + half.
    function turned(row, position) {
      const half = c.headWidth / 2;
      const out = new Float32Array(row.length);
      for (let start = 0; start < row.length; start += c.headWidth) {
        for (let l = 0; l < half; l++) {
          const angle = position * c.base ** (-l / half);
          const [cos, sin] = [Math.cos(angle), Math.sin(angle)];
          const [a, b] = [row[start + l], row[start + half + l]];
          out[start + l] = a * cos - b * sin;
          out[start + half + l] = b * cos + a * sin;
        }
      }
      return out;
    }

    // One head's weights on all rows so far, and its mixture of their values, laid into `mixed`.
    function attend(query, { keys, values }, h, mixed) {
      const [size, start] = [c.headWidth, h * c.headWidth];
      const shared = Math.floor(h / (c.heads / c.keyHeads)) * size;
      const weights = new Float32Array(keys.length);
      keys.forEach((key, j) => {
        let sum = 0;
        for (let l = 0; l < size; l++) sum += query[start + l] * key[shared + l];
        weights[j] = sum / Math.sqrt(size);
      });
      const top = weights.reduce((a, b) => Math.max(a, b));
      let total = 0;
      weights.forEach((score, j) => (total += weights[j] = Math.exp(score - top)));
      weights.forEach((power, j) => (weights[j] = power / total));
      for (let l = 0; l < size; l++) {
        let sum = 0;
        values.forEach((value, j) => (sum += weights[j] * value[shared + l]));
        mixed[start + l] = sum;
      }
      count += 2 * size * keys.length;
      return weights;
    }

    const empty = () => ({
      length: 0,
      costs: [], // multiplications of each row
      layers: layers.map(() => ({ keys: [], values: [] })),
      attention: layers.map(() => Array.from({ length: c.heads }, () => [])),
    });

    // One more row, behind those that the cache holds; `out` names the heads that are silent.
    function row(id, cache, out) {
      const position = cache.length++;
      count = 0;
      let x = embedding.numbers.slice(id * c.width, (id + 1) * c.width);
      const add = (more) => (x = x.map((number, l) => number + more[l]));
      layers.forEach((layer, number) => {
        const rows = normed(x, layer.before);
        const query = turned(product(layer.query, rows), position);
        const held = cache.layers[number];
        held.keys.push(turned(product(layer.key, rows), position));
        held.values.push(product(layer.value, rows));
        const mixed = new Float32Array(query.length);
        for (let h = 0; h < c.heads; h++) {
          cache.attention[number][h].push(attend(query, held, h, mixed));
          if (out.has(`${number}.${h}`)) mixed.fill(0, h * c.headWidth, (h + 1) * c.headWidth);
        }
        add(product(layer.output, mixed));
        const inner = normed(x, layer.after);
        const [gate, up] = [product(layer.gate, inner), product(layer.up, inner)];
        add(
          product(
            layer.down,
            gate.map((g, l) => (g / (1 + Math.exp(-g))) * up[l]),
          ),
        );
      });
      cache.costs.push(count);
      return x;
    }

    // Reads the tokens that the cache does not hold yet; the last row's scores are the next token's.
    function read(ids, cache, out) {
      let x = null;
      for (const id of ids.slice(cache.length)) x = row(id, cache, out);
      count = 0;
      const scores = product(unembedding, normed(x, last));
      return { scores, scoring: count };
    }

    return { config: c, empty, read };
  }

  // With which probability each token comes: greedily where the temperature is 0, and with top-p
  // only the fewest tokens that reach it together. Of equal ones the smaller id comes first.
  function probabilities(scores, { temperature, topP }) {
    const top = scores.reduce((a, b) => Math.max(a, b));
    if (temperature === 0) return Array.from(scores, (_, t) => (t === scores.indexOf(top) ? 1 : 0));
    const powers = Array.from(scores, (score) => Math.exp((score - top) / temperature));
    const total = powers.reduce((a, b) => a + b);
    const all = powers.map((power) => power / total);
    if (topP >= 1) return all;
    const order = all.map((_, t) => t).sort((a, b) => all[b] - all[a] || a - b);
    let reached = 0;
    const kept = new Set();
    for (const t of order) {
      kept.add(t);
      reached += all[t];
      if (reached >= topP) break;
    }
    return all.map((p, t) => (kept.has(t) ? p / reached : 0));
  }

  // One number from 0 to 1 for each step of each seed: so a link writes the same words again.
  function chance(seed, step) {
    let a = (seed * 0x9e3779b1 + step * 0x85ebca6b + 0x6d2b79f5) | 0;
    a = Math.imul(a ^ (a >>> 15), a | 1);
    a ^= a + Math.imul(a ^ (a >>> 7), a | 61);
    return ((a ^ (a >>> 14)) >>> 0) / 2 ** 32;
  }

  // The token in whose share the number falls, the shares in the order of the ids.
  function choose(shares, number) {
    let reached = 0;
    const at = shares.findIndex((p) => (reached += p) > number);
    return at < 0 ? shares.findLastIndex((p) => p > 0) : at;
  }

  return { chance, choose, make, probabilities };
})();
