// What makes the pages quicker to use. Without it every control is a link or a form.
document.documentElement.classList.add("script");

const said = () => document.getElementById("said");
const isTyping = (at) => at.closest?.("input, textarea, select, [contenteditable]");

function toast(text) {
  document.querySelector(".toast")?.remove();
  const box = document.createElement("div");
  box.className = "toast";
  box.textContent = text;
  document.body.append(box);
  if (said()) said().textContent = text;
  setTimeout(() => box.remove(), 6000);
}

// What a form has done is said once: not again after a reload, nor to whom the address is sent.
const done = document.querySelector("[data-done]");
if (done) {
  const address = new URL(location.href);
  address.searchParams.delete("done");
  history.replaceState(null, "", address);
  setTimeout(() => done.remove(), 6000);
}

// A dialog that a page was opened for, such as a new secret's: over the page, and gone after a reload.
const shown = document.querySelector("dialog[data-shown]");
if (shown?.showModal) {
  history.replaceState(null, "", shown.dataset.address);
  shown.close();
  shown.showModal();
}
document.querySelector("[aria-invalid=true], .field.wrong input")?.focus();

document.addEventListener("click", async (event) => {
  const copied = event.target.closest("[data-copy], [data-copy-of]");
  if (copied) {
    try {
      await navigator.clipboard.writeText(copied.dataset.copy ?? document.getElementById(copied.dataset.copyOf).textContent);
      toast("Copied");
    } catch {
      getSelection().selectAllChildren(copied); // without https a browser lets nobody copy but the reader
    }
  }
  const opens = event.target.closest("[data-opens]");
  if (opens) {
    const box = document.getElementById(opens.dataset.opens);
    if (box?.showModal) {
      event.preventDefault();
      box.showModal();
    }
  }
  const closes = event.target.closest("[data-closes]");
  if (closes?.closest("dialog")) {
    event.preventDefault();
    closes.closest("dialog").close();
  }
  const adds = event.target.closest("[data-adds]");
  if (adds) {
    const row = adds.parentElement.querySelector("template[data-row]").content.cloneNode(true);
    const first = row.querySelector("input");
    adds.before(row);
    first.focus();
  }
});

// Of several parts of a form those are shown that the choice names.
function showParts(choice) {
  for (const part of document.querySelectorAll(`#${choice.dataset.shows} [data-part]`)) part.hidden = part.dataset.part !== choice.value;
}
for (const choice of document.querySelectorAll("[data-shows]")) showParts(choice);
document.addEventListener("change", (event) => { if (event.target.matches("[data-shows]")) showParts(event.target); });

// On a phone the pages' names are scrolled sideways: the current one is shown.
document.querySelector(".side > ul [aria-current]")?.scrollIntoView({ block: "nearest", inline: "nearest" });

// Keys: "/" searches, j and k move over rows, Enter opens, x selects, ? helps.
const KEYS_OFF = "posthorn-keys-off";
const rows = () => [...document.querySelectorAll("main tbody tr")].filter((row) => (row.checkVisibility?.() ?? row.offsetParent) && row.querySelector("a"));

function move(by) {
  const all = rows();
  const now = all.findIndex((row) => row.contains(document.activeElement));
  const next = all[Math.max(0, Math.min(all.length - 1, now + by))];
  next?.querySelector("a.name, a")?.focus();
  next?.scrollIntoView({ block: "nearest" });
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || isTyping(event.target) || localStorage.getItem(KEYS_OFF)) return;
  const row = document.activeElement.closest?.("tbody tr");
  const actions = {
    "/": () => document.querySelector("#find, main input[type=search]")?.focus(),
    j: () => move(1),
    k: () => move(-1),
    x: () => row?.querySelector("input[type=checkbox]")?.click(),
    l: () => document.querySelector("[data-live]")?.click(),
    "?": () => showKeys(),
  };
  const action = actions[event.key];
  if (action) {
    event.preventDefault();
    action();
  }
});

