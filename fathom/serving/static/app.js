// The page of a service. Whatever comes from data or models is put in as text, never as mark-up.
"use strict";

const $ = (id) => document.getElementById(id);
const state = { runs: [], run: null, history: [], next: null, conversation: null, disliked: new Set(), asked: 0 };
const me = (() => {
  let name = localStorage.getItem("fathom-guest");
  if (!name) localStorage.setItem("fathom-guest", (name = `guest-${crypto.getRandomValues(new Uint32Array(2)).join("")}`));
  return name;
})();

function make(tag, { text, kind, ...rest } = {}, ...inside) {
  const made = document.createElement(tag);
  if (text !== undefined) made.textContent = text;
  if (kind) made.className = kind;
  for (const [name, value] of Object.entries(rest)) made.setAttribute(name, value);
  made.append(...inside);
  return made;
}

function button(text, label, act, kind) {
  const made = make("button", { type: "button", text, kind, "aria-label": label, title: label });
  made.addEventListener("click", act);
  return made;
}

// The server ---------------------------------------------------------------------------------------------------------------

async function send(method, path, body) {
  const headers = { "content-type": "application/json" };
  const key = sessionStorage.getItem("fathom-key");
  if (key) headers.authorization = `Bearer ${key}`;
  const answer = await fetch(`v1/${path}`, { method, headers, body: body && JSON.stringify(body) });
  if (answer.status === 401) {
    $("key").showModal();
    await new Promise((done) => $("key").addEventListener("close", done, { once: true }));
    sessionStorage.setItem("fathom-key", $("secret").value);
    return send(method, path, body);
  }
  if (!answer.ok) {
    const told = await answer.json().catch(() => null);
    throw new Error(told?.error?.message ?? `the server answered ${answer.status}`);
  }
  return answer;
}

const get = async (path) => (await send("GET", path)).json();
const post = async (path, body) => (await send("POST", path, body)).json();

async function* events(path, body) {
  const reader = (await send("POST", path, { ...body, stream: true })).body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    text += value;
    for (let end; (end = text.indexOf("\n\n")) >= 0; text = text.slice(end + 2)) {
      const [, name, data] = /^event: (.*)\ndata: (.*)$/s.exec(text.slice(0, end));
      const told = JSON.parse(data);
      if (name === "error") throw new Error(told.error.message);
      yield [name, told];
    }
  }
}

async function tried(work) {
  $("error").hidden = true;
  try {
    return await work();
  } catch (error) {
    $("error").textContent = error.message;
    $("error").hidden = false;
  }
}

// Who is asked about -------------------------------------------------------------------------------------------------------

// Another history, another conversation; what was said stays to be read.
function setHistory(items, next = null) {
  state.history = items;
  state.next = next;
  state.conversation = null;
  showHistory();
}

function showHistory() {
  $("empty").hidden = state.history.length > 0;
  $("history").replaceChildren(
    ...state.history.map((item, place) =>
      make(
        "li",
        {},
        make("span", {}, item.title, make("span", { kind: "about", text: item.about.slice(0, 3).join(", ") })),
        button("×", `Remove ${item.title}`, () => setHistory(state.history.filter((_, other) => other !== place), state.next), "away"),
      ),
    ),
  );
  $("history").scrollTop = $("history").scrollHeight;
  $("next").hidden = !state.next;
  if (state.next) $("next").replaceChildren("Then took ", make("strong", { text: state.next.title }), ", which no model has seen.");
}

function take(item) {
  if (!state.history.some((one) => one.id === item.id)) setHistory([...state.history, item], state.next);
}

let searching = 0;
function close() {
  $("found").hidden = true;
  $("search").setAttribute("aria-expanded", "false");
  $("search").removeAttribute("aria-activedescendant");
}

function offered(...lines) {
  $("found").replaceChildren(...lines);
  $("found").hidden = false;
  $("search").setAttribute("aria-expanded", "true");
}

// A history that is typed: titles, oldest first, with semicolons between them.
const typed = () => $("search").value.split(";").map((title) => title.trim()).filter(Boolean);

async function takeTyped() {
  for (const title of typed()) {
    const { items } = await get(`items?${new URLSearchParams({ q: title, k: 1, run: state.run.name })}`);
    if (!items[0]?.title.toLowerCase().includes(title.toLowerCase())) throw new Error(`Nothing is called “${title}”; what stands before it was taken.`);
    take(items[0]);
  }
  $("search").value = "";
  close();
}

