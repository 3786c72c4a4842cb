// The per-item browser. Its state lives in the address: #filter=fixed&benchmark=pope&text=dog&item=pope/random/3
(() => {
  const root = document.getElementById("browser");
  if (!root) return;
  const data = JSON.parse(document.getElementById("item-data").textContent);
  const PAGE = 20;
  const control = (name) => root.querySelector(`[name=${name}]`);
  const [other, benchmark, task, text] = ["other", "benchmark", "task", "text"].map(control);
  const radios = [...root.querySelectorAll("[name=filter]")];
  const list = root.querySelector(".items");
  let found = [];
  let current = 0;

  function element(name, kind, content, ...children) {
    const made = document.createElement(name);
    if (kind) made.className = kind;
    if (content) made.textContent = content;
    made.append(...children);
    return made;
  }

  // Which replies count: the baseline's and the chosen model's; one model alone has no second.
  function pair(item) {
    const second = data.models.length > 1 ? [item.replies[other.value || 1]] : [];
    return [item.replies[0], ...second];
  }

  function outcome(item) {
    const [first, second] = pair(item);
    if (second === undefined) return first[2] ? "right" : "wrong";
    if (!first || !second) return "";
    if (first[2] === second[2]) return first[2] ? "right" : "wrong";
    return second[2] ? "fixed" : "broken";
  }

  const unread = (item) => pair(item).some((reply) => reply && reply[1] === null);
  const matches = (item, filter) => filter === "all" || (filter === "unread" ? unread(item) : outcome(item) === filter);
  const filterNow = () => radios.find((radio) => radio.checked).value;
  const address = (item) => `${item.benchmark}/${item.id}`;

  function wanted(item) {
    if (benchmark.value && item.benchmark !== benchmark.value) return false;
    if (task.value && item.task !== task.value) return false;
    item.words ??= [item.id, item.question, item.gold, ...item.replies.map((reply) => reply && reply[0])]
      .join("\n").toLowerCase();
    return item.words.includes(text.value.trim().toLowerCase());
  }

  function select() {
    const rest = data.items.filter(wanted);
    for (const radio of radios) {
      const number = rest.filter((item) => matches(item, radio.value)).length;
      radio.parentElement.querySelector("b").textContent = number.toLocaleString("en");
    }
    found = rest.filter((item) => matches(item, filterNow()));
    current = 0;
  }

  function fillTasks() {
    const items = data.items.filter((item) => !benchmark.value || item.benchmark === benchmark.value);
    const tasks = [...new Set(items.map((item) => item.task))];
    const before = task.value;
    task.replaceChildren(new Option("all", ""), ...tasks.map((name) => new Option(name, name)));
    task.value = tasks.includes(before) ? before : "";
  }

  function replyOf(item, index) {
    const [raw, read, right] = item.replies[index];
    const verdict = right ? "\u2713 right" : read === null ? "\u2717 unread" : "\u2717 wrong";
    const said = element("dd", "", raw || "(empty)");
    said.dir = "auto";
    if (read !== null && read !== raw.trim()) said.append(element("small", "", `read as ${read}`));
    const head = element("dt", "", data.models[index], element("span", "verdict", verdict));
    return element("div", right ? "right" : "wrong", "", head, said);
  }

  function pictureOf(item) {
    if (item.picture < 0) return element("p", "missing", "no picture");
    const image = element("img");
    image.src = data.pictures[item.picture];
    image.decoding = "async";
    image.alt = `Picture of item ${item.id}`;
    const button = element("button", "enlarge small", "", image);
    button.type = "button";
    button.dataset.caption = `${data.benchmarks[item.benchmark]}, ${item.task}, ${item.id}: ${item.question}`;
    return button;
  }

  function card(item, position) {
    const where = element("p", "where", `${data.benchmarks[item.benchmark]} \u00b7 ${item.task} \u00b7 ${item.id}`);
    const kind = outcome(item);
    if (kind === "fixed" || kind === "broken") where.append(element("span", `outcome ${kind}`, kind));
    const question = element("p", "question", item.question);
    question.dir = "auto";
    const gold = element("div", "gold", "", element("dt", "", "answer"), element("dd", "", item.gold));
    const replies = data.models.map((_, index) => index).filter((index) => item.replies[index]);
    const told = element("dl", "", "", gold, ...replies.map((index) => replyOf(item, index)));
    const made = element("li", "", "", pictureOf(item), element("div", "asked", "", where, question, told));
    made.tabIndex = position === current ? 0 : -1;
    made.dataset.position = position;
    return made;
  }

  function draw() {
    const start = current - (current % PAGE);
    list.replaceChildren(...found.slice(start, start + PAGE).map((item, index) => card(item, start + index)));
    list.start = start + 1;
    root.querySelector("[role=status]").textContent =
      `${found.length.toLocaleString("en")} of ${data.items.length.toLocaleString("en")} items`;
    const pages = Math.max(1, Math.ceil(found.length / PAGE));
    root.querySelector(".pages span").textContent = `page ${start / PAGE + 1} of ${pages}`;
    control("back").disabled = start === 0;
    control("on").disabled = start + PAGE >= found.length;
  }

  function remember(item) {
    const state = new URLSearchParams();
    if (filterNow() !== "all") state.set("filter", filterNow());
    if (other.selectedIndex > 0) state.set("other", data.models[other.value]);
    for (const field of [benchmark, task, text]) if (field.value) state.set(field.name, field.value);
    if (item) state.set("item", address(item));
    history.replaceState(null, "", `#${state.size ? state : "items"}`);
  }

  function go(position) {
    if (position < 0 || position >= found.length) return;
    const turn = Math.floor(position / PAGE) !== Math.floor(current / PAGE);
    current = position;
    if (turn) draw();
    for (const made of list.children) made.tabIndex = Number(made.dataset.position) === current ? 0 : -1;
    const target = list.children[current % PAGE];
    target.focus({ preventScroll: true });
    target.scrollIntoView({ block: "nearest" });
    remember(found[current]);
  }

  function change(event) {
    if (event.target === benchmark) fillTasks();
    select();
    draw();
    remember();
  }

  // An address that names no filter leaves everything shown; one that names an item opens its page.
  function restore() {
    if (!location.hash.includes("=")) return;
    const state = new URLSearchParams(location.hash.slice(1));
    (radios.find((radio) => radio.value === state.get("filter")) ?? radios[0]).checked = true;
    other.value = Math.max(1, data.models.indexOf(state.get("other")));
    benchmark.value = state.get("benchmark") in data.benchmarks ? state.get("benchmark") : "";
    fillTasks();
    const tasks = [...task.options].map((option) => option.value);
    task.value = tasks.includes(state.get("task")) ? state.get("task") : "";
    text.value = state.get("text") ?? "";
    select();
    const position = found.findIndex((item) => address(item) === state.get("item"));
    draw();
    if (position >= 0) go(position);
    else root.closest("section").scrollIntoView();
  }

  root.addEventListener("input", change);
  root.addEventListener("click", (event) => {
    const step = { on: PAGE, back: -PAGE }[event.target.name];
    if (!step) return;
    go(current - (current % PAGE) + step);
    list.scrollIntoView();
  });
  list.addEventListener("focusin", (event) => {
    const made = event.target.closest("li");
    if (event.target === made) current = Number(made.dataset.position);
  });
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || viewer.open) return;
    if (event.target.matches("input, select")) return;
    const inside = event.target.matches(".items > li");
    const step = { j: 1, k: -1, ...(inside && { ArrowDown: 1, ArrowUp: -1 }) }[event.key];
    if (step) go(list.contains(document.activeElement) ? current + step : current);
    else if (event.key === "/") text.focus();
    else if (event.key === "Enter" && inside) event.target.querySelector(".enlarge")?.click();
    else return;
    event.preventDefault();
  });
  window.addEventListener("hashchange", restore);

  for (const [name, title] of Object.entries(data.benchmarks)) benchmark.add(new Option(title, name));
  fillTasks();
  select();
  draw();
  root.hidden = false;
  restore();
})();
