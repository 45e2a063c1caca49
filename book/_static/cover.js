// The cover's sentence: the row of the word that is pointed at or chosen, from the page's own data.
(() => {
  const figure = document.querySelector(".cover-row");
  if (!figure) return;
  const { tokens, weights, token } = JSON.parse(document.getElementById("cover-data").textContent);
  const [words, said] = ["words", "said"].map((part) =>
    figure.querySelector(`[data-part=${part}]`),
  );
  let chosen = token;

  function draw(i) {
    attentionRow.draw(words, weights[i], i, chosen);
    attentionRow.tell(said, ...attentionRow.said(tokens, weights[i], i));
  }

  attentionRow.layOut(words, tokens);
  draw(chosen);
  words.addEventListener("change", ({ target }) => draw((chosen = Number(target.value))));
  attentionRow.follow(words, (i) => draw(i ?? chosen));
  figure.hidden = false;
  document.documentElement.classList.add("cover-on");
})();
