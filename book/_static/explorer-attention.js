// Attention of one head, as the book computes it. A matrix is an array of rows; nothing here knows
// of the page.
const attention = (() => {
  const dot = (a, b) => a.reduce((sum, x, l) => sum + x * b[l], 0);
  const sum = (row) => row.reduce((a, b) => a + b, 0);
  const minus = (a, b) => Array.from(a, (x, l) => x - b[l]);

  // (N, d_k), (N, d_k) → (N, N)
  function scaledScores(query, key, { root, temperature }) {
    const divisor = (root ? Math.sqrt(key[0].length) : 1) * temperature;
    return query.map((q) => key.map((k) => dot(q, k) / divisor));
  }

  // With the causal mask row i sees the keys up to its own; without rest, none sees the first key.
  const mask = (scores, { causal, rest }) =>
    scores.map((row, i) =>
      row.map((score, j) => ((causal && j > i) || (rest === false && j === 0) ? -Infinity : score)),
    );

  // A row that sees nothing gives nothing.
  function softmax(row) {
    const top = Math.max(...row);
    if (top === -Infinity) return row.map(() => 0);
    const powers = row.map((score) => Math.exp(score - top));
    const total = sum(powers);
    return powers.map((power) => power / total);
  }

  // (N, N), (N, d_v) → (N, d_v)
  const weightedValues = (weights, value) =>
    weights.map((row) =>
      Array.from(value[0], (_, column) => sum(row.map((w, j) => w * value[j][column]))),
    );

  function attend({ query, key, value }, settings) {
    const scores = mask(scaledScores(query, key, settings), settings);
    const weights = scores.map(softmax);
    return { scores, weights, output: weightedValues(weights, value) };
  }

  // Every number on the way of one score to its weight; `scores` is its row.
  function steps(q, k, scores, j, { root, temperature }) {
    const product = dot(q, k);
    const rooted = root ? product / Math.sqrt(q.length) : product;
    const top = Math.max(...scores);
    const shifted = scores[j] === -Infinity ? -Infinity : scores[j] - top;
    const total = top === -Infinity ? 0 : sum(scores.map((score) => Math.exp(score - top)));
    const power = Math.exp(shifted);
    const weight = total && power / total;
    const cooled = rooted / temperature;
    return { product, rooted, cooled, score: scores[j], top, shifted, power, total, weight };
  }

  // What an inner product adds up, the largest in size first, and what the others make together.
  function largestProducts(q, k, count) {
    const all = Array.from(q, (x, entry) => ({ entry, q: x, k: k[entry], product: x * k[entry] }));
    all.sort((a, b) => Math.abs(b.product) - Math.abs(a.product));
    const others = all.slice(count).map(({ product }) => product);
    return { largest: all.slice(0, count), others: others.length, rest: sum(others) };
  }

  // ‖z W‖ from z and G = W Wᵀ: how long a row of one head is in the output of the layer.
  const lengthThrough = (gram, z) =>
    Math.sqrt(
      Math.max(
        0,
        dot(
          z,
          gram.map((row) => dot(row, z)),
        ),
      ),
    );

  // z W: what the numbers of a row make of the rows of a matrix.
  const through = (z, rows) =>
    Array.from(rows[0], (_, c) => sum(Array.from(z, (x, l) => x * rows[l][c])));

  const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));

  // Little-endian float16 in base64, as float32.
  function halves(text) {
    const codes = new Uint16Array(bytes(text).buffer);
    return Float32Array.from(codes, (code) => {
      const [power, rest] = [(code >> 10) & 31, code & 1023];
      const size = power ? (1 + rest / 1024) * 2 ** (power - 15) : rest * 2 ** -24;
      return code >> 15 ? -size : size;
    });
  }

  // Numbers, or little-endian float32 in base64, cut into nested arrays; the innermost are
  // Float32Arrays.
  function unpack(packed, ...shape) {
    const cut = (numbers, [count, ...inner]) => {
      if (!inner.length) return numbers;
      const size = numbers.length / count;
      const part = (_, i) => cut(numbers.subarray(i * size, (i + 1) * size), inner);
      return Array.from({ length: count }, part);
    };
    return cut(typeof packed === "string" ? new Float32Array(bytes(packed).buffer) : packed, shape);
  }

  // A symmetric matrix from its triangle: the rows from the diagonal on, one after another.
  function symmetric(triangle, width) {
    const start = (i) => i * width - (i * (i - 1)) / 2;
    const rows = Array.from({ length: width }, (_, i) => i);
    return rows.map((i) =>
      Float32Array.from(rows, (j) => triangle[start(Math.min(i, j)) + Math.abs(i - j)]),
    );
  }

  return {
    attend,
    halves,
    largestProducts,
    lengthThrough,
    minus,
    softmax,
    steps,
    symmetric,
    through,
    unpack,
  };
})();
