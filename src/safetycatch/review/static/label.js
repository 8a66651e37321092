"use strict";
// The labelling page. Everything from data is set as text, never as markup. A label leaves the screen at once; it counts
// as saved when the server has said so. Until then it waits in `pending`, which survives a reload of the page.

const AHEAD = 30, BATCH = 20, RETRY_MS = 1000, REFRESH_EVERY = 10, MAX_BATCH_CHARACTERS = 14000;
const $ = (id) => document.getElementById(id);
const csrf = document.querySelector('meta[name="csrf"]').content;
// What waits belongs to one set: the numbers of answers mean others in every other one.
const set = document.querySelector('meta[name="label-set"]').content;

const now = {
  annotator: "", state: null, queue: [], cache: new Map(), current: null, criterion: 0,
  modes: new Set(), pending: [], history: [], sending: false, prefix: false, sinceRefresh: 0, limit: BATCH, kept: 0,
};

// -- talking to the server --------------------------------------------------------------------------------------------

async function ask(path, body) {
  const options = body === undefined ? {} : {
    method: "POST", body: JSON.stringify(body),
    headers: { "Content-Type": "application/json", "X-Safetycatch-CSRF": csrf },
  };
  const reply = await fetch(path, { credentials: "same-origin", cache: "no-store", ...options });
  const text = await reply.text();
  let told;
  try { told = JSON.parse(text); } catch { told = { error: text }; }
  if (!reply.ok) throw Object.assign(new Error(told.error || `HTTP ${reply.status}`), { status: reply.status });
  return told;
}

const as = () => `as=${encodeURIComponent(now.annotator)}&set=${set}`;
const store = () => `safetycatch waiting ${set} ${now.annotator} `;
const newId = () => crypto.randomUUID().replaceAll("-", "");

// One entry an act: another tab of the same person adds and takes away its own.
function keep(act) {
  const order = [Date.now(), now.kept++];
  try { localStorage.setItem(store() + act.id, JSON.stringify({ order, act, again: now.state.again })); } catch { /* private browsing: the page still has it */ }
}

function forget(acts) {
  for (const act of acts) localStorage.removeItem(store() + act.id);
}

function kept() {
  const found = [];
  for (const key of Object.keys(localStorage).filter((key) => key.startsWith(store()))) {
    try { found.push(JSON.parse(localStorage.getItem(key))); } catch { /* not ours */ }
  }
  return found.sort((a, b) => a.order[0] - b.order[0] || a.order[1] - b.order[1]).map((one) => one.act);
}

// What waits for other sets, and how to send it.
function elsewhere() {
  const found = new Map();
  for (const key of Object.keys(localStorage).filter((key) => key.startsWith("safetycatch waiting ") && !key.includes(` ${set} `))) {
    try {
      const again = String(JSON.parse(localStorage.getItem(key)).again);
      found.set(again, (found.get(again) || 0) + 1);
    } catch { /* not ours */ }
  }
  return [...found].map(([again, n]) => `${n} labels wait in this browser that are not of this set. To send them, end this server, type:\n${again}\nand open the link that it prints.`).join("\n");
}

function push(act) {
  now.pending.push({ id: newId(), ...act });
  keep(now.pending.at(-1));
  tally();
  pump();
  return now.pending.at(-1).id;
}

function gone(what) {
  return `${what}: the server does not answer.\nIf it ended, start it again in the terminal:\n${now.state.again}\nand open the link that it prints. What waits here is sent then.`;
}

function other(error) {
  return `${error.message}\nWhat waits here stays in this browser. To send it, end that server and type:\n${now.state.again}`;
}

function batch() {
  const acts = [];
  let size = 0;
  for (const act of now.pending.slice(0, now.limit)) {
    size += JSON.stringify(act).length;
    if (acts.length && size > MAX_BATCH_CHARACTERS) break;
    acts.push(act);
  }
  return acts;
}

