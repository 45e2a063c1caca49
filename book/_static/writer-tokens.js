// Byte-pair tokens: a text is cut into words, a word into bytes, and pairs of them are merged in
// the order in which they were learnt. Nothing here knows of the page.
const writerTokens = (() => {
  // What may stand together, tried in this order; a space belongs to what follows it.
  const WORD = new RegExp(
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\p{White_Space}\\p{L}\\p{N}]+" +
      "|\\p{White_Space}+(?!\\P{White_Space})|\\p{White_Space}+",
    "gu",
  );

  // Tokens are stored as visible letters, one for each byte: itself where it is one, and what
  // follows the 256th where it is none.
  function letters() {
    const seen = (b) => (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174;
    let next = 256;
    return Array.from({ length: 256 }, (_, b) => String.fromCharCode(seen(b) ? b : next++));
  }

  function make({ names, special, merges }) {
    const byLetter = letters();
    const ofLetter = Object.fromEntries(byLetter.map((letter, b) => [letter, b]));
    const single = byLetter.map((letter) => names.indexOf(letter));
    const size = names.length;
    const ranks = new Map(
      merges.map(([left, right, whole], rank) => [left * size + right, { rank, whole }]),
    );

    // The pair that was learnt first is merged first, and of equal ones the leftmost.
    function merged(ids) {
      for (;;) {
        let best = null;
        for (let i = 0; i + 1 < ids.length; i++) {
          const pair = ranks.get(ids[i] * size + ids[i + 1]);
          if (pair && (!best || pair.rank < best.rank)) best = { ...pair, i };
        }
        if (!best) return ids;
        ids.splice(best.i, 2, best.whole);
      }
    }

    const encode = (text) =>
      (text.match(WORD) ?? []).flatMap((word) =>
        merged(Array.from(new TextEncoder().encode(word), (b) => single[b])),
      );

    const bytes = (id) => (special.includes(id) ? [] : Array.from(names[id], (c) => ofLetter[c]));
    const decode = (ids) =>
      new TextDecoder("utf-8", { ignoreBOM: true }).decode(Uint8Array.from(ids.flatMap(bytes)));

    // A token as it is shown: a space is a dot, and bytes that are no letter are written as such.
    function show(id) {
      if (special.includes(id)) return names[id];
      try {
        const text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(
          Uint8Array.from(bytes(id)),
        );
        return text.replaceAll(" ", "·").replaceAll("\n", "↵").replaceAll("\t", "→");
      } catch {
        return bytes(id)
          .map((b) => `\\x${b.toString(16).padStart(2, "0")}`)
          .join("");
      }
    }

    return { decode, encode, show };
  }

  return { make };
})();
