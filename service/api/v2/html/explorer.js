"use strict";

const part = (id) => document.getElementById(id);

part("call").addEventListener("change", () => {
  part("body-label").hidden = !part("call").value.startsWith("POST");
  part("query").value = "";
  part("query").placeholder = part("call").value.startsWith("DELETE") ? "id=1" : "resthook=message.sent";
});

part("request").addEventListener("submit", async (event) => {
  event.preventDefault();
  const [method, resource] = part("call").value.split(" ");
  const query = part("query").value.trim().replace(/^\?/, "");
  const headers = { Accept: "application/json", Authorization: `Token ${part("key").value.trim()}` };
  const request = { method, headers };
  if (method === "POST") {
    headers["Content-Type"] = "application/json";
    request.body = part("body").value;
  }
  part("answer").textContent = "";
  if (request.body?.includes("…")) { /* the sample names nobody's URL, as what is sent here is really subscribed */
    part("status").textContent = "Put a URL of your own where “…” stands.";
    part("body").focus();
    return;
  }
  part("status").textContent = "Sending…";
  try {
    const response = await fetch(`../${resource}.json${query ? `?${query}` : ""}`, request);
    const text = await response.text();
    part("status").textContent = `${response.status} ${response.statusText}`;
    try {
      part("answer").textContent = JSON.stringify(JSON.parse(text), null, 2);
    } catch {
      part("answer").textContent = text;
    }
  } catch (error) {
    part("status").textContent = `No answer: ${error.message}`;
  }
});
