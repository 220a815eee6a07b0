"use strict";
// Tabs, copying, the reader's own values, search, and the mark at the current section. Without it the page can be read.

const all = (selector, within = document) => [...within.querySelectorAll(selector)];
const part = (id) => document.getElementById(id);

document.documentElement.classList.add("script");

const say = (sentence) => {
  part("said").textContent = "";
  requestAnimationFrame(() => { part("said").textContent = sentence; });
};

// ---- the language: one choice for the whole page, and for the next visit

const LANGUAGE = "posthorn.docs.language";

const remembered = () => {
  try { return localStorage.getItem(LANGUAGE); } catch { return null; } // storage may be forbidden
};
const choose = (language) => {
  for (const radio of all(`input[name^="ask-"][value="${CSS.escape(language)}"]`)) radio.checked = true;
};
document.addEventListener("change", (event) => {
  const radio = event.target;
  if (!radio.matches('input[type="radio"][name^="ask-"]')) return;
  const before = radio.getBoundingClientRect().top;
  choose(radio.value);
  scrollBy({ top: radio.getBoundingClientRect().top - before, behavior: "instant" }); // what is read stays where it is
  try { localStorage.setItem(LANGUAGE, radio.value); } catch { /* it holds for this page, then */ }
});
if (remembered()) choose(remembered());

// ---- copying

const copy = async (text) => {
  if (navigator.clipboard && isSecureContext) return navigator.clipboard.writeText(text);
  const field = Object.assign(document.createElement("textarea"), { value: text, className: "unseen" });
  document.body.append(field);
  field.select();
  const done = document.execCommand("copy"); // over plain http there is nothing newer
  field.remove();
  if (!done) throw new Error("not allowed");
};
const textOf = (code) => {
  const whole = code.cloneNode(true);
  for (const each of all("summary", whole)) each.remove(); // the short form of what is folded
  return whole.textContent;
};
const copyFrom = async (button, text) => {
  const label = button.querySelector("span");
  try {
    await copy(text);
    say("Copied");
    if (label) label.textContent = "Copied";
  } catch {
    say("The browser did not allow it. Select the text, and copy it yourself.");
    if (label) label.textContent = "Not allowed";
  }
  if (label) setTimeout(() => { label.textContent = "Copy"; }, 2000);
};
document.addEventListener("click", (event) => {
  const button = event.target.closest("button.copy, button.copy-path");
  if (!button) return;
  if (button.matches(".copy-path")) copyFrom(button, button.parentElement.querySelector("code span").textContent);
  else copyFrom(button, textOf(all("pre", button.closest(".code")).find((each) => each.checkVisibility())));
});

// ---- the reader's values: in this page's memory only

const given = new Map();
const originals = new WeakMap();

const fill = () => {
  for (const place of all("pre var")) {
    if (!originals.has(place)) originals.set(place, [...place.childNodes]);
    const value = given.get(place.dataset.of);
    if (value) place.textContent = "quoted" in place.dataset ? JSON.stringify(value) : value;
    else place.replaceChildren(...originals.get(place));
    place.classList.toggle("given", Boolean(value));
  }
};
if (part("values")) {
  part("values").addEventListener("input", (event) => {
    const value = event.target.value.trim();
    const isPlain = /^[\w.:*~-]*$/.test(value); // what ids and keys are made of; nothing that a shell would run
    event.target.setAttribute("aria-invalid", String(!isPlain));
    part("values-problem").textContent = isPlain ? "" : "Keys and ids have letters, digits, “_”, “-” and “.” only.";
    if (isPlain && value) given.set(event.target.dataset.name, value);
    else given.delete(event.target.dataset.name);
    fill();
  });
  part("forget").addEventListener("click", () => {
    for (const field of all("input", part("values"))) field.value = "";
    given.clear();
    fill();
    say("Forgotten");
  });
}

// ---- where the reader is

const links = new Map(all('#contents a[href^="#"]').map((each) => [each.hash.slice(1), each]));
const topics = all(".topic").filter((each) => links.has(each.id));