function showKeys() {
  let box = document.getElementById("keys-help");
  if (!box) {
    box = document.createElement("dialog");
    box.id = "keys-help";
    const title = document.createElement("h2");
    title.textContent = "Keys";
    const list = document.createElement("dl");
    list.className = "facts";
    for (const [key, does] of [["/", "search"], ["j, k", "next and previous row"], ["Enter", "open the row"], ["x", "select the row"], ["l", "live rows on and off"], ["?", "this help"]]) {
      const term = document.createElement("dt");
      term.textContent = key;
      const meaning = document.createElement("dd");
      meaning.textContent = does;
      list.append(term, meaning);
    }
    const buttons = document.createElement("div");
    buttons.className = "buttons";
    const off = document.createElement("button");
    off.dataset.turns = "keys";
    const close = document.createElement("button");
    close.dataset.closes = "";
    close.textContent = "Close";
    off.addEventListener("click", () => {
      if (localStorage.getItem(KEYS_OFF)) localStorage.removeItem(KEYS_OFF);
      else localStorage.setItem(KEYS_OFF, "1");
      label();
    });
    const label = () => { off.textContent = localStorage.getItem(KEYS_OFF) ? "Switch keys on" : "Switch keys off"; };
    label();
    buttons.append(off, close);
    box.append(title, list, buttons);
    document.body.append(box);
  }
  box.showModal();
}
document.addEventListener("click", (event) => { if (event.target.closest("[data-keys]")) showKeys(); });

// A filter is taken as soon as it is chosen.
document.addEventListener("change", (event) => {
  if (event.target.matches("[data-submits]")) event.target.form.requestSubmit();
  if (event.target.matches("tbody input[name=ids]")) countSelected(event.target.form);
});
document.addEventListener("submit", (event) => {
  const form = event.target;
  if (form.method === "get") for (const field of form.elements) if (!field.value) field.disabled = true; // short addresses
  const asks = event.submitter?.dataset.asks;
  if (asks && !confirm(asks)) event.preventDefault();
});
addEventListener("pageshow", () => { for (const field of document.querySelectorAll("form:not([method=post]) :disabled")) field.disabled = false; });

function countSelected(form) {
  const count = form.querySelectorAll("tbody input[name=ids]:checked").length;
  for (const row of form.querySelectorAll("tbody tr")) row.setAttribute("aria-selected", row.querySelector("input[name=ids]")?.checked ?? false);
  form.querySelector(".selection").classList.toggle("some", count > 0);
  form.querySelector("[data-selected]").textContent = count ? `${count} selected` : "Select what has ended";
  const button = form.querySelector("[data-replays]");
  button.textContent = count ? `Replay ${count}` : "Replay selected";
  button.disabled = !count;
}
for (const form of document.querySelectorAll("form:has(.selection)")) countSelected(form);

// A form that is being sent says so, and is not sent twice.
document.addEventListener("submit", (event) => {
  const form = event.target;
  if (event.defaultPrevented) return; // htmx sends it
  if (form.dataset.sent) return event.preventDefault();
  form.dataset.sent = "1";
  const button = event.submitter;
  if (!button?.dataset.busy) return;
  button.dataset.idle = button.textContent;
  button.textContent = button.dataset.busy;
});
addEventListener("pageshow", () => { // also whoever comes back to a page that the browser kept
  for (const form of document.querySelectorAll("form[data-sent]")) delete form.dataset.sent;
  for (const button of document.querySelectorAll("[data-idle]")) button.textContent = button.dataset.idle;
});

// Live rows: the first page of the list is read again every few seconds. Rows that came enter on top; while the reader
// has scrolled or selected, they wait behind a button.
const LIVE_MILLISECONDS = 3000;
const keyOf = (row) => row.querySelector("a.name")?.getAttribute("href");

function refresh(table, read) {
  const fresh = read.querySelectorAll("table[data-rows] tbody tr");
  const body = table.tBodies[0];
  const known = new Map([...body.rows].map((row) => [keyOf(row), row]));
  const came = [...fresh].filter((row) => !known.has(keyOf(row)));
  for (const row of fresh) {
    const old = known.get(keyOf(row));
    if (old && old.innerHTML !== row.innerHTML && !old.querySelector(":checked, :focus")) old.replaceChildren(...row.cloneNode(true).childNodes);
  }
  const isBusy = scrollY > 200 || body.querySelector(":checked");
  const waiting = document.querySelector("[data-waiting]");
  waiting.hidden = !(isBusy && came.length);
  waiting.textContent = `${came.length} new, show them`;
  if (isBusy) return;
  for (const row of came.reverse()) {
    row.classList.add("fresh");
    makeKeysCopy(row);
    body.prepend(row);
  }
  while (body.rows.length > Math.max(fresh.length, 50)) body.lastElementChild.remove();
}