async function pump() {
  if (now.sending || !now.pending.length) return;
  now.sending = true;
  const acts = batch();
  const to = now.annotator;
  try {
    const told = await ask("/api/acts", { as: to, set, acts });
    forget(now.pending.splice(0, acts.length));
    now.state.saved = told.saved;
    setModes(told.modes);
    problem("");
    now.sinceRefresh += acts.length;
    now.limit = BATCH;
  } catch (error) {
    if (error.status === 400 && acts.length > 1) {
      now.limit = 1;  // one of them is wrong: alone, the others are saved
    } else if (error.status === 400) {
      forget([now.pending.shift()]);
      problem(`Not saved: ${error.message}`);
    } else {
      problem(error.status === 409 ? other(error) : gone(`Not saved yet, and tried again every second${error.status ? ` (${error.message})` : ""}`));
      tally();
      setTimeout(() => { now.sending = false; pump(); }, RETRY_MS);
      return;
    }
  }
  now.sending = false;
  tally();
  if (now.sinceRefresh >= REFRESH_EVERY && !now.pending.length) refresh();
  pump();
}

async function refresh() {
  // What others have labelled meanwhile need not be labelled again.
  now.sinceRefresh = 0;
  try {
    const told = await ask(`/api/state?${as()}`);
    if (now.pending.length) return;
    const left = new Set(told.queue);
    now.queue = now.queue.filter((item) => item === now.current || left.has(item));
    now.state.total = told.done + told.queue.length;
    ahead();
    progress();
  } catch { /* the next label tells */ }
}

// -- the answer on the screen -----------------------------------------------------------------------------------------

async function ahead() {
  const wanted = now.queue.slice(0, AHEAD).filter((item) => !now.cache.has(item));
  if (!wanted.length) return;
  for (const item of wanted) now.cache.set(item, null);
  try {
    for (const shown of await ask(`/api/items?${as()}&n=${wanted.join(",")}`)) now.cache.set(shown.item, shown);
  } catch (error) {
    for (const item of wanted) now.cache.delete(item);
    if (!now.pending.length) problem(error.status === 409 ? other(error) : error.status ? error.message : gone("The next answers could not be loaded"));
    setTimeout(() => { if (now.current === null) show(); else ahead(); }, RETRY_MS);
    return;
  }
  if (now.current === null && now.queue.length) show();
}

function show() {
  const item = now.queue[0];
  $("done").hidden = item !== undefined;
  $("desk").hidden = item === undefined;
  progress();
  const shown = now.cache.get(item);
  ahead();
  if (!shown) {
    now.current = null;
    delete document.documentElement.dataset.item;
    say(item === undefined ? "Nothing is left to label." : "loading");
    return;
  }
  if (now.current !== item) {
    now.current = item;
    now.criterion = 0;
    fill(shown);
  }
  clear();
  say(`Answer ${now.state.total - now.queue.length + 1} of ${now.state.total}`);
}

function fill(shown) {
  for (const part of document.querySelectorAll(".part")) {
    const text = shown.parts[part.dataset.part];
    part.hidden = text === undefined;
    if (text === undefined) continue;
    const pre = part.querySelector("pre");
    pre.textContent = text.text;
    pre.scrollTop = 0;
    fold(part, text.more, 3000);
    if (part.tagName === "DETAILS") part.open = false;
  }
  document.documentElement.dataset.item = String(shown.item);
  window.scrollTo(0, 0);
}

function fold(part, more, from) {
  const button = part.querySelector(".more");
  button.hidden = more === 0;
  button.textContent = `show more (${more.toLocaleString("en")} characters are folded) `;
  const key = document.createElement("kbd");
  key.textContent = "o";
  button.append(key);
  button.onclick = async () => {
    const item = now.current;
    button.disabled = true;
    try {
      const told = await ask(`/api/text?${as()}&n=${item}&part=${part.dataset.part}&from=${from}`);
      if (now.current !== item) return;
      part.querySelector("pre").append(told.text);
      fold(part, told.more, from + 100000);
    } catch (error) { problem(error.message); } finally { button.disabled = false; }
  };
}