async function search() {
  const words = $("search").value.trim();
  const mine = ++searching;
  if (!words) return close();
  if (words.includes(";")) {
    const count = typed().length;
    return offered(make("li", { kind: "quiet", text: `Enter takes ${count === 1 ? "this title" : `these ${count} titles, oldest first`}` }));
  }
  const found = await tried(() => get(`items?${new URLSearchParams({ q: words, k: 8, run: state.run.name })}`));
  if (mine !== searching || !found) return;
  if (!found.items.length) return offered(make("li", { kind: "quiet", text: "Nothing has such words; several titles are typed with ; between them" }));
  offered(
    ...found.items.map((item, place) => {
      const line = make("li", { role: "option", id: `found-${place}`, "aria-selected": "false" });
      line.append(item.title, make("span", { kind: "about", text: item.about.slice(0, 4).join(", ") }));
      line.addEventListener("mousedown", (event) => {
        event.preventDefault();
        take(item);
        $("search").value = "";
        close();
      });
      return line;
    }),
  );
}

function move(step) {
  const lines = [...$("found").querySelectorAll("[role=option]")];
  if (!lines.length) return;
  const now = lines.findIndex((line) => line.getAttribute("aria-selected") === "true");
  const next = (now + step + lines.length) % lines.length;
  lines.forEach((line, place) => line.setAttribute("aria-selected", String(place === next)));
  lines[next].scrollIntoView({ block: "nearest" });
  $("search").setAttribute("aria-activedescendant", lines[next].id);
}

// What is answered ---------------------------------------------------------------------------------------------------------

function turnView(turn) {
  const shown = 8;
  const back = make("ul", { kind: "back", "aria-label": `Came back in turn ${turn.number}` });
  const chip = (item) => {
    const line = make("li", { text: item.title, "data-item": item.id, kind: item.new ? "new" : "" });
    if (state.next?.id === item.id) line.classList.add("hit");
    return line;
  };
  back.append(...turn.items.slice(0, shown).map(chip));
  if (turn.items.length > shown) {
    const more = button(`${turn.items.length - shown} more`, "Show all that came back", () => more.parentElement.replaceWith(...turn.items.slice(shown).map(chip)), "more");
    back.append(make("li", {}, more));
  }
  return make("div", { kind: "turn", "data-turn": turn.number }, make("p", { kind: "thought", text: turn.thought || "(no thought)" }), make("p", { kind: "wish", text: turn.preference }), back);
}

function light(root, item, on) {
  for (const chip of root.querySelectorAll(`[data-item="${CSS.escape(item.id)}"]`)) chip.classList.toggle("lit", on);
}

function listView(items, root, model) {
  const list = make("ol", { kind: "listed" });
  list.append(
    ...items.map((item, place) => {
      const line = make("li", { "data-listed": item.id });
      if (state.next?.id === item.id) line.classList.add("hit");
      const like = button("♥", `Like ${item.title}`, () => tell("like"));
      const dislike = button("✕", `Not for me: ${item.title}`, () => tell("dislike"));
      const near = button("≈", `More like ${item.title}`, () => alike(item, line));
      const tell = (kind) =>
        tried(async () => {
          const act = { user: me, item: item.id, kind, model, place: place + 1 };
          if (state.conversation) act.conversation = state.conversation;
          await post("feedback", { run: state.run.name, acts: [act] });
          like.setAttribute("aria-pressed", String(kind === "like"));
          dislike.setAttribute("aria-pressed", String(kind === "dislike"));
          line.classList.toggle("disliked", kind === "dislike");
          state.disliked[kind === "dislike" ? "add" : "delete"](item.id);
          if (kind === "like") take(item);
          else if (state.history.some((one) => one.id === item.id)) setHistory(state.history.filter((one) => one.id !== item.id), state.next);
        });
      line.append(
        make("span", { kind: "title" }, item.title, make("span", { kind: "about", text: item.about.slice(0, 4).join(", ") })),
        make("span", { kind: "acts" }, like, dislike, near),
      );
      if (item.reason) line.append(make("p", { kind: "why", text: item.reason }));
      if (item.turn) {
        const from = button(`first in turn ${item.turn}, by “${item.preference}”`, "Show where it came back", () =>
          root.querySelector(`[data-turn="${item.turn}"]`)?.scrollIntoView({ block: "center", behavior: "smooth" }), "from");
        line.append(from);
        for (const [on, name] of [[true, "mouseenter"], [false, "mouseleave"], [true, "focusin"], [false, "focusout"]])
          line.addEventListener(name, () => light(root, item, on));
      }
      return line;
    }),
  );
  return list;
}

async function alike(item, line) {
  line.nextElementSibling?.matches(".alike") && line.nextElementSibling.remove();
  const found = await tried(() => post("similar", { run: state.run.name, item: item.id, k: 5 }));
  if (!found) return;
  const box = make("li", { kind: "alike" }, make("p", { kind: "why", text: `more like ${item.title}` }));
  box.append(...found.items.map((one) => make("span", { kind: "why" }, button(one.title, `Add ${one.title} to the history`, () => take(one), "more"))));
  line.after(box);
}