const mark = (topic) => {
  const link = links.get(topic.id);
  if (link.hasAttribute("aria-current")) return;
  for (const each of links.values()) each.removeAttribute("aria-current");
  link.setAttribute("aria-current", "location");
  const title = link.querySelector("span") ? link.querySelector("span").textContent : link.textContent;
  part("here").textContent = topic.dataset.group;
  part("here-phone").textContent = `${topic.dataset.group}: ${title}`;
  const list = link.closest(".groups");
  const above = link.offsetTop - list.offsetTop;
  if (above < list.scrollTop || above > list.scrollTop + list.clientHeight - 40) list.scrollTop = above - list.clientHeight / 2;
};
const current = () => {
  const edge = 140;
  const isEnd = innerHeight + scrollY >= document.documentElement.scrollHeight - 2;
  return isEnd ? topics.at(-1) : topics.findLast((each) => each.getBoundingClientRect().top <= edge) ?? topics[0];
};
let isWaiting = false;
const follow = () => {
  if (isWaiting || !topics.length) return;
  isWaiting = true;
  requestAnimationFrame(() => {
    isWaiting = false;
    mark(current());
  });
};
addEventListener("scroll", follow, { passive: true });
addEventListener("resize", follow);
follow();

part("contents").addEventListener("click", (event) => {
  if (event.target.closest("a") && part("contents").matches(":popover-open")) part("contents").hidePopover();
});

// ---- search: every topic that has all the words, those with a word in their title first

const words = (text) => text.toLowerCase().split(/\s+/).filter(Boolean);
const index = topics.map((topic) => {
  const link = links.get(topic.id);
  return {
    link,
    title: `${link.textContent} ${topic.querySelector(".path")?.textContent ?? ""}`.toLowerCase(),
    text: (topic.querySelector(".prose") ? all(".prose", topic).map((each) => each.textContent).join(" ") : "").toLowerCase(),
    fields: all("dt code", topic).map((each) => each.textContent),
  };
});
const search = (query) => {
  const wanted = words(query);
  let best = null;
  let count = 0;
  for (const { link, title, text, fields } of index) {
    const isIn = (where) => wanted.every((word) => where.includes(word));
    const isFound = isIn(title) || isIn(`${title} ${text}`);
    link.parentElement.hidden = !isFound;
    link.querySelector("mark")?.remove();
    if (!isFound || !wanted.length) continue;
    count += 1;
    if (!best || (isIn(title) && !best.isTitle)) best = { link, isTitle: isIn(title) };
    const field = isIn(title) ? undefined : fields.find((each) => wanted.some((word) => each.toLowerCase().includes(word)));
    if (field) (link.querySelector("span") ?? link).append(Object.assign(document.createElement("mark"), { textContent: field }));
  }
  for (const list of all("#contents .groups ul")) {
    list.hidden = wanted.length > 0 && all("li", list).every((each) => each.hidden || !links.has(each.firstElementChild.hash.slice(1)));
    list.previousElementSibling.hidden = list.hidden;
  }
  part("found").textContent = !wanted.length ? "" : count ? `${count} ${count === 1 ? "section" : "sections"}` : `Nothing has “${query.trim()}”.`;
  return best;
};
const field = part("search");
if (field) {
  field.addEventListener("input", () => search(field.value));
  field.addEventListener("keydown", (event) => {
    if (event.key === "Enter") search(field.value)?.link.click();
    if (event.key === "Escape" && field.value) {
      event.stopPropagation();
      field.value = "";
      search("");
    }
  });
  document.addEventListener("keydown", (event) => {
    const isTyping = event.target.closest("input, textarea, select, [contenteditable]");
    if (event.key !== "/" || event.ctrlKey || event.metaKey || event.altKey || isTyping) return;
    event.preventDefault();
    if (part("contents").matches(":popover-open") || !field.checkVisibility()) part("contents").showPopover();
    field.focus();
  });
}
