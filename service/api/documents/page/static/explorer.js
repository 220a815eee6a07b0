"use strict";
// Sends a request of the page with the reader's key, to this service only, and shows the answer below it.

(() => {
  const make = (tag, attributes = {}, ...children) => {
    const made = Object.assign(document.createElement(tag), attributes);
    made.append(...children);
    return made;
  };
  const HOSTS = /https?:\/\/(?:[\w-]+\.)*example(?:\.\w+)?(?=[/"?#:]|$)[^"\s]*/g;

  // An example's URL is nobody's: what would subscribe or call it has to be replaced first.
  const startOf = (body) => body.replace(HOSTS, "https://…");

  const labelled = (text, field) => make("label", {}, text, field);
  const text = (name, value = "") => make("input", { name, value, autocomplete: "off", spellcheck: false });

  const form = (call, title) => {
    const path = Object.entries(call.slots).map(([part, name]) => labelled(part, text(`path:${part}`, given.get(name) ?? "")));
    const queries = call.queries.length ? [labelled("Query", text("query"))] : [];
    if (queries.length) queries[0].lastChild.placeholder = `${call.queries[0]}=…`;
    const key = call.needsKey ? [labelled("API key", make("input", { name: "key", className: "secret", value: given.get("API_KEY") ?? "", autocomplete: "off", spellcheck: false }))] : [];
    const rows = call.body ? Math.min(call.body.split("\n").length, 14) : 0;
    const body = call.body ? [labelled("Body", make("textarea", { name: "body", rows, value: startOf(call.body), spellcheck: false }))] : [];
    const warning = call.method === "GET" ? [] : [make("p", {}, "This acts on your real data.")];
    const status = make("p", { className: "status" });
    status.setAttribute("role", "status");
    const answer = make("pre", { tabIndex: 0 });
    const send = make("button", { className: "send solid", textContent: "Send" });
    const made = make("form", { className: "ask" }, make("h4", { textContent: title }), ...key, ...path, ...queries, ...body, ...warning, send, status, answer);
    made.addEventListener("submit", (event) => {
      event.preventDefault();
      ask(call, new FormData(made), { send, status, answer });
    });
    return made;
  };

  const problem = (call, asked) => {
    if (call.needsKey && !asked.get("key").trim()) return "Give an API key first.";
    for (const part of Object.keys(call.slots)) if (!asked.get(`path:${part}`).trim()) return `Give the ${part} first.`;
    if (call.body && asked.get("body").includes("…")) return "Put a value of your own where “…” stands.";
    if (call.body) {
      try { JSON.parse(asked.get("body")); } catch (error) { return `The body is not JSON: ${error.message}`; }
    }
    return null;
  };

  const request = (call, asked) => {
    const path = call.path.replace(/\{(\w+)\}/g, (_, part) => encodeURIComponent(asked.get(`path:${part}`).trim()));
    const query = (asked.get("query") ?? "").trim().replace(/^\?/, "");
    const headers = { Accept: "application/json" };
    if (call.needsKey) headers.Authorization = `Bearer ${asked.get("key").trim()}`;
    if (call.body) headers["Content-Type"] = "application/json";
    const url = new URL(path.slice(1), document.baseURI); // below the page's own prefix, if there is one
    return [query ? `${url}?${query}` : url, { method: call.method, headers, body: call.body ? asked.get("body") : undefined }];
  };

  const ask = async (call, asked, { send, status, answer }) => {
    answer.textContent = "";
    status.className = "status";
    status.textContent = problem(call, asked) ?? "";
    if (status.textContent) {
      status.className = "status problem";
      return;
    }
    send.disabled = true;
    send.textContent = "Sending…";
    const began = performance.now();
    try {
      const reply = await fetch(...request(call, asked));
      const body = await reply.text();
      status.textContent = `${reply.status} ${reply.statusText} · ${Math.round(performance.now() - began)} ms · ${reply.headers.get("X-Request-ID") ?? ""}`;
      try { answer.textContent = JSON.stringify(JSON.parse(body), null, 2); } catch { answer.textContent = body; }
    } catch (error) {
      status.className = "status problem";
      status.textContent = `No answer: ${error.message}`;
    }
    send.disabled = false;
    send.textContent = "Send";
  };

  document.addEventListener("click", (event) => {
    const button = event.target.closest("button.try");
    if (!button) return;
    const topic = button.closest("[data-call]");
    const opened = topic.querySelector(".ask");
    button.setAttribute("aria-expanded", String(!opened));
    if (opened) {
      opened.remove();
      return;
    }
    const made = form(JSON.parse(topic.dataset.call), `Try it: ${topic.querySelector("h3").textContent}`);
    button.closest(".code").after(made);
    made.querySelector("input:placeholder-shown, textarea, input, button").focus();
  });
})();
