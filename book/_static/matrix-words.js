// What the sheet of matrices says of an entry: its names, and the formula that makes it.
const matrixWords = (() => {
  const { make } = attentionRow;
  const { MATRICES } = matrixProducts;

  const fixed = (x, digits) =>
    Number.isFinite(x)
      ? x
          .toFixed(digits)
          .replace(/^-(?=[0.]+$)/, "")
          .replace("-", "−")
      : "−∞";
  // Two decimals, or fewer if they say it all.
  const short = (x) => (trimmed(x, 2) === trimmed(x, 4) ? trimmed(x, 2) : fixed(x, 2));
  const trimmed = (x, digits) =>
    fixed(x, digits)
      .replace(/(\.\d*?)0+$/, "$1")
      .replace(/\.$/, "");
  const inSum = (x) => (x < 0 ? `(${trimmed(x, 4)})` : trimmed(x, 4));

  const plain = (id) => MATRICES[id].title.join("^");
  const place = ([id, i, j]) => `${id}.${i}.${j}`;
  const letter = (id) => {
    const [base, raised] = MATRICES[id].title;
    return raised ? [base, make("sup", {}, raised)] : [base];
  };
  const said = (text) =>
    text.split(/(\^\w)/).map((p) => (p[0] === "^" ? make("sup", {}, p[1]) : p));

  // The words of a sheet with these tokens and features.
  function of(data) {
    const rowName = (id, i) => data[MATRICES[id].rows]?.[i] ?? `row ${i + 1}`;
    const columnName = (id, j) => data[MATRICES[id].columns]?.[j] ?? `column ${j + 1}`;

    // `made` are the entries that it is made of.
    function formula(all, at, made, isSet) {
      const [id, i, j] = at;
      const { of, softmaxOf } = MATRICES[id];
      const number = all[id][i][j];
      const result = make("output", {}, fixed(number, 4));
      const name = make("b", {}, ...letter(id));
      const begins = [name, " of ", make("em", {}, rowName(id, i)), `, ${columnName(id, j)} = `];
      if (isSet) return [...begins, result, ", set by hand."];
      if (number === -Infinity) return [...begins, result, ", hidden by the causal mask."];
      if (softmaxOf && number === 0) return [...begins, result, ", since its score is hidden."];
      if (softmaxOf) return [...begins, ...softmaxed(all, at, made), " = ", result];
      if (!of) return [...begins, result, ", given: change it and see what follows."];
      return [...begins, ...sides(at), " = ", ...summed(all, id, made), " = ", result];
    }

    const value = (all, [id, i, j]) => all[id][i][j];
    const side = (all, kind, at) => make("span", { class: `ms-${kind}` }, inSum(value(all, at)));

    function softmaxed(all, [id, i, j], made) {
      const power = (at) => ["exp ", side(all, "left", at)];
      const seen = made.filter(({ left }) => value(all, left) !== -Infinity);
      const powers = seen.flatMap(({ left }) => [" + ", ...power(left)]).slice(1);
      return [...power([MATRICES[id].softmaxOf, i, j]), " ÷ (", ...powers, ")"];
    }

    function sides([id, i, j]) {
      const { of, turned } = MATRICES[id];
      const right = turned ? `row ${rowName(of[1], j)} of ` : `${columnName(of[1], j)} of `;
      return [
        make("span", { class: "ms-left" }, `row ${rowName(of[0], i)} of `, ...letter(of[0])),
        " · ",
        make("span", { class: "ms-right" }, right, ...letter(of[1])),
      ];
    }

    function summed(all, id, made) {
      const terms = made.flatMap(({ left, right }) => [
        " + ",
        side(all, "left", left),
        " · ",
        side(all, "right", right),
      ]);
      const sum = terms.slice(1);
      return MATRICES[id].root ? ["(", ...sum, `) ÷ √${made.length}`] : sum;
    }

    return { columnName, formula, letter, rowName };
  }

  return { fixed, of, place, plain, said, short, trimmed };
})();