function clear() {
  now.modes.clear();
  now.prefix = false;
  $("critique").value = "";
  const criteria = now.state.criteria;
  $("criterion").hidden = !criteria.length;
  if (criteria.length) {
    const [count, name, text] = $("criterion").children;
    count.textContent = `criterion ${now.criterion + 1} of ${criteria.length}`;
    name.textContent = criteria[now.criterion].name;
    text.textContent = criteria[now.criterion].text;
  }
  marked();
}

function progress() {
  const left = now.queue.length, total = now.state.total;
  $("bar").max = Math.max(total, 1);
  $("bar").value = total - left;
  $("progress").textContent = `${total - left} of ${total}`;
  tally();
}

function tally() {
  const waiting = now.pending.length;
  $("saved").textContent = `saved ${now.state ? now.state.saved : 0}` + (waiting ? ` · ${waiting} waiting` : "");
  $("saved").classList.toggle("waiting", waiting > 0);
}

const say = (text) => { $("status").textContent = text; };
function problem(text) {
  $("problem").hidden = !text;
  if ($("problem").textContent !== text) $("problem").textContent = text;
}

// -- failure modes ----------------------------------------------------------------------------------------------------

function setModes(modes) {
  const before = JSON.stringify(now.state.modes), named = now.state.modes.filter((one) => one.n === 0);
  // What was named here and given to no answer yet is known to this page only.
  const known = new Set(modes.map((one) => one.name));
  now.state.modes = [...modes, ...named.filter((one) => !known.has(one.name))];
  if (JSON.stringify(now.state.modes) !== before) drawModes();
}

function drawModes() {
  const digits = now.state.digits ? "m then " : "";
  $("modes-how").textContent = now.state.modes.length ? `(${digits}${now.state.modes.length > 1 ? "1–" : ""}${Math.min(9, now.state.modes.length)})` : "";
  $("modes").replaceChildren(...now.state.modes.map((mode, at) => {
    const button = document.createElement("button");
    button.type = "button";
    button.dataset.mode = mode.name;
    const key = document.createElement("kbd"), name = document.createElement("span"), n = document.createElement("span");
    key.textContent = at < 9 ? String(at + 1) : "·";
    name.className = "name";
    name.dir = "auto";
    name.textContent = mode.name;
    n.className = "n";
    n.textContent = String(mode.n);
    button.append(key, name, n);
    button.addEventListener("click", () => toggle(mode.name));
    return button;
  }));
  marked();
}

function marked() {
  for (const button of $("modes").children) button.setAttribute("aria-pressed", String(now.modes.has(button.dataset.mode)));
}

function toggle(name) {
  if (now.current === null) return;
  if (!now.modes.delete(name)) now.modes.add(name);
  marked();
  say(`${now.modes.has(name) ? "marked" : "not marked"}: ${name}`);
}

// -- acts -------------------------------------------------------------------------------------------------------------

function give(label) {
  if (now.current === null) return;
  const item = now.current, criteria = now.state.criteria;
  const act = { do: "label", item, label };
  if (criteria.length) act.criterion = criteria[now.criterion].name;
  if (now.modes.size) act.modes = [...now.modes];
  if ($("critique").value.trim()) act.critique = $("critique").value;
  now.history.push({ id: push(act), item });
  if (criteria.length && now.criterion + 1 < criteria.length) {
    now.criterion += 1;
    clear();
    say(`criterion ${now.criterion + 1} of ${criteria.length}`);
  } else next();
}

function next() {
  now.queue.shift();
  now.current = null;
  show();
}

function skip() {
  if (now.current === null) return;
  now.history.push({ id: push({ do: "skip", item: now.current }), item: now.current });
  next();
}

function undo() {
  const last = now.history.pop();
  if (!last) { say("Nothing to undo."); return; }
  push({ do: "undo", of: last.id });
  const same = now.current === last.item && now.criterion > 0;
  const step = same ? now.criterion - 1 : stepOf(last);
  now.queue = [last.item, ...now.queue.filter((item) => item !== last.item)];
  now.current = null;
  show();
  if (now.current !== null) { now.criterion = step; clear(); }
  say("Taken back: label it again.");
}

