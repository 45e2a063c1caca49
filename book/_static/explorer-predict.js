// Station 4: three changes, each of which asks for a prediction first.
(() => {
  if (!explorer) return;
  const { figure, name, part, places, state, tokens, worded } = explorer;
  const { make, tell } = attentionRow;
  const forms = explorer.named(figure, "form[data-experiment]", "experiment");

  const options = () => places().map((i) => make("option", { value: i }, name(i)));

  function layOut() {
    for (const group of figure.querySelectorAll("[data-tokens]")) {
      group.replaceChildren(group.firstElementChild, ...places().map((i) => guess(group, i)));
    }
    layOutChanges();
  }

  function layOutChanges() {
    const { value, future } = forms;
    value.token.replaceChildren(...options());
    value.other.replaceChildren(
      make("option", { value: "zero" }, "zero"),
      make("option", { value: "twice" }, "twice itself"),
      make("optgroup", { label: "the value of" }, ...options()),
    );
    future.token.replaceChildren(...options().slice(1, -1));
    future.other.replaceChildren(...options());
    value.token.value = future.other.value = 2;
    future.token.value = tokens().length >> 1;
  }

  const guess = ({ dataset }, i) =>
    make(
      "label",
      {},
      make("input", { type: "radio", name: dataset.tokens, value: i, required: "" }),
      ` ${name(i)}`,
    );

  function draw() {
    for (const place of [part.name, part.silent]) {
      place.textContent = `${state.layer}.${state.head}`;
    }
    Object.values(forms).forEach(answer);
  }

  function answer(form) {
    const [says, table] = form.querySelector(".ex-answer").children;
    table.hidden = !form.dataset.asked;
    if (table.hidden) {
      tell(says, make("p", { class: "ex-wait" }, "Your prediction first."));
      return;
    }
    const { lengths } = explorer.sentence();
    const gram = explorer.data().gram[state.head];
    const view = { head: explorer.head(), gram, lengths, settings: state };
    const choice = Object.fromEntries(new FormData(form));
    const found = experiments[form.dataset.experiment](view, choice);
    tell(says, ...found.verdicts.map(judged), make("p", {}, ...worded(found.why)));
    const columns = found.columns.map((title) => make("th", { scope: "col" }, ...worded(title)));
    const longest = Math.max(...found.bars, Number.MIN_VALUE);
    const row = (numbers, i) =>
      make(
        "tr",
        { style: `--w: ${found.bars[i] / longest}` },
        make("th", { scope: "row" }, name(i)),
        ...numbers.map((text) => make("td", {}, text)),
      );
    table.replaceChildren(
      make("thead", {}, make("tr", {}, ...columns)),
      make("tbody", {}, ...found.rows.map(row)),
    );
  }

  function judged({ right, said, truth }) {
    const parts = right ? ["✓ As you said: "] : ["✗ You said ", said, "; it is "];
    return make("p", { class: "ex-verdict" }, ...worded([...parts, truth, "."]));
  }

  function askAnew(form) {
    delete form.dataset.asked;
    for (const radio of form.querySelectorAll("input")) radio.checked = false;
  }

  for (const form of Object.values(forms)) {
    form.addEventListener("change", ({ target }) => {
      if (target.matches("select")) askAnew(form);
      answer(form);
    });
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      form.dataset.asked = "yes";
      answer(form);
    });
  }
  const askAll = () => Object.values(forms).forEach(askAnew);
  explorer.stations.push({
    layOut,
    draw,
    askAnew: askAll,
    reset: () => {
      askAll();
      layOutChanges();
    },
    read: (given) => forms[given.get("experiment")]?.scrollIntoView(),
  });
})();
