// The browsing page: filters and sorts by the index, loads the parts of what is shown. It writes text
// as text only (textContent), asks for nothing but the files of its own folder and images on this disk.
(() => {
"use strict";
const run = JSON.parse(document.body.dataset.run);
const SHOWN = 25, CACHED = 60, TICK_MS = 120, MAX_TYPES = 200;
const HIDDEN = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff]/g;
const $ = (id) => document.getElementById(id);
const controls = ["query", "outcome", "type", "stage", "order"];

// ---- files: one script each, which calls a2lPack with its name and what it holds
const waiting = new Map(), packs = new Map();
window.a2lPack = (name, data) => { const take = waiting.get(name); waiting.delete(name); if (take) take(data); };

async function unpacked(data) {
  const bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return JSON.parse(await new Response(stream).text());
}

function fetched(name) {
  return new Promise((resolve, reject) => {
    const script = document.createElement("script");
    const fail = () => { waiting.delete(name); reject(new Error(`${run.folder}/${name}.js cannot be read; write it again with a2l report RUN`)); };
    waiting.set(name, resolve);
    script.onload = () => { script.remove(); if (waiting.has(name)) fail(); };
    script.onerror = () => { script.remove(); fail(); };
    script.src = `${run.folder}/${name}.js`;
    document.head.append(script);
  }).then(unpacked);
}

const padded = (number) => String(number).padStart(5, "0");

function part(number) {
  let found = packs.get(number);
  if (found) packs.delete(number);
  else {
    found = fetched(`part-${padded(number)}`).then((columns) => recordsOf(columns, number * run.part_records));
    found.catch(() => packs.delete(number));
    if (packs.size >= CACHED) packs.delete(packs.keys().next().value);
  }
  packs.set(number, found);  // the latest used last
  return found;
}

// A record each: of an index's and a part's columns what is its own, and its texts.
function recordsOf(columns, first) {
  const standing = (stage, at) => columns[`${stage}_rank`][at] === null ? null
    : ["reward", "rank", "cut"].map((name) => columns[`${stage}_${name}`][at]);
  return columns.texts.map((texts, at) => ({
    ...texts,
    position: first + at,
    uid: columns.uid[at] === null ? null : index.uid[first + at] + columns.uid[at],
    id: columns.id[at],
    question: standing("question", at),
    answer: standing("answer", at),
  }));
}

async function record(position) {
  return (await part(Math.floor(position / run.part_records)))[position % run.part_records];
}

// ---- the index: a column of each name, by position
const index = { type: [], reason: [], stage: [], decision: [], question: [], answer: [], near: [], uid: [] };

async function loadIndex() {
  const num = Math.ceil(run.num_records / run.index_records);
  for (let at = 0; at < num; at++) {
    const found = await fetched(`index-${padded(at)}`);
    for (const name of ["type", "reason", "stage", "decision"]) {
      const { names, rows } = found[name];
      for (const row of rows) index[name].push(names[row]);
    }
    for (const name of ["question", "answer", "near", "uid"]) for (const value of found[name]) index[name].push(value);
    if (num > 2) say(`Loading the records: ${count(index.uid.length)} of ${count(run.num_records)}`);
  }
}

// ---- words
const count = (number) => number.toLocaleString("en-US");
const say = (text) => { $("status").textContent = text; };
const outcomeWords = (reason) => run.words[reason] || reason.replaceAll("_", " ");

function counted(names) {
  const counts = new Map();
  for (const name of names) counts.set(name, (counts.get(name) || 0) + 1);
  return [...counts].sort((a, b) => b[1] - a[1]);
}

function options(select, entries, all) {
  const made = [["", all], ...entries].map(([value, text]) => {
    const option = document.createElement("option");
    option.value = value;
    put(option, text, "");
    return option;
  });
  select.replaceChildren(...made);
}

function fillFilters() {
  const outcomes = [];
  for (const [decision, num] of counted(index.decision)) {
    outcomes.push([`decision:${decision}`, `${decision} (${count(num)})`]);
    const reasons = counted(index.reason.filter((_, at) => index.decision[at] === decision));
    if (decision !== "kept") for (const [reason, of] of reasons) outcomes.push([`reason:${reason}`, `\u2013 ${outcomeWords(reason)} (${count(of)})`]);
  }
  options($("outcome"), outcomes, `any (${count(run.num_records)})`);
  options($("type"), counted(index.type).slice(0, MAX_TYPES).map(([name, num]) => [name, `${name} (${count(num)})`]), "any");
  options($("stage"), counted(index.stage).map(([name, num]) => [name, `reached ${name} (${count(num)})`]), "any");
}

// ---- what is asked for
function filtered() {
  const [kind, wanted] = ($("outcome").value || ":").split(":");
  const type = $("type").value, stage = $("stage").value, found = [];
  for (let at = 0; at < run.num_records; at++) {
    if (kind && index[kind][at] !== wanted) continue;
    if (type && index.type[at] !== type) continue;
    if (stage && index.stage[at] !== stage) continue;
    found.push(at);
  }
  return found;
}

function ordered(positions) {
  const [name, way] = $("order").value.split("-");
  if (name === "position") return positions.sort((a, b) => a - b);
  const column = index[name], sign = way === "down" ? -1 : 1;
  const known = positions.filter((at) => column[at] !== null);
  return known.sort((a, b) => sign * (column[a] - column[b]) || a - b);
}

function matches(one, needle) {
  const texts = [one.id, one.uid, one.message, one.raw, ...(one.images || [])];
  for (const [, candidates, out] of one.messages || []) texts.push(...candidates, out);
  return texts.some((text) => text && text.toLowerCase().includes(needle));
}

async function searched(positions, needle, isCurrent) {
  const byPart = new Map();
  for (const at of positions) {
    const number = Math.floor(at / run.part_records);
    if (!byPart.has(number)) byPart.set(number, []);
    byPart.get(number).push(at);
  }
  const found = [];
  let seen = 0, told = 0;
  for (const number of [...byPart.keys()].sort((a, b) => a - b)) {
    const records = await part(number);
    if (!isCurrent()) return null;
    for (const at of byPart.get(number)) if (matches(records[at % run.part_records], needle)) found.push(at);
    seen += byPart.get(number).length;
    if (performance.now() - told > TICK_MS) {
      told = performance.now();
      say(`Searched ${count(seen)} of ${count(positions.length)} records: ${count(found.length)} found`);
      if (list.children.length < SHOWN && $("order").value === "position") await show(found, isCurrent);
    }
  }
  return found;
}

// ---- what is shown
const list = $("list");
let current = 0, chosen = [];

function put(parent, text, needle) {
  const plain = text.replaceAll("\r\n", "\n");
  const low = needle ? plain.toLowerCase() : "";
  const marks = [];
  if (needle && low.length === plain.length) for (let at = low.indexOf(needle); at >= 0; at = low.indexOf(needle, at + needle.length)) marks.push(at);
  let from = 0;
  for (const at of marks) {
    putVisible(parent, plain.slice(from, at));
    putVisible(parent.appendChild(document.createElement("mark")), plain.slice(at, at + needle.length));
    from = at + needle.length;
  }
  putVisible(parent, plain.slice(from));
}

function putVisible(parent, text) {
  let from = 0;
  for (const found of text.matchAll(HIDDEN)) {
    parent.append(text.slice(from, found.index));
    el(parent, "span", "hidden-char").textContent = `<U+${found[0].charCodeAt(0).toString(16).toUpperCase().padStart(4, "0")}>`;
    from = found.index + 1;
  }
  parent.append(text.slice(from));
}

function el(parent, tag, name, text, needle) {
  const made = document.createElement(tag);
  if (name) made.className = name;
  if (text !== undefined) put(made, text, needle);
  parent.append(made);
  return made;
}

function pictures(card, one, needle) {
  const side = el(card, "div", "pictures");
  for (const name of one.images || []) {
    const image = el(side, "img");
    image.loading = "lazy";
    image.decoding = "async";
    image.alt = `Image ${name}`;
    image.onerror = () => { const told = document.createElement("p"); told.className = "name"; told.textContent = "not shown: it cannot be opened from here"; image.replaceWith(told); };
    image.src = (name.startsWith("/") ? "file://" : run.images) + name.split("/").map(encodeURIComponent).join("/");
    el(side, "p", "name", name, needle);
  }
  if (!one.images) el(side, "p", "name", "no image");
}

function heading(body, one) {
  const at = one.position, head = el(body, "div", "head");
  const link = el(head, "a", "", `#${at}`);
  link.href = `#${at}`;
  link.title = "This record alone; the address can be passed on";
  const decision = index.decision[at];
  el(head, "span", `chip is-${decision}`, decision === "quarantined" ? `quarantined: ${index.reason[at]}` : outcomeWords(index.reason[at]));
  el(el(head, "span", "", "type "), "b", "", index.type[at]);
  if (one.id !== null) el(el(head, "span", "", "id "), "b", "", one.id);
  for (const stage of ["question", "answer"]) {
    if (!one[stage]) continue;
    const [reward, rank, cut] = one[stage];
    const told = el(head, "span", "", `${stage} reward `);
    el(told, "b", "", reward.toFixed(3));
    told.append(`, rank ${count(rank)}, ${rank <= cut ? "passes" : "falls"}: the best ${count(cut)} pass`);
  }
  if (one.uid) el(head, "span", "mono", one.uid);
}

function texts(body, one, needle) {
  for (const [role, candidates, out] of one.messages || []) {
    const who = role === "human" ? "Q" : role === "gpt" ? "A" : role;
    candidates.forEach((text, at) => {
      const line = el(body, "div", out === null ? "turn" : "turn was");
      line.dir = "auto";
      el(line, "span", role === "human" ? "who" : "who a", candidates.length > 1 ? `${who}[${at}]` : who);
      put(line, text, needle);
    });
    if (out === null) continue;
    const line = el(body, "div", "turn");
    line.dir = "auto";
    el(line, "span", role === "human" ? "who" : "who a", `${who} goes out as`);
    put(line, out, needle);
  }
  if (one.num_more) el(body, "p", "faint", `and ${count(one.num_more)} more messages`);
  if (one.raw !== undefined) el(el(body, "pre", ""), "code", "", one.raw, needle);
}

function card(one, needle) {
  const made = document.createElement("article");
  made.className = "one";
  made.tabIndex = 0;
  made.id = `record-${one.position}`;
  made.setAttribute("aria-label", `Record ${one.position}`);
  pictures(made, one, needle);
  const body = el(made, "div", "body");
  heading(body, one);
  if (one.message) el(body, "p", "fault", one.message, needle);
  texts(body, one, needle);
  return made;
}

async function show(positions, isCurrent) {
  const from = list.children.length;
  const needle = $("query").value.trim().toLowerCase();
  const some = await Promise.all(positions.slice(from, from + SHOWN).map(record));
  if (!isCurrent()) return;
  list.append(...some.map((one) => card(one, needle)));
  $("more").hidden = positions.length <= list.children.length;
}

async function update() {
  const mine = ++current, isCurrent = () => mine === current;
  const needle = $("query").value.trim().toLowerCase();
  list.replaceChildren();
  $("more").hidden = true;
  $("all").hidden = true;
  const all = filtered();
  let found = all;
  if (needle) {
    found = await searched(all, needle, isCurrent);
    if (found === null) return;
  }
  chosen = ordered(found);
  say(`${count(chosen.length)} of ${count(run.num_records)} records${needle ? ` contain "${needle.slice(0, 60)}"` : ""}`);
  list.replaceChildren();
  await show(chosen, isCurrent);
}

// ---- addresses: #POSITION, #UID or its start, #key=value&... of the controls
function byUid(start) {
  const found = [];
  for (let at = 0; at < run.num_records; at++) if (index.uid[at] && index.uid[at].startsWith(start.slice(0, index.uid[at].length))) found.push(at);
  return found;
}

async function single(key) {
  const mine = ++current, isCurrent = () => mine === current;
  const isPosition = /^(0|[1-9][0-9]*)$/.test(key) && Number(key) < run.num_records;
  chosen = isPosition ? [Number(key)] : /^[0-9a-f]{4,32}$/.test(key) ? byUid(key) : [];
  if (!isPosition && chosen.length && chosen.length <= SHOWN) {
    const records = await Promise.all(chosen.map(record));
    chosen = records.filter((one) => one.uid.startsWith(key)).map((one) => one.position);
  }
  if (!isCurrent()) return;
  list.replaceChildren();
  $("all").hidden = false;
  say(chosen.length ? `${count(chosen.length)} of ${count(run.num_records)} records: ${isPosition ? "position" : "uid"} ${key}`
    : `No record has position or uid "${key.slice(0, 60)}"; positions are 0 to ${count(run.num_records - 1)}`);
  await show(chosen, isCurrent);
  if (list.firstElementChild) list.firstElementChild.focus();
}

function fromAddress() {
  let key = location.hash.slice(1);
  try { key = decodeURIComponent(key); } catch { /* as it stands */ }
  if (key && !key.includes("=") && key !== "list") return single(key.toLowerCase());
  const wanted = new URLSearchParams(location.hash.slice(1));
  for (const name of controls) {
    $(name).value = wanted.get(name) || (name === "order" ? "position" : "");
    if (!$(name).value && name === "order") $(name).value = "position";
  }
  return update();
}

function toAddress() {
  const told = new URLSearchParams();
  for (const name of controls) if ($(name).value && !(name === "order" && $(name).value === "position")) told.set(name, $(name).value);
  history.replaceState(null, "", `#${told}`);
  return update();
}

const failing = (work) => (...given) => Promise.resolve(work(...given)).catch((error) => say(error.message));

let typed = 0;
$("query").addEventListener("input", () => { clearTimeout(typed); typed = setTimeout(failing(toAddress), 250); });
for (const name of controls.slice(1)) $(name).addEventListener("change", failing(toAddress));
document.querySelector("form").addEventListener("submit", (event) => { event.preventDefault(); failing(toAddress)(); });
$("more").addEventListener("click", failing(() => { const mine = current; return show(chosen, () => mine === current); }));
$("all").addEventListener("click", failing(toAddress));
window.addEventListener("hashchange", failing(fromAddress));
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || /^(INPUT|SELECT)$/.test(event.target.tagName)) return;
  const step = { j: 1, k: -1 }[event.key], cards = [...list.children];
  if (event.key === "/") { event.preventDefault(); $("query").focus(); }
  else if (event.key === "m" && !$("more").hidden) $("more").click();
  else if (step && cards.length) {
    const at = cards.indexOf(document.activeElement.closest(".one"));
    const next = cards[Math.min(Math.max(at + step, 0), cards.length - 1)];
    next.focus();
    next.scrollIntoView({ block: "nearest" });
  }
});
failing(async () => { await loadIndex(); fillFilters(); await fromAddress(); document.body.dataset.ready = "yes"; })();
})();