function stepOf(last) {
  // With criteria, the one that was taken back: those before it are still in the history.
  const before = now.history.filter((one) => one.item === last.item).length;
  return Math.min(before, Math.max(0, now.state.criteria.length - 1));
}

// -- dialogs ----------------------------------------------------------------------------------------------------------

function prompt_({ head, note = "", label, which = null, value = "", check, done }) {
  const dialog = $("ask"), text = $("ask-text"), select = $("ask-which");
  $("ask-head").textContent = head;
  $("ask-note").textContent = note;
  $("ask-label").textContent = label;
  $("ask-wrong").textContent = "";
  select.hidden = $("ask-which-label").hidden = which === null;
  select.replaceChildren(...(which || []).map((name) => new Option(name, name)));
  $("ask-list").replaceChildren(...(which || []).map((name) => new Option(name, name)));
  text.value = value;
  dialog.querySelector("form").onsubmit = (event) => {
    if (event.submitter && event.submitter.value === "") return;
    event.preventDefault();
    const given = text.value.trim().replace(/\s+/g, " ");
    const wrong = check(given, select.value);
    if (wrong) { $("ask-wrong").textContent = wrong; text.focus(); return; }
    // At once, not on the event that follows: the next key may come before it.
    dialog.close();
    done(given, select.value);
  };
  dialog.showModal();
  (which === null ? text : select).focus();
}

const wrongName = (name) =>
  !name ? "a name is needed" : name.includes(";") ? "no ';' in a name" : name.length > 80 ? "80 characters at most" : "";

function newMode() {
  if (now.current === null) return;
  prompt_({
    head: "Name what went wrong", label: "Name", note: "In your own words; it can be renamed or merged later.",
    check: wrongName,
    done: (name) => {
      const same = now.state.modes.find((one) => one.name.toLowerCase() === name.toLowerCase());
      if (!same) { now.state.modes.push({ name, n: 0 }); drawModes(); }
      const chosen = same ? same.name : name;
      if (!now.modes.has(chosen)) toggle(chosen);
    },
  });
}

function renameMode() {
  const names = now.state.modes.map((one) => one.name);
  if (!names.length) { say("No failure mode is named yet."); return; }
  prompt_({
    head: "Rename or merge a failure mode", label: "New name", which: names,
    note: "The name of another one merges the two, in every label of everybody.",
    check: (name, old) => wrongName(name) || (name === old ? "this is its name" : ""),
    done: (name, old) => {
      push({ do: "rename", old, new: name });
      now.state.modes = now.state.modes.filter((one) => one.name !== old);
      if (!now.state.modes.some((one) => one.name === name)) now.state.modes.push({ name, n: 0 });
      if (now.modes.delete(old)) now.modes.add(name);
      drawModes();
    },
  });
}

function changeName() {
  if (now.pending.length) { say("Some labels wait to be saved: then the name can change."); return; }
  prompt_({
    head: "Who are you?", label: "Name", value: now.annotator,
    note: "Lower case letters, digits, '.', '_' or '-'. Labels are kept under it.",
    check: (name) => (/^[a-z0-9][a-z0-9._-]{0,63}$/.test(name) ? "" : "lower case letters, digits, '.', '_' or '-'"),
    done: (name) => { sessionStorage.setItem("safetycatch annotator", name); begin(name); },
  });
}

function help() {
  const rows = [
    ...now.state.verdicts.map((one) => [one.key, one.label]),
    [now.state.digits ? "m 1–9" : "1–9", "mark a failure mode, then give the verdict"], ["n", "name a new failure mode"],
    ["r", "rename or merge failure modes"], ["c", "write why; Esc goes back to the keys"], ["u", "undo"], ["s", "skip"],
    ["o", "show more of a long text"], ["e", "show the expected answer, where there is one"], ["?", "this list"],
  ];
  $("keys-list").replaceChildren(...rows.flatMap(([key, words]) => {
    const dt = document.createElement("dt"), dd = document.createElement("dd"), kbd = document.createElement("kbd");
    kbd.textContent = key;
    dt.append(kbd);
    dd.textContent = words;
    return [dt, dd];
  }));
  $("keys").showModal();
}