const liveButton = document.querySelector("[data-live]");
if (liveButton) {
  const table = document.querySelector("table[data-rows]");
  let isOn = false;
  let timer = null;
  const label = () => {
    liveButton.setAttribute("aria-pressed", String(isOn));
    liveButton.querySelector("span").textContent = isOn ? "Stop" : "Live";
  };
  const look = async () => {
    clearTimeout(timer);
    try {
      const answer = await fetch(location.href, { redirect: "error" });
      if (!answer.ok) throw new Error(String(answer.status));
      refresh(table, new DOMParser().parseFromString(await answer.text(), "text/html"));
    } catch {
      isOn = false;
      label();
      toast("Stopped: the list could not be read. Reload the page.");
    }
    clearTimeout(timer);
    if (isOn && !document.hidden) timer = setTimeout(look, LIVE_MILLISECONDS); // after the answer: never two at once
  };
  liveButton.addEventListener("click", () => {
    isOn = !isOn;
    label();
    if (isOn) look();
    else clearTimeout(timer);
  });
  document.addEventListener("visibilitychange", () => { // nobody looks at a tab that is hidden
    clearTimeout(timer);
    if (isOn && !document.hidden) look();
  });
  document.querySelector("[data-waiting]").addEventListener("click", () => location.reload());
}

// What is copied by a click is copied by the keyboard, too; without script it is text to be selected.
function makeKeysCopy(inside) {
  for (const each of inside.querySelectorAll("[data-copy]:not(button)")) {
    each.tabIndex = 0;
    each.setAttribute("role", "button");
  }
}
makeKeysCopy(document);
document.addEventListener("keydown", (event) => {
  if ((event.key === "Enter" || event.key === " ") && event.target.matches("[data-copy]:not(button)")) {
    event.preventDefault();
    event.target.click();
  }
});

// Blocks that belong together are tabs; without script they follow one another, each below its heading.
function showTab(tab) {
  for (const each of tab.parentElement.children) {
    const isShown = each === tab;
    each.setAttribute("aria-selected", String(isShown));
    each.tabIndex = isShown ? 0 : -1;
    document.getElementById(each.getAttribute("aria-controls")).hidden = !isShown;
  }
}
document.querySelectorAll("[data-tabs]").forEach((box, number) => {
  const list = document.createElement("div");
  list.setAttribute("role", "tablist");
  list.setAttribute("aria-label", box.dataset.tabs);
  [...box.querySelectorAll(":scope > section")].forEach((panel, at) => {
    const tab = document.createElement("button");
    tab.type = "button";
    tab.id = `tab-${number}-${at}`;
    tab.textContent = panel.querySelector("h2").textContent;
    panel.id = `panel-${number}-${at}`;
    tab.setAttribute("role", "tab");
    tab.setAttribute("aria-controls", panel.id);
    panel.setAttribute("role", "tabpanel");
    panel.setAttribute("aria-labelledby", tab.id);
    tab.addEventListener("click", () => showTab(tab));
    list.append(tab);
  });
  box.prepend(list);
  box.classList.add("tabbed");
  showTab(list.firstElementChild);
});
document.addEventListener("keydown", (event) => {
  const tab = event.target.closest?.("[role=tab]");
  const next = { ArrowRight: tab?.nextElementSibling ?? tab?.parentElement.firstElementChild, ArrowLeft: tab?.previousElementSibling ?? tab?.parentElement.lastElementChild, Home: tab?.parentElement.firstElementChild, End: tab?.parentElement.lastElementChild }[event.key];
  if (!tab || !next) return;
  event.preventDefault();
  showTab(next);
  next.focus();
});
