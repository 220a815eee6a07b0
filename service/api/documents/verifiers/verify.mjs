// Verifies a webhook that Posthorn sent. Node 18 or newer, nothing to install.
import { createHmac, createPublicKey, timingSafeEqual, verify as verifySignature } from "node:crypto";

const SPKI = Buffer.from("302a300506032b6570032100", "hex"); // stands before an Ed25519 public key in DER

// secrets: whsec_… or whpk_…, several during a rotation. headers: request.headers. body: a Buffer, as it arrived.
export function verifyWebhook(secrets, headers, body, now = Math.floor(Date.now() / 1000)) {
  const [id, time, signatures] = ["id", "timestamp", "signature"].map((name) => headers[`webhook-${name}`] ?? "");
  if (!/^[\w-]{1,64}$/.test(id) || !/^\d{1,12}$/.test(time) || Math.abs(now - Number(time)) > 300) return false;
  const content = Buffer.concat([Buffer.from(`${id}.${time}.`), body]);
  const parts = signatures.split(" ").slice(0, 20).map((part) => part.split(","));
  return secrets.some((secret) => parts.some(([version, text]) => matches(secret, version, text ?? "", content)));
}

function matches(secret, version, text, content) {
  const [encoded, given] = [secret.replace(/^\w+?_/, ""), Buffer.from(text, "base64")];
  const key = Buffer.from(encoded, "base64");
  if (key.length < 24 || key.toString("base64") !== encoded) return false; // with a guessable key anybody could sign
  if (secret.startsWith("whpk_") && version === "v1a") {
    const publicKey = createPublicKey({ key: Buffer.concat([SPKI, key]), format: "der", type: "spki" });
    return verifySignature(null, content, publicKey, given);
  }
  const expected = createHmac("sha256", key).update(content).digest();
  return secret.startsWith("whsec_") && version === "v1" && given.length === 32 && timingSafeEqual(given, expected);
}