async function follow(path, body, root, model) {
  const waits = make("p", { kind: "waits", text: "thinking …" });
  root.append(waits);
  try {
    for await (const [name, told] of events(path, body)) {
      if (name === "turn") waits.before(turnView(told));
      else {
        if (told.conversation) state.conversation = told.conversation;
        if (told.text) waits.before(make("p", { text: told.text }));
        if (told.conclusion) waits.before(make("p", { kind: "thought", text: told.conclusion }));
        waits.before(listView(told.items, root, model));
      }
    }
  } finally {
    waits.remove();
  }
}

async function ask(event) {
  event.preventDefault();
  const models = [$("model").value, $("beside").value].filter((name, place, all) => name && all.indexOf(name) === place);
  const mine = ++state.asked;
  $("columns").replaceChildren();
  await Promise.all(
    models.map(async (model) => {
      const figure = state.run.models.find((one) => one.name === model)?.figure ?? "";
      const column = make("article", { kind: "column" }, make("h3", {}, model, make("span", { text: figure })));
      $("columns").append(column);
      const history = state.history.map((item) => item.id);
      const body = { run: state.run.name, model, history, k: 10, explain: true, exclude: [...state.disliked] };
      await tried(() => follow("recommend", body, column, model));
      if (mine !== state.asked) column.remove();
    }),
  );
}

async function say(event) {
  event.preventDefault();
  const message = $("message").value.trim();
  if (!message) return;
  $("message").value = "";
  const it = make("li", { kind: "it" });
  $("said").append(make("li", { kind: "me", text: message }), it);
  const model = $("model").value;
  const begin = { run: state.run.name, model, history: state.history.map((item) => item.id) };
  const body = state.conversation ? { message, conversation: state.conversation } : { message, ...begin };
  await tried(() => follow("chat", body, it, model));
  it.scrollIntoView({ block: "nearest", behavior: "smooth" });
}

// The page -----------------------------------------------------------------------------------------------------------------

function choose(name) {
  state.run = state.runs.find((run) => run.name === name) ?? state.runs[0];
  const { items, people, models, method } = state.run;
  $("facts").textContent = `${method} · ${items.toLocaleString("en")} items · ${people.toLocaleString("en")} people`;
  const options = () => models.map((model) => make("option", { value: model.name, text: model.agent ? `${model.name} · thinks aloud` : model.name }));
  $("model").replaceChildren(...options());
  $("model").value = state.run.default;
  $("beside").replaceChildren(make("option", { value: "", text: "nobody" }), ...options());
  $("columns").replaceChildren();
  $("said").replaceChildren();
  setHistory([]);
}

async function somebody() {
  const { users } = await get(`people?${new URLSearchParams({ k: 1000, run: state.run.name })}`);
  if (!users.length) throw new Error("this run has no test users");
  const user = users[Math.floor(Math.random() * users.length)];
  const told = await get(`people/${encodeURIComponent(user)}?${new URLSearchParams({ run: state.run.name })}`);
  setHistory(told.question ?? told.history, told.came_next);
}

$("search").addEventListener("input", search);
$("search").addEventListener("blur", close);
$("search").addEventListener("keydown", (event) => {
  if (event.key === "ArrowDown" || event.key === "ArrowUp") {
    event.preventDefault();
    move(event.key === "ArrowDown" ? 1 : -1);
  } else if (event.key === "Enter") {
    event.preventDefault();
    if ($("search").value.includes(";")) return void tried(takeTyped);
    const line = $("found").querySelector("[aria-selected=true]") ?? $("found").querySelector("[role=option]");
    line?.dispatchEvent(new MouseEvent("mousedown", { cancelable: true }));
  } else if (event.key === "Escape") close();
});
$("run").addEventListener("change", () => choose($("run").value));
$("model").addEventListener("change", () => (state.conversation = null));
$("somebody").addEventListener("click", () => tried(somebody));
$("clear").addEventListener("click", () => {
  $("columns").replaceChildren();
  $("said").replaceChildren();
  state.disliked.clear();
  setHistory([]);
});
$("ask").addEventListener("submit", ask);
$("say").addEventListener("submit", say);
$("theme").addEventListener("click", () => {
  const dark = document.documentElement.dataset.theme ? document.documentElement.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  document.documentElement.dataset.theme = dark ? "light" : "dark";
});

tried(async () => {
  state.runs = await get("runs");
  $("run").replaceChildren(...state.runs.map((run) => make("option", { value: run.name, text: run.name })));
  choose(state.runs[0].name);
});
