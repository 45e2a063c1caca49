// The three experiments: what comes out, what to say of a prediction, and why. Texts are lists of
// strings, and of numbers where a token is named. Nothing here knows of the page.
const experiments = (() => {
  const replaced = (rows, j, row) => rows.map((old, i) => (i === j ? row : old));
  const equal = (a, b) => a.every((x, l) => Object.is(x, b[l]));
  const count = (row) => row.filter(Boolean).length;
  const first = (row) => row.indexOf(Math.max(...row));
  const fixed = (x, digits) => x.toFixed(digits);
  const verdict = (said, truth) => ({ right: said === truth, said, truth });

  // How far each row of the layer's output moves from one result to another.
  const moves = (gram, before, after) =>
    before.output.map((z, i) => attention.lengthThrough(gram, attention.minus(after.output[i], z)));

  function value({ head, gram, settings }, choice) {
    const j = Number(choice.token);
    const old = head.value[j];
    const made = { zero: old.map(() => 0), twice: old.map((x) => 2 * x) };
    const row = made[choice.other] ?? head.value[choice.other];
    const changed = { ...head, value: replaced(head.value, j, row) };
    const [before, after] = [head, changed].map((rows) => attention.attend(rows, settings));
    const weights = before.weights.flat();
    const kept = count(weights.map((w, at) => Object.is(w, after.weights.flat()[at])));
    const moved = moves(gram, before, after);
    const step = attention.lengthThrough(gram, attention.minus(row, old));
    const most = first(moved);
    const weight = before.weights.map((row) => row[j]);
    return {
      verdicts: [
        verdict(choice.weights, kept === weights.length ? "no" : "yes"),
        verdict(Number(choice.furthest), most),
      ],
      why: [
        `${kept} of ${weights.length} weights keep every bit, since no value enters a score. `,
        `In the output of the layer the change is ${fixed(step, 2)} long, and each row moves by `,
        "its own weight on ",
        j,
        " times that: ",
        most,
        ` by ${fixed(weight[most], 4)} · `,
        `${fixed(step, 2)} = ${fixed(moved[most], 2)}.`,
      ],
      columns: [["output row"], ["weight on ", j], ["moves by"]],
      rows: moved.map((m, i) => [fixed(weight[i], 4), fixed(m, 4)]),
      bars: moved,
    };
  }

  function knockOut({ head, gram, settings, lengths }, choice) {
    const moved = attention
      .attend(head, settings)
      .output.map((z) => attention.lengthThrough(gram, z));
    const share = moved.map((m, i) => `${fixed((100 * m) / lengths[i], 1)}\u00a0%`);
    const [most, least] = [first(moved), moved.indexOf(Math.min(...moved))];
    return {
      verdicts: [verdict(Number(choice.furthest), most)],
      why: [
        "The row of ",
        most,
        ` loses a part ${fixed(moved[most], 2)} long, ${share[most]} of the `,
        `length ${fixed(lengths[most], 2)} of the row that it is added to; `,
        least,
        ` loses ${share[least]}. What counts is not the weight, but how long the mixture of `,
        "values is in the end.",
      ],
      columns: [["output row"], ["share of its length"], ["moves by"]],
      rows: moved.map((m, i) => [share[i], fixed(m, 4)]),
      bars: moved,
    };
  }

  function future({ head, gram, settings }, choice) {
    const [j, other] = [Number(choice.token), Number(choice.other)];
    const become = (rows) => replaced(rows, j, rows[other]);
    const { query, key, value } = head;
    const inputs = [head, { query: become(query), key: become(key), value: become(value) }];
    const [masked, open] = [true, false].map((causal) => {
      const [before, after] = inputs.map((rows) => attention.attend(rows, { ...settings, causal }));
      const kept = before.output.map((z, i) => equal(z, after.output[i]));
      return { kept, earlier: count(kept.slice(0, j)), moved: moves(gram, before, after) };
    });
    const alone = masked.kept.slice(j + 1).every(Boolean);
    const later = alone ? "only its own" : "its own and later ones";
    const cell = ({ kept, moved }, i) => (kept[i] ? "= same bits" : fixed(moved[i], 4));
    return {
      verdicts: [verdict(choice.rows, masked.earlier === j ? later : "all of them")],
      why: [
        `With the mask ${masked.earlier} of the ${j} rows before `,
        j,
        ` keep every bit of their `,
        `${value[j].length} numbers: what they do not see has no part in them. Without it `,
        `${open.earlier} of the ${j} do.`,
      ],
      columns: [["output row"], ["with the mask"], ["without"]],
      rows: masked.kept.map((_, i) => [cell(masked, i), cell(open, i)]),
      bars: masked.moved,
    };
  }

  return { value, head: knockOut, future };
})();
