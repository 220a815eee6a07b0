// What an integrator does first, in the types that are made from /openapi.json: compiled strictly, then run.
import createClient from "openapi-fetch";
import type { components, paths, webhooks } from "./api.js";

declare const process: { env: Record<string, string> };

type Endpoint = components["schemas"]["Endpoint"];
type Sent = webhooks["message.sent"]["post"]["requestBody"]["content"]["application/json"];

const api = createClient<paths>({
  baseUrl: process.env["API_URL"]!,
  headers: { Authorization: `Bearer ${process.env["API_KEY"]!}` },
});

function need<Data>(answer: { data?: Data; error?: { error?: string } | unknown; response: Response }): Data {
  if (answer.data === undefined) throw new Error(`${answer.response.status}: ${JSON.stringify(answer.error)}`);
  return answer.data;
}

// What a receiver does with it: the type is known by its name, and strangers' keys pass through.
export function textOf(event: Sent): string {
  const campaign: unknown = event.data["campaign"];
  return `${event.type satisfies "message.sent"} ${event.data.message.id} ${event.data.message.text ?? campaign}`;
}

const made = need(
  await api.POST("/v1/endpoints", {
    body: {
      url: process.env["RECEIVER_URL"]!,
      event_types: ["message.*", "link.clicked"],
      filter: { scope: { campaign_id: ["camp_A"] }, match: { "data.message.segments": { gte: 0 } } },
      auth: null,
      retry: [4, 16, 64],
      headers: { "X-Team": "crm" },
      metadata: { team: "crm" },
    },
  }),
);
const secret: string | null | undefined = "secret" in made ? made.secret : undefined;
if (!secret?.startsWith("whsec_")) throw new Error("the secret is shown once");

const changed = need(
  await api.PATCH("/v1/endpoints/{id}", {
    params: { path: { id: made.id }, header: { "Idempotency-Key": `journey-${made.id}` } },
    body: { timeout_seconds: 10, retry: "politicalcomms", filter: null },
  }),
);
const styles: Endpoint["signature_style"][] = ["standard", "ed25519"];
if (!styles.includes(changed.signature_style) || changed.timeout_seconds !== 10) throw new Error("it was not changed");

const event: components["schemas"]["NewEvent"] = {
  id: `evt_${Date.now()}`,
  type: "link.clicked",
  timestamp: new Date().toISOString(),
  data: {
    message: { id: "msg_1" },
    link: { url: "https://www.example.org/vote" },
    click: { id: "clk_1", clicked_at: new Date().toISOString() },
  },
};
const published = need(await api.POST("/v1/events", { body: { events: [event] } }));
if (published.data[0]?.status !== "accepted") throw new Error("it was not accepted");

const found = need(await api.GET("/v1/deliveries", { params: { query: { endpoint_id: [made.id], limit: 10 } } }));
const states: components["schemas"]["DeliveryState"][] = found.data.map((each) => each.state);
if (states.length !== 1) throw new Error(`one delivery, not ${states.length}`);

const refused = await api.POST("/v1/endpoints", { body: { url: "gopher://nothing", event_types: [] } });
if (refused.error === undefined || !("errors" in refused.error)) throw new Error("it was not refused");
const problem: components["schemas"]["Problem"] = refused.error;
const about: string[] | undefined = problem.errors?.["url"];
if (problem.code !== "VALIDATION_ERROR" || !about?.length) throw new Error("it does not say which field");

const hooks = need(await api.GET("/api/v2/resthook_subscribers.json", {}));
const hook: components["schemas"]["ResthookSubscriber"] | undefined = hooks.results[0];
if (hook === undefined) throw new Error("v2 does not show what v1 made");

const removed = await api.DELETE("/v1/endpoints/{id}", { params: { path: { id: made.id } } });
if (removed.response.status !== 204) throw new Error("it was not removed");
console.log("done");