// -- keys -------------------------------------------------------------------------------------------------------------

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing || document.querySelector("dialog[open]")) return;
  // A dialog that was just closed may still have the focus: its field is gone, and the key is meant for the page.
  if (event.target.matches("textarea, input, select") && !event.target.closest("dialog")) {
    if (event.key === "Escape") { event.target.blur(); event.preventDefault(); }
    return;
  }
  if (event.repeat || !now.state) return;  // a key held down labels one answer
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  const digit = /^[1-9]$/.test(key) && (now.prefix || !now.state.digits);
  now.prefix = false;
  const verdict = now.state.verdicts.find((one) => one.key === key);
  const acts = {
    c: () => $("critique").focus(), u: undo, s: skip, n: newMode, r: renameMode, "?": help, m: () => { now.prefix = true; },
    o: () => document.querySelector(".part:not([hidden]) .more:not([hidden])")?.click(),
    e: () => { const part = document.querySelector('[data-part="reference"]'); part.open = !part.open; },
  };
  if (digit) { const mode = now.state.modes[Number(key) - 1]; if (mode) toggle(mode.name); }
  else if (verdict) give(verdict.label);
  else if (Object.hasOwn(acts, key)) acts[key]();
  else return;
  event.preventDefault();
}

// -- beginning --------------------------------------------------------------------------------------------------------

async function begin(annotator) {
  now.annotator = annotator;
  now.current = null;
  now.cache.clear();
  now.modes.clear();
  $("who").textContent = annotator;
  try { now.pending = kept(); } catch { now.pending = []; }
  let told;
  try { told = await ask("/api/begin", { as: annotator, set }); } catch (error) { problem(error.message); return; }
  now.state = told;
  now.state.digits = told.verdicts.some((one) => /^[1-9]$/.test(one.key));
  // What waits to be sent is done on this screen.
  const waiting = new Set(now.pending.filter((act) => act.do === "label" || act.do === "skip").map((act) => act.item));
  now.queue = told.criteria.length ? told.queue : told.queue.filter((item) => !waiting.has(item));
  now.state.total = told.done + told.queue.length;
  const undone = new Set(now.pending.filter((act) => act.do === "undo").map((act) => act.of));
  now.history = [...told.history, ...now.pending.filter((act) => act.do === "label" || act.do === "skip")]
    .filter((one) => !undone.has(one.id)).map(({ id, item }) => ({ id, item }));
  $("verdicts").replaceChildren(...told.verdicts.map((one) => {
    const button = document.createElement("button"), key = document.createElement("kbd");
    button.type = "button";
    button.className = { pass: "good", fail: "bad" }[one.label] || "";
    key.textContent = one.key;
    const words = told.scale === "pairwise" ? { first: "A is better", second: "B is better", tie: "neither" }[one.label] : one.label;
    button.append(words, key);
    button.addEventListener("click", () => give(one.label));
    return button;
  }));
  drawModes();
  let waits = "";
  try { waits = elsewhere(); } catch { /* no storage here */ }
  problem(waits);
  show();
  pump();
}

for (const [id, act] of [["new", newMode], ["rename", renameMode], ["undo", undo], ["skip", skip], ["help", help], ["who", changeName], ["back", undo]]) {
  $(id).addEventListener("click", act);
}
document.addEventListener("keydown", onKey);
// A button that was clicked would take Space and Enter for itself again.
document.addEventListener("click", (event) => event.target.closest("#verdicts button, #modes button, .row button")?.blur());
window.addEventListener("beforeunload", (event) => { if (now.pending.length) event.preventDefault(); });
begin(new URLSearchParams(location.search).get("as") || sessionStorage.getItem("safetycatch annotator") || $("who").dataset.name);
