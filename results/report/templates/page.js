"use strict";
// Sorting: a button in each head; best first, worst first, as it was. Floor and ceiling stay where they are.
for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0], heads = [...table.tHead.rows[0].cells], original = [...body.rows];
  const number = (text) => {
    const found = text.replaceAll("−", "-").replaceAll(",", "").match(/^[^\d+-]*([+-]?\d*\.?\d+(?:e[+-]?\d+)?)/i);
    return found ? parseFloat(found[1]) : NaN;
  };
  const role = (row) => (table.hasAttribute("data-whole") ? "all" : row.classList[0]);
  const text = (row, column) => row.cells[column].firstChild?.textContent.trim() ?? "";
  const full = (row, column) => row.cells[column].textContent.trim();

  heads.forEach((head, column) => {
    const shown = original.map((row) => text(row, column)).filter((value) => value && value !== "–");
    const numeric = column > 0 && shown.some((value) => !Number.isNaN(number(value)))
      && shown.every((value) => /^[▲▼≈?<±\s]*[+−-]?[\d.]/.test(value));
    const first = numeric && !head.textContent.includes("↓") ? "descending" : "ascending";
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    button.title = "Sort by this column";
    head.append(button);
    head.setAttribute("aria-sort", "none");
    button.addEventListener("click", () => {
      const now = head.getAttribute("aria-sort"), second = first === "ascending" ? "descending" : "ascending";
      const next = now === "none" ? first : now === first ? second : "none";
      heads.forEach((other) => other.setAttribute("aria-sort", other === head ? next : "none"));
      table.classList.toggle("sorted", next !== "none");
      const sign = next === "ascending" ? 1 : -1;
      const compare = (a, b) => {
        if (!numeric) return sign * full(a, column).localeCompare(full(b, column), "en", { numeric: true });
        const x = number(text(a, column)), y = number(text(b, column));
        return Number.isNaN(x) || Number.isNaN(y) ? Number.isNaN(x) - Number.isNaN(y) : sign * (x - y);
      };
      const queues = {};
      for (const row of original) (queues[role(row)] ??= []).push(row);
      for (const [name, rows] of Object.entries(queues))
        if (next !== "none" && ["method", "reference", "all"].includes(name)) rows.sort(compare);
      body.append(...original.map((row) => queues[role(row)].shift()));
    });
  });
}

// Methods that are not chosen leave tables, plots and pictures.
const choose = document.getElementById("choose"), hidden = new Set();
const filter = () => {
  for (const part of document.querySelectorAll("main [data-method]"))
    part.classList.toggle("off", hidden.has(part.dataset.method));
};
if (choose) {
  const boxes = [...choose.querySelectorAll("input")];
  const update = () => {
    hidden.clear();
    for (const box of boxes) if (!box.checked) hidden.add(box.value);
    const left = boxes.length - hidden.size;
    document.getElementById("chosen").textContent = hidden.size ? `${left} of ${boxes.length}` : `all ${left}`;
    filter();
  };
  choose.hidden = false;
  choose.addEventListener("input", update);
  for (const name of ["all", "none"])
    document.getElementById(name).addEventListener("click", () => {
      for (const box of boxes) box.checked = name === "all";
      update();
    });
}

// Light or dark: as the system has it, or the other way round.
const theme = document.getElementById("theme"), dark = matchMedia("(prefers-color-scheme: dark)");
theme.hidden = false;
theme.addEventListener("click", () => {
  const style = document.documentElement.style, now = style.colorScheme || (dark.matches ? "dark" : "light");
  style.colorScheme = now === "dark" ? "light" : "dark";
});

// Printing shows everything.
let closed = [];
addEventListener("beforeprint", () => {
  closed = [...document.querySelectorAll("details:not([open])")];
  for (const part of closed) part.open = true;
});
addEventListener("afterprint", () => {
  for (const part of closed) part.open = false;
});

// One concept, all methods side by side, stage by stage.
const data = document.getElementById("pictures");
if (data) {
  const { concepts, stages, names, cells, still, texts } = JSON.parse(data.textContent);
  const pick = (id) => document.getElementById(id);
  const concept = pick("pick-concept"), prompt = pick("pick-prompt"), stage = pick("pick-stage");
  const strip = pick("strip");

  const figure = (name, className, row, k, there, word, framed, note) => {
    const whole = document.createElement("figure"), tile = document.createElement("div");
    tile.className = `tile ${there ? className : "none"}${framed ? " framed" : ""}`;
    if (there) {
      tile.setAttribute("role", "img");
      tile.setAttribute("aria-label", `${name}, ${concepts[k]}${note ? `: ${note}` : ""}`);
      tile.style.setProperty("--r", row);
      tile.style.setProperty("--k", k);
    } else tile.textContent = word;
    const caption = document.createElement("figcaption"), bold = document.createElement("b");
    bold.textContent = name.replaceAll(/[,[]/g, "$&\u200b");
    const said = document.createElement("span");
    said.textContent = there ? note : "";
    caption.append(bold, said);
    whole.append(tile, caption);
    return whole;
  };
  const show = () => {
    const k = Number(concept.value), t = Number(stage.value), p = Number(prompt?.value ?? 0), now = stages[t];
    for (const option of prompt?.options ?? []) option.textContent = texts[option.value][k];
    const found = names.map((name, row) => figure(name, `still s${p}`, row, k, still[p][row][k], "no image", false, ""));
    cells.forEach((cell, number) => {
      const framed = cell.turns[k] === now;
      const there = cell.there[p][t][k], word = cell.words[t][k];
      const made = figure(cell.method, `s${p}-${number + 1}`, t, k, there, word, framed, cell.scores[t][k]);
      made.dataset.method = cell.method;
      found.push(made);
    });
    strip.replaceChildren(...found);
    filter();
    const learned = cells[0].turns.indexOf(now);
    const said = learned >= 0 ? `, ${concepts[learned]} just learned` : "";
    pick("stage").textContent = `${now} of ${stages.at(-1)}${said}`;
    stage.setAttribute("aria-valuetext", `stage ${now}${said}`);
  };
  for (const control of [concept, prompt, stage]) control?.addEventListener("input", show);
  pick("viewer").hidden = false;
  show();
}
